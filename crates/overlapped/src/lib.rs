//! TCP sessions on completion I/O: the program gives the kernel a buffer, and the kernel reports when the operation is
//! done.
//!
//! The backends are IOCP on Windows, io_uring on Linux, and readiness (epoll, kqueue) where io_uring is not available.
//! All of them behave the same. You write a [`Handler`]; this crate manages the sessions: it accepts connections,
//! receives, sends in order, stops receiving from a peer that reads slowly, closes gracefully, and drains. The crate is
//! for servers with many long-lived sessions: games, gateways, device hubs, brokers, relays.
//!
//! ```no_run
//! use overlapped::{Handler, Lease, Server, Session};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type State = ();
//!     type Message = ();
//!
//!     fn on_open(&mut self, _session: &mut Session<'_>) {}
//!
//!     fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) {
//!         session.send(data); // the received block itself is sent: no copy
//!     }
//! }
//!
//! fn main() -> overlapped::Result<()> {
//!     Server::bind("127.0.0.1:9999")?.run(|_worker| Echo)
//! }
//! ```
//!
//! # The life of a session
//!
//! ```text
//!   accepted, or connected
//!          │
//!       on_open ──► on_data … on_data ──► on_half_close            at the peer's FIN; the default closes the session
//!                   on_writable, on_idle, on_timer, on_drain       at any time in between
//!          │
//!       session.close() ──► what is queued goes out ──► FIN ──► the peer's FIN, or the linger timeout
//!          │                                                           │
//!       session.abort(), a reset, an overflow, a write timeout         │
//!          │                                                           │
//!          └──────────────► the connection is closed ◄─────────────────┘
//!                                    │
//!                                on_close      exactly once, with the reason
//! ```
//!
//! [`Session::finish`] ends only this side's stream: queued bytes are sent, then FIN, and `on_data` is still called
//! until the peer ends its stream. [`CloseReason`] says why a session ended, for instance end of stream, reset, abort,
//! local close, timeout or drain.
//!
//! # Promises
//!
//! * **Order.** Bytes for one session are sent in the order of the `send` calls that queued them. No byte is lost or
//!   duplicated while the connection lives. Messages that one thread posts arrive in the order in which they were
//!   posted. There is no order between sessions or between threads.
//! * **Graceful close.** [`close`](Session::close) sends everything that was queued before it, then FIN. This side
//!   sends no reset, unless the peer still sends after the linger timeout.
//! * **One end.** `on_close` is called exactly once for each session whose `on_open` returned, unless a callback
//!   panicked (then [`on_panic`](Handler::on_panic) is called) or the whole server failed.
//! * **Stale ids are harmless.** A call with the [`SessionId`] or [`SessionHandle`] of a session that has ended has no
//!   effect. It never affects another session.
//! * **Bounded memory.** When a session's unsent bytes exceed the high-water mark, its receive pauses until they have
//!   fallen to the low-water mark. Above the hard limit [`send`](Session::send) returns [`Sent::Full`], and
//!   [`Server::overflow`] decides whether the session is closed. Mailboxes are bounded: a post to a full one returns
//!   [`PostError::Full`].
//! * **Shortages are retried.** When descriptors, blocks or kernel memory run out, accepts, receives and sends wait, or
//!   are retried with back-off. No connection is closed because of a shortage. [`Stats`] counts shortages.
//!
//! Not promised:
//!
//! * **Delivery.** [`Sent::Ok`] means "queued", and [`Stats::bytes_sent`] counts bytes that the kernel has accepted.
//!   Only an answer from the peer's program can show that it has read them.
//! * **Message boundaries.** TCP is a stream: `on_data` gets pieces of any length. [`Framed`] cuts the stream into
//!   frames.
//! * **Exact timing.** A timer never fires early. It may fire up to 4 ms late, or later if a callback blocks its
//!   worker.
//! * **Progress while a callback blocks.** See [`Handler`].
//!
//! # What is where
//!
//! | module | what it has |
//! | --- | --- |
//! | this one | [`Server`], [`Handler`], [`Session`], [`WorkerContext`], and those items of the other modules that nearly every program uses |
//! | [`codec`] | items out of a stream, and back: [`Framed`], the traits [`Decoder`](codec::Decoder) and [`Encoder`](codec::Encoder), and the usual framings |
//! | [`settings`] | addresses, backends, options of sockets, policies; what a start reports |
//! | [`buffers`] | bytes that are received and sent: [`Lease`], [`Bytes`], [`Payload`] |
//! | [`handles`] | for other threads: [`ServerHandle`], [`WorkerHandle`], [`SessionHandle`] |
//! | [`events`] | what a server reports: events, [`Stats`] |
//! | [`trace`] | the steps of operations, as [`Server::trace_operations`] reports them |
//! | [`testing`] | tests of handlers without sockets, under a virtual clock |
//! | [`docs`] | the classic mistakes, and what prevents each |
//!
//! # To do this, use that
//!
//! | to … | use |
//! | --- | --- |
//! | listen, on one or several addresses | [`Server::bind`], [`Server::also_bind`], `Server::from(TcpListener)`, [`Server::also_listen`] |
//! | know which listener a session came from | [`Server::listener_token`], [`Session::listener`], [`Session::origin`] |
//! | refuse connections, with a last word | [`Handler::on_accept`], [`Admission::Refuse`] |
//! | forward the received block without a copy | [`Session::send`] with the [`Lease`] |
//! | send one buffer to many sessions | [`Bytes`] with [`WorkerContext::broadcast`] or [`ServerHandle::broadcast`], [`WorkerHandle::broadcast_to`] |
//! | cut the stream into lines or frames | [`Framed`] with [`Lines`], [`Delimiter`], [`LengthPrefixed`], or a [`Decoder`](codec::Decoder) of your own |
//! | send from another thread | [`Session::handle`], [`SessionHandle::send`] |
//! | bring a result back from another thread | [`Session::owe`]; [`Owed::send`], or [`WorkerHandle::post`] and [`Handler::on_message`] |
//! | connect to another server, by address or by name | [`WorkerContext::connect`], [`Connect`], [`Session::token`] |
//! | write a client without a server | [`Server::without_listeners`], [`Handler::on_start`] |
//! | connect again when a connection is lost | [`Reconnect`] |
//! | find the session that asked for a connect | [`SessionId::to_token`], [`WorkerContext::id_from_token`] |
//! | relay between two sessions, with back-pressure | [`Session::feed`] |
//! | stop and resume receiving | [`Session::pause`], [`Session::resume`] |
//! | send more when there is room again | [`Session::is_writable`], [`Handler::on_writable`]; on another thread [`SessionHandle::send_timeout`], [`SessionHandle::wait_writable`] |
//! | know when a payload is out | [`Session::notify_when_sent`], [`Handler::on_sent`] |
//! | close for a reason of your own | [`Session::close_with`], [`Session::abort_with`], [`CloseReason::ClosedWith`] |
//! | wait longer before each retry | [`Backoff`] |
//! | run something later, or periodically | [`Session::set_timer`], [`WorkerContext::set_timer`], [`Server::tick`] |
//! | run something at a precise time | [`WorkerContext::set_precise_timer`]; the clock is [`WorkerContext::now`] |
//! | close sessions of silent, slow or lost peers | [`Server::idle_timeout`], [`Server::read_idle_timeout`], [`Server::first_byte_timeout`], [`Server::write_timeout`], [`Server::keepalive`], [`Server::user_timeout`] |
//! | send heartbeats | [`Server::write_idle_timeout`], [`Handler::on_idle`] |
//! | give one session limits of its own | [`Session::set_deadline`], [`Session::set_idle_timeout`], [`Session::set_send_limits`] |
//! | limit sessions | [`Server::max_sessions`], [`Server::max_per_address`], [`Server::ipv6_prefix`], [`raise_descriptor_limit`] |
//! | end the server without losing answers | [`ServerHandle::drain`], or [`ServerHandle::begin_drain`] in a callback |
//! | monitor the server | [`ServerHandle::stats`], [`Server::observer`], [`Server::trace_operations`] |
//! | test a handler without sockets | [`testing::World`] |
//! | lower latency for processor time | [`Server::busy_poll`], [`Server::pin_workers`] |
//! | choose the backend | [`Server::backend`]; [`ServerHandle::refusals`] says why a better one was refused |
//!
//! # Ending a server
//!
//! A drain accepts the connections that wait in the backlog, then stops accepting. The sessions answer what they have
//! received, and each is closed gracefully. The drain's deadline *cuts* the remaining sessions: it
//! ends them at once.
//!
//! A session whose answer comes from elsewhere looks as if everything were answered. It says that it is not:
//!
//! * An answer that another thread works on: [`Session::owe`] returns a guard that travels with the work. The drain waits
//!   until it is dropped (`examples/jobs.rs`).
//! * A relay: [`Session::feed`] joins its two sessions, and the drain leaves them until their peers end them
//!   (`examples/proxy.rs`).
//!
//! The drain's report counts what was cut: bytes, and answers that were still owed. [`Handler::on_drain`] is called for
//! each session when the drain begins, to say goodbye.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//! use std::time::Duration;
//!
//! use overlapped::{Handler, Lease, Server, Session};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type State = ();
//!     type Message = ();
//!
//!     fn on_open(&mut self, _session: &mut Session<'_>) {}
//!
//!     fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) {
//!         session.send(data);
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::bind("127.0.0.1:0")?.workers(1).start(|_worker| Echo)?;
//!
//! let mut client = TcpStream::connect(server.local_addr())?;
//! client.write_all(b"hello")?;
//! let mut answer = [0; 5];
//! client.read_exact(&mut answer)?;
//! assert_eq!(&answer, b"hello");
//!
//! // A real program would wait for a signal here. The client reads the end of stream, then closes its side.
//! let client = std::thread::spawn(move || client.read_to_end(&mut Vec::new()));
//! let report = server.drain(Duration::from_secs(5))?;
//! assert_eq!((report.drained, report.cut, report.bytes_lost, report.answers_owed), (1, 0, 0, 0));
//! # assert_eq!(client.join().expect("the client does not panic")?, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! One worker is one thread with one handler. A session stays on its worker, and the callbacks of one worker never
//! overlap, so the fields of a handler need no lock. Handles ([`SessionHandle`], [`WorkerHandle`], [`ServerHandle`])
//! may be used on any thread: they post to the mailboxes of workers.
//!
//! # Platforms
//!
//! | system | backend | notes |
//! | --- | --- | --- |
//! | Linux 6.0 or newer, 64-bit | io_uring | falls back to readiness where io_uring is forbidden (many containers) |
//! | other Linux, macOS, the BSDs | readiness | epoll or kqueue. macOS and the BSDs are only type-checked |
//! | Windows | IOCP | tested under Wine; not yet run on Windows itself |
//!
//! # Absent on purpose
//!
//! * **TLS, HTTP, WebSocket.** This crate provides only TCP transport. Terminate TLS in front of the server, for
//!   instance with HAProxy.
//! * **async/await.** A session uses a few hundred bytes and no task; a callback runs as soon as the worker takes the
//!   completion. If your request handlers wait for databases, use an async runtime.
//! * **UDP, Unix sockets, files.**
//! * **A separate client API.** Outbound sessions belong to workers, like accepted ones; a client is a
//!   [`Server::without_listeners`].
//! * **Clustering.** Between machines, use a broker or a load balancer.
//!
//! # Other processes
//!
//! All descriptors that this library opens are close-on-exec: a program that the process starts, as
//! [`std::process::Command`] does, inherits none of them. A process that was made by `fork(2)` and has not called
//! `exec` holds a copy of each descriptor, and a connection ends only when its last copy is closed. While such a
//! process lives, the peer of an [aborted](Session::abort) session sees no reset, the peer of a gracefully closed
//! session sees only its FIN, and the ports of a server that has ended stay in use. So fork before the server starts,
//! or call `exec` after `fork`. A listener that was [handed over](Server#impl-From<TcpListener>-for-Server) keeps its
//! `FD_CLOEXEC` flag as it was.
//!
//! # Mistakes
//!
//! [`docs::pitfalls`] lists the classic mistakes of completion I/O. For each it says what prevents the mistake: the
//! compiler, or a check at run time.
#![forbid(unsafe_code)]

