//! What one worker has measured. Each 100 ms it gives its histograms to the thread that collects them, so nothing is
//! shared while messages are counted.

use std::sync::mpsc::Sender;

use hdrhistogram::Histogram;

use super::stalls::{Gap, Gaps};
use super::{FromWorker, INTERVAL};
use crate::load::measured::{Counts, EventKind, Mismatch};

/// Digits that a histogram keeps of a value: 0.1 %.
const DIGITS: u8 = 3;
/// The first few mismatches are described.
const MISMATCHES: usize = 8;
/// Reasons of failed connects that are told apart.
const FAILURES: usize = 8;
const EVENTS: usize = 1_000;

/// A histogram of times in ns, of any length.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("three digits are allowed")
}

/// Times of the measured part, in ns since the worker's epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Span {
    fn contains(self, at: u64) -> bool {
        (self.from..self.to).contains(&at)
    }
}

/// One interval of one worker.
pub(super) struct Slice {
    pub(super) worker: u32,
    /// Counted from the beginning of the measured part.
    pub(super) index: usize,
    /// Echoes that were complete; those whose latency is left out, too.
    pub(super) messages: u64,
    pub(super) latency: Histogram<u64>,
    pub(super) actual: Option<Histogram<u64>>,
    /// Errors of the whole run so far, for the progress.
    pub(super) errors: u64,
}

pub(super) struct Recorder {
    out: Sender<FromWorker>,
    worker: u32,
    /// Empty until the run begins.
    span: Span,
    /// When the current interval ends.
    roll_at: u64,
    index: usize,
    messages: u64,
    latency: Histogram<u64>,
    actual: Option<Histogram<u64>>,
    pub(super) late: Histogram<u64>,
    /// Of the times from sending to the echo: of the interval where it was least.
    median: Option<u64>,
    pub(super) counts: Counts,
    pub(super) mismatches: Vec<Mismatch>,
    pub(super) gaps: Gaps,
    /// The interval, the kind, and how many.
    pub(super) events: Vec<(usize, EventKind, u64)>,
}

impl Recorder {
    pub(super) fn new(out: Sender<FromWorker>, worker: u32, is_scheduled: bool) -> Recorder {
        Recorder {
            out,
            worker,
            span: Span { from: u64::MAX, to: u64::MAX },
            roll_at: u64::MAX,
            index: 0,
            messages: 0,
            latency: histogram(),
            actual: is_scheduled.then(histogram),
            late: histogram(),
            median: None,
            counts: Counts::default(),
            mismatches: Vec::new(),
            gaps: Gaps::default(),
            events: Vec::new(),
        }
    }

    pub(super) fn measure(&mut self, span: Span) {
        self.span = span;
        self.roll_at = span.from + INTERVAL;
    }

    /// The measured part ends now, if it has not ended before.
    pub(super) fn end(&mut self, now: u64) {
        self.span.to = self.span.to.min(now.max(self.span.from));
    }

    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// Whether the measured part is over at `at`, and there was one.
    #[inline]
    pub(super) fn is_over(&self, at: u64) -> bool {
        at >= self.span.to && self.span.from < self.span.to
    }

    /// Whether `at` lies in the measured part. Closes the intervals that have ended by then.
    #[inline]
    pub(super) fn is_measured(&mut self, at: u64) -> bool {
        if at >= self.roll_at {
            self.roll(at);
        }
        self.span.contains(at)
    }

    /// `count` messages whose echo was complete in the measured part.
    #[inline]
    pub(super) fn counted(&mut self, count: u64) {
        self.messages += count;
    }

    /// Their latency in ns: from the scheduled time, if there is a schedule.
    #[inline]
    pub(super) fn echoed(&mut self, count: u64, latency: u64) {
        let _ = self.latency.record_n(latency, count); // it resizes itself
    }

    /// `count` messages that are not sent before the end of the measured part, although they were due: their latency is at
    /// least this. If that is less than a usual time from sending to the echo, it says nothing.
    pub(super) fn unsent(&mut self, count: u64, waited: u64) {
        self.counts.unsent += count;
        if self.median.is_none_or(|median| waited >= median) {
            self.echoed(count, waited);
        }
    }

