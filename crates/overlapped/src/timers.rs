//! Timers of one worker: a hierarchical timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels",
//! 1987), coarse, so that timers that are due together are served together.
//!
//! Setting, moving and cancelling a timer cost the same however many there are. The next due time is known without a
//! search, so a worker sleeps until something is due, or until an event if no timer is set. Timers lie in a slab that
//! reuses its free nodes: memory is bounded by the largest number of timers that were set at one time.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use proactor::{ConnectionKey, ListenerKey, Time};

use crate::connect::ConnectId;

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
    /// One that a handler has set for its worker.
    Worker { token: u64 },
    /// A lingering session has waited long enough for its peer's FIN.
    Linger(ConnectionKey),
    /// A connect begins, or its next address is tried.
    Connect(ConnectId),
    /// A connect has taken too long.
    ConnectDeadline(ConnectId),
    /// Accepting is retried.
    Accept(ListenerKey),
}

/// Identifies a timer while it is set. After it has fired or was cancelled, the id finds nothing: node indexes are reused,
/// generations are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId {
    index: u32,
    generation: u32,
}

/// The timers of one worker.
///
/// A timer lies in the level of the highest digit, in base 64, in which its tick differs from the wheel's own. So
/// the timers of a level are due before those of higher levels, and the slots of a level are in order.
pub(crate) struct Wheel<T> {
    /// No timer in a slot is due before this tick.
    tick: u64,
    levels: [Option<Box<Level>>; LEVELS],
    /// Expired and not handed out yet, oldest first. They can still be moved and cancelled.
    expired: List,
    nodes: Vec<Node<T>>,
    /// The first of the free nodes, linked by `next`.
    free: u32,
}

struct Level {
    /// A bit for each slot that is not empty.
    occupied: u64,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy)]
struct Slot {
    /// No timer of the slot is due before this tick. Exact until a timer is taken out of the slot.
    earliest: u64,
    list: List,
}

struct Node<T> {
    tick: u64,
    /// `None` exactly when the node is free.
    timer: Option<T>,
    generation: u32,
    next: u32,
    prev: u32,
    /// True exactly when it is in the list `expired`, false when in a slot's.
    expired: bool,
}

/// A doubly linked list of nodes, by index.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

/// No node.
const NONE: u32 = u32::MAX;

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        let levels = [const { None }; LEVELS];
        Wheel { tick: 0, levels, expired: List::EMPTY, nodes: Vec::new(), free: NONE }
    }
}

impl<T> Wheel<T> {
    /// Sets a timer. It is due at the first tick at or after `at`.
    pub(crate) fn set(&mut self, at: Time, timer: T) -> TimerId {
        let tick = self.tick_at(at);
        let index = self.take_free();
        let node = &mut self.nodes[index as usize];
        node.timer = Some(timer);
        let id = TimerId { index, generation: node.generation };
        self.insert(index, tick);
        id
    }

    /// Moves a timer to another moment. False if the id names none.
    pub(crate) fn move_to(&mut self, id: TimerId, at: Time) -> bool {
        let tick = self.tick_at(at);
        let Some(node) = self.get(id) else { return false };
        if node.expired || node.tick != tick {
            self.unlink(id.index);
            self.insert(id.index, tick);
        }
        true
    }

    /// Cancels a timer: it does not fire, also if it has expired and was not handed out yet. False if the id names none.
    pub(crate) fn cancel(&mut self, id: TimerId) -> bool {
        if self.get(id).is_none() {
            return false;
        }
        self.unlink(id.index);
        self.release(id.index);
        true
    }

    /// When to call [`expire`](Self::expire) next: never after a timer is due. Exactly when the next one is due, unless
    /// timers were cancelled or moved since; then it may be earlier, and the call only sorts a slot. `None` exactly
    /// when no timer is set.
    pub(crate) fn next(&self) -> Option<Time> {
        let tick = match self.nodes.get(self.expired.first as usize) {
            Some(node) => node.tick,
            None => {
                let (level, slot) = self.first()?;
                self.levels[level].as_ref()?.slots[slot].earliest
            }
        };
        Some(Time::from_nanos(tick.saturating_mul(TICK_NS)))
    }

