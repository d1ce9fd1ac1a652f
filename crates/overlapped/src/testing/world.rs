//! A server under test, with its clock and its network.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proactor::{ConnectionKey, ListenerKey, Time};

use super::Behaviour;
use super::names::Names;
use super::peer::{Link, Listener, Peer, Step};
use super::simulated_server::{End, SimulatedServer, until_quiet};
use crate::context::WorkerContext;
use crate::handler::Handler;
use crate::observe::{Event, Observe, Stats};
use crate::resolver::Resolve;
use crate::server::{DrainReport, Server, ServerHandle};
use crate::session::SessionId;
use crate::worker::{Plain, Worker, WorkerHandle};

/// The clock moves in steps of this length, the granularity of a worker's timers.
const TICK: Duration = Duration::from_millis(4);
/// Rounds of all workers and peers after which a world is taken to have no rest.
const MOST_ROUNDS: u32 = 50_000;
/// Stops of the clock after which an advance is taken to be a mistake.
const MOST_STOPS: u32 = 1_000_000;
/// What a drain may take beyond its limit.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

/// A server of handlers `H` in a simulated network, under a virtual clock, in one thread. [The module](super) has an
/// example.
///
/// Nothing happens in it except in [`settle`](Self::settle), in [`connect`](Self::connect) and its siblings, and, with
/// time passing, in [`advance`](Self::advance) and [`drain`](Self::drain). One seed and one sequence of calls give one
/// run, if the handler itself is deterministic (a `HashMap` is iterated in another order in each run).
///
/// A panic in a callback makes the test panic, in the call that let it happen, unless
/// [`expect_panics`](Self::expect_panics) was called.
pub struct World<H: Handler> {
    server: SimulatedServer<H>,
    handle: ServerHandle<H::Message>,
    names: Arc<Names>,
    peers: Vec<(ConnectionKey, Peer)>,
    listeners: Vec<(ListenerKey, Rc<RefCell<VecDeque<Peer>>>)>,
    panics: Arc<Mutex<Vec<String>>>,
    expects_panics: bool,
}

impl<H: Handler> World<H> {
    /// Starts a server, with one worker unless set, on a kernel that passes on what it is given: the handler gets the bytes of
    /// one [`Peer::send`] together, up to the length of a block. [`start_on`](Self::start_on) chooses another kernel, and
    /// [`for_each_behaviour`](super::for_each_behaviour) runs over many. `factory` makes each worker's handler, on this thread, so that a test and
    /// its handlers may share what they like.
    ///
    /// All settings of `server` are used, except for the choice of the backend and the options of sockets. If it was
    /// [bound](Server::bind), it listens on the same addresses in the simulated network, and the real sockets are
    /// closed; [`testing::server`](super::server) makes one without sockets.
    ///
    /// # Panics
    /// If a setting makes no sense, with the error of [`Server::start`].
    #[track_caller]
    pub fn start(server: Server, factory: impl FnMut(WorkerHandle<H::Message>) -> H) -> World<H> {
        World::start_on(Behaviour { cuts: false, ..Behaviour::default() }, server, factory)
    }

    /// The same on a kernel of choice, for instance with another seed.
    ///
    /// # Panics
    /// As [`start`](Self::start) does.
    #[track_caller]
    pub fn start_on(
        behaviour: Behaviour,
        server: Server,
        factory: impl FnMut(WorkerHandle<H::Message>) -> H,
    ) -> World<H> {
        let mut settings = server.into_settings().unwrap_or_else(|error| panic!("{error}"));
        let panics = Arc::<Mutex<Vec<String>>>::default();
        settings.observe = Some(noting_panics(&panics, settings.observe.take()));
        let (addresses, limits) = (settings.addresses(), settings.config.send_limits());
        let names: Arc<Names> = Arc::default();
        let resolver = Arc::clone(&names) as Arc<dyn Resolve>;
        let server = SimulatedServer::start(behaviour, settings, &resolver, factory, || Plain);
        let handle = ServerHandle::simulated(&addresses, limits, &server.all_shared, &server.mailboxes);
        let (peers, listeners) = (Vec::new(), Vec::new());
        World { server, handle, names, peers, listeners, panics, expects_panics: false }
    }

    /// A client connects, and the world [settles](Self::settle).
    pub fn connect(&mut self) -> Peer {
        self.connect_to(self.server.address)
    }

