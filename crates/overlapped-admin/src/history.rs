//! The last five minutes, for a live page that has just been opened: one sample a second, of all workers together.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use overlapped::Stats;
use overlapped::events::{Metric, MetricKind};

const SAMPLES: usize = 300;

/// The samples, the oldest first. Bounded.
#[derive(Default)]
pub(crate) struct History {
    samples: VecDeque<(u64, Vec<u64>)>,
}

impl History {
    /// Adds what the workers say now.
    pub(crate) fn add(&mut self, stats: &[Stats]) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now_ms(), sums(stats)));
    }

    /// When each was taken, in ms since 1970, and its numbers, in the order of [`Stats::METRICS`].
    pub(crate) fn samples(&self) -> impl Iterator<Item = (u64, &[u64])> {
        self.samples.iter().map(|(at, sums)| (*at, sums.as_slice()))
    }
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The numbers of one worker, or of several together.
pub(crate) fn sums(stats: &[Stats]) -> Vec<u64> {
    let over = |metric: &Metric| {
        let values = stats.iter().map(|stats| metric.of(stats));
        match metric.kind {
            MetricKind::Maximum => values.max().unwrap_or(0),
            _ => values.sum(),
        }
    };
    Stats::METRICS.iter().map(over).collect()
}
