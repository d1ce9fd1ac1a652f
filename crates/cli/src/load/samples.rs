//! Results for tests: as a run could have given them.

use std::time::Duration;

use hdrhistogram::Histogram;
use overlapped::Choice;

use super::measured::{Counts, Event, EventKind, Generator, Interval, Measured, Mismatch, ServerUse, Stall};
use super::plan::{Behaviour, Plan};

const INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn plan() -> Plan {
    Plan {
        target: "127.0.0.1:9999".to_owned(),
        addresses: vec!["127.0.0.1:9999".parse().unwrap()],
        connections: 50,
        size: 64,
        pipeline: 1,
        rate: None,
        duration: Duration::from_secs(10),
        warmup: Duration::from_secs(1),
        reply_timeout: Duration::from_secs(10),
        threads: 1,
        pin: false,
        backend: Choice::Auto,
        behaviours: vec![Behaviour::Normal],
        check: true,
        server_pid: None,
    }
}

/// Numbers that look random and repeat.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// From 0 to 1.
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 24)
    }
}

/// A run of `seconds` in a closed loop with latencies around `median` ns.
pub(crate) fn run(seconds: f64, median: f64, seed: u64) -> Measured {
    let mut noise = Noise(seed);
    let mut latency = Histogram::new(3).unwrap();
    let elapsed = Duration::from_secs_f64(seconds);
    let mut intervals = Vec::new();
    let mut at = Duration::ZERO;
    while at < elapsed {
        let length = INTERVAL.min(elapsed - at);
        let mut own: Histogram<u64> = Histogram::new(3).unwrap();
        for _ in 0..(length.as_millis() * 10) {
            // A long tail to the right.
            let ns = median * (0.7 + 0.6 * noise.next()) / (1.0 - 0.97 * noise.next()).sqrt();
            own.record(ns as u64).unwrap();
        }
        intervals.push(Interval {
            at,
            length,
            messages: own.len(),
            p50: own.value_at_quantile(0.5),
            p90: own.value_at_quantile(0.9),
            p99: own.value_at_quantile(0.99),
            max: own.max(),
            generator_cpu: Some(length.mul_f64(0.8)),
            server_cpu: None,
        });
        latency.add(&own).unwrap();
        at += length;
    }
    let mut late = Histogram::new(3).unwrap();
    late.record_n(4000, 1000).unwrap();
    Measured {
        began: Duration::from_millis(1_795_000_000_250),
        elapsed,
        interrupted: false,
        backend: "io_uring".to_owned(),
        counts: Counts { messages: latency.len(), opened: 50, ..Counts::default() },
        latency,
        latency_actual: None,
        late,
        intervals,
        first_mismatches: Vec::new(),
        stalls: Vec::new(),
        events: Vec::new(),
        generator: Generator {
            cpu: elapsed.mul_f64(0.8),
            busiest_thread: 0.8,
            waited_for_processor: Some(Duration::from_millis(30)),
            bottleneck: None,
        },
        server: None,
    }
}

pub(crate) fn calm() -> Measured {
    run(10.0, 100_000.0, 1)
}

/// With everything that can go wrong, and everything that can be reported.
pub(crate) fn eventful() -> Measured {
    let mut measured = run(10.0, 100_000.0, 2);
    measured.latency.record_n(1_050_000_000, 200).unwrap();
    measured.latency_actual = Some(measured.latency.clone());
    for interval in &mut measured.intervals {
        interval.server_cpu = Some(Duration::from_millis(60));
        if (40..50).contains(&(interval.at.as_millis() / 100)) {
            *interval = Interval { at: interval.at, length: interval.length, ..Interval::default() };
        }
    }
    measured.stalls.push(Stall {
        at: Duration::from_millis(4010),
        length: Duration::from_millis(990),
        connections: 50,
    });
    let kinds = [EventKind::Reset, EventKind::Timeout, EventKind::Mismatch, EventKind::ConnectFailed];
    measured.events = (0..200)
        .map(|at| Event {
            at: Duration::from_millis(at * 50),
            kind: kinds[(at % 7 % 4) as usize],
            count: 1 + at % 3,
        })
        .collect();
    measured.counts = Counts {
        messages: measured.latency.len(),
        opened: 450,
        failed: 3,
        reset: 210,
        ended_early: 10,
        unsent: 0,
        given_up: 0,
        timeouts: 90,
        mismatches: 97,
        failures: vec![("Connection refused (os error 111)".to_owned(), 3)],
    };
    measured.first_mismatches = vec![
        Mismatch { connection: 7, offset: 4_194_300, expected: Some(0x5a), got: Some(0x5b) },
        Mismatch { connection: 8, offset: 640, expected: None, got: Some(0) },
        Mismatch { connection: 9, offset: 128, expected: Some(1), got: None },
    ];
    measured.generator.bottleneck = Some("its busiest thread used 99 % of a processor".to_owned());
    measured.server = Some(ServerUse {
        cpu: Duration::from_secs(6),
        rss_bytes: 12 << 20,
        voluntary_switches: Some(12_345),
        involuntary_switches: Some(67),
    });
    measured
}
