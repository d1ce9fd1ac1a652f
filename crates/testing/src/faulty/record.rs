//! What the server has done.

use std::collections::VecDeque;

use super::Fault;

/// What the server has done, and what its clients must have noticed.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Connections.
    pub accepted: u64,
    /// The faults, in the order in which they happened.
    pub done: Vec<Done>,
    /// For each connection whose echo was wrong, its first wrong byte.
    pub differences: Vec<Difference>,
    /// For each connection whose client has ended its stream and did not get all of it back, the first byte that is
    /// missing.
    pub unfinished: Vec<Difference>,
    /// Connections that were reset or ended, each at most once.
    pub broken: u64,
    /// Pauses of single connections that are over.
    pub resumed: u64,
}

/// One fault that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The connection's number, in the order in which they were accepted.
    pub connection: u64,
    /// Of the byte in the connection's stream, as the client sent it.
    pub offset: u64,
    /// Which.
    pub fault: Fault,
}

/// The first byte of a connection's echo that is not the one that the client sent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// In the stream of echoes.
    pub offset: u64,
    /// What the client had sent. `None`: nothing so far.
    pub expected: Option<u8>,
    /// What was echoed. `None`: nothing, and the stream ended.
    pub got: Option<u8>,
    /// The connection's number.
    pub connection: u64,
}

/// Finds the first difference of two streams that arrive in pieces.
pub(super) struct Comparison {
    connection: u64,
    /// The streams are equal up to here.
    offset: u64,
    /// What follows there. One of the two is empty, or a difference was found.
    received: VecDeque<u8>,
    echoed: VecDeque<u8>,
    found: bool,
}

impl Comparison {
    pub(super) fn new(connection: u64) -> Comparison {
        let (received, echoed) = (VecDeque::new(), VecDeque::new());
        Comparison { connection, offset: 0, received, echoed, found: false }
    }

    /// Bytes from the client, and bytes for it. Returns the difference, once.
    pub(super) fn add(&mut self, received: &[u8], echoed: &[u8]) -> Option<Difference> {
        if self.found {
            return None;
        }
        if self.received.is_empty() && self.echoed.is_empty() && received == echoed {
            self.offset += received.len() as u64;
            return None;
        }
        self.received.extend(received);
        self.echoed.extend(echoed);
        let same = self.received.iter().zip(&self.echoed).take_while(|(one, other)| one == other).count();
        self.received.drain(..same);
        self.echoed.drain(..same);
        self.offset += same as u64;
        match (self.received.front(), self.echoed.front()) {
            (None | Some(_), None) => None,
            (expected, Some(got)) => {
                let difference = self.difference(expected.copied(), Some(*got));
                self.found = true;
                Some(difference)
            }
        }
    }

    /// The stream of echoes has ended. Returns the first byte that is missing, if no difference was found before.
    pub(super) fn end(&mut self) -> Option<Difference> {
        let missing = if self.found { None } else { self.received.front().copied() };
        self.found = true;
        missing.map(|missing| self.difference(Some(missing), None))
    }

    fn difference(&self, expected: Option<u8>, got: Option<u8>) -> Difference {
        Difference { offset: self.offset, expected, got, connection: self.connection }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(offset: u64, expected: Option<u8>, got: Option<u8>) -> Option<Difference> {
        Some(Difference { offset, expected, got, connection: 7 })
    }

    #[test]
    fn a_changed_byte_is_found_once() {
        let mut comparison = Comparison::new(7);
        assert_eq!(comparison.add(b"abc", b"abc"), None);
        assert_eq!(comparison.add(b"def", b"dEf"), difference(4, Some(b'e'), Some(b'E')));
        assert_eq!(comparison.add(b"ghi", b"Ghi"), None);
        assert_eq!(comparison.end(), None);
    }

    /// A lost byte shows where the next byte differs: not at once if that is the same.
    #[test]
    fn a_lost_byte_is_found_when_the_next_one_differs() {
        let mut comparison = Comparison::new(7);
        assert_eq!(comparison.add(b"aab", b"a"), None);
        assert_eq!(comparison.add(b"c", b"b"), difference(1, Some(b'a'), Some(b'b')));
        let mut comparison = Comparison::new(7);
        assert_eq!(comparison.add(b"aab", b"ab"), difference(1, Some(b'a'), Some(b'b')));
    }

    #[test]
    fn an_extra_byte_and_a_missing_end() {
        let mut comparison = Comparison::new(7);
        assert_eq!(comparison.add(b"ab", b"abb"), difference(2, None, Some(b'b')));
        let mut comparison = Comparison::new(7);
        assert_eq!(comparison.add(b"ab", b"a"), None);
        assert_eq!(comparison.end(), difference(1, Some(b'b'), None));
        let mut comparison = Comparison::new(7);
        assert_eq!((comparison.add(b"ab", b"ab"), comparison.end()), (None, None));
    }
}
