//! The limits of a server, and the seat that a connection has under them: it gives its counts back when it is dropped.

use std::net::IpAddr;
use std::sync::Arc;

use super::AddressLimit;
use crate::observe::Rejection;
use crate::shared::WorkerShared;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// How many sessions a server may have, over all and from one address, and how many it has. Shared by its threads.
pub(crate) struct Limits {
    workers: Vec<Arc<WorkerShared>>,
    total: AtomicUsize,
    max_sessions: usize,
    addresses: Option<AddressLimit>,
}

impl Limits {
    pub(crate) fn new(
        workers: Vec<Arc<WorkerShared>>,
        max_sessions: usize,
        addresses: Option<AddressLimit>,
    ) -> Limits {
        Limits { workers, total: AtomicUsize::new(0), max_sessions, addresses }
    }

    /// Whether sessions are counted by their peers' addresses.
    pub(crate) fn count_addresses(&self) -> bool {
        self.addresses.is_some()
    }

    /// How many sessions are counted.
    pub(crate) fn sessions(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// A seat for one connection, if there is room. `peer` is `None` for an outbound connection, which counts for no
    /// address.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(crate) fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<Seat, Rejection> {
        let address = peer.filter(|_| self.count_addresses());
        if let (Some(addresses), Some(address)) = (&self.addresses, address)
            && !addresses.admit(address)
        {
            return Err(Rejection::AddressLimit);
        }
        let room = |total: usize| (total < self.max_sessions).then_some(total + 1);
        if self.total.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_err() {
            self.leave_address(address);
            return Err(Rejection::SessionLimit);
        }
        Ok(Seat { limits: Arc::clone(self), worker: None, address: address.map(Box::new) })
    }

    fn leave_address(&self, address: Option<IpAddr>) {
        if let (Some(addresses), Some(address)) = (&self.addresses, address) {
            addresses.leave(address);
        }
    }

    /// Sessions that are counted, over all and from `address`.
    #[cfg(test)]
    pub(crate) fn counted(&self, address: IpAddr) -> (usize, usize) {
        let of_address = self.addresses.as_ref().map_or(0, |addresses| addresses.counted(address));
        (self.total.load(Ordering::Relaxed), of_address)
    }
}

/// The right of one connection to be a session: counted for its server, for its peer's address, and, once it is placed,
/// for its worker. Dropping it counts it out.
pub(crate) struct Seat {
    limits: Arc<Limits>,
    worker: Option<u32>,
    /// If addresses are limited.
    address: Option<Box<IpAddr>>,
}

impl Seat {
    /// Counts the connection for `worker`, in place of the worker that it was counted for.
    pub(crate) fn place_on(&mut self, worker: usize) {
        self.limits.workers[worker].place();
        if let Some(before) = self.worker.replace(worker as u32) {
            self.limits.workers[before as usize].unplace();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(worker) = self.worker {
            self.limits.workers[worker as usize].unplace();
        }
        self.limits.total.fetch_sub(1, Ordering::AcqRel);
        self.limits.leave_address(self.address.as_deref().copied());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn limits(max_sessions: usize, max_per_address: Option<usize>) -> (Vec<Arc<WorkerShared>>, Arc<Limits>) {
        let workers: Vec<Arc<WorkerShared>> = vec![Arc::default(), Arc::default()];
        let addresses = max_per_address.map(|most| AddressLimit::new(most, 64));
        (workers.clone(), Arc::new(Limits::new(workers, max_sessions, addresses)))
    }

    #[test]
    fn a_seat_gives_back_what_it_was_counted_for() {
        let address = IpAddr::from([10, 0, 0, 1]);
        let (workers, limits) = limits(10, Some(10));
        let mut seat = limits.admit(Some(address)).unwrap();
        assert_eq!(limits.counted(address), (1, 1));
        seat.place_on(0);
        seat.place_on(1);
        assert_eq!(workers.iter().map(|worker| worker.placed()).collect::<Vec<_>>(), [0, 1]);
        let outbound = limits.admit(None).unwrap();
        assert_eq!(limits.counted(address), (2, 1));
        drop(seat);
        assert_eq!((limits.counted(address), workers[1].placed()), ((1, 0), 0));
        drop(outbound);
        assert_eq!(limits.counted(address), (0, 0));
    }

    /// What is refused is counted for nothing.
    #[test]
    fn the_limit_that_is_reached_is_named() {
        let address = IpAddr::from([10, 0, 0, 1]);
        let (_, limits) = limits(2, Some(1));
        let first = limits.admit(Some(address)).unwrap();
        assert_eq!(limits.admit(Some(address)).err(), Some(Rejection::AddressLimit));
        let _second = limits.admit(None).unwrap();
        let other = IpAddr::from([10, 0, 0, 2]);
        assert_eq!(limits.admit(Some(other)).err(), Some(Rejection::SessionLimit));
        assert_eq!((limits.counted(address), limits.counted(other)), ((2, 1), (2, 0)));
        drop(first);
        assert!(limits.admit(Some(address)).is_ok());
    }
}
