//! The in-flight table owns every operation that the kernel has, and every byte that it may touch (INV-1).
//!
//! Entries lie in chunks that never move and are never freed while the table lives, so an entry's address is valid
//! for as long as its operation is in flight. On Windows the header is the `OVERLAPPED` and comes first.
//!
//! A kernel writes into the header of an operation in flight, so no `&mut` may reach one: each entry lies in a cell of
//! its own, and [`get_mut`](Table::get_mut) borrows the operation alone.

#[cfg(feature = "guard-pages")]
mod guard_pages;

use std::cell::UnsafeCell;
use std::fmt;
use std::num::NonZeroU32;

use crate::operation::{OpKey, Operation};

#[cfg(not(feature = "guard-pages"))]
const CHUNK: usize = 64;
#[cfg(not(feature = "guard-pages"))]
type Chunk<T> = Box<[T]>;
#[cfg(feature = "guard-pages")]
const CHUNK: usize = 1;
#[cfg(feature = "guard-pages")]
use guard_pages::Chunk;

const NONE: u32 = u32::MAX;

/// An entry for one operation. Each begins on a cache line of its own: a message touches one line, or two with a
/// header.
#[repr(C, align(64))]
struct Entry<H, S> {
    /// What the kernel needs at a fixed address while the operation is in flight. First, so that its address is the
    /// entry's.
    header: H,
    /// The operation; `None` exactly when the entry is free.
    operation: Option<Operation<S>>,
    /// Index of the connection or listener that the operation belongs to. In a free entry: the next free one.
    owner: u32,
    generation: NonZeroU32,
}

/// An operation in flight.
pub struct EntryRef<'a, H, S> {
    /// The backend's header. If the kernel writes it, its fields are cells.
    pub header: &'a H,
    /// The operation.
    pub operation: &'a Operation<S>,
    /// Index of the connection or listener that the operation belongs to. That one outlives the operation (INV-2).
    pub owner: u32,
}

/// An operation in flight, to be changed. The header stays shared: no `&mut` may reach what a kernel writes.
pub struct EntryMut<'a, H, S> {
    /// The backend's header.
    pub header: &'a H,
    /// The operation.
    pub operation: &'a mut Operation<S>,
    /// Index of the connection or listener that the operation belongs to.
    pub owner: u32,
}

/// All operations in flight of one driver; `H` is the backend's header, `S` its name for a socket.
pub struct Table<H, S> {
    chunks: Vec<Chunk<UnsafeCell<Entry<H, S>>>>,
    free: u32,
    live: u32,
}

impl<H: Default, S> Table<H, S> {
    pub(crate) fn new() -> Table<H, S> {
        Table { chunks: Vec::new(), free: NONE, live: 0 }
    }

    /// Operations in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live as usize
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The operation of a key; `None` if it is over.
    #[inline]
    #[must_use]
    pub fn get(&self, key: OpKey) -> Option<EntryRef<'_, H, S>> {
        let entry = self.at(key.index())?;
        if entry.generation.get() != key.generation() {
            return None;
        }
        let operation = entry.operation.as_ref()?;
        Some(EntryRef { header: &entry.header, operation, owner: entry.owner })
    }

    /// The same, to be changed: before it is submitted, or after its completion was taken.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, key: OpKey) -> Option<EntryMut<'_, H, S>> {
        let entry = self.cell(key.index())?.get();
        // SAFETY: the table is borrowed as a whole, so there is no other reference to an operation. The header is
        // only shared: a kernel may be writing its cells (INV-1).
        let (header, operation, owner, generation) =
            unsafe { (&(*entry).header, &mut (*entry).operation, (*entry).owner, (*entry).generation) };
        if generation.get() != key.generation() {
            return None;
        }
        Some(EntryMut { header, operation: operation.as_mut()?, owner })
    }

    #[inline]
    fn cell(&self, index: usize) -> Option<&UnsafeCell<Entry<H, S>>> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    #[inline]
    fn at(&self, index: usize) -> Option<&Entry<H, S>> {
        // SAFETY: `&mut` references come from `get_mut` and `at_mut` alone, which borrow the table as a whole. A
        // kernel writes only cells of the header (INV-1).
        Some(unsafe { &*self.cell(index)?.get() })
    }

    /// An entry as a whole: free, or with an operation whose last completion was taken. So no kernel writes its header.
    #[inline]
    fn at_mut(&mut self, index: usize) -> Option<&mut Entry<H, S>> {
        // SAFETY: the table is borrowed as a whole, so there is no other reference to an entry.
        Some(unsafe { &mut *self.cell(index)?.get() })
    }

    /// Prefetches an entry.
    #[inline]
    pub fn prefetch(&self, key: OpKey) {
        let index = key.index();
        if let Some(chunk) = self.chunks.get(index / CHUNK) {
            crate::prefetch(chunk, index % CHUNK);
        }
    }

    /// The owner of an operation. A hint: the key may be stale.
    #[inline]
    pub(crate) fn owner_of(&self, key: OpKey) -> Option<u32> {
        Some(self.at(key.index())?.owner)
    }

    #[inline]
    pub(crate) fn insert(&mut self, owner: u32, operation: Operation<S>) -> OpKey {
        if self.free == NONE {
            self.grow();
        }
        let index = self.free;
        let entry = self.at_mut(index as usize).expect("a free entry is in the table");
        assert!(entry.operation.is_none(), "INV-1: entry {index} is in flight");
        let next_free = std::mem::replace(&mut entry.owner, owner);
        entry.operation = Some(operation);
        let generation = entry.generation;
        self.free = next_free;
        self.live += 1;
        OpKey::new(index, generation)
    }

    /// Removes an operation whose last completion was taken; the caller gets it back, with its bytes.
    #[inline]
    pub(crate) fn remove(&mut self, key: OpKey) -> Operation<S> {
        let free = self.free;
        let entry = self.at_mut(key.index()).filter(|entry| entry.generation.get() == key.generation());
        let entry = entry.expect("INV-3: an operation ends once");
        let operation = entry.operation.take().expect("INV-3: an operation ends once");
        if cfg!(not(feature = "guard-pages")) {
            entry.generation = entry.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
            entry.owner = free;
            self.free = key.index() as u32;
        }
        #[cfg(feature = "guard-pages")]
        self.chunks[key.index()].retire();
        self.live -= 1;
        operation
    }

    /// Every operation in flight.
    pub fn keys(&self) -> impl Iterator<Item = OpKey> + '_ {
        let indices = (0..self.chunks.len() * CHUNK).filter_map(|index| Some((index, self.at(index)?)));
        let entries = indices.filter(|(_, entry)| entry.operation.is_some());
        entries.map(|(index, entry)| OpKey::new(index as u32, entry.generation))
    }

    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        assert!(first < i32::MAX as u32 - CHUNK as u32, "the table is full");
        let last = first + CHUNK as u32 - 1;
        let chunk = (first..=last).map(|index| {
            UnsafeCell::new(Entry {
                header: H::default(),
                operation: None,
                owner: if index == last { NONE } else { index + 1 },
                generation: NonZeroU32::MIN,
            })
        });
        self.chunks.push(chunk.collect());
        self.free = first;
    }
}

