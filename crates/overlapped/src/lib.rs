//! TCP sessions on completion I/O: hand the kernel a buffer, the kernel tells you when it is done.
//!
//! IOCP on Windows, io_uring on Linux, and readiness (epoll, kqueue) where a ring may not be made: one
//! behaviour on all of them. You write a [`Handler`]; the engine keeps the sessions.
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
//! # Threads
//!
//! One worker is one thread. A session lives and dies on its worker, and handlers of one worker never overlap,
//! so a handler's fields need no lock. What crosses threads are handles ([`SessionHandle`], [`WorkerHandle`],
//! [`ServerHandle`]), which post to a worker's mailbox, and counters.
//!
//! # Limits
//!
//! Memory is bounded: over its high-water mark of unsent bytes a session stops receiving by itself; over the
//! hard limit [`Session::send`] answers [`Sent::Full`] and a policy decides (see [`Server::overflow`]).
//!
//! # Other processes
//!
//! All descriptors that this library opens are close-on-exec: a program that the process starts, as
//! [`std::process::Command`] does, holds none of them. A process that is made by `fork(2)` and executes nothing holds a copy
//! of each, and a connection ends only with its last copy: while such a process lives, the peer of a session that was
//! closed or [aborted](Session::abort) sees no reset, and no end beyond the FIN that a graceful close sends before, and the
//! port of a server that has ended stays in use. Fork before the server starts, or execute a program. A listener that was
//! [handed over](Server#impl-From<TcpListener>-for-Server) keeps the flags it came with.
//!
//! # Mistakes
//!
//! [`docs::pitfalls`] has the classic mistakes of completion I/O, and what refuses each: the compiler, or what at run
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

pub use bytes::Bytes;
pub use config::{OnPanic, Overflow};
pub use context::{Session, WorkerContext};
pub use endpoint::Endpoint;
pub use error::{Error, Result};
pub use framed::{
    Delimiter, Found, FrameError, FrameHandler, Framed, FramedState, Framing, LengthPrefixed, Lines,
};
pub use handler::Handler;
pub use observe::{Event, Rejection, Stats};
pub use proactor::backend::choice::{Choice, Refusal};
pub use proactor::{
    AlignedBuf, BackendKind, Call, Lease, Moment, OpKey, Payload, SocketOptions, Step, TraceResult,
};
pub use server::{DrainReport, Server, ServerHandle, SkippedAddress, raise_descriptor_limit};
pub use session::{CloseReason, PostError, Sent, SessionHandle, SessionId};
pub use worker::WorkerHandle;
