//! Whether a thread is a worker: what waits for a worker must not run on one.

use std::cell::Cell;

thread_local! {
    /// The server that this thread is a worker of; 0 for none. It stays set to the thread's end: values that the handler left
    /// in thread-locals are dropped after the worker, and must not wait for it either.
    static WORKER_OF: Cell<u64> = const { Cell::new(0) };
}

/// In the place of a server's number, for a simulated server: its workers run on the calling thread, so no thread can wait
/// for them.
pub(crate) const SIMULATED: u64 = u64::MAX;

/// The calling thread is a worker of this server, to its end.
pub(crate) fn begin(server: u64) {
    WORKER_OF.set(server);
}

/// The server that the calling thread is a worker of; 0 for none.
pub(crate) fn server() -> u64 {
    WORKER_OF.get()
}

/// Whether the calling thread is a worker, of any server of this process.
pub(crate) fn is_worker() -> bool {
    server() != 0
}

/// While this lives, the calling thread counts as a worker: it turns one by hand.
pub(crate) struct TurnsByHand {
    before: u64,
}

impl TurnsByHand {
    pub(crate) fn begin() -> TurnsByHand {
        TurnsByHand { before: WORKER_OF.replace(SIMULATED) }
    }
}

impl Drop for TurnsByHand {
    fn drop(&mut self) {
        WORKER_OF.set(self.before);
    }
}
