//! The framings that most protocols use.

use proactor::Payload;
use thiserror::Error;

use super::{Decoder, Encoder, Input};

/// Why bytes are not a valid frame, or content cannot be sent as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It is longer than a frame may be.
    #[error("a frame of {len} bytes or more is over the limit of {most}")]
    TooLong {
        /// How long it is at least.
        len: u64,
        /// The limit.
        most: usize,
    },
    /// Content to be sent contains the delimiter, at this place: the receiver would see two frames.
    #[error("the content contains its delimiter, at byte {at}")]
    HasDelimiter {
        /// The delimiter's first byte.
        at: usize,
    },
}

/// Frames with their length before them, in network byte order (RFC 1700) by default. The items are the contents, without
/// the prefix.
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
}

impl Decoder for LengthPrefixed {
    type Item = Payload;
    type Error = FrameError;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Payload>, FrameError> {
        let Some(prefix) = input.get(..self.width) else { return Ok(None) };
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        let len =
            if self.little_endian { prefix.iter().rev().fold(0, add) } else { prefix.iter().fold(0, add) };
        if len > self.most as u64 {
            return Err(FrameError::TooLong { len, most: self.most });
        }
        let len = len as usize;
        if input.len() - self.width < len {
            input.need(self.width.saturating_add(len));
            return Ok(None);
        }
        input.skip(self.width);
        Ok(Some(input.take(len)))
    }
}

impl Encoder<&[u8]> for LengthPrefixed {
    type Error = FrameError;

    fn encode(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        let len = content.len() as u64;
        let fits = self.width == 8 || len < 1 << (8 * self.width);
        if content.len() > self.most || !fits {
            return Err(FrameError::TooLong { len, most: self.most });
        }
        let prefix = if self.little_endian { len.to_le_bytes() } else { len.to_be_bytes() };
        let prefix = if self.little_endian { &prefix[..self.width] } else { &prefix[8 - self.width..] };
        out.extend_from_slice(prefix);
        out.extend_from_slice(content);
        Ok(())
    }
}

/// Frames that end with a delimiter. The items are the contents, without the delimiter.
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

    /// Where the delimiter is, from byte `from` on.
    fn position(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut windows = bytes[from..].windows(self.delimiter.len());
        Some(from + windows.position(|window| *window == *self.delimiter)?)
    }
}

impl Decoder for Delimiter {
    type Item = Payload;
    type Error = FrameError;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Payload>, FrameError> {
        let width = self.delimiter.len();
        // The delimiter may have begun within what was searched.
        let at = self.position(input, input.searched().saturating_sub(width - 1));
        // Unfinished, the last bytes may be the beginning of a delimiter.
        let certain = at.unwrap_or_else(|| (input.len() + 1).saturating_sub(width));
        if certain > self.most {
            return Err(FrameError::TooLong { len: certain as u64, most: self.most });
        }
        Ok(at.map(|len| {
            let frame = input.take(len);
            input.skip(width);
            frame
        }))
    }
}

impl Encoder<&[u8]> for Delimiter {
    type Error = FrameError;

    fn encode(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        if content.len() > self.most {
            return Err(FrameError::TooLong { len: content.len() as u64, most: self.most });
        }
        let begin = out.len();
        out.extend_from_slice(content);
        out.extend_from_slice(&self.delimiter);
        // Looked for in the frame, not in the content: content may end with the beginning of a delimiter.
        match self.position(&out[begin..], 0) {
            Some(at) if at < content.len() => Err(FrameError::HasDelimiter { at }),
            _ => Ok(()),
        }
    }
}

/// Lines: they end with LF or CRLF. The items are the lines, without their ends. Lines are sent with LF.
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

impl Decoder for Lines {
    type Item = Payload;
    type Error = FrameError;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Payload>, FrameError> {
        let from = input.searched();
        let at = input[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at);
        let line = &input[..at.unwrap_or(input.len())];
        let len = line.len() - usize::from(line.ends_with(b"\r"));
        if len > self.most {
            return Err(FrameError::TooLong { len: len as u64, most: self.most });
        }
        Ok(at.map(|at| {
            let line = input.take(len);
            input.skip(at + 1 - len);
            line
        }))
    }
}

impl Encoder<&[u8]> for Lines {
    type Error = FrameError;

    fn encode(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        if line.len() > self.most {
            return Err(FrameError::TooLong { len: line.len() as u64, most: self.most });
        }
        if let Some(at) = line.iter().position(|byte| *byte == b'\n') {
            return Err(FrameError::HasDelimiter { at });
        }
        out.extend_from_slice(line);
        out.push(b'\n');
        Ok(())
    }
}

impl Encoder<&str> for Lines {
    type Error = FrameError;

    fn encode(&mut self, line: &str, out: &mut Vec<u8>) -> Result<(), FrameError> {
        self.encode(line.as_bytes(), out)
    }
}

#[cfg(test)]
mod tests;
