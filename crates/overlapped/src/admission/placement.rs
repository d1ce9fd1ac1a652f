//! Where an admitted connection goes: to the worker with the fewest sessions. Workers that are blocked get none, and what
//! waits for one that became blocked goes to another.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::{AddressLimit, Limits, Seat};
use crate::observe::Rejection;
use crate::session::PostError;
use crate::shared::{Queue, WorkerShared};

/// What is delivered to a worker.
pub(crate) enum Delivery<S> {
    /// A connection that is counted as a session of this worker.
    Placed(S, Seat),
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
pub(crate) struct Placement<S> {
    limits: Arc<Limits>,
    workers: Vec<(Arc<WorkerShared>, Arc<Arrivals<S>>)>,
}

impl<S> Placement<S> {
    pub(crate) fn new(
        all_shared: &[Arc<WorkerShared>],
        max_sessions: usize,
        addresses: Option<AddressLimit>,
    ) -> Placement<S> {
        // Bounded by the session limit: a socket in the queue counts as a session already.
        let arrivals = || Arc::new(Arrivals { queue: Queue::new(usize::MAX) });
        let workers = all_shared.iter().map(|shared| (Arc::clone(shared), arrivals())).collect();
        let limits = Arc::new(Limits::new(all_shared.to_vec(), max_sessions, addresses));
        Placement { limits, workers }
    }

    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// See [`Limits::admit`].
    pub(crate) fn admit(&self, peer: Option<IpAddr>) -> Result<Seat, Rejection> {
        self.limits.admit(peer)
    }

    pub(crate) fn arrivals(&self, worker: usize) -> Arc<Arrivals<S>> {
        Arc::clone(&self.workers[worker].1)
    }

    /// Whether there is another worker to place connections on.
    pub(crate) fn has_choice(&self) -> bool {
        self.workers.len() > 1
    }

    fn load(&self, worker: usize) -> usize {
        self.workers[worker].0.placed()
    }

    fn is_turning(&self, worker: usize) -> bool {
        self.workers[worker].0.heartbeat.is_turning()
    }

    /// The worker with the fewest sessions; among equals `here`, the calling one. A worker that is blocked or has ended
    /// is not chosen.
    pub(crate) fn choose(&self, here: usize) -> usize {
        let able = (0..self.workers.len()).filter(|worker| *worker == here || self.is_turning(*worker));
        let fewest = able.min_by_key(|worker| (self.load(*worker), *worker != here));
        fewest.unwrap_or(here)
    }

    /// Hands a connection to the worker that its seat is placed on.
    ///
    /// # Errors
    /// The connection and its seat, if that worker has stopped.
    pub(crate) fn send(&self, worker: usize, socket: S, seat: Seat) -> Result<(), (S, Seat)> {
        self.deliver(worker, Delivery::Placed(socket, seat)).map_err(|delivery| match delivery {
            Delivery::Placed(socket, seat) => (socket, seat),
            Delivery::Accepted(_) | Delivery::AcceptFailed(_) => unreachable!("it was placed"),
        })
    }

