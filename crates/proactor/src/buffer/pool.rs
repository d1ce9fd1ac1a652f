//! Equal blocks in one piece of memory, for one thread.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;

use super::CACHE_LINE;
use super::block::Block;
#[cfg(any(windows, test, all(target_os = "linux", target_pointer_width = "64")))]
use super::hold::LENT;
use super::hold::{BlockId, FREE, Hold, Shared};
use super::lease::Lease;
use super::pages::Pages;

/// The number and size of a pool's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Blocks in the pool: 1 to 32,768. A buffer ring takes a power of two, so others are rounded up.
    pub blocks: u16,
    /// Bytes of a block. A message that fits into one block is received and forwarded in one piece. Blocks start on
    /// cache lines, so the bytes up to the next multiple of 64 are unused.
    pub block_len: u32,
}

impl Default for PoolConfig {
    /// 256 blocks of 16 KiB: a message of up to 16 KiB is one block; 4 MiB of address space a worker, of
    /// which only what was used becomes resident.
    fn default() -> Self {
        PoolConfig { blocks: 256, block_len: 16 * 1024 }
    }
}

/// A handle on a worker's blocks. The memory lives until the pool *and* every lease of it are gone, so a lease
/// may outlive the driver. A driver that could not take its blocks back from the kernel leaks its pool (INV-10).
#[derive(Clone)]
pub struct Pool {
    pub(super) shared: Rc<Shared>,
}

impl Pool {
    /// A pool with every block free. Every block starts on a cache line, and the first on a page, unless all of them fit
    /// into one: kernels copy from and to aligned memory up to twice as fast. Blocks that were never used cost address
    /// space only.
    ///
    /// # Panics
    /// Where [`try_new`](Self::try_new) has an error.
    #[must_use]
    pub fn new(config: PoolConfig) -> Pool {
        Pool::try_new(config).unwrap_or_else(|error| panic!("no pool of {config:?}: {error}"))
    }

    /// Like [`new`](Self::new), but returns an error for an invalid configuration or if there is no memory.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) without blocks or bytes, or with more than 32,768 blocks;
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if the address space or the system has no room for it.
    pub fn try_new(config: PoolConfig) -> io::Result<Pool> {
        if config.block_len == 0 || !(1..=32_768).contains(&config.blocks) {
            let problem = "a pool has 1 to 32,768 blocks of at least one byte";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let blocks = config.blocks.next_power_of_two();
        let stride = (config.block_len as usize).checked_next_multiple_of(CACHE_LINE);
        let bytes = stride.and_then(|stride| usize::from(blocks).checked_mul(stride));
        let memory = bytes.and_then(Pages::zeroed);
        let (Some(memory), Some(stride)) = (memory, stride) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        let shared = Shared {
            memory,
            stride,
            block_len: config.block_len,
            holders: vec![Cell::new(FREE); usize::from(blocks)].into_boxed_slice(),
            free: RefCell::new((0..blocks).rev().collect()),
            lent: Cell::new(0),
            reserved: Cell::new(false),
        };
        Ok(Pool { shared: Rc::new(shared) })
    }

    /// Takes a free block, the most recently used first. `None` when all are in use.
    #[must_use]
    pub fn take(&self) -> Option<Block> {
        let id = self.shared.free.borrow_mut().pop()?;
        self.shared.change(id, FREE, 1);
        Some(self.block(id))
    }

    /// The same for a receive that did not wait: `None` also while free blocks are reserved for connections that do.
    #[inline]
    pub(crate) fn take_unreserved(&self) -> Option<Block> {
        if self.shared.reserved.get() { None } else { self.take() }
    }

    /// Reserves all free blocks, now and later, for connections that wait; `false` ends that.
    pub(crate) fn reserve(&self, reserved: bool) {
        self.shared.reserved.set(reserved);
    }

    /// Takes a free block for a buffer ring: from now until [`reclaim`](Self::reclaim) the kernel may write it.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    pub(crate) fn lend(&self) -> Option<BlockId> {
        let id = self.shared.free.borrow_mut().pop()?;
        self.shared.change(id, FREE, LENT);
        self.shared.lent.set(self.shared.lent.get() + 1);
        Some(id)
    }