impl<H: Default, S: fmt::Debug> fmt::Debug for Table<H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operations = self.keys().filter_map(|key| Some(self.get(key)?.operation));
        f.debug_list().entries(operations).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::Config;

    use super::*;

    fn accept(listener: u32) -> Operation<u32> {
        Operation::Accept { listener }
    }

    /// A message touches one cache line of the table, and a free entry needs no extra byte.
    #[test]
    fn an_entry_fills_one_cache_line() {
        assert_eq!(size_of::<Entry<(), i32>>(), 64);
        assert_eq!(size_of::<Option<Operation<i32>>>(), size_of::<Operation<i32>>());
    }

    #[test]
    #[should_panic(expected = "INV-3")]
    fn an_operation_ends_once() {
        let mut table = Table::<(), u32>::new();
        let key = table.insert(0, accept(1));
        drop(table.remove(key));
        drop(table.remove(key));
    }

    proptest! {
        #![proptest_config(Config { cases: 64, failure_persistence: None, ..Config::default() })]

        /// Compared with a plain list: a key finds its own operation until that ends, then nothing, even if the entry
        /// is reused; an entry stays at its address.
        #[test]
        fn keys_find_their_own(steps in prop::collection::vec((any::<bool>(), any::<usize>()), 1..400)) {
            let mut table = Table::<u64, u32>::new();
            let mut live: Vec<(OpKey, u32, usize)> = Vec::new();
            let mut over: Vec<OpKey> = Vec::new();
            for (number, (insert, at)) in steps.into_iter().enumerate() {
                // Twice as many inserts as ends, so that the table grows beyond a chunk.
                if insert || live.is_empty() || at % 3 == 0 {
                    let name = number as u32;
                    let key = table.insert(name, accept(name));
                    prop_assert!(!over.contains(&key), "no key is given out twice");
                    let address = std::ptr::from_ref(table.get(key).expect("just made").header) as usize;
                    live.push((key, name, address));
                } else {
                    let (key, name, _) = live.swap_remove(at % live.len());
                    let operation = table.remove(key);
                    let Operation::Accept { listener } = operation else { unreachable!() };
                    prop_assert_eq!(listener, name);
                    over.push(key);
                }
                prop_assert_eq!(table.len(), live.len());
                prop_assert_eq!(table.is_empty(), live.is_empty());
            }
            for (key, name, address) in &live {
                let entry = table.get_mut(*key).expect("it is in flight");
                prop_assert_eq!(entry.owner, *name);
                prop_assert_eq!(std::ptr::from_ref(entry.header) as usize, *address);
            }
            prop_assert!(over.iter().all(|key| table.get_mut(*key).is_none()), "INV-3: a late key finds nothing");
            let mut listed: Vec<u64> = table.keys().map(OpKey::to_u64).collect();
            let mut known: Vec<u64> = live.iter().map(|(key, ..)| key.to_u64()).collect();
            listed.sort_unstable();
            known.sort_unstable();
            prop_assert_eq!(listed, known);
        }
    }
}