    /// With a schedule: the same messages from when they were sent.
    #[inline]
    pub(super) fn echoed_since_sent(&mut self, count: u64, latency: u64) {
        if let Some(actual) = &mut self.actual {
            let _ = actual.record_n(latency, count);
        }
    }

    /// The generator was this late.
    #[inline]
    pub(super) fn was_late(&mut self, at: u64, by: u64) {
        if self.span.contains(at) {
            let _ = self.late.record(by);
        }
    }

    /// Nothing came back on `connection` between these times, although it waited.
    pub(super) fn gap(&mut self, connection: u32, from: u64, to: u64) {
        let (from, to) = (from.max(self.span.from), to.min(self.span.to));
        if from < to {
            let gap = Gap { from: from - self.span.from, to: to - self.span.from, connection };
            self.gaps.add(gap, self.median.unwrap_or(0));
        }
    }

    pub(super) fn event(&mut self, at: u64, kind: EventKind) {
        if !self.span.contains(at) {
            return;
        }
        let index = ((at - self.span.from) / INTERVAL) as usize;
        // Those of this interval are at the end.
        let last = self.events.iter_mut().rev().take_while(|event| event.0 == index);
        if let Some(event) = last.into_iter().find(|event| event.1 == kind) {
            event.2 += 1;
        } else if self.events.len() < EVENTS {
            self.events.push((index, kind, 1));
        }
    }

    pub(super) fn mismatch(&mut self, mismatch: Mismatch) {
        self.counts.mismatches += 1;
        if self.mismatches.len() < MISMATCHES {
            self.mismatches.push(mismatch);
        }
    }

    pub(super) fn connect_failed(&mut self, why: String) {
        self.counts.failed += 1;
        let failures = &mut self.counts.failures;
        if let Some((_, count)) = failures.iter_mut().find(|(known, _)| *known == why) {
            *count += 1;
        } else if failures.len() < FAILURES {
            failures.push((why, 1));
        }
    }

    /// Errors so far, as CLI users count them.
    pub(super) fn errors(&self) -> u64 {
        let counts = &self.counts;
        counts.failed + counts.reset + counts.timeouts + counts.mismatches
    }

    /// Hands over what the interval that has ended has measured.
    #[cold]
    fn roll(&mut self, now: u64) {
        if self.span.from == u64::MAX {
            return;
        }
        let empty = |full: &Histogram<u64>| Histogram::new_from(full);
        let messages = std::mem::take(&mut self.messages);
        if messages > 0 {
            // That of the interval after a stall is as long as the stall.
            let latency = self.actual.as_ref().unwrap_or(&self.latency);
            // Slow readers are counted, but have no latency: an interval may have theirs alone.
            if !latency.is_empty() {
                let median = latency.value_at_quantile(0.5);
                self.median = Some(self.median.map_or(median, |least| least.min(median)));
            }
            self.counts.messages += messages;
        }
        // Also without messages: the progress shows that there are none, and the errors.
        let next = empty(&self.latency);
        let latency = std::mem::replace(&mut self.latency, next);
        let actual = self.actual.as_mut().map(|actual| {
            let next = empty(actual);
            std::mem::replace(actual, next)
        });
        let (worker, index, errors) = (self.worker, self.index, self.errors());
        let slice = Slice { worker, index, messages, latency, actual, errors };
        let _ = self.out.send(FromWorker::Slice(slice)); // the collector ends last
        // What comes after the end belongs to the last interval: its messages were awaited in it.
        let is_over = now >= self.span.to;
        let within = now.min(self.span.to.saturating_sub(1)).saturating_sub(self.span.from);
        self.index = (within / INTERVAL) as usize;
        self.roll_at = if is_over { u64::MAX } else { self.span.from + (self.index as u64 + 1) * INTERVAL };
    }

    /// Hands over what is left.
    pub(super) fn flush(&mut self) {
        self.roll(self.span.to.max(self.span.from));
    }
}
