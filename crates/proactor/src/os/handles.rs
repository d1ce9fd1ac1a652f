//! Counts the sockets, ports, rings and pollers that this library holds open in the process.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static SOCKETS: AtomicUsize = AtomicUsize::new(0);
static PORTS: AtomicUsize = AtomicUsize::new(0);

/// What this library holds open in the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handles {
    /// Sockets: listeners, connections, and those that are on their way between two workers.
    pub sockets: usize,
    /// Completion ports, rings and pollers.
    pub ports: usize,
}

/// Counts what is open now, of all drivers of the process. Kept by ourselves, because what a system tells of its
/// handles covers everybody's (and under Wine it is always 0).
#[must_use]
pub fn handles() -> Handles {
    Handles { sockets: SOCKETS.load(Relaxed), ports: PORTS.load(Relaxed) }
}

/// A socket in the count, for as long as this lives beside it. Of no size: it lies in every connection.
pub(crate) type CountedSocket = Counted<false>;
/// A port, ring or poller in the count.
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
