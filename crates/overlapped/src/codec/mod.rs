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
