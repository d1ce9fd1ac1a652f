//! Turning away connections that were accepted and are not wanted: the peer reads an end of stream, not a reset.
//!
//! A socket that is closed while received bytes wait unread resets its connection (RFC 2525, section 2.17), and many
//! systems then hide the end of stream from the peer. So FIN goes out at once, what arrives is discarded, and the socket
//! is closed when the peer has ended its stream too, or [`LIMIT`] after it was turned away.
//!
//! Such a socket is no connection: nothing is in flight for it, it has no slot and takes no block. It costs its
//! descriptor, and a read that does not wait every [`LOOK`]. Only [`MOST`] of them are held by a driver: when another
//! one comes, the oldest is closed, and when accepting runs out of descriptors, so is half of them.
//!
//! A reset is left to those whose bytes arrive after that: a peer that still sends when its time is over.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::backend::{Backend, Close, Wait};
use crate::time::Time;

use super::Driver;

/// How long a peer may take to end its stream.
pub(super) const LIMIT: Duration = Duration::from_millis(100);
/// How often what has arrived is discarded meanwhile.
const LOOK: Duration = Duration::from_millis(10);
/// Sockets that are turned away by one driver at a time, if it is not told otherwise.
pub(super) const MOST: usize = 128;

/// The sockets that a driver turns away.
pub(super) struct TurnedAway<S> {
    /// Each with the moment at which it is closed at the latest, the oldest first.
    sockets: VecDeque<(S, Time)>,
    /// When all of them are looked at next; meaningful while there are some.
    look_at: Time,
    most: usize,
    /// True exactly when one was closed since accepting last ran out of descriptors.
    closed: bool,
}

impl<S> TurnedAway<S> {
    pub(super) const fn new() -> TurnedAway<S> {
        TurnedAway { sockets: VecDeque::new(), look_at: Time::ZERO, most: MOST, closed: false }
    }

    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }
}

impl<B: Backend> Driver<B> {
    /// Turns away a socket that was accepted and is not wanted: FIN goes out at once, what its peer has sent or still
    /// sends is discarded, and the socket is closed when the peer ends its stream, at the latest after 100 ms. So the
    /// peer reads an end of stream, unless it still sends after that time: closing then resets the connection.
    ///
    /// Sockets turned away are counted in [`Snapshot::turned_away`](super::Snapshot::turned_away) until they are closed.
    /// No event follows. Dropping the driver closes what is left.
    pub fn refuse(&mut self, socket: B::Socket) {
        if self.backend.shutdown_write(&socket).is_err() || self.is_over(&socket) {
            return self.close_refused(socket);
        }
        let now = self.backend.now();
        if self.turned_away.is_empty() {
            self.turned_away.look_at = now + LOOK;
        }
        self.turned_away.sockets.push_back((socket, now + LIMIT));
        while self.turned_away.len() > self.turned_away.most {
            self.close_oldest_refused();
        }
    }

    /// How many sockets may be turned away at a time: each keeps a descriptor for up to 100 ms. The oldest is closed when
    /// there would be more. Default: 128. With 0, each is closed as soon as what had arrived is discarded.
    pub fn turn_away_at_most(&mut self, sockets: usize) {
        self.turned_away.most = sockets;
        while self.turned_away.len() > sockets {
            self.close_oldest_refused();
        }
    }

    /// Discards what has arrived for the sockets turned away, closes those whose peers have ended or whose time is over,
    /// and sees to it that the wait ends in time for the rest.
    #[cold]
    pub(super) fn look_at_turned_away(&mut self, wait: Wait) -> Wait {
        let now = self.backend.now();
        if now >= self.turned_away.look_at {
            self.turned_away.look_at = now + LOOK;
            for _ in 0..self.turned_away.len() {
                let Some((socket, until)) = self.turned_away.sockets.pop_front() else { break };
                if self.is_over(&socket) || now >= until {
                    self.close_refused(socket);
                } else {
                    self.turned_away.sockets.push_back((socket, until));
                }
            }
        }
        // With the last of them gone the wait ends: a drain waits for that.
        let next = if self.turned_away.is_empty() { now } else { self.turned_away.look_at };
        wait.at_latest(next)
    }

    /// Accepting has failed with `error`. True if that is want of descriptors, and some that were turned away have given
    /// theirs back since that was last so: accepting may go on at once. It does not spin, for each time at least one of them
    /// is gone for good. A ring takes the descriptor before it looks at the backlog, so it may fail with nobody waiting.
    #[cold]
    pub(super) fn has_made_room(&mut self, error: &io::Error) -> bool {
        if !is_out_of_descriptors(error) {
            return false;
        }
        if !self.turned_away.closed {
            for _ in 0..self.turned_away.len().div_ceil(2) {
                self.close_oldest_refused();
            }
        }
        std::mem::take(&mut self.turned_away.closed)
    }

    /// Closes all of them now.
    pub(super) fn close_turned_away(&mut self) {
        while !self.turned_away.is_empty() {
            self.close_oldest_refused();
        }
    }

    fn close_oldest_refused(&mut self) {
        if let Some((socket, _)) = self.turned_away.sockets.pop_front() {
            // What arrived until now must not turn the close into a reset.
            let _ = self.backend.discard(&socket);
            self.close_refused(socket);
        }
    }

    fn close_refused(&mut self, socket: B::Socket) {
        self.backend.close(socket, None, Close::Graceful);
        self.turned_away.closed = true;
    }

    /// Whether nothing more comes from the peer: it has ended its stream, or the connection broke.
    fn is_over(&mut self, socket: &B::Socket) -> bool {
        self.backend.discard(socket).unwrap_or(true)
    }
}

/// Whether the process or the system has no descriptor left: `accept(2)`, and Microsoft's "Windows Sockets Error Codes".
fn is_out_of_descriptors(error: &io::Error) -> bool {
    #[cfg(unix)]
    const CODES: [i32; 2] = [libc::EMFILE, libc::ENFILE];
    #[cfg(windows)]
    const CODES: [i32; 1] = [windows_sys::Win32::Networking::WinSock::WSAEMFILE];
    error.raw_os_error().is_some_and(|code| CODES.contains(&code))
}
