//! A server of a few workers and a client, in one simulated network.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proactor::ConnectionKey;
use proactor::backend::simulated::Behaviour;

use crate::admission::{Admission, Incoming};
use crate::config::Config;
use crate::context::{Session, WorkerContext};
use crate::endpoint::Endpoint;
use crate::mailbox::Mail;
use crate::observe::Stats;
use crate::resolver::{Answer, Resolve};
use crate::server::Settings;
use crate::session::{CloseReason, Closed, Idle, SessionId};
pub(super) use crate::testing::behaviours;
pub(super) use crate::testing::simulated_server::End;
use crate::testing::simulated_server::{Remote, SimulatedServer, until_quiet};
use crate::worker::{Layer, Plain};
use crate::{Handler, Lease};

/// The token of the listener that clients connect to.
pub(super) const LISTENER: u64 = 7;

/// What a handler was called for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Open(SessionId),
    HalfClose(SessionId),
    Writable(SessionId),
    Idle(SessionId),
    ReadIdle(SessionId),
    WriteIdle(SessionId),
    Timer(SessionId, u64),
    WorkerTimer(u64),
    PreciseTimer,
    Drain(SessionId),
    Sent(SessionId, u64),
    Tick,
    Message(u32),
    ConnectFailed(u64, std::io::ErrorKind),
    Close(SessionId, CloseReason),
    Panic(Option<SessionId>, String),
}

/// What a session's callback is about.
pub(super) enum What {
    Open,
    Data(Lease),
    HalfClose,
    Writable,
    Idle,
    ReadIdle,
    WriteIdle,
    Timer(u64),
    Drain,
    Sent(u64),
}

