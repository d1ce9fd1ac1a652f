//! The state of one connection.

use crate::backend::{Backend, Close};

use super::inflight::OpKey;

/// One connection: its socket, and what is in flight for it.
pub(super) struct Connection<B: Backend> {
    pub(super) socket: B::Socket,
    pub(super) handle: B::Handle,
    pub(super) life: Life,
    pub(super) receive: Receive,
    pub(super) send: Option<OpKey>,
    /// True exactly when a send has failed: it may have met an error that the receiving half then lacks.
    pub(super) send_failed: bool,
    /// True exactly when a report of a pause is in the ready list.
    pub(super) pause_queued: bool,
    /// Counted references: one for each operation in flight. At zero, and only then, a closing connection is
    /// released (INV-2).
    pub(super) in_flight: u8,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Connecting(OpKey),
    Open,
    /// Joining: released when nothing is in flight any more.
    Closing(Close),
}

/// The receiving half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// Not wanted.
    Idle,
    /// Wanted, and armed as soon as the event at hand was handled.
    Wanted,
    /// In flight.
    Armed(OpKey),
    /// Asked to end, not ended yet. `resume`: wanted again meanwhile.
    Cancelling { op: OpKey, resume: bool },
    /// Wanted; waits for a block to come back to the pool.
    Starved,
    /// Wanted; waits for the system to have memory for it.
    Delayed,
    /// The peer sends no more, or the connection broke.
    Ended,
}

impl<B: Backend> Connection<B> {
    pub(super) fn new(socket: B::Socket, handle: B::Handle, life: Life) -> Connection<B> {
        Connection {
            socket,
            handle,
            life,
            receive: Receive::Idle,
            send: None,
            send_failed: false,
            pause_queued: false,
            in_flight: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.life == Life::Open
    }

    pub(super) fn hold(&mut self) {
        self.in_flight += 1;
        // Connect excludes the others, so two is the most: one receive and one send (INV-4).
        assert!(self.in_flight <= 2, "INV-4: at most one receive and one send are in flight");
    }

    pub(super) fn let_go(&mut self) {
        assert!(self.in_flight > 0, "INV-2: every completion gives back a reference that was counted");
        self.in_flight -= 1;
    }
}
