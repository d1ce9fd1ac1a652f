//! Timers of one worker: a hierarchical timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels",
//! 1987), coarse, so that what is due together is served together.
//!
//! To set a timer costs the same however many there are. The next due moment is known without a search and exactly,
//! so a worker sleeps until something is due, or for good. Nothing is ever cancelled: a timer whose session is gone
//! fires into nothing (INV-3), and a deadline that has moved is looked at again when it was first due.

use std::collections::VecDeque;
use std::time::Duration;

use proactor::{ConnectionKey, ListenerKey, Time};

/// Granularity: a timer fires up to this much late, never early.
const TICK: Duration = Duration::from_millis(4);
const TICK_NS: u64 = TICK.as_nanos() as u64;
/// Slots of a level, as a power of two: 64, a bit each in a word.
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
/// Enough for every tick that a [`Time`] can have.
const LEVELS: usize = 8;
const _: () = assert!((u64::MAX / TICK_NS) >> (BITS * LEVELS as u32) == 0);

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

/// What a worker sets, and takes when it is due.
///
/// A timer stands in the level of the highest digit, in base 64, in which its tick differs from the wheel's own. So
/// whatever stands in a level is due before everything in higher ones, and within a level slots are in order.
pub(crate) struct Wheel<T> {
    /// No timer is due before this tick.
    tick: u64,
    levels: [Option<Box<Level<T>>>; LEVELS],
}

struct Level<T> {
    /// A bit for each slot that is not empty.
    occupied: u64,
    slots: [Slot<T>; SLOTS],
}

struct Slot<T> {
    earliest: u64,
    timers: Vec<(u64, T)>,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Wheel { tick: 0, levels: [const { None }; LEVELS] }
    }
}

impl<T> Wheel<T> {
    pub(crate) fn set(&mut self, at: Time, timer: T) {
        let tick = at.as_nanos().div_ceil(TICK_NS).max(self.tick);
        self.put(tick, timer);
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Time> {
        let (level, slot) = self.first()?;
        let tick = self.levels[level].as_ref()?.slots[slot].earliest;
        Some(Time::from_nanos(tick.saturating_mul(TICK_NS)))
    }

    /// Moves what is due at `now` to the end of `due`, oldest first.
    pub(crate) fn take_due(&mut self, now: Time, due: &mut VecDeque<T>) {
        let until = now.as_nanos() / TICK_NS;
        while let Some((at, slot)) = self.first() {
            let Some(level) = &mut self.levels[at] else { return };
            let Slot { earliest, timers } = &mut level.slots[slot];
            if *earliest > until {
                return;
            }
            self.tick = *earliest;
            let timers = std::mem::take(timers);
            level.occupied &= !(1 << slot);
            // Those of a later tick come to stand in a lower level: now they share this slot's digit with the wheel.
            for (tick, timer) in timers {
                if tick == self.tick { due.push_back(timer) } else { self.put(tick, timer) }
            }
        }
        // Nothing is left that this could pass over.
        self.tick = self.tick.max(until);
    }

    fn put(&mut self, tick: u64, timer: T) {
        let level = (tick ^ self.tick).checked_ilog2().map_or(0, |bit| bit / BITS);
        let slot = (tick >> (level * BITS)) as usize % SLOTS;
        let level = self.levels[level as usize].get_or_insert_with(Box::default);
        let Slot { earliest, timers } = &mut level.slots[slot];
        *earliest = if timers.is_empty() { tick } else { tick.min(*earliest) };
        timers.push((tick, timer));
        level.occupied |= 1 << slot;
    }

    /// The level and slot in which the next one stands.
    fn first(&self) -> Option<(usize, usize)> {
        let occupied = |level: &Option<Box<Level<T>>>| level.as_ref().map_or(0, |level| level.occupied);
        let (at, slots) = self.levels.iter().map(occupied).enumerate().find(|(_, slots)| *slots != 0)?;
        Some((at, slots.trailing_zeros() as usize))
    }
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        let slots = [const { Slot { earliest: 0, timers: Vec::new() } }; SLOTS];
        Level { occupied: 0, slots }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    fn due_at<T>(timers: &mut Wheel<T>, now: Time) -> Vec<T> {
        let mut due = VecDeque::new();
        timers.take_due(now, &mut due);
        due.into()
    }

    #[test]
    fn fires_in_order_and_never_early() {
        let mut timers = Wheel::default();
        timers.set(at(9), "nine");
        timers.set(at(3), "three");
        assert_eq!(timers.next(), Some(at(4)));
        assert_eq!(due_at(&mut timers, at(11)), ["three"]);
        assert_eq!(timers.next(), Some(at(12)));
        assert_eq!(due_at(&mut timers, at(12)), ["nine"]);
        assert_eq!(timers.next(), None);
        timers.set(at(5), "in the past");
        assert_eq!(due_at(&mut timers, at(12)), ["in the past"]);
    }

    #[test]
    fn a_deadline_that_never_comes_is_no_problem() {
        let mut timers = Wheel::default();
        timers.set(Time::ZERO + Duration::MAX, ());
        assert_eq!(due_at(&mut timers, Time::ZERO + Duration::from_secs(1 << 30)), []);
    }

    proptest! {
        /// Against a sorted list: the same ones, at the same moments, and the next due moment always exact.
        #[test]
        fn is_a_sorted_list(
            steps in prop::collection::vec((0..4u8, prop_oneof![0..300u64, 0..100_000u64, any::<u64>()]), 1..200),
        ) {
            let mut wheel = Wheel::default();
            let mut list: Vec<(u64, usize)> = Vec::new();
            let mut now = Time::ZERO;
            for (serial, (kind, ms)) in steps.into_iter().enumerate() {
                let by = Duration::from_millis(ms);
                if kind < 3 {
                    wheel.set(now + by, serial);
                    list.push(((now + by).as_nanos().div_ceil(TICK_NS), serial));
                } else {
                    now = now + by;
                    let until = now.as_nanos() / TICK_NS;
                    let mut wanted: Vec<_> = list.extract_if(.., |(tick, _)| *tick <= until).collect();
                    let mut got = due_at(&mut wheel, now);
                    let order: Vec<u64> = got.iter().map(|serial| wanted.iter().find(|(_, other)| other == serial))
                        .map(|found| found.expect("due, and once").0).collect();
                    prop_assert!(order.is_sorted());
                    got.sort_unstable();
                    wanted.sort_unstable_by_key(|(_, serial)| *serial);
                    prop_assert_eq!(got, wanted.into_iter().map(|(_, serial)| serial).collect::<Vec<_>>());
                }
                let soonest = list.iter().map(|(tick, _)| Time::from_nanos(tick.saturating_mul(TICK_NS))).min();
                prop_assert_eq!(wheel.next(), soonest);
            }
        }
    }
}
