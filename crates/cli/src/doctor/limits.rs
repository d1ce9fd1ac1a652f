//! The limits that matter to a server of many sessions: what holds, and what to set for more. Nothing is read
//! here but what [`Machine`] answers.

use overlapped::Server;
use proactor::backend::feature::RingSize;
use proactor::os::Limit;

use super::machine::{Answer, GroupLimit, Machine, SoftLimit};
use crate::units::bytes;

/// The numbers of sessions that advice is given for.
pub(super) const TARGETS: [u64; 2] = [10_000, 100_000];

/// One limit.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) now: Amount,
    /// For each of [`TARGETS`].
    pub(super) advice: [Advice; 2],
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Amount {
    Count(u64),
    Bytes(u64),
    Ports(u16, u16),
    Unlimited,
    NotReadable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// It is enough.
    Fine,
    /// It is not, but `serve` raises it by itself, and so does a program that asks for it.
    RaisedByServe,
    /// It is not.
    Set {
        to: String,
        /// A command or step each.
        how: Vec<String>,
    },
    /// That cannot be found out here.
    Unknown,
}

/// What is known besides the files.
pub(super) struct Facts {
    pub(super) workers: usize,
    /// Descriptors that are open already.
    pub(super) open: u64,
    pub(super) descriptors: Option<Limit>,
    pub(super) rings: Rings,
}

/// What trying to make rings showed of the memory they may lock.
#[derive(Clone, Copy)]
pub(super) enum Rings {
    Made(RingSize),
    /// Refused for want of memory to lock.
    NoMemory,
    /// Refused for another reason, or not a matter of this system.
    Unknown,
}

/// Connections that wait to be accepted: what `serve` asks for. More is of no use to it.
const BACKLOG: u64 = 4096;
/// What an idle session costs, kernel included, with room to spare. Measured: 5 KiB with either backend.
const SESSION_BYTES: u64 = 8 * 1024;
const PROGRAM_BYTES: u64 = 64 << 20;
/// A ring of full size with its completions, rounded up.
const RING_BYTES: u64 = 256 * 1024;
/// Threads beside the workers: the main one, and one for signals.
const OTHER_THREADS: u64 = 2;
const PORT_RANGE: &str = "net.ipv4.ip_local_port_range";
const MEMORY_LOCK: &str = "memory lock";
const GROUP_MEMORY: &str = "cgroup memory";
const GROUP_PIDS: &str = "cgroup pids";
/// The widest range that leaves out the ports of services.
const ALL_PORTS: (u16, u16) = (1024, 65535);

/// Every limit that this system has, in the order of how often it is the one that stops a server.
pub(super) fn rows(facts: &Facts, machine: &Machine) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(facts.descriptors.iter().flat_map(|limit| descriptors(facts, *limit)));
    let wanted = |sessions| needed(facts, sessions);
    let always = |name, least: &dyn Fn(u64) -> u64| setting(name, machine.number(name), least);
    let if_any = |name, least: &dyn Fn(u64) -> u64| setting(name, machine.number_if_any(name), least);
    rows.extend(always("fs.nr_open", &|sessions| wanted(sessions).next_power_of_two()));
    let others = machine.setting("fs.file-nr").is().and_then(|text| first_number(&text)).unwrap_or(0);
    rows.extend(always("fs.file-max", &|sessions| wanted(sessions) + others));
    rows.extend(always("net.core.somaxconn", &|_| BACKLOG));
    let cookies = machine.number_if_any("net.ipv4.tcp_syncookies").is().unwrap_or(0) > 0;
    // With cookies a full queue of half-open connections turns nobody away.
    let half_open = if cookies { 0 } else { BACKLOG };
    rows.extend(always("net.ipv4.tcp_max_syn_backlog", &|_| half_open));
    rows.extend(if_any("net.ipv4.tcp_syncookies", &|_| 1));
    rows.extend(row(PORT_RANGE, machine.port_range(), ports));
    let tracked = machine.number_if_any("net.netfilter.nf_conntrack_count").is().unwrap_or(0);
    rows.extend(if_any("net.netfilter.nf_conntrack_max", &|sessions| sessions + tracked));
    rows.extend(row(MEMORY_LOCK, machine.memory_lock(), |limit| memory_lock(facts, limit)));
    rows.extend(row(GROUP_MEMORY, machine.group_memory(), group_memory));
    rows.extend(row(GROUP_PIDS, machine.group_pids(), |limit| group_pids(facts, limit)));
    rows
}

