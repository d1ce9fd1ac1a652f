//! Bytes that a peer has received, easy to compare and to read in a failed assertion.

use std::fmt;
use std::ops::Deref;

/// What a [`Peer`](super::Peer) has received. Compares with text and bytes, and prints as text with escapes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Received(Vec<u8>);

impl Received {
    pub(super) fn new(bytes: Vec<u8>) -> Received {
        Received(bytes)
    }

    /// As text.
    ///
    /// # Panics
    /// If it is not UTF-8.
    #[must_use]
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_else(|error| panic!("{self:?} is not UTF-8: {error}"))
    }

    /// The bytes themselves.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

macro_rules! compares_with {
    ($($other:ty),*) => {$(
        impl PartialEq<$other> for Received {
            fn eq(&self, other: &$other) -> bool {
                let other: &[u8] = other.as_ref();
                self.0 == other
            }
        }
    )*};
}

compares_with!([u8], &[u8], Vec<u8>, str, &str, String);

impl<const N: usize> PartialEq<[u8; N]> for Received {
    fn eq(&self, other: &[u8; N]) -> bool {
        self.0 == other
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Received {
    fn eq(&self, other: &&[u8; N]) -> bool {
        self.0 == *other
    }
}
