//! One session of the chaos, seen from its client: who it is, what it does next, and whether it got what it is owed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::peer::{PATIENCE, Random, dial, dial_narrow, noise, reset};
use crate::sessions::fragment;

/// When nothing more is taken for this long, a client that waits before it reads starts to read, or leaves.
const REFUSED: Duration = Duration::from_millis(100);
/// Milliseconds: sessions live for about a second, so that hundreds at a time do not connect in one burst.
const SILENCE: usize = 1000;
/// One is chosen, and a size up to it: most are small, some are more than all buffers on the way hold. Who reads late
/// has one of the larger half.
const SIZES: [usize; 10] =
    [0, 100, 4 << 10, 4 << 10, 16 << 10, 16 << 10, 64 << 10, 64 << 10, 256 << 10, 1 << 20];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Writes, pauses, reads; then its FIN, and the rest up to the server's.
    Talks,
    /// The same, but now and then it reads nothing for a while and writes on.
    Stalls,
    /// Writes all it can and its FIN before it reads.
    HalfCloses,
    /// Breaks off with a reset, at any moment: before its first byte, in the middle, after its FIN.
    Resets,
    /// Closes with echoes unread or on their way.
    Vanishes,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] =
        [Kind::Talks, Kind::Stalls, Kind::HalfCloses, Kind::Resets, Kind::Vanishes];

    /// Whether it stays to the end, and so gets back every byte, and a FIN.
    pub(super) fn is_owed(self) -> bool {
        !matches!(self, Kind::Resets | Kind::Vanishes)
    }
}

/// What came of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Waited,
    Moved,
    Over,
}

pub(super) struct Life {
    pub(super) kind: Kind,
    stream: TcpStream,
    random: Random,
    bytes: &'static [u8],
    pub(super) written: usize,
    pub(super) read: usize,
    finished: bool,
    stalls: bool,
    /// Milliseconds between two writes, at most.
    pause: usize,
    /// The same before the first byte and before the FIN.
    silence: usize,
    /// A client that resets does so after this number of bytes in both directions; one that vanishes reads no more than this.
    leaves_at: usize,
    /// For who vanishes: not before something lies there unread.
    leaves_unread: bool,
    write_at: Instant,
    read_at: Instant,
    refused_since: Option<Instant>,
    /// Whether that was ever long: so far goes the server's back-pressure.
    pub(super) held_back: bool,
    moved_at: Instant,
}

impl Life {
    pub(super) fn begin(address: SocketAddr, mut random: Random) -> Life {
        let kind = Kind::ALL[random.below(Kind::ALL.len())];
        let least = if matches!(kind, Kind::Stalls | Kind::HalfCloses) { SIZES.len() / 2 } else { 0 };
        let most = SIZES[least + random.below(SIZES.len() - least)];
        let size = random.below(most + 1).max(usize::from(kind == Kind::Vanishes));
        // Who leaves bytes unread has small buffers, so that it is felt: see there. Of the others one half.
        let stream =
            if kind == Kind::Talks && random.below(2) == 0 { dial(address) } else { dial_narrow(address) };
        stream.set_nonblocking(true).expect("a socket");
        let stalls = kind == Kind::Stalls || (kind == Kind::Resets && random.below(2) == 0);
        let pause = [1, 10, 40, 120][random.below(4)];
        let leaves_at = random.below(if kind == Kind::Resets { 2 * size + 1 } else { size.max(1) });
        let now = Instant::now();
        Life {
            kind,
            stream,
            bytes: noise(random.below(1 << 20), size),
            written: 0,
            read: 0,
            finished: false,
            stalls,
            pause,
            silence: SILENCE,
            leaves_at,
            leaves_unread: random.below(4) > 0,
            write_at: now + Duration::from_millis(random.below(SILENCE) as u64),
            read_at: now,
            refused_since: None,
            held_back: false,
            moved_at: now,
            random,
        }
    }

