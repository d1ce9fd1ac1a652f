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
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use proactor::backend::{Backend, Wait};
use proactor::{ConnectionKey, Driver, Event as Io, ListenerKey, Time, Verb};

use crate::acceptor::{Acceptor, Arrivals, Delivery};
use crate::addresses::Addresses;
use crate::config::{Config, OnPanic};
use crate::events::{Event, Observer, Report};
use crate::handler::Handler;
use crate::mailbox::{Mail, Mailbox, PostToSession, SessionCommand, WorkerFace};
use crate::session::{CloseReason, Session, SessionId, Table};
use crate::stats::Stats;
use crate::sync::atomic::Ordering;
use crate::timers::{Due, Wheel};

pub use self::core::WorkerContext;
pub(crate) use self::core::{AddressesOf, Core};
use deadlines::Deadlines;
use drain::Drain;
pub(crate) use layer::{Layer, Plain};
pub(crate) use lifecycle::ACCEPT_PAUSE;

pub(crate) struct Worker<B: Backend, H: Handler, L: Layer = Plain> {
    driver: Driver<B>,
    handler: H,
    layer: L,
    core: Core,
    /// The handler's state of each session, by slot, beside the engine's in `core`.
    states: Vec<Option<H::State>>,
    listeners: Vec<ListenerKey>,
    /// Tokens of outbound connections that do not stand yet.
    connecting: HashMap<ConnectionKey, u64>,
    mailbox: Arc<Mailbox<H::Message>>,
    face: Arc<WorkerFace>,
    mail: VecDeque<Mail<H::Message>>,
    acceptor: Arc<Acceptor<Arrival<B::Socket>>>,
    addresses: Option<Arc<Addresses>>,
    arrivals: Arc<Arrivals<Arrival<B::Socket>>>,
    /// How many of the arrivals are to be taken in this turn.
    arriving: usize,
    /// Timers taken and not served yet.
    due: VecDeque<Due>,
    running: Running,
    drain: Option<Drain>,
    deadlines: Deadlines,
    /// When an event last came, to the turn.
    busy_at: Time,
    told_pause: lifecycle::Told,
    told_delay: lifecycle::Told,
    /// True once nothing is left to do.
    ended: bool,
}

/// Whose code runs, so that a panic is put down to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Running {
    /// The engine's. A panic in here is a bug of ours: it ends the worker.
    Engine,
    /// The handler's, for no session in particular.
    Handler,
    /// The handler's, for this session.
    Session(ConnectionKey),
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

    /// Counts an admitted connection's address out, and closes the connection.
    pub(crate) fn turn_away(self, addresses: Option<&Addresses>) {
        if let (Some(addresses), Some(peer)) = (addresses, &self.peer) {
            addresses.leave(peer.ip());
        }
    }
}

