//! What handlers may touch of a worker: its sessions, timers and counters, but neither the driver nor another
//! handler. What a callback asks for is noted here and carried out when it has returned.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use proactor::backend::Backend;
use proactor::{ConnectionKey, Driver, Payload, Time};

use crate::config::{Config, Overflow};
use crate::events::Report;
use crate::mailbox::PostToSession;
use crate::session::{CloseReason, Phase, Sent, Session, SessionId, Table};
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
    pub(crate) connects: VecDeque<(SocketAddr, u64)>,
    pub(crate) timers: Wheel<Due>,
    /// The time, as of this turn.
    pub(crate) now: Time,
    pub(crate) report: Report,
    pub(crate) mailbox: Arc<dyn PostToSession>,
    pub(crate) draining: bool,
}

impl Core {
    pub(crate) fn id(&self, key: ConnectionKey) -> SessionId {
        SessionId { worker: self.worker, key }
    }

    pub(crate) fn lives_here(&self, id: SessionId) -> bool {
        id.worker == self.worker && self.sessions.get(id.key).is_some()
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
            state.holds =
                state.holds.checked_add_signed(by).expect("a session is let go by those who held it");
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
        self.take_no_more(key);
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

/// Asking a driver for addresses without knowing its backend. Off the hot path.
pub(crate) trait AddressesOf {
    fn peer(&self, key: ConnectionKey) -> io::Result<SocketAddr>;
    fn local(&self, key: ConnectionKey) -> io::Result<SocketAddr>;
}

impl<B: Backend> AddressesOf for Driver<B> {
    fn peer(&self, key: ConnectionKey) -> io::Result<SocketAddr> {
        self.peer_addr(key)
    }

    fn local(&self, key: ConnectionKey) -> io::Result<SocketAddr> {
        self.local_addr(key)
    }
}

/// A worker, within one of its callbacks: all sessions that live on it.
pub struct WorkerContext<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) addresses: &'a dyn AddressesOf,
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
        self.core.lives_here(id).then(|| Session::new(self.core, self.addresses, id.key))
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
                let mut session = Session::new(self.core, self.addresses, id.key);
                taken += usize::from(session.send(Payload::Shared(bytes.clone())) == Sent::Ok);
            }
        }
        taken
    }

    /// Opens an outbound connection: a session of this worker, with the same handler. It begins with
    /// [`on_open`](crate::Handler::on_open), where [`Session::token`] is `token`, or ends with
    /// [`on_connect_failed`](crate::Handler::on_connect_failed), which gets it too.
    pub fn connect(&mut self, address: SocketAddr, token: u64) {
        self.core.connects.push_back((address, token));
    }

    /// Whether the server is draining: sessions end as they fall silent.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.core.draining
    }
}
