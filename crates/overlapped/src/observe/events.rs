//! The one event enum: counters, logs and traces are made from it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proactor::{BackendKind, Step, TcpInfo};

use crate::session::{CloseReason, SessionId};

/// Why a connection was turned away as soon as it had arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// The server has as many sessions as it may have.
    SessionLimit,
    /// Its peer's address has as many sessions as it may have.
    AddressLimit,
    /// [`Handler::on_accept`](crate::Handler::on_accept) refused it, or panicked.
    Handler,
    /// The system could not take it: out of descriptors or memory.
    System,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rejection::SessionLimit => "the session limit is reached",
            Rejection::AddressLimit => "its address has as many sessions as it may have",
            Rejection::Handler => "the handler refused it",
            Rejection::System => "the system could not take it",
        })
    }
}

/// Something that happened in a worker. Match it with `..` behind the fields: later versions may have more.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A session began.
    #[non_exhaustive]
    Opened {
        /// Which.
        session: SessionId,
        /// The other end; `None` only if the connection was already gone.
        peer: Option<SocketAddr>,
    },
    /// A session ended.
    #[non_exhaustive]
    Closed {
        /// Which.
        session: SessionId,
        /// The other end; `None` only if the connection was already gone when the session began.
        peer: Option<SocketAddr>,
        /// Why.
        reason: CloseReason,
        /// Bytes received in all.
        received: u64,
        /// Bytes sent in all.
        sent: u64,
        /// With [`Server::tcp_info_at_close`](crate::Server::tcp_info_at_close): what the system had measured.
        tcp: Option<TcpInfo>,
    },
    /// A connection was turned away (see [`Server::max_sessions`](crate::Server::max_sessions) and
    /// [`Handler::on_accept`](crate::Handler::on_accept)).
    #[non_exhaustive]
    Rejected {
        /// Why.
        reason: Rejection,
        /// The other end; `None` only if the connection was already gone.
        peer: Option<SocketAddr>,
        /// The token of the listener that it arrived on.
        listener: u64,
    },
    /// Bytes arrived for a session.
    #[non_exhaustive]
    Received {
        /// Which.
        session: SessionId,
        /// How many.
        bytes: usize,
    },
    /// Bytes of a session went out.
    #[non_exhaustive]
    Sent {
        /// Which.
        session: SessionId,
        /// How many.
        bytes: usize,
    },
    /// Bytes arrived for a session that has begun to close, and were discarded.
    #[non_exhaustive]
    Discarded {
        /// Which.
        session: SessionId,
        /// How many.
        bytes: usize,
    },
    /// A session ended with bytes that were queued but not sent, or that the kernel had received but the session had
    /// not; or with answers that it owed.
    #[non_exhaustive]
    Lost {
        /// Which.
        session: SessionId,
        /// How many bytes.
        bytes: usize,
        /// How many answers it [owed](crate::Session::owe) when a drain's deadline cut it. 0 if it ended for another
        /// reason.
        answers_owed: usize,
        /// Why it ended.
        reason: CloseReason,
    },
    /// Accepting pauses: the system is short of something. Reported at most once every 10 s; always counted.
    #[non_exhaustive]
    AcceptPaused {
        /// The system's error.
        error: &'a io::Error,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// The system had no memory for a receive or a send; both are retried automatically. Reported at most once every
    /// 10 s; always counted.
    #[non_exhaustive]
    Delayed {
        /// The system's error.
        error: &'a io::Error,
    },
    /// An outbound connection failed.
    #[non_exhaustive]
    ConnectFailed {
        /// Why.
        error: &'a io::Error,
    },
    /// A message or command was refused because the mailbox or the session's queue was full.
    PostRefused,
    /// A handler panicked, in a callback or in a destructor of what it keeps. If it was in a callback for a session that
    /// still lives, that one is aborted.
    #[non_exhaustive]
    Panicked {
        /// The session that the callback was for, if there is one.
        session: Option<SessionId>,
        /// The panic's message.
        message: &'a str,
    },
    /// One operation of a worker was submitted to the system, or has completed. Reported only with
    /// [`Server::trace_operations`](crate::Server::trace_operations).
    #[non_exhaustive]
    Operation {
        /// The worker's index.
        worker: usize,
        /// The worker's backend. [`call_names`](crate::BackendKind::call_names) returns the kernel's own names for its
        /// calls.
        backend: BackendKind,
        /// The session that the operation is for, if there is one. An outbound connection is a session only once it is
        /// connected.
        session: Option<SessionId>,
        /// Which operation, and whether it was submitted or has completed.
        step: &'a Step,
    },
    /// A callback took longer than [`Server::slow_callback`](crate::Server::slow_callback) allows. Reported by each worker
    /// at most once every 10 s; always counted.
    #[non_exhaustive]
    SlowCallback {
        /// The worker's index.
        worker: usize,
        /// The session that the callback was for, if there is one.
        session: Option<SessionId>,
        /// How long it took, to a tick of the system's coarse clock.
        took: Duration,
    },
    /// A worker began to drain.
    #[non_exhaustive]
    Draining {
        /// Sessions it has.
        sessions: usize,
    },
    /// An address of a name is not listened on, because this machine does not have it. Reported once, by the thread that
    /// starts the server. See [`Server::bind`](crate::Server::bind).
    #[non_exhaustive]
    AddressSkipped {
        /// The name with its port, as it was given.
        name: &'a str,
        /// The address that is left out.
        address: SocketAddr,
        /// The system's error.
        error: &'a io::Error,
    },
}