/// What a worker is made from.
pub(crate) struct Parts<B: Backend, H: Handler, L: Layer> {
    pub(crate) index: usize,
    pub(crate) driver: Driver<B>,
    pub(crate) handler: H,
    pub(crate) layer: L,
    pub(crate) config: Arc<Config>,
    pub(crate) mailbox: Arc<Mailbox<H::Message>>,
    pub(crate) acceptor: Arc<Acceptor<Arrival<B::Socket>>>,
    pub(crate) addresses: Option<Arc<Addresses>>,
    pub(crate) observer: Option<Observer>,
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    pub(crate) fn new(parts: Parts<B, H, L>) -> Worker<B, H, L> {
        let Parts { index, driver, handler, layer, config, mailbox, acceptor, addresses, observer } = parts;
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
        };
        let mut worker = Worker {
            driver,
            handler,
            layer,
            core,
            states: Vec::new(),
            listeners: Vec::new(),
            connecting: HashMap::new(),
            face: Arc::clone(&mailbox.face),
            mailbox,
            mail: VecDeque::new(),
            arrivals: acceptor.arrivals(index),
            acceptor,
            addresses,
            arriving: 0,
            due: VecDeque::new(),
            running: Running::Engine,
            drain: None,
            deadlines: Deadlines::default(),
            busy_at: Time::ZERO,
            told_pause: lifecycle::Told::default(),
            told_delay: lifecycle::Told::default(),
            ended: false,
        };
        worker.trace_operations();
        worker.face.bell.install(worker.driver.waker());
        worker.set_tick();
        worker
    }

    /// Has the driver's steps told as events, if that was asked for.
    fn trace_operations(&mut self) {
        let Some(observer) = self.core.report.observer.clone().filter(|_| self.core.config.trace_operations)
        else {
            return;
        };
        let worker = self.core.worker;
        self.driver.set_tracer(Some(Box::new(move |step| {
            let session = step.connection.map(|key| SessionId { worker, key });
            observer(&Event::Operation { worker: worker as usize, backend: B::NAME, session, step });
        })));
    }

    /// Accepts on a listening socket.
    ///
    /// # Errors
    /// If the backend cannot register it.
    pub(crate) fn listen(&mut self, socket: B::Socket) -> io::Result<()> {
        let listener = self.driver.listen(socket)?;
        self.listeners.push(listener);
        Ok(())
    }

    /// Runs until a drain or a stop has ended everything.
    ///
    /// # Errors
    /// If the backend itself broke.
    pub(crate) fn run(&mut self) -> io::Result<()> {
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
        self.guarded(Self::take_mail);
        self.guarded(Self::flush);
        debug_assert!(
            self.core.touched.is_empty(),
            "what was asked for is submitted before the worker sleeps"
        );
        let wait = if may_wait { self.wait() } else { Wait::Poll };
        self.publish();
        self.face.heartbeat.begin_wait();
        let turned = self.driver.turn(wait);
        self.face.heartbeat.end_wait();
        turned?;
        self.core.now = self.driver.now();
        self.core.report.stats.turns += 1;
        self.guarded(Self::take_events);
        self.guarded(Self::fire_timers);
        self.guarded(Self::look_at_deadlines);
        self.step_drain();
        if self.ended {
            self.close_mailbox();
        }
        self.guarded(Self::flush);
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
        ];
        let spin = self.core.config.busy_poll;
        match deadlines.into_iter().flatten().min() {
            // What a failed connect asked for again, and what is left of a flush, does not wait for anything else.
            _ if self.ended
                || !self.core.connects.is_empty()
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
        self.face.published.publish(stats);
    }

    /// Runs a part of the turn that calls the handler. A panic of the handler costs its session, not the worker,
    /// and the part goes on where it was: what it had taken is taken, the rest still stands in queues.
    fn guarded(&mut self, part: fn(&mut Self)) {
        // The worker's own state is whole at every callback; the handler's is the handler's.
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| part(self))) {
            let session = match std::mem::replace(&mut self.running, Running::Engine) {
                Running::Engine => resume_unwind(payload),
                Running::Handler => None,
                Running::Session(key) => Some(key),
            };
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let message = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("(no message)");
            let id = session.map(|key| self.core.id(key));
            self.core.report.emit(&Event::Panicked { session: id, message });
            if self.core.config.on_panic == OnPanic::StopServer {
                resume_unwind(payload);
            }
            if let Some(key) = session {
                self.core.abort(key, CloseReason::Panicked);
                // Its state may be half-updated: nobody sees it again, and nobody answers for its destructor.
                std::mem::forget(self.states[key.index()].take());
            }
        }
    }

    fn take_mail(&mut self) {
        // What a panic left in hand goes first: the bell rings once for what is taken after it.
        self.serve_mail();
        if self.face.bell.take() {
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
    /// was taken.
    #[cold]
    fn close_mailbox(&mut self) {
        self.turn_arrivals_away();
        self.mail.extend(self.mailbox.mail.close());
        self.guarded(Self::take_mail);
        // A connect asked for by the last message is carried out first.
        self.step_drain();
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
        self.core.timers.take_due(self.core.now, &mut self.due);
        while let Some(due) = self.due.pop_front() {
            match due {
                Due::Handler { session, token } => {
                    self.callback(session, |handler, session, state| handler.on_timer(session, state, token));
                }
                Due::Linger(key) => {
                    // The peer had its time: what it still sends is its own affair.
                    self.end_linger(key);
                }
                Due::Connect(key) => self.connect_failed(key, &io::ErrorKind::TimedOut.into()),
                Due::Accept(listener) => self.accept_again(listener),
                Due::Tick => {
                    self.set_tick();
                    self.worker_callback(H::on_tick);
                }
            }
            self.flush();
        }
    }

    fn set_tick(&mut self) {
        if let Some(every) = self.core.config.tick {
            self.core.timers.set(self.core.now + every, Due::Tick);
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
            self.running = Running::Session(key);
            call(&mut self.handler, &mut Session::new(&mut self.core, &self.driver, key), state);
            self.running = Running::Engine;
        }
    }

    /// Calls the handler for no session in particular.
    fn worker_callback(&mut self, call: impl FnOnce(&mut H, &mut WorkerContext<'_>)) {
        self.running = Running::Handler;
        call(&mut self.handler, &mut WorkerContext { core: &mut self.core, addresses: &self.driver });
        self.running = Running::Engine;
    }
}

impl<B: Backend, H: Handler, L: Layer> Drop for Worker<B, H, L> {
    /// Nothing is taken any more, also where the worker broke: posts are answered with "stopped", connections on
    /// their way are closed.
    fn drop(&mut self) {
        drop(self.mailbox.mail.close());
        self.turn_arrivals_away();
        self.face.spare_listeners().clear();
    }
}
