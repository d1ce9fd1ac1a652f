//! The memory that received bytes land in, and the forms in which bytes are sent.
//!
//! A [`Pool`] owns equal blocks. A block is, at any time, in exactly one place: free, lent to the kernel, held
//! by an operation ([`Block`]), or held by whoever was handed what arrived in it ([`Lease`]). INV-1 rests on
//! that, and the pool asserts it at every change of place.

mod aligned;
mod block;
mod lease;
mod outgoing;
mod pages;
mod payload;
mod pool;

pub use aligned::AlignedBuf;
pub use block::{Block, BlockId};
pub use lease::Lease;
pub use outgoing::{Gather, Outgoing};
pub use payload::Payload;
pub use pool::{Pool, PoolConfig};

/// Bytes of a cache line. Memory that a kernel copies from or to starts on one wherever we allocate it: with
/// `rep movsb`, which Linux uses, unaligned copies run at half the speed on some processors (AMD Zen 3).
pub const CACHE_LINE: usize = 64;
