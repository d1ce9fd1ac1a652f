//! Connects that are asked for and not answered yet: each gets exactly one answer, a session or a failure.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;

use proactor::{ConnectionKey, Time};

use crate::admission::Seat;
use crate::connect::{Connect, ConnectId};
use crate::timers::TimerId;

/// What callbacks ask for, for the next flush.
pub(crate) enum ConnectRequest {
    /// Begin a connect.
    Begin(AskedConnect),
    /// Go on with a connect for which an earlier turn had no time.
    GoOn(ConnectId),
    /// Answer a connect with this failure. It is marked as [ending](PendingConnect::ending) meanwhile.
    End(ConnectId, End),
}

/// A connect that was asked for.
pub(crate) struct AskedConnect {
    pub(crate) connect: Connect,
    pub(crate) token: u64,
    /// When it begins, if that is later.
    pub(crate) at: Option<Time>,
    /// If it is refused: how many were in a row, with this one. The answer is still to be given. 0 if it is not.
    pub(crate) refusals: u8,
    /// True exactly when it was cancelled since.
    pub(crate) cancelled: bool,
}

/// Why a connect fails by our own doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Cancelled,
    Draining,
}

impl End {
    pub(crate) fn error(self) -> io::Error {
        match self {
            End::Cancelled => io::Error::new(io::ErrorKind::Interrupted, "the connect was cancelled"),
            End::Draining => io::Error::new(io::ErrorKind::ConnectionAborted, "the server is draining"),
        }
    }
}

/// How far a connect is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It begins later, when its timer is due.
    Delayed,
    /// Its name is being resolved.
    Resolving,
    /// Addresses are being tried.
    Trying,
}

/// A connect that is not answered yet.
pub(crate) struct PendingConnect {
    pub(crate) token: u64,
    pub(crate) connect: Connect,
    pub(crate) stage: Stage,
    /// True exactly when a request to end it is queued: it becomes no session any more.
    pub(crate) ending: bool,
    /// From when it begins.
    pub(crate) seat: Option<Seat>,
    /// If it has a deadline, from when it begins.
    pub(crate) deadline: Option<TimerId>,
    /// Its begin, or its next attempt.
    pub(crate) next: Option<TimerId>,
    /// Addresses that were not tried yet.
    pub(crate) left: VecDeque<SocketAddr>,
    /// Attempts in flight.
    pub(crate) attempts: Vec<ConnectionKey>,
    /// Of the last attempt that failed.
    pub(crate) error: Option<io::Error>,
}

/// The connects of a worker that are not answered yet, oldest first.
#[derive(Default)]
pub(crate) struct PendingConnects {
    pub(super) all: BTreeMap<ConnectId, PendingConnect>,
    last: u64,
}

impl PendingConnects {
    pub(crate) fn insert(&mut self, connect: Connect, token: u64) -> ConnectId {
        self.last += 1;
        let id = ConnectId(self.last);
        let pending = PendingConnect {
            token,
            connect,
            stage: Stage::Delayed,
            ending: false,
            seat: None,
            deadline: None,
            next: None,
            left: VecDeque::new(),
            attempts: Vec::new(),
            error: None,
        };
        self.all.insert(id, pending);
        id
    }

    pub(crate) fn get_mut(&mut self, id: ConnectId) -> Option<&mut PendingConnect> {
        self.all.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: ConnectId) -> Option<PendingConnect> {
        self.all.remove(&id)
    }

    #[cfg(test)]
    pub(crate) fn first(&self) -> Option<&PendingConnect> {
        self.all.values().next()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
