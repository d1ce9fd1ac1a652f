//! One worker: one driver, one handler, one thread (INV-5).
//!
//! [`Worker::turn`] does one round: the mailbox; one harvest, which also submits what is batched; each completion; then
//! timers and deadlines. It starts no thread and reads no clock but its driver's, so a simulation can run several workers
//! in one thread.

mod accept;
mod by_hand;
mod callbacks;
mod close;
mod connect;
mod deadlines;
mod drain;
mod flush;
mod handle;
mod layer;
mod mail;
mod panics;
mod precise_timer;
mod receive;
mod sessions;
mod slow_callbacks;
#[cfg(test)]
mod tests;
mod ticks;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use proactor::backend::{Backend, Wait};
use proactor::{ConnectionKey, Driver, Event as Io, TcpInfo, Time, Verb};

use crate::admission::{Arrivals, Placement, Seat};
use crate::config::Config;
use crate::connect::ConnectId;
use crate::context::Core;
use crate::handler::Handler;
use crate::mailbox::{Mail, Mailbox};
use crate::observe::{Gauges, Longest, Observer, Report};
use crate::resolver::Resolve;
use crate::session::CloseReason;
use crate::shared::WorkerShared;
use crate::timers::Due;

use accept::Undecided;
pub(crate) use accept::{ACCEPT_PAUSE, Arrival, Listeners};
use connect::ATTEMPTS_PER_TURN;
use deadlines::{Deadlines, Overdue};
use drain::Drain;
pub use handle::WorkerHandle;
pub(crate) use layer::{Layer, Plain};
use slow_callbacks::CallbackClock;
use ticks::Ticks;

pub(crate) struct Worker<B: Backend, H: Handler, L: Layer = Plain> {
    driver: Driver<B>,
    handler: H,
    layer: L,
    core: Core,
    /// The handler's state of each session, by slot. The engine's is in `core`.
    states: Vec<Option<H::State>>,
    /// The seat of each session, by slot.
    seats: Vec<Option<Seat>>,
    /// Of connections that are being closed, if that is asked for.
    last_tcp_infos: HashMap<ConnectionKey, TcpInfo>,
    /// Attempts to connect that are in flight.
    connecting: HashMap<ConnectionKey, ConnectId>,
    /// Attempts to connect that this turn may still begin.
    attempts_left: usize,
    resolver: Arc<dyn Resolve>,
    listeners: Listeners,
    /// A connection that the handler is asked about.
    undecided: Option<Undecided<B::Socket>>,
    mailbox: Arc<Mailbox<H::Message>>,
    shared: Arc<WorkerShared>,
    mail: VecDeque<Mail<H::Message>>,
    placement: Arc<Placement<Arrival<B::Socket>>>,
    arrivals: Arc<Arrivals<Arrival<B::Socket>>>,
    /// How many of the arrivals are to be taken in this turn.
    arriving: usize,
    drain: Option<Drain>,
    deadlines: Deadlines,
    /// If the handler wants ticks.
    ticks: Option<Ticks>,
    /// When the last event came: the time of its turn.
    busy_at: Time,
    /// When the turn began: the wait before it was over.
    turn_began: Time,
    longest_turn: Longest,
    callback_clock: CallbackClock,
    /// True once the handler's `on_start` was called.
    started: bool,
    /// True once nothing is left to do.
    ended: bool,
}

/// The driver of the worker with this index, as its settings say.
pub(crate) fn make_driver<B: Backend>(
    backend: B,
    config: &Config,
    index: usize,
    observer: Option<Observer>,
) -> Driver<B> {
    let mut driver = Driver::new(backend);
    driver.set_options(config.options);
    driver.turn_away_at_most(config.turned_away);
    if let Some(observer) = observer.filter(|_| config.trace_operations) {
        observer.trace_operations(&mut driver, index);
    }
    driver
}