    /// Expires what is due at `now`, for [`pop_expired`](Self::pop_expired).
    pub(crate) fn expire(&mut self, now: Time) {
        let until = now.as_nanos() / TICK_NS;
        while let Some((level, slot)) = self.first() {
            let Some(level) = &mut self.levels[level] else { return };
            let Slot { earliest, list } = &mut level.slots[slot];
            if *earliest > until {
                return;
            }
            self.tick = *earliest;
            let mut next = mem::replace(list, List::EMPTY).first;
            level.occupied &= !(1 << slot);
            // Timers of a later tick move to a lower level: now they share this slot's digit with the wheel.
            while let Some(node) = self.nodes.get_mut(next as usize) {
                let index = mem::replace(&mut next, node.next);
                if node.tick == self.tick {
                    node.expired = true;
                    self.expired.push_back(&mut self.nodes, index);
                } else {
                    let tick = node.tick;
                    self.insert(index, tick);
                }
            }
        }
        // No timer is left in the slots, so none is passed over.
        self.tick = self.tick.max(until);
    }

    /// The oldest of the timers that have expired; its id names nothing from now on. A timer that is set meanwhile is
    /// not among them before the next [`expire`](Self::expire).
    pub(crate) fn pop_expired(&mut self) -> Option<T> {
        let index = self.expired.first;
        if index == NONE {
            return None;
        }
        self.expired.remove(&mut self.nodes, index);
        self.release(index)
    }

    /// Moves what is due at `now` to the end of `due`, oldest first.
    pub(crate) fn take_due(&mut self, now: Time, due: &mut VecDeque<T>) {
        self.expire(now);
        while let Some(timer) = self.pop_expired() {
            due.push_back(timer);
        }
    }

    /// Timers that are set.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.nodes.iter().filter(|node| node.timer.is_some()).count()
    }

    /// Timers that there is memory for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.nodes.len()
    }

    fn tick_at(&self, at: Time) -> u64 {
        at.as_nanos().div_ceil(TICK_NS).max(self.tick)
    }

    fn get(&self, id: TimerId) -> Option<&Node<T>> {
        self.nodes
            .get(id.index as usize)
            .filter(|node| node.generation == id.generation && node.timer.is_some())
    }

    /// Puts a node that is in no list into the slot of `tick`.
    fn insert(&mut self, index: u32, tick: u64) {
        debug_assert!(tick >= self.tick);
        let (level, slot) = place(tick, self.tick);
        let level = self.levels[level].get_or_insert_with(Box::default);
        let Slot { earliest, list } = &mut level.slots[slot];
        *earliest = if list.is_empty() { tick } else { tick.min(*earliest) };
        let node = &mut self.nodes[index as usize];
        (node.tick, node.expired) = (tick, false);
        list.push_back(&mut self.nodes, index);
        level.occupied |= 1 << slot;
    }

    /// Takes a node out of its list.
    fn unlink(&mut self, index: u32) {
        let node = &self.nodes[index as usize];
        if node.expired {
            return self.expired.remove(&mut self.nodes, index);
        }
        let (level, slot) = place(node.tick, self.tick);
        let level = self.levels[level].as_mut().expect("a level that holds a timer was made");
        let list = &mut level.slots[slot].list;
        list.remove(&mut self.nodes, index);
        if list.is_empty() {
            level.occupied &= !(1 << slot);
        }
    }

    fn take_free(&mut self) -> u32 {
        if let Some(node) = self.nodes.get(self.free as usize) {
            return mem::replace(&mut self.free, node.next);
        }
        let index = u32::try_from(self.nodes.len()).ok().filter(|index| *index != NONE);
        let index = index.expect("memory ends before 2^32 timers");
        let (next, prev) = (NONE, NONE);
        self.nodes.push(Node { tick: 0, timer: None, generation: 0, next, prev, expired: false });
        index
    }

    /// Frees a node that is in no list, and returns its timer. Its ids name nothing from now on.
    fn release(&mut self, index: u32) -> Option<T> {
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        node.next = mem::replace(&mut self.free, index);
        node.timer.take()
    }

    /// The level and slot in which the next one lies.
    fn first(&self) -> Option<(usize, usize)> {
        let occupied = |level: &Option<Box<Level>>| level.as_ref().map_or(0, |level| level.occupied);
        let (at, slots) = self.levels.iter().map(occupied).enumerate().find(|(_, slots)| *slots != 0)?;
        Some((at, slots.trailing_zeros() as usize))
    }
}

