//! When the handler's periodic tick is due.
//!
//! A tick is due one period after the one before was *due*, so a late call delays no later one and the average rate is
//! the rate asked for. The times are kept outside the timing wheel, in nanoseconds: the wheel would round every
//! period up to 4 ms.

use std::time::Duration;

use proactor::Time;
use proactor::backend::Backend;

use super::{Layer, Worker};
use crate::handler::Handler;

/// The shortest time from one call to the next. Ticks that are asked for more often are coalesced.
pub(super) const SHORTEST: Duration = Duration::from_millis(4);
/// Overdue ticks that a worker that was blocked still calls. Those before them are skipped.
pub(super) const MOST_OVERDUE: u64 = 8;

pub(super) struct Ticks {
    /// The period asked for, in nanoseconds.
    every: u64,
    /// From one call to the next, in nanoseconds: `every`, or [`SHORTEST`].
    period: u64,
    /// When the next call is due.
    due: Time,
    /// The first tick asked for that the calls until now do not cover. At or before `due`.
    asked: Time,
}

impl Ticks {
    /// The first tick is due one period after `now`.
    pub(super) fn new(every: Duration, now: Time) -> Ticks {
        let period = every.max(SHORTEST);
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Ticks { every: nanos(every), period: nanos(period), due: now + period, asked: now + every }
    }

    /// When the next call is due.
    pub(super) fn due(&self) -> Time {
        self.due
    }

    /// Takes the tick that is due at `now`. Returns how many ticks are skipped with it; `None` if none is due.
    fn take(&mut self, now: Time) -> Option<u64> {
        let (now, due, asked) = (now.as_nanos(), self.due.as_nanos(), self.asked.as_nanos());
        let behind = now.checked_sub(due)? / self.period;
        let due = due + behind.saturating_sub(MOST_OVERDUE - 1) * self.period;
        let covered = (due - asked) / self.every + 1;
        self.due = Time::from_nanos(due.saturating_add(self.period));
        self.asked = Time::from_nanos(asked.saturating_add(covered.saturating_mul(self.every)));
        Some(covered - 1)
    }
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// Counts ticks from now on.
    pub(super) fn start_ticks(&mut self) {
        self.ticks = self.core.config.tick.map(|every| Ticks::new(every, self.driver.now()));
    }

    /// Calls the handler if a tick is due: at most once in a turn, so that overdue ticks let other work in between.
    pub(super) fn fire_tick(&mut self) {
        let Some(skipped) = self.ticks.as_mut().and_then(|ticks| ticks.take(self.core.now)) else { return };
        self.core.report.counters.ticks_skipped += skipped;
        self.worker_callback(H::on_tick);
        self.flush();
    }
}
