//! The first and the last moment of a session: into the table and `on_open`, out of the table and `on_close`.

use std::net::SocketAddr;

use proactor::ConnectionKey;
use proactor::backend::Backend;

use super::{Layer, Worker};
use crate::admission::Seat;
use crate::context::{CurrentCallback, Others, Session};
use crate::handler::Handler;
use crate::observe::Event;
use crate::session::{CloseReason, Closed, Origin, SessionState};

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// An established connection becomes a session.
    pub(super) fn begin(&mut self, key: ConnectionKey, origin: Origin, peer: Option<SocketAddr>, seat: Seat) {
        let mut state = SessionState::new(key, origin, self.core.now);
        state.peer = peer;
        self.deadlines.begin(&mut state, &self.core.config);
        self.core.sessions.insert(state);
        let session = self.core.id(key);
        self.core.report.emit(&Event::Opened { session, peer });
        if self.states.len() <= key.index() {
            self.states.resize_with(key.index() + 1, || None);
            self.seats.resize_with(key.index() + 1, || None);
        }
        self.seats[key.index()] = Some(seat);
        self.core.callback = CurrentCallback::Session(key);
        let others = Others::all(&mut self.states);
        let mut opened = Session::new(&mut self.core, &self.driver, others, key);
        let state = self.handler.on_open(&mut opened);
        self.callback_ended();
        self.states[key.index()] = Some(state);
        // Only now: a session that begins paused has received nothing.
        self.core.look_at_receive(key);
    }

    /// A connection is gone: its session ends, exactly once (INV-2).
    pub(super) fn released(&mut self, key: ConnectionKey) {
        let Some(mut state) = self.core.sessions.remove(key) else { return };
        debug_assert!(state.timers.is_none(), "what closes or aborts a session cancels its timers");
        self.deadlines.forget(&mut state);
        drop(self.seats[key.index()].take());
        if state.handle.is_some() {
            self.core.directory.remove(key);
        }
        let session = self.core.id(key);
        let reason = state.reason().unwrap_or(CloseReason::Local);
        let bytes = state.queue.clear();
        if bytes > 0 {
            self.core.report.emit(&Event::Lost { session, bytes, answers_owed: 0, reason });
        }
        let SessionState { received, sent, peer, origin, .. } = state;
        let tcp = self.last_tcp_infos.remove(&key);
        self.core.report.emit(&Event::Closed { session, peer, reason, received, sent, tcp });
        if let Some(state) = self.states[key.index()].take() {
            let callback = CurrentCallback::Session(key);
            let closed = Closed { id: session, reason, peer, origin, received, sent, tcp };
            self.callback_as(callback, |handler, worker| handler.on_close(worker, closed, state));
        }
    }

    /// Whether a session exists and has not begun to close.
    pub(super) fn is_open(&self, key: ConnectionKey) -> bool {
        self.core.sessions.get(key).is_some_and(SessionState::is_live)
    }
}
