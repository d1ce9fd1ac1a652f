//! What all workers have measured, put together.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::meters::Use;
use super::recorder::{Slice, histogram};
use super::stalls::Gaps;
use super::{Final, INTERVAL};
use crate::load::measured::{Counts, Event, EventKind, Generator, Interval, Measured, Mismatch};
use crate::load::plan::Plan;

/// A thread that is busier than this has no time left.
const BUSY: f64 = 0.95;
/// On a schedule: a thread that is less busy than this has time enough, and is late for another reason.
const WORKS: f64 = 0.6;
/// A thread that waits for a processor for this share of the time is kept from its work.
const WAITS: f64 = 0.1;
/// On a schedule: a generator that is later than this at the 99th percentile does not keep it, in ns.
const LATE: u64 = 1_000_000;
const MISMATCHES: usize = 8;
const EVENTS: usize = 1_000;
const FAILURES: usize = 8;

/// Intervals whose histograms are kept: a worker may hand one over this much later than another. With those of all
/// intervals, a run of an hour would need gigabytes.
const OPEN: usize = 50;

/// One interval of all workers.
#[derive(Default)]
struct Part {
    messages: u64,
    /// Until its figures are taken from it.
    latency: Option<Histogram<u64>>,
    figures: Figures,
}

#[derive(Clone, Copy, Default)]
struct Figures {
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

impl Part {
    /// If its figures are taken already, only its messages and its highest latency change.
    fn add(&mut self, slice: Slice) {
        self.messages += slice.messages;
        match &mut self.latency {
            Some(latency) => add(latency, &slice.latency),
            None if self.figures.max == 0 => self.latency = Some(slice.latency),
            None => self.figures.max = self.figures.max.max(slice.latency.max()),
        }
    }

    fn figures(&self) -> Figures {
        let Some(latency) = self.latency.as_ref().filter(|latency| !latency.is_empty()) else {
            return self.figures;
        };
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|quantile| latency.value_at_quantile(quantile));
        Figures { p50, p90, p99, max: latency.max() }
    }

    fn close(&mut self) {
        self.figures = self.figures();
        self.latency = None;
    }
}

pub(super) struct Collected {
    is_scheduled: bool,
    knows_server: bool,
    began: Duration,
    latency: Histogram<u64>,
    actual: Option<Histogram<u64>>,
    late: Histogram<u64>,
    parts: Vec<Part>,
    counts: Counts,
    mismatches: Vec<Mismatch>,
    gaps: Gaps,
    events: Vec<(usize, EventKind, u64)>,
    uses: Vec<Use>,
    elapsed: Duration,
    workers_ended: usize,
    is_interrupted: bool,
}

impl Collected {
    /// `began`: when the measured part begins, since 1970.
    pub(super) fn new(plan: &Plan, began: Duration) -> Collected {
        Collected {
            is_scheduled: plan.rate.is_some(),
            knows_server: plan.server_pid.is_some(),
            began,
            latency: histogram(),
            actual: plan.rate.map(|_| histogram()),
            late: histogram(),
            parts: Vec::new(),
            counts: Counts::default(),
            mismatches: Vec::new(),
            gaps: Gaps::default(),
            events: Vec::new(),
            uses: Vec::new(),
            elapsed: Duration::ZERO,
            workers_ended: 0,
            is_interrupted: false,
        }
    }

    /// How many workers have handed over everything.
    pub(super) fn ended(&self) -> usize {
        self.workers_ended
    }

    pub(super) fn slice(&mut self, slice: Slice) {
        add(&mut self.latency, &slice.latency);
        if let (Some(all), Some(actual)) = (&mut self.actual, &slice.actual) {
            add(all, actual);
        }
        while self.parts.len() <= slice.index {
            self.parts.push(Part::default());
            if let Some(old) = self.parts.len().checked_sub(OPEN + 1) {
                self.parts[old].close();
            }
        }
        let index = slice.index;
        self.parts[index].add(slice);
    }

