//! Bytes that go out: one payload of a session at a time (INV-4), and what follows when they are out.

use proactor::backend::Backend;
use proactor::{ConnectionKey, Driver, Sending};

use super::{Layer, Worker};
use crate::context::Core;
use crate::handler::Handler;
use crate::observe::Event;
use crate::session::{Deadline, Pending, Phase, SendQueue, SessionId, SessionState};

/// Bytes that one flush sends where the kernel takes them at once: other sessions wait while they are copied.
const FLUSH_BUDGET: usize = 256 * 1024;
/// What a call of `on_sent` takes of that: a handler that sends little in each goes on in the next turn, too.
const SENT_CALL: usize = 4 * 1024;

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// A payload went out.
    #[inline]
    pub(super) fn sent(&mut self, key: ConnectionKey, bytes: usize) {
        let core = &mut self.core;
        let session = SessionId { worker: core.worker, key };
        let Some(state) = core.sessions.get_mut(key) else { return };
        let counted = state.sent_one(core.now);
        debug_assert!(!L::TRANSPARENT || counted == bytes, "INV-4: what was submitted is what went out");
        core.report.emit(&Event::Sent { session, bytes: counted });
        if state.pending.add(Pending::FLUSH) {
            core.touched.push(key);
        }
    }

    /// Submits and closes what callbacks asked for.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        self.flush_touched();
        if !self.core.connects.is_empty() {
            self.flush_connects();
        }
    }

    /// The same for connects, and for what their failures ask for.
    #[cold]
    #[inline(never)]
    fn flush_connects(&mut self) {
        self.start_connects();
        self.flush_touched();
    }

    /// Where the kernel takes bytes at once, a handler that sends in each `on_writable` could keep a worker here for as
    /// long as its peer reads: over the budget, the remaining sessions go on in the next turn, this one last.
    #[inline(never)]
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

    /// Sends what is queued in a session: one payload at a time (INV-4), as long as the kernel takes them at once.
    fn flush_session(&mut self, key: ConnectionKey) {
        let core = &mut self.core;
        let session = SessionId { worker: core.worker, key };
        let Some(state) = core.sessions.get_mut(key) else { return };
        state.pending.remove(Pending::FLUSH);
        if state.phase() == Phase::Aborted {
            return self.step_close(key);
        }
        while state.queue.has_next() {
            state.send_since = core.now;
            match send_next(&mut self.driver, &mut self.layer, key, &mut state.queue) {
                Sending::InFlight => {
                    if state.pending.has(Pending::WRITE_TIMER) {
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
                        state.pending.add(Pending::FLUSH);
                        core.deferred.push(key);
                        break;
                    }
                }
            }
        }
        if let Some(handle) = &state.handle {
            handle.set_queued(state.queue.charge());
        }
        // Nearly always nothing else has to be done, and nothing is looked up again.
        let settled = state.phase() == Phase::Open && !state.pending.has(Pending::AFTER_SENDING);
        if !settled || core.draining {
            self.after_sending(key);
        }
    }

    /// What follows from how much a session has left to send: its handler may send again, it takes the next step of its
    /// close, its receive is armed or paused, or a drain is done with it.
    fn after_sending(&mut self, key: ConnectionKey) {
        if self.core.sessions.get(key).is_some_and(|state| state.pending.has(Pending::ASKED)) {
            self.answer_asked(key);
        }
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        let unsent = state.queue.bytes();
        match state.phase() {
            Phase::Open
                if state.pending.has(Pending::LOW)
                    && unsent <= state.low_water(self.core.config.low_water) =>
            {
                let writable = state.pending.remove(Pending::WRITABLE);
                self.core.no_longer_full(key);
                if writable {
                    self.callback(key, H::on_writable);
                }
            }
            Phase::Open => {}
            Phase::HalfClosedLocal => self.step_close(key),
            Phase::AwaitSent if unsent == 0 => return self.step_close(key),
            Phase::Aborted => return self.step_close(key),
            // The last send, or an event of the connection, takes the next step.
            Phase::AwaitSent | Phase::AwaitFin | Phase::AwaitRelease => return,
        }
        self.settle_receive(key);
        if self.core.draining {
            self.drain_session(key);
        }
    }
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// Answers the threads that wait for room, if there is some, and makes the calls of `on_sent` that are due. What a
    /// call asks for in its turn is looked at by the next flush.
    #[cold]
    fn answer_asked(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        state.answer_room();
        for _ in 0..state.sent_calls_due() {
            let next = self.core.sessions.get_mut(key).and_then(SessionState::next_sent_call);
            let Some(token) = next else { break };
            self.core.flush_budget = self.core.flush_budget.saturating_sub(SENT_CALL);
            self.callback(key, |handler, session, state| handler.on_sent(session, state, token));
        }
        if let Some(state) = self.core.sessions.get_mut(key) {
            state.settle_asked();
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
