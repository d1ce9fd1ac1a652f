//! How many sessions each peer address has: one address must not take all the room there is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::PoisonError;

use crate::sync::{Mutex, MutexGuard};

/// Shared by all workers of a server that has this limit. Locked once when a connection arrives and once when it ends.
pub(crate) struct AddressLimit {
    most: usize,
    sessions: Mutex<HashMap<IpAddr, usize>>,
}

impl AddressLimit {
    pub(crate) fn new(most: usize) -> AddressLimit {
        AddressLimit { most, sessions: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one session of `address` in, if it may have one more.
    pub(crate) fn admit(&self, address: IpAddr) -> bool {
        let mut sessions = self.lock();
        let count = sessions.entry(address.to_canonical()).or_default();
        let room = *count < self.most;
        *count += usize::from(room);
        room
    }

    /// Counts one out. An address without sessions costs nothing.
    pub(crate) fn leave(&self, address: IpAddr) {
        let (address, mut sessions) = (address.to_canonical(), self.lock());
        if let Some(count) = sessions.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&address);
            }
        }
    }
}

#[cfg(test)]
impl AddressLimit {
    /// Sessions that `address` has.
    pub(crate) fn counted(&self, address: IpAddr) -> usize {
        self.lock().get(&address.to_canonical()).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_room_and_gets_it_back() {
        let addresses = AddressLimit::new(2);
        let [one, mapped, other] = ["10.0.0.1", "::ffff:10.0.0.1", "::1"].map(|text| text.parse().unwrap());
        assert!(addresses.admit(one) && addresses.admit(mapped), "one address in two spellings");
        assert!(!addresses.admit(one));
        assert!(addresses.admit(other));
        addresses.leave(one);
        assert!(addresses.admit(mapped));
        for address in [one, one, other] {
            addresses.leave(address);
        }
        assert!(addresses.lock().is_empty());
    }
}
