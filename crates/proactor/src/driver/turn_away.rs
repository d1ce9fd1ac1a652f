//! Refusing connections that were accepted and are not wanted: the peer reads an end of stream, not a reset.
//!
//! Closing a socket with unread bytes resets its connection (RFC 2525, section 2.17), and on many systems the peer
//! then does not see the end of stream. So FIN is sent at once, what arrives is discarded, and the socket is closed
//! when the peer has ended its stream too, at the latest [`LIMIT`] after it was turned away. A last word goes out
//! before the FIN; what the system does not take of it at once is sent as the peer reads, within the same time.
//!
//! Such a socket is not a connection: it has no operation in flight, no slot and no block. It costs its descriptor
//! and one non-blocking read every [`LOOK`]. If more has arrived than one call discards, the next turn continues; all
//! sockets together get [`PER_TURN`] such calls per turn, so that connections are served in between. A driver holds
//! at most [`MOST`] of them. When there is one more, the oldest is closed; when accepting runs out of descriptors,
//! half of them are.
//!
//! Only a peer that still sends after its time is over sees a reset.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::backend::{Backend, Wait};
use crate::operation::Close;
use crate::os::is_out_of_descriptors;
use crate::socket::{Discarded, MOST_DISCARDS, SocketCalls, discard_arrived};
use crate::time::Time;

use super::Driver;

/// How long a peer may take to end its stream.
pub(super) const LIMIT: Duration = Duration::from_millis(100);
/// How often received bytes are discarded until then.
const LOOK: Duration = Duration::from_millis(10);
/// Calls per turn that may discard a full 256 KiB: 1 MiB takes about as long as a few messages.
const PER_TURN: usize = 4;
/// Calls that may follow each other without waiting, for one socket: 16 MiB, more than any buffers hold. After that,
/// a peer that sends without end is read every [`LOOK`] only.
const AT_ONCE: u8 = 64;
/// Sockets that one driver turns away at a time, by default.
pub(super) const MOST: usize = 128;

/// A socket that is turned away.
struct Refused<S> {
    socket: S,
    /// What the system has not taken yet of the last word. `None` once FIN is out.
    word: Option<Vec<u8>>,
    /// When it is closed at the latest.
    until: Time,
    state: State,
    /// What is left of [`AT_ONCE`].
    at_once: u8,
}

impl<S> Refused<S> {
    /// Sends what the system takes of the last word, then FIN, and discards what has arrived, once.
    fn step(&mut self, calls: &impl SocketCalls<S>) -> State {
        let Ok(progress) = self.send_word(calls) else { return State::Over };
        match calls.discard(&self.socket) {
            Err(_) => State::Over,
            Ok(Discarded::More) => State::Due,
            Ok(Discarded::Ended) if self.word.is_none() => State::Over,
            Ok(Discarded::Ended | Discarded::Nothing) if progress && self.word.is_some() => State::Due,
            Ok(Discarded::Ended | Discarded::Nothing) => State::Heard,
        }
    }

