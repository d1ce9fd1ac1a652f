//! Whether something else used the machine while a server was measured.
//!
//! Three things are looked at: the CPU time that others took on the processors of server and generator, the time that the
//! host took away (steal), and how long a system call that does nothing takes before and after. A virtual machine has slow
//! phases of seconds to minutes that only the last one shows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::placed;
use super::system::{self, Ticks};

/// Shares above this make a measurement noisy.
pub(super) const LIMIT: f64 = 0.07;

/// Of one measurement; shares of 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Noise {
    /// CPU time of others on the processors of server or generator, whichever is more.
    pub(super) others: f64,
    /// Taken by the host.
    pub(super) steal: f64,
    /// Of an empty system call, the slower of before and after, in ns.
    pub(super) probe_ns: f64,
}

impl Noise {
    /// The worst of the three, with the fastest probe as what this machine can do.
    pub(super) fn level(&self, best_probe_ns: f64) -> f64 {
        let slower = if best_probe_ns > 0.0 { self.probe_ns / best_probe_ns - 1.0 } else { 0.0 };
        (self.others + self.steal).max(slower)
    }

    pub(super) fn is_noisy(&self, best_probe_ns: f64) -> bool {
        self.level(best_probe_ns) > LIMIT
    }
}

/// Where server and generator run, and whose CPU time is their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Places {
    pub(super) server: Vec<usize>,
    pub(super) generator: Vec<usize>,
}

/// The counters at one moment.
pub(super) struct Snapshot {
    at: Instant,
    processors: BTreeMap<usize, Ticks>,
    server: u64,
    children: u64,
    all: u64,
}

impl Snapshot {
    /// `server` is its process.
    pub(super) fn take(server: u32) -> Snapshot {
        Snapshot {
            at: Instant::now(),
            processors: system::processors(),
            server: system::ticks_of(server).unwrap_or(0),
            children: system::ticks_of_children(),
            all: system::ticks_of_all(),
        }
    }

    /// From this moment to `later`, in which a generator ran and was waited for. The server still runs.
    pub(super) fn noise_until(&self, later: &Snapshot, places: &Places, probe_ns: f64) -> Noise {
        let whole = later.at.duration_since(self.at).as_secs_f64() * system::ticks_per_second();
        let over = |processors: &[usize], of: fn(Ticks) -> u64| {
            let ticks = |all: &BTreeMap<usize, Ticks>, at| all.get(at).copied().map_or(0, of);
            // Steal, for one, may go back a little.
            let since = |at| ticks(&later.processors, at).saturating_sub(ticks(&self.processors, at));
            let each = processors.iter().map(since);
            each.sum::<u64>() as f64 / (whole * processors.len() as f64)
        };
        let server = later.server.saturating_sub(self.server) as f64 / whole;
        let generator = later.children.saturating_sub(self.children) as f64 / whole;
        let (server_busy, generator_busy) =
            (over(&places.server, |ticks| ticks.busy), over(&places.generator, |ticks| ticks.busy));
        let elsewhere = later.all.saturating_sub(self.all) as f64 / whole - server - generator;
        let others = if places.server == places.generator {
            others(server_busy, (server + generator) / places.server.len() as f64, elsewhere)
        } else {
            let on_server = others(server_busy, server / places.server.len() as f64, elsewhere);
            on_server.max(others(generator_busy, generator / places.generator.len() as f64, elsewhere))
        };
        let steal =
            over(&places.server, |ticks| ticks.steal).max(over(&places.generator, |ticks| ticks.steal));
        Noise { others, steal, probe_ns }
    }
}

/// The share of a processor that others took. Ticks are samples: on a processor that is mostly idle, work that begins
/// with the tick is counted wrongly, so there the CPU time of all other processes is taken instead, wherever they ran.
fn others(busy: f64, own: f64, elsewhere: f64) -> f64 {
    const MOSTLY: f64 = 0.6;
    if own > MOSTLY { (busy - own).max(0.0) } else { elsewhere.max(0.0) }
}

/// Nanoseconds of a system call that does nothing: the slower of these processors.
pub(super) fn probe(processors: &[usize]) -> f64 {
    let probes = std::thread::scope(|scope| {
        let each = |processor: usize| scope.spawn(move || placed::on(&[processor], probe_here));
        let started: Vec<_> = processors.iter().map(|processor| each(*processor)).collect();
        started.into_iter().map(|one| one.join().expect("a probe does not panic")).collect::<Vec<_>>()
    });
    probes.into_iter().flatten().fold(0.0, f64::max)
}