    pub(super) fn done(&mut self, ended: Final) {
        self.workers_ended += 1;
        self.is_interrupted |= ended.is_interrupted;
        let Counts {
            messages,
            unsent,
            given_up,
            opened,
            failed,
            reset,
            ended_early,
            timeouts,
            mismatches,
            failures,
        } = ended.counts;
        let counts = &mut self.counts;
        counts.messages += messages;
        counts.unsent += unsent;
        counts.given_up += given_up;
        counts.opened += opened;
        counts.failed += failed;
        counts.reset += reset;
        counts.ended_early += ended_early;
        counts.timeouts += timeouts;
        counts.mismatches += mismatches;
        for (why, count) in failures {
            match counts.failures.iter_mut().find(|(known, _)| *known == why) {
                Some((_, all)) => *all += count,
                None => counts.failures.push((why, count)),
            }
        }
        counts.failures.truncate(FAILURES);
        self.mismatches.extend(ended.mismatches);
        self.mismatches.truncate(MISMATCHES);
        self.gaps.append(ended.gaps);
        for (index, kind, count) in ended.events {
            match self.events.iter_mut().find(|event| (event.0, event.1) == (index, kind)) {
                Some(event) => event.2 += count,
                None => self.events.push((index, kind, count)),
            }
        }
        add(&mut self.late, &ended.late);
        self.uses.push(ended.use_of);
        self.elapsed = self.elapsed.max(Duration::from_nanos(ended.span.to - ended.span.from));
    }

    pub(super) fn measured(mut self, backend: String) -> Measured {
        let intervals = self.intervals();
        let generator = self.generator();
        // From the time of sending: what was due in a stall is late by the schedule, and would hide the stall.
        let median = self.actual.as_ref().unwrap_or(&self.latency).value_at_quantile(0.5);
        self.events.sort_by_key(|event| event.0);
        self.events.truncate(EVENTS);
        let event = |(index, kind, count): (usize, EventKind, u64)| Event {
            at: Duration::from_nanos(index as u64 * INTERVAL),
            kind,
            count,
        };
        Measured {
            began: self.began,
            elapsed: self.elapsed,
            interrupted: self.is_interrupted,
            backend,
            latency: self.latency,
            latency_actual: self.actual,
            late: self.late,
            intervals,
            counts: self.counts,
            first_mismatches: self.mismatches,
            stalls: self.gaps.stalls(median),
            events: self.events.into_iter().map(event).collect(),
            generator,
            server: self.uses.into_iter().find_map(|used| used.server),
        }
    }

    /// The timeline, without gaps.
    fn intervals(&self) -> Vec<Interval> {
        let used = self.uses.iter().find(|used| !used.server_cpu.is_empty());
        // The clock of an interrupted run may have stopped a moment before the last interval ends.
        let end = |used: &Use| used.elapsed.max(self.elapsed);
        let last = used.and_then(|used| Some((end(used), used.server.as_ref()?.cpu)));
        let mut server: Vec<_> = used.map(|used| used.server_cpu.clone()).unwrap_or_default();
        server.extend(last);
        let own: Vec<Vec<_>> =
            self.uses.iter().map(|used| with_last(&used.own_cpu, end(used), used.cpu)).collect();
        let interval = |index: usize| {
            let at = Duration::from_nanos(INTERVAL) * index as u32;
            let length = Duration::from_nanos(INTERVAL).min(self.elapsed - at);
            let used =
                |samples: &[_]| Some(cpu_at(samples, at + length)?.saturating_sub(cpu_at(samples, at)?));
            let part = self.parts.get(index);
            let Figures { p50, p90, p99, max } = part.map_or(Figures::default(), Part::figures);
            Interval {
                at,
                length,
                messages: part.map_or(0, |part| part.messages),
                p50,
                p90,
                p99,
                max,
                generator_cpu: own.iter().map(|samples| used(samples)).sum(),
                server_cpu: used(&server),
            }
        };
        let count = self.elapsed.as_nanos().div_ceil(u128::from(INTERVAL)) as usize;
        (0..count).map(interval).collect()
    }

