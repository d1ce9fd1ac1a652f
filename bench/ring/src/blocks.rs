//! Blocks that all connections share, and the buffer ring through which the kernel takes them.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use memmap2::MmapMut;

/// A power of two, as the kernel asks of a buffer ring. They fit into the processor's caches: the ring is first in,
/// first out, and so uses all of them in turn.
pub(crate) const BLOCKS: u16 = 256;

/// The number of the only buffer ring.
pub(crate) const GROUP: u16 = 0;

/// A block is either in the ring or held by one connection.
pub(crate) struct Blocks {
    ring: MmapMut,
    /// Starts on a page, and each block with it: kernels copy faster to and from whole cache lines.
    data: MmapMut,
    /// Entries ever written; the kernel sees them from [`Blocks::publish`] on.
    tail: u16,
    /// Blocks in the ring, as far as the completions seen until now say.
    free: u16,
}

impl Blocks {
    /// Allocates the blocks, and registers a ring that has all of them.
    pub(crate) fn register(submitter: &Submitter) -> io::Result<Blocks> {
        let ring = MmapMut::map_anon(usize::from(BLOCKS) * size_of::<BufRingEntry>())?;
        let data = MmapMut::map_anon(usize::from(BLOCKS) * peer::READ_BUFFER)?;
        // SAFETY: the mapping starts on a page, has room for all entries and lives as long as the process, whose main
        // function holds it until the ring is gone.
        unsafe {
            submitter.register_buf_ring_with_flags(ring.as_ptr() as u64, BLOCKS, GROUP, 0)?;
        }
        let mut blocks = Blocks { ring, data, tail: 0, free: 0 };
        for block in 0..BLOCKS {
            blocks.give_back(block);
        }
        blocks.publish();
        Ok(blocks)
    }

    /// Where a block's bytes are.
    pub(crate) fn bytes(&mut self, block: u16) -> *mut u8 {
        self.data.as_mut_ptr().wrapping_add(usize::from(block) * peer::READ_BUFFER)
    }

    /// A completion says that the kernel has taken one.
    pub(crate) fn take(&mut self) {
        self.free -= 1;
    }

    /// Puts one into the ring.
    pub(crate) fn give_back(&mut self, block: u16) {
        let (address, index) = (self.bytes(block) as u64, usize::from(self.tail & (BLOCKS - 1)));
        // SAFETY: the index lies inside of the mapping, which is aligned to a page, and zeroes are an entry. The kernel
        // reads entries before the tail alone.
        let entry = unsafe { &mut *self.ring.as_mut_ptr().cast::<BufRingEntry>().add(index) };
        entry.set_addr(address);
        entry.set_len(u32::try_from(peer::READ_BUFFER).expect("a constant"));
        entry.set_bid(block);
        self.tail = self.tail.wrapping_add(1);
        self.free += 1;
    }

    /// Shows the kernel what was given back; whether the ring has any block.
    pub(crate) fn publish(&mut self) -> bool {
        // SAFETY: the tail lies in the first entry. The kernel reads it, and this thread alone writes it.
        let tail = unsafe { &*BufRingEntry::tail(self.ring.as_ptr().cast()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
        self.free > 0
    }
}
