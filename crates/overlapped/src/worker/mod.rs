//! One worker: one driver, one handler, one thread (INV-5).
//!
//! [`Worker::turn`] does one round: mailbox, then one harvest that also submits what is batched, then every
//! event of it, then what is due. It neither spawns nor reads a clock of its own, so a simulation can run several
//! workers in one thread.

mod core;
mod deadlines;
mod drain;
mod flow;
mod layer;
mod lifecycle;
mod panics;
#[cfg(test)]
mod tests;
mod ticks;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proactor::backend::{Backend, Wait};
use proactor::{ConnectionKey, Driver, Event as Io, ListenerKey, Time, Verb};

use crate::acceptor::{Acceptor, Arrivals, Delivery};
use crate::address_limit::AddressLimit;
use crate::config::Config;
use crate::events::{Event, Observer, Report};
use crate::handler::Handler;
use crate::mailbox::{Mail, Mailbox, PostToSession, SessionCommand, WorkerShared};
use crate::session::{CloseReason, Session, SessionId, Table};
use crate::stats::Stats;
use crate::sync::atomic::Ordering;
use crate::timers::{Due, TimerId, Wheel};

use self::core::CurrentCallback;
pub use self::core::WorkerContext;
pub(crate) use self::core::{Connect, Core, Endpoints};
use deadlines::{Deadlines, Overdue};
use drain::Drain;
pub(crate) use layer::{Layer, Plain};
pub(crate) use lifecycle::ACCEPT_PAUSE;
use ticks::Ticks;

pub(crate) struct Worker<B: Backend, H: Handler, L: Layer = Plain> {
    driver: Driver<B>,
    handler: H,
    layer: L,
    core: Core,
    /// The handler's state of each session, by slot, beside the engine's in `core`.
    states: Vec<Option<H::State>>,
    listeners: Vec<ListenerKey>,
    /// Outbound connections that do not stand yet.
    connecting: HashMap<ConnectionKey, Connecting>,
    mailbox: Arc<Mailbox<H::Message>>,
    shared: Arc<WorkerShared>,
    mail: VecDeque<Mail<H::Message>>,
    acceptor: Arc<Acceptor<Arrival<B::Socket>>>,
    addresses: Option<Arc<AddressLimit>>,
    arrivals: Arc<Arrivals<Arrival<B::Socket>>>,
    /// How many of the arrivals are to be taken in this turn.
    arriving: usize,
    drain: Option<Drain>,
    deadlines: Deadlines,
    /// If the handler wants ticks.
    ticks: Option<Ticks>,
    /// When an event last came, to the turn.
    busy_at: Time,
    pause_reports: lifecycle::ReportInterval,
    delay_reports: lifecycle::ReportInterval,
    /// True once nothing is left to do.
    ended: bool,
}

/// An outbound connection that does not stand yet.
struct Connecting {
    token: u64,
    /// Its timer, if it has a deadline. Cancelled as soon as the connect is decided.
    deadline: Option<TimerId>,
}

/// A connection on its way from the worker that accepted it to the worker it was placed on.
pub(crate) struct Arrival<S> {
    socket: S,
    /// Asked for only where somebody wants to know.
    peer: Option<Box<SocketAddr>>,
}

impl<S> Arrival<S> {
    /// A connection that the monitor accepted.
    pub(crate) fn accepted(socket: S) -> Arrival<S> {
        Arrival { socket, peer: None }
    }

    /// Counts an admitted connection's address out, if it was. Returns the socket.
    pub(crate) fn leave(self, addresses: Option<&AddressLimit>) -> S {
        if let (Some(addresses), Some(peer)) = (addresses, &self.peer) {
            addresses.leave(peer.ip());
        }
        self.socket
    }
}

/// What a worker is made from.
pub(crate) struct Parts<B: Backend, H: Handler, L: Layer> {
    pub(crate) index: usize,
    pub(crate) driver: Driver<B>,
    /// What the driver accepts on.
    pub(crate) listeners: Vec<ListenerKey>,
    pub(crate) handler: H,
    pub(crate) layer: L,
    pub(crate) config: Arc<Config>,
    pub(crate) mailbox: Arc<Mailbox<H::Message>>,
    pub(crate) acceptor: Arc<Acceptor<Arrival<B::Socket>>>,
    pub(crate) addresses: Option<Arc<AddressLimit>>,
    pub(crate) observer: Option<Observer>,
}

