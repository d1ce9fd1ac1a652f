//! What was sent, what has come back, and whether that is the same.
//!
//! A thread receives and prints all the time ([`Echo::receive`]), so that a line cannot block against its own echo.
//! Another one reports when nothing comes ([`Echo::watch`]). Nobody holds the lock while it sends, receives or prints.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use overlapped::buffers::AlignedBuf;

use super::visible::visible;
use crate::units::count;

/// The most that is sent before its echo is awaited. A longer line goes in pieces, so a line that never ends takes no
/// more memory than this.
pub(super) const PIECE: usize = 1 << 20;

/// A wait for an echo is reported when nothing has come for this long.
const SILENCE: Duration = Duration::from_secs(5);

/// A thread that wakes up so much later than it should was stopped, and the others with it.
const STOPPED: Duration = Duration::from_secs(1);

/// Bytes shown of what nobody asked for.
const SHOWN: usize = 200;

/// Where echoes go. Called by the thread that receives.
pub(super) trait Sink {
    /// Whether bytes that answer nothing wait for the next piece and are compared with that. Else they are
    /// [unasked](Sink::unasked) at once.
    const WAITS: bool;

    /// Prints what came back; `last` if it ends the echo of a line.
    ///
    /// # Errors
    /// What printing failed with.
    fn print(&mut self, bytes: &[u8], last: bool) -> io::Result<()>;

    /// Reports a difference, which was printed already.
    fn differs(&mut self, difference: &Difference);