/// What a worker is made from.
pub(crate) struct Parts<B: Backend, H: Handler, L: Layer> {
    pub(crate) index: usize,
    pub(crate) driver: Driver<B>,
    /// What the driver accepts on.
    pub(crate) listeners: Listeners,
    pub(crate) handler: H,
    pub(crate) layer: L,
    pub(crate) config: Arc<Config>,
    pub(crate) mailbox: Arc<Mailbox<H::Message>>,
    pub(crate) placement: Arc<Placement<Arrival<B::Socket>>>,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) observer: Option<Observer>,
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    pub(crate) fn new(parts: Parts<B, H, L>) -> Worker<B, H, L> {
        let Parts {
            index,
            driver,
            listeners,
            handler,
            layer,
            config,
            mailbox,
            placement,
            resolver,
            observer,
        } = parts;
        let (post, directory) = (Arc::clone(&mailbox) as Arc<_>, Arc::clone(&mailbox.shared.directory));
        let slow_callback = config.slow_callback;
        let core = Core::new(index as u32, config, post, directory, Report::new(observer), driver.now());
        let mut worker = Worker {
            driver,
            handler,
            layer,
            core,
            states: Vec::new(),
            seats: Vec::new(),
            listeners,
            undecided: None,
            last_tcp_infos: HashMap::new(),
            connecting: HashMap::new(),
            attempts_left: ATTEMPTS_PER_TURN,
            resolver,
            shared: Arc::clone(&mailbox.shared),
            mailbox,
            mail: VecDeque::new(),
            arrivals: placement.arrivals(index),
            placement,
            arriving: 0,
            drain: None,
            deadlines: Deadlines::default(),
            ticks: None,
            busy_at: Time::ZERO,
            turn_began: Time::ZERO,
            longest_turn: Longest::default(),
            callback_clock: CallbackClock::new(slow_callback),
            started: false,
            ended: false,
        };
        worker.shared.doorbell.install(worker.driver.waker());
        worker.start_ticks();
        worker
    }

    /// Runs until a drain or a stop has ended everything.
    ///
    /// # Errors
    /// If the backend itself broke.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        // No tick is due for the time spent on waiting for the other workers.
        self.start_ticks();
        self.begin_turn();
        while !self.has_ended() {
            self.turn(true)?;
        }
        self.publish();
        Ok(())
    }

    /// One round. `may_wait`: sleep until something happens or is due.
    ///
    /// # Errors
    /// If the backend itself broke.
    pub(crate) fn turn(&mut self, may_wait: bool) -> io::Result<()> {
        if !self.started {
            self.catching_panics(Self::start);
        }
        self.attempts_left = ATTEMPTS_PER_TURN;
        self.core.touched.append(&mut self.core.deferred);
        self.catching_panics(Self::take_mail);
        self.catching_panics(Self::flush);
        self.submit_in_parts()?;
        self.watch_own_limits();
        debug_assert!(
            self.core.touched.is_empty(),
            "what was asked for is submitted before the worker sleeps"
        );
        let wait = if may_wait { self.wait() } else { Wait::Poll };
        self.end_turn();
        self.publish();
        self.shared.heartbeat.begin_wait();
        let turned = self.driver.turn(wait);
        self.shared.heartbeat.end_wait();
        turned?;
        self.begin_turn();
        self.core.report.counters.turns += 1;
        self.catching_panics(Self::fire_precise_timer);
        self.catching_panics(Self::take_events);
        self.catching_panics(Self::fire_timers);
        self.catching_panics(Self::fire_tick);
        self.catching_panics(Self::look_at_deadlines);
        self.step_drain();
        if self.ended {
            self.close_mailbox();
        }
        self.catching_panics(Self::flush);
        Ok(())
    }

    /// Calls the handler's `on_start`, once: also if it panics.
    #[cold]
    fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            self.worker_callback(H::on_start);
        }
    }

    /// Whether everything has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    fn wait(&self) -> Wait {
        let deadlines = [
            self.core.timers.next(),
            self.deadlines.next(self.driver.sends_in_flight() > 0),
            self.drain.as_ref().map(Drain::wake_at),
            self.ticks.as_ref().map(Ticks::due),
            self.core.precise_timer.map(|at| precise_timer::sleep_until::<B>(at, self.core.now)),
        ];
        let spin = self.core.config.busy_poll;
        match deadlines.into_iter().flatten().min() {
            // There is work left that needs no event: connects asked for by a failed one, the rest of a flush, the end of
            // a drain.
            _ if self.ended
                || !self.core.connects.is_empty()
                || self.deadlines.has_overdue()
                || self.has_nothing_left()
                || !self.core.deferred.is_empty()
                || spin.is_some_and(|spin| self.core.now.since(self.busy_at) < spin) =>
            {
                Wait::Poll
            }
            Some(at) => Wait::Until(at),
            None => Wait::Forever,
        }
    }

    fn begin_turn(&mut self) {
        self.core.now = self.driver.now();
        self.turn_began = self.core.now;
        self.start_callback_clock();
    }

    /// The turn is over.
    fn end_turn(&mut self) {
        let now = self.driver.now();
        let took = now.since(self.turn_began);
        self.core.report.counters.turn_ns += took.as_nanos() as u64;
        self.longest_turn.add(now, took);
    }

    pub(crate) fn publish(&mut self) {
        let snapshot = self.driver.snapshot();
        let gauges = Gauges {
            sessions: self.core.sessions.len() as u64,
            in_flight: snapshot.in_flight as u64,
            blocks_in_use: snapshot.blocks_in_use as u64,
            starved: snapshot.starved as u64,
            full: self.core.full as u64,
            longest_turn_ns: self.longest_turn.get().as_nanos() as u64,
            longest_callback_ns: self.callback_clock.longest().as_nanos() as u64,
        };
        self.shared.published.publish(&self.core.report.counters, &gauges);
    }

    fn take_events(&mut self) {
        while let Some(event) = self.driver.next_event() {
            self.busy_at = self.core.now;
            if let Some(index) = self.driver.upcoming() {
                self.core.sessions.prefetch(index);
            }
            match event {
                Io::Received { connection, data } => self.received(connection, data),
                Io::Sent { connection, bytes } => self.sent(connection, bytes),
                event => self.take_rare(event),
            }
            self.flush();
        }
        self.serve_arrivals();
    }

    /// Events that are few beside those that move bytes: apart, so that they cost those nothing.
    #[inline(never)]
    fn take_rare(&mut self, event: Io<B::Socket>) {
        match event {
            Io::Received { .. } | Io::Sent { .. } => unreachable!("these are not rare"),
            Io::EndOfStream { connection } => self.half_closed(connection),
            Io::Failed { connection, verb: Verb::Connect, error } => {
                self.attempt_failed(connection, error);
            }
            Io::Failed { connection, error, .. } => {
                self.core.abort(connection, CloseReason::of(&error));
            }
            Io::Delayed { error, .. } => self.delayed(&error),
            Io::Released { connection } => self.released(connection),
            Io::Accepted { listener, socket, peer } => self.accepted(listener, socket, peer),
            Io::AcceptFailed { listener, error } => self.accept_failed(listener, &error),
            Io::Connected { connection } => self.connected(connection),
            Io::Paused { connection } => self.drain_session(connection),
            Io::ListenerReleased { listener } => self.listeners.retain(|(open, _)| *open != listener),
            Io::Woken => {}
        }
    }

    fn fire_timers(&mut self) {
        self.core.timers.expire(self.core.now);
        while let Some(due) = self.core.timers.pop_expired() {
            match due {
                Due::Handler { session, token } => {
                    self.core.timer_fired(session, token);
                    self.callback(session, |handler, session, state| handler.on_timer(session, state, token));
                }
                Due::Worker { token } => {
                    self.core.worker_timer_fired(token);
                    self.worker_callback(|handler, worker| handler.on_worker_timer(worker, token));
                }
                Due::Linger(key) => self.deadlines.has_passed(Overdue::Linger(key)),
                Due::Connect(id) => self.go_on_connecting(id),
                Due::ConnectDeadline(id) => self.deadlines.has_passed(Overdue::Connect(id)),
                Due::Accept(listener) => self.accept_again(listener),
            }
            self.flush();
        }
    }
}

impl<B: Backend, H: Handler, L: Layer> Drop for Worker<B, H, L> {
    /// Nothing is accepted any more, even if the worker broke: posts get `Stopped`, connections on their way to this
    /// worker go to another one or are closed.
    fn drop(&mut self) {
        self.drop_what_is_left();
        self.turn_arrivals_away();
        self.shared.spare_listeners().clear();
    }
}
