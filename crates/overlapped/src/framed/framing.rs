//! How to find the end of a frame.

use thiserror::Error;

/// Why the received bytes are not a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It is longer than the framing allows.
    #[error("a frame of {len} bytes or more is over the limit of {most}")]
    TooLong {
        /// How long it is at least.
        len: u64,
        /// The limit.
        most: usize,
    },
    /// The framing returned an impossible frame: one that takes no bytes, ends beyond the bytes it got, or ends within bytes
    /// that it had called incomplete. A mistake in its [`find`](Framing::find), not the peer's.
    #[error("the framing named an impossible frame: content {start}..{}, next frame at {end}, in {bytes} bytes", start + len)]
    Impossible {
        /// Where the content begins, as returned.
        start: usize,
        /// Bytes of content, as returned.
        len: usize,
        /// Where the next frame begins, as returned.
        end: usize,
        /// How many bytes were searched.
        bytes: usize,
    },
}

/// A frame, by its place in the bytes that were searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where its content begins.
    pub start: usize,
    /// Bytes of its content.
    pub len: usize,
    /// Where the next frame begins.
    pub end: usize,
}

impl Found {
    /// The frame, if it is possible: in `bytes` bytes, of which the first `searched` held none.
    pub(super) fn checked(self, bytes: usize, searched: usize) -> Result<Found, FrameError> {
        let Found { start, len, end } = self;
        let possible = start.checked_add(len).is_some_and(|behind| behind <= end) && end <= bytes;
        if possible && end > searched {
            return Ok(self);
        }
        Err(FrameError::Impossible { start, len, end, bytes })
    }
}

/// Finds the end of the first frame in a piece of a stream.
pub trait Framing: 'static {
    /// Looks for the first frame in `bytes`. The frame starts at the first byte. An earlier call has found that the
    /// first `searched` bytes contain no complete frame. Returns `None` if the frame is not complete yet. A frame has
    /// at least one byte ([`Found::end`] is not 0) and lies within `bytes`; any other result ends the session with
    /// [`FrameError::Impossible`].
    ///
    /// # Errors
    /// [`FrameError`] as soon as it is clear that `bytes` cannot become a valid frame. Only this bounds how many bytes
    /// of an unfinished frame are kept.
    fn find(&self, bytes: &[u8], searched: usize) -> Result<Option<Found>, FrameError>;
}

/// Frames with their length before them, in network byte order (RFC 1700) by default.
#[derive(Clone, Copy, Debug)]
pub struct LengthPrefixed {
    width: usize,
    little_endian: bool,
    most: usize,
}

impl LengthPrefixed {
    /// A prefix of `width` bytes; frames of up to `most` bytes, the prefix not counted.
    ///
    /// # Panics
    /// If `width` is not 1, 2, 4 or 8.
    #[must_use]
    pub fn of_width(width: usize, most: usize) -> LengthPrefixed {
        assert!([1, 2, 4, 8].contains(&width), "a length prefix has 1, 2, 4 or 8 bytes, not {width}");
        LengthPrefixed { width, little_endian: false, most }
    }

    /// With the lowest byte of the prefix first.
    #[must_use]
    pub fn little_endian(self) -> LengthPrefixed {
        LengthPrefixed { little_endian: true, ..self }
    }

    /// `content` as a frame.
    ///
    /// # Errors
    /// If it is longer than a frame may be, or than the prefix can express.
    pub fn encode(&self, content: &[u8]) -> Result<Vec<u8>, FrameError> {
        let len = content.len() as u64;
        let sayable = self.width == 8 || len < 1 << (8 * self.width);
        if content.len() > self.most || !sayable {
            return Err(FrameError::TooLong { len, most: self.most });
        }
        let prefix = if self.little_endian { len.to_le_bytes() } else { len.to_be_bytes() };
        let prefix = if self.little_endian { &prefix[..self.width] } else { &prefix[8 - self.width..] };
        Ok([prefix, content].concat())
    }
}

impl Framing for LengthPrefixed {
    fn find(&self, bytes: &[u8], _searched: usize) -> Result<Option<Found>, FrameError> {
        let Some(prefix) = bytes.get(..self.width) else { return Ok(None) };
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        let len =
            if self.little_endian { prefix.iter().rev().fold(0, add) } else { prefix.iter().fold(0, add) };
        if len > self.most as u64 {
            return Err(FrameError::TooLong { len, most: self.most });
        }
        let (start, len) = (self.width, len as usize);
        Ok((bytes.len() - start >= len).then_some(Found { start, len, end: start + len }))
    }
}

/// Frames that end with a delimiter, which is not part of them.
#[derive(Clone, Debug)]
pub struct Delimiter {
    delimiter: Box<[u8]>,
    most: usize,
}

