//! What handlers may touch of a worker: its sessions, timers and counters, but neither the driver nor another
//! handler. What a callback asks for is noted here and carried out when it has returned.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use proactor::{ConnectionKey, SocketOptions, Time};

use crate::config::{Config, Overflow};
use crate::observe::{Event, Report};
use crate::session::{CloseReason, Phase, PostToSession, Sent, SessionId, SessionState, Table};
use crate::sync::atomic::Ordering;
use crate::timers::{Due, Wheel};

pub(crate) struct Core {
    pub(crate) worker: u32,
    pub(crate) config: Arc<Config>,
    pub(crate) sessions: Table,
    /// Sessions with something to submit or to close, since the last flush.
    pub(crate) touched: Vec<ConnectionKey>,
    /// Sessions that the next turn flushes, because this turn's budget is used up. Each is still marked as touched.
    pub(crate) deferred: Vec<ConnectionKey>,
    /// Bytes that the present flush may still send.
    pub(crate) flush_budget: usize,
    /// Outbound connections asked for, since the last flush.
    pub(crate) connects: VecDeque<Connect>,
    pub(crate) timers: Wheel<Due>,
    /// The time, as of this turn.
    pub(crate) now: Time,
    pub(crate) report: Report,
    pub(crate) mailbox: Arc<dyn PostToSession>,
    pub(crate) draining: bool,
    pub(crate) callback: CurrentCallback,
}

/// Whose code runs: a panic is put down to it, and a drain asks who wants to connect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CurrentCallback {
    /// The engine's. A panic in here is a bug of ours: it ends the worker.
    None,
    /// The handler's, for no session in particular.
    Worker,
    /// The handler's, in `on_connect_failed` or `on_panic`, for no session in particular.
    Answer {
        /// Connects that were refused in a row, up to the one that this is the answer to.
        refusals: u8,
    },
    /// The handler's, for this session, which may have ended: `on_close`.
    Session(ConnectionKey),
}

/// An outbound connection that was asked for.
pub(crate) struct Connect {
    pub(crate) address: SocketAddr,
    pub(crate) token: u64,
    /// How many were refused in a row, this one included. If it was, that is only still to be told.
    pub(crate) refusals: u8,
    /// In place of the server's.
    pub(crate) options: Option<SocketOptions>,
}

/// A handler that asks again whenever it is refused is answered so often: more than a reasonable one tries.
pub(crate) const MOST_REFUSALS: u8 = 16;

impl Core {
    pub(crate) fn id(&self, key: ConnectionKey) -> SessionId {
        SessionId { worker: self.worker, key }
    }

    pub(crate) fn lives_here(&self, id: SessionId) -> bool {
        id.worker == self.worker && self.sessions.get(id.key).is_some()
    }

    /// How many connects in a row were refused, with one that the callback at hand asks for; 0 if it may connect.
    pub(super) fn refusals(&self) -> u8 {
        match self.callback {
            _ if !self.draining => 0,
            CurrentCallback::Session(key) if self.sessions.get(key).is_some_and(SessionState::is_live) => 0,
            CurrentCallback::Answer { refusals } => refusals + 1,
            CurrentCallback::Session(_) | CurrentCallback::Worker | CurrentCallback::None => 1,
        }
    }

    /// Notes that a session has something for the next flush.
    #[inline]
    pub(crate) fn touch(&mut self, key: ConnectionKey) {
        if let Some(state) = self.sessions.get_mut(key)
            && !state.touched
        {
            state.touched = true;
            self.touched.push(key);
        }
    }

    /// Too much is unsent in a session: its source is held.
    pub(crate) fn now_full(&mut self, key: ConnectionKey) {
        let Some(state) = self.sessions.get_mut(key) else { return };
        if !std::mem::replace(&mut state.full, true) {
            let source = state.source;
            self.hold(source, 1);
        }
    }

    /// A session has room again, or takes nothing any more: its source is let go.
    pub(crate) fn no_longer_full(&mut self, key: ConnectionKey) {
        let Some(state) = self.sessions.get_mut(key) else { return };
        if std::mem::take(&mut state.full) {
            let source = state.source;
            self.hold(source, -1);
        }
    }

    fn hold(&mut self, source: ConnectionKey, by: i32) {
        if let Some(state) = self.sessions.get_mut(source) {
            state.hold(by);
            state.active_at = state.active_at.max(self.now);
            self.look_at_receive(source);
        }
    }

    /// The next flush pauses or resumes the receive of a session, as its state says by then.
    pub(crate) fn look_at_receive(&mut self, key: ConnectionKey) {
        if let Some(state) = self.sessions.get_mut(key) {
            state.receive_changed = true;
            self.touch(key);
        }
    }

