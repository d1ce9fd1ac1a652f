//! Callbacks that block, on the real backends: they delay their own worker, and no other.
#![cfg_attr(
    windows,
    allow(dead_code, unused_imports, reason = "accepting moves away from a blocked worker on Unix alone")
)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use overlapped::{Choice, Handler, Lease, Server, ServerHandle, Session};
use overlapped_testing::{PATIENCE, dial, eventually, eventually_within};

use common::backends;

/// Greets with its worker's index. Blocks on `B`, and in the next `on_open` if that is asked for, until it is let go.
struct Blocks {
    shared: Arc<Shared>,
}

struct Shared {
    /// Told the worker that blocks, and given what lets it go on.
    blocked: Mutex<Sender<(usize, Sender<()>)>>,
    block_next_open: AtomicBool,
}

impl Shared {
    fn block(&self, worker: usize) {
        let (go, wait) = channel();
        self.blocked.lock().unwrap().send((worker, go)).expect("the test hears of it");
        // A test that failed lets go, too: its end is dropped. Longer than a test waits for anything.
        let _ = wait.recv_timeout(3 * PATIENCE);
    }
}

impl Handler for Blocks {
    type State = ();
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) {
        if self.shared.block_next_open.swap(false, Ordering::Relaxed) {
            self.shared.block(session.id().worker());
        }
        session.send(vec![session.id().worker() as u8]);
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), data: Lease) {
        if data[0] == b'B' {
            self.shared.block(session.id().worker());
        }
        session.send(data);
    }
}

struct Fixture {
    server: ServerHandle,
    shared: Arc<Shared>,
    blocked: Receiver<(usize, Sender<()>)>,
}

/// A worker's callback that blocks until this is dropped, and the session it is for.
struct Blocked {
    client: TcpStream,
    go: Sender<()>,
}

impl Blocked {
    /// Lets it go on, and takes what the callback answers.
    fn let_go(mut self) -> TcpStream {
        drop(self.go);
        self.client.read_exact(&mut [0]).expect("its session goes on");
        self.client
    }
}

fn start(server: Server, choice: Choice) -> Fixture {
    let (tell, blocked) = channel();
    let shared = Arc::new(Shared { blocked: Mutex::new(tell), block_next_open: AtomicBool::new(false) });
    let kept = Arc::clone(&shared);
    let server = server.backend(choice).start(move |_worker| Blocks { shared: Arc::clone(&kept) });
    Fixture { server: server.expect("it starts"), shared, blocked }
}

fn loopback() -> Server {
    Server::bind("127.0.0.1:0").unwrap()
}

/// A connection, and which worker greeted it.
fn greeted(address: SocketAddr) -> (TcpStream, usize) {
    let mut client = dial(address);
    let mut worker = [0];
    client.read_exact(&mut worker).expect("somebody greets it");
    (client, usize::from(worker[0]))
}

impl Fixture {
    /// One session on each worker, by worker.
    fn one_each(&self) -> Vec<TcpStream> {
        let mut all: Vec<_> =
            (0..self.server.workers().len()).map(|_| greeted(self.server.local_addr())).collect();
        all.sort_by_key(|(_, worker)| *worker);
        assert!(all.iter().enumerate().all(|(index, (_, worker))| index == *worker), "fewest sessions first");
        all.into_iter().map(|(client, _)| client).collect()
    }

    fn block(&self, mut client: TcpStream) -> (Blocked, usize) {
        client.write_all(b"B").unwrap();
        let (worker, go) = self.blocked.recv_timeout(PATIENCE).expect("it blocks");
        (Blocked { client, go }, worker)
    }

    fn ends_well(self) {
        let address = self.server.local_addr();
        let report = self.server.drain(PATIENCE).unwrap();
        assert_eq!((report.cut, report.bytes_lost), (0, 0));
        let stats = self.server.stats();
        assert_eq!((stats.sessions, stats.in_flight, stats.blocks_in_use), (0, 0, 0), "INV-1, INV-2");
        assert_eq!(stats.sessions_opened, stats.sessions_closed);
        assert!(TcpStream::connect(address).is_err(), "the port is free again");
    }
}

