//! The memory of a pool: zeroed, aligned, and resident only where it was written.

use std::alloc::{self, Layout};
use std::ptr::NonNull;

use super::CACHE_LINE;

/// Bytes of the smallest page that any supported system has.
pub(super) const PAGE: usize = 4096;

/// One piece of zeroed memory that starts on a page; on a cache line, if it is smaller than a page.
///
/// A page more than asked for is allocated, and the start is rounded up inside it. An allocation *with* the alignment
/// of a page would cost memory: the standard library's allocator gets such memory from `posix_memalign(3)` and writes
/// the zeros itself, which makes every page resident. A large zeroed allocation without it is fresh from the system
/// (`calloc(3)`, `HeapAlloc`), and already zero.
pub(super) struct Pages {
    start: NonNull<u8>,
    allocation: NonNull<u8>,
    allocated: usize,
}

impl Pages {
    /// `bytes` zeroed bytes. `None` if the address space or the system has no room for them.
    pub(super) fn zeroed(bytes: usize) -> Option<Pages> {
        let alignment = if bytes < PAGE { CACHE_LINE } else { PAGE };
        let allocated = bytes.checked_add(alignment)?;
        let layout = Layout::array::<u8>(allocated).ok()?;
        // SAFETY: the size is not zero: the alignment is a part of it.
        let allocation = NonNull::new(unsafe { alloc::alloc_zeroed(layout) })?;
        let to_page = allocation.addr().get().wrapping_neg() % alignment;
        // SAFETY: less than the alignment further on, inside an allocation of that and more.
        let start = unsafe { allocation.add(to_page) };
        assert!(start.addr().get().is_multiple_of(alignment), "pool memory is aligned");
        Some(Pages { start, allocation, allocated })
    }

    /// The first byte. It stays where it is for as long as this lives.
    #[inline]
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let layout = Layout::array::<u8>(self.allocated).expect("it was allocated with this layout");
        // SAFETY: made by `alloc_zeroed` with this layout, and freed once. Its owner, the pool, makes sure that no
        // block of it is held by then (INV-1).
        unsafe { alloc::dealloc(self.allocation.as_ptr(), layout) };
    }
}
