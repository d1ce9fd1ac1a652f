//! The handler: one worker's share of the connections.
//!
//! A run has four stages. *Connecting*: each connection was asked for once. *Running*: messages are sent; this is the
//! warm-up and the measured part. *Ending*: nothing is sent, what is in flight is awaited. *Over*: what was measured is
//! handed over, and the connections are closed. The thread that collects starts the second stage, when the first has ended
//! on every worker.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use overlapped::{CloseReason, Closed, Handler, Lease, Session, Time, WorkerContext};

use super::meters::Meters;
use super::pattern::Stream;
use super::recorder::{Recorder, Span};
use super::schedule::Schedule;
use super::slot::{Phase, Slot};
use super::sources::Sources;
use super::stalls::SHORTEST;
use super::{Final, FromWorker, ToWorker};
use crate::load::measured::{EventKind, Mismatch};
use crate::load::plan::{Behaviour, Plan};

/// How long an interrupted run waits for echoes.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// One block of this number is looked at: how long it has waited for this worker.
const LATENESS_SAMPLE: u32 = 16;

/// What all workers know.
pub(super) struct Settings {
    pub(super) plan: Plan,
    pub(super) sources: Sources,
    /// `None`: each worker's own clock; of a simulation.
    pub(super) epoch: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Running,
    /// Until this time, if the run was interrupted.
    Ending(Option<u64>),
    Over,
}

pub(super) struct Traffic {
    pub(super) settings: Arc<Settings>,
    pub(super) out: Sender<FromWorker>,
    /// This worker, and how many there are.
    pub(super) worker: u32,
    workers: u32,
    /// What is added to the worker's clock, so that all workers have one epoch.
    offset: u64,
    pub(super) stage: Stage,
    pub(super) slots: Vec<Slot>,
    /// Connections that were not asked for yet: from this one on.
    pub(super) next_connect: usize,
    /// First connects that are not answered.
    pub(super) unanswered: usize,
    schedule: Option<Schedule>,
    /// When a closed loop begins, until it has.
    loop_begins_at: Option<u64>,
    pub(super) recorder: Recorder,
    pub(super) meters: Meters,
    /// Messages in flight on all connections.
    pub(super) outstanding: u64,
    blocks: u32,
    /// For what happens by chance.
    pub(super) random: u64,
}

impl Traffic {
    pub(super) fn new(settings: Arc<Settings>, worker: u32, out: Sender<FromWorker>) -> Traffic {
        let plan = &settings.plan;
        let (connections, workers) = (plan.connections, plan.threads);
        let share = connections / workers + u32::from(worker < connections % workers);
        let schedule = plan.rate.map(|rate| Schedule::new(rate, connections, worker, workers));
        Traffic {
            recorder: Recorder::new(out.clone(), schedule.is_some()),
            meters: Meters::new(plan.server_pid.filter(|_| worker == 0)),
            out,
            worker,
            workers,
            offset: 0,
            stage: Stage::Connecting,
            slots: (0..share).map(|_| Slot::new()).collect(),
            next_connect: 0,
            unanswered: share as usize,
            schedule,
            loop_begins_at: None,
            outstanding: 0,
            blocks: 0,
            random: 0x853c_49e6_748f_ea9b ^ u64::from(worker),
            settings,
        }
    }

    /// The number of a connection of this worker, over all workers.
    pub(super) fn number(&self, slot: usize) -> u32 {
        slot as u32 * self.workers + self.worker
    }

    pub(super) fn behaviour(&self, slot: usize) -> Behaviour {
        let behaviours = &self.settings.plan.behaviours;
        behaviours[self.number(slot) as usize % behaviours.len()]
    }

    /// A time of this worker, in ns since the epoch of all workers.
    #[inline]
    pub(super) fn at(&self, time: Time) -> u64 {
        time.as_nanos() + self.offset
    }

