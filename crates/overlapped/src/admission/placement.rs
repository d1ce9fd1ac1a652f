//! Where an accepted connection goes: to the worker with the fewest sessions, if the server has room at all. Workers
//! that are blocked get none, and what waits for one that became blocked goes to another.

use std::io;
use std::sync::Arc;

use crate::shared::{Doorbell, Queue, WorkerShared};
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
    workers: Vec<(Arc<WorkerShared>, Arc<Arrivals<S>>)>,
    total: AtomicUsize,
    max_sessions: usize,
}

impl<S> Acceptor<S> {
    pub(crate) fn new(all_shared: &[Arc<WorkerShared>], max_sessions: usize) -> Acceptor<S> {
        // Bounded by the session limit: a socket in the queue counts as a session already.
        let arrivals = || Arc::new(Arrivals { queue: Queue::new(usize::MAX) });
        let workers = all_shared.iter().map(|shared| (Arc::clone(shared), arrivals())).collect();
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
        self.workers[worker].0.placed()
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
        self.workers[chosen].0.place();
        chosen
    }

    /// Counts a reserved session as `worker`'s.
    pub(crate) fn place_at(&self, worker: usize) -> usize {
        self.workers[worker].0.place();
        worker
    }

    /// Counts a session out that was reserved and placed on `worker`.
    pub(crate) fn release(&self, worker: usize) {
        self.workers[worker].0.unplace();
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
        let (shared, arrivals) = &self.workers[worker];
        arrivals.queue.push(delivery, false).map_err(|(delivery, _)| delivery)?;
        let doorbell: &Doorbell = &shared.doorbell;
        doorbell.ring();
        Ok(())
    }

    /// Hands something to a worker that turns, or if none does, to one that has not ended.
    ///
    /// # Errors
    /// What was to be delivered, if all have ended.
    pub(crate) fn hand(&self, mut delivery: Delivery<S>) -> Result<(), Delivery<S>> {
        let lives = |worker: &usize| !self.workers[*worker].0.heartbeat.has_ended();
        while let Some(worker) = self.turning().or_else(|| (0..self.workers.len()).find(lives)) {
            match self.deliver(worker, delivery) {
                Ok(()) => return Ok(()),
                // It has just ended, and is not chosen again.
                Err(refused) => delivery = refused,
            }
        }
        Err(delivery)
    }

    /// The worker with the fewest sessions of those that turn.
    pub(crate) fn turning(&self) -> Option<usize> {
        self.fewest(|worker| self.is_turning(worker))
    }

    fn fewest(&self, able: impl Fn(usize) -> bool) -> Option<usize> {
        (0..self.workers.len()).filter(|worker| able(*worker)).min_by_key(|worker| self.load(*worker))
    }

    /// How much was delivered to a worker that it has not taken.
    pub(crate) fn waiting(&self, worker: usize) -> usize {
        self.workers[worker].1.queue.len()
    }

    /// Hands what waits for workers that are blocked to others that turn, in the order in which it arrived. What nobody
    /// takes any more, because all have stopped meanwhile, is counted out and returned.
    pub(crate) fn take_back(&self) -> Vec<Delivery<S>> {
        let mut left = Vec::new();
        for (from, (shared, arrivals)) in self.workers.iter().enumerate() {
            while shared.heartbeat.is_blocked()
                && let Some(to) = self.fewest(|worker| worker != from && self.is_turning(worker))
                && let Some(delivery) = arrivals.queue.pop()
            {
                left.extend(self.move_on(from, to, delivery));
            }
        }
        left
    }