impl Delimiter {
    /// Frames of up to `most` bytes, the delimiter not counted.
    ///
    /// # Panics
    /// If the delimiter is empty.
    #[must_use]
    pub fn new(delimiter: impl Into<Box<[u8]>>, most: usize) -> Delimiter {
        let delimiter = delimiter.into();
        assert!(!delimiter.is_empty(), "a delimiter has at least one byte");
        Delimiter { delimiter, most }
    }
}

impl Framing for Delimiter {
    fn find(&self, bytes: &[u8], searched: usize) -> Result<Option<Found>, FrameError> {
        let width = self.delimiter.len();
        // The delimiter may have begun within what was searched.
        let from = searched.saturating_sub(width - 1);
        let at = bytes[from..].windows(width).position(|window| *window == *self.delimiter);
        let len = at.map_or(bytes.len(), |at| from + at);
        // Unfinished, the last bytes may be the beginning of a delimiter.
        let certain = if at.is_some() { len } else { (len + 1).saturating_sub(width) };
        if certain > self.most {
            return Err(FrameError::TooLong { len: certain as u64, most: self.most });
        }
        Ok(at.map(|_| Found { start: 0, len, end: len + width }))
    }
}

/// Lines: they end with LF or CRLF, which is not part of them.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    most: usize,
}

impl Lines {
    /// Lines of up to `most` bytes, their end not counted.
    #[must_use]
    pub const fn up_to(most: usize) -> Lines {
        Lines { most }
    }
}

impl Framing for Lines {
    fn find(&self, bytes: &[u8], searched: usize) -> Result<Option<Found>, FrameError> {
        let from = searched.min(bytes.len());
        let at = bytes[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at);
        let line = &bytes[..at.unwrap_or(bytes.len())];
        let len = line.len() - usize::from(line.ends_with(b"\r"));
        if len > self.most {
            return Err(FrameError::TooLong { len: len as u64, most: self.most });
        }
        Ok(at.map(|at| Found { start: 0, len, end: at + 1 }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Cuts a stream as the adapter does, piece by piece.
    fn frames(framing: &impl Framing, pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, FrameError> {
        let (mut pending, mut searched, mut frames) = (Vec::new(), 0, Vec::new());
        for piece in pieces {
            pending.extend_from_slice(piece);
            while let Some(found) = framing.find(&pending, searched)? {
                frames.push(pending[found.start..found.start + found.len].to_vec());
                pending.drain(..found.end);
                searched = 0;
            }
            searched = pending.len();
        }
        Ok(frames)
    }

    #[test]
    fn lines_end_with_lf_or_crlf_wherever_they_are_cut() {
        let wanted = [&b"a"[..], b"", b"b\rc"];
        for at in 0..9 {
            let (one, two) = b"a\r\n\nb\rc\n".split_at(at.min(8));
            assert_eq!(frames(&Lines::up_to(3), &[one, two]).unwrap(), wanted);
        }
        assert!(frames(&Lines::up_to(3), &[b"abc\r\n", b"abcd"]).is_err());
    }

    #[test]
    fn a_delimiter_may_be_cut_in_two() {
        let delimiter = Delimiter::new(*b"--", 4);
        assert_eq!(frames(&delimiter, &[b"a-", b"-b", b"-c-", b"-"]).unwrap(), [&b"a"[..], b"b-c"]);
        assert!(frames(&delimiter, &[b"abcd-"]).unwrap().is_empty());
        assert!(frames(&delimiter, &[b"abcde-"]).is_err());
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
        let framing = LengthPrefixed::of_width(4, 1000);
        let error = frames(&framing, &[&[0xFF; 4]]).unwrap_err();
        assert_eq!(error.to_string(), "a frame of 4294967295 bytes or more is over the limit of 1000");
        assert!(LengthPrefixed::of_width(1, 1000).encode(&[0; 256]).is_err());
        assert!(frames(&LengthPrefixed::of_width(8, 9), &[&[0xFF; 8]]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_found_however_it_is_cut(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..10),
            width in prop::sample::select(vec![1usize, 2, 4, 8]),
            little in any::<bool>(),
            cut in 1..50usize,
        ) {
            let framing = LengthPrefixed::of_width(width, 255);
            let framing = if little { framing.little_endian() } else { framing };
            let stream: Vec<u8> =
                contents.iter().flat_map(|content| framing.encode(content).unwrap()).collect();
            let pieces: Vec<&[u8]> = stream.chunks(cut).collect();
            prop_assert_eq!(frames(&framing, &pieces).unwrap(), contents);
        }
    }
}
