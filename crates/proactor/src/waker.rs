//! Waking a driver that waits in the kernel, from any thread.

use std::fmt;
use std::sync::Arc;

#[cfg(any(windows, all(loom, test)))]
use crate::sync::atomic::{AtomicBool, Ordering};

/// What a backend offers to be woken by. Called from any thread, also after the backend is gone.
pub trait Wake: Send + Sync {
    /// Makes the present or the next wait of the backend return. Waits for nobody. False: the system has no memory for
    /// it, after some tries; who has to be heard wakes again later.
    fn wake(&self) -> bool;
}

/// A handle that ends one driver's wait. Cheap to clone, usable from any thread; waking a driver that is gone
/// does nothing.
#[derive(Clone)]
pub struct Waker(Arc<dyn Wake>);

impl Waker {
    /// A waker over a backend's own means.
    pub fn new(wake: Arc<dyn Wake>) -> Waker {
        Waker(wake)
    }

    /// Makes the driver's present or next [`turn`](crate::Driver::turn) return soon, with
    /// [`Event::Woken`](crate::Event::Woken). Several wakes may become one. False, and nothing is woken, if the system
    /// has no memory for it (INV-9), which only completion ports need; then wake again later.
    pub fn wake(&self) -> bool {
        self.0.wake()
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

/// Makes one wake of several, for a backend whose wakes would pile up. An eventfd and mio's waker do it themselves.
#[cfg(any(windows, all(loom, test)))]
#[derive(Default)]
pub(crate) struct OneWake {
    under_way: AtomicBool,
}

#[cfg(any(windows, all(loom, test)))]
impl OneWake {
    /// Whether the caller has to wake: nobody else's wake is under way.
    pub(crate) fn begin(&self) -> bool {
        !self.under_way.swap(true, Ordering::AcqRel)
    }

    /// The wake was taken, or failed: the next one is under way by itself.
    pub(crate) fn over(&self) {
        // A swap: it sees what those did whose wakes became this one. After a mere store their work could be missed,
        // with no wake to come for it.
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
        packets: Mutex<usize>,
        came: Condvar,
        work: AtomicBool,
    }

    impl Wake for Port {
        fn wake(&self) -> bool {
            if self.wake.begin() {
                *self.packets.lock().unwrap() += 1;
                self.came.notify_one();
            }
            true
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