    /// Hands something to a worker and wakes it.
    ///
    /// # Errors
    /// What was to be delivered, if that worker has stopped.
    pub(crate) fn deliver(&self, worker: usize, delivery: Delivery<S>) -> Result<(), Delivery<S>> {
        let (shared, arrivals) = &self.workers[worker];
        arrivals.queue.push(delivery, false).map_err(PostError::into_message)?;
        shared.doorbell.ring();
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

    /// Hands what waits for workers that are blocked to others that turn, in the order in which it arrived. Returns what
    /// no worker takes any more, because all have stopped meanwhile.
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

    fn move_on(&self, from: usize, to: usize, mut delivery: Delivery<S>) -> Option<Delivery<S>> {
        // Before another thread can take it from there and count it out.
        delivery.place_on(to);
        let Err(mut delivery) = self.deliver(to, delivery) else { return None };
        // That worker has just ended. The next look finds another, or none.
        delivery.place_on(from);
        let Err(delivery) = self.workers[from].1.queue.unpop(delivery) else {
            // The worker may turn again, and have found nothing meanwhile.
            self.workers[from].0.doorbell.ring();
            return None;
        };
        Some(delivery)
    }
}

impl<S> Delivery<S> {
    fn place_on(&mut self, worker: usize) {
        if let Delivery::Placed(_, seat) = self {
            seat.place_on(worker);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::shared::Pulses;

    /// Workers, of which those in `blocked` have stood still for long enough.
    fn workers(count: usize, blocked: &[usize]) -> (Vec<Arc<WorkerShared>>, Placement<u32>) {
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
        let placement = Placement::new(&all_shared, 100, None);
        (all_shared, placement)
    }

    fn placed(all_shared: &[Arc<WorkerShared>]) -> Vec<usize> {
        all_shared.iter().map(|shared| shared.placed()).collect()
    }

    fn deliver(placement: &Placement<u32>, worker: usize, sockets: std::ops::Range<u32>) {
        for socket in sockets {
            let mut seat = placement.admit(None).expect("there is room");
            seat.place_on(worker);
            assert!(placement.send(worker, socket, seat).is_ok());
        }
    }

    /// What waits for a worker, and the seats of it.
    fn taken_with_seats(placement: &Placement<u32>, worker: usize) -> (Vec<u32>, Vec<Option<Seat>>) {
        std::iter::from_fn(|| placement.arrivals(worker).queue.pop())
            .map(|delivery| match delivery {
                Delivery::Placed(socket, seat) => (socket, Some(seat)),
                Delivery::Accepted(socket) => (socket, None),
                Delivery::AcceptFailed(error) => panic!("{error}"),
            })
            .unzip()
    }

    fn taken(placement: &Placement<u32>, worker: usize) -> Vec<u32> {
        taken_with_seats(placement, worker).0
    }

    /// Chooses a worker as `here` and places a seat on it, which stays.
    fn place(placement: &Placement<u32>, here: usize) -> usize {
        let mut seat = placement.admit(None).expect("there is room");
        let worker = placement.choose(here);
        seat.place_on(worker);
        std::mem::forget(seat);
        worker
    }

    #[test]
    fn a_blocked_worker_is_not_chosen_unless_it_chooses() {
        let (all_shared, placement) = workers(3, &[1, 2]);
        for _ in 0..4 {
            assert_eq!(place(&placement, 0), 0);
        }
        assert_eq!(placement.turning(), Some(0));
        // Its accepts go on as soon as it is back, before anybody has noticed.
        assert_eq!(place(&placement, 1), 1);
        all_shared[2].heartbeat.begin_wait();
        assert_eq!(place(&placement, 0), 2, "it turns again");
        all_shared[2].heartbeat.end();
        assert_eq!(place(&placement, 0), 0, "it has ended");
        assert_eq!(placed(&all_shared), [5, 1, 1]);
    }

    #[test]
    fn what_waits_for_a_blocked_worker_is_taken_back_in_order() {
        let (all_shared, placement) = workers(3, &[1]);
        deliver(&placement, 1, 0..6);
        assert!(placement.deliver(1, Delivery::Accepted(6)).is_ok());
        assert!(placement.take_back().is_empty());
        assert_eq!(placed(&all_shared), [3, 0, 3]);
        assert_eq!(taken(&placement, 1), [0; 0]);
        let ((zero, zeros_seats), (two, twos_seats)) =
            (taken_with_seats(&placement, 0), taken_with_seats(&placement, 2));
        assert_eq!((&zero[..3], &two[..]), (&[0, 2, 4][..], &[1, 3, 5][..]));
        assert_eq!(zero[3..], [6], "and what nobody has counted yet");
        let address = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(placement.limits().counted(address).0, 6, "the limit counts each once");
        drop((zeros_seats, twos_seats));
        assert_eq!((placement.limits().counted(address).0, placed(&all_shared)), (0, vec![0; 3]));
    }

    #[test]
    fn what_waits_stays_while_nobody_turns() {
        let (all_shared, placement) = workers(2, &[0, 1]);
        deliver(&placement, 1, 0..3);
        assert!(placement.take_back().is_empty());
        assert_eq!(placed(&all_shared), [0, 3]);
        all_shared[1].heartbeat.begin_wait();
        assert!(placement.take_back().is_empty());
        assert_eq!(taken(&placement, 1), [0, 1, 2], "it takes them itself");
    }

    #[test]
    fn what_goes_to_a_worker_that_has_ended_goes_on() {
        let (all_shared, placement) = workers(3, &[2]);
        all_shared[0].heartbeat.end();
        assert!(placement.arrivals(0).queue.close().is_empty());
        assert!(placement.hand(Delivery::Accepted(1)).is_ok());
        assert_eq!(taken(&placement, 1), [1]);
        all_shared[1].heartbeat.end();
        assert!(placement.arrivals(1).queue.close().is_empty());
        assert!(placement.hand(Delivery::Accepted(2)).is_ok());
        assert_eq!(taken(&placement, 2), [2], "blocked is better than ended");
        all_shared[2].heartbeat.end();
        assert!(placement.arrivals(2).queue.close().is_empty());
        assert!(placement.hand(Delivery::Accepted(3)).is_err());
    }
}
