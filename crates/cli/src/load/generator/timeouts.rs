//! Which connections are to be looked at when, because an echo may be overdue by then.
//!
//! A connection is in the list once at most. When its time comes it is looked at, and put in again if it still awaits
//! something; so a message costs no more than a look at a flag, and a connection without messages costs nothing.

use std::collections::VecDeque;

/// Nanoseconds: how exactly times are kept.
pub(super) const STEP: u64 = 50_000_000;
/// Steps that are looked ahead. What is due later is looked at then, and put in again.
const MOST_STEPS: u64 = 1024;

pub(super) struct Timeouts {
    /// Of the connections in `steps[0]`: they are looked at from this step on.
    first: u64,
    steps: VecDeque<Vec<u32>>,
}

impl Timeouts {
    pub(super) fn new() -> Timeouts {
        Timeouts { first: 0, steps: VecDeque::new() }
    }

    /// Puts in a connection that is to be looked at after `at`. `now` is not before that of the last call of
    /// [`take`](Self::take).
    pub(super) fn add(&mut self, index: u32, at: u64, now: u64) {
        if self.steps.iter().all(Vec::is_empty) {
            self.steps.clear();
            self.first = now / STEP;
        }
        let step = (at / STEP + 1).saturating_sub(self.first).min(MOST_STEPS) as usize;
        if self.steps.len() <= step {
            self.steps.resize_with(step + 1, Vec::new);
        }
        self.steps[step].push(index);
    }

    /// Takes out the connections whose time has come.
    pub(super) fn take(&mut self, now: u64) -> Vec<u32> {
        let mut due = Vec::new();
        while self.first <= now / STEP
            && let Some(step) = self.steps.pop_front()
        {
            due.extend(step);
            self.first += 1;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_looked_at_soon_after_its_time_and_never_before() {
        let mut timeouts = Timeouts::new();
        let times: Vec<u64> = (0..500).map(|serial| serial * 7_777_777 % 3_000_000_000).collect();
        let start = 123 * STEP;
        for (index, time) in times.iter().enumerate() {
            timeouts.add(index as u32, start + time, start);
        }
        let mut seen = 0;
        for now in (start..).step_by(STEP as usize / 2).take(130) {
            for index in timeouts.take(now) {
                let at = start + times[index as usize];
                assert!(at < now && now <= at + 2 * STEP, "due at {at}, taken at {now}");
                seen += 1;
            }
        }
        assert_eq!(seen, times.len());
    }

    #[test]
    fn a_list_that_was_empty_for_long_goes_on_from_now() {
        let mut timeouts = Timeouts::new();
        timeouts.add(1, 100, 0);
        assert_eq!(timeouts.take(10 * STEP), [1]);
        timeouts.add(2, 1_000_000 * STEP + 7, 1_000_000 * STEP);
        assert_eq!(timeouts.steps.len(), 2, "not one for each step since then");
        assert!(timeouts.take(1_000_000 * STEP).is_empty());
        assert_eq!(timeouts.take(1_000_001 * STEP), [2]);
    }

    #[test]
    fn what_is_far_away_is_looked_at_early() {
        let mut timeouts = Timeouts::new();
        timeouts.add(1, u64::MAX, 0);
        assert!(timeouts.take((MOST_STEPS - 1) * STEP).is_empty());
        assert_eq!(timeouts.take(MOST_STEPS * STEP), [1]);
    }
}
