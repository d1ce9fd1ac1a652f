//! Wakes a worker that other threads have posted to.

use proactor::Waker;

use crate::sync::OnceLock;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Wakes a worker, once for any number of posts between two looks into its mailboxes.
#[derive(Default)]
pub(crate) struct Doorbell {
    rung: AtomicBool,
    waker: OnceLock<Waker>,
}

impl Doorbell {
    /// Connects the doorbell to a worker that has just been made. What was posted before is found by its first look.
    pub(crate) fn install(&self, waker: Waker) {
        assert!(self.waker.set(waker).is_ok(), "a worker is started once");
        // Posts made before installation could not wake the worker: this makes its first look find them. A swap, so that
        // a later post either sees it, or sees the waker.
        self.rung.swap(true, Ordering::AcqRel);
    }

    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some(waker) = self.waker.get()
        {
            waker.wake();
        }
    }

    /// Whether something was posted since the last look. What is posted after this rings again.
    pub(crate) fn take(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }
}
