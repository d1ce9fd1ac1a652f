//! Locks and atomics: the standard library's, and in models those of `loom`, which runs our code through every order of
//! its steps and every value that a load may find (`cargo xtask loom`).
//!
//! `Arc` stays the standard library's: no decision depends on when a count falls. So do the counters in `observe/stats.rs`:
//! no decision depends on them.

#[cfg(all(loom, test))]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, atomic};

#[cfg(all(loom, test))]
pub(crate) use once::OnceLock;

#[cfg(all(loom, test))]
mod once {
    use super::atomic::{AtomicBool, Ordering};

    /// `loom` has none. This one promises as little as the standard library's: a thread that finds a value sees what
    /// happened before it was set; a thread that finds none learns nothing.
    pub(crate) struct OnceLock<T> {
        set: AtomicBool,
        value: std::sync::OnceLock<T>,
    }

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            OnceLock { set: AtomicBool::new(false), value: std::sync::OnceLock::new() }
        }
    }

    impl<T> OnceLock<T> {
        pub(crate) fn get(&self) -> Option<&T> {
            self.set.load(Ordering::Acquire).then(|| self.value.get()).flatten()
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            self.value.set(value)?;
            self.set.store(true, Ordering::Release);
            Ok(())
        }
    }
}
