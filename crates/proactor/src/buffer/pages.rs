//! The memory of a pool: zeroed, aligned, resident only where it was touched.

use std::ptr::NonNull;

use super::CACHE_LINE;

/// Bytes of the smallest page that any supported system has.
pub(super) const PAGE: usize = 4096;

/// One piece of zeroed memory that starts on a page; on a cache line, if it is smaller than a page.
///
/// That much more than asked for is allocated, zeroed, and the start is rounded up inside it. An allocation *with*
/// the alignment of a page would cost memory: the standard library's allocator gets such memory from
/// `posix_memalign(3)` and writes the zeros itself, which makes every page resident. A large zeroed allocation
/// without it is fresh from the system (`calloc(3)`, `HeapAlloc`), and already zero.
pub(super) struct Pages {
    start: NonNull<u8>,
    allocation: NonNull<u8>,
    allocated: usize,
}

impl Pages {
    /// `bytes` zeroed bytes.
    ///
    /// # Panics
    /// If the address space cannot hold them.
    pub(super) fn zeroed(bytes: usize) -> Pages {
        let alignment = if bytes < PAGE { CACHE_LINE } else { PAGE };
        let allocated = bytes.checked_add(alignment).expect("a pool fits into memory");
        let memory: Box<[u8]> = vec![0; allocated].into_boxed_slice();
        let allocation = NonNull::new(Box::into_raw(memory).cast::<u8>()).expect("a box is never null");
        let to_page = allocation.addr().get().wrapping_neg() % alignment;
        // SAFETY: less than the alignment further on, inside an allocation of that and more.
        let start = unsafe { allocation.add(to_page) };
        assert!(start.addr().get().is_multiple_of(alignment), "pool memory is aligned");
        Pages { start, allocation, allocated }
    }

    /// The first byte. It stays where it is for as long as this lives.
    #[inline]
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let memory = std::ptr::slice_from_raw_parts_mut(self.allocation.as_ptr(), self.allocated);
        // SAFETY: made by Box::into_raw with this length, and dropped once. Its owner, the pool, sees to it that
        // nobody holds a piece of it by then (INV-1).
        drop(unsafe { Box::from_raw(memory) });
    }
}
