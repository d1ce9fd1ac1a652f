//! The engine's state of one session: small, because ten thousand of them sit idle.

use std::net::SocketAddr;
use std::sync::Arc;

use proactor::{ConnectionKey, Time};

use super::{CloseReason, HandleState, SendQueue, SessionTimers};

/// Where a session is in its life. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Receiving and sending.
    Open,
    /// Our stream ends when what is queued is out; the peer's goes on.
    Ending,
    /// Closing gracefully: what is queued goes out, then FIN.
    Finishing,
    /// FIN is out; what still arrives is discarded until the peer's FIN comes.
    Lingering,
    /// Handed to the driver to close gracefully; only its release is awaited.
    Closing,
    /// To be aborted with the next flush; then only its release is awaited.
    Aborting,
}

/// In the order of use: what a message touches is on the first two cache lines.
#[repr(C, align(64))]
pub(crate) struct SessionState {
    pub(crate) key: ConnectionKey,
    pub(crate) phase: Phase,
    /// True exactly when it stands in the worker's list of sessions to flush.
    pub(crate) touched: bool,
    /// True exactly when its source is held because too much is unsent here.
    pub(crate) full: bool,
    /// True exactly when `on_writable` is owed once the queue is low.
    pub(crate) wants_writable: bool,
    /// Whether the next send in flight needs no timer of its own for the write deadline.
    pub(crate) watched: bool,
    /// True exactly when the next flush has to look whether its receive should be paused.
    pub(crate) receive_changed: bool,
    pub(crate) reason: Option<CloseReason>,
    /// When bytes last moved, to the turn.
    pub(crate) active_at: Time,
    /// When the send in flight was submitted.
    pub(crate) send_since: Time,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Made when somebody asks for a handle.
    pub(crate) handle: Option<Arc<HandleState>>,
    pub(crate) queue: SendQueue,
    pub(crate) opened_at: Time,
    /// Kept only when somebody observes events.
    pub(crate) peer: Option<Box<SocketAddr>>,
    /// Whose receive is held while too much is unsent here: its own, or that of the session that feeds it.
    pub(crate) source: ConnectionKey,
    /// How many sessions hold its receive because they are full: those that it feeds, or itself.
    pub(crate) holds: u32,
    /// Whether its handler wants its receive paused.
    pub(crate) wants_pause: bool,
    /// True exactly when the peer has sent FIN.
    pub(crate) peer_finished: bool,
    /// Bytes of the payload in flight that were out when the write deadline last looked and saw progress.
    pub(crate) send_progress: usize,
    /// When that was.
    pub(crate) progress_at: Time,
    /// In a drain: everything that had arrived was taken in; what comes after that comes too late.
    pub(crate) taken_in: bool,
    /// True exactly when our FIN is out.
    pub(crate) finished: bool,
    /// What it was opened with, if with `connect`.
    pub(crate) token: Option<u64>,
    /// Made when the first timer is set.
    pub(crate) timers: Option<Box<SessionTimers>>,
}

#[cfg(target_pointer_width = "64")]
const _: () =
    assert!(std::mem::offset_of!(SessionState, opened_at) == 128, "the rest begins on the third line");

impl SessionState {
    pub(crate) fn new(key: ConnectionKey, token: Option<u64>, now: Time) -> SessionState {
        SessionState {
            key,
            phase: Phase::Open,
            touched: false,
            full: false,
            peer_finished: false,
            send_progress: 0,
            progress_at: Time::ZERO,
            taken_in: false,
            finished: false,
            wants_writable: false,
            watched: false,
            receive_changed: false,
            reason: None,
            queue: SendQueue::default(),
            opened_at: now,
            active_at: now,
            send_since: now,
            received: 0,
            sent: 0,
            handle: None,
            peer: None,
            source: key,
            holds: 0,
            wants_pause: false,
            token,
            timers: None,
        }
    }

    /// Whether its handler still hears of it.
    pub(crate) fn is_live(&self) -> bool {
        self.phase <= Phase::Ending
    }

    /// Whether nothing speaks against receiving.
    pub(crate) fn may_receive(&self) -> bool {
        self.holds == 0 && !self.wants_pause
    }

    /// Moves to a later phase. The first reason given stays.
    pub(crate) fn advance(&mut self, to: Phase, reason: CloseReason) {
        debug_assert!(to >= self.phase);
        self.phase = to;
        self.reason.get_or_insert(reason);
    }

    /// The payload in flight is out. Returns its length.
    #[inline]
    pub(crate) fn sent_one(&mut self, now: Time) -> usize {
        let bytes = self.queue.sent();
        self.sent += bytes as u64;
        self.active_at = now;
        bytes
    }
}
