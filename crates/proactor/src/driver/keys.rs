//! Keys of connections and listeners, and the slots with generations that they name (INV-3).

use std::fmt;

use super::queue::InSlot;

const NONE: u32 = u32::MAX;

/// A slot's index and the generation it had when the key was given out. One word: keys are copied and compared
/// several times for each message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(u64);

impl Key {
    const fn new(index: u32, generation: u32) -> Key {
        Key((index as u64) << 32 | generation as u64)
    }

    pub(super) const fn index(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) const fn generation(self) -> u32 {
        self.0 as u32
    }
}

impl InSlot for Key {
    fn slot(self) -> u32 {
        self.index()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.generation())
    }
}

/// Names a connection of one driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey(pub(super) Key);

impl ConnectionKey {
    /// The slot's number: small, and reused after the connection's release. For tables kept in parallel.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0.index() as usize
    }

    /// Which of the slot's successive connections this is.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.0.generation()
    }

    /// The key as a number, for instance for a token.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0.0
    }

    /// The key of a number that [`to_u64`](Self::to_u64) returned. Of any other number: a key that probably finds
    /// nothing.
    #[must_use]
    pub const fn from_u64(raw: u64) -> ConnectionKey {
        ConnectionKey(Key(raw))
    }
}

/// Names a listener of one driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey(pub(super) Key);

/// On a cache line of its own: slots are used in the order of arrivals, not of indices.
#[repr(align(64))]
struct Slot<T> {
    generation: u32,
    next_free: u32,
    value: Option<T>,
}

pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    live: usize,
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Slots<T> {
        Slots { slots: Vec::new(), free: NONE, live: 0 }
    }

    /// With address space for this many: memory is used only as they are filled, and growing up to there copies
    /// nothing.
    pub(super) fn with_room_for(slots: usize) -> Slots<T> {
        Slots { slots: Vec::with_capacity(slots), ..Slots::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn insert(&mut self, value: T) -> Key {
        if self.free == NONE {
            assert!(self.slots.len() < NONE as usize, "all keys are in use");
            self.free = self.slots.len() as u32;
            self.slots.push(Slot { generation: 0, next_free: NONE, value: None });
        }
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        self.free = slot.next_free;
        slot.value = Some(value);
        self.live += 1;
        Key::new(index, slot.generation)
    }

    /// The index that the next value will have.
    pub(super) fn next_index(&self) -> u32 {
        if self.free == NONE { self.slots.len() as u32 } else { self.free }
    }

    #[inline]
    pub(super) fn prefetch(&self, index: u32) {
        crate::prefetch(&self.slots, index as usize);
    }

    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index() as usize)?;
        if slot.generation == key.generation() { slot.value.as_ref() } else { None }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index() as usize)?;
        if slot.generation == key.generation() { slot.value.as_mut() } else { None }
    }

    /// The full key of an occupied slot.
    #[inline]
    pub(super) fn key_of(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().map(|_| Key::new(index, slot.generation))
    }

    /// The value of an occupied slot, with its full key.
    #[inline]
    pub(super) fn at(&self, index: u32) -> Option<(Key, &T)> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().map(|value| (Key::new(index, slot.generation), value))
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let value = self.take(key)?;
        self.vacate(key);
        Some(value)
    }

    /// Takes a value out; its key finds nothing from now on. The slot is not reused before [`vacate`](Self::vacate):
    /// tables kept in parallel must learn of the release first.
    pub(super) fn take(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index() as usize)?;
        if slot.generation != key.generation() {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.live -= 1;
        Some(value)
    }

    /// Frees a slot whose value was taken; `key` is the key it had then.
    pub(super) fn vacate(&mut self, key: Key) {
        let slot = &mut self.slots[key.index() as usize];
        debug_assert!(slot.value.is_none() && slot.generation == key.generation().wrapping_add(1));
        slot.next_free = self.free;
        self.free = key.index();
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        (0..self.slots.len() as u32).filter_map(|index| self.key_of(index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_only_when_it_was_given_free() {
        let mut slots = Slots::new();
        let old = slots.insert("first");
        assert_eq!(slots.take(old), Some("first"));
        assert_eq!((slots.get(old), slots.len()), (None, 0));
        let other = slots.insert("second");
        assert_ne!(old.index(), other.index());
        slots.vacate(old);
        assert_eq!(slots.insert("third").index(), old.index());
    }

    #[test]
    fn an_old_key_finds_nothing_in_a_reused_slot() {
        let mut slots = Slots::new();
        assert_eq!(slots.next_index(), 0);
        let old = slots.insert("first");
        assert_eq!(slots.next_index(), 1);
        assert_eq!(slots.remove(old), Some("first"));
        assert_eq!(slots.next_index(), 0);
        let new = slots.insert("second");
        assert_eq!(old.index(), new.index());
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.get_mut(old), None);
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.get(new), Some(&"second"));
        assert_eq!(slots.len(), 1);
    }
}
