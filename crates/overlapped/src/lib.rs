//! TCP sessions on completion I/O: the kernel gets a buffer, and reports when the operation is done.
//!
//! IOCP on Windows, io_uring on Linux, and readiness (epoll, kqueue) where a ring cannot be made: one behaviour on all of
//! them. You write a [`Handler`]; the engine keeps the sessions: it accepts, receives, sends in order, holds back a peer
//! that reads slowly, closes gracefully, and drains. For servers with many long-lived sessions: games, gateways, device
//! hubs, brokers, relays.
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
//!       on_open ──► on_data … on_data ──► on_half_close            the peer's FIN; closes, unless overridden
//!                   on_writable, on_idle, on_timer                 in between, for the same session
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
//! [`Session::finish`] ends this side's stream alone: what is queued goes out, then FIN, and `on_data` goes on until the
//! peer ends its own. [`CloseReason`] tells the ends apart: end of stream, reset, abort, local close, a timeout, a drain.
//!
//! # Promises
//!
//! * **Order.** Bytes that are sent to one session leave in the order of the calls that took them, and are neither lost nor
//!   doubled while the connection lives. Posts of one thread arrive in their order. Between sessions, and between threads,
//!   there is no order.
//! * **Graceful close.** [`close`](Session::close) delivers everything that was queued before it, then ends the stream. It
//!   never becomes a reset from this side because the peer still sends; only a peer that sends beyond the linger timeout is
//!   reset.
//! * **One end.** Each session whose `on_open` returned gets exactly one `on_close`, unless a callback panicked (then
//!   [`on_panic`](Handler::on_panic)) or the server broke down.
//! * **No stale effect.** A [`SessionId`] or [`SessionHandle`] that is kept too long finds nothing; it never reaches another
//!   session.
//! * **Bounded memory.** Above the high-water mark of unsent bytes a session's receive pauses; above the hard limit
//!   [`send`](Session::send) answers [`Sent::Full`], and a policy decides (see [`Server::overflow`]). Mailboxes are
//!   bounded: [`PostError::Full`].
//! * **Shortages are retried.** When descriptors, blocks or kernel memory run out, accepting and receiving wait and are
//!   retried with back-off. No connection is closed for it. [`Stats`] counts it.
//!
//! Not promised:
//!
//! * **Delivery.** [`Sent::Ok`] means "queued", and [`Stats::bytes_sent`] counts what the kernel has accepted. Whether the
//!   peer's program has read it, only an answer of the peer can tell.
//! * **Message boundaries.** TCP is a stream: `on_data` gets bytes as the network cut them. [`Framed`] makes frames.
//! * **Exact timing.** Timers are never early and up to 4 ms late, more if a callback blocks its worker.
//! * **Progress of a worker whose callback blocks.** See [`Handler`].
//!
//! # What is where
//!
//! | module | what it has |
//! | --- | --- |
//! | this one | [`Server`], [`Handler`], [`Session`], [`WorkerContext`], and what nearly every program names, of the others too |
//! | [`framing`] | frames out of a stream: [`Framed`], and the framings |
//! | [`settings`] | addresses, backends, options of sockets, policies; what a start reports |
//! | [`buffers`] | bytes that are received and sent: [`Lease`], [`Bytes`], [`Payload`] |
//! | [`handles`] | for other threads: [`ServerHandle`], [`WorkerHandle`], [`SessionHandle`] |
//! | [`events`] | what can be seen of a server: events, [`Stats`], the steps of operations |
//! | [`docs`] | the classic mistakes, and what refuses each |
//!
//! # To do this, use that
//!
//! | to … | use |
//! | --- | --- |
//! | listen, on one or several addresses | [`Server::bind`], [`Server::also_bind`], `Server::from(TcpListener)` |
//! | send the received block on, without a copy | [`Session::send`] with the [`Lease`] |
//! | send one buffer to many sessions | [`Bytes`] with [`WorkerContext::broadcast`] or [`WorkerHandle::broadcast`] |
//! | cut the stream into lines or frames | [`Framed`] with [`Lines`], [`Delimiter`], [`LengthPrefixed`], or your [`Framing`] |
//! | send from another thread | [`Session::handle`], [`SessionHandle::send`] |
//! | bring a result back from another thread | [`WorkerHandle::post`], [`Handler::on_message`] |
//! | connect to another server | [`WorkerContext::connect`], [`Session::token`] |
//! | relay between two sessions, with back-pressure | [`Session::feed`] |
//! | stop and resume receiving | [`Session::pause`], [`Session::resume`] |
//! | send more when there is room again | [`Handler::on_writable`] |
//! | run something later, or periodically | [`Session::set_timer`], [`Server::tick`] |
//! | end silent, slow or vanished peers | [`Server::idle_timeout`], [`Server::first_byte_timeout`], [`Server::write_timeout`], [`Server::keepalive`], [`Server::user_timeout`] |
//! | limit sessions | [`Server::max_sessions`], [`Server::max_per_address`], [`raise_descriptor_limit`] |
//! | end the server without losing answers | [`ServerHandle::drain`], or [`ServerHandle::begin_drain`] in a callback |
//! | watch it | [`ServerHandle::stats`], [`Server::observer`], [`Server::trace_operations`] |
//! | choose the backend | [`Server::backend`]; [`ServerHandle::refusals`] says why a better one was refused |
//!
//! # Ending a server
//!
//! A drain stops accepting, answers what was received, closes every session gracefully, and cuts what is left at its
//! deadline.
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
//! // `main` would wait for a signal here. The client reads an end of stream, and ends its own.
//! let client = std::thread::spawn(move || client.read_to_end(&mut Vec::new()));
//! let report = server.drain(Duration::from_secs(5))?;
//! assert_eq!((report.drained, report.cut, report.bytes_lost), (1, 0, 0));
//! # assert_eq!(client.join().expect("the client does not panic")?, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! One worker is one thread. A session stays on its worker, and handlers of one worker never overlap, so a handler's
//! fields need no lock. Handles ([`SessionHandle`], [`WorkerHandle`], [`ServerHandle`]) may be used on any thread: they post
//! to a worker's mailbox.
//!
//! # Platforms
//!
//! | system | backend | notes |
//! | --- | --- | --- |
//! | Linux 6.0 or newer, 64-bit | io_uring | falls back to readiness where a ring is forbidden (many containers) |
//! | other Linux, macOS, the BSDs | readiness | epoll or kqueue. macOS and the BSDs are only type-checked |
//! | Windows | IOCP | tested under Wine; not yet run on Windows itself |
//!
//! # Absent on purpose
//!
//! * **TLS, HTTP, WebSocket.** This is the transport. Terminate TLS in front of it, for instance with HAProxy.
//! * **async/await.** A session costs a few hundred bytes and no task; a callback runs as soon as its completion is seen.
//!   For request handlers that await databases, take an async runtime.
//! * **UDP, Unix sockets, files.**
//! * **A client API of its own.** Outbound sessions belong to a server's workers.
//! * **Clustering.** Between machines, use a broker or a load balancer.
//!
//! # Other processes
//!
//! All descriptors that this library opens are close-on-exec: a program that the process starts, as
//! [`std::process::Command`] does, inherits none of them. A process that is made by `fork(2)` and executes nothing holds a
//! copy of each, and a connection ends only with its last copy: while such a process lives, the peer of a session that was
//! closed or [aborted](Session::abort) sees no reset, and no end beyond the FIN that a graceful close sends before, and the
//! port of a server that has ended stays in use. Fork before the server starts, or execute a program. A listener that was
//! [handed over](Server#impl-From<TcpListener>-for-Server) keeps the flags it came with.
//!
//! # Mistakes
//!
//! [`docs::pitfalls`] lists the classic mistakes of completion I/O, and what refuses each: the compiler, or a check at run
//! time.
#![forbid(unsafe_code)]

