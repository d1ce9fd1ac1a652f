//! The buffer ring: shared memory in which we offer blocks, and from which the kernel takes one for each receive. See
//! `io_uring_register_buf_ring(3)`.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use ::io_uring::IoUring as Ring;
use ::io_uring::types::BufRingEntry;

use super::refusal::Part;
use crate::buffer::{Block, BlockId, Pool};

/// The one buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// The blocks of a pool, lent to the kernel through its buffer ring.
pub(super) struct Buffers {
    entries: *mut BufRingEntry,
    bytes: usize,
    mask: u16,
    /// Entries written so far; the kernel sees them when the shared tail says so.
    tail: u16,
    pool: Pool,
}

impl Buffers {
    /// Registers a buffer ring as large as the pool and lends it every free block. The error comes with the part that
    /// failed.
    pub(super) fn register(ring: &Ring, pool: Pool) -> Result<Buffers, (Part, io::Error)> {
        let blocks = u16::try_from(pool.blocks()).expect("a pool has at most 32,768 blocks");
        let bytes = usize::from(blocks) * size_of::<BufRingEntry>();
        let entries: *mut BufRingEntry = map(bytes).map_err(|error| (Part::BufferMemory, error))?.cast();
        let mut this = Buffers { entries, bytes, mask: blocks - 1, tail: 0, pool };
        // SAFETY: a page-aligned mapping of as many entries as stated; it is unmapped only after the ring that
        // it is registered with is gone (field order of `IoUring`).
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, blocks, GROUP, 0) }
            .map_err(|error| (Part::Buffers, error))?;
        this.provide();
        Ok(this)
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Lends the kernel every block that came back to the pool.
    pub(super) fn provide(&mut self) {
        let before = self.tail;
        while let Some(id) = self.pool.lend() {
            let at = usize::from(self.tail & self.mask);
            // SAFETY: the index is masked, so inside the mapping. The kernel reads only entries before the shared
            // tail, and there is room: the ring has an entry for every block. Setters alone are used, because
            // entry 0 shares its last bytes with the tail.
            let entry = unsafe { &mut *self.entries.add(at) };
            entry.set_addr(self.pool.address(id) as u64);
            entry.set_len(self.pool.block_len());
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
        }
        if self.tail != before {
            // SAFETY: the tail lies in the mapping and is aligned; this thread alone writes it, the kernel reads
            // it. Release: the entries are written before they can be seen.
            let shared = unsafe { &*BufRingEntry::tail(self.entries).cast::<AtomicU16>() };
            shared.store(self.tail, Ordering::Release);
        }
    }

    /// Takes back the block that a completion named.
    pub(super) fn reclaim(&self, id: BlockId) -> Block {
        self.pool.reclaim(id)
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: mapped by `register` with this length. The ring, and with it the kernel's use, went first.
        unsafe { libc::munmap(self.entries.cast(), self.bytes) };
    }
}

/// Fresh zeroed pages.
fn map(bytes: usize) -> io::Result<*mut libc::c_void> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: an anonymous mapping where the kernel likes it touches nothing that exists.
    let at = unsafe { libc::mmap(ptr::null_mut(), bytes, prot, flags, -1, 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at) }
}

#[cfg(test)]
mod tests {
    use crate::backend::io_uring::IoUring;
    use crate::backend::{Create, InFlight};
    use crate::buffer::{Pool, PoolConfig};
    use crate::operation::{Completion, Harvested, Operation, Outcome};

    /// Where a completion says that it carries a block, and which.
    fn carries(block: u32) -> u32 {
        const F_BUFFER: u32 = 1; // IORING_CQE_F_BUFFER, io_uring(7)
        F_BUFFER | block << 16
    }

    /// The operation is looked up once, by the driver; whatever that decides, no block is lost (INV-3).
    #[test]
    fn a_block_of_an_operation_that_is_over_goes_back_to_the_pool() {
        let pool = Pool::new(PoolConfig { blocks: 4, block_len: 64 });
        let Ok(mut ring) = IoUring::create(pool.clone()) else {
            return eprintln!("skipped: no ring can be made here");
        };
        let mut ops = InFlight::<IoUring>::new();
        let over = ops.insert(0, Operation::Receive { socket: -1, block: None });
        drop(ops.remove(over));
        let before = pool.in_use();
        let with_bytes = ring.completed(over.to_u64(), 5, carries(0), &mut ops);
        assert_eq!(pool.in_use(), before + 1);
        let Some(Harvested::Completed(Completion { key, outcome: Outcome::Received(block, 5), .. })) =
            with_bytes
        else {
            panic!("{with_bytes:?}")
        };
        assert!(key == over && ops.get(key).is_none(), "the driver finds nothing");
        drop(block);
        assert!(ring.completed(over.to_u64(), 0, carries(1), &mut ops).is_none(), "without bytes");
        assert_eq!(pool.in_use(), before, "both are back");
    }
}