/// None for what this system does not have.
fn row<T>(
    name: &'static str,
    answer: Answer<T>,
    judge: impl FnOnce(T) -> (Amount, [Advice; 2]),
) -> Option<Row> {
    let (now, advice) = match answer {
        Answer::Is(value) => judge(value),
        Answer::Absent => return None,
        Answer::NotReadable => (Amount::NotReadable, [Advice::Unknown, Advice::Unknown]),
    };
    Some(Row { name, now, advice })
}

fn needed(facts: &Facts, sessions: u64) -> u64 {
    facts.open + Server::descriptors_needed(sessions, facts.workers)
}

fn descriptors(facts: &Facts, limit: Limit) -> [Row; 2] {
    let enough = |limit: Option<u64>, sessions| limit.is_none_or(|limit| limit >= needed(facts, sessions));
    let raise = |sessions| {
        let to = needed(facts, sessions).next_power_of_two().to_string();
        let how = vec![format!("ulimit -n {to} (systemd: LimitNOFILE=, docker: --ulimit nofile=)")];
        Advice::Set { to, how }
    };
    let soft = TARGETS.map(|sessions| match limit {
        limit if enough(limit.soft, sessions) => Advice::Fine,
        limit if enough(limit.hard, sessions) => Advice::RaisedByServe,
        _ => raise(sessions),
    });
    let hard = TARGETS.map(|sessions| match limit {
        limit if enough(limit.hard, sessions) => Advice::Fine,
        _ => raise(sessions),
    });
    let amount = |limit: Option<u64>| limit.map_or(Amount::Unlimited, Amount::Count);
    [
        Row { name: "descriptors, soft", now: amount(limit.soft), advice: soft },
        Row { name: "descriptors, hard", now: amount(limit.hard), advice: hard },
    ]
}

/// A kernel setting that wants to be at least so much.
fn setting(name: &'static str, answer: Answer<u64>, least: impl Fn(u64) -> u64) -> Option<Row> {
    row(name, answer, |now| {
        let advice = TARGETS.map(|sessions| match least(sessions) {
            least if now >= least => Advice::Fine,
            least => {
                let to = least.next_power_of_two();
                Advice::Set { to: to.to_string(), how: vec![format!("sysctl -w {name}={to}")] }
            }
        });
        (Amount::Count(now), advice)
    })
}

/// A server takes no local port for a session; a client takes one for each, per address and port of the server.
fn ports((first, last): (u16, u16)) -> (Amount, [Advice; 2]) {
    let count = |(first, last): (u16, u16)| u64::from(last.saturating_sub(first)) + 1;
    let most = count(ALL_PORTS);
    let advice = TARGETS.map(|sessions| {
        if count((first, last)) >= sessions {
            return Advice::Fine;
        }
        let mut how = Vec::new();
        if count((first, last)) < most {
            how.push(format!("clients only: sysctl -w {PORT_RANGE}=\"{} {}\"", ALL_PORTS.0, ALL_PORTS.1));
        }
        if sessions > most {
            let targets = sessions.div_ceil(most);
            how.push(format!("clients only: connect to {targets} addresses or ports of the server"));
        }
        Advice::Set { to: "for clients".to_owned(), how }
    });
    (Amount::Ports(first, last), advice)
}

/// It depends on the rings, not on the sessions, and whether it is enough was tried.
fn memory_lock(facts: &Facts, limit: SoftLimit) -> (Amount, [Advice; 2]) {
    let advice = match facts.rings {
        Rings::Made(size) if size.least >= size.wanted => Advice::Fine,
        Rings::Made(_) | Rings::NoMemory => {
            let now = limit.0.unwrap_or(0);
            let to = (now + RING_BYTES * facts.workers as u64).next_power_of_two();
            let how = format!("ulimit -l {} (in KiB; systemd: LimitMEMLOCK={to})", to / 1024);
            Advice::Set { to: bytes(to), how: vec![how] }
        }
        Rings::Unknown => Advice::Unknown,
    };
    let now = limit.0.map_or(Amount::Unlimited, Amount::Bytes);
    (now, [advice.clone(), advice])
}