    fn move_on(&self, from: usize, to: usize, delivery: Delivery<S>) -> Option<Delivery<S>> {
        let is_session = matches!(delivery, Delivery::Placed(_));
        let count = |worker: usize| &self.workers[worker].0;
        // Before it can be seen there: who takes it may count it out.
        if is_session {
            count(to).place();
        }
        let Err(delivery) = self.deliver(to, delivery) else {
            if is_session {
                count(from).unplace();
            }
            return None;
        };
        // It has just ended. The next look finds another, or nobody.
        if is_session {
            count(to).unplace();
        }
        let Err(delivery) = self.workers[from].1.queue.unpop(delivery) else {
            // It may turn again, and have found nothing meanwhile.
            self.workers[from].0.doorbell.ring();
            return None;
        };
        if is_session {
            self.release(from);
        }
        Some(delivery)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::shared::Pulses;

    /// Workers, of which those in `blocked` have stood still for long enough.
    fn workers(count: usize, blocked: &[usize]) -> (Vec<Arc<WorkerShared>>, Acceptor<u32>) {
        let all_shared: Vec<Arc<WorkerShared>> = (0..count).map(|_| Arc::default()).collect();
        let mut pulses = Pulses::new(&all_shared);
        for _ in 0..5 {
            pulses.tick();
        }
        for (index, shared) in all_shared.iter().enumerate() {
            if !blocked.contains(&index) {
                shared.heartbeat.begin_wait();
            }
        }
        let acceptor = Acceptor::new(&all_shared, 100);
        (all_shared, acceptor)
    }

    fn placed(all_shared: &[Arc<WorkerShared>]) -> Vec<usize> {
        all_shared.iter().map(|shared| shared.placed()).collect()
    }

    fn deliver(acceptor: &Acceptor<u32>, worker: usize, sockets: std::ops::Range<u32>) {
        for socket in sockets {
            assert!(acceptor.reserve());
            acceptor.place_at(worker);
            acceptor.send(worker, socket).unwrap();
        }
    }

    fn taken(acceptor: &Acceptor<u32>, worker: usize) -> Vec<u32> {
        std::iter::from_fn(|| acceptor.arrivals(worker).queue.pop())
            .map(|delivery| match delivery {
                Delivery::Placed(socket) | Delivery::Accepted(socket) => socket,
                Delivery::AcceptFailed(error) => panic!("{error}"),
            })
            .collect()
    }

    #[test]
    fn a_blocked_worker_is_not_chosen_unless_it_chooses() {
        let (all_shared, acceptor) = workers(3, &[1, 2]);
        for _ in 0..4 {
            assert_eq!(acceptor.place(0), 0);
        }
        assert_eq!(acceptor.turning(), Some(0));
        // Its accepts go on as soon as it is back, before anybody has noticed.
        assert_eq!(acceptor.place(1), 1);
        all_shared[2].heartbeat.begin_wait();
        assert_eq!(acceptor.place(0), 2, "it turns again");
        all_shared[2].heartbeat.end();
        assert_eq!(acceptor.place(0), 0, "it has ended");
        assert_eq!(placed(&all_shared), [5, 1, 1]);
    }

    #[test]
    fn what_waits_for_a_blocked_worker_is_taken_back_in_order() {
        let (all_shared, acceptor) = workers(3, &[1]);
        deliver(&acceptor, 1, 0..6);
        assert!(acceptor.deliver(1, Delivery::Accepted(6)).is_ok());
        assert!(acceptor.take_back().is_empty());
        assert_eq!(placed(&all_shared), [3, 0, 3]);
        assert_eq!(taken(&acceptor, 1), [0; 0]);
        let (zero, two) = (taken(&acceptor, 0), taken(&acceptor, 2));
        assert_eq!((&zero[..3], &two[..]), (&[0, 2, 4][..], &[1, 3, 5][..]));
        assert_eq!(zero[3..], [6], "and what nobody has counted yet");
        assert_eq!(acceptor.total.load(Ordering::Relaxed), 6, "the limit counts each once");
    }

    #[test]
    fn what_waits_stays_while_nobody_turns() {
        let (all_shared, acceptor) = workers(2, &[0, 1]);
        deliver(&acceptor, 1, 0..3);
        assert!(acceptor.take_back().is_empty());
        assert_eq!(placed(&all_shared), [0, 3]);
        all_shared[1].heartbeat.begin_wait();
        assert!(acceptor.take_back().is_empty());
        assert_eq!(taken(&acceptor, 1), [0, 1, 2], "it takes them itself");
    }

    #[test]
    fn what_goes_to_a_worker_that_has_ended_goes_on() {
        let (all_shared, acceptor) = workers(3, &[2]);
        all_shared[0].heartbeat.end();
        assert!(acceptor.arrivals(0).queue.close().is_empty());
        assert!(acceptor.hand(Delivery::Accepted(1)).is_ok());
        assert_eq!(taken(&acceptor, 1), [1]);
        all_shared[1].heartbeat.end();
        assert!(acceptor.arrivals(1).queue.close().is_empty());
        assert!(acceptor.hand(Delivery::Accepted(2)).is_ok());
        assert_eq!(taken(&acceptor, 2), [2], "blocked is better than ended");
        all_shared[2].heartbeat.end();
        assert!(acceptor.arrivals(2).queue.close().is_empty());
        assert!(acceptor.hand(Delivery::Accepted(3)).is_err());
    }
}
