//! One connection of the run, which is opened again whenever it ends: what it has sent, and what has come back.

use std::cmp::Ordering;
use std::collections::VecDeque;

use overlapped::SessionId;

use super::pattern::Stream;
use crate::load::measured::Mismatch;
use crate::load::plan::Behaviour;

/// Messages that were sent at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// In ns since the worker's epoch.
    pub(super) sent_at: u64,
    pub(super) count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A connect was asked for and is not answered.
    Connecting,
    Open,
    /// It has sent FIN, and reads what is left.
    Finishing,
    /// It is ending, and what there is to count about that is counted.
    Ending,
    /// It is not opened again.
    Closed,
}

#[derive(Debug)]
pub(super) struct Slot {
    /// Over all workers.
    pub(super) number: u32,
    pub(super) phase: Phase,
    pub(super) behaviour: Behaviour,
    stream: Stream,
    pub(super) session: Option<SessionId>,
    /// Whether a closed loop may send on it.
    pub(super) has_begun: bool,
    /// Whether it is looked at when an echo may be too late.
    pub(super) is_watched: bool,
    /// How often it was opened.
    pub(super) lives: u32,
    /// In the middle of a pause in which it reads nothing.
    pub(super) is_paused: bool,
    /// Ends in a row without a complete echo between them.
    pub(super) failures: u8,
    /// Bytes sent and received on this connection.
    sent: u64,
    received: u64,
    /// Bytes of the message that is being received.
    part: usize,
    pub(super) in_flight: VecDeque<Group>,
    /// Messages in flight.
    pub(super) outstanding: u32,
    /// Messages whose echo is complete, of this connection.
    pub(super) echoed: u32,
    /// Messages that were sent, over all connections of this slot.
    pub(super) taken: u64,
    /// When something came back last.
    pub(super) last_back: u64,
    /// Since when nothing comes back because its connection has failed: until the next one's first echo.
    pub(super) down_since: Option<u64>,
    /// When its connect was asked for, in ns since the worker's epoch.
    pub(super) connect_at: u64,
}

impl Slot {
    pub(super) fn new(number: u32, behaviour: Behaviour) -> Slot {
        Slot {
            number,
            behaviour,
            stream: Stream::new(number.into()),
            session: None,
            phase: Phase::Connecting,
            has_begun: false,
            is_watched: false,
            lives: 0,
            is_paused: false,
            failures: 0,
            sent: 0,
            received: 0,
            part: 0,
            in_flight: VecDeque::new(),
            outstanding: 0,
            echoed: 0,
            taken: 0,
            last_back: 0,
            down_since: None,
            connect_at: 0,
        }
    }

    /// A new connection begins.
    pub(super) fn opened(&mut self, session: SessionId) {
        self.session = Some(session);
        self.lives = self.lives.wrapping_add(1);
        self.phase = Phase::Open;
        self.is_paused = false;
        (self.sent, self.received, self.part, self.echoed) = (0, 0, 0, 0);
        (self.outstanding, self.last_back) = (0, 0);
        self.in_flight.clear();
    }