    /// Returns whether the system has taken some of the last word. FIN follows its last byte.
    fn send_word(&mut self, calls: &impl SocketCalls<S>) -> io::Result<bool> {
        let Some(word) = &mut self.word else { return Ok(false) };
        let taken = if word.is_empty() { 0 } else { calls.send(&self.socket, word)? };
        word.drain(..taken);
        if word.is_empty() {
            self.word = None;
            calls.shutdown_write(&self.socket)?;
        }
        Ok(taken > 0)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was read, and waits for the next [`LOOK`].
    Heard,
    /// It is to be read in this turn or the next.
    Due,
    /// Nothing more comes from the peer: it has ended its stream, or the connection broke.
    Over,
}

/// The sockets that a driver turns away.
pub(super) struct TurnedAway<S> {
    /// The oldest first.
    sockets: VecDeque<Refused<S>>,
    /// When all of them are read next; meaningful while there are some.
    look_at: Time,
    /// True exactly when some may be due and the next turn must continue.
    unfinished: bool,
    /// Where the next turn continues, if there are still as many.
    next: usize,
    most: usize,
    /// True exactly when one was closed since accepting last ran out of descriptors.
    closed: bool,
}

impl<S> TurnedAway<S> {
    pub(super) const fn new() -> TurnedAway<S> {
        TurnedAway {
            sockets: VecDeque::new(),
            look_at: Time::ZERO,
            unfinished: false,
            next: 0,
            most: MOST,
            closed: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// When all of them are read next, if there are any.
    pub(super) fn due(&self) -> Option<Time> {
        (!self.is_empty()).then_some(self.look_at)
    }
}

impl<B: Backend> Driver<B> {
    /// Turns away a socket that was accepted but is not wanted. FIN is sent at once, all received bytes are discarded,
    /// and the socket is closed when the peer ends its stream, at the latest after 100 ms. So the peer reads an end of
    /// stream. Only a peer that still sends after the 100 ms sees a reset: closing a socket resets the connection if
    /// bytes are unread at that moment (RFC 2525, section 2.17) or arrive later.
    ///
    /// Sockets turned away are counted in [`Snapshot::turned_away`](super::Snapshot::turned_away) until they are closed.
    /// No event follows. Dropping the driver closes what is left.
    pub fn refuse(&mut self, socket: B::Socket) {
        self.refuse_with(socket, &[]);
    }

    /// The same, with a last word: `word` is sent before FIN, so the peer reads `word`, then the end of stream. A word
    /// of a few kilobytes fits into the send buffer of a new connection and is out at once. What does not fit is sent
    /// as the peer reads, and is lost if the peer has not read it when the socket is closed: after 100 ms, or as the
    /// oldest of too many.
    pub fn refuse_with(&mut self, socket: B::Socket, word: &[u8]) {
        let now = self.backend.now();
        let word = Some(word.to_vec());
        let mut refused = Refused { socket, word, until: now + LIMIT, state: State::Due, at_once: AT_ONCE };
        refused.state = refused.step(self.backend.calls());
        if refused.state == State::Over {
            return self.close_refused(refused.socket);
        }
        if self.turned_away.is_empty() {
            self.turned_away.look_at = now + LOOK;
        }
        self.turned_away.unfinished |= refused.state == State::Due;
        self.turned_away.sockets.push_back(refused);
        let mut calls = MOST_DISCARDS;
        while self.turned_away.len() > self.turned_away.most {
            self.close_oldest_refused(&mut calls);
        }
    }

    /// How many sockets may be turned away at a time; each keeps a descriptor for up to 100 ms. If there would be
    /// more, the oldest is closed. Before that, up to 8 MiB of received bytes are discarded, so its peer reads an end
    /// of stream, unless bytes arrive later: then the connection is reset. Default: 128. With 0, each is closed this
    /// way at once.
    pub fn turn_away_at_most(&mut self, sockets: usize) {
        self.turned_away.most = sockets;
        let mut calls = MOST_DISCARDS;
        while self.turned_away.len() > sockets {
            self.close_oldest_refused(&mut calls);
        }
    }

    /// Discards what has arrived for the sockets turned away, closes those whose peers have ended or whose time is
    /// over, and shortens the wait so that it ends in time for the rest.
    #[cold]
    pub(super) fn look_at_turned_away(&mut self, wait: Wait) -> Wait {
        let now = self.backend.now();
        if now >= self.turned_away.look_at {
            self.turned_away.look_at = now + LOOK;
            self.turned_away.unfinished = true;
            self.turned_away.sockets.iter_mut().for_each(|refused| refused.state = State::Due);
        }
        if self.turned_away.unfinished {
            self.discard_due();
            self.close_those_over(now);
        }
        // When the last one is gone the wait ends: a drain waits for that.
        let at_once = self.turned_away.is_empty() || self.turned_away.unfinished;
        wait.at_latest(if at_once { now } else { self.turned_away.look_at })
    }

    /// Discards once for each socket that is due, within this turn's limit of calls. The next turn continues from
    /// there.
    fn discard_due(&mut self) {
        let (all, mut left) = (self.turned_away.len(), PER_TURN);
        let first = self.turned_away.next;
        self.turned_away.unfinished = false;
        for at in (0..all).map(|step| (first + step) % all) {
            if self.turned_away.sockets[at].state != State::Due {
                continue;
            }
            if left == 0 {
                (self.turned_away.next, self.turned_away.unfinished) = (at, true);
                return;
            }
            let refused = &mut self.turned_away.sockets[at];
            refused.state = refused.step(self.backend.calls());
            if refused.state == State::Due {
                left -= 1;
                refused.at_once = refused.at_once.saturating_sub(1);
                if refused.at_once == 0 {
                    refused.state = State::Heard;
                } else {
                    self.turned_away.unfinished = true;
                }
            }
        }
    }

    fn close_those_over(&mut self, now: Time) {
        let mut calls = MOST_DISCARDS;
        for _ in 0..self.turned_away.len() {
            let Some(refused) = self.turned_away.sockets.pop_front() else { return };
            if refused.state == State::Over {
                self.close_refused(refused.socket);
            } else if now >= refused.until {
                self.discard_at_last(&refused.socket, &mut calls);
                self.close_refused(refused.socket);
            } else {
                self.turned_away.sockets.push_back(refused);
            }
        }
    }

    /// Accepting has failed with `error`. True if descriptors ran out, and sockets that were turned away have given
    /// some back since the last such failure: accepting may continue at once. This cannot spin: each time at least
    /// one of these sockets is closed. A ring takes a descriptor before it looks at the backlog, so it may fail with
    /// no connection waiting.
    #[cold]
    pub(super) fn has_made_room(&mut self, error: &io::Error) -> bool {
        if !is_out_of_descriptors(error) {
            return false;
        }
        if !self.turned_away.closed {
            let mut calls = MOST_DISCARDS;
            for _ in 0..self.turned_away.len().div_ceil(2) {
                self.close_oldest_refused(&mut calls);
            }
        }
        std::mem::take(&mut self.turned_away.closed)
    }

    /// Closes all of them now.
    pub(super) fn close_turned_away(&mut self) {
        let mut calls = MOST_DISCARDS;
        while !self.turned_away.is_empty() {
            self.close_oldest_refused(&mut calls);
        }
    }

    fn close_oldest_refused(&mut self, calls: &mut usize) {
        if let Some(Refused { socket, .. }) = self.turned_away.sockets.pop_front() {
            self.discard_at_last(&socket, calls);
            self.close_refused(socket);
        }
    }

    /// Unread bytes must not turn the close into a reset. `calls` bounds all that are closed together.
    fn discard_at_last(&mut self, socket: &B::Socket, calls: &mut usize) {
        discard_arrived(|| self.backend.calls().discard(socket), calls);
    }

    fn close_refused(&mut self, socket: B::Socket) {
        self.backend.close(socket, None, Close::Graceful);
        self.turned_away.closed = true;
    }
}
