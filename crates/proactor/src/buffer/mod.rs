//! Memory for received bytes, and the forms in which bytes are sent.
//!
//! A [`Pool`] owns blocks of equal size. A block is always in exactly one state: free, lent to the kernel, held by an
//! operation ([`Block`]), or holding received bytes ([`Lease`]). INV-1 depends on that, and the pool asserts it at
//! every change of state.

mod aligned;
mod block;
mod hold;
mod lease;
mod outgoing;
mod pages;
mod payload;
mod pool;

pub use aligned::AlignedBuf;
pub use block::Block;
pub use hold::BlockId;
pub use lease::Lease;
pub use outgoing::{Gather, Outgoing};
pub use payload::Payload;
pub use pool::{Pool, PoolConfig};

/// Bytes of a cache line. Memory that a kernel copies from or to starts on one wherever we allocate it: with
/// `rep movsb`, which Linux uses, unaligned copies run at half the speed on some processors (AMD Zen 3).
pub const CACHE_LINE: usize = 64;
