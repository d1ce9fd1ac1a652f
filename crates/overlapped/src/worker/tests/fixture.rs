//! A server of a few workers and a client, in one simulated network.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proactor::backend::Wait;
use proactor::backend::simulated::{Behaviour, Simulated, Simulation};
use proactor::{ConnectionKey, Driver, Event as Io, Payload, Pool, PoolConfig};

use crate::admission::{Admission, Incoming, Placement};
use crate::config::Config;
use crate::context::{Session, WorkerContext};
use crate::mailbox::{Mail, Mailbox};
use crate::observe::Stats;
use crate::session::{CloseReason, Closed, SessionId};
use crate::shared::WorkerShared;
use crate::worker::{Layer, Parts, Plain, Worker, WorkerHandle};
use crate::{Handler, Lease};

/// The kernels that every test is run over: each way of completing, several seeds.
pub(super) fn behaviours() -> impl Iterator<Item = Behaviour> {
    (0..24u64).map(|seed| Behaviour {
        seed,
        capacity: [300, 5_000, 64 * 1024][seed as usize % 3],
        cuts: seed % 4 != 3,
        multishot: seed % 2 == 0,
        inline: seed % 5 < 2,
    })
}

/// The token of the listener that clients connect to.
pub(super) const LISTENER: u64 = 7;

/// What a handler was called for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Open(SessionId),
    HalfClose(SessionId),
    Writable(SessionId),
    Idle(SessionId),
    Timer(SessionId, u64),
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
    Timer(u64),
    Sent(u64),
}

