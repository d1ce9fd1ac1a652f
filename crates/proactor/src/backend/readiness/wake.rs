//! Waking a poller from another thread.

use std::sync::Arc;

use crate::waker::Wake;

pub(crate) struct PollWaker(pub(crate) Arc<mio::Waker>);

impl Wake for PollWaker {
    fn wake(&self) {
        // It fails only if a wake is pending already, or the poller is gone.
        let _ = self.0.wake();
    }
}