    /// Takes back a lent block that a completion named.
    ///
    /// # Panics
    /// If that block was not lent (INV-1): the completion would hand out memory that has another holder.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    pub(crate) fn reclaim(&self, id: BlockId) -> Block {
        self.shared.change(id, LENT, 1);
        self.shared.lent.set(self.shared.lent.get() - 1);
        self.block(id)
    }

    /// Takes back a block that was given to the kernel by its number.
    ///
    /// # Panics
    /// If that block was not given (INV-1).
    #[cfg(any(windows, test))]
    pub(crate) fn taken_back(&self, id: BlockId) -> Block {
        self.shared.change(id, LENT, 1);
        // SAFETY: the block was given, as just asserted, and is not any more. `into_kernel` kept one reference to this
        // memory for it, which this handle adopts.
        let shared = unsafe { Rc::from_raw(Rc::as_ptr(&self.shared)) };
        Block { hold: Hold::new(shared, id) }
    }

    #[inline]
    fn block(&self, id: BlockId) -> Block {
        Block { hold: Hold::new(Rc::clone(&self.shared), id) }
    }

    /// Start of a block's memory, for the kernel.
    #[cfg(any(windows, all(target_os = "linux", target_pointer_width = "64")))]
    pub(crate) fn address(&self, id: BlockId) -> *mut u8 {
        self.shared.address(id)
    }

    /// Blocks in the pool.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.shared.blocks()
    }

    /// Bytes of one block.
    #[must_use]
    pub fn block_len(&self) -> u32 {
        self.shared.block_len()
    }

    /// Blocks that a receive could use now: free ones and those the kernel holds ready.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.shared.available()
    }

    /// Blocks held by operations and leases.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.blocks() - self.available()
    }
}

