//! Completion I/O for TCP sockets: submit an operation, take its completion. The crate behaves the same on io_uring,
//! IOCP, epoll and kqueue.
//!
//! `proactor` is for programs that manage sockets themselves: a server framework, a proxy, a load generator. It handles
//! sockets and bytes, but no sessions and no protocols. The crate `overlapped` adds sessions, send queues, deadlines
//! and draining. If you write a server, use that crate.
//!
//! `proactor` has two layers:
//!
//! * [`Driver`], written once for all kernels. It owns the connections, the operations in flight and their memory. It
//!   decides when an operation is submitted, continued or cancelled, and when a socket may be closed.
//! * [`backend`], one module per kernel interface. A backend translates three requests into system calls: submit an
//!   operation, cancel an operation, return what has completed.
//!
//! # Example: an echo server
//!
//! ```
//! use std::collections::{HashMap, VecDeque};
//!
//! use proactor::backend::{Backend, Create, Wait};
//! # #[cfg(unix)]
//! use proactor::backend::readiness::Readiness as Kernel; // or `io_uring::IoUring`, `iocp::Iocp`
//! # #[cfg(windows)]
//! # use proactor::backend::iocp::Iocp as Kernel;
//! use proactor::{ConnectionKey, Driver, Event, Lease, ListenOptions, Pool, PoolConfig, listen};
//!
//! #[derive(Default)]
//! struct Echo {
//!     waiting: VecDeque<Lease>,
//!     ended: bool,
//! }
//!
//! /// Sends the waiting blocks, one at a time. Then receives again, or closes if the peer has ended its stream.
//! fn advance<B: Backend>(driver: &mut Driver<B>, key: ConnectionKey, echo: &mut Echo) {
//!     while !driver.is_sending(key) {
//!         match echo.waiting.pop_front() {
//!             Some(data) => _ = driver.send(key, data),
//!             None if echo.ended => return driver.close(key),
//!             None => return driver.receive(key),
//!         }
//!     }
//!     driver.pause_receive(key);
//! }
//!
//! let mut driver = Driver::new(Kernel::create(Pool::new(PoolConfig::default()))?);
//! let listener = driver.listen(listen("127.0.0.1:0".parse()?, ListenOptions::default())?)?;
//! let mut sessions: HashMap<ConnectionKey, Echo> = HashMap::new();
//! # let address = driver.listener_addr(listener)?;
//! # let client = std::thread::spawn(move || -> std::io::Result<Vec<u8>> {
//! #     use std::io::{Read, Write};
//! #     let mut stream = std::net::TcpStream::connect(address)?;
//! #     stream.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
//! #     stream.write_all(b"hello")?;
//! #     stream.shutdown(std::net::Shutdown::Write)?;
//! #     let mut got = Vec::new();
//! #     stream.read_to_end(&mut got)?;
//! #     Ok(got)
//! # });
//! # let mut released = 0;
//! # while released == 0 {
//! # /*
//! loop {
//! # */
//!     driver.turn(Wait::Forever)?; // submits what is batched, waits for a completion
//!     while let Some(event) = driver.next_event() {
//!         match event {
//!             Event::Accepted { socket, .. } => {
//!                 let key = driver.adopt(socket)?;
//!                 sessions.insert(key, Echo::default());
//!                 driver.receive(key);
//!             }
//!             Event::Received { connection, data } => {
//!                 let echo = sessions.get_mut(&connection).expect("it was adopted");
//!                 echo.waiting.push_back(data);
//!                 advance(&mut driver, connection, echo);
//!             }
//!             Event::Sent { connection, .. } => {
//!                 let echo = sessions.get_mut(&connection).expect("it was adopted");
//!                 advance(&mut driver, connection, echo);
//!             }
//!             Event::EndOfStream { connection } => {
//!                 let echo = sessions.get_mut(&connection).expect("it was adopted");
//!                 echo.ended = true;
//!                 advance(&mut driver, connection, echo);
//!             }
//!             Event::Failed { connection, .. } => driver.abort(connection),
//!             Event::Released { connection } => {
//!                 sessions.remove(&connection);
//! #               released += 1;
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//! # assert_eq!(client.join().expect("it does not panic")?, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! * From submit to completion the driver owns every byte that the kernel may touch. Dropping a driver with
//!   operations in flight is safe.
//! * Bytes are sent in order; a short send is continued. A graceful close sends no reset as long as the caller receives
//!   until the peer's FIN (see [`Driver::finish`]).
//! * End of stream, reset, abort and local close are four different outcomes.
//! * Calls with the key of a connection that is gone are no-ops: the next connection in its slot has another key.
//! * When buffers or memory run out, receives and sends wait or are retried with back-off. When descriptors or memory
//!   for an accept run out, accepting pauses until [`Driver::resume_accept`]. No connection is closed because of a
//!   shortage.
//!
//! One suite of conformance tests checks these guarantees on every backend, the simulated kernel included.
//!
//! # Threads
//!
//! A driver, its leases and its pool stay on one thread; use one driver per thread. A [`Waker`], and a socket that no
//! driver owns (accepted, or from [`listen`]), may be passed to another thread. An [`AcceptWatch`] is used on a
//! separate thread, which runs no driver.
//!
//! # Platforms
//!
//! | system | backends, best first |
//! | --- | --- |
//! | Linux 6.0 or newer, 64 bits | [`io_uring`](backend#backends), readiness (epoll) |
//! | other Linux | readiness (epoll) |
//! | Windows 10 or newer | IOCP |
//! | macOS, BSDs | readiness (kqueue) |
//! | everywhere, for tests | [`simulated`](backend::simulated): a kernel in memory with a virtual clock and a seed |
//!
//! If the kind of backend is known only at run time, [`backend::visit`] calls a visitor with the type of that backend.
//! [`backend::probe`] reports what this machine supports.
//!
//! # Absent on purpose
//!
//! * No `async`: the caller's loop calls [`Driver::turn`]. There is no executor, and there are no futures.
//! * No UDP, no files, no Unix sockets, no TLS.
//! * No timers: [`backend::Wait::Until`] limits a wait, and the caller keeps its own deadlines.
//! * No send queue: at most one send per connection is in flight, and the caller queues further sends.
//!
//! This is the only crate of the workspace with `unsafe` code, except for `overlapped-pitfalls`, whose programs are
//! broken on purpose.
#![deny(unsafe_op_in_unsafe_fn)]

