//! The course of a run on one worker, and what happens at certain times in it.

use std::time::Duration;

use overlapped::{Time, WorkerContext};

use super::recorder::Span;
use super::schedule::Schedule;
use super::slot::Phase;
use super::traffic::{Stage, Starts, Traffic};
use super::{CLOSING, Final, FromWorker};
use crate::load::measured::EventKind;

/// How long an interrupted run waits for echoes.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// In a closed loop, the first messages of all connections are spread over this time, or over the warm-up if that is
/// shorter.
const SPREAD: Duration = Duration::from_millis(100);

impl Traffic {
    /// Something is awaited on a connection, which is looked at when that may be too late.
    pub(super) fn watch(&mut self, slot: usize, now: u64) {
        let state = &mut self.slots[slot];
        if let Some(since) = state.awaits_since(now) {
            state.is_watched = true;
            let limit = self.settings.plan.reply_timeout.as_nanos() as u64;
            self.timeouts.add(slot as u32, since.saturating_add(limit), now);
        }
    }

    /// Ends connections whose echoes are too late.
    pub(super) fn time_out(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        let limit = self.settings.plan.reply_timeout.as_nanos() as u64;
        for slot in self.timeouts.take(now) {
            let slot = slot as usize;
            let state = &mut self.slots[slot];
            state.is_watched = false;
            let Some(since) = state.awaits_since(now) else { continue };
            if now.saturating_sub(since) <= limit {
                self.watch(slot, now);
                continue;
            }
            self.recorder.counts.timeouts += 1;
            let session = state.session;
            self.failed(slot, EventKind::Timeout, now);
            if let Some((mut session, _)) = session.and_then(|id| worker.session(id)) {
                session.abort();
            }
        }
    }

    pub(super) fn begin(&mut self, worker: &mut WorkerContext<'_, u32>, start: u64) {
        let plan = &self.settings.plan;
        let from = start + plan.warmup.as_nanos() as u64;
        self.recorder.measure(Span { from, to: from + plan.duration.as_nanos() as u64 });
        self.stage = Stage::Running;
        match &mut self.schedule {
            Some(schedule) => schedule.start_at(start),
            None => {
                let spread = SPREAD.min(plan.warmup).as_nanos() as u64;
                self.starts = Some(Starts { at: start, spread, next: 0 });
            }
        }
        self.set_alarm(worker);
    }

    /// The next moment that is exact: a message is due, or the measured part begins or ends.
    fn set_alarm(&self, worker: &mut WorkerContext<'_, u32>) {
        let span = self.recorder.span();
        let edge = if self.meters.has_begun() { span.to } else { span.from };
        let due = self.schedule.as_ref().map_or(u64::MAX, Schedule::next_due);
        let due = self.next_start().unwrap_or(due);
        let alarm = Time::from_nanos(edge.min(due).saturating_sub(self.offset));
        worker.set_precise_timer((self.stage == Stage::Running).then_some(alarm));
    }

    /// When the next connection of a closed loop sends its first messages.
    fn next_start(&self) -> Option<u64> {
        let starts = self.starts.as_ref()?;
        let part = u128::from(self.slots.get(starts.next)?.number) * u128::from(starts.spread);
        Some(starts.at + (part / u128::from(self.settings.plan.connections)) as u64)
    }

    /// The connections of a closed loop send their first messages, each at its time.
    fn start_due(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        while self.next_start().is_some_and(|at| at <= now)
            && let Some(starts) = &mut self.starts
        {
            let slot = starts.next;
            starts.next += 1;
            let state = &mut self.slots[slot];
            state.has_begun = true;
            state.connect_at = state.connect_at.max(now);
            if let Some((mut session, _)) = state.session.and_then(|id| worker.session(id)) {
                self.pump(slot, &mut session, now);
            }
        }
    }

    /// The precise timer: something is due.
    pub(super) fn on_time(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        let span = self.recorder.span();
        if self.stage != Stage::Running {
            return self.go_on_ending(worker, now);
        }
        if !self.meters.has_begun() && now >= span.from {
            self.meters.begin();
        }
        if now >= span.to {
            return self.stop_sending(worker, span.to, None);
        }
        self.start_due(worker, now);
        self.send_due(worker, now);
        self.set_alarm(worker);
    }

