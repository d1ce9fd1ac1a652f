//! Timers of one worker: coarse, so that what is due together is served together.
//!
//! Ordered by tick, which gives the next due moment without a look at anything else: a worker with no timer
//! sleeps until something happens. A timer of a session that is gone fires into nothing (INV-3).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proactor::{ConnectionKey, ListenerKey, Time};

/// Granularity: a timer fires up to this much late, never early.
const TICK: Duration = Duration::from_millis(4);

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A handler's own timer.
    Handler { session: ConnectionKey, token: u64 },
    /// A lingering session has waited long enough for its peer's FIN.
    Linger(ConnectionKey),
    /// An outbound connection has taken too long.
    Connect(ConnectionKey),
    /// Accepting is tried again.
    Accept(ListenerKey),
    /// The handler's periodic tick.
    Tick,
}

#[derive(Default)]
pub(crate) struct Timers {
    by_tick: BTreeMap<u64, Vec<Due>>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Time, due: Due) {
        let tick = at.as_nanos().div_ceil(TICK.as_nanos() as u64);
        self.by_tick.entry(tick).or_default().push(due);
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Time> {
        let (tick, _) = self.by_tick.first_key_value()?;
        Some(Time::from_nanos(tick.saturating_mul(TICK.as_nanos() as u64)))
    }

    /// Moves what is due at `now` to the end of `due`, oldest first.
    pub(crate) fn take_due(&mut self, now: Time, due: &mut VecDeque<Due>) {
        while self.next().is_some_and(|at| at <= now) {
            due.extend(self.by_tick.pop_first().map(|(_, due)| due).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_at(timers: &mut Timers, now: Time) -> Vec<Due> {
        let mut due = VecDeque::new();
        timers.take_due(now, &mut due);
        due.into()
    }

    #[test]
    fn fires_in_order_and_never_early() {
        let mut timers = Timers::default();
        let at = |ms| Time::ZERO + Duration::from_millis(ms);
        timers.set(at(9), Due::Tick);
        assert_eq!(timers.next(), Some(at(12)));
        assert_eq!(due_at(&mut timers, at(11)), []);
        assert_eq!(due_at(&mut timers, at(12)), [Due::Tick]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_deadline_that_never_comes_is_no_problem() {
        let mut timers = Timers::default();
        timers.set(Time::ZERO + Duration::MAX, Due::Tick);
        assert_eq!(due_at(&mut timers, Time::ZERO + Duration::from_secs(1 << 30)), []);
    }
}
