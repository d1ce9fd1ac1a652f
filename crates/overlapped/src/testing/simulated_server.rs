//! The workers of a server and the programs that they talk to, in one simulated network, turned by hand in one thread.
//!
//! [`World`](super::World) is the public form; the engine's own tests look inside.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use proactor::backend::Wait;
use proactor::backend::simulated::{Behaviour, Simulated, Simulation};
use proactor::{ConnectionKey, Driver, Event as Io, ListenerKey, Payload, Pool, PoolConfig, Verb};

use crate::admission::Placement;
use crate::handler::Handler;
use crate::mailbox::Mailbox;
use crate::observe::{Observe, Observer, Stats};
use crate::resolver::Resolve;
use crate::server::Settings;
use crate::shared::WorkerShared;
use crate::worker::{Layer, Parts, Plain, Worker, WorkerHandle, make_driver};
use crate::worker_thread::TurnsByHand;

/// Rounds without an event after which nothing more happens until time passes.
const QUIET: u32 = 6;

/// The address of a server that does not listen: connects to it are refused.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// How the workers' side of a connection has ended, as its other end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Finished,
    Reset,
    /// Nothing listened.
    Refused,
}

/// The other end of a worker's connection.
pub(crate) struct Remote {
    pub(crate) got: Vec<u8>,
    pub(crate) end: End,
    /// Not yet given to the driver.
    pub(crate) outbox: Vec<u8>,
    /// FIN follows what is in `outbox`.
    pub(crate) finish: bool,
    /// If a worker connected to it: where.
    pub(crate) listener: Option<ListenerKey>,
    pub(crate) connected: bool,
    /// Whether it receives.
    pub(crate) reads: bool,
    /// Whether it closes its side when it sees the end of the other.
    pub(crate) closes: bool,
}

impl Remote {
    fn new(listener: Option<ListenerKey>) -> Remote {
        Remote {
            got: Vec::new(),
            end: End::Open,
            outbox: Vec::new(),
            finish: false,
            listener,
            connected: false,
            reads: true,
            closes: listener.is_some(),
        }
    }
}

/// A server of a few workers, and a driver for all the programs outside.
pub(crate) struct SimulatedServer<H: Handler, L: Layer = Plain> {
    pub(crate) simulation: Simulation,
    pub(crate) workers: Vec<Worker<Simulated, H, L>>,
    pub(crate) handles: Vec<WorkerHandle<H::Message>>,
    pub(crate) mailboxes: Arc<[Arc<Mailbox<H::Message>>]>,
    pub(crate) client: Driver<Simulated>,
    /// In order, so that one seed gives one run.
    pub(crate) peers: BTreeMap<ConnectionKey, Remote>,
    /// Connections that workers made, not yet looked at.
    pub(crate) arrived: Vec<ConnectionKey>,
    /// The first one listened on.
    pub(crate) address: SocketAddr,
    pub(crate) all_shared: Vec<Arc<WorkerShared>>,
}

impl<H: Handler, L: Layer> SimulatedServer<H, L> {
    /// `config` has been checked.
    ///
    /// # Panics
    /// If two of the addresses are the same.
    pub(crate) fn start(
        behaviour: Behaviour,
        settings: Settings,
        resolver: &Arc<dyn Resolve>,
        mut handler: impl FnMut(WorkerHandle<H::Message>) -> H,
        layer: impl Fn() -> L,
    ) -> SimulatedServer<H, L> {
        let (addresses, Settings { config, workers, listeners, observe }) = (settings.addresses(), settings);
        let simulation = Simulation::new(behaviour);
        let config = Arc::new(config);
        let all_shared: Vec<Arc<WorkerShared>> = (0..workers).map(|_| Arc::default()).collect();
        let placement = Arc::new(Placement::new(&all_shared, config.max_sessions, config.address_limit()));
        let mailbox = |(index, shared)| Arc::new(Mailbox::new(index, Arc::clone(shared), config.mailbox));
        let mailboxes: Arc<[_]> = all_shared.iter().enumerate().map(mailbox).collect();
        let handles: Vec<_> =
            (0..workers).map(|index| WorkerHandle::new(index, Arc::clone(&mailboxes))).collect();
        let make = |index: usize| {
            let observe: Option<&Observe> = observe.as_ref();
            let observer =
                observe.map(|it| Observer::new(Arc::clone(it), Arc::clone(&all_shared[index].published)));
            let mut driver =
                make_driver(simulation.backend(Pool::new(config.pool)), &config, index, observer.clone());
            // As over a real kernel: listener i belongs to worker i mod N.
            let mine = listeners.iter().skip(index).step_by(workers);
            let listen = |(address, token): &(SocketAddr, u64)| {
                let socket = simulation.listen(*address).expect("each address is listened on once");
                (driver.listen(socket).expect("it registers"), *token)
            };
            let listeners = mine.map(listen).collect();
            Worker::new(Parts {
                index,
                driver,
                listeners,
                handler: handler(handles[index].clone()),
                layer: layer(),
                config: Arc::clone(&config),
                mailbox: Arc::clone(&mailboxes[index]),
                placement: Arc::clone(&placement),
                resolver: Arc::clone(resolver),
                observer,
            })
        };
        let workers: Vec<_> = (0..workers).map(make).collect();
        let pool = Pool::new(PoolConfig { blocks: 64, block_len: 4096 });
        let client = Driver::new(simulation.backend(pool));
        SimulatedServer {
            simulation,
            workers,
            handles,
            mailboxes,
            client,
            peers: BTreeMap::new(),
            arrived: Vec::new(),
            address: addresses.first().copied().unwrap_or(NOWHERE),
            all_shared,
        }
    }

