//! The course of a run on one worker, and what happens at certain times in it.

use std::ops::RangeInclusive;
use std::time::Duration;

use overlapped::{Time, WorkerContext};

use super::recorder::Span;
use super::schedule::Schedule;
use super::slot::Phase;
use super::traffic::{Stage, Starts, Traffic};
use super::{CLOSING, Final, FromWorker};
use crate::load::plan::Behaviour;

/// How long an interrupted run waits for echoes.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Waiting times that are told apart at the end, of all connections together.
const UNSENT: u64 = 1_000_000;
/// Of each: from very many connections to few.
const OF_SLOT: RangeInclusive<u64> = 100..=10_000;
/// In a closed loop, the first messages of all connections are spread over this time, or over the warm-up if that is
/// shorter.
const SPREAD: Duration = Duration::from_millis(100);

impl Traffic {
    /// Something is awaited on a connection, which is looked at when that may be too late.
    pub(super) fn watch(&mut self, slot: usize, now: u64) {
        if let Some(since) = self.slots[slot].awaits_since(now) {
            self.slots[slot].is_watched = true;
            self.timeouts.add(slot as u32, since.saturating_add(self.reply_timeout()), now);
        }
    }

    /// Ends connections whose echoes are too late.
    pub(super) fn time_out(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        for slot in self.timeouts.take(now) {
            let slot = slot as usize;
            self.slots[slot].is_watched = false;
            if !self.is_too_late(slot, now) {
                self.watch(slot, now);
                continue;
            }
            let session = self.slots[slot].session;
            self.timed_out(slot, now);
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
            return self.stop_sending(worker, now, None);
        }
        self.start_due(worker, now);
        self.send_all(worker, now);
        self.set_alarm(worker);
    }

    /// Sends every message that is due, as far as connections have room.
    fn send_all(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        self.send_some(worker, now, self.slots.len());
        // All connections have had their turn, and further turns are due.
        if self.schedule.as_mut().is_some_and(|schedule| schedule.take_rounds(now)) {
            for slot in 0..self.slots.len() {
                self.send_on(slot, worker, now);
            }
        }
    }

    /// Takes up to `most` of the messages that are due, and sends them as far as their connections have room.
    pub(super) fn send_some(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64, most: usize) {
        for _ in 0..most {
            let Some(number) = self.schedule.as_mut().and_then(|schedule| schedule.take(now)) else { return };
            self.send_on((number / self.workers) as usize, worker, now);
        }
    }

    fn send_on(&mut self, slot: usize, worker: &mut WorkerContext<'_, u32>, now: u64) {
        let state = &self.slots[slot];
        let due = self.schedule.as_ref().map_or(now, |schedule| schedule.due(state.number, state.taken));
        let session = state.session.and_then(|id| worker.session(id));
        if let Some((mut session, _)) = session
            && self.pump(slot, &mut session, now) > 0
        {
            self.recorder.was_late(now, now.saturating_sub(due));
        }
    }

    /// Messages that were due and are not sent any more have waited at least until `to`. Without them, the end of the run
    /// would hide a server (or a generator) that is far behind.
    fn count_unsent(&mut self, to: u64) {
        let Some(schedule) = self.schedule.as_ref().filter(|_| self.recorder.is_over(to)) else { return };
        // Of very many, neighbours are taken together: their times hardly differ.
        let most = (UNSENT / self.slots.len().max(1) as u64).clamp(*OF_SLOT.start(), *OF_SLOT.end());
        for state in self.slots.iter().filter(|state| state.behaviour != Behaviour::SlowReader) {
            let due = schedule.due_before(state.number, to);
            let mut next = state.taken;
            let step = due.saturating_sub(next).div_ceil(most).max(1);
            while next < due {
                let count = step.min(due - next);
                self.recorder.unsent(count, to.saturating_sub(schedule.due(state.number, next)));
                next += count;
            }
        }
    }

    /// The run ends now, and soon. One that has sent everything waits for its echoes a little longer.
    pub(super) fn interrupt(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        let give_up_at = Some(now + LAST_WAIT.as_nanos() as u64);
        match self.stage {
            Stage::Running => {
                self.is_interrupted = now < self.recorder.span().to;
                self.stop_sending(worker, now, give_up_at);
            }
            // All was sent. It is cut short only if the last echoes do not come within this time.
            Stage::Ending(None) => {
                self.stage = Stage::Ending(give_up_at);
                self.go_on_ending(worker, now);
            }
            _ => {}
        }
    }

    /// Nothing more is sent. The measured part ends now, or has ended before, if the worker is late.
    fn stop_sending(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64, give_up_at: Option<u64>) {
        self.recorder.end(now);
        self.recorder.flush(); // how long an echo usually takes is known, also in a short run
        self.count_unsent(now.min(self.recorder.span().to));
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
            Stage::Ending(give_up_at) if give_up_at.is_some_and(|at| now >= at) || self.is_owed_nothing() => {
                self.is_interrupted |= !self.is_owed_nothing();
                self.begin_to_close(worker, now);
            }
            Stage::Closing(until) if self.left == 0 || now >= until => self.hand_over(worker),
            _ => {}
        }
    }

    /// Whether every echo has come. Where this side has ended its stream, the server owes the end of its own, too.
    fn is_owed_nothing(&self) -> bool {
        self.outstanding == 0 && !self.slots.iter().any(|state| state.phase == Phase::Finishing)
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
            self.wait_no_more(slot, now);
            let state = &mut self.slots[slot];
            let Some((mut session, _)) = state.session.and_then(|id| worker.session(id)) else { continue };
            match state.phase {
                Phase::Open | Phase::Finishing if state.outstanding > 0 => {
                    self.record_waiting(slot, now);
                    self.give_up(slot);
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

    /// Echoes that an interrupted run does not wait for have taken at least until now.
    fn record_waiting(&mut self, slot: usize, now: u64) {
        let state = &self.slots[slot];
        if !self.recorder.is_over(now) || state.behaviour == Behaviour::SlowReader {
            return;
        }
        let mut nth = state.taken - u64::from(state.outstanding);
        for group in state.in_flight.iter().filter(|group| group.count > 0) {
            let waited = now.saturating_sub(group.sent_at);
            self.recorder.echoed_since_sent(group.count.into(), waited);
            let due = self.schedule.as_ref().map(|schedule| schedule.due(state.number, nth));
            self.recorder.echoed(group.count.into(), due.map_or(waited, |due| now.saturating_sub(due)));
            nth += u64::from(group.count);
        }
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
    fn hand_over(&mut self, worker: &mut WorkerContext<'_, u32>) {
        self.stage = Stage::Over;
        for slot in 0..self.slots.len() {
            if matches!(self.slots[slot].phase, Phase::Open | Phase::Finishing) {
                self.give_up(slot);
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
            is_interrupted: self.is_interrupted,
        };
        let _ = self.out.send(FromWorker::Done(Box::new(ended)));
        for id in worker.sessions() {
            if let Some((mut session, _)) = worker.session(id) {
                session.abort();
            }
        }
    }
}
