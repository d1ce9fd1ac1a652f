//! What a decoder sees of a stream: its unread bytes, wherever they are stored.

use std::ops::Deref;

use proactor::{AlignedBuf, Lease, Payload};

/// The unread bytes of a stream, from the first one on, as a slice. A [`Decoder`](super::Decoder) looks at them, and
/// removes those of its item with [`take`](Self::take) and [`skip`](Self::skip).
#[derive(Debug)]
pub struct Input<'a> {
    source: Source<'a>,
    searched: usize,
    consumed: usize,
    needed: usize,
}

#[derive(Debug)]
enum Source<'a> {
    /// The rest of a received block.
    Block(&'a mut Lease),
    /// Bytes of several blocks, from this place on.
    Assembled(&'a mut AlignedBuf, usize),
}

impl<'a> Input<'a> {
    pub(super) fn of_block(block: &'a mut Lease) -> Input<'a> {
        Input { source: Source::Block(block), searched: 0, consumed: 0, needed: 0 }
    }

    /// Of these bytes, as a decoder's own tests need it. [`take`](Self::take) of all that is left takes the buffer.
    pub fn new(bytes: &'a mut AlignedBuf) -> Input<'a> {
        Input::assembled(bytes, 0)
    }

    pub(super) fn assembled(bytes: &'a mut AlignedBuf, searched: usize) -> Input<'a> {
        Input { source: Source::Assembled(bytes, 0), searched, consumed: 0, needed: 0 }
    }

    /// Removes the first `len` bytes, and returns them: as a part of their block if they lie in one, else copied.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn take(&mut self, len: usize) -> Payload {
        self.count(len);
        match &mut self.source {
            Source::Block(block) => {
                let rest = block.split_off(len);
                Payload::Lease(std::mem::replace(*block, rest))
            }
            Source::Assembled(bytes, at) if *at + len == bytes.len() => {
                // The last bytes: the buffer itself is the item.
                let mut item = std::mem::take(*bytes);
                item.remove_front(std::mem::take(at));
                Payload::Aligned(item)
            }
            Source::Assembled(bytes, at) => {
                let item = AlignedBuf::from(&bytes[*at..*at + len]);
                *at += len;
                Payload::Aligned(item)
            }
        }
    }

    /// Removes the first `len` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn skip(&mut self, len: usize) {
        self.count(len);
        match &mut self.source {
            Source::Block(block) => block.advance(len),
            Source::Assembled(_, at) => *at += len,
        }
    }

    fn count(&mut self, len: usize) {
        assert!(len <= self.len(), "a decoder removes {len} bytes, but only {} are there", self.len());
        self.consumed += len;
        self.searched = 0;
    }

    /// How many of these bytes the decoder has seen already, in a call that removed none of them and returned `None`: a
    /// search for the end of an item may begin there.
    #[must_use]
    pub fn searched(&self) -> usize {
        self.searched
    }

    /// Says that the next item needs at least `len` bytes, counted from the first one that is unread now: the decoder is
    /// not called again before they are there. It may then say that more are needed. With this, a large item is assembled
    /// with one copy.
    pub fn need(&mut self, len: usize) {
        self.needed = len;
    }

    /// Bytes that were removed, and bytes that the next item needs.
    pub(super) fn outcome(&self) -> (usize, usize) {
        (self.consumed, self.needed)
    }
}

impl Deref for Input<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.source {
            Source::Block(block) => block,
            Source::Assembled(bytes, at) => &bytes[*at..],
        }
    }
}