type OnSession = Rc<dyn Fn(&mut Session<'_, Kept>, What)>;
type OnWorker = Rc<dyn Fn(&mut WorkerContext<'_, Kept>, Seen)>;
type OnStart = Rc<dyn Fn(&mut WorkerContext<'_, Kept>)>;
type OnAccept = Rc<dyn Fn(&Incoming<'_>) -> Admission>;
type OnDrop = Rc<dyn Fn(SessionId)>;

/// A session's state, which notes its end.
pub(super) struct Kept {
    id: SessionId,
    on_drop: OnDrop,
}

impl Drop for Kept {
    fn drop(&mut self) {
        (self.on_drop)(self.id);
    }
}

/// A handler that logs its callbacks and then does what the test gives it to do.
#[derive(Clone)]
pub(super) struct Probe {
    pub(super) log: Rc<RefCell<Vec<Seen>>>,
    /// What `on_close` was called with.
    pub(super) closed: Rc<RefCell<Vec<Closed>>>,
    on_accept: OnAccept,
    on_session: OnSession,
    on_worker: OnWorker,
    on_start: OnStart,
    on_drop: OnDrop,
}

impl Probe {
    pub(super) fn new(on_session: impl Fn(&mut Session<'_, Kept>, What) + 'static) -> Probe {
        Probe {
            log: Rc::default(),
            closed: Rc::default(),
            on_accept: Rc::new(|_| Admission::Admit),
            on_session: Rc::new(on_session),
            on_worker: Rc::new(|_, _| {}),
            on_start: Rc::new(|_| {}),
            on_drop: Rc::new(|_| {}),
        }
    }

    /// What callbacks of sessions do first.
    pub(super) fn also_on_session(mut self, act: impl Fn(&mut Session<'_, Kept>, &What) + 'static) -> Probe {
        let before = Rc::clone(&self.on_session);
        self.on_session = Rc::new(move |session, what| {
            act(session, &what);
            before(session, what);
        });
        self
    }

    /// What the destructor of a session's state does.
    pub(super) fn on_drop(mut self, act: impl Fn(SessionId) + 'static) -> Probe {
        self.on_drop = Rc::new(act);
        self
    }

    /// What is decided about connections that arrive.
    pub(super) fn on_accept(mut self, decide: impl Fn(&Incoming<'_>) -> Admission + 'static) -> Probe {
        self.on_accept = Rc::new(decide);
        self
    }

    pub(super) fn on_worker(mut self, act: impl Fn(&mut WorkerContext<'_, Kept>, Seen) + 'static) -> Probe {
        self.on_worker = Rc::new(act);
        self
    }

    pub(super) fn on_start(mut self, act: impl Fn(&mut WorkerContext<'_, Kept>) + 'static) -> Probe {
        self.on_start = Rc::new(act);
        self
    }

    pub(super) fn echo() -> Probe {
        Probe::new(|session, what| match what {
            What::Data(data) => {
                let _ = session.send(data);
            }
            What::HalfClose | What::Idle => session.close(),
            _ => {}
        })
    }

    fn saw(&self, seen: Seen) {
        self.log.borrow_mut().push(seen);
    }

    fn worker(&self, worker: &mut WorkerContext<'_, Kept>, seen: Seen) {
        self.saw(seen.clone());
        (self.on_worker)(worker, seen);
    }
}

impl Handler for Probe {
    type State = Kept;
    type Message = u32;

    fn on_start(&mut self, worker: &mut WorkerContext<'_, Kept>) {
        (self.on_start)(worker);
    }

    fn on_accept(&mut self, _: &mut WorkerContext<'_, Kept>, incoming: &Incoming<'_>) -> Admission {
        (self.on_accept)(incoming)
    }

    fn on_open(&mut self, session: &mut Session<'_, Kept>) -> Kept {
        self.saw(Seen::Open(session.id()));
        (self.on_session)(session, What::Open);
        Kept { id: session.id(), on_drop: Rc::clone(&self.on_drop) }
    }

    fn on_data(&mut self, session: &mut Session<'_, Kept>, state: &mut Kept, data: Lease) {
        assert_eq!(state.id, session.id(), "INV-3: a session sees its own state");
        (self.on_session)(session, What::Data(data));
    }

    fn on_half_close(&mut self, session: &mut Session<'_, Kept>, _state: &mut Kept) {
        self.saw(Seen::HalfClose(session.id()));
        (self.on_session)(session, What::HalfClose);
    }

    fn on_writable(&mut self, session: &mut Session<'_, Kept>, _state: &mut Kept) {
        self.saw(Seen::Writable(session.id()));
        (self.on_session)(session, What::Writable);
    }

    fn on_idle(&mut self, session: &mut Session<'_, Kept>, _state: &mut Kept, idle: Idle) {
        let (seen, what) = match idle {
            Idle::Both => (Seen::Idle(session.id()), What::Idle),
            Idle::Read => (Seen::ReadIdle(session.id()), What::ReadIdle),
            Idle::Write => (Seen::WriteIdle(session.id()), What::WriteIdle),
        };
        self.saw(seen);
        (self.on_session)(session, what);
    }

    fn on_sent(&mut self, session: &mut Session<'_, Kept>, _state: &mut Kept, token: u64) {
        self.saw(Seen::Sent(session.id(), token));
        (self.on_session)(session, What::Sent(token));
    }

    fn on_timer(&mut self, session: &mut Session<'_, Kept>, _state: &mut Kept, token: u64) {
        self.saw(Seen::Timer(session.id(), token));
        (self.on_session)(session, What::Timer(token));
    }

    fn on_worker_timer(&mut self, worker: &mut WorkerContext<'_, Kept>, token: u64) {
        self.worker(worker, Seen::WorkerTimer(token));
    }

    fn on_precise_timer(&mut self, worker: &mut WorkerContext<'_, Kept>) {
        self.worker(worker, Seen::PreciseTimer);
    }

    fn on_drain(&mut self, session: &mut Session<'_, Kept>, _state: &mut Kept) {
        self.saw(Seen::Drain(session.id()));
        (self.on_session)(session, What::Drain);
    }

    fn on_tick(&mut self, worker: &mut WorkerContext<'_, Kept>) {
        self.worker(worker, Seen::Tick);
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Kept>, message: u32) {
        self.worker(worker, Seen::Message(message));
    }

    fn on_connect_failed(
        &mut self,
        worker: &mut WorkerContext<'_, Kept>,
        token: u64,
        error: &std::io::Error,
    ) {
        self.worker(worker, Seen::ConnectFailed(token, error.kind()));
    }

    fn on_panic(&mut self, worker: &mut WorkerContext<'_, Kept>, session: Option<SessionId>, message: &str) {
        self.worker(worker, Seen::Panic(session, message.to_owned()));
    }

    fn on_close(&mut self, worker: &mut WorkerContext<'_, Kept>, closed: Closed, state: Kept) {
        let Closed { id: session, reason, .. } = closed;
        self.closed.borrow_mut().push(closed);
        assert_eq!(state.id, session, "INV-3: a session sees its own state");
        self.worker(worker, Seen::Close(session, reason));
    }
}

/// A server of [`Probe`]s, which share one log.
pub(super) struct Fixture<L: Layer = Plain> {
    pub(super) server: SimulatedServer<Probe, L>,
    pub(super) probe: Probe,
    /// The names that workers ask for.
    pub(super) names: Arc<Names>,
}

impl<L: Layer> Deref for Fixture<L> {
    type Target = SimulatedServer<Probe, L>;

    fn deref(&self) -> &SimulatedServer<Probe, L> {
        &self.server
    }
}

impl<L: Layer> DerefMut for Fixture<L> {
    fn deref_mut(&mut self) -> &mut SimulatedServer<Probe, L> {
        &mut self.server
    }
}

/// A resolver that answers when the test does.
#[derive(Default)]
pub(super) struct Names(Mutex<VecDeque<(Endpoint, Answer)>>);

impl Resolve for Names {
    fn ask(&self, name: &Endpoint, answer: Answer) {
        self.0.lock().unwrap().push_back((name.clone(), answer));
    }
}

impl Names {
    /// Answers the oldest question. Returns the name that was asked for.
    pub(super) fn answer(&self, found: io::Result<Vec<SocketAddr>>) -> String {
        let (name, answer) = self.0.lock().unwrap().pop_front().expect("a name was asked for");
        answer(found);
        name.to_string()
    }

    /// Names that are asked for and not answered.
    pub(super) fn asked(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Fixture {
    pub(super) fn new(behaviour: Behaviour, workers: usize, config: Config, probe: Probe) -> Fixture {
        Fixture::with_layers(behaviour, workers, config, probe, || Plain)
    }
}

impl<L: Layer> Fixture<L> {
    pub(super) fn with_layers(
        behaviour: Behaviour,
        workers: usize,
        config: Config,
        probe: Probe,
        layer: impl Fn() -> L,
    ) -> Fixture<L> {
        config.check().expect("a test has a good configuration");
        let listeners = vec![(SocketAddr::from(([127, 0, 0, 1], 9999)), LISTENER)];
        let settings = Settings { config, workers, listeners, observe: None };
        let names: Arc<Names> = Arc::default();
        let resolver = Arc::clone(&names) as Arc<dyn Resolve>;
        let server = SimulatedServer::start(behaviour, settings, &resolver, |_| probe.clone(), layer);
        Fixture { server, probe, names }
    }

    /// A client's connection. It receives from the start.
    pub(super) fn connect(&mut self) -> ConnectionKey {
        let key = self.begin_connect();
        self.settle();
        key
    }

    /// The same, before a worker or the client has seen it.
    pub(super) fn begin_connect(&mut self) -> ConnectionKey {
        let address = self.address;
        self.begin_connect_to(address)
    }

    /// An address that the workers can connect to. Each connection is a peer, which closes when the worker does.
    pub(super) fn listen_outside(&mut self) -> SocketAddr {
        let address = SocketAddr::from(([127, 0, 0, 1], 7777));
        let socket = self.simulation.listen(address).expect("the port is free");
        self.client.listen(socket).expect("it registers");
        address
    }

    /// The client alone: what it does is in the kernel, and no worker has seen it.
    pub(super) fn round_of_client(&mut self) {
        self.turn_client();
    }

    /// Rounds until nothing happens any more without time passing.
    pub(super) fn settle(&mut self) {
        if !until_quiet(200_000, || self.round()) {
            panic!("no rest: {:?}", self.all_stats());
        }
    }

    /// Lets time pass, and settles.
    pub(super) fn pass(&mut self, time: Duration) {
        self.simulation.advance(time);
        self.settle();
    }

    pub(super) fn send(&mut self, key: ConnectionKey, bytes: &[u8]) {
        self.peers.get_mut(&key).expect("a peer").outbox.extend_from_slice(bytes);
    }

    /// FIN after what was sent.
    pub(super) fn finish(&mut self, key: ConnectionKey) {
        self.peers.get_mut(&key).expect("a peer").finish = true;
    }

    pub(super) fn post(&self, worker: usize, mail: Mail<u32>) {
        self.mailboxes[worker].post(mail, false).expect("the worker lives");
    }

    pub(super) fn log(&self) -> Vec<Seen> {
        self.probe.log.borrow().clone()
    }

    /// Why the sessions that have ended did, in order.
    pub(super) fn reasons(&self) -> Vec<CloseReason> {
        let reason = |seen| if let Seen::Close(_, reason) = seen { Some(reason) } else { None };
        self.log().into_iter().filter_map(reason).collect()
    }

    /// The peers that workers connected to.
    pub(super) fn outside(&self) -> impl Iterator<Item = &Remote> {
        self.peers.values().filter(|peer| peer.listener.is_some())
    }

    pub(super) fn got(&self, key: ConnectionKey) -> &[u8] {
        &self.peers[&key].got
    }

    pub(super) fn end(&self, key: ConnectionKey) -> End {
        self.peers[&key].end
    }

    /// What one worker has counted.
    pub(super) fn stats(&self, worker: usize) -> Stats {
        let mut sum = Stats::default();
        self.all_shared[worker].published.add_to(&mut sum);
        sum
    }

    /// Nothing is left of any session, on the server's side.
    pub(super) fn assert_clean(&self) {
        let Stats { sessions, blocks_in_use, starved, full, sessions_opened, sessions_closed, .. } =
            self.all_stats();
        assert_eq!((sessions, blocks_in_use, starved, full), (0, 0, 0, 0), "INV-2: {:?}", self.log());
        assert_eq!(sessions_opened, sessions_closed, "INV-2: each session ends once");
        let timers: usize = self.workers.iter().map(|worker| worker.core.timers.len()).sum();
        assert_eq!(timers, 0, "INV-6: a session that is gone has no timer");
    }
}
