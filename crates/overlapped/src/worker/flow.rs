//! Bytes through a session: the two choke points where they come in and go out, and the water marks between.

use std::sync::atomic::Ordering;

use proactor::backend::Backend;
use proactor::{ConnectionKey, Lease, Sending};

use super::Worker;
use crate::events::Event;
use crate::handler::Handler;
use crate::session::{CloseReason, Phase};
use crate::timers::Due;

impl<B: Backend, H: Handler> Worker<B, H> {
    /// Where received bytes come in.
    #[inline]
    pub(super) fn received(&mut self, key: ConnectionKey, data: Lease) {
        let (now, session, bytes) = (self.core.now, self.core.id(key), data.len());
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        state.active_at = now;
        if state.phase != Phase::Open {
            self.core.emit(&Event::Discarded { session, bytes });
            return;
        }
        state.received += bytes as u64;
        self.core.emit(&Event::Received { session, bytes });
        self.callback(key, |handler, session, state| handler.on_data(session, state, data));
        if self.core.draining {
            // With nothing to answer, nothing else would ask again whether the session is done.
            self.core.touch(key);
        }
    }

    /// The peer sends no more.
    pub(super) fn half_closed(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        state.peer_finished = true;
        match state.phase {
            Phase::Open => self.callback(key, H::on_half_close),
            // The last thing that a lingering session waited for.
            Phase::Lingering => self.end_linger(key),
            Phase::Finishing | Phase::Closing | Phase::Aborting => {}
        }
    }

    /// A payload went out.
    #[inline]
    pub(super) fn sent(&mut self, key: ConnectionKey, bytes: usize) {
        let now = self.core.now;
        let session = self.core.id(key);
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        let counted = state.queue.sent();
        debug_assert_eq!(counted, bytes, "INV-4: what was submitted is what went out");
        state.sent += bytes as u64;
        state.active_at = now;
        self.core.emit(&Event::Sent { session, bytes });
        self.core.touch(key);
    }

    /// Submits and closes what callbacks asked for.
    #[inline]
    pub(super) fn flush(&mut self) {
        while let Some(key) = self.core.touched.pop() {
            self.flush_session(key);
        }
        if !self.core.connects.is_empty() {
            self.start_connects();
        }
    }

    fn flush_session(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        state.touched = false;
        if state.phase == Phase::Aborting {
            self.driver.abort(key);
            return;
        }
        self.send_queued(key);
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        if let Some(handle) = &state.handle {
            handle.queued.store(state.queue.charge(), Ordering::Relaxed);
        }
        let unsent = state.queue.bytes();
        match state.phase {
            Phase::Open if !state.paused && unsent > self.core.config.high_water => {
                (state.paused, state.wants_writable) = (true, true);
                self.driver.pause_receive(key);
            }
            Phase::Open if unsent <= self.core.config.low_water => {
                if state.paused {
                    state.paused = false;
                    self.driver.receive(key);
                }
                if std::mem::take(&mut state.wants_writable) {
                    self.callback(key, H::on_writable);
                }
                if self.core.draining && unsent == 0 {
                    self.drain_session(key);
                }
            }
            Phase::Finishing if unsent == 0 => self.finish(key),
            _ => {}
        }
    }

    /// Where bytes to send go out: one payload at a time (INV-4), as long as the kernel takes them at once.
    #[inline]
    fn send_queued(&mut self, key: ConnectionKey) {
        loop {
            let now = self.core.now;
            let session = self.core.id(key);
            let Some(state) = self.core.sessions.get_mut(key) else { return };
            if !state.queue.has_next() {
                return;
            }
            let Some(payload) = state.queue.next() else { return };
            state.send_since = now;
            match self.driver.send(key, payload) {
                Sending::InFlight | Sending::Closed => return,
                Sending::Done => {
                    let bytes = state.queue.sent();
                    state.sent += bytes as u64;
                    state.active_at = now;
                    self.core.emit(&Event::Sent { session, bytes });
                }
            }
        }
    }

    /// Everything queued is out: FIN, then wait for the peer's (INV-8).
    fn finish(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        // Closing sends the FIN. With the peer's already here, nothing can be unread.
        if state.peer_finished || self.driver.finish(key).is_err() {
            state.advance(Phase::Closing, CloseReason::Local);
            self.driver.close(key);
            return;
        }
        state.advance(Phase::Lingering, CloseReason::Local);
        self.core.timers.set(self.core.now + self.core.config.linger_timeout, Due::Linger(key));
        self.driver.receive(key);
    }

    /// The peer's FIN has come, or was waited for long enough.
    pub(super) fn end_linger(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        if state.phase == Phase::Lingering {
            state.advance(Phase::Closing, CloseReason::Local);
            self.driver.close(key);
        }
    }
}