/// The middle one of three runs.
fn probe_here() -> f64 {
    const RUN: Duration = Duration::from_millis(6);
    let run = || {
        let began = Instant::now();
        let mut calls = 0u32;
        while began.elapsed() < RUN {
            for _ in 0..500 {
                std::hint::black_box(rustix::process::getppid());
            }
            calls += 500;
        }
        began.elapsed().as_nanos() as f64 / f64::from(calls)
    };
    let mut runs = [run(), run(), run()];
    runs.sort_unstable_by(f64::total_cmp);
    runs[1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(at: Instant, busy: [u64; 2], steal: u64, server: u64, children: u64, all: u64) -> Snapshot {
        let processors = BTreeMap::from([0, 1].map(|at| (at, Ticks { busy: busy[at], steal })));
        Snapshot { at, processors, server, children, all }
    }

    #[test]
    fn others_are_what_is_not_our_own() {
        let ticks = |share: f64| (share * system::ticks_per_second()) as u64;
        let apart = Places { server: vec![0], generator: vec![1] };
        let start = Instant::now();
        let before = snapshot(start, [0, 0], 0, 0, 0, 0);
        // In one second: the server's processor was busy for 90 %, 80 % of it with the server.
        let busy = [ticks(0.9), ticks(1.0)];
        let after =
            snapshot(start + Duration::from_secs(1), busy, ticks(0.02), ticks(0.8), ticks(1.0), ticks(2.5));
        let noise = before.noise_until(&after, &apart, 180.0);
        assert!((noise.others - 0.1).abs() < 0.011, "{noise:?}");
        assert!((noise.steal - 0.02).abs() < 0.011, "{noise:?}");
        assert!(noise.is_noisy(180.0));
        // Both on both: 190 % of 200 % busy, 180 % our own.
        let shared = Places { server: vec![0, 1], generator: vec![0, 1] };
        let noise = before.noise_until(&after, &shared, 180.0);
        assert!((noise.others - 0.05).abs() < 0.011, "{noise:?}");
        // Mostly idle: what all other processes took.
        let after =
            snapshot(start + Duration::from_secs(1), [ticks(0.3); 2], 0, ticks(0.1), ticks(0.1), ticks(0.23));
        let noise = before.noise_until(&after, &apart, 180.0);
        assert!((noise.others - 0.03).abs() < 0.011, "{noise:?}");
    }

    /// A processor in between is offline, and a counter goes back: nothing is taken for another processor's time.
    #[test]
    fn processors_are_known_by_their_numbers() {
        let ticks = |share: f64| (share * system::ticks_per_second()) as u64;
        let start = Instant::now();
        let taken = |at, of: [(usize, u64); 2], steal: u64| {
            let processors = of.map(|(number, busy)| (number, Ticks { busy, steal }));
            let own = of[0].1;
            Snapshot { at, processors: processors.into(), server: own, children: own, all: 2 * own }
        };
        let places = Places { server: vec![0], generator: vec![2] };
        let before = taken(start, [(0, 0), (2, 0)], 50);
        let after = taken(start + Duration::from_secs(1), [(0, ticks(0.8)), (2, ticks(1.0))], 49);
        let noise = before.noise_until(&after, &places, 180.0);
        assert!((noise.others - 0.2).abs() < 0.011, "the generator's, by others: {noise:?}");
        assert!(noise.steal.abs() < f64::EPSILON, "{noise:?}");
    }

    #[test]
    fn the_worst_of_three_decides() {
        let quiet = Noise { others: 0.03, steal: 0.03, probe_ns: 105.0 };
        assert!((quiet.level(100.0) - 0.06).abs() < 1e-9);
        assert!(!quiet.is_noisy(100.0));
        assert!(Noise { probe_ns: 108.0, ..quiet }.is_noisy(100.0));
        assert!(Noise { steal: 0.05, ..quiet }.is_noisy(100.0));
        assert!(!quiet.is_noisy(0.0));
    }

    #[test]
    fn a_probe_measures() {
        let ns = probe(&placed::allowed());
        assert!(ns > 1.0 && ns < 1e6, "{ns}");
    }
}