    fn generator(&self) -> Generator {
        let share = |used: &Use| match used.elapsed {
            Duration::ZERO => 0.0,
            elapsed => used.cpu.as_secs_f64() / elapsed.as_secs_f64(),
        };
        let busiest_thread = self.uses.iter().map(share).fold(0.0, f64::max);
        Generator {
            cpu: self.uses.iter().map(|used| used.cpu).sum(),
            busiest_thread,
            waited_for_processor: self.uses.iter().map(|used| used.waited).sum(),
            bottleneck: self.bottleneck(busiest_thread),
        }
    }

    /// On a schedule, the generator limits the result if it does not keep it. In a closed loop it does if a thread of it
    /// has no time left; if the server's process is known and has no time left either, the two limit each other, as they
    /// always do in a closed loop. In both: if its threads often wait for a processor, the server or other programs take it
    /// from them.
    fn bottleneck(&self, busiest_thread: f64) -> Option<String> {
        let percent = busiest_thread * 100.0;
        let waited = |used: &Use| match (used.waited, used.elapsed) {
            (None, _) | (_, Duration::ZERO) => 0.0,
            (Some(waited), elapsed) => waited.as_secs_f64() / elapsed.as_secs_f64(),
        };
        let waited = self.uses.iter().map(waited).fold(0.0, f64::max);
        let without = (waited > WAITS).then(|| {
            format!(
                "a thread of it waited for a processor for {:.0} % of the time: the server or other programs used it",
                waited * 100.0
            )
        });
        if self.is_scheduled {
            let late = self.late.value_at_quantile(0.99);
            let why = without.unwrap_or_else(|| match busiest_thread {
                part if part > WORKS => {
                    format!("its busiest thread used {percent:.0} % of a processor; lower --rate or raise --threads")
                }
                _ => format!(
                    "it was woken late, although its busiest thread used only {percent:.0} % of a processor: give it \
                     a processor that nothing else uses"
                ),
            });
            return (late > LATE)
                .then(|| format!("it was {:.1} ms late at the 99th percentile: {why}", late as f64 / 1e6));
        }
        if without.is_some() {
            return without;
        }
        let of_server = self.uses.iter().find_map(|used| {
            let server = used.server.as_ref()?;
            (used.elapsed > Duration::ZERO).then(|| server.cpu.as_secs_f64() / used.elapsed.as_secs_f64())
        });
        let limits = busiest_thread > BUSY && of_server.is_none_or(|server| server < BUSY);
        limits.then(|| {
            let and = match (of_server, self.knows_server) {
                (Some(server), _) => format!("and the server {:.0} %", server * 100.0),
                (None, true) => "and what the server used is not known, because its process ended".to_owned(),
                (None, false) => "and what the server used is not known; give --server-pid".to_owned(),
            };
            format!("a thread of it used {percent:.0} % of a processor, {and}; raise --threads, or measure with --rate")
        })
    }
}

fn add(to: &mut Histogram<u64>, from: &Histogram<u64>) {
    to.add(from).expect("the larger histogram resizes");
}

/// Samples up to the end.
fn with_last(samples: &[(Duration, Duration)], end: Duration, all: Duration) -> Vec<(Duration, Duration)> {
    samples.iter().copied().chain([(end, all)]).collect()
}

/// CPU time at a moment, between the samples around it.
fn cpu_at(samples: &[(Duration, Duration)], at: Duration) -> Option<Duration> {
    let after = samples.partition_point(|(time, _)| *time < at);
    let (to, cpu_to) = *samples.get(after)?;
    let (from, cpu_from) = match after.checked_sub(1) {
        Some(before) => samples[before],
        None => (Duration::ZERO, Duration::ZERO),
    };
    if at == to || to <= from {
        return Some(cpu_to);
    }
    let part = (at - from).as_secs_f64() / (to - from).as_secs_f64();
    Some(cpu_from + cpu_to.saturating_sub(cpu_from).mul_f64(part))
}
