//! Where an accepted connection goes: to the worker with the fewest sessions, if the server has room at all.

use std::sync::Arc;

use crate::mailbox::{Bell, Queue, WorkerFace};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Where one worker takes the connections that others accepted for it.
pub(crate) struct Arrivals<S> {
    pub(crate) queue: Queue<S>,
}

/// Shared by all workers of a server.
pub(crate) struct Acceptor<S> {
    workers: Vec<(Arc<WorkerFace>, Arc<Arrivals<S>>)>,
    total: AtomicUsize,
    max_sessions: usize,
}

impl<S> Acceptor<S> {
    pub(crate) fn new(faces: &[Arc<WorkerFace>], max_sessions: usize) -> Acceptor<S> {
        // Bounded by the session limit: a socket in the queue counts as a session already.
        let arrivals = || Arc::new(Arrivals { queue: Queue::new(usize::MAX) });
        let workers = faces.iter().map(|face| (Arc::clone(face), arrivals())).collect();
        Acceptor { workers, total: AtomicUsize::new(0), max_sessions }
    }

    pub(crate) fn arrivals(&self, worker: usize) -> Arc<Arrivals<S>> {
        Arc::clone(&self.workers[worker].1)
    }

    /// Counts one session in, if there is room.
    pub(crate) fn reserve(&self) -> bool {
        let room = |total: usize| (total < self.max_sessions).then_some(total + 1);
        self.total.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_ok()
    }

    /// Chooses the worker with the fewest sessions, `here` among equals, and counts the session as its.
    pub(crate) fn place(&self, here: usize) -> usize {
        let load = |worker: usize| self.workers[worker].0.placed.load(Ordering::Relaxed);
        let fewest = (0..self.workers.len()).min_by_key(|worker| (load(*worker), *worker != here));
        let chosen = fewest.unwrap_or(here);
        self.workers[chosen].0.placed.fetch_add(1, Ordering::Relaxed);
        chosen
    }

    /// Counts a reserved session as `worker`'s.
    pub(crate) fn place_at(&self, worker: usize) -> usize {
        self.workers[worker].0.placed.fetch_add(1, Ordering::Relaxed);
        worker
    }

    /// Counts a session out that was reserved and placed on `worker`.
    pub(crate) fn release(&self, worker: usize) {
        self.workers[worker].0.placed.fetch_sub(1, Ordering::Relaxed);
        self.total.fetch_sub(1, Ordering::AcqRel);
    }

    /// Hands a placed connection to another worker.
    ///
    /// # Errors
    /// The socket, if that worker has stopped.
    pub(crate) fn send(&self, worker: usize, socket: S) -> Result<(), S> {
        let (face, arrivals) = &self.workers[worker];
        arrivals.queue.push(socket, false).map_err(|(socket, _)| socket)?;
        let bell: &Bell = &face.bell;
        bell.ring();
        Ok(())
    }
}