    /// The same, to one of several addresses that the server listens on.
    pub fn connect_to(&mut self, address: SocketAddr) -> Peer {
        let peer = self.begin_connect(address);
        self.settle();
        peer
    }

    /// A client connects from an address of choice, and the world [settles](Self::settle).
    pub fn connect_from(&mut self, address: SocketAddr) -> Peer {
        let peer = match self.server.connect_from(address, self.server.address) {
            Some(key) => self.add(key),
            None => {
                let peer = Peer::new();
                peer.link.borrow_mut().end = End::Refused;
                peer
            }
        };
        self.settle();
        peer
    }

    /// A client begins to connect. It is connected, and its session is open, when the world has
    /// [settled](Self::settle).
    pub fn begin_connect(&mut self, address: SocketAddr) -> Peer {
        let key = self.server.begin_connect_to(address);
        self.add(key)
    }

    /// A program outside, which accepts what the handler connects to `address`. Without one, a connect is refused.
    ///
    /// # Panics
    /// If something listens there already.
    #[track_caller]
    pub fn listen(&mut self, address: SocketAddr) -> Listener {
        let socket = self.server.simulation.listen(address);
        let socket = socket.unwrap_or_else(|error| panic!("{address}: {error}"));
        let key = self.server.client.listen(socket).expect("the simulated network has room");
        let address = self.server.client.listener_addr(key).expect("it listens");
        let accepted = Rc::default();
        self.listeners.push((key, Rc::clone(&accepted)));
        Listener { address, accepted }
    }

    /// A program outside stops listening: further connects there are refused. Its connections stay, except for those that
    /// wait to be accepted, which are reset.
    pub fn unlisten(&mut self, listener: &Listener) {
        let is_it = |(_, accepted): &(_, Rc<_>)| Rc::ptr_eq(accepted, &listener.accepted);
        if let Some(at) = self.listeners.iter().position(is_it) {
            let (key, _) = self.listeners.swap_remove(at);
            self.server.client.close_listener(key);
            self.settle();
        }
    }

    /// From now on, the handler's connects to `address` get no answer, as if that machine were switched off.
    pub fn silence(&mut self, address: SocketAddr) {
        self.restore_connects(address);
        self.server.simulation.silence(address);
    }

    /// Gives a name its addresses: `name` is written as in the handler's connect, with the port (`"db.example:5432"`).
    /// Names without addresses are not found. The handler gets the answer in the next round.
    pub fn name(&mut self, name: &str, addresses: &[SocketAddr]) {
        self.names.set(name, addresses);
    }

    /// From now on, the handler's connects to `address` fail with `error`.
    pub fn fail_connects(&mut self, address: SocketAddr, error: io::ErrorKind) {
        self.restore_connects(address);
        self.server.simulation.fail_connects(address, Some(error));
    }

    /// Ends [`silence`](Self::silence) and [`fail_connects`](Self::fail_connects) for an address. Connects that wait for an
    /// answer there get one.
    pub fn restore_connects(&mut self, address: SocketAddr) {
        self.server.simulation.end_silence(address);
        self.server.simulation.fail_connects(address, None);
    }

    /// While the kernel is short of memory, it accepts, receives and sends nothing, for the handler's side and for peers.
    /// The server retries, with back-off, as time [advances](Self::advance), and no session ends for it.
    pub fn set_short_of_memory(&mut self, short: bool) {
        self.server.simulation.set_short_of_memory(short);
    }

    /// Lets everything happen that happens without time passing: peers send and receive, callbacks are called, what they
    /// ask for is done.
    ///
    /// # Panics
    /// If this does not end, because handlers and peers always have something more to do.
    #[track_caller]
    pub fn settle(&mut self) {
        if !until_quiet(MOST_ROUNDS, || self.round()) {
            panic!("the world does not come to rest without time passing: {:?}", self.stats());
        }
    }

    /// Lets time pass: timers, ticks, idle timeouts and deadlines that are due by then come in order, each at its time,
    /// and the world [settles](Self::settle) after each.
    ///
    /// `by` is rounded up so that the clock stops at a multiple of 4 ms, as a worker's timers do. A server notices an
    /// idle or first-byte timeout up to a 32nd of it late, at most 1 s, and a write timeout up to a quarter late: pass that
    /// much more.
    ///
    /// # Panics
    /// If the clock has to stop a million times: with many ticks per second, advance by less.
    #[track_caller]
    pub fn advance(&mut self, by: Duration) {
        let end = rounded_up(self.server.simulation.now() + by);
        self.advance_until(end, |_| false);
    }

