//! What other threads see and use of a worker, whatever its handler and its backend (INV-5): its doorbell, its
//! heartbeat, its counters, duplicates of its listeners, and how many sessions are placed on it.

mod doorbell;
mod heartbeat;
mod queue;

use std::sync::{Arc, PoisonError};

use proactor::Socket;

pub(crate) use doorbell::Doorbell;
pub(crate) use heartbeat::{Heartbeat, Pulses, Rest, TICK};
pub(crate) use queue::Queue;

use crate::observe::Published;
use crate::session::Directory;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// One worker, as other threads see it.
#[derive(Default)]
pub(crate) struct WorkerShared {
    pub(crate) doorbell: Doorbell,
    pub(crate) published: Arc<Published>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) directory: Arc<Directory>,
    /// Duplicates of the listeners that this worker owns, with their tokens: while it is blocked, the monitor accepts from
    /// them.
    spare_listeners: Mutex<Vec<(Socket, u64)>>,
    /// Sessions placed on this worker, from the moment it was chosen: placement goes by this number.
    placed: AtomicUsize,
}

impl WorkerShared {
    /// The duplicates, for as long as they are locked.
    pub(crate) fn spare_listeners(&self) -> MutexGuard<'_, Vec<(Socket, u64)>> {
        self.spare_listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sessions are placed on this worker.
    pub(crate) fn placed(&self) -> usize {
        self.placed.load(Ordering::Relaxed)
    }

    /// Counts one session in.
    pub(crate) fn place(&self) {
        self.placed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one session out.
    pub(crate) fn unplace(&self) {
        self.placed.fetch_sub(1, Ordering::Relaxed);
    }
}
