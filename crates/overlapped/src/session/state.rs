//! The engine's state of one session: small, because ten thousand of them sit idle.

use std::net::SocketAddr;
use std::sync::Arc;

use proactor::{ConnectionKey, Lease, Time};

use super::{CloseReason, HandleState, Held, SendQueue, SessionTimers};

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

impl Phase {
    /// Whether a session in this phase has not begun to close: its handler still hears of it.
    pub(crate) fn is_live(self) -> bool {
        self <= Phase::Ending
    }
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
    /// True exactly when what arrives has to wait: the receive is paused or held, or earlier bytes wait.
    pub(crate) held_back: bool,
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
    holds: u32,
    /// Whether its handler wants its receive paused.
    wants_pause: bool,
    /// What arrived and waits until the session goes on; allocated when there is some.
    held: Option<Box<Held>>,
    /// True exactly when the peer has sent FIN.
    pub(crate) peer_finished: bool,
    /// How far the system was when a deadline last asked it: bytes out of the payload in flight, and bytes that the
    /// peer's system has acknowledged, added up. Only whether it changes means something.
    pub(crate) moved: u64,
    /// When a deadline last asked and saw that change.
    pub(crate) moved_at: Time,
    /// True exactly when bytes of the peer were seen in the socket that were not received yet.
    spoke_unheard: bool,
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
            moved: 0,
            moved_at: Time::ZERO,
            spoke_unheard: false,
            taken_in: false,
            finished: false,
            wants_writable: false,
            watched: false,
            receive_changed: false,
            held_back: false,
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
            held: None,
            token,
            timers: None,
        }
    }

    /// Whether its handler still hears of it.
    pub(crate) fn is_live(&self) -> bool {
        self.phase.is_live()
    }

    /// Whether the handler may be called with bytes: nobody holds the session, and its handler has not paused it.
    pub(crate) fn may_go_on(&self) -> bool {
        self.holds == 0 && !self.wants_pause
    }

    /// Whether the peer has sent anything, also if it was not received yet.
    pub(crate) fn has_spoken(&self) -> bool {
        self.received > 0 || self.spoke_unheard
    }

    /// Bytes of the peer wait in the socket; they count as arrived at `at`.
    pub(crate) fn peer_has_spoken(&mut self, at: Time) {
        self.spoke_unheard = true;
        self.active_at = at;
    }

    /// Whether its handler has paused it.
    pub(crate) fn is_paused(&self) -> bool {
        self.wants_pause
    }

    /// Changes whether its handler wants it paused. True if that is a change.
    pub(crate) fn set_paused(&mut self, paused: bool) -> bool {
        let before = std::mem::replace(&mut self.wants_pause, paused);
        self.update_held_back();
        before != paused
    }

    /// Counts a full session that holds this one in, or one out.
    pub(crate) fn hold(&mut self, by: i32) {
        self.holds = self.holds.checked_add_signed(by).expect("a session is released by those who held it");
        self.update_held_back();
    }

    /// Whether another session than itself holds its receive.
    pub(crate) fn is_held_by_another(&self) -> bool {
        self.holds > u32::from(self.full && self.source == self.key)
    }

    /// Keeps what arrived until the session goes on: behind what waits already, or before it if the handler was called
    /// with it and could not take it.
    pub(crate) fn keep(&mut self, data: Lease, handler_had_it: bool) {
        let held = self.held.get_or_insert_default();
        if handler_had_it {
            held.push_front(data);
        } else {
            held.push_back(data);
        }
        self.update_held_back();
    }

    /// The peer's end of stream waits behind what waits. False if nothing does.
    pub(crate) fn keep_end(&mut self) -> bool {
        self.held.as_mut().map(|held| held.ended = true).is_some()
    }

    /// Takes out the first piece of what waits, and whether the peer's end of stream came behind it.
    pub(crate) fn take_kept(&mut self) -> Option<(Lease, bool)> {
        let held = self.held.as_mut()?;
        let data = held.pop()?;
        let ended = held.ended && held.is_empty();
        if held.is_empty() {
            self.held = None;
        }
        self.update_held_back();
        Some((data, ended))
    }

    /// Drops what waits. Returns how many bytes that were.
    pub(crate) fn drop_kept(&mut self) -> usize {
        let held = self.held.take();
        self.update_held_back();
        held.map_or(0, |held| held.bytes())
    }

    fn update_held_back(&mut self) {
        self.held_back = !self.may_go_on() || self.held.is_some();
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