impl Lease {
    /// A lease of a copy of `bytes` in memory of its own: it pins no block of a receiving pool.
    ///
    /// # Panics
    /// If there are no bytes, or 4 GiB or more.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Lease {
        let block_len = u32::try_from(bytes.len()).expect("a copy of less than 4 GiB");
        let pool = Pool::new(PoolConfig { blocks: 1, block_len });
        let mut block = pool.take().expect("a fresh pool has its block");
        block.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        block.into_lease(bytes.len())
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} of {} blocks in use)", self.in_use(), self.blocks())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pages::PAGE;
    use super::*;

    /// Every block starts on a cache line, the first of a page or more on a page; each has the length that was asked
    /// for, and none reaches into the next.
    #[test]
    fn blocks_are_aligned_and_apart_whatever_their_length() {
        for block_len in [1, 63, 64, 65, 100, 4095, 4096, 16 * 1024, 16 * 1024 + 1] {
            for blocks in [1, 8, 9] {
                let pool = Pool::new(PoolConfig { blocks, block_len });
                assert_eq!(pool.block_len(), block_len);
                let mut taken: Vec<Block> = std::iter::from_fn(|| pool.take()).collect();
                assert_eq!(taken.len() as u32, pool.blocks());
                let starts: Vec<usize> = taken.iter_mut().map(|block| block.as_mut_ptr().addr()).collect();
                let bytes = starts.len() * pool.shared.stride;
                assert!(bytes < PAGE || starts[0].is_multiple_of(PAGE), "{block_len}: {starts:x?}");
                assert!(starts.iter().all(|start| start % CACHE_LINE == 0), "{block_len}: {starts:x?}");
                for (mark, block) in (1..).zip(&mut taken) {
                    assert_eq!(block.capacity(), block_len);
                    block.bytes_mut().fill(mark);
                }
                for (mark, block) in (1..).zip(taken) {
                    let lease = block.into_lease(block_len as usize);
                    assert_eq!((lease.len(), lease.pinned()), (block_len as usize, block_len as usize));
                    assert!(lease.iter().all(|byte| *byte == mark), "{block_len}: block {mark}");
                }
            }
        }
    }

    /// Too many bytes for an integer or for the address space: an error, not the end of the process.
    #[test]
    fn a_pool_that_cannot_be_is_an_error() {
        let kind = |blocks, block_len| Pool::try_new(PoolConfig { blocks, block_len }).unwrap_err().kind();
        assert_eq!(kind(32_768, u32::MAX), io::ErrorKind::OutOfMemory);
        for (blocks, block_len) in [(0, 64), (1, 0), (32_769, 64), (u16::MAX, u32::MAX)] {
            assert_eq!(kind(blocks, block_len), io::ErrorKind::InvalidInput, "{blocks} of {block_len}");
        }
    }

    /// A completion that names a block which was not lent is a bug somewhere else; the block's holder keeps it.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    #[test]
    fn a_block_that_was_not_lent_is_not_taken_back() {
        let pool = Pool::new(PoolConfig { blocks: 2, block_len: 64 });
        let (held, lent) = (pool.take().unwrap(), pool.lend().unwrap());
        let id = held.hold.id();
        let reclaim = || drop(pool.reclaim(id));
        let error = std::panic::catch_unwind(std::panic::AssertUnwindSafe(reclaim)).unwrap_err();
        assert!(error.downcast_ref::<String>().unwrap().starts_with("INV-1: block"));
        assert_eq!((pool.in_use(), pool.available()), (1, 1), "nothing has changed");
        drop(held);
        drop(pool.reclaim(lent));
        let all: Vec<Block> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(all.len(), 2, "each block is in one place");
    }

    /// A block that the kernel has by its number is in use, and comes back once. Its memory outlives the pool.
    #[test]
    fn a_block_given_by_its_number_comes_back_once() {
        let pool = Pool::new(PoolConfig { blocks: 2, block_len: 64 });
        let mut block = pool.take().unwrap();
        block.bytes_mut().fill(7);
        let id = block.into_kernel();
        assert_eq!((pool.in_use(), pool.available()), (1, 1));
        let lease = pool.taken_back(id).into_lease(64);
        let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(pool.taken_back(id))));
        assert!(again.unwrap_err().downcast_ref::<String>().unwrap().starts_with("INV-1: block"));
        assert_eq!(Rc::strong_count(&pool.shared), 2, "the pool and the lease");
        drop(pool);
        assert!(lease.iter().all(|byte| *byte == 7));

        let pool = Pool::new(PoolConfig { blocks: 1, block_len: 64 });
        let (kept, _) = (Rc::downgrade(&pool.shared), pool.take().unwrap().into_kernel());
        drop(pool);
        assert!(kept.upgrade().is_some(), "INV-10: what the kernel may write is not freed");
    }

    #[test]
    fn a_fresh_pool_is_zeroed() {
        let pool = Pool::new(PoolConfig { blocks: 4, block_len: 1000 });
        let mut taken: Vec<Block> = std::iter::from_fn(|| pool.take()).collect();
        assert!(taken.iter_mut().all(|block| block.bytes_mut().iter().all(|byte| *byte == 0)));
    }

    /// Bytes of the whole pages in this piece that are resident: `mincore(2)`.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    fn resident(start: *mut u8, bytes: usize) -> usize {
        // SAFETY: asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a page has a size");
        let to_page = start.addr().wrapping_neg() % page;
        let mut pages = vec![0u8; (bytes - to_page) / page];
        // SAFETY: the range is mapped, and the vector has a byte for each page of it.
        let result =
            unsafe { libc::mincore(start.add(to_page).cast(), pages.len() * page, pages.as_mut_ptr()) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        pages.iter().filter(|state| **state & 1 == 1).count() * page
    }

    /// 2 GiB of address space, of which what was written is resident: a page, or 2 MiB where the system gives huge
    /// pages unasked.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    #[test]
    fn untouched_blocks_cost_address_space_only() {
        let (blocks, block_len) = (32_768, 64 * 1024);
        let pool = Pool::new(PoolConfig { blocks, block_len });
        let (start, bytes) = (pool.address(0), usize::from(blocks) * block_len as usize);
        assert_eq!(resident(start, bytes), 0, "nothing was written yet");
        let mut block = pool.take().expect("all are free");
        block.bytes_mut().fill(1);
        let touched = resident(start, bytes);
        assert!((block_len as usize..=2 << 20).contains(&touched), "{touched} bytes are resident");
    }
}
