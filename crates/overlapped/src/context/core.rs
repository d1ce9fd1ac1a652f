//! The part of a worker that callbacks change: its sessions, timers and counters.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use proactor::{ConnectionKey, Payload, Time};

use super::{ConnectRequest, PendingConnects};
use crate::config::{Config, Overflow};
use crate::observe::{Event, Report};
use crate::session::{
    CloseReason, Directory, Leftovers, Pending, PhaseAction, PhaseEvent, PostToSession, RoomRequest,
    SendQueue, Sent, SessionId, SessionState, Table,
};
use crate::timers::{Due, TimerId, Wheel};

/// The timers that a worker's handler has set, by token. Each id listed here is set in the worker's wheel.
#[derive(Default)]
pub(crate) struct WorkerTimers {
    tokens: BTreeMap<u64, TimerId>,
}

pub(crate) struct Core {
    pub(crate) worker: u32,
    pub(crate) config: Arc<Config>,
    pub(crate) sessions: Table,
    /// Sessions with something to submit or to close, since the last flush.
    pub(crate) touched: Vec<ConnectionKey>,
    /// Sessions that the next turn flushes, because this turn's budget is used up. Each is still marked as touched.
    pub(crate) deferred: Vec<ConnectionKey>,
    /// Sessions that hold their source: see [`Stats::full`](crate::Stats::full).
    pub(crate) full: usize,
    /// Bytes that the present flush may still send.
    pub(crate) flush_budget: usize,
    /// What was asked for about connects, since the last flush.
    pub(crate) connects: VecDeque<ConnectRequest>,
    pub(crate) pending_connects: PendingConnects,
    pub(crate) timers: Wheel<Due>,
    pub(crate) worker_timers: WorkerTimers,
    /// When the worker's precise timer is due.
    pub(crate) precise_timer: Option<Time>,
    /// Sessions whose own timeouts were changed, and are not watched yet.
    pub(crate) relimited: Vec<ConnectionKey>,
    /// The time, as of this turn.
    pub(crate) now: Time,
    pub(crate) report: Report,
    pub(crate) mailbox: Arc<dyn PostToSession>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) draining: bool,
    /// In a drain, by their source: silent sessions that wait for it.
    pub(crate) awaiting_source: HashMap<ConnectionKey, HashSet<ConnectionKey>>,
    /// For answers that are put together from parts. Empty between two uses.
    pub(crate) scratch: Vec<u8>,
    pub(crate) callback: CurrentCallback,
}

/// Which callback runs: a panic is attributed to it, and a drain refuses connects by it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CurrentCallback {
    /// None: the engine runs. A panic in it is our bug, and ends the worker.
    None,
    /// One for no session in particular.
    Worker,
    /// `on_connect_failed` or `on_panic`.
    Answer {
        /// How many connects in a row were refused, with the one that this answers.
        refusals: u8,
    },
    /// One for this session, which may have ended: `on_close`.
    Session(ConnectionKey),
}

/// Refusals in a row that are answered: a handler that asks again at each of them would go on for ever.
pub(crate) const MOST_REFUSALS: u8 = 16;

impl Core {
    pub(crate) fn new(
        worker: u32,
        config: Arc<Config>,
        mailbox: Arc<dyn PostToSession>,
        directory: Arc<Directory>,
        report: Report,
        now: Time,
    ) -> Core {
        Core {
            worker,
            config,
            sessions: Table::default(),
            touched: Vec::new(),
            deferred: Vec::new(),
            full: 0,
            flush_budget: 0,
            connects: VecDeque::new(),
            pending_connects: PendingConnects::default(),
            timers: Wheel::default(),
            worker_timers: WorkerTimers::default(),
            precise_timer: None,
            relimited: Vec::new(),
            now,
            report,
            mailbox,
            directory,
            draining: false,
            awaiting_source: HashMap::new(),
            scratch: Vec::new(),
            callback: CurrentCallback::None,
        }
    }

    pub(crate) fn id(&self, key: ConnectionKey) -> SessionId {
        SessionId { worker: self.worker, key }
    }

    pub(crate) fn lives_here(&self, id: SessionId) -> bool {
        id.worker == self.worker && self.sessions.get(id.key).is_some()
    }

    /// How many connects in a row are refused with one that the present callback asks for; 0 if it may connect.
    pub(super) fn refusals(&self) -> u8 {
        match self.callback {
            _ if !self.draining => 0,
            CurrentCallback::Session(key) if self.sessions.get(key).is_some_and(SessionState::is_live) => 0,
            CurrentCallback::Answer { refusals } => refusals + 1,
            CurrentCallback::Session(_) | CurrentCallback::Worker | CurrentCallback::None => 1,
        }
    }

