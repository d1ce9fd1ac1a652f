//! Counts the sockets, ports, rings and pollers that this library holds open in the process.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static SOCKETS: AtomicUsize = AtomicUsize::new(0);
static PORTS: AtomicUsize = AtomicUsize::new(0);

/// What this library holds open in the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handles {
    /// Sockets: listeners, connections, and accepted sockets on their way to another worker.
    pub sockets: usize,
    /// Completion ports, rings and pollers.
    pub ports: usize,
}

/// The handles that are open now, of all drivers of the process. Counted here, because the system's own count
/// includes all other handles of the process (and is always 0 under Wine).
#[must_use]
pub fn handles() -> Handles {
    Handles { sockets: SOCKETS.load(Relaxed), ports: PORTS.load(Relaxed) }
}

/// Counts a socket while it lives. It has no size: there is one in every connection.
pub(crate) type CountedSocket = Counted<false>;
/// Counts a port, ring or poller while it lives.
pub(crate) type CountedPort = Counted<true>;

#[derive(Debug)]
pub(crate) struct Counted<const IS_PORT: bool>(());

impl<const IS_PORT: bool> Counted<IS_PORT> {
    const COUNTER: &AtomicUsize = if IS_PORT { &PORTS } else { &SOCKETS };

    pub(crate) fn new() -> Self {
        Self::COUNTER.fetch_add(1, Relaxed);
        Counted(())
    }
}

impl<const IS_PORT: bool> Drop for Counted<IS_PORT> {
    fn drop(&mut self) {
        Self::COUNTER.fetch_sub(1, Relaxed);
    }
}