type OnSession = Rc<dyn Fn(&mut Session<'_, Kept>, What)>;
type OnWorker = Rc<dyn Fn(&mut WorkerContext<'_, Kept>, Seen)>;
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
            on_drop: Rc::new(|_| {}),
        }
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

    fn on_sent(&mut self, session: &mut Session<'_, Kept>, _state: &mut Kept, token: u64) {
        self.saw(Seen::Sent(session.id(), token));
        (self.on_session)(session, What::Sent(token));
    }

    fn on_idle(&mut self, session: &mut Session<'_, Kept>, _state: &mut Kept) {
        self.saw(Seen::Idle(session.id()));
        (self.on_session)(session, What::Idle);
    }

    fn on_timer(&mut self, session: &mut Session<'_, Kept>, _state: &mut Kept, token: u64) {
        self.saw(Seen::Timer(session.id(), token));
        (self.on_session)(session, What::Timer(token));
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

/// The state of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Finished,
    Reset,
}

pub(super) struct Peer {
    pub(super) got: Vec<u8>,
    pub(super) end: End,
    /// Not yet handed to the driver.
    outbox: Vec<u8>,
    finish: bool,
    /// Whether a worker connected to it.
    outside: bool,
}

pub(super) struct Fixture<L: Layer = Plain> {
    pub(super) simulation: Simulation,
    pub(super) workers: Vec<Worker<Simulated, Probe, L>>,
    pub(super) handles: Vec<WorkerHandle<u32>>,
    pub(super) mailboxes: Arc<[Arc<Mailbox<u32>>]>,
    pub(super) client: Driver<Simulated>,
    pub(super) peers: HashMap<ConnectionKey, Peer>,
    pub(super) address: SocketAddr,
    pub(super) probe: Probe,
    all_shared: Vec<Arc<WorkerShared>>,
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
        let simulation = Simulation::new(behaviour);
        let config = Arc::new(config);
        let all_shared: Vec<Arc<WorkerShared>> = (0..workers).map(|_| Arc::default()).collect();
        let placement = Arc::new(Placement::new(&all_shared, config.max_sessions, config.address_limit()));
        let mailbox = |(index, shared)| Arc::new(Mailbox::new(index, Arc::clone(shared), config.mailbox));
        let mailboxes: Arc<[_]> = all_shared.iter().enumerate().map(mailbox).collect();
        let address = SocketAddr::from(([127, 0, 0, 1], 9999));
        let make = |index| {
            let pool = Pool::new(config.pool);
            let mut driver = Driver::new(simulation.backend(pool));
            let sockets = (index == 0).then(|| simulation.listen(address).expect("the port is free"));
            let listen = |socket| (driver.listen(socket).expect("it registers"), LISTENER);
            let listeners = sockets.into_iter().map(listen).collect();
            Worker::new(Parts {
                index,
                driver,
                listeners,
                handler: probe.clone(),
                layer: layer(),
                config: Arc::clone(&config),
                mailbox: Arc::clone(&mailboxes[index]),
                placement: Arc::clone(&placement),
                observer: None,
            })
        };
        let workers: Vec<_> = (0..workers).map(make).collect();
        let pool = Pool::new(PoolConfig { blocks: 64, block_len: 4096 });
        let client = Driver::new(simulation.backend(pool));
        let handles = (0..workers.len()).map(|index| WorkerHandle::new(index, Arc::clone(&mailboxes)));
        Fixture {
            handles: handles.collect(),
            simulation,
            workers,
            mailboxes,
            client,
            peers: HashMap::new(),
            address,
            probe,
            all_shared,
        }
    }

    /// A client's connection. It receives from the start.
    pub(super) fn connect(&mut self) -> ConnectionKey {
        let key = self.begin_connect();
        self.settle();
        key
    }

    /// The same, before a worker or the client has seen it.
    pub(super) fn begin_connect(&mut self) -> ConnectionKey {
        let key = self.client.connect(self.address).expect("the simulated network has room");
        let peer =
            Peer { got: Vec::new(), end: End::Open, outbox: Vec::new(), finish: false, outside: false };
        self.peers.insert(key, peer);
        key
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

    /// One round of the workers and the client, in a fixed order; the kernel's choices vary. Returns whether anything
    /// happened.
    pub(super) fn round(&mut self) -> bool {
        let before = self.all_stats();
        for worker in &mut self.workers {
            if !worker.has_ended() {
                worker.turn(false).expect("the simulated kernel does not break");
            }
        }
        let happened = self.turn_client();
        self.workers.iter_mut().for_each(Worker::publish);
        happened || Stats { turns: before.turns, ..self.all_stats() } != before
    }

    /// Rounds until nothing happens any more without time passing.
    pub(super) fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..200_000 {
            quiet = if self.round() { 0 } else { quiet + 1 };
            if quiet == 6 {
                return;
            }
        }
        panic!("no rest: {:?}", self.all_stats());
    }

    /// Lets time pass, and settles.
    pub(super) fn pass(&mut self, time: Duration) {
        self.simulation.advance(time);
        self.settle();
    }

    fn turn_client(&mut self) -> bool {
        for (key, peer) in &mut self.peers {
            if self.client.is_sending(*key) {
                continue;
            }
            if !peer.outbox.is_empty() {
                let bytes = std::mem::take(&mut peer.outbox);
                let _ = self.client.send(*key, Payload::Owned(bytes));
            } else if std::mem::take(&mut peer.finish) {
                let _ = self.client.finish(*key);
            }
        }
        self.client.turn(Wait::Poll).expect("the simulated kernel does not break");
        let mut happened = false;
        while let Some(event) = self.client.next_event() {
            happened = true;
            match event {
                Io::Connected { connection } => self.client.receive(connection),
                Io::Accepted { socket, .. } => {
                    let key = self.client.adopt(socket).expect("the simulated network has room");
                    self.client.receive(key);
                    let peer = Peer {
                        got: Vec::new(),
                        end: End::Open,
                        outbox: Vec::new(),
                        finish: false,
                        outside: true,
                    };
                    self.peers.insert(key, peer);
                }
                Io::Received { connection, data } => {
                    self.peers.get_mut(&connection).expect("a peer").got.extend_from_slice(&data);
                }
                Io::EndOfStream { connection } => self.ended(connection, End::Finished),
                Io::Failed { connection, .. } => self.ended(connection, End::Reset),
                _ => {}
            }
        }
        happened
    }

    fn ended(&mut self, key: ConnectionKey, end: End) {
        let peer = self.peers.get_mut(&key).expect("a peer");
        if peer.end == End::Open {
            peer.end = end;
        }
        if peer.outside {
            self.client.close(key);
        }
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
    pub(super) fn outside(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().filter(|peer| peer.outside)
    }

    pub(super) fn got(&self, key: ConnectionKey) -> &[u8] {
        &self.peers[&key].got
    }

    pub(super) fn end(&self, key: ConnectionKey) -> End {
        self.peers[&key].end
    }

    pub(super) fn stats(&self, worker: usize) -> Stats {
        let mut sum = Stats::default();
        self.all_shared[worker].published.add_to(&mut sum);
        sum
    }

    pub(super) fn all_stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.all_shared.iter().for_each(|shared| shared.published.add_to(&mut sum));
        sum
    }

    /// Nothing is left of any session, on the server's side.
    pub(super) fn assert_clean(&self) {
        let Stats { sessions, blocks_in_use, starved, sessions_opened, sessions_closed, .. } =
            self.all_stats();
        assert_eq!((sessions, blocks_in_use, starved), (0, 0, 0), "INV-2: {:?}", self.log());
        assert_eq!(sessions_opened, sessions_closed, "INV-2: each session ends once");
        let timers: usize = self.workers.iter().map(|worker| worker.core.timers.len()).sum();
        assert_eq!(timers, 0, "INV-6: a session that is gone has no timer");
    }
}
