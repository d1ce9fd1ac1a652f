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
    /// True exactly when a send or a watch has failed: it may have taken the error that the receive would have
    /// reported.
    pub(super) error_met: bool,
    /// True exactly when a report of a pause is in the ready list.
    pub(super) pause_queued: bool,
    /// Operations in flight. A closing connection is released exactly when this is zero (INV-2).
    pub(super) in_flight: u8,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Connecting(OpKey),
    Open,
    /// Closing: released when nothing is in flight any more.
    Closing(Close),
}

/// The receiving half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// Not wanted.
    Idle,
    /// Wanted; armed as soon as the current event was handled.
    Wanted,
    /// In flight.
    Armed(OpKey),
    /// Cancelled, not over yet. `resume`: wanted again since.
    Cancelling { op: OpKey, resume: bool },
    /// Wanted; waits for a block to come back to the pool.
    Starved,
    /// Wanted; retried because the system was out of memory.
    Delayed,
    /// The peer sends no more, or the connection broke.
    Ended,
}

/// The watch for the end of the connection while nothing is received. One byte, because a connection fills its cache
/// line: the key of the operation is in [`Driver::watches`](super::Driver::watches).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// Not wanted.
    Off,
    /// Wanted as soon as the receive is idle.
    Wanted,
    /// In flight; the receive is idle.
    Armed,
    /// Cancelled, not over yet. `again`: wanted again since.
    Cancelling { again: bool },
    /// Wanted; retried because the system was out of memory.
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

    /// Whether [`close`](super::Driver::close) or [`abort`](super::Driver::abort) was called. Neither this nor
    /// [`is_open`](Self::is_open) while it connects.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.life, Life::Closing(_))
    }

    pub(super) fn hold(&mut self) {
        self.in_flight += 1;
        // A connect excludes the others, so three is the maximum: one receive, one send (INV-4), and a watch being
        // cancelled.
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
