//! Where an accepted connection goes: to the worker with the fewest sessions, if the server has room at all. Workers
//! that are blocked get none, and what waits for one that became blocked goes to another.

use std::io;
use std::sync::Arc;

use crate::mailbox::{Bell, Queue, WorkerFace};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// What is delivered to a worker.
pub(crate) enum Delivery<S> {
    /// A connection that is counted as a session of this worker.
    Placed(S),
    /// A connection that the monitor accepted: the worker admits it and places it, as if it had accepted it itself.
    Accepted(S),
    /// The monitor could not accept: the worker reports it (INV-9).
    AcceptFailed(io::Error),
}

/// Where one worker takes the connections that others accepted for it, and those of its own until it opens them.
pub(crate) struct Arrivals<S> {
    pub(crate) queue: Queue<Delivery<S>>,
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

    /// Whether there is somebody else to place connections on.
    pub(crate) fn has_choice(&self) -> bool {
        self.workers.len() > 1
    }

    fn load(&self, worker: usize) -> usize {
        self.workers[worker].0.placed.load(Ordering::Relaxed)
    }

    fn is_turning(&self, worker: usize) -> bool {
        self.workers[worker].0.heartbeat.is_turning()
    }

    /// Chooses the worker with the fewest sessions, `here`, the calling one, among equals, and counts the session as
    /// its. A worker that is blocked or has ended is not chosen.
    pub(crate) fn place(&self, here: usize) -> usize {
        let able = (0..self.workers.len()).filter(|worker| *worker == here || self.is_turning(*worker));
        let fewest = able.min_by_key(|worker| (self.load(*worker), *worker != here));
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
        self.deliver(worker, Delivery::Placed(socket)).map_err(|delivery| match delivery {
            Delivery::Placed(socket) | Delivery::Accepted(socket) => socket,
            Delivery::AcceptFailed(_) => unreachable!("a socket was delivered"),
        })
    }

    /// Hands something to a worker and wakes it.
    ///
    /// # Errors
    /// What was to be delivered, if that worker has stopped.
    pub(crate) fn deliver(&self, worker: usize, delivery: Delivery<S>) -> Result<(), Delivery<S>> {
        let (face, arrivals) = &self.workers[worker];
        arrivals.queue.push(delivery, false).map_err(|(delivery, _)| delivery)?;
        let bell: &Bell = &face.bell;
        bell.ring();
        Ok(())
    }

    /// The worker with the fewest sessions of those that turn.
    pub(crate) fn turning(&self) -> Option<usize> {
        let turning = (0..self.workers.len()).filter(|worker| self.is_turning(*worker));
        turning.min_by_key(|worker| self.load(*worker))
    }

    /// How much was delivered to a worker that it has not taken.
    pub(crate) fn waiting(&self, worker: usize) -> usize {
        self.workers[worker].1.queue.len()
    }

    /// Hands what waits for workers that are blocked to others that turn, in the order in which it arrived. What nobody
    /// takes any more, because all have stopped meanwhile, is counted out and returned.
    pub(crate) fn take_back(&self) -> Vec<Delivery<S>> {
        let mut left = Vec::new();
        for (from, (face, arrivals)) in self.workers.iter().enumerate() {
            while face.heartbeat.is_blocked()
                && let Some(to) = self.turning()
                && let Some(delivery) = arrivals.queue.pop()
            {
                left.extend(self.move_on(from, to, delivery));
            }
        }
        left
    }

    fn move_on(&self, from: usize, to: usize, delivery: Delivery<S>) -> Option<Delivery<S>> {
        let is_session = matches!(delivery, Delivery::Placed(_));
        let count = |worker: usize| &self.workers[worker].0.placed;
        // Before it can be seen there: who takes it may count it out.
        if is_session {
            count(to).fetch_add(1, Ordering::Relaxed);
        }
        let Err(delivery) = self.deliver(to, delivery) else {
            if is_session {
                count(from).fetch_sub(1, Ordering::Relaxed);
            }
            return None;
        };
        // It has just ended. The next look finds another, or nobody.
        if is_session {
            count(to).fetch_sub(1, Ordering::Relaxed);
        }
        let delivery = self.workers[from].1.queue.unpop(delivery).err()?;
        if is_session {
            self.release(from);
        }
        Some(delivery)
    }
}