    /// Counts `count` messages of `size` bytes as sent. Returns their bytes, in pieces.
    #[inline]
    pub(super) fn send(
        &mut self,
        count: u32,
        size: usize,
        now: u64,
    ) -> impl Iterator<Item = &'static [u8]> + use<> {
        match self.in_flight.back_mut() {
            Some(group) if group.sent_at == now => group.count += count,
            _ => self.in_flight.push_back(Group { sent_at: now, count }),
        }
        self.outstanding += count;
        self.taken += u64::from(count);
        let from = self.sent;
        let bytes = count as usize * size;
        self.sent += bytes as u64;
        self.stream.pieces(from, bytes)
    }

    /// Takes received bytes. Returns how many messages are complete with them, and the first byte that is wrong, or that is
    /// one too many: what follows it means nothing.
    #[inline]
    pub(super) fn receive(&mut self, bytes: &[u8], size: usize, check: bool) -> (u32, Option<Mismatch>) {
        let room = self.missing().min(bytes.len() as u64) as usize;
        let (wanted, extra) = bytes.split_at(room);
        let different = if check { self.stream.first_difference(self.received, wanted) } else { None };
        let (right, mismatch) = match (different, extra.first()) {
            (Some((at, expected)), _) => {
                (at, Some(self.mismatch(self.received + at as u64, Some(expected), Some(wanted[at]))))
            }
            (None, Some(extra)) => (room, Some(self.mismatch(self.sent, None, Some(*extra)))),
            (None, None) => (room, None),
        };
        self.received += right as u64;
        self.part += right;
        let complete = match self.part.cmp(&size) {
            Ordering::Less => 0,
            Ordering::Equal => 1,
            Ordering::Greater => self.part / size,
        };
        self.part -= complete * size;
        (complete as u32, mismatch)
    }

    /// The first byte that is missing, if the stream ends here within the echo of a message; or, if it ends because this
    /// side's has ended, before the echo of all messages.
    pub(super) fn cut_off(&self) -> Option<Mismatch> {
        let is_missing = self.part > 0 || self.phase == Phase::Finishing && self.missing() > 0;
        let missing = self.stream.pieces(self.received, 1).next();
        is_missing.then(|| self.mismatch(self.received, missing.map(|byte| byte[0]), None))
    }

    fn mismatch(&self, offset: u64, expected: Option<u8>, got: Option<u8>) -> Mismatch {
        Mismatch { connection: self.number.into(), offset, expected, got }
    }

    /// Takes messages of the oldest group whose echo is complete, at most `most`. There is one.
    #[inline]
    pub(super) fn take_group(&mut self, most: u32) -> Group {
        let Some(front) = self.in_flight.front_mut() else {
            return Group { sent_at: 0, count: most }; // cannot be: more bytes than were sent are a mismatch
        };
        let taken = Group { sent_at: front.sent_at, count: front.count.min(most) };
        front.count -= taken.count;
        if front.count == 0 {
            self.in_flight.pop_front();
        }
        self.outstanding -= taken.count;
        taken
    }

    /// Since when something is awaited: an echo, or the end of the server's stream. Times of its own pauses do not count.
    pub(super) fn awaits_since(&self, now: u64) -> Option<u64> {
        match self.phase {
            Phase::Open | Phase::Finishing if self.is_paused => Some(now),
            Phase::Open => self.waits_since(),
            Phase::Finishing => Some(self.waits_since().unwrap_or(self.last_back)),
            Phase::Connecting | Phase::Ending | Phase::Closed => None,
        }
    }

    /// Since when the oldest message in flight waits for its echo.
    pub(super) fn waits_since(&self) -> Option<u64> {
        self.in_flight.front().map(|group| group.sent_at)
    }

    /// Since when nothing has come back although something is awaited, over connections that have failed, too.
    pub(super) fn silent_since(&self) -> Option<u64> {
        let waits = self.waits_since().map(|since| since.max(self.last_back));
        self.down_since.or(waits)
    }

    /// Counts waiting times from `now` on: a pause of its own is no fault of the server.
    pub(super) fn wait_from(&mut self, now: u64) {
        for group in &mut self.in_flight {
            group.sent_at = group.sent_at.max(now);
        }
        self.last_back = self.last_back.max(now);
    }

    /// Bytes that were sent and have not come back.
    pub(super) fn missing(&self) -> u64 {
        self.sent - self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 100;

    fn bytes(from: u64, len: usize) -> Vec<u8> {
        Stream::new(5).pieces(from, len).flatten().copied().collect()
    }

    fn sent(messages: u32) -> Slot {
        let mut slot = Slot::new(5, Behaviour::Normal);
        let pieces: Vec<u8> = slot.send(messages, SIZE, 7).flatten().copied().collect();
        assert_eq!(pieces, bytes(0, messages as usize * SIZE));
        slot
    }

    #[track_caller]
    fn right(slot: &mut Slot, bytes: &[u8]) -> u32 {
        let (count, mismatch) = slot.receive(bytes, SIZE, true);
        assert!(mismatch.is_none(), "{mismatch:?}");
        count
    }

    #[test]
    fn messages_are_complete_however_the_stream_is_cut() {
        for cut in 1..=300 {
            let mut slot = sent(3);
            let counts: Vec<u32> = bytes(0, 300).chunks(cut).map(|part| right(&mut slot, part)).collect();
            assert_eq!(counts.iter().sum::<u32>(), 3, "cut into {cut}");
            assert_eq!(slot.missing(), 0);
        }
    }

    #[test]
    fn the_first_wrong_byte_is_named() {
        let mut slot = sent(3);
        right(&mut slot, &bytes(0, 50));
        let mut rest = bytes(50, 250);
        rest[220] ^= 0x80;
        let (2, Some(Mismatch { connection, offset, expected, got })) = slot.receive(&rest, SIZE, true)
        else {
            panic!("byte 270 is wrong, behind two messages");
        };
        assert_eq!((connection, offset, expected, got), (5, 270, Some(rest[220] ^ 0x80), Some(rest[220])));
        let mut unchecked = sent(3);
        assert!(matches!(unchecked.receive(&rest, SIZE, false), (2, None)));
    }

    #[test]
    fn a_byte_more_than_was_sent_is_named_even_unchecked() {
        for check in [true, false] {
            let mut slot = sent(1);
            let mut got = bytes(0, 100);
            got.push(b'x');
            let (1, Some(Mismatch { offset, expected, got, .. })) = slot.receive(&got, SIZE, check) else {
                panic!("byte 100 was not sent");
            };
            assert_eq!((offset, expected, got), (100, None, Some(b'x')));
        }
    }

    #[test]
    fn an_end_within_a_message_names_the_missing_byte() {
        let mut slot = sent(2);
        assert!(slot.cut_off().is_none());
        right(&mut slot, &bytes(0, 130));
        let Some(Mismatch { connection, offset, expected, got }) = slot.cut_off() else {
            panic!("byte 130 is missing");
        };
        assert_eq!((connection, offset, expected, got), (5, 130, Some(bytes(130, 1)[0]), None));
        right(&mut slot, &bytes(130, 70));
        assert!(slot.cut_off().is_none(), "between two messages");
    }

    #[test]
    fn after_the_end_of_this_side_every_message_is_owed() {
        let mut slot = sent(2);
        right(&mut slot, &bytes(0, 100));
        assert!(slot.cut_off().is_none(), "between two messages");
        slot.phase = Phase::Finishing;
        assert_eq!(slot.cut_off().map(|missing| (missing.offset, missing.got)), Some((100, None)));
        right(&mut slot, &bytes(100, 100));
        assert!(slot.cut_off().is_none());
    }

    #[test]
    fn groups_are_taken_in_order() {
        let mut slot = sent(2);
        let _ = slot.send(1, SIZE, 7);
        let _ = slot.send(2, SIZE, 9);
        let take = |slot: &mut Slot, most| {
            let group = slot.take_group(most);
            (group.sent_at, group.count)
        };
        assert_eq!(take(&mut slot, 2), (7, 2));
        assert_eq!(take(&mut slot, 3), (7, 1));
        assert_eq!(slot.waits_since(), Some(9));
        assert_eq!(take(&mut slot, 2), (9, 2));
        assert_eq!((slot.waits_since(), slot.outstanding), (None, 0));
    }
}