mod admission;
mod config;
mod context;
pub mod docs;
mod endpoint;
mod error;
mod framed;
mod handler;
#[cfg(all(loom, test))]
mod loom_models;
mod mailbox;
mod observe;
mod panics;
mod server;
mod session;
mod shared;
mod sync;
mod timers;
mod worker;

/// The crate's README: its example is compiled with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// Frames out of a stream: lines, pieces up to a delimiter, length prefixes, or a framing of your own.
pub mod framing {
    pub use crate::framed::{
        Delimiter, Found, FrameError, FrameHandler, Framed, FramedState, Framing, LengthPrefixed, Lines,
    };
}

/// What a server is built with, beside numbers and times: addresses, backends, options of sockets, policies. And what its
/// start reports: refused backends, skipped addresses.
pub mod settings {
    pub use crate::config::{OnPanic, Overflow};
    pub use crate::endpoint::Endpoint;
    pub use crate::server::SkippedAddress;
    pub use proactor::backend::choice::{Choice, Refusal};
    pub use proactor::{BackendKind, SocketOptions};
}

/// Bytes that are received and sent: blocks of the pool, buffers that many sessions share, copies.
pub mod buffers {
    pub use bytes::Bytes;
    pub use proactor::{AlignedBuf, Lease, Payload};
}

/// For other threads: handles of a server, of its workers and sessions, and what they answer.
pub mod handles {
    pub use crate::server::{DrainReport, ServerHandle};
    pub use crate::session::{PostError, SessionHandle};
    pub use crate::worker::WorkerHandle;
}

/// What can be seen of a server: its events, its counters, and each step of its operations.
pub mod events {
    pub use crate::observe::{Event, Rejection, Stats};
    pub use proactor::{Call, Moment, OpKey, Step, TraceResult};
}

// What nearly every program names. The rest is in the modules.
pub use context::{Session, WorkerContext};
pub use error::{Error, Result};
pub use handler::Handler;
pub use server::{Server, raise_descriptor_limit};
pub use session::{CloseReason, Sent, SessionId};

pub use buffers::{AlignedBuf, Bytes, Lease, Payload};
pub use events::{Event, Moment, Rejection, Stats, Step, TraceResult};
pub use framing::{Delimiter, Found, FrameError, FrameHandler, Framed, Framing, LengthPrefixed, Lines};
pub use handles::{DrainReport, PostError, ServerHandle, SessionHandle, WorkerHandle};
pub use settings::{BackendKind, Choice, Endpoint, OnPanic, Overflow, Refusal, SocketOptions};
