//! Stalls: intervals in which connections that waited for an echo got none.

use std::collections::HashSet;
use std::time::Duration;

use crate::load::measured::Stall;

/// A gap that is shorter is no stall, whatever the median latency is.
pub(super) const SHORTEST: u64 = 100_000_000;
/// A gap that is shorter than this many median latencies is none, either.
const MEDIANS: u64 = 10;
/// Gaps that are kept at most by a worker; further ones are left out.
const MOST: usize = 200_000;

/// A time in which one connection waited and nothing came back; in ns since the beginning of the measured part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gap {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) connection: u32,
}

/// The gaps that one worker has seen. Which of them are stalls is known at the end, with the median.
#[derive(Debug, Default)]
pub(super) struct Gaps(Vec<Gap>);

impl Gaps {
    /// `median`: as far as it is known. A gap that is far below ten times of it is not kept.
    pub(super) fn add(&mut self, gap: Gap, median: u64) {
        let long = gap.to.saturating_sub(gap.from);
        if long > SHORTEST && long > median.saturating_mul(MEDIANS) / 4 && self.0.len() < MOST {
            self.0.push(gap);
        }
    }

    pub(super) fn append(&mut self, mut other: Gaps) {
        self.0.append(&mut other.0);
    }

    /// The stalls, given the median latency in ns: gaps that overlap are one.
    pub(super) fn stalls(mut self, median: u64) -> Vec<Stall> {
        let floor = SHORTEST.max(median.saturating_mul(MEDIANS));
        self.0.retain(|gap| gap.to - gap.from > floor);
        self.0.sort_unstable();
        let mut stalls: Vec<(u64, u64, HashSet<u32>)> = Vec::new();
        for gap in self.0 {
            match stalls.last_mut() {
                Some((_, to, connections)) if gap.from <= *to => {
                    *to = gap.to.max(*to);
                    connections.insert(gap.connection);
                }
                _ => stalls.push((gap.from, gap.to, HashSet::from([gap.connection]))),
            }
        }
        let stall = |(from, to, connections): (u64, u64, HashSet<u32>)| Stall {
            at: Duration::from_nanos(from),
            length: Duration::from_nanos(to - from),
            connections: connections.len() as u64,
        };
        stalls.into_iter().map(stall).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn stalls(gaps: &[(u64, u64, u32)], median: u64) -> Vec<(u64, u64, u64)> {
        let mut all = Gaps::default();
        for &(from, to, connection) in gaps {
            all.add(Gap { from: from * MS, to: to * MS, connection }, median);
        }
        let of =
            |stall: &Stall| (stall.at.as_millis() as u64, stall.length.as_millis() as u64, stall.connections);
        all.stalls(median).iter().map(of).collect()
    }

    #[test]
    fn gaps_that_overlap_are_one_stall() {
        let gaps = [(500, 1500, 1), (501, 1502, 2), (2000, 2200, 1), (2150, 2300, 1), (2300, 2500, 9)];
        assert_eq!(stalls(&gaps, MS), [(500, 1002, 2), (2000, 500, 2)]);
    }

    #[test]
    fn a_gap_is_longer_than_100_ms_and_than_ten_medians() {
        assert_eq!(stalls(&[(0, 100, 1)], MS), []);
        assert_eq!(stalls(&[(0, 101, 1)], MS), [(0, 101, 1)]);
        assert_eq!(stalls(&[(0, 300, 1), (0, 301, 2)], 30 * MS), [(0, 301, 1)]);
    }
}
