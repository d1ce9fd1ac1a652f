//! One endpoint of a case: a driver and a record of its events. What holds in every case is asserted here.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;

use proactor::backend::Wait;
use proactor::{
    ConnectionKey, Driver, Event, Gather, Lease, ListenerKey, Payload, Pool, PoolConfig, Sending,
    SocketOptions, Verb,
};

use crate::kernel::{Kernel, Socket};
use crate::watched::Watched;

/// The proof that a case was finished: only `Fixture::finish` returns it, after its checks.
#[must_use]
pub struct Finished(pub(crate) ());

/// What happened on one connection.
#[derive(Debug, Default)]
pub struct Seen {
    pub connected: bool,
    pub bytes: Vec<u8>,
    pub ended: bool,
    pub paused: usize,
    /// Payloads that were reported as sent by an event, not by `send` itself.
    pub sent: usize,
    pub failures: Vec<(Verb, ErrorKind)>,
    /// What was delayed for lack of memory.
    pub delayed: Vec<(Verb, ErrorKind)>,
    pub released: bool,
    /// Bytes handed to the driver so far: the peer gets all of them, or an error.
    pub handed: usize,
    /// Bytes given to `post` so far.
    pub posted: usize,
    /// True exactly when a pause took effect and no receive was requested since.
    quiet: bool,
    /// True exactly when a watch was requested, and no receive since.
    watched: bool,
    closing: bool,
}

impl Seen {
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether the peer's end or a failure was seen.
    pub fn over(&self) -> bool {
        self.ended || !self.failures.is_empty()
    }
}

/// One payload to send, or several at once with their length.
pub enum Post {
    One(Payload),
    Many(Box<Gather>, usize),
}

impl<P: Into<Payload>> From<P> for Post {
    fn from(payload: P) -> Post {
        Post::One(payload.into())
    }
}

impl Post {
    pub fn gathered(parts: Vec<Payload>) -> Post {
        let len = parts.iter().map(Payload::len).sum();
        Post::Many(Box::new(Gather::new(parts)), len)
    }
}

/// One driver and what it reported.
pub struct Endpoint<K: Kernel> {
    pub driver: Driver<Watched<K::Backend>>,
    pub pool: Pool,
    pub seen: BTreeMap<ConnectionKey, Seen>,
    pub accepted: VecDeque<Socket<K>>,
    pub accept_failures: Vec<ErrorKind>,
    pub released_listeners: Vec<ListenerKey>,
    pub woken: usize,
    /// Whether received blocks are kept in `kept` instead of given back at once.
    pub keeping: bool,
    pub kept: VecDeque<(ConnectionKey, Lease)>,
    pub open: Rc<Cell<i64>>,
    /// Connections on which FIN was sent.
    pub finished: BTreeSet<ConnectionKey>,
    outbox: BTreeMap<ConnectionKey, VecDeque<Post>>,
    listeners: Vec<ListenerKey>,
}

impl<K: Kernel> Endpoint<K> {
    /// The backend, to inject faults.
    pub fn backend(&mut self) -> &mut Watched<K::Backend> {
        // SAFETY: the cases order faults, and replace nothing.
        unsafe { self.driver.backend_mut() }
    }

    pub fn new(kernel: &K, config: PoolConfig) -> Endpoint<K> {
        let pool = Pool::new(config);
        let backend = Watched::new(kernel.backend(pool.clone()));
        let open = backend.open_sockets();
        Endpoint {
            driver: Driver::new(backend),
            pool,
            seen: BTreeMap::new(),
            accepted: VecDeque::new(),
            accept_failures: Vec::new(),
            released_listeners: Vec::new(),
            woken: 0,
            keeping: false,
            kept: VecDeque::new(),
            open,
            finished: BTreeSet::new(),
            outbox: BTreeMap::new(),
            listeners: Vec::new(),
        }
    }

