//! Which mistakes are made, and at which bytes.

use std::ops::Range;
use std::time::Duration;

/// What goes wrong on one connection, at a place in the stream that it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The byte is echoed with its lowest bit inverted.
    Flip,
    /// This byte and the following ones, this number in all, are not echoed; what follows them is.
    Drop(u64),
    /// The byte is echoed twice.
    Double,
    /// After the byte is echoed, this one is sent as well.
    Insert(u8),
    /// The rest of what was received with the byte is exchanged with that of the next connection where this happens: as
    /// many bytes as both have. Without another connection, nothing happens.
    Swap,
    /// From this byte on nothing is echoed. The connection stays open.
    Mute,
    /// The connection sends nothing for this time, then goes on.
    Pause(Duration),
    /// No connection sends anything for this time, then all go on.
    PauseAll(Duration),
    /// The bytes before this one are echoed, then the connection is reset.
    Reset,
    /// The bytes before this one are echoed, then the stream ends (FIN). What still arrives is read and discarded.
    End,
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// As soon as the connection is accepted. Of the faults, those that need no byte.
    Accept(Which),
    /// At the byte with this offset, counted from 0, in the connection's stream.
    Offset(Which, u64),
    /// At the first byte of what one read returns, each time.
    EachRead(Which),
    /// Once, at the byte with this number, counted from 1 over all connections.
    Once(u64),
    /// At each byte whose number, counted from 1 over all connections, is a multiple of this one.
    OneIn(u64),
    /// When the client has ended its stream and everything is echoed: `Reset` in place of the end of stream, `Mute` for none.
    /// With `Drop`, the bytes that arrive less than 50 ms before the end of the client's stream are not echoed.
    HalfClose(Which),
}

/// Of which connections. They are counted from 0, in the order in which they are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// The first ones.
    First(u64),
    /// The one with this number.
    Number(u64),
    /// The last one of each group of this size: 99, 199, 299, … of `OneIn(100)`.
    OneIn(u64),
}

impl Which {
    pub(super) fn includes(self, connection: u64) -> bool {
        match self {
            Which::All => true,
            Which::First(count) => connection < count,
            Which::Number(number) => connection == number,
            Which::OneIn(count) => (connection + 1).is_multiple_of(count),
        }
    }
}

/// Bytes that one read has returned.
#[derive(Clone, Copy)]
pub(super) struct Received {
    pub(super) connection: u64,
    /// Of the first byte, in the connection's stream.
    pub(super) offset: u64,
    /// Bytes that all connections had received before.
    pub(super) before: u64,
    pub(super) len: usize,
}

/// The faults due within these bytes, each with the index of its byte, in order.
pub(super) fn due(rules: &[(Place, Fault)], received: Received) -> Vec<(usize, Fault)> {
    let Received { connection, offset, before, len } = received;
    let mut due = Vec::new();
    for (place, fault) in rules {
        match *place {
            Place::Offset(which, at) if which.includes(connection) => {
                due.extend(index(at, offset, len).map(|index| (index, *fault)));
            }
            Place::EachRead(which) if which.includes(connection) => due.push((0, *fault)),
            Place::Once(number) => due.extend(index(number - 1, before, len).map(|index| (index, *fault))),
            Place::OneIn(count) => {
                let multiples: Range<u64> = before / count + 1..(before + len as u64) / count + 1;
                due.extend(multiples.map(|multiple| ((multiple * count - 1 - before) as usize, *fault)));
            }
            Place::Offset(..) | Place::EachRead(_) | Place::Accept(_) | Place::HalfClose(_) => {}
        }
    }
    due.sort_by_key(|(index, _)| *index);
    due
}

/// Where `at` lies in the `len` places from `first` on.
fn index(at: u64, first: u64, len: usize) -> Option<usize> {
    let index = at.checked_sub(first)?;
    (index < len as u64).then_some(index as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_at(place: Place, connection: u64, offset: u64, before: u64) -> Vec<usize> {
        let received = Received { connection, offset, before, len: 10 };
        due(&[(place, Fault::Flip)], received).into_iter().map(|(index, _)| index).collect()
    }

    #[test]
    fn faults_are_due_at_their_bytes() {
        assert_eq!(due_at(Place::Offset(Which::All, 100), 0, 100, 0), [0]);
        assert_eq!(due_at(Place::Offset(Which::All, 109), 0, 100, 0), [9]);
        assert_eq!(due_at(Place::Offset(Which::All, 110), 0, 100, 0), []);
        assert_eq!(due_at(Place::Offset(Which::All, 99), 0, 100, 0), []);
        assert_eq!(due_at(Place::Once(1), 5, 0, 0), [0]);
        assert_eq!(due_at(Place::Once(30), 5, 0, 20), [9]);
        assert_eq!(due_at(Place::Once(20), 5, 0, 20), []);
        assert_eq!(due_at(Place::OneIn(4), 0, 0, 0), [3, 7]);
        assert_eq!(due_at(Place::OneIn(4), 0, 0, 7), [0, 4, 8]);
        assert_eq!(due_at(Place::OneIn(1), 0, 0, 3).len(), 10);
        assert_eq!(due_at(Place::EachRead(Which::First(2)), 1, 7, 9), [0]);
        assert_eq!(due_at(Place::EachRead(Which::First(2)), 2, 7, 9), []);
    }

    #[test]
    fn connections_are_chosen() {
        let chosen = |which: Which| (0..8).filter(|number| which.includes(*number)).collect::<Vec<u64>>();
        assert_eq!(chosen(Which::First(2)), [0, 1]);
        assert_eq!(chosen(Which::Number(3)), [3]);
        assert_eq!(chosen(Which::OneIn(4)), [3, 7]);
        assert_eq!(chosen(Which::All).len(), 8);
    }
}
