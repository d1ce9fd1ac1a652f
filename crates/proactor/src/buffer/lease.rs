//! Received bytes, in a block of the pool.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;

use super::hold::Hold;

/// Received bytes in the block they arrived in. Dropping the last lease of a block gives the block back.
///
/// A lease stays on its worker's thread (it is `!Send`; it is counted without atomics). It pins a whole block,
/// however few bytes it shows: to keep bytes for long, or to take them to another thread, copy them with
/// [`to_bytes`](Lease::to_bytes). A clone is a second lease of the same block.
#[derive(Clone)]
pub struct Lease {
    hold: Hold,
    offset: u32,
    len: u32,
}

impl Lease {
    pub(super) fn new(hold: Hold, len: u32) -> Lease {
        Lease { hold, offset: 0, len }
    }

    /// Keeps the first `at` bytes and returns a lease of the rest, on the same block.
    ///
    /// # Panics
    /// If `at` is beyond the end.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Lease {
        let mut rest = self.clone();
        rest.advance(at);
        self.len = at as u32;
        rest
    }

    /// Removes the first `by` bytes from the view.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn advance(&mut self, by: usize) {
        assert!(by <= self.len as usize, "advance by {by} in {} bytes", self.len);
        self.offset += by as u32;
        self.len -= by as u32;
    }

    /// Keeps the first `len` bytes in view; more than there are changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// Returns a copy of the bytes. The copy does not pin the block, and may be passed to other threads.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self)
    }

    /// Bytes in view. As [`slice::len`], without going through the bytes.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the slice's own does")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of pool memory that this lease pins.
    #[must_use]
    pub fn pinned(&self) -> usize {
        self.hold.shared().block_len() as usize
    }

    /// The start of the block, whichever part of it is in view.
    pub(super) fn block_start(&self) -> *const u8 {
        self.hold.address()
    }

    /// Whether more than a quarter of the pool is available, so that holding this block during a send does not keep
    /// other connections from receiving.
    #[must_use]
    pub fn pool_has_reserve(&self) -> bool {
        self.hold.shared().available() * 4 > self.hold.shared().blocks()
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.hold.address().wrapping_add(self.offset as usize);
        // SAFETY: offset + len never exceeds the block. A leased block has only readers: it is neither lent nor
        // held as a `Block` until the last lease is dropped (INV-1).
        unsafe { std::slice::from_raw_parts(start, self.len as usize) }
    }
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// By their bytes.
impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Lease {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Lease {}

/// As the slice of its bytes.
impl Hash for Lease {
    fn hash<S: Hasher>(&self, state: &mut S) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes of block {})", self.len, self.hold.id())
    }
}