mod accept_watch;
pub mod backend;
pub mod buffer;
#[cfg(windows)]
pub mod console;
mod destination;
mod driver;
#[cfg_attr(feature = "guard-pages", expect(clippy::modulo_one, reason = "a chunk then holds one entry"))]
mod inflight;
pub mod operation;
pub mod os;
mod socket;
mod sync;
mod time;
mod waker;

pub use accept_watch::{AcceptWatch, try_accept};
#[doc(hidden)]
pub use backend::InFlight;
pub use backend::{Abilities, Backend, BackendKind};
pub use buffer::{AlignedBuf, Gather, Lease, Outgoing, Payload, Pool, PoolConfig};
pub use destination::{destination, refuse_itself};
pub use driver::{
    CONNECTIONS, ConnectionKey, Driver, Event, ListenerKey, Moment, Sending, Snapshot, Step, TraceResult,
    Tracer, Verb,
};
#[doc(hidden)]
pub use inflight::{EntryMut, EntryRef, Table};
pub use operation::{Call, OpKey};
pub use os::{address_unavailable, interface_index, prefetch};
#[cfg(unix)]
pub use socket::UnixCalls;
pub use socket::{
    Delivery, Discarded, ListenOptions, Socket, SocketCalls, SocketOptions, TcpInfo, listen, turn_away,
};
pub use time::Time;
pub use waker::{Wake, Waker};