    /// What `from` receives goes to `to`: while that is full, `from` is held.
    pub(crate) fn feed(&mut self, from: ConnectionKey, to: ConnectionKey) -> bool {
        if self.sessions.get(from).is_none() {
            return false;
        }
        let Some(target) = self.sessions.get_mut(to) else { return false };
        let before = std::mem::replace(&mut target.source, from);
        if target.full {
            self.hold(before, -1);
            self.hold(from, 1);
        }
        true
    }

    /// Begins a graceful close.
    pub(crate) fn close(&mut self, key: ConnectionKey, reason: CloseReason) {
        let Some(state) = self.sessions.get_mut(key) else { return };
        if !state.is_live() {
            return;
        }
        // A peer that ended its stream first ended the session, whoever says the last word.
        let peer_first = state.peer_finished && state.phase == Phase::Open;
        let reason =
            if peer_first && reason == CloseReason::Local { CloseReason::EndOfStream } else { reason };
        state.advance(Phase::Finishing, reason);
        state.send_since = self.now;
        self.discard_kept(key);
        self.cancel_timers(key);
        self.take_no_more(key);
    }

    /// Begins to end this side's stream. With the peer's over, that is the end of the session.
    pub(crate) fn end_stream(&mut self, key: ConnectionKey) {
        let Some(state) = self.sessions.get_mut(key) else { return };
        if state.phase != Phase::Open {
            return;
        }
        if state.peer_finished {
            return self.close(key, CloseReason::Local);
        }
        state.phase = Phase::Ending;
        self.take_no_more(key);
    }

    /// Handles answer "closed" from now on; the next flush does the rest.
    fn take_no_more(&mut self, key: ConnectionKey) {
        if let Some(state) = self.sessions.get_mut(key)
            && let Some(handle) = &state.handle
        {
            handle.closed.store(true, Ordering::Release);
            if !state.is_live() {
                handle.closing.store(true, Ordering::Release);
            }
        }
        self.touch(key);
    }

    /// Ends a session at once; what it has queued is lost.
    pub(crate) fn abort(&mut self, key: ConnectionKey, reason: CloseReason) {
        let Some(state) = self.sessions.get_mut(key) else { return };
        if state.phase >= Phase::Closing {
            return;
        }
        state.advance(Phase::Aborting, reason);
        self.discard_kept(key);
        self.cancel_timers(key);
        self.take_no_more(key);
    }

    /// What waited for a session that closes reaches its handler no more.
    fn discard_kept(&mut self, key: ConnectionKey) {
        let session = self.id(key);
        let bytes = self.sessions.get_mut(key).map_or(0, SessionState::drop_kept);
        if bytes > 0 {
            self.report.emit(&Event::Discarded { session, bytes });
        }
    }

    /// Sets a session's timer for `token`, or moves it. Nothing is set in a session that is closing: its handler hears
    /// no more of it.
    pub(crate) fn set_timer(&mut self, key: ConnectionKey, at: Time, token: u64) {
        if let Some(state) = self.sessions.get_mut(key).filter(|state| state.is_live()) {
            state.timers.get_or_insert_default().set(&mut self.timers, key, token, at);
        }
    }

    /// Cancels a session's timer for `token`. False if none is set.
    pub(crate) fn cancel_timer(&mut self, key: ConnectionKey, token: u64) -> bool {
        let timers = self.sessions.get_mut(key).and_then(|state| state.timers.as_mut());
        timers.is_some_and(|timers| timers.cancel(&mut self.timers, token))
    }

    /// A session's timer for `token` fires: another one may be set for it.
    pub(crate) fn timer_fired(&mut self, key: ConnectionKey, token: u64) {
        if let Some(timers) = self.sessions.get_mut(key).and_then(|state| state.timers.as_mut()) {
            timers.fired(token);
        }
    }

    /// Cancels every timer of a session.
    pub(crate) fn cancel_timers(&mut self, key: ConnectionKey) {
        if let Some(timers) = self.sessions.get_mut(key).and_then(|state| state.timers.take()) {
            timers.cancel_all(&mut self.timers);
        }
    }

    /// The hard limit of a session is reached (INV-6).
    #[cold]
    pub(crate) fn overflow(&mut self, key: ConnectionKey) -> Sent {
        match self.config.overflow {
            Overflow::Close => self.abort(key, CloseReason::Overflow),
            Overflow::Refuse => {
                if let Some(state) = self.sessions.get_mut(key) {
                    state.wants_writable = true;
                }
            }
        }
        Sent::Full
    }
}