mod admission;
mod backoff;
mod catch_panic;
pub mod codec;
mod config;
mod connect;
mod context;
pub mod docs;
mod endpoint;
mod error;
mod handler;
#[cfg(all(loom, test))]
mod loom_models;
mod mailbox;
mod observe;
mod reconnect;
mod resolver;
mod server;
mod session;
mod shared;
mod sync;
pub mod testing;
mod timers;
#[cfg(feature = "tracing")]
pub mod tracing;
mod worker;
mod worker_thread;

/// The crate's README: its example is compiled with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// Types of the settings that are not numbers or times: addresses, backends, socket options, policies; and what a start
/// reports: refused backends, skipped addresses.
pub mod settings {
    pub use crate::config::{OnPanic, Overflow};
    pub use crate::endpoint::Endpoint;
    pub use crate::server::SkippedAddress;
    pub use crate::session::SendLimits;
    pub use proactor::backend::choice::{Choice, Refusal, UnknownBackend};
    pub use proactor::{BackendKind, SocketOptions};
}

/// Bytes that are received and sent: blocks of the pool, buffers that many sessions share, copies.
pub mod buffers {
    pub use bytes::Bytes;
    pub use proactor::{AlignedBuf, Lease, Payload};
}

/// For other threads: handles of a server, its workers and its sessions, and the results that their methods return.
pub mod handles {
    pub use crate::server::{DrainReport, ServerHandle, ServerState, WorkerWatch};
    pub use crate::session::{
        Activity, BadCursor, Owed, PostError, SessionCursor, SessionHandle, SessionInfo, SessionPage,
    };
    pub use crate::worker::WorkerHandle;
    pub use proactor::TcpInfo;
}

/// What a server reports: its events and its counters.
pub mod events {
    pub use crate::observe::{Event, Metric, MetricKind, Rejection, Stats};
}

/// The steps of a worker's operations, which [`Event::Operation`] reports with [`Server::trace_operations`].
pub mod trace {
    pub use proactor::{Call, Moment, OpKey, Step, TraceResult};
}

// What nearly every program names. The rest is in the modules.
pub use admission::{Admission, Incoming};
pub use backoff::Backoff;
pub use connect::Connect;
pub use context::{Session, WorkerContext};
pub use error::{Error, Result};
pub use handler::Handler;
pub use reconnect::Reconnect;
pub use server::{Server, raise_descriptor_limit};
pub use session::{CloseReason, Closed, Idle, Origin, Sent, SessionId};

pub use proactor::Time;

pub use buffers::{Bytes, Lease, Payload};
pub use codec::{Delimiter, FrameError, Framed, LengthPrefixed, Lines};
pub use events::{Event, Stats};
pub use handles::{DrainReport, Owed, PostError, ServerHandle, ServerState, SessionHandle, WorkerHandle};
pub use settings::{BackendKind, Choice, Endpoint, OnPanic, Overflow, SocketOptions};
