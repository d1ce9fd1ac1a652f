//! A block of a pool with one holder.

use std::fmt;

#[cfg(any(windows, test))]
use super::hold::BlockId;
use super::hold::Hold;
use super::lease::Lease;

/// One block with one owner, who may write it, or let the kernel write it.
pub struct Block {
    pub(super) hold: Hold,
}

impl Block {
    /// Start of the block. It stays where it is for as long as the block is held.
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.hold.address()
    }

    /// Gives the block to the kernel, to be named by its number alone: for a header without room for more. It is in use
    /// until [`Pool::taken_back`](super::Pool::taken_back); if it never is, its memory is never freed (INV-10).
    #[cfg(any(windows, test))]
    pub(crate) fn into_kernel(self) -> BlockId {
        let id = self.hold.id();
        self.hold.shared().give(id);
        // The reference to the pool's memory is kept, for `taken_back` to adopt.
        std::mem::forget(self);
        id
    }

    /// Bytes the block holds.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.hold.shared().block_len()
    }

    /// The whole block, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the block is inside the pool's memory, initialised, and this handle is its only holder, the
        // kernel included: a lent block has no handle (INV-1).
        unsafe { std::slice::from_raw_parts_mut(self.hold.address(), self.capacity() as usize) }
    }

    /// The first `len` bytes as a lease, to be read and shared.
    ///
    /// # Panics
    /// If the block is shorter than `len`.
    #[must_use]
    pub fn into_lease(self, len: usize) -> Lease {
        assert!(len <= self.capacity() as usize, "a block of {} bytes cannot hold {len}", self.capacity());
        Lease::new(self.hold, len as u32)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({})", self.hold.id())
    }
}
