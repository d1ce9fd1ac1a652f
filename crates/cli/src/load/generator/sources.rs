//! Source addresses: the ports of one address are limited, and a closed connection keeps its port for a while.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::failure::Failure;

/// Ports of one address that are used before another one is taken, of a hundred. Linux gives every second port to connects,
/// and searches through all of these before it takes one of the others (`__inet_hash_connect`): beyond the half, a connect
/// takes milliseconds instead of microseconds, and a hundred thousand take minutes.
const SHARE: u64 = 45;
/// Source addresses of connections that are opened again and again: after a graceful close, the side that closed first
/// keeps the port for a minute (TIME_WAIT).
const FOR_REOPENING: u64 = 200;

/// Which source addresses the connections use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    /// 127.0.0.2 and so on. 0: the system chooses.
    loopback: u64,
    /// Whether the target's addresses are used in turns.
    pub(super) spreads_targets: bool,
}

impl Sources {
    /// `ports`: how many an address has for outbound connections. `reopens`: whether connections close again and again.
    ///
    /// # Errors
    /// If there are not enough ports.
    pub(super) fn new(
        addresses: &[SocketAddr],
        connections: u32,
        reopens: bool,
        ports: u64,
    ) -> Result<Sources, Failure> {
        let connections = u64::from(connections);
        let is_local = |address: &SocketAddr| match address.ip() {
            IpAddr::V4(ip) => ip.is_loopback() && HAS_LOOPBACK_NETWORK,
            IpAddr::V6(_) => false,
        };
        let usable = (ports * SHARE / 100).max(1);
        if connections <= usable && !reopens {
            return Ok(Sources::default());
        }
        if addresses.iter().all(is_local) || connections > usable && addresses.iter().any(is_local) {
            let needed = connections.div_ceil(usable);
            let loopback = if reopens { needed.max(FOR_REOPENING) } else { needed };
            return Ok(Sources { loopback, spreads_targets: false });
        }
        let spreads_targets = connections > usable && addresses.len() > 1;
        let room = if spreads_targets { ports * addresses.len() as u64 } else { ports };
        if connections > room {
            return Err(Failure::failed(format_args!(
                "{connections} connections need as many local ports, and this machine has {ports} for each pair of \
                 addresses; give fewer --connections, widen the range of ports ({RANGE_SETTING}), or give the target \
                 as a name with several addresses"
            )));
        }
        Ok(Sources { loopback: 0, spreads_targets })
    }

    /// Where a connection comes from, when it is opened for the `life`-th time. `None`: the system chooses.
    pub(super) fn of(&self, number: u64, life: u32) -> Option<SocketAddr> {
        let serial = number.wrapping_add(u64::from(life)).checked_rem(self.loopback)?;
        // All but 127.0.0.1, which other programs use; and none that ends in 0 or 255.
        let (high, low) = (serial / 253, serial % 253 + 2);
        let network = u64::from(u32::from(Ipv4Addr::new(127, 0, 0, 0)));
        let ip = Ipv4Addr::from((network + high % 65_536 * 256 + low) as u32);
        Some(SocketAddr::from((ip, 0)))
    }
}

/// Whether each address of 127.0.0.0/8 is this machine's without being set up.
const HAS_LOOPBACK_NETWORK: bool = cfg!(any(target_os = "linux", windows));

const RANGE_SETTING: &str = if cfg!(target_os = "linux") {
    "sysctl net.ipv4.ip_local_port_range"
} else if cfg!(windows) {
    "netsh int ipv4 set dynamicport tcp"
} else {
    "sysctl net.inet.ip.portrange"
};

/// How many local ports an address has for outbound connections.
pub(super) fn ports() -> u64 {
    /// 49152 to 65535: what IANA has for this (RFC 6335), and Windows and macOS use.
    const USUAL: u64 = 16_384;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    range.ok().and_then(|range| ports_in(&range)).unwrap_or(USUAL)
}

fn ports_in(range: &str) -> Option<u64> {
    let mut bounds = range.split_whitespace().map(|bound| bound.parse::<u64>().ok());
    let (first, last) = (bounds.next()??, bounds.next()??);
    Some((last + 1).checked_sub(first)?.max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn targets(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| address.parse().expect("an address")).collect()
    }

    fn sources(addresses: &[&str], connections: u32, reopens: bool) -> Result<Sources, String> {
        Sources::new(&targets(addresses), connections, reopens, 28_232).map_err(|failure| failure.line())
    }

    #[test]
    fn few_connections_leave_the_choice_to_the_system() {
        for target in ["127.0.0.1:9", "[::1]:9", "192.0.2.1:9"] {
            let sources = sources(&[target], 12_000, false).expect("there is room");
            assert_eq!((sources.of(1, 1), sources.spreads_targets), (None, false));
        }
    }

    #[cfg(any(target_os = "linux", windows))]
    #[test]
    fn many_to_loopback_come_from_as_many_addresses_as_they_need() {
        let sources = sources(&["127.0.0.1:9"], 10_000_000, false).expect("there is room");
        let mut by_source: HashMap<SocketAddr, u64> = HashMap::new();
        for number in 0..10_000_000 {
            *by_source.entry(sources.of(number, 0).expect("an address")).or_default() += 1;
        }
        assert!(by_source.values().all(|connections| *connections <= 12_704));
        for source in by_source.keys() {
            let IpAddr::V4(ip) = source.ip() else { panic!("{source}") };
            assert!(ip.is_loopback() && ip != Ipv4Addr::LOCALHOST, "{ip}");
            assert!(!matches!(ip.octets()[3], 0 | 255) && source.port() == 0, "{source}");
        }
    }

    #[cfg(any(target_os = "linux", windows))]
    #[test]
    fn connections_that_close_again_and_again_change_their_source() {
        let sources = sources(&["127.0.0.1:9"], 1, true).expect("there is room");
        let all: std::collections::HashSet<_> = (0..1_000).map(|life| sources.of(0, life)).collect();
        assert_eq!(all.len(), 200);
        let elsewhere = Sources::new(&targets(&["192.0.2.1:9"]), 1, true, 28_232);
        assert_eq!(elsewhere.ok(), Some(Sources::default()));
    }

    #[test]
    fn too_many_to_elsewhere_are_refused_with_what_to_do() {
        for target in ["192.0.2.1:9", "[::1]:9"] {
            assert_eq!(sources(&[target], 28_232, false), Ok(Sources::default()));
            let error = sources(&[target], 28_233, false).expect_err("there is no room");
            assert!(error.contains("28233 connections") && error.contains("28232 for"), "{error}");
        }
        let two = sources(&["192.0.2.1:9", "192.0.2.2:9"], 56_464, false);
        assert_eq!(two, Ok(Sources { loopback: 0, spreads_targets: true }));
        assert!(sources(&["192.0.2.1:9", "192.0.2.2:9"], 56_465, false).is_err());
    }

    #[test]
    fn the_range_of_ports_is_read_as_linux_writes_it() {
        assert_eq!(ports_in("32768\t60999\n"), Some(28_232));
        assert_eq!(ports_in("60999 32768"), None);
        assert_eq!(ports_in("what"), None);
        assert!(ports() > 0);
    }
}