    /// Queues a payload for a session.
    #[inline]
    pub(crate) fn send(&mut self, key: ConnectionKey, payload: Payload) -> Sent {
        let charge = payload.charge();
        self.enqueue(key, charge, |queue| queue.push(payload))
    }

    /// Queues a copy of `bytes` for a session.
    #[inline]
    pub(crate) fn send_copy(&mut self, key: ConnectionKey, bytes: &[u8]) -> Sent {
        self.enqueue(key, bytes.len(), |queue| queue.copy(bytes))
    }

    #[inline]
    fn enqueue(&mut self, key: ConnectionKey, charge: usize, add: impl FnOnce(&mut SendQueue)) -> Sent {
        let Some(state) = self.sessions.get_mut(key) else { return Sent::Closed };
        let (high_water, hard_limit) = if state.pending.has(Pending::GUARDED) {
            let Some(own) = state.marks_if_open() else { return Sent::Closed };
            (own.high_water, own.hard_limit)
        } else {
            (self.config.high_water, self.config.hard_limit)
        };
        if state.queue.charge().saturating_add(charge) > hard_limit {
            return self.overflow(key);
        }
        add(&mut state.queue);
        if state.pending.add(Pending::FLUSH) {
            self.touched.push(key);
        }
        if state.queue.bytes() >= high_water {
            // `on_writable` will be called, even if the kernel takes all of it at once: the handler may have stopped
            // sending because of this.
            state.pending.add(Pending::WRITABLE);
            self.now_full(key);
        }
        Sent::Ok
    }

    /// Notes that a session has something for the next flush.
    #[inline]
    pub(crate) fn touch(&mut self, key: ConnectionKey) {
        if let Some(state) = self.sessions.get_mut(key)
            && state.pending.add(Pending::FLUSH)
        {
            self.touched.push(key);
        }
    }

    /// Too much is unsent in a session: its source is held.
    pub(crate) fn now_full(&mut self, key: ConnectionKey) {
        let Some(state) = self.sessions.get_mut(key) else { return };
        if state.pending.add(Pending::SOURCE) {
            let source = state.source;
            self.full += 1;
            self.hold(source, 1);
        }
    }

    /// A session has room again: its source is released.
    pub(crate) fn no_longer_full(&mut self, key: ConnectionKey) {
        let Some(state) = self.sessions.get_mut(key) else { return };
        if state.pending.remove(Pending::SOURCE) {
            let source = state.source;
            self.full -= 1;
            self.hold(source, -1);
        }
    }

    fn hold(&mut self, source: ConnectionKey, by: i32) {
        if let Some(state) = self.sessions.get_mut(source) {
            state.hold(by);
            state.received_at = state.received_at.max(self.now);
            self.look_at_receive(source);
        }
    }

    /// The next flush pauses or resumes the receive of a session, by its state at that time.
    pub(crate) fn look_at_receive(&mut self, key: ConnectionKey) {
        if let Some(state) = self.sessions.get_mut(key) {
            state.pending.add(Pending::RECEIVE);
            self.touch(key);
        }
    }

    /// What `from` receives goes to `to`: while that is full, `from` is held.
    pub(crate) fn feed(&mut self, from: ConnectionKey, to: ConnectionKey) -> bool {
        if self.sessions.get(from).is_none() {
            return false;
        }
        let Some(target) = self.sessions.get_mut(to) else { return false };
        let before = std::mem::replace(&mut target.source, from);
        if target.pending.has(Pending::SOURCE) {
            self.hold(before, -1);
            self.hold(from, 1);
        }
        if self.draining {
            self.touch(to);
        }
        true
    }

    /// Begins a graceful close.
    pub(crate) fn close(&mut self, key: ConnectionKey, reason: CloseReason) {
        self.apply(key, PhaseEvent::Close(reason));
    }

    /// Begins to end this side's stream. If the peer's has ended, that is the end of the session.
    pub(crate) fn end_stream(&mut self, key: ConnectionKey) {
        self.apply(key, PhaseEvent::Finish);
    }

    /// Ends a session at once; what it has queued is lost.
    pub(crate) fn abort(&mut self, key: ConnectionKey, reason: CloseReason) {
        self.apply(key, PhaseEvent::Abort(reason));
    }

