//! Bytes that start on a cache line.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

use super::CACHE_LINE;

/// A growable buffer whose first byte lies on a cache line: kernels copy from and to it fastest.
///
/// A `Vec<u8>` starts wherever the allocator puts it, and a large one, which the C library maps itself, 16 bytes
/// behind a page. This one allocates up to 63 bytes more, and skips some of them at the front.
#[derive(Default)]
pub struct AlignedBuf {
    /// `start` bytes of padding, then the contents. Never grows in place beyond its capacity: that could move it to
    /// another alignment.
    bytes: Vec<u8>,
    start: u8,
}

impl AlignedBuf {
    /// An empty buffer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> AlignedBuf {
        let mut bytes: Vec<u8> = Vec::with_capacity(capacity + (CACHE_LINE - 1));
        let start = to_line(bytes.as_ptr());
        bytes.resize(start, 0);
        AlignedBuf { bytes, start: start as u8 }
    }

    /// A buffer of `len` zeros, to read into. A large one becomes resident only as it is written.
    #[must_use]
    pub fn zeroed(len: usize) -> AlignedBuf {
        let mut bytes = vec![0; len + (CACHE_LINE - 1)];
        let start = to_line(bytes.as_ptr());
        bytes.truncate(start + len);
        AlignedBuf { bytes, start: start as u8 }
    }

    /// Appends `more`. Moves the contents to a larger allocation if there is no room for it.
    #[inline]
    pub fn extend_from_slice(&mut self, more: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < more.len() {
            self.grow(more.len());
        }
        self.bytes.extend_from_slice(more);
    }

    /// Keeps the first `len` bytes; more than there are changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(usize::from(self.start).saturating_add(len));
    }

    /// Removes the first `count` bytes. The others move to the front, so that they start on a cache line too.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn remove_front(&mut self, count: usize) {
        let start = usize::from(self.start);
        self.bytes.drain(start..start + count);
    }

    /// Moves the contents to an allocation with room for `more` bytes, at least twice as large.
    #[cold]
    fn grow(&mut self, more: usize) {
        let capacity = (self.len() + more).max(2 * self.len());
        let mut larger = AlignedBuf::with_capacity(capacity);
        larger.bytes.extend_from_slice(self);
        *self = larger;
    }

    /// Bytes of memory that it holds, padding included.
    #[inline]
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes in it.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the slice's own does")]
    pub fn len(&self) -> usize {
        self.bytes.len() - usize::from(self.start)
    }
}

/// Bytes from `address` to the next start of a cache line.
fn to_line(address: *const u8) -> usize {
    address.addr().wrapping_neg() % CACHE_LINE
}

impl From<&[u8]> for AlignedBuf {
    /// A copy.
    fn from(bytes: &[u8]) -> AlignedBuf {
        let mut copy = AlignedBuf::with_capacity(bytes.len());
        copy.bytes.extend_from_slice(bytes);
        copy
    }
}

impl Clone for AlignedBuf {
    fn clone(&self) -> AlignedBuf {
        AlignedBuf::from(&**self)
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

impl DerefMut for AlignedBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[usize::from(self.start)..]
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// By their bytes.
impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for AlignedBuf {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for AlignedBuf {}

/// As the slice of its bytes.
impl Hash for AlignedBuf {
    fn hash<S: Hasher>(&self, state: &mut S) {
        (**self).hash(state);
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_aligned(buffer: &AlignedBuf) -> bool {
        buffer.as_ptr().addr().is_multiple_of(CACHE_LINE)
    }

    /// Sizes around what allocators treat differently: small classes, and pieces that they map (128 KiB and more).
    const SIZES: [usize; 12] =
        [0, 1, 15, 16, 63, 64, 65, 1000, 16 * 1024, 64 * 1024, 128 * 1024, (1 << 20) + 1];

    #[test]
    fn it_starts_on_a_cache_line_however_it_was_made() {
        // Kept, so that no two take the same place.
        let mut kept = Vec::new();
        for len in SIZES {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let copy = AlignedBuf::from(&bytes[..]);
            assert_eq!(&copy[..], &bytes[..]);
            assert!(copy.allocated() < len + 2 * CACHE_LINE, "{len}: {}", copy.allocated());
            let mut zeroed = AlignedBuf::zeroed(len);
            assert!(zeroed.len() == len && zeroed.iter().all(|byte| *byte == 0));
            zeroed.copy_from_slice(&bytes);
            assert_eq!(&zeroed.clone()[..], &bytes[..]);
            kept.extend([copy.clone(), copy, zeroed.clone(), zeroed, AlignedBuf::with_capacity(len)]);
        }
        assert!(kept.iter().all(is_aligned));
    }

    #[test]
    fn it_takes_what_it_has_room_for_without_moving() {
        let mut buffer = AlignedBuf::with_capacity(1000);
        let start = buffer.as_ptr();
        (0..10).for_each(|_| buffer.extend_from_slice(&[7; 100]));
        assert_eq!((buffer.as_ptr(), buffer.len()), (start, 1000));
    }

    #[test]
    fn it_loses_what_is_removed() {
        let mut buffer = AlignedBuf::from(&b"0123456789"[..]);
        buffer.truncate(20);
        buffer.truncate(7);
        buffer.remove_front(0);
        buffer.remove_front(3);
        assert_eq!(&buffer[..], b"3456");
        assert!(is_aligned(&buffer));
        buffer.remove_front(4);
        assert!(buffer.is_empty());
    }

    proptest! {
        #[test]
        fn it_grows_like_a_vector_and_stays_on_its_line(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 1..40),
        ) {
            let (mut buffer, mut wanted) = (AlignedBuf::default(), Vec::new());
            for piece in pieces {
                buffer.extend_from_slice(&piece);
                wanted.extend(piece);
                prop_assert!(is_aligned(&buffer) || wanted.is_empty());
                prop_assert_eq!(&buffer[..], &wanted[..]);
                prop_assert!(buffer.allocated() <= 2 * wanted.len() + 5000 + CACHE_LINE);
            }
        }
    }
}
