//! The handler: one worker's share of the connections.
//!
//! A run has five stages. *Connecting*: each connection was asked for once. *Running*: messages are sent; this is the
//! warm-up and the measured part. *Ending*: nothing is sent, what is in flight is awaited. *Closing*: each connection is
//! closed gracefully. *Over*: what was measured is handed over. The thread that collects starts the second stage, when the
//! first has ended on every worker. `traffic.rs` has what happens while messages are sent, `stages.rs` the rest.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use overlapped::{CloseReason, Closed, Handler, Lease, Session, Time, WorkerContext};

use super::meters::Meters;
use super::recorder::Recorder;
use super::schedule::Schedule;
use super::slot::{Phase, Slot};
use super::sources::Sources;
use super::stalls::SHORTEST;
use super::timeouts::Timeouts;
use super::{FromWorker, ToWorker};
use crate::load::measured::{EventKind, Mismatch};
use crate::load::plan::{Behaviour, Plan};

/// One block of this number is looked at: how long it has waited for this worker.
const LATENESS_SAMPLE: u32 = 16;

/// Messages that become due meanwhile and are sent from within another turn, at most.
const SOME: usize = 16;

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
    /// Until this time at the latest.
    Closing(u64),
    Over,
}

/// When the connections of a closed loop send their first messages.
pub(super) struct Starts {
    pub(super) at: u64,
    pub(super) spread: u64,
    /// The next slot.
    pub(super) next: usize,
}

pub(super) struct Traffic {
    pub(super) settings: Arc<Settings>,
    pub(super) out: Sender<FromWorker>,
    /// This worker, and how many there are.
    pub(super) worker: u32,
    pub(super) workers: u32,
    /// What is added to the worker's clock, so that all workers have one epoch.
    pub(super) offset: u64,
    pub(super) stage: Stage,
    pub(super) slots: Vec<Slot>,
    /// Connections that were not asked for yet: from this one on.
    pub(super) next_connect: usize,
    /// First connects that are not answered.
    pub(super) unanswered: usize,
    pub(super) schedule: Option<Schedule>,
    /// Of a closed loop, until each connection has begun.
    pub(super) starts: Option<Starts>,
    pub(super) timeouts: Timeouts,
    /// While it closes: connections that have not ended.
    pub(super) left: usize,
    pub(super) recorder: Recorder,
    pub(super) meters: Meters,
    /// Messages in flight on all connections.
    pub(super) outstanding: u64,
    blocks: u32,
    /// True once an interruption has changed anything.
    pub(super) is_interrupted: bool,
    /// For what happens by chance.
    pub(super) random: u64,
}

impl Traffic {
    pub(super) fn new(settings: Arc<Settings>, worker: u32, out: Sender<FromWorker>) -> Traffic {
        let plan = &settings.plan;
        let (connections, workers) = (plan.connections, plan.threads);
        let share = connections / workers + u32::from(worker < connections % workers);
        let schedule = plan.rate.map(|rate| Schedule::new(rate, connections, worker, workers));
        let slot = |index: u32| {
            let number = index * workers + worker;
            Slot::new(number, plan.behaviours[number as usize % plan.behaviours.len()])
        };
        Traffic {
            recorder: Recorder::new(out.clone(), worker, schedule.is_some()),
            meters: Meters::new(plan.server_pid.filter(|_| worker == 0)),
            out,
            worker,
            workers,
            offset: 0,
            stage: Stage::Connecting,
            slots: (0..share).map(slot).collect(),
            next_connect: 0,
            unanswered: share as usize,
            schedule,
            starts: None,
            is_interrupted: false,
            timeouts: Timeouts::new(),
            left: 0,
            outstanding: 0,
            blocks: 0,
            random: 0x853c_49e6_748f_ea9b ^ u64::from(worker),
            settings,
        }
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
        let state = &self.slots[slot];
        let has_begun = state.has_begun || self.schedule.is_some();
        if self.stage != Stage::Running || has_ended || state.phase != Phase::Open || !has_begun {
            return 0;
        }
        let mut count = self.room(slot);
        if let Some(schedule) = &self.schedule {
            let state = &self.slots[slot];
            let waiting = schedule.taken(state.number).saturating_sub(state.taken);
            count = count.min(u32::try_from(waiting).unwrap_or(u32::MAX));
        }
        if count == 0 {
            return 0;
        }
        let size = self.settings.plan.size;
        self.outstanding += u64::from(count);
        for piece in self.slots[slot].send(count, size, now) {
            session.send(piece);
        }
        if !self.slots[slot].is_watched {
            self.watch(slot, now);
        }
        self.has_sent(slot, count, session);
        count
    }

