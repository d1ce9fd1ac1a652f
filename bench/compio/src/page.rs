//! Buffers that start on a page: `ProactorBuilder::buffer_pool_allocator` says that the default ones are slow on some
//! processors (Zen 3) because they do not, and advises an allocator of one's own.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use compio::driver::BufferAllocator;

const PAGE: usize = 4096;

pub(crate) struct Allocator;

impl BufferAllocator for Allocator {
    fn allocate(length: u32) -> NonNull<MaybeUninit<u8>> {
        let layout = layout(length);
        // SAFETY: the layout's size is not 0.
        let memory = unsafe { alloc(layout) };
        NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(layout))
    }

    unsafe fn deallocate(buffer: NonNull<MaybeUninit<u8>>, length: u32) {
        // SAFETY: the caller passes what `allocate` returned for the same length, and passes it once.
        unsafe { dealloc(buffer.as_ptr().cast(), layout(length)) };
    }
}

fn layout(length: u32) -> Layout {
    let length = usize::try_from(length).expect("a target of at least 32 bits").max(1);
    Layout::from_size_align(length, PAGE).expect("a buffer is much smaller than the address space")
}
