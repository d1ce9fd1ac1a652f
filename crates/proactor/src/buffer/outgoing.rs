//! The bytes of one send: one payload, or several that are sent together, in order.

use super::Payload;

/// The bytes of one send. From submit to completion the driver owns them (INV-1).
#[derive(Debug)]
pub enum Outgoing {
    /// One payload, the usual case.
    One(Payload),
    /// Several: one system call for all of them.
    Many(Box<Gather>),
}

/// Payloads of one send, in this order.
#[derive(Debug)]
pub struct Gather {
    parts: Vec<Payload>,
    len: usize,
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    message: message::Message,
}

impl Gather {
    /// The most parts per call: kernels keep lists of this length on their stack, and so do we.
    pub const MOST: usize = 16;

    /// # Panics
    /// If there are more parts than [`MOST`](Self::MOST).
    #[must_use]
    pub fn new(parts: Vec<Payload>) -> Gather {
        assert!(parts.len() <= Gather::MOST, "{} parts are more than one call takes", parts.len());
        Gather {
            len: parts.iter().map(Payload::len).sum(),
            parts,
            #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
            message: message::Message::new(),
        }
    }

    /// The payloads.
    #[must_use]
    pub fn parts(&self) -> &[Payload] {
        &self.parts
    }

    /// The same parts, each changed.
    #[must_use]
    pub fn map(self, change: impl FnMut(Payload) -> Payload) -> Gather {
        Gather::new(self.parts.into_iter().map(change).collect())
    }

    /// The bytes from `from` on, piece by piece, at most `most` of them.
    fn pieces(&self, from: usize, most: usize) -> impl Iterator<Item = &[u8]> {
        let (mut skip, mut left) = (from, most);
        self.parts.iter().filter_map(move |part| {
            let bytes = part.as_slice();
            let start = skip.min(bytes.len());
            skip -= start;
            let piece = &bytes[start..];
            let piece = &piece[..piece.len().min(left)];
            left -= piece.len();
            (!piece.is_empty()).then_some(piece)
        })
    }
}

impl Outgoing {
    /// How many bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Outgoing::One(payload) => payload.len(),
            Outgoing::Many(gather) => gather.len,
        }
    }

    /// Whether there is nothing to send.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether each of its payloads [is](Payload::is_well_placed).
    pub(crate) fn is_well_placed(&self) -> bool {
        match self {
            Outgoing::One(payload) => payload.is_well_placed(),
            Outgoing::Many(gather) => gather.parts.iter().all(Payload::is_well_placed),
        }
    }

    /// Puts the bytes from `from` on into `into`, piece by piece and at most `most` of them; returns how many pieces.
    #[inline]
    pub fn pieces<'a>(&'a self, from: usize, most: usize, into: &mut [&'a [u8]; Gather::MOST]) -> usize {
        match self {
            Outgoing::One(payload) => {
                let rest = &payload.as_slice()[from..];
                into[0] = &rest[..rest.len().min(most)];
                1
            }
            Outgoing::Many(gather) => {
                let pieces = gather.pieces(from, most);
                into.iter_mut().zip(pieces).map(|(place, piece)| *place = piece).count()
            }
        }
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod message {
    use std::fmt;
    use std::ptr::null_mut;

    use super::Gather;

    /// The list of pieces for `sendmsg(2)`, at an address that is valid as long as the gather's.
    pub(super) struct Message {
        pieces: [libc::iovec; Gather::MOST],
        header: libc::msghdr,
    }

    impl Message {
        pub(super) fn new() -> Message {
            // SAFETY: a header of zeros is one without address, pieces and control data.
            let header = unsafe { std::mem::zeroed() };
            Message { pieces: [libc::iovec { iov_base: null_mut(), iov_len: 0 }; Gather::MOST], header }
        }
    }

    impl fmt::Debug for Message {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} pieces", self.header.msg_iovlen)
        }
    }

    impl Gather {
        /// The message of the bytes from `from` on, at most `most` of them. Valid until the next call, while this
        /// gather lives and stays in its box.
        pub(crate) fn message(self: &mut Box<Gather>, from: usize, most: usize) -> *const libc::msghdr {
            let mut pieces = [libc::iovec { iov_base: null_mut(), iov_len: 0 }; Gather::MOST];
            let mut count = 0;
            for (place, piece) in pieces.iter_mut().zip(self.pieces(from, most)) {
                *place = libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
                count += 1;
            }
            self.message.pieces = pieces;
            self.message.header.msg_iov = self.message.pieces.as_mut_ptr();
            self.message.header.msg_iovlen = count;
            &raw const self.message.header
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_begin_anywhere_and_end_where_they_should() {
        let parts = ["ab", "", "cde", "f"].map(Payload::from);
        let gathered = Outgoing::Many(Box::new(Gather::new(parts.into())));
        let single = Outgoing::One("abcdef".into());
        for outgoing in [gathered, single] {
            assert_eq!((outgoing.len(), outgoing.is_empty()), (6, false));
            for from in 0..6 {
                for most in 1..8 {
                    let mut pieces = [&[][..]; Gather::MOST];
                    let count = outgoing.pieces(from, most, &mut pieces);
                    assert!(pieces[..count].iter().all(|piece| !piece.is_empty()));
                    assert_eq!(pieces[..count].concat(), &b"abcdef"[from..6.min(from + most)]);
                }
            }
        }
    }

    #[test]
    fn it_is_no_larger_than_what_it_nearly_always_is() {
        assert_eq!(size_of::<Outgoing>(), size_of::<Payload>());
        assert!(size_of::<Payload>() <= 5 * size_of::<usize>());
    }
}
