//! The classic mistakes of completion I/O, and what refuses each of them here.
//!
//! `overlapped pitfalls` runs thirteen mistakes, each broken and repaired; `docs/pitfalls.md` explains them in C++. This page says what becomes of each in a program on this crate: the compiler refuses it, or code of ours
//! refuses or handles it at run time. Files are named as they lie in `crates/`.
//!
//! | mistake | the compiler refuses | at run time |
//! | --- | --- | --- |
//! | [use-after-release](#use-after-release) | a session kept beyond its callback (E0521); a received block on another thread (E0277) | the in-flight table owns what the kernel may touch: `proactor/src/inflight/mod.rs` |
//! | [send-buffer](#send-buffer) | sending borrowed bytes (E0597); changing sent bytes (E0382) | – |
//! | [overlapped-reuse](#overlapped-reuse) | sending one lease twice (E0382) | an entry in use is not given out: `proactor/src/inflight/mod.rs` |
//! | [unchecked-result](#unchecked-result) | taking any event for data (E0005); leaving out an answer (E0004) | a call that fails at once ends like any other: `proactor/src/driver/submit.rs` |
//! | [zero-is-close](#zero-is-close) | comparing an end with 0 (E0308) | four outcomes stay four: `overlapped/src/session/close_reason.rs` |
//! | [short-send](#short-send) | – | a short send is continued: `proactor/src/driver/send.rs` |
//! | [interleaved-sends](#interleaved-sends) | sending from two threads (E0277) | one send in flight per session, the rest is queued: `overlapped/src/session/send_queue.rs` |
//! | [handle-reuse](#handle-reuse) | a number in place of an id (E0308); using an id without asking (E0599) | a key has a generation: `overlapped/src/session/table.rs` |
//! | [skip-on-success](#skip-on-success) | forgetting a case (E0004); counting a result twice (E0382) | one function decides: `proactor/src/backend/iocp/errors.rs` |
//! | [close-without-cancel](#close-without-cancel) | taking a driver apart (E0133) | dropping a driver cancels, reaps, then frees: `proactor/src/driver/dropping.rs` |
//! | [lock-while-sending](#lock-while-sending) | sessions in a list with a lock (E0277) | a send queues and returns: `overlapped/src/session/send_queue.rs` |
//! | [parse-loop](#parse-loop) | – | an item that takes no byte aborts the session: `overlapped/src/codec/framed.rs` |
//! | [length-bomb](#length-bomb) | a framing without a limit (E0061) | a length over the limit closes the session: `overlapped/src/codec/builtin.rs` |
//!
//! Each program that is refused is followed by one that compiles and does what was wanted.
//!
//! ## use-after-release
//!
//! A session is used after its end. A [`Session`](crate::Session) is a borrow that lasts for one callback, so nothing
//! can hold one when the session ends:
//!
//! ```compile_fail,E0521
//! use overlapped::Session;
//!
//! fn run_later(_job: impl FnOnce() + 'static) {}
//!
//! fn on_open<S>(session: &mut Session<'_, S>) {
//!     run_later(move || {
//!         session.send("are you still there?");
//!     });
//! }
//! ```
//!
//! E0521, *borrowed data escapes outside of function*: the job may live longer than the callback, and the session that
//! it captures may not. Keep a [`SessionHandle`](crate::SessionHandle), or a [`SessionId`](crate::SessionId) to look up
//! again. Once the session has ended, the handle answers [`Sent::Closed`](crate::Sent::Closed).
//!
//! ```
//! use overlapped::Session;
//!
//! fn run_later(_job: impl FnOnce() + 'static) {}
//!
//! fn on_open<S>(session: &mut Session<'_, S>) {
//!     let handle = session.handle();
//!     run_later(move || {
//!         handle.send("are you still there?");
//!     });
//! }
//! ```
//!
//! A received block goes back to its worker's pool when the last [`Lease`](crate::Lease) of it is dropped. Leases are
//! counted without atomics. On two threads the count could be wrong, and a block would be used again while somebody
//! reads it:
//!
//! ```compile_fail,E0277
//! use overlapped::Lease;
//!
//! fn on_data(data: Lease) {
//!     std::thread::spawn(move || println!("{} bytes", data.len()));
//! }
//! ```
//!
//! E0277, *`Rc<…>` cannot be sent between threads safely*: the count is an `Rc`. Copy what has to travel.
//!
//! ```
//! use overlapped::Lease;
//!
//! fn on_data(data: Lease) {
//!     let data = data.to_bytes();
//!     std::thread::spawn(move || println!("{} bytes", data.len()));
//! }
//! ```
//!
//! ## send-buffer
//!
//! The bytes of a send are gone, or others, before the kernel has read them. A [`Payload`](crate::Payload) owns its bytes,
//! or borrows what lives as long as the program. A local buffer does not:
//!
//! ```compile_fail,E0597
//! use overlapped::Session;
//!
//! fn greet<S>(session: &mut Session<'_, S>) {
//!     let text = *b"Alice, your code is 1111";
//!     session.send(&text[..]);
//! }
//! ```
//!
//! E0597, *`text` does not live long enough*: it ends with the function, and the send does not. Give the buffer away, as
//! here, or copy it with [`send_copy`](crate::Session::send_copy).
//!
//! ```
//! use overlapped::Session;
//!
//! fn greet<S>(session: &mut Session<'_, S>) {
//!     let text = *b"Alice, your code is 1111";
//!     session.send(text);
//! }
//! ```
//!
//! What was sent cannot be changed either:
//!
//! ```compile_fail,E0382
//! use overlapped::Session;
//!
//! fn greet<S>(alice: &mut Session<'_, S>) {
//!     let mut text = String::from("Alice, your code is 1111");
//!     alice.send(text);
//!     text.replace_range(20.., "2222");
//! }
//! ```
//!
//! E0382, *borrow of moved value*: `text` belongs to the send. A copy made before is another buffer.
//!
//! ```
//! use overlapped::Session;
//!
//! fn greet<S>(alice: &mut Session<'_, S>) {
//!     let mut text = String::from("Alice, your code is 1111");
//!     alice.send(text.clone());
//!     text.replace_range(20.., "2222");
//! }
//! ```
//!
//! ## overlapped-reuse
//!
//! One block serves two operations. There is no `OVERLAPPED` to use twice: the in-flight table gives each operation an
//! entry of its own, and asserts that the entry is free (INV-1). What a program could use twice are the bytes:
//!
//! ```compile_fail,E0382
//! use overlapped::{Lease, Session};
//!
//! fn twice<S>(session: &mut Session<'_, S>, data: Lease) {
//!     session.send(data);
//!     session.send(data);
//! }
//! ```
//!
//! E0382, *use of moved value*: the first send owns the block until it completes. A clone is a second lease of the
//! block, which is free when both are dropped.
//!
//! ```
//! use overlapped::{Lease, Session};
//!
//! fn twice<S>(session: &mut Session<'_, S>, data: Lease) {
//!     session.send(data.clone());
//!     session.send(data);
//! }
//! ```
//!
//! ## unchecked-result
//!
//! A result is not looked at. A direct user of [`proactor`] gets one event for each result, and has no bytes without
//! asking which event it is:
//!
//! ```compile_fail,E0005
//! use proactor::Event;
//!
//! fn take<S>(event: Event<S>) -> usize {
//!     let Event::Received { data, .. } = event;
//!     data.len()
//! }
//! ```
//!
//! E0005, *refutable pattern in local binding*: an event may be a failure, and then it holds an error in place of bytes.
//!
//! ```
//! use proactor::Event;
//!
//! fn take<S>(event: Event<S>) -> usize {
//!     let Event::Received { data, .. } = event else { return 0 };
//!     data.len()
//! }
//! ```
//!
//! The same holds for the answer of a send:
//!
//! ```compile_fail,E0004
//! use overlapped::{Lease, Sent, Session};
//!
//! fn answer<S>(session: &mut Session<'_, S>, data: Lease) -> &'static str {
//!     match session.send(data) {
//!         Sent::Ok => "queued",
//!         Sent::Full => "at its limit",
//!     }
//! }
//! ```
//!
//! E0004, *non-exhaustive patterns: `Sent::Closed` not covered*.
//!
//! ```
//! use overlapped::{Lease, Sent, Session};
//!
//! fn answer<S>(session: &mut Session<'_, S>, data: Lease) -> &'static str {
//!     match session.send(data) {
//!         Sent::Ok => "queued",
//!         Sent::Full => "at its limit",
//!         Sent::Closed => "gone",
//!     }
//! }
//! ```
//!
//! A call that fails at once is [`Submitted::Done`](proactor::operation::Submitted::Done) with a failure. The driver puts
//! it in line with the completions, so that there is one path for both.
//!
//! ## zero-is-close
//!
//! End of stream, reset and an empty receive are told apart by a number of bytes. Here they are not numbers.
//! [`on_data`](crate::Handler::on_data) has at least one byte, the peer's end of stream is
//! [`on_half_close`](crate::Handler::on_half_close), and [`on_close`](crate::Handler::on_close) gets a
//! [`CloseReason`](crate::CloseReason):
//!
//! ```compile_fail,E0308
//! use overlapped::CloseReason;
//!
//! fn upload_is_whole(reason: CloseReason) -> bool {
//!     reason == 0
//! }
//! ```
//!
//! E0308, *mismatched types: expected `CloseReason`, found integer*.
//!
//! ```
//! use overlapped::CloseReason;
//!
//! fn upload_is_whole(reason: CloseReason) -> bool {
//!     reason == CloseReason::EndOfStream
//! }
//! ```
//!
//! ## short-send
//!
//! Nothing to refuse: a program is not told how much the kernel took, so it cannot forget the rest. The driver continues
//! a short send from where it ended (INV-4), in `driver/send.rs`.
//!
//! ## interleaved-sends
//!
//! A message goes out in the middle of another. In callbacks of one worker sends queue in the order of the calls, and
//! [`Driver::send`](proactor::Driver::send) panics if one is in flight already. Another thread gets no session at all:
//!
//! ```compile_fail,E0277
//! use overlapped::Session;
//!
//! fn on_open<S>(session: &mut Session<'_, S>) {
//!     std::thread::scope(|scope| drop(scope.spawn(|| session.send("from another thread"))));
//! }
//! ```
//!
//! E0277, *… cannot be sent between threads safely*: a session stays on its worker (INV-5). A handle posts to the
//! worker, whose queue decides the order.
//!
//! ```
//! use overlapped::Session;
//!
//! fn on_open<S>(session: &mut Session<'_, S>) {
//!     let handle = session.handle();
//!     std::thread::scope(|scope| drop(scope.spawn(|| handle.send("from another thread"))));
//! }
//! ```
//!
//! ## handle-reuse
//!
//! A number outlives its socket, and names another one. No session is found by a number:
//!
//! ```compile_fail,E0308
//! use overlapped::WorkerContext;
//!
//! fn is_here<S>(worker: &mut WorkerContext<'_, S>, socket: u64) -> bool {
//!     worker.session(socket).is_some()
//! }
//! ```
//!
//! E0308, *mismatched types: expected `SessionId`, found `u64`*. A [`SessionId`](crate::SessionId) has no public
//! constructor. It holds a slot and the slot's generation (INV-3).
//!
//! ```
//! use overlapped::{SessionId, WorkerContext};
//!
//! fn is_here<S>(worker: &mut WorkerContext<'_, S>, id: SessionId) -> bool {
//!     worker.session(id).is_some()
//! }
//! ```
//!
//! An id may be kept for any time, so its session may have ended. A program has to ask:
//!
//! ```compile_fail,E0599
//! use overlapped::{SessionId, WorkerContext};
//!
//! fn send_statement<S>(worker: &mut WorkerContext<'_, S>, alice: SessionId) {
//!     worker.session(alice).send("your balance is 5000");
//! }
//! ```
//!
//! E0599, *no method named `send` found for enum `Option<T>`*: there may be no such session any more.
//!
//! ```
//! use overlapped::{SessionId, WorkerContext};
//!
//! fn send_statement<S>(worker: &mut WorkerContext<'_, S>, alice: SessionId) {
//!     if let Some((mut alice, _state)) = worker.session(alice) {
//!         alice.send("your balance is 5000");
//!     }
//! }
//! ```
//!
//! ## skip-on-success
//!
//! A completion is counted twice, or waited for in vain. The question "over now, or later?" is a type,
//! [`Submitted`](proactor::operation::Submitted), so that neither case can be left out:
//!
//! ```compile_fail,E0004
//! use proactor::operation::{Outcome, Submitted};
//!
//! fn result<S>(submitted: Submitted<S>) -> Option<Outcome<S>> {
//!     match submitted {
//!         Submitted::Done(outcome) => Some(outcome),
//!     }
//! }
//! ```
//!
//! E0004, *non-exhaustive patterns: `Submitted::Pending` not covered*.
//!
//! ```
//! use proactor::operation::{Outcome, Submitted};
//!
//! fn result<S>(submitted: Submitted<S>) -> Option<Outcome<S>> {
//!     match submitted {
//!         Submitted::Done(outcome) => Some(outcome),
//!         Submitted::Pending => None,
//!     }
//! }
//! ```
//!
//! A result cannot be used twice:
//!
//! ```compile_fail,E0382
//! use proactor::operation::Outcome;
//!
//! fn end_operation<S>(_outcome: Outcome<S>) {}
//!
//! fn completed<S>(outcome: Outcome<S>) {
//!     end_operation(outcome); // by the call's result
//!     end_operation(outcome); // by the packet
//! }
//! ```
//!
//! E0382, *use of moved value*. This holds for a value, not for an operation: a backend that answers `Done` and then
//! delivers a packet as well would have two outcomes. One function makes sure that this does not happen, `decide` in
//! `backend/iocp/errors.rs`; the conformance suite checks it on every backend.
//!
//! ```
//! use proactor::operation::Outcome;
//!
//! fn end_operation<S>(_outcome: Outcome<S>) {}
//!
//! fn completed<S>(outcome: Outcome<S>) {
//!     end_operation(outcome);
//! }
//! ```
//!
//! ## close-without-cancel
//!
//! The port or ring is closed while its operations are in flight. A [`Driver`](proactor::Driver) owns both the backend
//! and the memory of its operations. Taking one from the other needs `unsafe`:
//!
//! ```compile_fail,E0133
//! use proactor::Driver;
//! use proactor::backend::Backend;
//!
//! fn close<B: Backend>(mut driver: Driver<B>, other: B) {
//!     drop(std::mem::replace(driver.backend_mut(), other));
//! }
//! ```
//!
//! E0133, *call to unsafe function `backend_mut`*: its contract is that the backend stays this driver's. Dropping the
//! driver cancels, reaps, then frees (INV-10). Only its own thread can do that: a driver is not `Send`.
//!
//! ```
//! use proactor::Driver;
//! use proactor::backend::Backend;
//!
//! fn close<B: Backend>(driver: Driver<B>) {
//!     drop(driver);
//! }
//! ```
//!
//! ## lock-while-sending
//!
//! A broadcast holds the lock of the session list while it sends. Threads cannot share a list of sessions behind a lock:
//!
//! ```compile_fail,E0277
//! use std::sync::Mutex;
//!
//! use overlapped::Session;
//!
//! fn share<S>(room: &Mutex<Vec<Session<'_, S>>>) {
//!     std::thread::scope(|scope| drop(scope.spawn(|| room.lock().unwrap().len())));
//! }
//! ```
//!
//! E0277: a mutex that several threads use may only hold what can be sent between them. Handles can. Their
//! `send` posts to a worker and returns: [`Sent::Full`](crate::Sent::Full) at the session's limit, however slow the
//! peer. Many sessions at once are reached with [`WorkerHandle::broadcast_to`](crate::WorkerHandle::broadcast_to).
//!
//! ```
//! use std::sync::Mutex;
//!
//! use overlapped::SessionHandle;
//!
//! fn share(room: &Mutex<Vec<SessionHandle>>) {
//!     std::thread::scope(|scope| drop(scope.spawn(|| room.lock().unwrap().len())));
//! }
//! ```
//!
//! The compiler does not see a program that holds a lock of its own while it does something slow. Within callbacks no
//! lock is needed.
//!
//! ## parse-loop
//!
//! A parser does not advance. [`Framed`](crate::Framed) checks that each item removes at least one byte. A
//! [`Decoder`](crate::codec::Decoder) that returns an item and removes none panics: that aborts the session and is
//! reported, so the mistake cannot stop a worker. With a length in front, an empty frame takes its prefix:
//!
//! ```
//! use overlapped::codec::{Decoder, Input};
//! use overlapped::{FrameError, LengthPrefixed, buffers::AlignedBuf};
//!
//! let mut bytes = AlignedBuf::from(&[0, 0, 0, 5][..]);
//! let mut input = Input::new(&mut bytes);
//! let empty = LengthPrefixed::of_width(2, 4096).decode(&mut input)?.expect("a whole frame");
//! assert_eq!((empty.len(), input.len()), (0, 2));
//! # Ok::<(), FrameError>(())
//! ```
//!
//! ## length-bomb
//!
//! A length is believed, and its bytes never come. There is no framing of this crate without a limit:
//!
//! ```compile_fail,E0061
//! use overlapped::LengthPrefixed;
//!
//! fn framing() -> LengthPrefixed {
//!     LengthPrefixed::of_width(2)
//! }
//! ```
//!
//! E0061, *this function takes 2 arguments but 1 argument was supplied*: the second is the longest frame.
//!
//! ```
//! use overlapped::LengthPrefixed;
//!
//! fn framing() -> LengthPrefixed {
//!     LengthPrefixed::of_width(2, 4096)
//! }
//! ```
//!
//! A length over the limit is refused as soon as it is read, and nothing is allocated for a length: memory grows with
//! what arrives.
//!
//! ```
//! use overlapped::codec::{Decoder, Input};
//! use overlapped::{FrameError, LengthPrefixed, buffers::AlignedBuf};
//!
//! let mut bytes = AlignedBuf::from(&65_535_u16.to_be_bytes()[..]);
//! let refused = LengthPrefixed::of_width(2, 4096).decode(&mut Input::new(&mut bytes));
//! assert_eq!(refused.unwrap_err(), FrameError::TooLong { len: 65_535, most: 4096 });
//! ```
//!
//! A length within the limit whose bytes never come is a matter of time.
//! [`Server::idle_timeout`](crate::Server::idle_timeout) ends a silent session. A peer that sends a byte now and then is
//! not silent: against it, set [`Framed::timeout`](crate::Framed::timeout).