    /// What follows on echoes that are complete.
    #[inline]
    fn go_on(&mut self, slot: usize, session: &mut Session<'_, u32>, now: u64) {
        if !self.has_echoed(slot, session) {
            self.pump(slot, session, now);
        }
        if self.schedule.as_ref().is_some_and(|schedule| schedule.next_due() <= now) {
            // A turn with many echoes takes long: what becomes due meanwhile does not wait for its end.
            self.send_some(&mut session.worker(), now, SOME);
            self.pump(slot, session, now); // it cannot be found by its id now
        }
        if self.outstanding == 0 && self.stage != Stage::Running {
            self.look_soon(&mut session.worker());
        }
    }

    /// The echoes of `count` messages were complete at `at`.
    #[inline]
    fn echoed(&mut self, slot: usize, count: u32, at: u64) {
        let measured = self.recorder.is_measured(at);
        // It was awaited in the measured part: without it, the end of the run would hide a server that stopped.
        let comes_late = !measured && self.recorder.is_over(at);
        self.outstanding -= u64::from(count);
        let state = &mut self.slots[slot];
        let (number, behaviour) = (state.number, state.behaviour);
        state.failures = 0;
        state.echoed += count;
        let mut left = count;
        while left > 0 {
            let nth = state.taken - u64::from(state.outstanding);
            let group = state.take_group(left);
            left -= group.count;
            let with_connect = behaviour == Behaviour::Churn && self.schedule.is_none();
            let latency = at.saturating_sub(if with_connect { state.connect_at } else { group.sent_at });
            let silent_since = state.down_since.take().unwrap_or(state.last_back.max(group.sent_at));
            if at.saturating_sub(silent_since) > SHORTEST && behaviour != Behaviour::SlowReader {
                self.recorder.gap(number, silent_since, at);
            }
            state.last_back = at;
            if measured {
                self.recorder.counted(u64::from(group.count));
            } else if !comes_late {
                continue;
            }
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

    /// Nobody waits for an echo on a connection any more: if nothing has come back for long, that ends here.
    pub(super) fn wait_no_more(&mut self, slot: usize, now: u64) {
        let state = &mut self.slots[slot];
        let since = state.silent_since().filter(|_| state.behaviour != Behaviour::SlowReader);
        state.down_since = None;
        if let Some(since) = since {
            self.recorder.gap(state.number, since, now);
        }
    }

    /// What is in flight on a connection is given up.
    pub(super) fn give_up(&mut self, slot: usize) {
        let state = &mut self.slots[slot];
        self.outstanding -= u64::from(state.outstanding);
        state.outstanding = 0;
        state.phase = Phase::Ending;
    }

    /// A connection has failed: counted once, and opened again when it has ended.
    pub(super) fn failed(&mut self, slot: usize, kind: EventKind, now: u64) {
        self.recorder.event(now, kind);
        let state = &self.slots[slot];
        let next_due = self.schedule.as_ref().map_or(now, |schedule| schedule.due(state.number, state.taken));
        let since = state.silent_since().unwrap_or(next_due.max(now));
        self.wait_no_more(slot, now);
        let state = &mut self.slots[slot];
        state.failures = state.failures.saturating_add(1);
        // The next connection's first echo ends it, unless nothing is to be sent until then.
        state.down_since = Some(since);
        self.give_up(slot);
    }

    /// A connection is there again: if nothing was due meanwhile, nobody has missed it.
    fn is_back(&mut self, slot: usize) {
        let state = &mut self.slots[slot];
        if self.schedule.as_ref().is_some_and(|schedule| schedule.taken(state.number) <= state.taken) {
            state.down_since = None;
        }
    }

    /// An echo that comes now is too late.
    pub(super) fn is_too_late(&self, slot: usize, now: u64) -> bool {
        let since = self.slots[slot].awaits_since(now);
        since.is_some_and(|since| now.saturating_sub(since) > self.reply_timeout())
    }

    /// In ns.
    pub(super) fn reply_timeout(&self) -> u64 {
        self.settings.plan.reply_timeout.as_nanos() as u64
    }

    pub(super) fn timed_out(&mut self, slot: usize, now: u64) {
        self.recorder.counts.timeouts += 1;
        self.failed(slot, EventKind::Timeout, now);
    }

    fn mismatched(&mut self, slot: usize, session: &mut Session<'_, u32>, mismatch: Mismatch, now: u64) {
        self.recorder.mismatch(mismatch);
        self.failed(slot, EventKind::Mismatch, now);
        session.abort();
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
        self.is_back(slot);
        self.recorder.counts.opened += 1;
        match self.stage {
            Stage::Connecting => self.answered(&mut session.worker()),
            Stage::Running => {
                let now = self.at(session.now());
                self.pump(slot, session, now);
            }
            Stage::Ending(_) => {}
            Stage::Closing(_) => {
                self.slots[slot].phase = Phase::Finishing;
                session.finish();
            }
            Stage::Over => {
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
        if !matches!(self.slots[slot].phase, Phase::Open | Phase::Finishing) {
            return;
        }
        if self.is_too_late(slot, at) {
            self.timed_out(slot, at);
            return session.abort();
        }
        let plan = &self.settings.plan;
        let state = &mut self.slots[slot];
        let (count, mismatch) = state.receive(&data, plan.size, plan.check);
        drop(data); // its block is free before the next message needs one
        if count > 0 {
            self.echoed(slot, count, at);
            self.sample_lateness(session, at);
        }
        if let Some(mismatch) = mismatch {
            return self.mismatched(slot, session, mismatch, at);
        }
        if count > 0 {
            self.go_on(slot, session, at);
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
        if let Some(mismatch) = state.cut_off() {
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
        self.on_time(worker, now);
    }

    fn on_tick(&mut self, worker: &mut WorkerContext<'_, u32>) {
        let now = self.at(worker.now());
        self.recorder.is_measured(now);
        self.meters.sample(now.saturating_sub(self.recorder.span().from));
        if matches!(self.stage, Stage::Running | Stage::Ending(_)) {
            self.time_out(worker, now);
        }
        self.go_on_ending(worker, now);
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, u32>, message: ToWorker) {
        let now = self.at(worker.now());
        match message {
            ToWorker::Begin { start } => self.begin(worker, start),
            ToWorker::Interrupt => self.interrupt(worker, now),
        }
    }

    fn on_connect_failed(&mut self, worker: &mut WorkerContext<'_, u32>, slot: u64, error: &io::Error) {
        let slot = slot as usize;
        let now = self.at(worker.now());
        if !matches!(self.stage, Stage::Connecting | Stage::Running) {
            return self.has_ended(worker, slot, now);
        }
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
        let state = &mut self.slots[slot];
        state.session = None;
        // At the end of the run it does not matter how the server closes, if everything has come.
        let is_end = matches!(self.stage, Stage::Closing(_) | Stage::Over) && state.missing() == 0;
        let was_asked = is_end || matches!(closed.reason, CloseReason::Drained | CloseReason::Cut);
        if matches!(state.phase, Phase::Open | Phase::Finishing) && !was_asked {
            self.recorder.counts.reset += 1;
            self.failed(slot, EventKind::Reset, now);
        }
        if matches!(self.stage, Stage::Connecting | Stage::Running) {
            self.connect(worker, slot);
        } else {
            self.has_ended(worker, slot, now);
        }
    }
}