    /// Sends what may be sent on a connection now. Returns how many messages.
    pub(super) fn pump(&mut self, slot: usize, session: &mut Session<'_, u32>, now: u64) -> u32 {
        // A worker that had no processor is late for the end, too.
        let has_ended = now >= self.recorder.span().to;
        let runs = self.stage == Stage::Running && self.loop_begins_at.is_none() && !has_ended;
        if !runs || self.slots[slot].phase != Phase::Open {
            return 0;
        }
        let mut count = self.room(slot);
        if self.schedule.is_some() {
            let waiting = self.slots[slot].due - self.slots[slot].taken;
            count = count.min(u32::try_from(waiting).unwrap_or(u32::MAX));
        }
        if count == 0 {
            return 0;
        }
        let size = self.settings.plan.size;
        let from = self.slots[slot].send(count, size, now);
        self.outstanding += u64::from(count);
        for piece in Stream::new(self.number(slot).into()).pieces(from, count as usize * size) {
            session.send(piece);
        }
        self.has_sent(slot, session);
        count
    }

    /// The echoes of `count` messages were complete at `at`.
    #[inline]
    fn echoed(&mut self, slot: usize, count: u32, at: u64) {
        let number = self.number(slot);
        let behaviour = self.behaviour(slot);
        let measured = self.recorder.is_measured(at);
        self.outstanding -= u64::from(count);
        let state = &mut self.slots[slot];
        state.failures = 0;
        state.echoed += count;
        let mut left = count;
        while left > 0 {
            let nth = state.taken - u64::from(state.outstanding);
            let group = state.take_group(left);
            left -= group.count;
            let sent_at = if behaviour == Behaviour::Churn { state.connect_at } else { group.sent_at };
            let latency = at.saturating_sub(sent_at);
            if latency > SHORTEST && behaviour != Behaviour::SlowReader {
                self.recorder.gap(number, state.last_back.max(group.sent_at), at);
            }
            state.last_back = at;
            if !measured {
                continue;
            }
            self.recorder.counted(u64::from(group.count));
            match &self.schedule {
                _ if behaviour == Behaviour::SlowReader => {}
                None => self.recorder.echoed(u64::from(group.count), latency),
                Some(schedule) => {
                    self.recorder.echoed_since_sent(u64::from(group.count), latency);
                    for message in nth..nth + u64::from(group.count) {
                        self.recorder.echoed(1, at.saturating_sub(schedule.due(number, message)));
                    }
                }
            }
        }
    }

    /// Now and then: how long what was received has waited for this worker.
    #[inline]
    fn sample_lateness(&mut self, session: &Session<'_, u32>, now: u64) {
        self.blocks += 1;
        if self.blocks == LATENESS_SAMPLE {
            self.blocks = 0;
            self.recorder.was_late(now, now.saturating_sub(self.at(session.turn_time())));
        }
    }

    /// What is in flight on a connection is given up.
    pub(super) fn give_up(&mut self, slot: usize, now: u64) {
        let number = self.number(slot);
        let state = &mut self.slots[slot];
        if let Some(since) = state.waits_since() {
            self.recorder.gap(number, state.last_back.max(since), now);
        }
        self.outstanding -= u64::from(state.outstanding);
        state.outstanding = 0;
        state.phase = Phase::Ending;
    }

    /// A connection has failed: counted once, and opened again when it has ended.
    pub(super) fn failed(&mut self, slot: usize, kind: EventKind, now: u64) {
        self.recorder.event(now, kind);
        self.slots[slot].failures = self.slots[slot].failures.saturating_add(1);
        self.give_up(slot, now);
    }

    fn mismatched(&mut self, slot: usize, session: &mut Session<'_, u32>, mismatch: Mismatch, now: u64) {
        self.recorder.mismatch(mismatch);
        self.failed(slot, EventKind::Mismatch, now);
        session.abort();
    }

