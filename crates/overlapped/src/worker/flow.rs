//! Bytes through a session: the two choke points where they come in and go out, and the water marks between.

use std::io;

use proactor::backend::Backend;
use proactor::{ConnectionKey, Driver, Lease, Sending};

use super::deadlines::Deadline;
use super::{Core, Layer, Worker};
use crate::events::Event;
use crate::handler::Handler;
use crate::session::{CloseReason, Phase, SendQueue, SessionId};
use crate::sync::atomic::Ordering;

/// Bytes that one flush sends where the kernel takes them at once: what a neighbour waits for is to copy so many.
const FLUSH_BUDGET: usize = 256 * 1024;

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// Where received bytes come in.
    #[inline]
    pub(super) fn received(&mut self, key: ConnectionKey, data: Lease) {
        let core = &mut self.core;
        let session = SessionId { worker: core.worker, key };
        let Some(state) = core.sessions.get_mut(key) else { return };
        state.active_at = core.now;
        if !state.is_live() {
            core.report.emit(&Event::Discarded { session, bytes: data.len() });
            return;
        }
        if core.draining {
            self.note_taken_in(key);
        }
        let core = &mut self.core;
        if let Some(data) = self.layer.incoming(key, data)
            && let Some(state) = core.sessions.get_mut(key)
        {
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
            // With nothing to answer, nothing else would ask again whether the session is done.
            self.core.touch(key);
        }
    }

    /// The peer sends no more.
    pub(super) fn half_closed(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        if state.keep_end() {
            return;
        }
        state.peer_finished = true;
        match state.phase {
            Phase::Open => {
                self.callback(key, H::on_half_close);
                if self.core.draining {
                    // Its handler may go on; the drain does not wait for it.
                    self.core.touch(key);
                }
            }
            Phase::Ending => {
                self.callback(key, H::on_half_close);
                // Nothing can be said in it any more: once what is queued is out, both streams are over.
                self.core.close(key, CloseReason::Local);
            }
            // The last thing that a lingering session waited for.
            Phase::Lingering => self.end_linger(key),
            Phase::Finishing | Phase::Closing | Phase::Aborting => {}
        }
    }

    /// A payload went out.
    #[inline]
    pub(super) fn sent(&mut self, key: ConnectionKey, bytes: usize) {
        let core = &mut self.core;
        let session = SessionId { worker: core.worker, key };
        let Some(state) = core.sessions.get_mut(key) else { return };
        let counted = state.sent_one(core.now);
        debug_assert!(!L::TRANSPARENT || counted == bytes, "INV-4: what was submitted is what went out");
        core.report.emit(&Event::Sent { session, bytes: counted });
        if !state.touched {
            state.touched = true;
            core.touched.push(key);
        }
    }

    /// Submits and closes what callbacks asked for.
    #[inline]
    pub(super) fn flush(&mut self) {
        self.flush_touched();
        if !self.core.connects.is_empty() {
            self.start_connects();
            self.flush_touched();
        }
    }

    /// Where the kernel takes bytes at once, a handler that sends whenever it is told of room could keep a worker here
    /// for as long as its peer reads: over the budget, the sessions that are left go on in the next turn, this one last.
    #[inline]
    fn flush_touched(&mut self) {
        self.core.flush_budget = FLUSH_BUDGET;
        while let Some(key) = self.core.touched.pop() {
            self.flush_session(key);
            if self.core.flush_budget == 0 {
                // The next flush takes them from the other end, too.
                self.core.touched.reverse();
                let Core { touched, deferred, .. } = &mut self.core;
                return deferred.append(touched);
            }
        }
    }

    /// Where bytes to send go out: one payload at a time (INV-4), as long as the kernel takes them at once. Then
    /// what follows from how much is left.
    fn flush_session(&mut self, key: ConnectionKey) {
        let core = &mut self.core;
        let session = SessionId { worker: core.worker, key };
        let Some(state) = core.sessions.get_mut(key) else { return };
        state.touched = false;
        if state.phase == Phase::Aborting {
            self.driver.abort(key);
            return core.no_longer_full(key);
        }
        while state.queue.has_next() {
            state.send_since = core.now;
            match send_next(&mut self.driver, &mut self.layer, key, &mut state.queue) {
                Sending::InFlight => {
                    if !state.watched {
                        self.deadlines.watch(Deadline::Write, state, &core.config, core.now);
                    }
                    break;
                }
                Sending::Closed => break,
                Sending::Done => {
                    let bytes = state.sent_one(core.now);
                    core.report.emit(&Event::Sent { session, bytes });
                    core.flush_budget = core.flush_budget.saturating_sub(bytes);
                    if core.flush_budget == 0 && state.queue.has_next() {
                        state.touched = true;
                        core.deferred.push(key);
                        break;
                    }
                }
            }
        }
        if let Some(handle) = &state.handle {
            handle.queued.store(state.queue.charge(), Ordering::Release);
        }
        let unsent = state.queue.bytes();
        // Nearly always nothing else has to be done, and nothing is looked up again.
        let settled = matches!(state.phase, Phase::Open) && !state.receive_changed;
        match state.phase {
            Phase::Open if (state.full | state.wants_writable) && unsent <= core.config.low_water => {
                let writable = std::mem::take(&mut state.wants_writable);
                core.no_longer_full(key);
                if writable {
                    self.callback(key, H::on_writable);
                }
            }
            Phase::Open if settled && !core.draining => return,
            Phase::Open => {}
            Phase::Ending => {
                if unsent <= core.config.low_water {
                    core.no_longer_full(key);
                }
                // It fails only where the connection is gone, which a receive that is paused does not tell.
                if unsent == 0 && self.send_fin(key).is_err() {
                    self.core.abort(key, CloseReason::Reset);
                }
            }
            Phase::Finishing if unsent == 0 => {
                core.no_longer_full(key);
                return self.finish(key);
            }
            _ => core.no_longer_full(key),
        }
        self.settle_receive(key);
        if self.core.draining {
            self.drain_session(key);
        }
    }

    /// What follows from whether a session may go on: bytes that waited reach its handler, and its receive is armed
    /// or paused.
    #[inline]
    fn settle_receive(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        if !state.receive_changed || !state.is_live() {
            return;
        }
        if state.may_go_on()
            && let Some((data, ended)) = state.take_kept()
        {
            return self.go_on(key, data, ended);
        }
        state.receive_changed = false;
        // It may have been paused for longer than its slot was watched.
        self.deadlines.watch(Deadline::Idle, state, &self.core.config, self.core.now);
        if state.held_back {
            self.driver.pause_receive(key);
            self.driver.watch(key);
        } else {
            self.driver.receive(key);
        }
    }

    /// Calls the handler with bytes that waited. The next flush goes on from there, after what this call sent.
    #[cold]
    fn go_on(&mut self, key: ConnectionKey, data: Lease, ended: bool) {
        self.core.touch(key);
        self.call(key, |handler, session, state| handler.on_data(session, state, data));
        if ended {
            self.half_closed(key);
        }
    }

    /// Everything queued is out: FIN, then wait for the peer's (INV-8).
    fn finish(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        // Closing sends the FIN. With the peer's already here, nothing can be unread.
        if state.peer_finished || self.driver.receive_ended(key) || self.send_fin(key).is_err() {
            return self.begin_close(key);
        }
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        state.advance(Phase::Lingering, CloseReason::Local);
        state.send_since = self.core.now;
        let until = self.driver.now() + self.core.config.linger_timeout;
        state.timers.get_or_insert_default().set_linger(&mut self.core.timers, key, until);
        self.driver.receive(key);
    }

    /// Ends our stream, once.
    fn send_fin(&mut self, key: ConnectionKey) -> io::Result<()> {
        let Some(state) = self.core.sessions.get_mut(key) else { return Ok(()) };
        if std::mem::replace(&mut state.finished, true) { Ok(()) } else { self.driver.finish(key) }
    }

    fn begin_close(&mut self, key: ConnectionKey) {
        if let Some(state) = self.core.sessions.get_mut(key) {
            state.advance(Phase::Closing, CloseReason::Local);
            self.core.cancel_timers(key);
            self.driver.close(key);
        }
    }

    /// The peer's FIN has come, or was waited for long enough.
    pub(super) fn end_linger(&mut self, key: ConnectionKey) {
        if self.core.sessions.get(key).is_some_and(|state| state.phase == Phase::Lingering) {
            self.begin_close(key);
        }
    }
}

/// Hands what is first in a queue to the driver, through the layer; with what waits behind it, if something does.
#[inline(always)]
fn send_next<B: Backend, L: Layer>(
    driver: &mut Driver<B>,
    layer: &mut L,
    key: ConnectionKey,
    queue: &mut SendQueue,
) -> Sending {
    if !queue.has_more() {
        let Some(payload) = queue.next() else { return Sending::Closed };
        return driver.send(key, layer.outgoing(key, payload));
    }
    let Some(parts) = queue.gather() else { return Sending::Closed };
    let parts = if L::TRANSPARENT { parts } else { parts.map(|part| layer.outgoing(key, part)) };
    driver.send_gathered(key, parts)
}
