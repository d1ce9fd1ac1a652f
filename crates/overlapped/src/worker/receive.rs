//! Bytes that come in: to the handler, or kept until it may be called, or discarded after a close.

use std::io;

use proactor::backend::Backend;
use proactor::{ConnectionKey, Lease};

use super::{Layer, Worker};
use crate::handler::Handler;
use crate::observe::Event;
use crate::session::{CloseReason, Deadline, Idle, Pending, PhaseAction, PhaseEvent, SessionId};

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// The one place where received bytes come in.
    #[inline]
    pub(super) fn received(&mut self, key: ConnectionKey, data: Lease) {
        if self.core.draining {
            self.note_taken_in(key);
        }
        let core = &mut self.core;
        let session = SessionId { worker: core.worker, key };
        let Some(state) = core.sessions.get_mut(key) else { return };
        state.received_at = core.now;
        if !state.is_live() {
            core.report.emit(&Event::Discarded { session, bytes: data.len() });
            return;
        }
        if let Some(data) = self.layer.incoming(key, data) {
            let bytes = data.len();
            state.received += bytes as u64;
            core.report.emit(&Event::Received { session, bytes });
            if state.held_back {
                state.keep(data, false);
            } else {
                self.call(key, |handler, session, state| handler.on_data(session, state, data));
            }
        }
        if self.core.draining {
            // If the handler answers nothing, only this makes the drain look at the session again.
            self.core.touch(key);
        }
    }

    /// The peer sends no more.
    pub(super) fn half_closed(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        if state.keep_end() {
            return;
        }
        match state.apply(PhaseEvent::PeerFin) {
            PhaseAction::HalfClose => {
                self.callback(key, H::on_half_close);
                if self.core.draining {
                    // Its handler may keep it open; the drain does not wait for that.
                    self.core.touch(key);
                    self.core.source_ended(key);
                }
            }
            PhaseAction::HalfCloseThenClose => {
                self.callback(key, H::on_half_close);
                self.core.close(key, CloseReason::Local);
            }
            PhaseAction::CloseConnection => self.close_connection(key),
            PhaseAction::Nothing
            | PhaseAction::TakeNoSend
            | PhaseAction::StopHearing
            | PhaseAction::Linger => {}
        }
    }

    /// The system had no memory for a receive or a send: the driver retries it (INV-9).
    pub(super) fn delayed(&mut self, error: &io::Error) {
        self.core.report.delayed(self.core.now, error);
    }

    /// Arms or pauses a session's receive, as its state says; where it may go on, bytes that waited reach its handler
    /// first.
    #[inline]
    pub(super) fn settle_receive(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        if !state.pending.has(Pending::RECEIVE) || !state.is_live() {
            return;
        }
        if state.may_go_on()
            && let Some((data, ended)) = state.take_kept()
        {
            return self.deliver_kept(key, data, ended);
        }
        state.pending.remove(Pending::RECEIVE);
        // It may have been paused for longer than its slot was watched.
        self.deadlines.watch(Deadline::Idle(Idle::Both), state, &self.core.config, self.core.now);
        self.deadlines.watch(Deadline::Idle(Idle::Read), state, &self.core.config, self.core.now);
        if state.held_back {
            self.driver.pause_receive(key);
            self.driver.watch(key);
        } else {
            if let Some(limits) = &mut state.limits {
                // The time of a pause does not count.
                limits.item_from = self.core.now;
                self.deadlines.watch(Deadline::Item, state, &self.core.config, self.core.now);
            }
            self.driver.receive(key);
        }
    }

    /// Calls the handler with bytes that waited. The next flush sends the answer, then comes back here.
    #[cold]
    fn deliver_kept(&mut self, key: ConnectionKey, data: Lease, ended: bool) {
        self.core.touch(key);
        self.call(key, |handler, session, state| handler.on_data(session, state, data));
        if ended {
            self.half_closed(key);
        }
    }
}
