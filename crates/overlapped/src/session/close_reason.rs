//! Why a session ended.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use proactor::TcpInfo;

use super::{Origin, SessionId};

/// A session that has ended, as [`on_close`](crate::Handler::on_close) sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Closed {
    /// Its id, which is no longer valid: it names the session in tables and logs.
    pub id: SessionId,
    /// Why it ended.
    pub reason: CloseReason,
    /// The address at the other end. `None` only if the connection was already gone when the session began.
    pub peer: Option<SocketAddr>,
    /// Where it came from.
    pub origin: Origin,
    /// Bytes received in all.
    pub received: u64,
    /// Bytes of payloads that the kernel had accepted completely.
    pub sent: u64,
    /// What the system had measured when the connection was closed. `None` unless
    /// [`Server::tcp_info_at_close`](crate::Server::tcp_info_at_close) asks for it, and where the system does not report it.
    pub tcp: Option<TcpInfo>,
}

impl Closed {
    /// The token that was given to [`connect`](crate::WorkerContext::connect). `None` for an accepted session.
    #[must_use]
    pub fn token(&self) -> Option<u64> {
        self.origin.token()
    }

    /// The token of the listener that accepted it. `None` for an outbound session.
    #[must_use]
    pub fn listener(&self) -> Option<u64> {
        self.origin.listener()
    }
}

/// Why a session ended. The first cause counts: if a session is being closed and is then reset, the reason is the
/// close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended its stream, and got everything that was queued for it.
    EndOfStream,
    /// The handler or a handle closed it.
    Local,
    /// The handler or a handle closed it for a reason of the program's own: the code that was given to
    /// [`Session::close_with`](crate::Session::close_with). Given also if the peer had ended its stream before.
    ClosedWith(u32),
    /// The handler or a handle aborted it.
    Aborted,
    /// The handler or a handle aborted it for a reason of the program's own: the code that was given to
    /// [`Session::abort_with`](crate::Session::abort_with).
    AbortedWith(u32),
    /// The peer reset the connection.
    Reset,
    /// The handler closed it in [`on_idle`](crate::Handler::on_idle): silent for longer than an idle timeout.
    IdleTimeout,
    /// No first byte within its timeout.
    FirstByteTimeout,
    /// The peer read nothing for longer than the write timeout.
    WriteTimeout,
    /// The deadline that was set for it with [`Session::set_deadline`](crate::Session::set_deadline) has passed.
    Deadline,
    /// An item of its stream took too long to arrive (see [`Framed::timeout`](crate::Framed::timeout)).
    ItemTimeout,
    /// The peer's system has stopped answering: what was sent, or probes of keep-alive, stayed unacknowledged for as long as
    /// [`Server::user_timeout`](crate::Server::user_timeout), [`Server::keepalive`](crate::Server::keepalive) or the system
    /// allows (`ETIMEDOUT`; `EHOSTUNREACH` or `ENETUNREACH` where a router has reported it).
    PeerLost,
    /// More was queued for it than the hard limit, and the policy is to close.
    Overflow,
    /// The server drained, and the session got everything that was queued for it.
    Drained,
    /// The server drained, and the drain's deadline came before the session had ended.
    Cut,
    /// It sent an invalid frame, or one that is too long (see [`Framed`](crate::Framed)).
    BadFrame,
    /// The handler panicked in one of its callbacks.
    Panicked,
    /// The connection broke for another reason.
    Failed(io::ErrorKind),
}

impl CloseReason {
    /// Whether the session was closed gracefully: what was queued went out, then FIN. After any other end the peer saw a
    /// reset, or is gone.
    #[must_use]
    pub fn is_graceful(&self) -> bool {
        match self {
            CloseReason::EndOfStream
            | CloseReason::Local
            | CloseReason::ClosedWith(_)
            | CloseReason::IdleTimeout
            | CloseReason::FirstByteTimeout
            | CloseReason::Deadline
            | CloseReason::ItemTimeout
            | CloseReason::Drained
            | CloseReason::BadFrame => true,
            CloseReason::Aborted
            | CloseReason::AbortedWith(_)
            | CloseReason::Reset
            | CloseReason::WriteTimeout
            | CloseReason::PeerLost
            | CloseReason::Overflow
            | CloseReason::Cut
            | CloseReason::Panicked
            | CloseReason::Failed(_) => false,
        }
    }

    /// The reason for an error of the connection.
    pub(crate) fn of(error: &io::Error) -> CloseReason {
        match error.kind() {
            // A send after the peer's reset fails with "broken pipe".
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => CloseReason::Reset,
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                CloseReason::PeerLost
            }
            kind => CloseReason::Failed(kind),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::EndOfStream => "end of stream",
            CloseReason::Local => "closed here",
            CloseReason::ClosedWith(code) => return write!(f, "closed here with code {code}"),
            CloseReason::Aborted => "aborted here",
            CloseReason::AbortedWith(code) => return write!(f, "aborted here with code {code}"),
            CloseReason::Reset => "reset by the peer",
            CloseReason::IdleTimeout => "idle for too long",
            CloseReason::FirstByteTimeout => "no first byte in time",
            CloseReason::Deadline => "its deadline has passed",
            CloseReason::ItemTimeout => "an item took too long to arrive",
            CloseReason::WriteTimeout => "the peer does not read",
            CloseReason::PeerLost => "the peer no longer answers",
            CloseReason::Overflow => "too much queued for it",
            CloseReason::Drained => "drained",
            CloseReason::Cut => "cut by the drain deadline",
            CloseReason::BadFrame => "it sent no valid frame",
            CloseReason::Panicked => "the handler panicked",
            CloseReason::Failed(kind) => return write!(f, "failed: {kind}"),
        })
    }
}