fn echoes(client: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).expect("an echo");
}

/// The owner of the listener among them: accepting goes on (not on Windows, where its port has the accepts).
#[cfg(unix)]
#[test]
fn whichever_worker_is_blocked_the_others_greet() {
    for choice in backends() {
        for workers in 2..=4 {
            for blocked in 0..workers {
                let fixture = start(loopback().workers(workers), choice);
                let mut each = fixture.one_each();
                let (held, index) = fixture.block(each.remove(blocked));
                assert_eq!(index, blocked);
                let mut late: Vec<_> = (0..12).map(|_| greeted(fixture.server.local_addr())).collect();
                assert!(late.iter().all(|(_, worker)| *worker != blocked), "{choice:?}");
                late.iter_mut().for_each(|(client, _)| echoes(client));
                each.iter_mut().for_each(echoes);
                let mut held = held.let_go();
                echoes(&mut held);
                drop((held, each, late));
                fixture.ends_well();
            }
        }
    }
}

/// It is a worker like the others again, and accepts for itself.
#[cfg(unix)]
#[test]
fn a_worker_that_comes_back_is_placed_on_again() {
    for choice in backends() {
        let fixture = start(loopback().workers(2), choice);
        let mut each = fixture.one_each();
        let (held, _) = fixture.block(each.remove(0));
        let (late, worker) = greeted(fixture.server.local_addr());
        assert_eq!(worker, 1);
        let mut held = held.let_go();
        // An answer of another turn: it is seen to be back.
        echoes(&mut held);
        // It has one session, the other two.
        let (next, worker) = greeted(fixture.server.local_addr());
        assert_eq!(worker, 0, "{choice:?}");
        drop((held, each, late, next));
        fixture.ends_well();
    }
}

/// The first of a burst blocks in `on_open`; the others were accepted with it.
#[cfg(unix)]
#[test]
fn a_burst_behind_an_on_open_that_blocks_is_greeted() {
    for choice in backends() {
        let fixture = start(loopback().workers(2), choice);
        fixture.shared.block_next_open.store(true, Ordering::Relaxed);
        let clients: Vec<_> = (0..40).map(|_| dial(fixture.server.local_addr())).collect();
        let (_, go) = fixture.blocked.recv_timeout(PATIENCE).expect("one blocks");
        let (tell, told) = channel();
        let readers = clients.into_iter().map(|mut client| {
            let tell = tell.clone();
            std::thread::spawn(move || {
                client.read_exact(&mut [0]).expect("a greeting");
                let _ = tell.send(());
                client
            })
        });
        let readers: Vec<_> = readers.collect();
        for _ in 0..39 {
            told.recv_timeout(PATIENCE).expect("all but the blocked one are greeted");
        }
        drop(go);
        let clients: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        drop(clients);
        fixture.ends_well();
    }
}

#[cfg(unix)]
#[test]
fn with_all_workers_blocked_the_first_that_comes_back_greets() {
    for choice in backends() {
        let fixture = start(loopback().workers(3), choice);
        let mut held: Vec<_> = fixture.one_each().into_iter().map(|client| fixture.block(client).0).collect();
        // They wait in the backlog: the listener's owner stays blocked.
        let late: Vec<_> = (0..10).map(|_| dial(fixture.server.local_addr())).collect();
        let back = held.remove(2).let_go();
        for mut client in &late {
            let mut worker = [0];
            client.read_exact(&mut worker).expect("a greeting");
            assert_eq!(worker, [2], "{choice:?}");
        }
        let held: Vec<_> = held.into_iter().map(Blocked::let_go).collect();
        drop((held, back, late));
        fixture.ends_well();
    }
}

