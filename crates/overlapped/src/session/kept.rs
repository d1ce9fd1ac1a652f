//! Bytes that arrived while their session may not go on: paused by its handler, held because too much is unsent, or
//! behind bytes that the handler could not take yet. They reach the handler in order when the session goes on.
//!
//! The amount is bounded by what the kernel had received when the receive was paused. It holds few blocks of the pool, so
//! that one session does not keep the others from receiving; the rest is copied (INV-6).

use std::collections::VecDeque;

use proactor::Lease;

use super::BLOCKS;

/// Copies gather in pieces of up to this size.
const CHUNK: usize = 64 * 1024;

/// What waits in one session, in order.
#[derive(Default)]
pub(crate) struct Kept {
    parts: VecDeque<Part>,
    bytes: usize,
    blocks: u8,
    /// True exactly when the peer's end of stream came behind these bytes.
    pub(crate) ended: bool,
}

enum Part {
    Block(Lease),
    Copy(Vec<u8>),
}

impl Kept {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Adds what arrived behind the rest.
    pub(crate) fn push_back(&mut self, data: Lease) {
        self.bytes += data.len();
        match (self.part(data), self.parts.back_mut()) {
            (Part::Copy(more), Some(Part::Copy(copy))) if copy.len() + more.len() <= CHUNK => {
                copy.extend_from_slice(&more);
            }
            (part, _) => self.parts.push_back(part),
        }
    }

    /// Puts bytes before the rest: the handler was called with them and could not take them.
    pub(crate) fn push_front(&mut self, data: Lease) {
        self.bytes += data.len();
        let part = self.part(data);
        self.parts.push_front(part);
    }

    /// The block itself, if that keeps no other session from receiving; else a copy.
    fn part(&mut self, data: Lease) -> Part {
        if self.blocks < BLOCKS && data.pool_has_reserve() {
            self.blocks += 1;
            return Part::Block(data);
        }
        Part::Copy(data.to_vec())
    }

    /// Takes out the first piece.
    pub(crate) fn pop(&mut self) -> Option<Lease> {
        let data = match self.parts.pop_front()? {
            Part::Block(lease) => {
                self.blocks -= 1;
                lease
            }
            Part::Copy(copy) => Lease::copy_of(&copy),
        };
        self.bytes -= data.len();
        Some(data)
    }
}

#[cfg(test)]
mod tests {
    use proactor::{Pool, PoolConfig};

    use super::*;

    fn lease(pool: &Pool, bytes: &[u8]) -> Lease {
        let mut block = pool.take().expect("a free block");
        block.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        block.into_lease(bytes.len())
    }

    #[test]
    fn bytes_keep_their_order_and_few_blocks_are_held() {
        let pool = Pool::new(PoolConfig { blocks: 16, block_len: 8 });
        let (mut kept, mut wanted) = (Kept::default(), Vec::new());
        for number in 0..40u8 {
            kept.push_back(lease(&pool, &[number; 3]));
            wanted.extend_from_slice(&[number; 3]);
            assert!(pool.in_use() <= u32::from(BLOCKS), "INV-6");
        }
        assert_eq!(kept.bytes(), 120);
        let mut got = Vec::new();
        // Half of each piece is put back once.
        while let Some(mut data) = kept.pop() {
            if data.len() > 1 {
                kept.push_front(data.split_off(data.len() / 2));
            }
            got.extend_from_slice(&data);
        }
        assert_eq!((got, kept.bytes(), pool.in_use()), (wanted, 0, 0));
    }

    #[test]
    fn a_pool_without_reserve_lends_nothing() {
        let pool = Pool::new(PoolConfig { blocks: 4, block_len: 8 });
        let _others: Vec<Lease> = (0..3).map(|_| lease(&pool, b"x")).collect();
        let mut kept = Kept::default();
        kept.push_back(lease(&pool, b"abc"));
        assert_eq!(pool.in_use(), 3, "the block went back at once");
        kept.push_front(lease(&pool, b"put back"));
        assert_eq!(pool.in_use(), 3, "and so did one that the handler could not take");
        assert_eq!(kept.pop().as_deref(), Some(&b"put back"[..]));
        assert_eq!(kept.pop().as_deref(), Some(&b"abc"[..]));
    }
}
