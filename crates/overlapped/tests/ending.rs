//! The end of a server: which threads may wait for it, what they get, and what cannot delay it.

mod common;

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use overlapped::{
    Choice, Closed, Error, Event, Handler, Lease, OnPanic, Server, ServerHandle, Session, WorkerContext,
    WorkerHandle,
};
use overlapped_testing::{PATIENCE, dial, eventually};

use common::backends;

/// Something inside a server that asks to wait for the server's end, and tells whether that was refused.
#[derive(Clone)]
struct Asks {
    server: Arc<OnceLock<ServerHandle>>,
    tell: Sender<(&'static str, bool)>,
}

impl Asks {
    fn ask(&self, place: &'static str) {
        let Some(server) = self.server.get() else { return };
        let waited = matches!(server.wait(), Err(Error::OnWorker));
        let drained = matches!(server.drain(PATIENCE), Err(Error::OnWorker));
        let _ = self.tell.send((place, waited && drained));
    }

    fn when_dropped(&self, place: &'static str) -> AsksWhenDropped {
        AsksWhenDropped(self.clone(), place)
    }
}

struct AsksWhenDropped(Asks, &'static str);

impl Drop for AsksWhenDropped {
    fn drop(&mut self) {
        self.0.ask(self.1);
    }
}

thread_local! {
    /// Dropped when the thread ends, after its worker.
    static LEFT_BEHIND: RefCell<Option<AsksWhenDropped>> = const { RefCell::new(None) };
}

struct Inside {
    asks: Asks,
    _end: AsksWhenDropped,
}

impl Inside {
    fn new(asks: &Asks) -> Inside {
        Inside { asks: asks.clone(), _end: asks.when_dropped("the handler") }
    }
}

impl Handler for Inside {
    type State = AsksWhenDropped;
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> AsksWhenDropped {
        self.asks.when_dropped("a state")
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut AsksWhenDropped, data: Lease) {
        self.asks.ask("a callback");
        session.send(data);
    }

    fn on_message(&mut self, _worker: &mut WorkerContext<'_, Self::State>, (): ()) {
        self.asks.ask("a message");
        LEFT_BEHIND.with(|left| *left.borrow_mut() = Some(self.asks.when_dropped("a thread-local")));
    }
}

/// From wherever a worker's thread runs a user's code. None of it begins the drain.
#[test]
fn nobody_waits_for_themselves() {
    for choice in backends() {
        let (tell, told) = channel();
        let asks = Asks { server: Arc::default(), tell };
        let (give, given) = channel();
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(2);
        let observer = asks.clone();
        let server = server.trace_operations(true).observer(move |event| {
            if let Event::Closed { .. } = event {
                observer.ask("an observer");
            }
        });
        let inside = asks.clone();
        let server = server.start(move |worker: WorkerHandle<()>| {
            let _ = give.send(worker);
            Inside::new(&inside)
        });
        let server = server.unwrap();
        assert!(asks.server.set(server.clone()).is_ok());
        given.try_iter().next().unwrap().post(()).unwrap();
        let mut client = dial(server.local_addr());
        for _ in 0..3 {
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).expect("it is not drained");
        }
        drop(client);
        server.drain(PATIENCE).expect("from outside it works");
        let mut places = Vec::new();
        for (place, refused) in told.try_iter() {
            assert!(refused, "in {place}: {choice:?}");
            places.push(place);
        }
        places.sort_unstable();
        places.dedup();
        let all = ["a callback", "a message", "a state", "a thread-local", "an observer", "the handler"];
        assert_eq!(places, all, "{choice:?}");
    }
}

/// Ends one server from a callback of another.
struct Ends {
    server: ServerHandle,
    tell: Sender<bool>,
}

impl Handler for Ends {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) {}

    fn on_data(&mut self, _session: &mut Session<'_, Self::State>, _state: &mut (), _data: Lease) {
        let _ = self.tell.send(self.server.drain(PATIENCE).is_ok() && self.server.wait().is_ok());
    }
}

#[test]
fn a_worker_may_wait_for_another_server() {
    for choice in backends() {
        let fragile = |_| Fragile;
        let other = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(2).start(fragile).unwrap();
        let (tell, told) = channel();
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
        let server = server.start(move |_| Ends { server: other.clone(), tell: tell.clone() }).unwrap();
        let mut client = dial(server.local_addr());
        client.write_all(b"end it").unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(true), "{choice:?}");
        drop(client);
        server.drain(PATIENCE).unwrap();
    }
}

struct Fragile;

impl Handler for Fragile {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) {}

    fn on_data(&mut self, _session: &mut Session<'_, Self::State>, _state: &mut (), _data: Lease) {
        panic!("a mistake in a handler");
    }
}

fn fragile(choice: Choice) -> ServerHandle {
    let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(2);
    server.on_panic(OnPanic::StopServer).start(|_| Fragile).unwrap()
}

/// However many wait, before and after, and however often.
#[test]
fn everybody_who_waits_is_told_what_broke() {
    for choice in backends() {
        let server = fragile(choice);
        let ready = Arc::new(Barrier::new(4));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let (server, ready) = (server.clone(), Arc::clone(&ready));
                thread::spawn(move || {
                    ready.wait();
                    server.wait().expect_err("it broke").to_string()
                })
            })
            .collect();
        ready.wait();
        dial(server.local_addr()).write_all(b"x").unwrap();
        let mut told: Vec<String> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
        told.push(server.wait().expect_err("still").to_string());
        told.push(server.drain(Duration::from_secs(1)).expect_err("still").to_string());
        for error in &told {
            assert!(error.contains("a mistake in a handler"), "{error}");
            assert_eq!(error, &told[0], "{choice:?}");
        }
    }
}