fn group_memory(limit: GroupLimit) -> (Amount, [Advice; 2]) {
    let advice = TARGETS.map(|sessions| {
        let least = PROGRAM_BYTES + sessions * SESSION_BYTES;
        if limit.most.is_none_or(|most| most >= least) {
            return Advice::Fine;
        }
        let to = bytes(least.next_power_of_two());
        let how = format!("give the container or unit {to} of memory, and more for unsent bytes");
        Advice::Set { to, how: vec![how] }
    });
    let now = limit.most.map_or(Amount::Unlimited, Amount::Bytes);
    (now, advice)
}

fn group_pids(facts: &Facts, limit: GroupLimit) -> (Amount, [Advice; 2]) {
    let least = limit.used + facts.workers as u64 + OTHER_THREADS;
    let advice = match limit.most {
        Some(most) if most < least => {
            let to = least.next_power_of_two().to_string();
            let how = format!("allow the container or unit {to} threads (systemd: TasksMax=)");
            Advice::Set { to, how: vec![how] }
        }
        _ => Advice::Fine,
    };
    let now = limit.most.map_or(Amount::Unlimited, Amount::Count);
    (now, [advice.clone(), advice])
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(soft: u64, hard: u64) -> Facts {
        let rings = Rings::Made(RingSize { least: 1024, wanted: 1024 });
        let descriptors = Some(Limit { soft: Some(soft), hard: Some(hard) });
        Facts { workers: 2, open: 5, descriptors, rings }
    }

    fn set(advice: &Advice) -> (&str, String) {
        match advice {
            Advice::Set { to, how } => (to, how.join("\n")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_soft_limit_under_a_high_hard_one_is_raised_by_serve() {
        let facts = facts(1024, 20_000);
        let [soft, hard] = descriptors(&facts, facts.descriptors.unwrap());
        assert_eq!(soft.advice[0], Advice::RaisedByServe);
        assert_eq!(hard.advice[0], Advice::Fine);
        assert_eq!(set(&soft.advice[1]).0, "131072");
        assert!(set(&hard.advice[1]).1.contains("ulimit -n 131072"));
    }

    #[test]
    fn a_descriptor_less_than_needed_is_too_few() {
        let exactly = 5 + Server::descriptors_needed(10_000, 2);
        let advice = |hard| {
            let facts = facts(hard, hard);
            descriptors(&facts, facts.descriptors.unwrap())[1].advice[0].clone()
        };
        assert_eq!(advice(exactly), Advice::Fine);
        assert_eq!(set(&advice(exactly - 1)).0, "16384");
    }

    #[test]
    fn ports_are_a_matter_of_clients() {
        let usual = ports((32768, 60999));
        assert_eq!(usual.1[0], Advice::Fine);
        let (_, how) = set(&usual.1[1]);
        assert!(how.contains("clients only") && how.contains("2 addresses"), "{how}");
        let narrow = ports((60000, 60999));
        let (_, how) = set(&narrow.1[0]);
        assert!(how.contains("1024 65535") && !how.contains("addresses"), "{how}");
        // Nothing is left to widen.
        assert!(!set(&ports((1024, 65535)).1[1]).1.contains("sysctl"));
    }

    #[test]
    fn memory_to_lock_is_judged_by_the_rings_that_were_made() {
        let mut facts = facts(1, 1);
        let limit = SoftLimit(Some(64 * 1024));
        assert_eq!(memory_lock(&facts, limit).1[1], Advice::Fine);
        facts.rings = Rings::Made(RingSize { least: 512, wanted: 1024 });
        assert_eq!(set(&memory_lock(&facts, limit).1[0]).0, "1.0 MiB");
        facts.rings = Rings::Unknown;
        assert_eq!(memory_lock(&facts, limit).1[0], Advice::Unknown);
    }

    #[test]
    fn groups_count_what_they_use_already() {
        let facts = facts(1, 1);
        let memory = |most| group_memory(GroupLimit { most, used: 0 }).1;
        assert_eq!(memory(None), [Advice::Fine, Advice::Fine]);
        let [ten, hundred] = memory(Some(512 << 20));
        assert_eq!((ten, set(&hundred).0), (Advice::Fine, "1.0 GiB"));
        let pids = |used| group_pids(&facts, GroupLimit { most: Some(50), used }).1[0].clone();
        assert_eq!(pids(46), Advice::Fine);
        assert_eq!(set(&pids(47)).0, "64");
    }
}
