//! The memory of a pool, what becomes of each of its blocks, and the reference count that blocks and leases share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::CACHE_LINE;
use super::pages::Pages;

/// A block's number within its pool.
pub type BlockId = u16;

/// A block's references: `FREE` when it is free, `LENT` while the kernel has it, else the number of blocks and
/// leases.
pub(super) type Holders = u32;
pub(super) const FREE: Holders = 0;
pub(super) const LENT: Holders = u32::MAX;

pub(super) struct Shared {
    pub(super) memory: Pages,
    /// From one block to the next: `block_len`, rounded up to whole cache lines.
    pub(super) stride: usize,
    pub(super) block_len: u32,
    pub(super) holders: Box<[Cell<Holders>]>,
    /// Last in, first out: the block used last is still in the cache.
    pub(super) free: RefCell<Vec<BlockId>>,
    pub(super) lent: Cell<u32>,
    /// True exactly when connections wait for blocks: free ones are reserved for them.
    pub(super) reserved: Cell<bool>,
}

impl Shared {
    #[inline]
    pub(super) fn blocks(&self) -> u32 {
        self.holders.len() as u32
    }

    #[inline]
    pub(super) fn block_len(&self) -> u32 {
        self.block_len
    }

    #[inline]
    pub(super) fn available(&self) -> u32 {
        self.free.borrow().len() as u32 + self.lent.get()
    }

    #[inline]
    pub(super) fn address(&self, id: BlockId) -> *mut u8 {
        assert!(usize::from(id) < self.holders.len(), "block {id} is not of this pool");
        // SAFETY: id is below the number of blocks, so the offset stays inside the memory, which has a stride for
        // each (INV-1).
        let start = unsafe { self.memory.start().as_ptr().add(usize::from(id) * self.stride) };
        debug_assert!(start.addr().is_multiple_of(CACHE_LINE), "block {id} starts on a cache line");
        start
    }

    #[inline]
    pub(super) fn change(&self, id: BlockId, from: Holders, to: Holders) {
        let holders = &self.holders[usize::from(id)];
        // Before anything changes: if the panic is caught, the block still belongs to its holder.
        assert!(
            holders.get() == from,
            "INV-1: block {id} had {} holders where {from} was right",
            holders.get()
        );
        holders.set(to);
    }

    /// The one holder of a block gives it to the kernel.
    #[cfg(any(windows, test))]
    pub(super) fn give(&self, id: BlockId) {
        self.change(id, 1, LENT);
    }

    pub(super) fn hold(&self, id: BlockId) {
        let holders = &self.holders[usize::from(id)];
        assert!(holders.get() != FREE && holders.get() < LENT - 1, "INV-1: too many leases of one block");
        holders.set(holders.get() + 1);
    }

    #[inline]
    pub(super) fn release(&self, id: BlockId) {
        let holders = &self.holders[usize::from(id)];
        assert!(holders.get() != FREE && holders.get() != LENT, "INV-1: block {id} is nobody's to give back");
        holders.set(holders.get() - 1);
        if holders.get() == FREE {
            self.free.borrow_mut().push(id);
        }
    }
}

/// One counted reference to a block, in every block and lease. The last one dropped frees the block.
pub(super) struct Hold {
    shared: Rc<Shared>,
    id: BlockId,
}

impl Hold {
    /// The first reference to a block that was just taken or reclaimed.
    #[inline]
    pub(super) fn new(shared: Rc<Shared>, id: BlockId) -> Hold {
        Hold { shared, id }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn id(&self) -> BlockId {
        self.id
    }

    #[inline]
    pub(super) fn address(&self) -> *mut u8 {
        self.shared.address(self.id)
    }
}

impl Clone for Hold {
    fn clone(&self) -> Hold {
        self.shared.hold(self.id);
        Hold { shared: Rc::clone(&self.shared), id: self.id }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.release(self.id);
    }
}
