//! Waking a driver that waits in the kernel, from any thread.

use std::fmt;
use std::sync::Arc;

#[cfg(any(windows, all(loom, test)))]
use crate::sync::atomic::{AtomicBool, Ordering};

/// How a backend is woken. Called from any thread, also after the backend is gone.
pub trait Wake: Send + Sync {
    /// Makes the current or the next wait of the backend return. Never waits and never fails.
    fn wake(&self);
}

/// A handle that ends one driver's wait. Cheap to clone, usable from any thread; waking a driver that is gone
/// does nothing.
#[derive(Clone)]
pub struct Waker(Arc<dyn Wake>);

impl Waker {
    /// A waker that uses a backend's own mechanism.
    pub fn new(wake: Arc<dyn Wake>) -> Waker {
        Waker(wake)
    }

    /// Makes the driver's current or next [`turn`](crate::Driver::turn) return soon, with
    /// [`Event::Woken`](crate::Event::Woken). Several wakes may become one. On Windows a wake needs system memory; if
    /// there is none (INV-9), it is up to five seconds late.
    pub fn wake(&self) {
        self.0.wake();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

/// Merges several wakes into one, for a backend whose wakes would pile up. An eventfd and mio's waker do this
/// themselves.
#[cfg(any(windows, all(loom, test)))]
#[derive(Default)]
pub(crate) struct OneWake {
    under_way: AtomicBool,
    /// True exactly when the pending wake could not be posted to the kernel: the waiting side takes it from here.
    owed: AtomicBool,
}

#[cfg(any(windows, all(loom, test)))]
impl OneWake {
    /// Whether the caller must post a wake: none is pending.
    pub(crate) fn begin(&self) -> bool {
        !self.under_way.swap(true, Ordering::AcqRel)
    }

    /// The pending wake could not be posted to the kernel. It stays pending, for the callers that relied on it.
    pub(crate) fn owe(&self) {
        self.owed.store(true, Ordering::Release);
    }

    pub(crate) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Relaxed)
    }

    /// Takes a wake that could not be posted. True: there was one; call [`over`](Self::over) when it was handed out.
    pub(crate) fn take_owed(&self) -> bool {
        self.is_owed() && self.owed.swap(false, Ordering::AcqRel)
    }

    /// The wake was taken: the next one must be posted again.
    pub(crate) fn over(&self) {
        // A swap: it synchronises with the threads whose wakes were merged into this one. With a plain store their
        // work could be missed, and no wake would follow.
        self.under_way.swap(false, Ordering::AcqRel);
    }
}

#[cfg(all(loom, test))]
mod loom_models {
    use loom::sync::{Condvar, Mutex};
    use loom::thread;

    use super::*;

    /// A completion port, as far as waking goes.
    #[derive(Default)]
    struct Port {
        wake: OneWake,
        /// Posts that fail.
        failures: Mutex<usize>,
        packets: Mutex<usize>,
        came: Condvar,
        work: AtomicBool,
    }

    impl Wake for Port {
        fn wake(&self) {
            if !self.wake.begin() {
                return;
            }
            let mut failures = self.failures.lock().unwrap();
            if *failures > 0 {
                *failures -= 1;
                return self.wake.owe();
            }
            *self.packets.lock().unwrap() += 1;
            self.came.notify_one();
        }
    }

    impl Port {
        fn wait(&self) {
            let mut packets = self.packets.lock().unwrap();
            while *packets == 0 {
                packets = self.came.wait(packets).unwrap();
            }
            *packets -= 1;
            assert_eq!(*packets, 0, "several wakes become one");
            drop(packets);
            self.wake.over();
        }

        /// One look of a wait that looks again and again. Whether there was a wake.
        fn look(&self) -> bool {
            let mut packets = self.packets.lock().unwrap();
            let posted = std::mem::take(&mut *packets) > 0;
            drop(packets);
            let woken = posted || self.wake.take_owed();
            if woken {
                self.wake.over();
            }
            woken
        }
    }

    /// The first post fails while another thread joins it: what both did is seen by a look that finds the wake.
    #[test]
    fn a_wake_that_could_not_be_posted_is_owed_to_all_who_joined_it() {
        loom::model(|| {
            let port = Arc::new(Port::default());
            *port.failures.lock().unwrap() = 1;
            let waker = Waker::new(Arc::clone(&port) as _);
            let other = {
                let (port, waker) = (Arc::clone(&port), waker.clone());
                thread::spawn(move || {
                    port.work.store(true, Ordering::Relaxed);
                    waker.wake();
                })
            };
            waker.wake();
            // Who is not woken does not see the work: a lost wake is a loop without an end.
            while !(port.look() && port.work.load(Ordering::Relaxed)) {
                thread::yield_now();
            }
            other.join().unwrap();
            port.look();
            assert!(!port.wake.is_owed(), "it was taken");
            assert!(port.wake.begin(), "and the next one is under way by itself");
        });
    }

    #[test]
    fn a_wake_that_became_part_of_another_is_seen_with_it() {
        loom::model(|| {
            let port = Arc::new(Port::default());
            let waker = Waker::new(Arc::clone(&port) as _);
            waker.wake();
            let other = {
                let port = Arc::clone(&port);
                thread::spawn(move || {
                    port.work.store(true, Ordering::Relaxed);
                    waker.wake();
                })
            };
            // A lost wake is a deadlock here.
            while !port.work.load(Ordering::Relaxed) {
                port.wait();
            }
            other.join().unwrap();
        });
    }
}
