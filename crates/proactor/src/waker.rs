//! Waking a driver that waits in the kernel, from any thread.

use std::fmt;
use std::sync::Arc;

/// What a backend offers to be woken by. Called from any thread, also after the backend is gone.
pub trait Wake: Send + Sync {
    /// Makes the present or the next wait of the backend return. Never blocks.
    fn wake(&self);
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
    /// [`Event::Woken`](crate::Event::Woken). Several wakes may become one.
    pub fn wake(&self) {
        self.0.wake();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}