    /// Sends every message that is due.
    pub(super) fn send_due(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        loop {
            let Some(schedule) = &mut self.schedule else { return };
            let due = schedule.next_due();
            let Some(number) = schedule.take(now) else { return };
            let slot = (number / self.workers) as usize;
            self.slots[slot].due += 1;
            let Some((mut session, _)) = self.slots[slot].session.and_then(|id| worker.session(id)) else {
                continue;
            };
            if self.pump(slot, &mut session, now) > 0 {
                self.recorder.was_late(now, now - due);
            }
        }
    }

    /// The run ends now, and soon.
    pub(super) fn interrupt(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        if matches!(self.stage, Stage::Running | Stage::Ending(None)) {
            self.stop_sending(worker, now, Some(now + LAST_WAIT.as_nanos() as u64));
        }
    }

    /// Nothing more is sent.
    fn stop_sending(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64, give_up_at: Option<u64>) {
        self.recorder.end(now);
        self.meters.end();
        self.stage = Stage::Ending(give_up_at);
        worker.set_precise_timer(None);
        self.go_on_ending(worker, now);
    }

    /// In the next turn it is looked whether the run goes on to end. A callback of a session cannot close that session
    /// together with the others.
    pub(super) fn look_soon(&self, worker: &mut WorkerContext<'_, u32>) {
        worker.set_precise_timer(Time::ZERO);
    }

    /// The next stage begins, if this one has nothing to wait for any more.
    pub(super) fn go_on_ending(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        match self.stage {
            Stage::Ending(give_up_at) if self.outstanding == 0 || give_up_at.is_some_and(|at| now >= at) => {
                self.begin_to_close(worker, now);
            }
            Stage::Closing(until) if self.left == 0 || now >= until => self.hand_over(worker, now),
            _ => {}
        }
    }

    /// Every connection is closed gracefully: its server sees no error, and what it still sends is one too many.
    fn begin_to_close(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        self.stage = Stage::Closing(now + CLOSING.as_nanos() as u64);
        self.left = 0;
        for slot in 0..self.slots.len() {
            let state = &mut self.slots[slot];
            self.left += usize::from(state.phase != Phase::Closed);
            if state.phase == Phase::Connecting && state.connect_at > now {
                worker.cancel_connect(slot as u64); // it has not begun
            }
            let Some((mut session, _)) = state.session.and_then(|id| worker.session(id)) else { continue };
            match state.phase {
                Phase::Open | Phase::Finishing if state.outstanding > 0 => {
                    self.give_up(slot, now);
                    session.abort();
                }
                Phase::Open => {
                    state.phase = Phase::Finishing;
                    session.resume();
                    session.finish();
                }
                Phase::Connecting | Phase::Finishing | Phase::Ending | Phase::Closed => {}
            }
        }
        self.go_on_ending(worker, now);
    }

    /// A connection has ended, and is not opened again.
    pub(super) fn has_ended(&mut self, worker: &mut WorkerContext<'_, u32>, slot: usize, now: u64) {
        if self.slots[slot].phase != Phase::Closed {
            self.slots[slot].phase = Phase::Closed;
            self.left = self.left.saturating_sub(1);
        }
        self.go_on_ending(worker, now);
    }

    /// What was measured is handed over. Connections that have not ended are aborted.
    fn hand_over(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        self.stage = Stage::Over;
        for slot in 0..self.slots.len() {
            if matches!(self.slots[slot].phase, Phase::Open | Phase::Finishing) {
                self.give_up(slot, now);
            }
        }
        self.recorder.flush();
        let recorder = &mut self.recorder;
        let ended = Final {
            counts: std::mem::take(&mut recorder.counts),
            mismatches: std::mem::take(&mut recorder.mismatches),
            gaps: std::mem::take(&mut recorder.gaps),
            events: std::mem::take(&mut recorder.events),
            late: recorder.late.clone(),
            use_of: self.meters.total(),
            span: recorder.span(),
        };
        let _ = self.out.send(FromWorker::Done(Box::new(ended)));
        for id in worker.sessions() {
            if let Some((mut session, _)) = worker.session(id) {
                session.abort();
            }
        }
    }
}
