//! The state of one connection.

use crate::backend::Backend;
use crate::operation::{Close, OpKey};

/// One connection: its socket, and what is in flight for it.
pub(super) struct Connection<B: Backend> {
    pub(super) socket: B::Socket,
    pub(super) handle: B::Handle,
    pub(super) life: Life,
    pub(super) receive: Receive,
    pub(super) send: Option<OpKey>,
    pub(super) watch: Watch,
    /// True exactly when a send or a watch has failed: it may have met an error that the receiving half then lacks.
    pub(super) error_met: bool,
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

/// The watch for a reset while nothing is received. One byte, because a connection fills its cache line: the key of the
/// operation is in [`Driver::watches`](super::Driver::watches).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// Not wanted.
    Off,
    /// Wanted as soon as the receive is idle.
    Wanted,
    /// In flight; the receive is idle.
    Armed,
    /// Asked to end, not ended yet. `again`: wanted again meanwhile.
    Cancelling { again: bool },
    /// Wanted; waits for the system to have memory for it.
    Delayed,
    /// Wanted, and over without a reset. It is not armed again before the next receive.
    Over,
}

impl<B: Backend> Connection<B> {
    pub(super) fn new(socket: B::Socket, handle: B::Handle, life: Life) -> Connection<B> {
        Connection {
            socket,
            handle,
            life,
            receive: Receive::Idle,
            send: None,
            watch: Watch::Off,
            error_met: false,
            pause_queued: false,
            in_flight: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.life == Life::Open
    }

    pub(super) fn hold(&mut self) {
        self.in_flight += 1;
        // Connect excludes the others, so three is the most: one receive, one send (INV-4), and a watch that is about to
        // end.
        assert!(self.in_flight <= 3, "INV-4: at most one receive, one send and one watch are in flight");
    }

    pub(super) fn let_go(&mut self) {
        assert!(self.in_flight > 0, "INV-2: every completion gives back a reference that was counted");
        self.in_flight -= 1;
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A message touches one cache line of its connection: that of its slot, with the slot's generation and link.
    #[test]
    fn a_connection_fits_its_cache_line() {
        const ROOM: usize = 64 - 2 * size_of::<u32>();
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        assert!(size_of::<Option<Connection<crate::backend::io_uring::IoUring>>>() <= ROOM);
        #[cfg(unix)]
        assert!(size_of::<Option<Connection<crate::backend::readiness::Readiness>>>() <= ROOM);
    }
}
