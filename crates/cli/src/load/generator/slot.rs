//! One connection of the run, which is opened again whenever it ends: what it has sent, and what has come back.

use std::collections::VecDeque;

use overlapped::SessionId;

use super::pattern::Stream;
use crate::load::measured::Mismatch;

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
    pub(super) session: Option<SessionId>,
    pub(super) phase: Phase,
    /// In the middle of a pause in which it reads nothing.
    pub(super) is_paused: bool,
    /// Ends in a row without a complete echo between them.
    pub(super) failures: u8,
    /// Bytes sent and received on this connection.
    sent: u64,
    received: u64,
    /// Bytes of the message that is being received.
    part: usize,
    in_flight: VecDeque<Group>,
    /// Messages in flight.
    pub(super) outstanding: u32,
    /// Messages whose echo is complete, of this connection.
    pub(super) echoed: u32,
    /// With a schedule: messages that were due, and of them those that were sent, over all connections of this slot.
    pub(super) due: u64,
    pub(super) taken: u64,
    /// When something came back last.
    pub(super) last_back: u64,
    /// When its connect was asked for, in ns since the worker's epoch.
    pub(super) connect_at: u64,
}

impl Slot {
    pub(super) fn new() -> Slot {
        Slot {
            session: None,
            phase: Phase::Connecting,
            is_paused: false,
            failures: 0,
            sent: 0,
            received: 0,
            part: 0,
            in_flight: VecDeque::new(),
            outstanding: 0,
            echoed: 0,
            due: 0,
            taken: 0,
            last_back: 0,
            connect_at: 0,
        }
    }

    /// A new connection begins.
    pub(super) fn opened(&mut self, session: SessionId) {
        self.session = Some(session);
        self.phase = Phase::Open;
        self.is_paused = false;
        (self.sent, self.received, self.part, self.echoed) = (0, 0, 0, 0);
        (self.outstanding, self.last_back) = (0, 0);
        self.in_flight.clear();
    }

    /// Counts `count` messages of `size` bytes as sent. Returns where in the stream they begin.
    #[inline]
    pub(super) fn send(&mut self, count: u32, size: usize, now: u64) -> u64 {
        match self.in_flight.back_mut() {
            Some(group) if group.sent_at == now => group.count += count,
            _ => self.in_flight.push_back(Group { sent_at: now, count }),
        }
        self.outstanding += count;
        self.taken += u64::from(count);
        let from = self.sent;
        self.sent += u64::from(count) * size as u64;
        from
    }

    /// Takes received bytes. Returns how many messages are complete now.
    ///
    /// # Errors
    /// The first byte that is wrong, or that is one too many.
    #[inline]
    pub(super) fn receive(
        &mut self,
        connection: u32,
        bytes: &[u8],
        size: usize,
        check: bool,
    ) -> Result<u32, Mismatch> {
        let room = (self.sent - self.received).min(bytes.len() as u64) as usize;
        let (wanted, extra) = bytes.split_at(room);
        let stream = Stream::new(connection.into());
        if check && let Some((at, expected)) = stream.first_difference(self.received, wanted) {
            let offset = self.received + at as u64;
            let got = Some(wanted[at]);
            return Err(Mismatch { connection: connection.into(), offset, expected: Some(expected), got });
        }
        if let Some(&extra) = extra.first() {
            let offset = self.sent;
            return Err(Mismatch { connection: connection.into(), offset, expected: None, got: Some(extra) });
        }
        self.received += bytes.len() as u64;
        self.part += bytes.len();
        if self.part < size {
            return Ok(0);
        }
        if self.part == size {
            self.part = 0;
            return Ok(1);
        }
        let complete = self.part / size;
        self.part %= size;
        Ok(complete as u32)
    }

    /// The first byte that is missing, if the stream ends here within the echo of a message.
    pub(super) fn cut_off(&self, connection: u32) -> Option<Mismatch> {
        let missing = Stream::new(connection.into()).pieces(self.received, 1).next();
        let (connection, offset, expected) = (connection.into(), self.received, missing.map(|byte| byte[0]));
        (self.part > 0).then_some(Mismatch { connection, offset, expected, got: None })
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

    /// Since when the oldest message in flight waits for its echo.
    pub(super) fn waits_since(&self) -> Option<u64> {
        self.in_flight.front().map(|group| group.sent_at)
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
        let mut slot = Slot::new();
        assert_eq!(slot.send(messages, SIZE, 7), 0);
        slot
    }

    #[test]
    fn messages_are_complete_however_the_stream_is_cut() {
        for cut in 1..=300 {
            let mut slot = sent(3);
            let counts: Vec<u32> = bytes(0, 300)
                .chunks(cut)
                .map(|part| slot.receive(5, part, SIZE, true).expect("all bytes are right"))
                .collect();
            assert_eq!(counts.iter().sum::<u32>(), 3, "cut into {cut}");
            assert_eq!(slot.missing(), 0);
        }
    }

    #[test]
    fn the_first_wrong_byte_is_named() {
        let mut slot = sent(3);
        slot.receive(5, &bytes(0, 150), SIZE, true).expect("right");
        let mut rest = bytes(150, 150);
        rest[20] ^= 0x80;
        let Err(Mismatch { connection, offset, expected, got }) = slot.receive(5, &rest, SIZE, true) else {
            panic!("byte 170 is wrong");
        };
        assert_eq!((connection, offset, expected, got), (5, 170, Some(rest[20] ^ 0x80), Some(rest[20])));
        let mut unchecked = sent(3);
        assert_eq!(unchecked.receive(5, &rest, SIZE, false).expect("not compared"), 1);
    }

    #[test]
    fn a_byte_more_than_was_sent_is_named_even_unchecked() {
        for check in [true, false] {
            let mut slot = sent(1);
            let mut got = bytes(0, 100);
            got.push(b'x');
            let Err(Mismatch { offset, expected, got, .. }) = slot.receive(5, &got, SIZE, check) else {
                panic!("byte 100 was not sent");
            };
            assert_eq!((offset, expected, got), (100, None, Some(b'x')));
        }
    }

    #[test]
    fn an_end_within_a_message_names_the_missing_byte() {
        let mut slot = sent(2);
        assert!(slot.cut_off(5).is_none());
        slot.receive(5, &bytes(0, 130), SIZE, true).expect("right");
        let Some(Mismatch { connection, offset, expected, got }) = slot.cut_off(5) else {
            panic!("byte 130 is missing");
        };
        assert_eq!((connection, offset, expected, got), (5, 130, Some(bytes(130, 1)[0]), None));
        slot.receive(5, &bytes(130, 70), SIZE, true).expect("right");
        assert!(slot.cut_off(5).is_none(), "between two messages");
    }

    #[test]
    fn groups_are_taken_in_order() {
        let mut slot = sent(2);
        slot.send(1, SIZE, 7);
        slot.send(2, SIZE, 9);
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