#[cfg(unix)]
#[test]
fn limits_hold_while_a_worker_is_blocked() {
    for choice in backends() {
        let limits = [loopback().max_sessions(5), loopback().max_per_address(Some(5))];
        for limited in limits {
            let fixture = start(limited.workers(2), choice);
            let mut each = fixture.one_each();
            let (held, _) = fixture.block(each.remove(0));
            let late: Vec<_> = (0..3).map(|_| greeted(fixture.server.local_addr())).collect();
            for _ in 0..4 {
                let mut refused = dial(fixture.server.local_addr());
                assert_eq!(refused.read(&mut [0]).expect("closed, not reset"), 0);
            }
            let held = held.let_go();
            drop((held, each, late));
            // All are counted out: there is room for as many again.
            eventually("all are counted out", || fixture.server.stats().sessions == 0);
            assert_eq!(fixture.server.stats().sessions_rejected, 4, "{choice:?}");
            let again: Vec<_> = (0..5).map(|_| greeted(fixture.server.local_addr())).collect();
            drop(again);
            fixture.ends_well();
        }
    }
}

/// Each listener belongs to another worker.
#[cfg(unix)]
#[test]
fn every_listener_of_a_blocked_worker_is_accepted_from() {
    for choice in backends() {
        for blocked in 0..2 {
            let server = loopback().also_bind("127.0.0.1:0").unwrap().also_bind("127.0.0.1:0").unwrap();
            let fixture = start(server.workers(2), choice);
            let mut each = fixture.one_each();
            let (held, _) = fixture.block(each.remove(blocked));
            for address in fixture.server.local_addrs() {
                let (_client, worker) = greeted(*address);
                assert_ne!(worker, blocked);
            }
            drop((held.let_go(), each));
            fixture.ends_well();
        }
    }
}

#[cfg(unix)]
#[test]
fn a_listener_made_elsewhere_is_accepted_from() {
    for choice in backends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fixture = start(Server::from(listener).workers(2), choice);
        let mut each = fixture.one_each();
        let (held, _) = fixture.block(each.remove(0));
        let (late, worker) = greeted(fixture.server.local_addr());
        assert_eq!(worker, 1);
        drop((held.let_go(), each, late));
        fixture.ends_well();
    }
}

/// The others drain while it is blocked. What comes meanwhile waits in its backlog, and is served when it is back.
#[test]
fn a_drain_with_a_blocked_worker() {
    for choice in backends() {
        let fixture = start(loopback().workers(2), choice);
        let mut each = fixture.one_each();
        let (held, _) = fixture.block(each.remove(0));
        fixture.server.begin_drain(PATIENCE);
        assert_eq!(each[0].read(&mut [0]).expect("closed gracefully"), 0);
        drop(each);
        let mut late = dial(fixture.server.local_addr());
        let held = held.let_go();
        late.read_exact(&mut [0]).expect("a greeting: the backlog is accepted in a drain");
        drop((held, late));
        fixture.ends_well();
    }
}

/// The port is free once the listeners are closed, while sessions of the drain still last.
#[cfg(unix)]
#[test]
fn a_drain_frees_the_port_before_the_last_session_ends() {
    for choice in backends() {
        let fixture = start(loopback().workers(2).linger_timeout(PATIENCE), choice);
        let mut each = fixture.one_each();
        let (held, _) = fixture.block(each.remove(0));
        // It is seen to be blocked: the monitor accepts from its listener.
        let (late, worker) = greeted(fixture.server.local_addr());
        assert_eq!(worker, 1);
        let mut held = held.let_go();
        fixture.server.begin_drain(PATIENCE);
        assert_eq!(held.read(&mut [0]).expect("closed gracefully"), 0);
        // The server waits for this client's FIN, and its worker, which has the listener, with it.
        eventually_within(PATIENCE / 2, &format!("{choice:?}: nobody has the port"), || {
            TcpListener::bind(fixture.server.local_addr()).is_ok()
        });
        drop((held, each, late));
        fixture.ends_well();
    }
}