    /// One turn: records all events. Returns whether there were any.
    pub fn step(&mut self, wait: Wait) -> bool {
        self.driver.turn(wait).expect("a turn fails only when the kernel's interface is broken");
        let mut events = 0;
        while let Some(event) = self.driver.next_event() {
            events += 1;
            assert!(events < 100_000, "a turn comes to an end");
            self.note(event);
        }
        self.flush();
        events > 0
    }

    pub fn note(&mut self, event: Event<Socket<K>>) {
        match event {
            Event::Accepted { listener, socket, .. } => {
                assert!(self.listeners.contains(&listener), "accepted on a listener that is not ours");
                self.accepted.push_back(socket);
            }
            Event::AcceptFailed { error, .. } => self.accept_failures.push(error.kind()),
            Event::ListenerReleased { listener } => self.released_listeners.push(listener),
            Event::Connected { connection } => self.of(connection).connected = true,
            Event::Received { connection, data } => {
                assert!(!data.is_empty(), "a receive brings at least one byte");
                let seen = self.of(connection);
                assert!(!seen.quiet, "nothing arrives after a pause took effect");
                assert!(!seen.ended, "nothing arrives behind the end");
                seen.bytes.extend_from_slice(&data);
                if self.keeping {
                    self.kept.push_back((connection, data));
                }
            }
            Event::EndOfStream { connection } => {
                let seen = self.of(connection);
                assert!(!seen.ended, "a stream ends once");
                assert!(!seen.quiet || seen.watched, "a pause holds back the end too, unless it is watched");
                seen.ended = true;
            }
            Event::Paused { connection } => {
                let seen = self.of(connection);
                assert!(!seen.quiet, "one pause is reported once");
                seen.quiet = true;
                seen.paused += 1;
            }
            Event::Sent { connection, .. } => self.of(connection).sent += 1,
            Event::Failed { connection, verb, error } => {
                let seen = self.of(connection);
                if verb == Verb::Receive {
                    assert!(
                        !seen.quiet || seen.watched,
                        "a pause holds back a reset that nobody listens for"
                    );
                    assert!(!seen.ended, "a stream that ended does not fail");
                    let before = seen.failures.iter().any(|(verb, _)| *verb == Verb::Receive);
                    assert!(!before, "a stream fails once");
                }
                seen.failures.push((verb, error.kind()));
            }
            Event::Delayed { connection, verb, error } => {
                self.of(connection).delayed.push((verb, error.kind()));
            }
            Event::Released { connection } => {
                let seen = self.seen.get_mut(&connection).expect("a released connection was known");
                assert!(seen.closing && !seen.released, "INV-2: released once, after it was closed");
                seen.released = true;
                self.outbox.remove(&connection);
            }
            Event::Woken => self.woken += 1,
        }
    }

    /// The record of a connection that is not closing.
    fn of(&mut self, connection: ConnectionKey) -> &mut Seen {
        let seen = self.seen.get_mut(&connection).expect("INV-3: an event is about a known connection");
        assert!(!seen.closing, "a closing connection has no event but its last");
        seen
    }

    pub fn seen(&self, connection: ConnectionKey) -> &Seen {
        &self.seen[&connection]
    }

    pub fn listen(&mut self, socket: Socket<K>) -> (ListenerKey, SocketAddr) {
        let listener = self.driver.listen(socket).expect("a listener can be registered");
        self.open.set(self.open.get() + 1);
        self.listeners.push(listener);
        (listener, self.driver.listener_addr(listener).expect("a listener has an address"))
    }

    pub fn connect(&mut self, address: SocketAddr) -> ConnectionKey {
        let connection = self.driver.connect(address).expect("a socket can be had");
        self.know(connection)
    }

    /// A connection from a certain local address.
    pub fn connect_from(&mut self, from: SocketAddr, address: SocketAddr) -> std::io::Result<ConnectionKey> {
        let connection = self.driver.connect_with(address, Some(from), SocketOptions::default())?;
        Ok(self.know(connection))
    }