/// Ends on its own time, after the worker: what is dropped with a thread has its say while that one is joined.
struct Slow {
    left: Sender<()>,
    gate: Arc<Barrier>,
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.gate.wait();
        let _ = self.left.send(());
    }
}

thread_local! {
    static SLOW: RefCell<Option<Slow>> = const { RefCell::new(None) };
}

/// Who waits at the same time waits as long: when the first returns, and when the second does, no thread is left.
#[test]
fn those_who_wait_at_once_return_when_all_threads_are_joined() {
    for choice in backends() {
        let gate = Arc::new(Barrier::new(2));
        let (left, leaves) = channel();
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
        let slow = Arc::clone(&gate);
        let server = server.start(move |_| {
            let slow = Slow { left: left.clone(), gate: Arc::clone(&slow) };
            SLOW.with(|kept| *kept.borrow_mut() = Some(slow));
            Fragile
        });
        let server = server.unwrap();
        let (done, ends) = channel();
        for _ in 0..2 {
            let (server, done) = (server.clone(), done.clone());
            thread::spawn(move || {
                server.wait().unwrap();
                done.send(()).unwrap();
            });
        }
        server.begin_drain(PATIENCE);
        // The worker has ended once its counters show it; its thread is still held.
        eventually("the worker ends", || server.stats().in_flight == 0);
        assert!(ends.recv_timeout(Duration::from_millis(50)).is_err(), "{choice:?}: a thread is left");
        gate.wait();
        for _ in 0..2 {
            ends.recv_timeout(PATIENCE).expect("both return");
        }
        assert_eq!(leaves.try_iter().count(), 1, "all of the thread was over by then");
    }
}

/// What was asked for, and how each of it was answered.
#[derive(Default)]
struct Ledger {
    asked: AtomicU64,
    answers: Mutex<Vec<u64>>,
    opened: AtomicU64,
    closed: AtomicU64,
}

impl Ledger {
    fn connect(&self, worker: &mut WorkerContext<'_>, address: SocketAddr) -> u64 {
        let token = self.asked.fetch_add(1, Ordering::SeqCst);
        worker.connect(address, token);
        token
    }

    fn answered(&self, token: u64) {
        self.answers.lock().unwrap().push(token);
    }
}

struct ComesBack {
    to: SocketAddr,
    ledger: Arc<Ledger>,
    again: HashSet<u64>,
}

impl Handler for ComesBack {
    type State = ();
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) {
        self.ledger.opened.fetch_add(1, Ordering::SeqCst);
        self.ledger.answered(session.token().expect("nobody else comes"));
    }

    fn on_data(&mut self, _session: &mut Session<'_, Self::State>, _state: &mut (), _data: Lease) {}

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Self::State>, (): ()) {
        self.ledger.connect(worker, self.to);
    }

    fn on_tick(&mut self, worker: &mut WorkerContext<'_, Self::State>) {
        if worker.is_draining() {
            self.ledger.connect(worker, self.to);
        }
    }

    fn on_connect_failed(
        &mut self,
        worker: &mut WorkerContext<'_, Self::State>,
        token: u64,
        error: &io::Error,
    ) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        self.ledger.answered(token);
        // Once more, then it gives up.
        if !self.again.remove(&token) {
            let token = self.ledger.connect(worker, self.to);
            self.again.insert(token);
        }
    }

    fn on_close(&mut self, worker: &mut WorkerContext<'_, Self::State>, _: Closed, (): ()) {
        self.ledger.closed.fetch_add(1, Ordering::SeqCst);
        self.ledger.connect(worker, self.to);
    }
}

fn wait_for_sessions(server: &ServerHandle, sessions: u64) {
    eventually("they connect", || server.stats().sessions >= sessions);
}

#[test]
fn a_drain_ends_and_everything_is_answered() {
    const CLIENTS: u64 = 40;
    for choice in backends() {
        for limit in [Duration::ZERO, PATIENCE] {
            let upstream = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
            let upstream = upstream.start(|_| Fragile).unwrap();
            let (to, ledger, (give, given)) = (upstream.local_addr(), Arc::new(Ledger::default()), channel());
            let client = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(2);
            let client = client.tick(Some(Duration::from_millis(20)));
            let kept = Arc::clone(&ledger);
            let client = client.start(move |worker: WorkerHandle<()>| {
                let _ = give.send(worker);
                ComesBack { to, ledger: Arc::clone(&kept), again: HashSet::new() }
            });
            let client = client.unwrap();
            for worker in given.try_iter() {
                (0..CLIENTS / 2).for_each(|_| worker.post(()).unwrap());
            }
            wait_for_sessions(&client, CLIENTS);
            let began = Instant::now();
            client.drain(limit).unwrap();
            assert!(began.elapsed() < PATIENCE / 2, "nothing was left to wait for: {choice:?}");
            let mut answers = ledger.answers.lock().unwrap().clone();
            answers.sort_unstable();
            let asked = ledger.asked.load(Ordering::SeqCst);
            assert_eq!(answers, (0..asked).collect::<Vec<_>>(), "each once: {choice:?}");
            let counted = [&ledger.opened, &ledger.closed].map(|count| count.load(Ordering::SeqCst));
            assert_eq!(counted, [CLIENTS; 2], "nobody is dialled in the drain: {choice:?}");
            assert_eq!(client.stats().sessions, 0);
            assert_eq!(client.stats().connects_failed, asked - CLIENTS);
            upstream.drain(PATIENCE).unwrap();
        }
    }
}