    /// A connection from outside, before a worker or the program that connects has seen it. It receives from the start.
    pub(crate) fn begin_connect_to(&mut self, address: SocketAddr) -> ConnectionKey {
        let key = self.client.connect(address).expect("the simulated network has room");
        self.peers.insert(key, Remote::new(None));
        key
    }

    /// The same, from an address of choice.
    pub(crate) fn connect_from(&mut self, from: SocketAddr, to: SocketAddr) -> Option<ConnectionKey> {
        let socket = self.simulation.dial(from, to).ok()?;
        let key = self.client.adopt(socket).expect("the simulated network has room");
        self.client.receive(key);
        self.peers.insert(key, Remote { connected: true, ..Remote::new(None) });
        Some(key)
    }

    /// One round of the workers and the client, in a fixed order; the kernel's choices vary. Returns whether anything
    /// happened.
    pub(crate) fn round(&mut self) -> bool {
        let before = self.all_stats();
        let turns = TurnsByHand::begin();
        for worker in &mut self.workers {
            if !worker.has_ended() {
                worker.turn(false).expect("the simulated kernel does not break");
            }
        }
        drop(turns);
        let happened = self.turn_client();
        self.workers.iter_mut().for_each(Worker::publish);
        happened || Stats { turns: before.turns, ..self.all_stats() } != before
    }

    /// The client alone: what it does is in the kernel, and no worker has seen it. Returns whether anything happened.
    pub(crate) fn turn_client(&mut self) -> bool {
        for (key, peer) in &mut self.peers {
            if !peer.connected || self.client.is_sending(*key) {
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
                Io::Connected { connection } => self.connected(connection),
                Io::Accepted { listener, socket, .. } => {
                    let key = self.client.adopt(socket).expect("the simulated network has room");
                    self.peers.insert(key, Remote::new(Some(listener)));
                    self.arrived.push(key);
                    self.connected(key);
                }
                Io::Received { connection, data } => {
                    self.peers.get_mut(&connection).expect("a peer").got.extend_from_slice(&data);
                }
                Io::EndOfStream { connection } => self.ended(connection, End::Finished),
                Io::Failed { connection, verb: Verb::Connect, .. } => self.ended(connection, End::Refused),
                Io::Failed { connection, .. } => self.ended(connection, End::Reset),
                _ => {}
            }
        }
        happened
    }

    fn connected(&mut self, key: ConnectionKey) {
        let peer = self.peers.get_mut(&key);
        let reads = peer.is_none_or(|peer| {
            peer.connected = true;
            peer.reads
        });
        if reads { self.client.receive(key) } else { self.client.watch(key) }
    }

    fn ended(&mut self, key: ConnectionKey, end: End) {
        let peer = self.peers.get_mut(&key).expect("a peer");
        if peer.end == End::Open {
            peer.end = end;
        }
        if peer.closes {
            self.client.close(key);
        }
    }

    /// What all workers have counted.
    pub(crate) fn all_stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.all_shared.iter().for_each(|shared| shared.published.add_to(&mut sum));
        sum
    }
}

/// Does rounds until several in a row bring nothing. False: `most` of them have always brought something.
pub(crate) fn until_quiet(most: u32, mut round: impl FnMut() -> bool) -> bool {
    let mut quiet = 0;
    for _ in 0..most {
        quiet = if round() { 0 } else { quiet + 1 };
        if quiet == QUIET {
            return true;
        }
    }
    false
}