    pub fn adopt(&mut self, socket: Socket<K>) -> ConnectionKey {
        let connection = self.driver.adopt(socket).expect("a socket can be registered");
        self.know(connection)
    }

    fn know(&mut self, connection: ConnectionKey) -> ConnectionKey {
        let before = self.seen.insert(connection, Seen::default());
        assert!(before.is_none(), "INV-3: no key is given out twice");
        connection
    }

    pub fn receive(&mut self, connection: ConnectionKey) {
        self.driver.receive(connection);
        let seen = self.seen.get_mut(&connection).expect("known");
        (seen.quiet, seen.watched) = (false, false);
    }

    pub fn watch(&mut self, connection: ConnectionKey) {
        self.driver.watch(connection);
        self.seen.get_mut(&connection).expect("known").watched = true;
    }

    /// Queues bytes to send.
    pub fn post(&mut self, connection: ConnectionKey, payload: impl Into<Post>) {
        self.outbox.entry(connection).or_default().push_back(payload.into());
        self.flush();
    }

    /// Whether the kernel has all bytes that were posted.
    pub fn is_flushed(&self, connection: ConnectionKey) -> bool {
        !self.driver.is_sending(connection) && self.outbox.get(&connection).is_none_or(VecDeque::is_empty)
    }

    fn flush(&mut self) {
        for (connection, queue) in &mut self.outbox {
            while !self.driver.is_sending(*connection)
                && let Some(payload) = queue.pop_front()
            {
                let (len, sending) = match payload {
                    Post::One(payload) => (payload.len(), self.driver.send(*connection, payload)),
                    Post::Many(parts, len) => (len, self.driver.send_gathered(*connection, *parts)),
                };
                if sending == Sending::Closed {
                    queue.clear();
                } else {
                    self.seen.get_mut(connection).expect("known").handed += len;
                }
            }
        }
    }

    pub fn close(&mut self, connection: ConnectionKey) {
        self.driver.close(connection);
        self.seen.get_mut(&connection).expect("known").closing = true;
    }

    pub fn abort(&mut self, connection: ConnectionKey) {
        self.driver.abort(connection);
        self.seen.get_mut(&connection).expect("known").closing = true;
    }

    pub fn close_listeners(&mut self) {
        for listener in &self.listeners {
            self.driver.close_listener(*listener);
        }
    }

    /// Aborts all that is left.
    pub fn abandon(&mut self) {
        self.kept.clear();
        for socket in self.accepted.drain(..) {
            self.driver.refuse(socket);
        }
        let living = self.seen.iter().filter(|(_, seen)| !seen.released).map(|(key, _)| *key);
        for connection in living.collect::<Vec<_>>() {
            self.abort(connection);
        }
        self.close_listeners();
    }

    /// Whether nothing is left of anything.
    pub fn is_empty(&self) -> bool {
        self.driver.snapshot() == proactor::Snapshot::default()
            && self.released_listeners.len() == self.listeners.len()
            && self.seen.values().all(|seen| seen.released)
    }

    pub fn report(&self) -> String {
        format!(
            "{:?}, in flight {}, listeners {}/{} released, {} accepted waiting; {:?}",
            self.driver.snapshot(),
            self.driver.in_flight_report(),
            self.released_listeners.len(),
            self.listeners.len(),
            self.accepted.len(),
            self.seen.values().map(Brief).collect::<Vec<_>>(),
        )
    }
}

/// Without the bytes.
struct Brief<'a>(&'a Seen);

impl std::fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Seen { bytes, ended, paused, sent, failures, released, closing, .. } = self.0;
        let len = bytes.len();
        write!(f, "{{{len} bytes, ended {ended}, paused {paused}, sent {sent}, {failures:?}, ")?;
        write!(f, "closing {closing}, released {released}}}")
    }
}