/// Has a driver's steps told as events.
pub(crate) fn trace_operations<B: Backend>(driver: &mut Driver<B>, worker: usize, observer: Observer) {
    driver.set_tracer(Some(Box::new(move |step| {
        let session = step.connection.map(|key| SessionId { worker: worker as u32, key });
        observer.tell(&Event::Operation { worker, backend: B::KIND, session, step });
    })));
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
            acceptor,
            addresses,
            observer,
        } = parts;
        let core = Core {
            worker: index as u32,
            config,
            sessions: Table::default(),
            touched: Vec::new(),
            deferred: Vec::new(),
            flush_budget: 0,
            connects: VecDeque::new(),
            timers: Wheel::default(),
            now: driver.now(),
            report: Report { stats: Stats::default(), observer },
            mailbox: Arc::clone(&mailbox) as Arc<dyn PostToSession>,
            draining: false,
            callback: CurrentCallback::None,
        };
        let mut worker = Worker {
            driver,
            handler,
            layer,
            core,
            states: Vec::new(),
            listeners,
            connecting: HashMap::new(),
            shared: Arc::clone(&mailbox.shared),
            mailbox,
            mail: VecDeque::new(),
            arrivals: acceptor.arrivals(index),
            acceptor,
            addresses,
            arriving: 0,
            drain: None,
            deadlines: Deadlines::default(),
            ticks: None,
            busy_at: Time::ZERO,
            pause_reports: lifecycle::ReportInterval::default(),
            delay_reports: lifecycle::ReportInterval::default(),
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
        // Waiting for the other workers to be made took time that no tick is owed for.
        self.start_ticks();
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
        self.core.touched.append(&mut self.core.deferred);
        self.catching_panics(Self::take_mail);
        self.catching_panics(Self::flush);
        debug_assert!(
            self.core.touched.is_empty(),
            "what was asked for is submitted before the worker sleeps"
        );
        let wait = if may_wait { self.wait() } else { Wait::Poll };
        self.publish();
        self.shared.heartbeat.begin_wait();
        let turned = self.driver.turn(wait);
        self.shared.heartbeat.end_wait();
        turned?;
        self.core.now = self.driver.now();
        self.core.report.stats.turns += 1;
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
        ];
        let spin = self.core.config.busy_poll;
        match deadlines.into_iter().flatten().min() {
            // What a failed connect asked for again, what is left of a flush, and the end of a drain with nothing left
            // do not wait for anything else.
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

    fn publish(&mut self) {
        let snapshot = self.driver.snapshot();
        let stats = &mut self.core.report.stats;
        stats.sessions = self.core.sessions.len() as u64;
        stats.in_flight = snapshot.in_flight as u64;
        stats.blocks_in_use = snapshot.blocks_in_use as u64;
        stats.starved = snapshot.starved as u64;
        self.shared.published.publish(stats);
    }

    fn take_mail(&mut self) {
        // What a panic left in hand goes first: the doorbell rings once for what is taken after it.
        self.serve_mail();
        if self.shared.doorbell.take() {
            self.arriving = self.arrivals.queue.len();
            self.mailbox.mail.take_all(&mut self.mail);
            self.serve_mail();
        }
    }

    fn serve_mail(&mut self) {
        self.serve_arrivals();
        while let Some(mail) = self.mail.pop_front() {
            match mail {
                Mail::Message(message) => {
                    self.worker_callback(|handler, worker| handler.on_message(worker, message));
                }
                Mail::Session(key, command) => self.obey(key, command),
                Mail::Broadcast(keys, bytes) => {
                    for key in keys {
                        Session::new(&mut self.core, &self.driver, key).send(bytes.clone());
                    }
                }
                Mail::Drain(limit) => self.begin_drain(limit),
                Mail::Stop => self.begin_drain(Duration::ZERO),
            }
            self.flush();
        }
    }

    /// Arrivals are taken one at a time: while a callback blocks, the monitor places the rest on other workers.
    fn serve_arrivals(&mut self) {
        while self.arriving > 0 {
            self.arriving -= 1;
            match self.arrivals.queue.pop() {
                Some(Delivery::Placed(arrival)) => self.open(arrival),
                Some(Delivery::Accepted(arrival)) => self.accepted(arrival.socket, arrival.peer),
                Some(Delivery::AcceptFailed(error)) => self.report_accept_pause(&error),
                None => self.arriving = 0,
            }
        }
    }

    /// Everything has ended: nothing more is taken. What was posted before is heard, for its poster was told that it
    /// was taken. Connects that it asks for are refused, and answered.
    #[cold]
    fn close_mailbox(&mut self) {
        self.turn_arrivals_away();
        self.mail.extend(self.mailbox.mail.close());
        self.catching_panics(Self::take_mail);
        // Bounded: no session is left to ask, and a refusal is answered only so often in a row.
        while !self.core.connects.is_empty() {
            self.catching_panics(Self::flush);
        }
    }

    fn obey(&mut self, key: ConnectionKey, command: SessionCommand) {
        match command {
            SessionCommand::Close => self.core.close(key, CloseReason::Local),
            SessionCommand::Abort => self.core.abort(key, CloseReason::Aborted),
            SessionCommand::Send(bytes) => {
                let len = bytes.len();
                let sent = Session::new(&mut self.core, &self.driver, key).send(bytes);
                if let Some(state) = self.core.sessions.get(key)
                    && let Some(handle) = &state.handle
                {
                    // In this order: counted twice for a moment rather than not at all.
                    handle.queued.store(state.queue.charge(), Ordering::Release);
                    handle.posted.fetch_sub(len, Ordering::AcqRel);
                }
                if sent != crate::session::Sent::Ok {
                    self.core.report.emit(&Event::PostRefused);
                }
            }
        }
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
                Io::EndOfStream { connection } => self.half_closed(connection),
                Io::Failed { connection, verb: Verb::Connect, error } => {
                    self.connect_failed(connection, &error);
                }
                Io::Failed { connection, error, .. } => {
                    self.core.abort(connection, CloseReason::of(&error));
                }
                Io::Delayed { error, .. } => self.delayed(&error),
                Io::Released { connection } => self.released(connection),
                Io::Accepted { socket, peer, .. } => self.accepted(socket, peer),
                Io::AcceptFailed { listener, error } => self.accept_failed(listener, &error),
                Io::Connected { connection } => self.connected(connection),
                Io::Paused { connection } => self.drain_session(connection),
                Io::ListenerReleased { listener } => self.listeners.retain(|open| *open != listener),
                Io::Woken => {}
            }
            self.flush();
        }
        self.serve_arrivals();
    }

    fn fire_timers(&mut self) {
        self.core.timers.expire(self.core.now);
        while let Some(due) = self.core.timers.pop_expired() {
            match due {
                Due::Handler { session, token } => {
                    self.core.timer_fired(session, token);
                    self.callback(session, |handler, session, state| handler.on_timer(session, state, token));
                }
                Due::Linger(key) => self.deadlines.has_passed(Overdue::Linger(key)),
                Due::Connect(key) => self.deadlines.has_passed(Overdue::Connect(key)),
                Due::Accept(listener) => self.accept_again(listener),
            }
            self.flush();
        }
    }

    /// Calls the handler for a session that is open. A closing one is not called any more.
    fn callback(&mut self, key: ConnectionKey, call: impl FnOnce(&mut H, &mut Session<'_>, &mut H::State)) {
        if self.is_open(key) {
            self.call(key, call);
        }
    }

    /// Calls the handler for a session that is known to be open.
    #[inline]
    fn call(&mut self, key: ConnectionKey, call: impl FnOnce(&mut H, &mut Session<'_>, &mut H::State)) {
        if let Some(Some(state)) = self.states.get_mut(key.index()) {
            self.core.callback = CurrentCallback::Session(key);
            call(&mut self.handler, &mut Session::new(&mut self.core, &self.driver, key), state);
            self.core.callback = CurrentCallback::None;
        }
    }

    /// Calls the handler for no session in particular.
    fn worker_callback(&mut self, call: impl FnOnce(&mut H, &mut WorkerContext<'_>)) {
        self.callback_as(CurrentCallback::Worker, call);
    }

    /// The same, put down to `callback`.
    fn callback_as(&mut self, callback: CurrentCallback, call: impl FnOnce(&mut H, &mut WorkerContext<'_>)) {
        self.core.callback = callback;
        call(&mut self.handler, &mut WorkerContext { core: &mut self.core, endpoints: &self.driver });
        self.core.callback = CurrentCallback::None;
    }
}

impl<B: Backend, H: Handler, L: Layer> Drop for Worker<B, H, L> {
    /// Nothing is taken any more, also where the worker broke: posts are answered with "stopped", connections on
    /// their way are closed.
    fn drop(&mut self) {
        self.drop_what_is_left();
        self.turn_arrivals_away();
        self.shared.spare_listeners().clear();
    }
}
