//! Items out of a stream, and a stream out of items.
//!
//! The engine knows only bytes. [`Framed`] is a value that a handler keeps in the state of a session: received blocks go
//! in, items come out. It owns the bytes of an unfinished item, and calls a [`Decoder`], which knows the protocol.
//!
//! Bytes that lie in one received block are not copied. An item that spans several blocks is assembled in a buffer. While
//! a session is paused, or too many bytes are unsent in it, its items wait in their block.

mod builtin;
mod framed;
mod input;

pub use builtin::{Delimiter, FrameError, LengthPrefixed, Lines};
pub use framed::Framed;
pub use input::Input;

/// Finds the items of a stream. It is a value of one session: its fields are the state of the parser, and
/// [`Framed::decoder_mut`] changes them, for instance to switch the protocol in the middle of a stream.
///
/// An item owns its bytes; [`Input::take`] gives it a part of the received block without a copy. For an item of several
/// parts that must not allocate, take its bytes as one [`Payload`](crate::Payload) and keep the places of the parts in a
/// field that is used again: they are valid until the next item.
///
/// ```
/// use std::ops::Range;
///
/// use overlapped::Payload;
/// use overlapped::codec::{Decoder, Input};
///
/// /// Words on a line. `words` has the places of the words of the last line.
/// #[derive(Default)]
/// struct Words {
///     words: Vec<Range<usize>>,
/// }
///
/// #[derive(Debug)]
/// struct TooLong;
///
/// impl Decoder for Words {
///     type Item = Payload;
///     type Error = TooLong;
///
///     fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Payload>, TooLong> {
///         let searched = input.searched();
///         let Some(end) = input[searched..].iter().position(|byte| *byte == b'\n') else {
///             return if input.len() > 1000 { Err(TooLong) } else { Ok(None) };
///         };
///         let line = input.take(searched + end);
///         input.skip(1);
///         self.words.clear();
///         let mut at = 0;
///         for word in line.as_slice().split(|byte| *byte == b' ') {
///             self.words.push(at..at + word.len());
///             at += word.len() + 1;
///         }
///         Ok(Some(line))
///     }
/// }
/// ```
///
/// Memory for unfinished items is at most what the decoder allows, for each session: there is no limit for the server as a
/// whole. [`Framed::timeout`] ends sessions that do not finish theirs. One answer may not be larger than the session's
/// [hard limit](crate::Server::hard_limit), less what is unsent: raise it for large items.
pub trait Decoder {
    /// What the stream consists of, for instance a frame, a command or a request.
    type Item;
    /// Why bytes are not valid. The decoder is not called again after an error.
    type Error;

    /// Removes the first item from `input` and returns it. `None`: the item is not complete; the call is repeated when
    /// more bytes have arrived. A decoder may also remove bytes and return `None`, for instance a header that it keeps
    /// in a field.
    ///
    /// # Errors
    /// As soon as it is clear that the bytes are not valid, for instance too long. Only this bounds the number of bytes
    /// that are kept for an unfinished item.
    ///
    /// # Panics
    /// [`Framed`] panics if an item is returned and no byte was removed: the session would return that item for ever.
    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Self::Item>, Self::Error>;
}

/// Appends items to a stream.
pub trait Encoder<T> {
    /// Why an item cannot be sent.
    type Error;

    /// Appends the bytes of `item` to `out`.
    ///
    /// # Errors
    /// If the item cannot be expressed. What was appended to `out` is then not sent.
    fn encode(&mut self, item: T, out: &mut Vec<u8>) -> Result<(), Self::Error>;
}
