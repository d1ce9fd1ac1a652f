//! First-in, first-out queues of slots. Any slot can be removed in constant time.
//!
//! A queue is a doubly linked list. The links are kept in an array of their own, by slot: a connection fills its
//! cache line, and most connections never wait. A queue that was never used has no array; then it has 24 bytes for
//! each slot up to the highest one used.

use crate::operation::OpKey;

/// A key in a [`SlotQueue`]: found by its slot, and distinguished by its value from other keys of that slot.
pub(super) trait InSlot: Copy + PartialEq {
    /// Small, and unique among the keys in a queue.
    fn slot(self) -> u32;
}

impl InSlot for OpKey {
    fn slot(self) -> u32 {
        self.index() as u32
    }
}

/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Link<K> {
    /// `None` exactly when the slot is not in the queue.
    key: Option<K>,
    previous: u32,
    next: u32,
}

/// A queue of keys, each of which occupies its slot.
pub(super) struct SlotQueue<K> {
    links: Vec<Link<K>>,
    first: u32,
    last: u32,
    len: usize,
    /// Links that were read or written since the queue was made.
    #[cfg(test)]
    pub(super) steps: usize,
}

impl<K: InSlot> SlotQueue<K> {
    pub(super) const fn new() -> SlotQueue<K> {
        SlotQueue {
            links: Vec::new(),
            first: NONE,
            last: NONE,
            len: 0,
            #[cfg(test)]
            steps: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `key` behind all others.
    ///
    /// # Panics
    /// If its slot is in the queue already: the key there would be lost.
    pub(super) fn push_back(&mut self, key: K) {
        let slot = key.slot();
        assert!(slot != NONE, "all slots are in use");
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, Link { key: None, previous: NONE, next: NONE });
        }
        let previous = std::mem::replace(&mut self.last, slot);
        let link = self.link(slot);
        assert!(link.key.is_none(), "slot {slot} waits already");
        *link = Link { key: Some(key), previous, next: NONE };
        match previous {
            NONE => self.first = slot,
            previous => self.link(previous).next = slot,
        }
        self.len += 1;
    }

    /// Takes out the one that has waited longest.
    pub(super) fn pop_front(&mut self) -> Option<K> {
        if self.first == NONE { None } else { self.take(self.first) }
    }

    /// Takes `key` out, wherever it stands. False if it does not wait here.
    pub(super) fn remove(&mut self, key: K) -> bool {
        let slot = key.slot();
        let waits = self.links.get(slot as usize).is_some_and(|link| link.key == Some(key));
        waits && self.take(slot).is_some()
    }

    /// Takes out all, in order.
    pub(super) fn take_all(&mut self) -> Vec<K> {
        let mut all = Vec::with_capacity(self.len);
        all.extend(std::iter::from_fn(|| self.pop_front()));
        all
    }

    fn take(&mut self, slot: u32) -> Option<K> {
        let link = self.link(slot);
        let (previous, next) = (link.previous, link.next);
        let key = link.key.take()?;
        match previous {
            NONE => self.first = next,
            previous => self.link(previous).next = next,
        }
        match next {
            NONE => self.last = previous,
            next => self.link(next).previous = previous,
        }
        self.len -= 1;
        Some(key)
    }

    fn link(&mut self, slot: u32) -> &mut Link<K> {
        #[cfg(test)]
        {
            self.steps += 1;
        }
        &mut self.links[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// A slot and which of its successive keys this is.
    impl InSlot for (u32, u32) {
        fn slot(self) -> u32 {
            self.0
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u32),
        Pop,
        /// Removes the key that a slot has now.
        Remove(u32),
        /// Removes a key that the slot had before.
        RemoveOld(u32),
        TakeAll,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let slot = 0..24u32;
        let step = prop_oneof![
            6 => slot.clone().prop_map(Step::Push),
            2 => Just(Step::Pop),
            4 => slot.clone().prop_map(Step::Remove),
            1 => slot.prop_map(Step::RemoveOld),
            1 => Just(Step::TakeAll),
        ];
        prop::collection::vec(step, 0..400)
    }

    proptest! {
        /// The order is that of a plain queue, whichever key leaves and from whichever place.
        #[test]
        fn the_order_is_that_of_a_plain_queue(steps in steps()) {
            let mut queue = SlotQueue::new();
            let mut model: VecDeque<(u32, u32)> = VecDeque::new();
            let mut generations = [0u32; 24];
            for step in steps {
                match step {
                    Step::Push(slot) if model.iter().any(|key| key.0 == slot) => {}
                    Step::Push(slot) => {
                        generations[slot as usize] += 1;
                        let key = (slot, generations[slot as usize]);
                        queue.push_back(key);
                        model.push_back(key);
                    }
                    Step::Pop => prop_assert_eq!(queue.pop_front(), model.pop_front()),
                    Step::Remove(slot) => {
                        let key = (slot, generations[slot as usize]);
                        let at = model.iter().position(|waiting| *waiting == key);
                        prop_assert_eq!(queue.remove(key), at.is_some());
                        at.and_then(|at| model.remove(at));
                    }
                    Step::RemoveOld(slot) => {
                        prop_assert!(!queue.remove((slot, generations[slot as usize].wrapping_sub(1))));
                    }
                    Step::TakeAll => {
                        prop_assert_eq!(queue.take_all(), model.drain(..).collect::<Vec<_>>());
                    }
                }
                prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
            }
            prop_assert_eq!(queue.take_all(), model.into_iter().collect::<Vec<_>>());
        }
    }

    /// However long the queue is, a removal touches at most four links: its own and its neighbours'.
    #[test]
    fn a_removal_walks_past_nothing() {
        const WAITING: u32 = 100_000;
        let mut queue = SlotQueue::new();
        (0..WAITING).for_each(|slot| queue.push_back((slot, 0)));
        let before = queue.steps;
        // From the middle outwards, then from the back: the places that are far from either end come first.
        let half = WAITING / 2;
        let inner = (0..half / 2).flat_map(|away| [half + away, half - 1 - away]);
        for slot in inner.chain((0..WAITING).rev()) {
            queue.remove((slot, 0));
        }
        assert!(queue.is_empty());
        let steps = queue.steps - before;
        assert!(steps <= 4 * WAITING as usize, "{steps} links were touched to remove {WAITING}");
    }
}