    /// Time on the virtual clock since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.server.simulation.now().since(Time::ZERO)
    }

    /// Drains the server to its end, as [`ServerHandle::drain`] does, after the world has settled; time passes as far as
    /// needed. To see a drain from inside, call [`ServerHandle::begin_drain`] on the [`handle`](Self::handle), then settle and advance.
    ///
    /// # Panics
    /// If the server does not end.
    #[track_caller]
    pub fn drain(&mut self, limit: Duration) -> DrainReport {
        self.settle();
        self.handle.begin_drain(limit);
        let end = self.server.simulation.now() + limit + AFTER_DRAIN;
        self.advance_until(end, World::has_ended);
        assert!(self.has_ended(), "the server has not ended: {:?}", self.stats());
        self.handle.drain_report()
    }

    /// Whether every worker has ended, after a drain.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.server.workers.iter().all(Worker::has_ended)
    }

    /// The counters of all workers together.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.server.all_stats()
    }

    /// Posts a message to a worker's handler, as another thread would.
    ///
    /// # Panics
    /// If its mailbox is full, the worker has ended, or there is none with this index.
    #[track_caller]
    pub fn post(&self, worker: usize, message: H::Message) {
        if let Err(error) = self.server.handles[worker].post(message) {
            panic!("worker {worker}: {error}");
        }
    }

    /// The handle that [`Server::start`] would have returned. As in a callback, [`wait`](ServerHandle::wait) and
    /// [`drain`](ServerHandle::drain) fail with [`Error::OnWorker`](crate::Error::OnWorker).
    #[must_use]
    pub fn handle(&self) -> &ServerHandle<H::Message> {
        &self.handle
    }

    /// The handler of a worker.
    ///
    /// # Panics
    /// If there is no such worker.
    #[must_use]
    #[track_caller]
    pub fn handler(&self, worker: usize) -> &H {
        self.server.workers[worker].handler()
    }

    /// The handler of a worker, to change it.
    ///
    /// # Panics
    /// If there is no such worker.
    #[must_use]
    #[track_caller]
    pub fn handler_mut(&mut self, worker: usize) -> &mut H {
        self.server.workers[worker].handler_mut()
    }

    /// Calls `callback` as a callback of a worker's handler, for instance to send to a session or to connect. What it
    /// asks for happens when the world [settles](Self::settle).
    ///
    /// # Panics
    /// If there is no such worker.
    #[track_caller]
    pub fn call<R>(
        &mut self,
        worker: usize,
        callback: impl FnOnce(&mut H, &mut WorkerContext<'_, H::State>) -> R,
    ) -> R {
        self.server.workers[worker].call_by_hand(callback)
    }

    /// The session of a peer, while it lives.
    #[must_use]
    pub fn session(&self, peer: &Peer) -> Option<SessionId> {
        let (theirs, ours) = peer.link.borrow().addresses?;
        self.server.workers.iter().find_map(|worker| worker.session_between(ours, theirs))
    }

    /// The handler's state of a peer's session, while it lives.
    #[must_use]
    pub fn state(&self, peer: &Peer) -> Option<&H::State> {
        let session = self.session(peer)?;
        self.server.workers[session.worker()].state(session)
    }

    /// From now on a panic in a callback does not make the test panic: what [`Server::on_panic`] says follows, and the
    /// messages are in [`panics`](Self::panics).
    pub fn expect_panics(&mut self) {
        self.expects_panics = true;
    }

    /// Takes the messages of the panics in callbacks since the last call.
    #[must_use]
    pub fn panics(&mut self) -> Vec<String> {
        std::mem::take(&mut self.panics.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next wait of each worker, and of the peers, ends early and brings nothing, as if a signal had interrupted it.
    pub fn interrupt(&mut self) {
        self.server.simulation.interrupt();
    }

    fn add(&mut self, key: ConnectionKey) -> Peer {
        let peer = Peer::new();
        self.peers.push((key, peer.share()));
        self.server.peers.get_mut(&key).expect("it was just made").closes = true;
        peer
    }

    #[track_caller]
    fn advance_until(&mut self, end: Time, is_over: impl Fn(&World<H>) -> bool) {
        self.settle();
        for _ in 0..MOST_STOPS {
            let now = self.server.simulation.now();
            if now >= end || is_over(self) {
                return;
            }
            let running = self.server.workers.iter().filter(|worker| !worker.has_ended());
            let due = running.filter_map(Worker::next_due).chain(self.server.client.next_due()).min();
            // What is still due after the world has settled waits for time to pass.
            let next = due.map_or(end, |due| if due > now { due } else { now + TICK });
            self.server.simulation.advance(next.min(end).since(now));
            self.settle();
        }
        panic!("the clock stopped {MOST_STOPS} times on the way: advance by less");
    }

    /// Returns whether anything happened.
    #[track_caller]
    fn round(&mut self) -> bool {
        let mut happened = false;
        for (key, peer) in &self.peers {
            happened |= act(&mut self.server, *key, &mut peer.link.borrow_mut());
        }
        happened |= self.server.round();
        for key in std::mem::take(&mut self.server.arrived) {
            let listener = self.server.peers[&key].listener;
            let peer = self.add(key);
            if let Some((_, accepted)) = self.listeners.iter().find(|(known, _)| Some(*known) == listener) {
                accepted.borrow_mut().push_back(peer);
            }
        }
        for (key, peer) in &self.peers {
            note(&mut self.server, *key, &mut peer.link.borrow_mut());
        }
        if !self.expects_panics
            && let Some(message) = self.panics().first()
        {
            panic!("a callback panicked: {message}");
        }
        happened
    }
}

/// A peer does what it is to do next, if it can. Returns whether it did anything.
fn act<H: Handler>(server: &mut SimulatedServer<H>, key: ConnectionKey, link: &mut Link) -> bool {
    if std::mem::take(&mut link.reset) {
        server.client.abort(key);
        return true;
    }
    let remote = server.peers.get_mut(&key).expect("every peer has one");
    remote.closes = !link.stays;
    if !remote.connected {
        remote.reads = link.reads;
        return false;
    }
    if link.gone || remote.end != End::Open && !link.stays {
        return false;
    }
    let mut acted = remote.reads != link.reads;
    if acted {
        remote.reads = link.reads;
        if remote.reads {
            server.client.receive(key);
        } else {
            server.client.pause_receive(key);
            server.client.watch(key);
        }
    }
    if !remote.outbox.is_empty() || remote.finish || server.client.is_sending(key) {
        return acted;
    }
    let waits = matches!(link.steps.front(), Some(Step::Piece(_)))
        && server.client.delivery(key).is_some_and(|delivery| delivery.unacknowledged > 0);
    if !waits && let Some(step) = link.steps.pop_front() {
        acted = true;
        match step {
            Step::Send(bytes) | Step::Piece(bytes) => {
                link.last_sent = bytes.len();
                remote.outbox = bytes;
            }
            Step::Finish => (remote.finish, link.finished) = (true, true),
        }
    }
    acted
}

/// A peer sees what has happened to it.
fn note<H: Handler>(server: &mut SimulatedServer<H>, key: ConnectionKey, link: &mut Link) {
    let remote = server.peers.get_mut(&key).expect("every peer has one");
    link.received.append(&mut remote.got);
    link.end = remote.end;
    let client = &server.client;
    if remote.connected && link.addresses.is_none() {
        link.addresses = client.local_addr(key).ok().zip(client.peer_addr(key).ok());
    }
    link.in_flight =
        if client.is_sending(key) { link.last_sent - client.send_progress(key) } else { remote.outbox.len() };
}

/// Notes the messages of panics, then calls the observer of the server under test.
fn noting_panics(panics: &Arc<Mutex<Vec<String>>>, user: Option<Observe>) -> Observe {
    let panics = Arc::clone(panics);
    Arc::new(move |event| {
        if let Event::Panicked { message, .. } = event {
            panics.lock().unwrap_or_else(PoisonError::into_inner).push((*message).to_owned());
        }
        if let Some(user) = &user {
            user(event);
        }
    })
}

fn rounded_up(time: Time) -> Time {
    let tick = TICK.as_nanos() as u64;
    Time::from_nanos(time.as_nanos().div_ceil(tick).saturating_mul(tick))
}
