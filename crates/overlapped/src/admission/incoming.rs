//! A connection that has arrived, as the handler is asked about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::observe::Rejection;

/// A connection that was accepted and is not a session yet: see [`Handler::on_accept`](crate::Handler::on_accept).
pub struct Incoming<'a> {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) local: &'a dyn Fn() -> io::Result<SocketAddr>,
    pub(crate) listener: u64,
    pub(crate) sessions: usize,
    pub(crate) limit_reached: Option<Rejection>,
}

impl Incoming<'_> {
    /// The address at the other end. `None` if the peer is already gone.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The address at this end. Asks the system each time. [`listener`](Self::listener) costs nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        (self.local)()
    }

    /// The token of the listener that it arrived on: see [`Server::listener_token`](crate::Server::listener_token). 0 by
    /// default.
    #[must_use]
    pub fn listener(&self) -> u64 {
        self.listener
    }

    /// The server's sessions, on all workers, without this one. Outbound connections count, and so do connections that
    /// were admitted and wait for their `on_open`.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// The limit that is reached, if one is: the connection is turned away in any case.
    #[must_use]
    pub fn limit_reached(&self) -> Option<Rejection> {
        self.limit_reached
    }
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Incoming { peer, listener, sessions, limit_reached, local: _ } = self;
        f.debug_struct("Incoming")
            .field("peer", peer)
            .field("listener", listener)
            .field("sessions", sessions)
            .field("limit_reached", limit_reached)
            .finish_non_exhaustive()
    }
}

/// The answer of [`Handler::on_accept`](crate::Handler::on_accept).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// The connection becomes a session, unless a limit is reached.
    #[default]
    Admit,
    /// The connection is turned away: the peer reads these bytes, which may be none, then an end of stream. Bytes that
    /// it has sent or still sends are discarded, so that the connection is not reset (see
    /// [`Server::max_sessions`](crate::Server::max_sessions)). A few kilobytes are out at once; of a longer last word,
    /// the peer gets what it reads within 100 ms.
    Refuse(Bytes),
}

impl Admission {
    /// [`Refuse`](Self::Refuse) with anything that becomes [`Bytes`]: `Admission::refuse("server full\n")`.
    pub fn refuse(last_word: impl Into<Bytes>) -> Admission {
        Admission::Refuse(last_word.into())
    }
}
