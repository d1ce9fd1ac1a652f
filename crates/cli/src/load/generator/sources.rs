//! Local addresses: how many connections one of them can have, and further ones where that is too few.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::failure::Failure;
use crate::load::plan::Plan;

/// Ports that other programs of this machine may have.
const SPARE: u32 = 1_000;
/// 127.0.0.0/8 without both ends.
const LOOPBACK: u32 = (1 << 24) - 2;

/// Which local address each connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sources {
    /// The system's choice.
    System,
    /// 127.0.0.1, 127.0.0.2 and so on, each for the same number of connections.
    Loopback { each: u32 },
}

impl Sources {
    /// # Errors
    /// If the target cannot have that many connections from this machine.
    pub(super) fn for_plan(plan: &Plan, ports: u32) -> Result<Sources, Failure> {
        let each = if ports > 2 * SPARE { ports - SPARE } else { ports / 2 }.max(1);
        let targets = plan.addresses.len().max(1) as u32;
        if plan.connections <= each {
            return Ok(Sources::System);
        }
        let is_loopback = |address: &SocketAddr| matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback() || ip.is_unspecified());
        if targets == 1 && is_loopback(&plan.addresses[0]) && plan.connections / each < LOOPBACK {
            return Ok(Sources::Loopback { each });
        }
        Err(Failure::usage(format_args!(
            "{} connections to {} need more ports than one address of this machine has ({ports}); give at most {each} \
             connections, widen net.ipv4.ip_local_port_range, or run several loads from addresses of their own \
             (a target in 127.0.0.0/8 gets further source addresses by itself)",
            plan.connections, plan.target
        )))
    }

    pub(super) fn of(self, connection: u32) -> Option<SocketAddr> {
        match self {
            Sources::System => None,
            Sources::Loopback { each } => {
                let ip = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + connection / each);
                Some((ip, 0).into())
            }
        }
    }
}

/// How many ports the system gives to outbound connections of one address.
pub(super) fn ports() -> u32 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let range = range.and_then(|text| {
        let mut ends = text.split_whitespace().map(|end| end.parse::<u32>().ok());
        let (first, last) = (ends.next()??, ends.next()??);
        last.checked_sub(first).map(|ports| ports + 1)
    });
    // IANA's dynamic range (RFC 6335, section 6), the default of Windows, macOS and FreeBSD.
    range.unwrap_or(65_535 - 49_152 + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::plan::Behaviour;

    fn sources(target: &str, connections: u32, ports: u32) -> Result<Sources, Failure> {
        let plan = Plan {
            target: target.to_owned(),
            addresses: vec![target.parse().expect("an address")],
            connections,
            size: 64,
            pipeline: 1,
            rate: None,
            duration: Duration::from_secs(1),
            warmup: Duration::ZERO,
            reply_timeout: Duration::from_secs(1),
            threads: 1,
            pin: false,
            backend: overlapped::Choice::Auto,
            behaviours: vec![Behaviour::Normal],
            check: true,
            server_pid: None,
        };
        Sources::for_plan(&plan, ports)
    }

    #[test]
    fn few_connections_leave_the_choice_to_the_system() {
        assert_eq!(sources("127.0.0.1:1", 27_000, 28_232).ok(), Some(Sources::System));
        assert_eq!(sources("192.0.2.1:1", 27_000, 28_232).ok(), Some(Sources::System));
    }

    #[test]
    fn many_connections_to_loopback_come_from_several_addresses() {
        let Ok(sources) = sources("127.0.0.1:1", 100_000, 28_232) else { panic!("loopback has addresses") };
        let ips: std::collections::HashMap<_, u32> = (0..100_000).fold(Default::default(), |mut ips, n| {
            *ips.entry(sources.of(n).expect("an address").ip()).or_default() += 1;
            ips
        });
        assert_eq!(ips.len(), 4);
        assert!(ips.values().all(|count| *count <= 28_232 - SPARE));
    }

    #[test]
    fn elsewhere_the_error_says_what_to_do() {
        let error = sources("192.0.2.1:1", 28_000, 28_232).expect_err("too many").line();
        assert!(error.contains("27232 connections") && error.contains("ip_local_port_range"), "{error}");
        assert!(sources("[::1]:1", 28_000, 28_232).is_err(), "::1 is alone");
    }
}
