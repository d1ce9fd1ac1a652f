//! Bytes to send, in whichever form the sender has them.

use bytes::Bytes;

use super::{AlignedBuf, CACHE_LINE, Lease};

/// Bytes to send. From submit to completion the driver owns them; in each form they stay at the same address when the
/// payload is moved.
///
/// Kernels copy bytes fastest if the memory starts on a cache line: up to twice as fast on some processors, for pieces
/// of a few KiB or more. A received block that is forwarded completely starts on a cache line, and so does an
/// [`AlignedBuf`]. The GNU C library places a `Vec` of 128 KiB or more 16 bytes after the start of a page.
#[derive(Debug)]
pub enum Payload {
    /// A received block, forwarded as it is.
    Lease(Lease),
    /// Bytes shared with other holders, as in a broadcast.
    Shared(Bytes),
    /// Bytes gathered for this send.
    Owned(Vec<u8>),
    /// The same, starting on a cache line.
    Aligned(AlignedBuf),
}

impl Payload {
    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Lease(lease) => lease,
            Payload::Shared(bytes) => bytes,
            Payload::Owned(bytes) => bytes,
            Payload::Aligned(bytes) => bytes,
        }
    }

    /// How many bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Payload::Lease(lease) => lease.len(),
            Payload::Shared(bytes) => bytes.len(),
            Payload::Owned(bytes) => bytes.len(),
            Payload::Aligned(bytes) => bytes.len(),
        }
    }

    /// Whether there is nothing to send.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes that this payload counts against a memory limit. A lease counts as its whole block, even if
    /// it shows only a few bytes. Other payloads count as their length; for a vector, at least half of its capacity
    /// counts.
    #[inline]
    #[must_use]
    pub fn charge(&self) -> usize {
        match self {
            Payload::Lease(lease) => lease.pinned(),
            Payload::Shared(bytes) => bytes.len(),
            Payload::Owned(bytes) => bytes.len().max(bytes.capacity() / 2),
            Payload::Aligned(bytes) => bytes.len().max(bytes.allocated() / 2),
        }
    }

    /// Whether memory that we allocated for it starts on a cache line, of the block for a lease. Memory that users
    /// allocated may start anywhere.
    pub(crate) fn is_well_placed(&self) -> bool {
        let start = match self {
            Payload::Lease(lease) => lease.block_start(),
            Payload::Aligned(bytes) => bytes.as_ptr(),
            Payload::Shared(_) | Payload::Owned(_) => return true,
        };
        start.addr().is_multiple_of(CACHE_LINE)
    }
}

impl From<Lease> for Payload {
    fn from(lease: Lease) -> Payload {
        Payload::Lease(lease)
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Payload {
        Payload::Shared(bytes)
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Payload {
        Payload::Owned(text.into_bytes())
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        Payload::Owned(bytes)
    }
}

impl From<AlignedBuf> for Payload {
    fn from(bytes: AlignedBuf) -> Payload {
        Payload::Aligned(bytes)
    }
}

impl From<&'static str> for Payload {
    fn from(text: &'static str) -> Payload {
        Payload::Shared(Bytes::from_static(text.as_bytes()))
    }
}