    /// Takes bytes that answer nothing: `in_line` if the echo before them was not reported as printed yet.
    ///
    /// # Errors
    /// What printing failed with.
    fn unasked(&mut self, unasked: &Unasked<'_>, in_line: bool) -> io::Result<()>;

    /// The server has ended its stream while nobody waited for an echo.
    fn ended(&mut self) {}
}

/// What the threads know of each other.
pub(super) struct Echo {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The piece that was sent last.
    sent: Vec<u8>,
    /// Bytes of it that have come back and are printed.
    back: usize,
    /// Bytes of the line, or of the whole input, before it.
    offset: u64,
    /// True exactly when it is the last of its line.
    ends_line: bool,
    /// When it was sent, or something of it last came.
    moved_at: Instant,
    /// Something that came is being printed. Until that is done nothing is received.
    printing: bool,
    /// The wait for it was reported.
    reported: bool,
    /// Something came back that was not sent.
    differs: bool,
    /// The server sends no more.
    ended: bool,
    /// What printing failed with.
    unprinted: Option<io::Error>,
    /// This end is done.
    leaving: bool,
}

/// Why a piece has no echo.
pub(super) enum Trouble {
    /// The server has ended its stream.
    Gone,
    /// It came, and could not be printed.
    Unprinted(io::Error),
}

impl Echo {
    pub(super) fn new() -> Echo {
        let state = State {
            sent: Vec::new(),
            back: 0,
            offset: 0,
            ends_line: true,
            moved_at: Instant::now(),
            printing: false,
            reported: false,
            differs: false,
            ended: false,
            unprinted: None,
            leaving: false,
        };
        Echo { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Sends `piece`, before which there are `offset` bytes, and waits until its whole echo is printed.
    ///
    /// # Errors
    /// If it does not all come, or cannot be printed.
    pub(super) fn exchange(
        &self,
        mut stream: &TcpStream,
        piece: &[u8],
        offset: u64,
        ends_line: bool,
    ) -> Result<(), Trouble> {
        let mut state = self.lock();
        state.sent.clear();
        state.sent.extend_from_slice(piece);
        (state.back, state.offset, state.ends_line) = (0, offset, ends_line);
        (state.moved_at, state.reported) = (Instant::now(), false);
        drop(state);
        self.changed.notify_all();
        // An error means that the server is gone: the receiving thread finds that too, and first prints what came back.
        let _ = stream.write_all(piece);
        let mut state =
            self.wait_while(|state| state.owed() > 0 && !state.ended && state.unprinted.is_none());
        match state.unprinted.take() {
            Some(error) => Err(Trouble::Unprinted(error)),
            None if state.owed() > 0 => Err(Trouble::Gone),
            None => Ok(()),
        }
    }

    /// Ends our stream and waits until the server has ended its own in return, for `patience` at most.
    ///
    /// # Errors
    /// What printing the last of it failed with.
    pub(super) fn leave(&self, stream: &TcpStream, patience: Duration) -> io::Result<()> {
        self.lock().leaving = true;
        self.changed.notify_all();
        let _ = stream.shutdown(Shutdown::Write);
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |state| !state.ended);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.unprinted.take().map_or(Ok(()), Err)
    }

    /// Whether all that came back was what was sent.
    pub(super) fn is_faithful(&self) -> bool {
        !self.lock().differs
    }

    /// Whether the server sends no more.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Receives, compares and prints until the stream ends.
    pub(super) fn receive<S: Sink>(&self, mut stream: &TcpStream, sink: &mut S) {
        let mut buffer = AlignedBuf::zeroed(64 * 1024);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => self.received(&buffer[..len], sink),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // Ends a write that waits for a server that has stopped reading, too.
        let _ = stream.shutdown(Shutdown::Both);
        let mut state = self.lock();
        state.ended = true;
        let at_prompt = state.owed() == 0 && !state.leaving;
        drop(state);
        self.changed.notify_all();
        if at_prompt {
            sink.ended();
        }
    }

    fn received<S: Sink>(&self, mut rest: &[u8], sink: &mut S) {
        while !rest.is_empty() {
            // What nobody sent for waits in the kernel: a server cannot fill our memory.
            let mut state = self.wait_while(|state| S::WAITS && state.owed() == 0 && !state.leaving);
            let offset = state.offset + state.back as u64;
            let owed = state.owed();
            if owed == 0 && state.leaving && !S::WAITS {
                return;
            }
            let (now, later) = rest.split_at(owed.min(rest.len()));
            let last = now.len() == owed && state.ends_line;
            let unasked = if owed == 0 || (last && !S::WAITS) { later } else { &[] };
            let difference = state.compare(now);
            state.differs |= difference.is_some() || !unasked.is_empty();
            state.printing = true;
            drop(state);

            let mut printed = if now.is_empty() { Ok(()) } else { sink.print(now, last) };
            if let Some(difference) = difference {
                sink.differs(&difference);
            }
            if !unasked.is_empty() {
                let unasked = Unasked { after: offset + now.len() as u64, bytes: unasked };
                printed = printed.and(sink.unasked(&unasked, !now.is_empty()));
            }
            rest = if unasked.is_empty() { later } else { &[] };

            let mut state = self.lock();
            state.back += now.len();
            (state.moved_at, state.printing) = (Instant::now(), false);
            state.unprinted = state.unprinted.take().or(printed.err());
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Calls `report` with what is missing when nothing has come for [`SILENCE`], once for each piece. Returns when
    /// there is nothing more to wait for.
    pub(super) fn watch(&self, report: impl Fn(&Missing)) {
        loop {
            let mut state = self.lock();
            if state.ended || state.leaving {
                return;
            }
            let waits = state.owed() > 0 && !state.printing && !state.reported;
            let left = SILENCE.saturating_sub(state.moved_at.elapsed());
            if waits && left.is_zero() {
                state.reported = true;
                let missing = Missing { bytes: state.owed(), of: state.sent.len() };
                drop(state);
                report(&missing);
                continue;
            }
            drop(state);
            let (nap, began) = (if waits { left } else { SILENCE }, Instant::now());
            thread::sleep(nap);
            if began.elapsed() > nap + STOPPED {
                // What came in the meantime is still to be received.
                self.lock().moved_at = Instant::now();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_while(self.lock(), |state| condition(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Bytes that have not come back yet.
    fn owed(&self) -> usize {
        self.sent.len() - self.back
    }

    /// Compares the next bytes that came back.
    fn compare(&self, bytes: &[u8]) -> Option<Difference> {
        let expected = &self.sent[self.back..][..bytes.len()];
        if expected == bytes {
            return None;
        }
        let at = expected.iter().zip(bytes).position(|(expected, got)| expected != got)?;
        Some(Difference {
            offset: self.offset + (self.back + at) as u64,
            expected: expected[at],
            got: bytes[at],
        })
    }
}

/// The first byte that is not the one that was sent.
pub(super) struct Difference {
    /// Counted from 0, in the line or in the whole input.
    offset: u64,
    expected: u8,
    got: u8,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (expected, got) = (Byte(self.expected), Byte(self.got));
        write!(f, "the echo is not what was sent: offset {}, expected {expected}, got {got}", self.offset)
    }
}

/// `0x61 ('a')`
struct Byte(u8);

impl fmt::Display for Byte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)?;
        if self.0.is_ascii_graphic() { write!(f, " ('{}')", char::from(self.0)) } else { Ok(()) }
    }
}

/// Bytes that answer nothing.
pub(super) struct Unasked<'a> {
    /// Bytes of the line, or of the whole input, before them.
    pub(super) after: u64,
    pub(super) bytes: &'a [u8],
}

impl fmt::Display for Unasked<'_> {
    /// The first of them, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.bytes[..self.bytes.len().min(SHOWN)];
        let text = visible(shown).replace('\n', "\\n").replace('\t', "\\t");
        write!(f, "\"{text}\"{}", if shown.len() < self.bytes.len() { " and more" } else { "" })
    }
}

/// Bytes of a piece that have not come yet.
pub(super) struct Missing {
    bytes: usize,
    of: usize,
}

impl Missing {
    /// Whether some of the piece has come.
    pub(super) fn is_partial(&self) -> bool {
        self.bytes < self.of
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Missing { bytes, of }, seconds) = (self, SILENCE.as_secs());
        let of = count(*of as u64, "byte");
        write!(f, "no echo for {seconds} s; still waiting for {bytes} of {of}; Ctrl-C gives up")
    }
}