    /// Ends connections whose echoes are too late.
    fn time_out(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        let limit = self.settings.plan.reply_timeout.as_nanos() as u64;
        for slot in 0..self.slots.len() {
            let state = &self.slots[slot];
            let since = match state.phase {
                _ if state.is_paused => None,
                Phase::Open => state.waits_since(),
                Phase::Finishing => Some(state.waits_since().unwrap_or(state.last_back)),
                Phase::Connecting | Phase::Ending | Phase::Closed => None,
            };
            if since.is_none_or(|since| now.saturating_sub(since) <= limit) {
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

    fn begin(&mut self, worker: &mut WorkerContext<'_, u32>, start: u64) {
        let plan = &self.settings.plan;
        let from = start + plan.warmup.as_nanos() as u64;
        self.recorder.measure(Span { from, to: from + plan.duration.as_nanos() as u64 });
        self.stage = Stage::Running;
        match &mut self.schedule {
            Some(schedule) => schedule.start_at(start),
            None => self.loop_begins_at = Some(start),
        }
        self.set_alarm(worker);
    }

    /// The next moment that is exact: a message is due, or the measured part begins or ends.
    fn set_alarm(&self, worker: &mut WorkerContext<'_, u32>) {
        let span = self.recorder.span();
        let edge = if self.meters.has_begun() { span.to } else { span.from };
        let due = self.schedule.as_ref().map_or(u64::MAX, Schedule::next_due);
        let due = self.loop_begins_at.unwrap_or(due);
        let alarm = Time::from_nanos(edge.min(due).saturating_sub(self.offset));
        worker.set_precise_timer((self.stage == Stage::Running).then_some(alarm));
    }

    /// Each connection sends its first messages.
    fn begin_loop(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        self.loop_begins_at = None;
        for slot in 0..self.slots.len() {
            self.slots[slot].connect_at = self.slots[slot].connect_at.max(now);
            if let Some((mut session, _)) = self.slots[slot].session.and_then(|id| worker.session(id)) {
                self.pump(slot, &mut session, now);
            }
        }
    }

    /// Sends every message that is due.
    fn send_due(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
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

    /// Nothing more is sent.
    fn stop_sending(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64, give_up_at: Option<u64>) {
        self.recorder.end(now);
        self.meters.end();
        self.stage = Stage::Ending(give_up_at);
        worker.set_precise_timer(None);
        self.finish_if_done(worker, now);
    }

    /// Hands over what was measured, if nothing is in flight any more.
    fn finish_if_done(&mut self, worker: &mut WorkerContext<'_, u32>, now: u64) {
        let Stage::Ending(give_up_at) = self.stage else { return };
        if self.outstanding > 0 && give_up_at.is_none_or(|at| now < at) {
            return;
        }
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

impl Handler for Traffic {
    /// Which slot it is.
    type State = u32;
    type Message = ToWorker;

    fn on_start(&mut self, worker: &mut WorkerContext<'_, u32>) {
        let now = worker.now().as_nanos();
        self.offset =
            self.settings.epoch.map_or(0, |epoch| (epoch.elapsed().as_nanos() as u64).saturating_sub(now));
        self.meters.prepare(&self.settings.plan, self.worker);
        self.connect_first(worker);
    }

    fn on_open(&mut self, session: &mut Session<'_, u32>) -> u32 {
        let slot = session.token().unwrap_or(0) as usize;
        self.slots[slot].opened(session.id());
        self.recorder.counts.opened += 1;
        match self.stage {
            Stage::Connecting => self.answered(&mut session.worker()),
            Stage::Running => {
                let now = self.at(session.now());
                self.pump(slot, session, now);
            }
            Stage::Ending(_) | Stage::Over => {
                self.slots[slot].phase = Phase::Ending;
                session.abort();
            }
        }
        slot as u32
    }

    #[inline]
    fn on_data(&mut self, session: &mut Session<'_, u32>, slot: &mut u32, data: Lease) {
        // Not the turn's time: where the socket is read in the turn (readiness), the echo may have come after it, and a
        // latency would be too short, even 0.
        let at = self.at(session.now());
        let slot = *slot as usize;
        let number = self.number(slot);
        let state = &mut self.slots[slot];
        if !matches!(state.phase, Phase::Open | Phase::Finishing) {
            return;
        }
        let plan = &self.settings.plan;
        match state.receive(number, &data, plan.size, plan.check) {
            Ok(0) => {}
            Ok(count) => {
                drop(data); // its block is free before the next message needs one
                self.echoed(slot, count, at);
                self.sample_lateness(session, at);
                if !self.has_echoed(slot, session) {
                    self.pump(slot, session, at);
                }
                if self.outstanding == 0 {
                    self.finish_if_done(&mut session.worker(), at);
                }
            }
            Err(mismatch) => self.mismatched(slot, session, mismatch, at),
        }
    }

    fn on_half_close(&mut self, session: &mut Session<'_, u32>, slot: &mut u32) {
        let slot = *slot as usize;
        let now = self.at(session.turn_time());
        let state = &self.slots[slot];
        let is_wanted = state.phase == Phase::Ending
            || self.stage == Stage::Over
            || (state.phase == Phase::Finishing && state.missing() == 0);
        if is_wanted {
            self.slots[slot].phase = Phase::Ending;
            return session.close();
        }
        if let Some(mismatch) = state.cut_off(self.number(slot)) {
            return self.mismatched(slot, session, mismatch, now);
        }
        self.recorder.counts.reset += 1;
        self.recorder.counts.ended_early += 1;
        self.failed(slot, EventKind::Reset, now);
        session.abort();
    }

    fn on_sent(&mut self, session: &mut Session<'_, u32>, slot: &mut u32, _token: u64) {
        self.reset_on_purpose(*slot as usize, session);
    }

    fn on_timer(&mut self, session: &mut Session<'_, u32>, slot: &mut u32, _token: u64) {
        self.read_again(*slot as usize, session);
    }

    fn on_precise_timer(&mut self, worker: &mut WorkerContext<'_, u32>) {
        let now = self.at(worker.now());
        let span = self.recorder.span();
        if !self.meters.has_begun() && now >= span.from {
            self.meters.begin();
        }
        if self.stage == Stage::Running && now >= span.to {
            return self.stop_sending(worker, span.to, None);
        }
        if self.loop_begins_at.is_some_and(|at| now >= at) {
            self.begin_loop(worker, now);
        }
        self.send_due(worker, now);
        self.set_alarm(worker);
    }

    fn on_tick(&mut self, worker: &mut WorkerContext<'_, u32>) {
        let now = self.at(worker.now());
        self.recorder.is_measured(now);
        self.meters.sample(now.saturating_sub(self.recorder.span().from));
        if !matches!(self.stage, Stage::Connecting | Stage::Over) {
            self.time_out(worker, now);
            self.finish_if_done(worker, now);
        }
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, u32>, message: ToWorker) {
        let now = self.at(worker.now());
        match message {
            ToWorker::Begin { start } => self.begin(worker, start),
            ToWorker::Interrupt if matches!(self.stage, Stage::Running | Stage::Ending(_)) => {
                self.stop_sending(worker, now, Some(now + LAST_WAIT.as_nanos() as u64));
            }
            ToWorker::Interrupt => {}
        }
    }

    fn on_connect_failed(&mut self, worker: &mut WorkerContext<'_, u32>, slot: u64, error: &io::Error) {
        let slot = slot as usize;
        if matches!(self.stage, Stage::Ending(_) | Stage::Over) {
            return;
        }
        let now = self.at(worker.now());
        self.recorder.connect_failed(error.to_string());
        self.recorder.event(now, EventKind::ConnectFailed);
        let first = self.slots[slot].session.is_none() && self.slots[slot].failures == 0;
        self.slots[slot].failures = self.slots[slot].failures.saturating_add(1);
        if first {
            self.answered(worker);
        }
        // The second attempt waits, too: a server that refuses is not asked at once.
        self.slots[slot].failures = self.slots[slot].failures.max(2);
        self.connect(worker, slot);
    }

    fn on_close(&mut self, worker: &mut WorkerContext<'_, u32>, closed: Closed, slot: u32) {
        let slot = slot as usize;
        let now = self.at(worker.now());
        self.slots[slot].session = None;
        if matches!(self.slots[slot].phase, Phase::Open | Phase::Finishing) {
            let asked = matches!(closed.reason, CloseReason::Drained | CloseReason::Cut);
            if !asked {
                self.recorder.counts.reset += 1;
            }
            self.failed(slot, EventKind::Reset, now);
        }
        self.slots[slot].phase = Phase::Closed;
        if matches!(self.stage, Stage::Connecting | Stage::Running) {
            self.connect(worker, slot);
        }
        self.finish_if_done(worker, now);
    }
}
