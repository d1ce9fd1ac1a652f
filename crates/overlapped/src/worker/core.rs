//! What handlers may touch of a worker: its sessions, timers and counters, but neither the driver nor another
//! handler. What a callback asks for is noted here and carried out when it has returned.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use proactor::backend::Backend;
use proactor::{ConnectionKey, Driver, Payload, SocketOptions, Time};

use crate::config::{Config, Overflow};
use crate::events::{Event, Report};
use crate::mailbox::PostToSession;
use crate::session::{CloseReason, Phase, Sent, Session, SessionId, SessionState, Table};
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
pub(super) const MOST_REFUSALS: u8 = 16;

impl Core {
    pub(crate) fn id(&self, key: ConnectionKey) -> SessionId {
        SessionId { worker: self.worker, key }
    }

    pub(crate) fn lives_here(&self, id: SessionId) -> bool {
        id.worker == self.worker && self.sessions.get(id.key).is_some()
    }

    /// How many connects in a row were refused, with one that the callback at hand asks for; 0 if it may connect.
    fn refusals(&self) -> u8 {
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

/// What callbacks ask of a driver without knowing its backend: addresses, and its clock. Off the hot path.
pub(crate) trait Endpoints {
    fn peer(&self, key: ConnectionKey) -> io::Result<SocketAddr>;
    fn local(&self, key: ConnectionKey) -> io::Result<SocketAddr>;
    /// The time now, however long the turn has been running.
    fn now(&self) -> Time;
}

impl<B: Backend> Endpoints for Driver<B> {
    fn peer(&self, key: ConnectionKey) -> io::Result<SocketAddr> {
        self.peer_addr(key)
    }

    fn local(&self, key: ConnectionKey) -> io::Result<SocketAddr> {
        self.local_addr(key)
    }

    fn now(&self) -> Time {
        Driver::now(self)
    }
}

/// A worker, within one of its callbacks: all sessions that live on it.
pub struct WorkerContext<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) endpoints: &'a dyn Endpoints,
}

impl WorkerContext<'_> {
    /// This worker's index, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.core.worker as usize
    }

    /// A session of this worker. `None` if it has ended, or lives on another worker: reach that one through a
    /// [`SessionHandle`](crate::SessionHandle) or a message.
    pub fn session(&mut self, id: SessionId) -> Option<Session<'_>> {
        self.core.lives_here(id).then(|| Session::new(self.core, self.endpoints, id.key))
    }

    /// The sessions of this worker that are not closing.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionId> {
        let open = self.core.sessions.iter().filter(|(_, state)| state.is_live());
        open.map(|(key, _)| self.core.id(key)).collect()
    }

    /// Sends one buffer to every session of this worker, except `but`. Returns how many took it.
    pub fn broadcast(&mut self, bytes: &Bytes, but: Option<SessionId>) -> usize {
        let mut taken = 0;
        for id in self.sessions() {
            if Some(id) != but {
                let mut session = Session::new(self.core, self.endpoints, id.key);
                taken += usize::from(session.send(Payload::Shared(bytes.clone())) == Sent::Ok);
            }
        }
        taken
    }

    /// Opens an outbound connection: a session of this worker, with the same handler. It begins with
    /// [`on_open`](crate::Handler::on_open), where [`Session::token`] is `token`, or ends with
    /// [`on_connect_failed`](crate::Handler::on_connect_failed), which gets it too. Exactly one of the two follows.
    ///
    /// While the server [drains](Self::is_draining), only the callbacks of a session that is not closing may connect,
    /// as a relay does for what the backlog brings; what is not connected at the drain's deadline fails with
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted). From everywhere else (`on_tick`, `on_message`,
    /// `on_close`, `on_connect_failed`, a session that closes) nothing is dialled, and `on_connect_failed` follows with
    /// the same kind of error. Where that one asks again each time, it would go on for ever: after 16 refusals in a row
    /// nothing follows any more, and neither does for what [`on_panic`](crate::Handler::on_panic) asks in a drain.
    ///
    /// A connection that meets itself has failed, as if it had been refused: where nobody listens on a port of this
    /// machine, the system may give that very port to the socket that connects there.
    pub fn connect(&mut self, address: SocketAddr, token: u64) {
        self.ask_to_connect(address, token, None);
    }

    /// The same, with socket options of its own in place of the server's ([`Server::keepalive`](crate::Server::keepalive)
    /// and [`Server::user_timeout`](crate::Server::user_timeout)).
    ///
    /// Options that this system does not have are left out: try them first with
    /// [`SocketOptions::check_keepalive`] and [`SocketOptions::check_user_timeout`].
    pub fn connect_with(&mut self, address: SocketAddr, token: u64, options: SocketOptions) {
        self.ask_to_connect(address, token, Some(options));
    }

    fn ask_to_connect(&mut self, address: SocketAddr, token: u64, options: Option<SocketOptions>) {
        let refusals = self.core.refusals();
        if refusals <= MOST_REFUSALS {
            self.core.connects.push_back(Connect { address, token, refusals, options });
        }
    }

    /// Whether the server is draining: sessions end as they fall silent, and only they may [connect](Self::connect).
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.core.draining
    }
}