    /// What handlers and deadlines ask for: the next flush does the rest.
    fn apply(&mut self, key: ConnectionKey, event: PhaseEvent) {
        let Some(state) = self.sessions.get_mut(key) else { return };
        match state.apply(event) {
            PhaseAction::StopHearing => {
                let leftovers = state.stop_hearing(self.now);
                let bytes = self.stop_hearing(key, leftovers);
                if bytes > 0 {
                    self.report.emit(&Event::Discarded { session: self.id(key), bytes });
                }
            }
            PhaseAction::TakeNoSend => self.touch(key),
            PhaseAction::Nothing
            | PhaseAction::HalfClose
            | PhaseAction::HalfCloseThenClose
            | PhaseAction::Linger
            | PhaseAction::CloseConnection => {}
        }
    }

    /// A session closes and has stopped hearing: its timers are cancelled, its source is released, and the next flush does
    /// the rest. Returns how many received bytes its handler did not get.
    pub(crate) fn stop_hearing(&mut self, key: ConnectionKey, leftovers: Leftovers) -> usize {
        if let Some(timers) = leftovers.timers {
            timers.cancel_all(&mut self.timers);
        }
        if let Some(source) = leftovers.source {
            self.full -= 1;
            self.hold(source, -1);
        }
        self.source_ended(key);
        self.touch(key);
        leftovers.kept
    }

    /// A thread waits until a session has room: the next flush answers it, or a later one. If the session is gone, that is
    /// answered at once.
    pub(crate) fn keep_request(&mut self, key: ConnectionKey, request: RoomRequest) {
        if let Some(state) = self.sessions.get_mut(key) {
            state.keep_request(request);
            self.touch(key);
        }
    }

    /// The flush after which a session's unsent bytes are out calls `on_sent`. False if the session has begun to close.
    pub(crate) fn notify_when_sent(&mut self, key: ConnectionKey, token: u64) -> bool {
        let Some(state) = self.sessions.get_mut(key).filter(|state| state.is_live()) else { return false };
        state.mark_unsent(token);
        self.touch(key);
        true
    }

    /// Sets a session's timer for `token`, or moves it. Does nothing if the session has begun to close.
    pub(crate) fn set_timer(&mut self, key: ConnectionKey, at: Time, token: u64) {
        if let Some(state) = self.sessions.get_mut(key).filter(|state| state.is_live()) {
            state.timers.get_or_insert_default().set(&mut self.timers, key, token, at);
        }
    }

    /// Cancels a session's timer for `token`. False if none is set.
    pub(crate) fn cancel_timer(&mut self, key: ConnectionKey, token: u64) -> bool {
        let timers = self.sessions.get_mut(key).and_then(|state| state.timers.as_mut());
        timers.is_some_and(|timers| timers.cancel(&mut self.timers, token))
    }

    /// A session's timer for `token` fires: another one may be set for it.
    pub(crate) fn timer_fired(&mut self, key: ConnectionKey, token: u64) {
        if let Some(timers) = self.sessions.get_mut(key).and_then(|state| state.timers.as_mut()) {
            timers.fired(token);
        }
    }

    /// Cancels every timer of a session: of one that lingers, the end of that.
    pub(crate) fn cancel_timers(&mut self, key: ConnectionKey) {
        if let Some(timers) = self.sessions.get_mut(key).and_then(|state| state.timers.take()) {
            timers.cancel_all(&mut self.timers);
        }
    }

    /// Sets the worker's own timer for `token`, or moves it.
    pub(super) fn set_worker_timer(&mut self, at: Time, token: u64) {
        let Core { timers, worker_timers: WorkerTimers { tokens }, .. } = self;
        if !tokens.get(&token).is_some_and(|id| timers.move_to(*id, at)) {
            tokens.insert(token, timers.set(at, Due::Worker { token }));
        }
    }

    /// Cancels the worker's own timer for `token`. False if none is set.
    pub(super) fn cancel_worker_timer(&mut self, token: u64) -> bool {
        let id = self.worker_timers.tokens.remove(&token);
        id.is_some_and(|id| self.timers.cancel(id))
    }

    /// The worker's timer for `token` fires: another one may be set for it.
    pub(crate) fn worker_timer_fired(&mut self, token: u64) {
        self.worker_timers.tokens.remove(&token);
    }

    /// The hard limit of a session is reached (INV-6).
    #[cold]
    pub(crate) fn overflow(&mut self, key: ConnectionKey) -> Sent {
        match self.config.overflow {
            Overflow::Close => self.abort(key, CloseReason::Overflow),
            Overflow::Refuse => {
                if let Some(state) = self.sessions.get_mut(key) {
                    state.pending.add(Pending::WRITABLE);
                }
            }
        }
        Sent::Full
    }
}
