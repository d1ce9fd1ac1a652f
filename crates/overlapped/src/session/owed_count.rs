//! The count of a session's owed answers, which its worker and other threads share (INV-5).

use crate::sync::atomic::{AtomicUsize, Ordering};

/// Set while the worker waits for the end of the last guard.
const AWAITED: usize = 1;
/// One guard.
const ONE: usize = 2;

/// How many answers a session owes, and whether its worker waits for them: one word, so that of a last guard that ends and
/// a worker that begins to wait, one sees the other.
#[derive(Debug)]
pub(crate) struct OwedCount(AtomicUsize);

impl OwedCount {
    pub(crate) fn new() -> OwedCount {
        OwedCount(0.into())
    }

    /// How many answers are owed.
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Acquire) / ONE
    }

    /// A guard begins.
    pub(crate) fn begin(&self) {
        self.0.fetch_add(ONE, Ordering::Relaxed);
    }

    /// A guard ends. Returns whether the worker waits for that.
    pub(crate) fn end(&self) -> bool {
        self.0.fetch_sub(ONE, Ordering::AcqRel) == ONE + AWAITED && self.take_awaited()
    }

    /// The worker waits from now on, once. Returns how many answers are owed.
    pub(crate) fn await_end(&self) -> usize {
        self.0.fetch_or(AWAITED, Ordering::AcqRel) / ONE
    }

    /// Whether nothing is owed, and the worker waits for something else that has just ended: bytes that were posted.
    pub(crate) fn is_awaited_idle(&self) -> bool {
        // Not a load, which may miss the worker's last step.
        self.0.fetch_or(0, Ordering::AcqRel) == AWAITED && self.take_awaited()
    }

    /// Of several threads that end what the worker waits for, one wakes it (INV-6: one mail per wait).
    fn take_awaited(&self) -> bool {
        self.0.compare_exchange(AWAITED, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}
