//! How many sessions each peer address has: one address must not take all the room there is. IPv6 addresses are counted
//! by their network: one customer usually has a whole /64 (RFC 6177), and may use each of its addresses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::PoisonError;

use crate::sync::{Mutex, MutexGuard};

/// Shared by all workers of a server that has this limit. Locked once when a connection arrives and once when it ends.
pub(crate) struct AddressLimit {
    most: usize,
    /// Bits of an IPv6 address that count, 1 to 128.
    ipv6_prefix: u8,
    sessions: Mutex<HashMap<IpAddr, usize>>,
}

impl AddressLimit {
    pub(crate) fn new(most: usize, ipv6_prefix: u8) -> AddressLimit {
        debug_assert!((1..=128).contains(&ipv6_prefix), "settings are checked at the start");
        AddressLimit { most, ipv6_prefix, sessions: Mutex::default() }
    }

    /// What `address` is counted as. An IPv4 address is one, also as an IPv6 socket shows it (`::ffff:192.0.2.1`). All
    /// machines on a link share one link-local network, so each of their link-local addresses is counted by itself.
    fn counted_as(&self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V6(address) if !address.is_unicast_link_local() => {
                let mask = u128::MAX << (128 - u32::from(self.ipv6_prefix));
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
            address => address,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one session of `address` in, if it may have one more.
    pub(crate) fn admit(&self, address: IpAddr) -> bool {
        let (address, mut sessions) = (self.counted_as(address), self.lock());
        let count = sessions.entry(address).or_default();
        let room = *count < self.most;
        *count += usize::from(room);
        room
    }

    /// Counts one out. An address without sessions costs nothing.
    pub(crate) fn leave(&self, address: IpAddr) {
        let (address, mut sessions) = (self.counted_as(address), self.lock());
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
        self.lock().get(&self.counted_as(address)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_room_and_gets_it_back() {
        let addresses = AddressLimit::new(2, 64);
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

    /// The most sessions that `all` get together, with one session per network.
    fn admitted(ipv6_prefix: u8, all: &[&str]) -> usize {
        let addresses = AddressLimit::new(1, ipv6_prefix);
        all.iter().filter(|text| addresses.admit(text.parse().unwrap())).count()
    }

    #[test]
    fn an_ipv6_network_is_counted_as_one() {
        let network = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::", "2001:db8:1:2:3:4:5:6"];
        let others = ["2001:db8:1:3::1", "2001:db8:2:2::1"];
        let all = [&network[..], &others[..]].concat();
        assert_eq!((admitted(64, &network), admitted(64, &all)), (1, 3));
        assert_eq!(admitted(48, &all), 2);
        assert_eq!(admitted(128, &all), 5, "each by itself");
        assert_eq!(admitted(1, &all), 1);
    }

    #[test]
    fn what_is_not_an_ipv6_network_is_counted_by_itself() {
        // Their first 96 bits are the same.
        assert_eq!(admitted(64, &["::ffff:10.0.0.1", "::ffff:10.0.0.2", "10.0.0.2"]), 2);
        assert_eq!(admitted(64, &["10.0.0.1", "10.0.0.2"]), 2);
        assert_eq!(admitted(64, &["fe80::1", "fe80::2", "fe80::2"]), 2);
    }

    #[test]
    fn a_network_gets_back_what_its_addresses_had() {
        let addresses = AddressLimit::new(1, 64);
        let [one, other] = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap());
        assert!(addresses.admit(one) && !addresses.admit(other));
        addresses.leave(one);
        assert!(addresses.lock().is_empty() && addresses.admit(other));
    }
}