/// The level and slot of a timer that is due at `tick`, in a wheel that is at `wheel`.
fn place(tick: u64, wheel: u64) -> (usize, usize) {
    let level = (tick ^ wheel).checked_ilog2().map_or(0, |bit| bit / BITS);
    (level as usize, (tick >> (level * BITS)) as usize % SLOTS)
}

impl Default for Level {
    fn default() -> Self {
        Level { occupied: 0, slots: [Slot { earliest: 0, list: List::EMPTY }; SLOTS] }
    }
}

impl List {
    const EMPTY: List = List { first: NONE, last: NONE };

    fn is_empty(self) -> bool {
        self.first == NONE
    }

    fn push_back<T>(&mut self, nodes: &mut [Node<T>], index: u32) {
        let node = &mut nodes[index as usize];
        (node.prev, node.next) = (self.last, NONE);
        match nodes.get_mut(self.last as usize) {
            Some(last) => last.next = index,
            None => self.first = index,
        }
        self.last = index;
    }

    fn remove<T>(&mut self, nodes: &mut [Node<T>], index: u32) {
        let Node { prev, next, .. } = nodes[index as usize];
        match nodes.get_mut(prev as usize) {
            Some(node) => node.next = next,
            None => self.first = next,
        }
        match nodes.get_mut(next as usize) {
            Some(node) => node.prev = prev,
            None => self.last = prev,
        }
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

    #[test]
    fn an_id_names_its_timer_until_it_fires_or_is_cancelled() {
        let mut timers = Wheel::default();
        let fires = timers.set(at(4), "fires");
        let cancelled = timers.set(at(8), "cancelled");
        assert!(timers.cancel(cancelled));
        assert_eq!(due_at(&mut timers, at(400)), ["fires"]);
        let ids = [timers.set(at(500), "new"), timers.set(at(500), "new")];
        for old in [fires, cancelled] {
            assert!(ids.iter().any(|id| id.index == old.index), "its node is used again");
            assert!(!timers.cancel(old));
            assert!(!timers.move_to(old, at(404)));
        }
        assert_eq!(timers.next(), Some(at(500)));
        assert!(ids.iter().all(|id| timers.cancel(*id)));
        assert_eq!((timers.next(), timers.len(), timers.capacity()), (None, 0, 2));
    }

    #[test]
    fn what_has_expired_can_still_be_cancelled_and_moved() {
        let mut timers = Wheel::default();
        let ids: Vec<_> = (0..6).map(|serial| timers.set(at(8), serial)).collect();
        timers.expire(at(9));
        assert_eq!(timers.pop_expired(), Some(0));
        assert!(!timers.cancel(ids[0]));
        assert!(timers.cancel(ids[1]) && timers.cancel(ids[5]));
        assert!(timers.move_to(ids[3], at(8)), "to the same moment, again");
        assert!(timers.move_to(ids[4], at(100)));
        timers.set(at(8), 6);
        assert_eq!((timers.pop_expired(), timers.pop_expired()), (Some(2), None));
        assert_eq!(due_at(&mut timers, at(9)), [3, 6]);
        assert_eq!(due_at(&mut timers, at(100)), [4]);
        assert_eq!((timers.next(), timers.len()), (None, 0));
    }

    #[test]
    fn timers_that_are_moved_or_replaced_take_no_more_memory() {
        let mut timers = Wheel::default();
        let moved = timers.set(at(600_000), 0);
        let mut replaced = timers.set(at(600_000), 1);
        for ms in 0..1_000_000 {
            assert!(timers.move_to(moved, at(ms + 600_000)));
            assert!(timers.cancel(replaced));
            replaced = timers.set(at(ms + 300_000), 1);
        }
        assert_eq!((timers.len(), timers.capacity()), (2, 2));
        assert!(timers.cancel(moved) && timers.cancel(replaced));
        assert_eq!(timers.next(), None, "nobody wakes for what was cancelled");
    }

    /// What is set in a wheel, by serial number, unsorted.
    type List = Vec<(u64, usize, TimerId)>;

    fn soonest(list: &List) -> Option<Time> {
        list.iter().map(|(tick, ..)| Time::from_nanos(tick.saturating_mul(TICK_NS))).min()
    }

    /// Passes over to `now`: what the wheel hands out is what the list has until then, in the order of its ticks.
    fn pass_to(wheel: &mut Wheel<usize>, list: &mut List, now: Time) -> usize {
        let until = now.as_nanos() / TICK_NS;
        let wanted: Vec<_> = list.extract_if(.., |(tick, ..)| *tick <= until).collect();
        let tick_of =
            |serial: &usize| wanted.iter().find(|(_, other, _)| other == serial).map(|found| found.0);
        let mut got = due_at(wheel, now);
        let ticks: Vec<u64> = got.iter().map(|serial| tick_of(serial).expect("due, and set")).collect();
        assert!(ticks.is_sorted());
        got.sort_unstable();
        let mut wanted: Vec<_> = wanted.into_iter().map(|(_, serial, _)| serial).collect();
        wanted.sort_unstable();
        assert_eq!(got, wanted);
        got.len()
    }

    proptest! {
        /// Against an unsorted list: the same timers, at the same moments. The next due moment is exact until a timer
        /// was cancelled or moved, then never late, and what it wakes for in vain is bounded.
        #[test]
        fn is_a_sorted_list(
            // Half of the cases neither move nor cancel.
            kinds in prop_oneof![Just(4..8u8), Just(0..8u8)],
            steps in prop::collection::vec(
                (any::<u8>(), prop_oneof![0..300u64, 0..100_000u64, any::<u64>()], any::<prop::sample::Index>()),
                1..200,
            ),
        ) {
            let mut wheel = Wheel::default();
            let mut list: List = Vec::new();
            let mut now = Time::ZERO;
            let (mut exact, mut most, mut changes) = (true, 0, 0);
            for (serial, (kind, ms, pick)) in steps.into_iter().enumerate() {
                let then = now + Duration::from_millis(ms);
                let tick = then.as_nanos().div_ceil(TICK_NS);
                let chosen = (!list.is_empty()).then(|| pick.index(list.len()));
                match (kinds.start + kind % (kinds.end - kinds.start), chosen) {
                    (0 | 1, Some(at)) => {
                        prop_assert!(wheel.cancel(list.swap_remove(at).2));
                        (exact, changes) = (false, changes + 1);
                    }
                    (2 | 3, Some(at)) => {
                        prop_assert!(wheel.move_to(list[at].2, then));
                        list[at].0 = tick;
                        (exact, changes) = (false, changes + 1);
                    }
                    (0..=6, _) => list.push((tick, serial, wheel.set(then, serial))),
                    _ => {
                        pass_to(&mut wheel, &mut list, then);
                        now = then;
                    }
                }
                most = most.max(list.len());
                prop_assert_eq!(wheel.next().is_none(), list.is_empty());
                prop_assert!(wheel.next() <= soonest(&list));
                if exact {
                    prop_assert_eq!(wheel.next(), soonest(&list));
                }
                prop_assert_eq!(wheel.len(), list.len());
                prop_assert!(wheel.capacity() <= most);
            }
            // A worker that sleeps until the next moment, again and again, sees all of them off.
            let mut in_vain = 0;
            while let Some(next) = wheel.next().filter(|next| next.as_nanos() < u64::MAX / 2) {
                now = now.max(next);
                in_vain += usize::from(pass_to(&mut wheel, &mut list, now) == 0);
            }
            prop_assert!(in_vain <= changes * LEVELS);
        }
    }
}
