//! Bytes to send, in whichever form the sender has them.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::{AlignedBuf, CACHE_LINE, Lease};

/// Bytes to send. From submit to completion the driver owns them; in each form they stay at the same address when the
/// payload is moved.
///
/// It is made of:
///
/// | from | copied? |
/// | --- | --- |
/// | [`Lease`] | no: the received block itself is sent |
/// | [`Bytes`], [`BytesMut`] | no |
/// | `Vec<u8>`, `Box<[u8]>`, `String`, [`AlignedBuf`] | no |
/// | `&'static [u8]`, `&'static [u8; N]` (`b"..."`), `&'static str` | no |
/// | `[u8; N]` | yes, once: the array would move with the payload |
///
/// Kernels copy bytes fastest if the memory starts on a cache line: up to twice as fast on some processors, for pieces
/// of a few KiB or more. A received block that is forwarded completely starts on a cache line, and so does an
/// [`AlignedBuf`]. The GNU C library places a `Vec` of 128 KiB or more 16 bytes after the start of a page.
#[non_exhaustive]
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

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// By their bytes, in whichever form they are.
impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Payload {
    fn eq(&self, other: &T) -> bool {
        self.as_slice() == other.as_ref()
    }
}

impl Eq for Payload {}

/// Everything but the bytes, which may be many.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Lease(lease) => lease.fmt(f),
            Payload::Shared(bytes) => write!(f, "Shared({} bytes)", bytes.len()),
            Payload::Owned(bytes) => write!(f, "Owned({} bytes)", bytes.len()),
            Payload::Aligned(bytes) => bytes.fmt(f),
        }
    }
}

macro_rules! from {
    ($($(#[$generic:ident])? $given:ty => |$value:ident| $made:expr;)*) => {
        $(impl$(<const $generic: usize>)? From<$given> for Payload {
            fn from($value: $given) -> Payload {
                $made
            }
        })*
    };
}

from! {
    Lease => |lease| Payload::Lease(lease);
    Bytes => |bytes| Payload::Shared(bytes);
    BytesMut => |bytes| Payload::Shared(bytes.freeze());
    String => |text| Payload::Owned(text.into_bytes());
    Vec<u8> => |bytes| Payload::Owned(bytes);
    Box<[u8]> => |bytes| Payload::Owned(bytes.into_vec());
    AlignedBuf => |bytes| Payload::Aligned(bytes);
    &'static str => |text| Payload::Shared(Bytes::from_static(text.as_bytes()));
    &'static [u8] => |bytes| Payload::Shared(Bytes::from_static(bytes));
    #[N] &'static [u8; N] => |bytes| Payload::Shared(Bytes::from_static(bytes));
    #[N] [u8; N] => |bytes| Payload::Aligned(AlignedBuf::from(&bytes[..]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pool, PoolConfig};

    /// Where the bytes of a payload are: what is not copied stays where it was.
    fn moved(payload: impl Into<Payload>, from: *const u8, bytes: &[u8]) -> bool {
        let payload = payload.into();
        assert_eq!(payload, bytes);
        assert_eq!((payload.len(), payload.is_empty()), (bytes.len(), bytes.is_empty()));
        assert!(payload.charge() >= bytes.len());
        payload.as_slice().as_ptr() != from
    }

    #[test]
    fn only_an_array_is_copied() {
        static PLACE: [u8; 5] = *b"hello";
        let hello = &PLACE[..];
        assert!(!moved(hello, hello.as_ptr(), hello));
        let array: &'static [u8; 5] = &PLACE;
        assert!(!moved(array, hello.as_ptr(), hello));
        let text = "hello";
        assert!(!moved(text, text.as_ptr(), hello));
        let text = text.to_owned();
        let place = text.as_ptr();
        assert!(!moved(text, place, hello));
        let mut vec = Vec::with_capacity(100);
        vec.extend_from_slice(hello);
        let place = vec.as_ptr();
        assert!(!moved(vec, place, hello));
        let boxed: Box<[u8]> = hello.into();
        let place = boxed.as_ptr();
        assert!(!moved(boxed, place, hello));
        let bytes = Bytes::copy_from_slice(hello);
        let place = bytes.as_ptr();
        assert!(!moved(bytes, place, hello));
        let bytes = BytesMut::from(hello);
        let place = bytes.as_ptr();
        assert!(!moved(bytes, place, hello));
        let aligned = AlignedBuf::from(hello);
        let place = aligned.as_ptr();
        assert!(!moved(aligned, place, hello));
        let pool = Pool::new(PoolConfig { blocks: 1, block_len: 16 });
        let mut block = pool.take().unwrap();
        block.bytes_mut()[..5].copy_from_slice(hello);
        let lease = block.into_lease(5);
        let place = lease.as_ptr();
        assert_eq!(lease, b"hello");
        assert!(!moved(lease, place, hello));
        assert_eq!(pool.in_use(), 0);

        let array = *b"hello";
        assert!(moved(array, array.as_ptr(), hello));
        assert!(Payload::from(array).is_well_placed());
        for empty in [Payload::from([]), Payload::from(b""), Payload::from(Box::<[u8]>::default())] {
            assert!(empty.is_empty(), "{empty:?}");
        }
    }

    #[test]
    fn debug_prints_the_form_and_the_length_and_not_the_bytes() {
        assert_eq!(format!("{:?}", Payload::from(vec![0; 100_000])), "Owned(100000 bytes)");
        assert_eq!(format!("{:?}", Payload::from("secret")), "Shared(6 bytes)");
        assert_eq!(format!("{:?}", Payload::from([1, 2])), "AlignedBuf(2 bytes)");
    }
}
