//! Bytes that go out: one payload of a session at a time (INV-4), and what follows when they are out.

use proactor::backend::Backend;
use proactor::{ConnectionKey, Driver, Sending};

use super::deadlines::Deadline;
use super::{Layer, Worker};
use crate::context::Core;
use crate::handler::Handler;
use crate::observe::Event;
use crate::session::{CloseReason, Phase, SendQueue, SessionId};
use crate::sync::atomic::Ordering;

/// Bytes that one flush sends where the kernel takes them at once: other sessions wait while they are copied.
const FLUSH_BUDGET: usize = 256 * 1024;

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