    /// One write and one read at most. An error is what the server owes and did not do.
    pub(super) fn step(&mut self, now: Instant, buffer: &mut [u8]) -> Result<Step, String> {
        if self.leaves(now)? {
            return Ok(Step::Over);
        }
        let mut step = Step::Waited;
        if now >= self.write_at && self.write(now)? {
            step = Step::Moved;
        }
        if now >= self.read_at && self.wants_to_read(now) {
            match self.read(now, buffer)? {
                Step::Waited => {}
                other => step = other,
            }
        }
        if step != Step::Waited {
            self.moved_at = now;
        } else if now.duration_since(self.moved_at) > PATIENCE {
            return Err(self.tell("it moves no more"));
        }
        Ok(step)
    }

    /// No more pauses: it is to come to its end.
    pub(super) fn hurry(&mut self, now: Instant) {
        (self.write_at, self.read_at) = (now, now);
        (self.pause, self.silence, self.stalls) = (1, 1, false);
    }

    /// Its last act, if that is more than to close.
    pub(super) fn end(self) {
        if self.kind == Kind::Resets {
            reset(self.stream);
        }
    }

    fn tell(&self, what: impl std::fmt::Display) -> String {
        format!(
            "{:?}, {} of {} written, {} read: {what}",
            self.kind,
            self.written,
            self.bytes.len(),
            self.read
        )
    }

    fn leaves(&mut self, now: Instant) -> Result<bool, String> {
        match self.kind {
            Kind::Resets => Ok(self.written + self.read >= self.leaves_at),
            // The echo of what it wrote and has not read comes, or lies there.
            Kind::Vanishes if self.written == self.bytes.len() || self.is_refused(now) => {
                if !self.leaves_unread {
                    return Ok(true);
                }
                match self.stream.peek(&mut [0]) {
                    Ok(0) => Err(self.tell("an end of stream before its own")),
                    Ok(_) => Ok(true),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                    Err(error) => Err(self.tell(error)),
                }
            }
            _ => Ok(false),
        }
    }

    fn is_refused(&self, now: Instant) -> bool {
        self.refused_since.is_some_and(|since| now.duration_since(since) > REFUSED)
    }

    fn write(&mut self, now: Instant) -> Result<bool, String> {
        if self.written == self.bytes.len() {
            if self.finished || self.kind == Kind::Vanishes {
                return Ok(false);
            }
            self.stream.shutdown(Shutdown::Write).map_err(|error| self.tell(error))?;
            self.finished = true;
            return Ok(true);
        }
        let left = &self.bytes[self.written..];
        match self.stream.write(&left[..fragment(&mut self.random).min(left.len())]) {
            Ok(count) => {
                self.written += count;
                self.refused_since = None;
                let pause = if self.written == self.bytes.len() { self.silence } else { self.pause };
                self.write_at = now + Duration::from_millis(self.random.below(pause) as u64);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.refused_since.get_or_insert(now);
                self.held_back |= self.is_refused(now);
                Ok(false)
            }
            Err(error) => Err(self.tell(error)),
        }
    }

    fn wants_to_read(&self, now: Instant) -> bool {
        match self.kind {
            Kind::HalfCloses => self.finished || self.is_refused(now),
            Kind::Vanishes => self.read < self.leaves_at,
            Kind::Talks | Kind::Stalls | Kind::Resets => true,
        }
    }

    fn read(&mut self, now: Instant, buffer: &mut [u8]) -> Result<Step, String> {
        let mut most = fragment(&mut self.random);
        if self.kind == Kind::Vanishes {
            most = most.min(self.leaves_at - self.read);
        }
        match self.stream.read(&mut buffer[..most]) {
            Ok(0) if !self.finished => Err(self.tell("an end of stream before its own")),
            Ok(0) if self.read < self.bytes.len() => Err(self.tell("an end of stream before all came back")),
            Ok(0) => Ok(Step::Over),
            Ok(count) => {
                let wanted = self.bytes[..self.written].get(self.read..self.read + count);
                if wanted != Some(&buffer[..count]) {
                    return Err(self.tell(format_args!("the next {count} bytes are not what was sent")));
                }
                self.read += count;
                if self.stalls && self.random.below(8) == 0 {
                    self.read_at = now + Duration::from_millis(50 + self.random.below(350) as u64);
                }
                Ok(Step::Moved)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Step::Waited),
            Err(error) => Err(self.tell(error)),
        }
    }
}
