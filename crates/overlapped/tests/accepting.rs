//! Connections as they arrive, on the real backends: listeners with tokens, and a handler that may refuse.
#![cfg_attr(windows, allow(dead_code, reason = "accepting moves away from a blocked worker on Unix alone"))]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use overlapped::events::Rejection;
use overlapped::{
    Admission, Choice, CloseReason, Closed, Handler, Incoming, Lease, OnPanic, Origin, Server, ServerHandle,
    Session, WorkerContext,
};
use overlapped_testing::{PATIENCE, dial, eventually, read_to_end};

use common::backends;

const FULL: &[u8] = b"server full\n";

/// Greets with its worker and the token of the listener. Refuses on listener 9 and panics on listener 13.
struct Greets {
    seen: Arc<Seen>,
}

struct Seen {
    asked: Mutex<Sender<(usize, u64, SocketAddr, SocketAddr)>>,
    closed: Mutex<Sender<Closed>>,
    /// Given what lets a callback go on that blocks.
    blocked: Mutex<Sender<Sender<()>>>,
}

struct Heard {
    asked: Receiver<(usize, u64, SocketAddr, SocketAddr)>,
    closed: Receiver<Closed>,
    blocked: Receiver<Sender<()>>,
}

impl Handler for Greets {
    type State = ();
    type Message = ();

    fn on_accept(
        &mut self,
        worker: &mut WorkerContext<'_, Self::State>,
        incoming: &Incoming<'_>,
    ) -> Admission {
        let (peer, local) =
            (incoming.peer_addr().expect("it waits"), incoming.local_addr().expect("it is open"));
        let seen = (worker.index(), incoming.listener(), peer, local);
        self.seen.asked.lock().unwrap().send(seen).expect("the test hears of it");
        assert_ne!(incoming.listener(), 13, "a mistake in a handler");
        match incoming.listener() {
            9 => Admission::refuse(FULL),
            _ if incoming.limit_reached() == Some(Rejection::SessionLimit) => Admission::refuse("no room\n"),
            _ => Admission::Admit,
        }
    }

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) {
        let listener = session.listener().expect("it was accepted");
        session.send(vec![session.id().worker() as u8, listener as u8]);
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), data: Lease) {
        if data[0] == b'B' {
            let (go, wait) = channel();
            self.seen.blocked.lock().unwrap().send(go).expect("the test hears of it");
            // A test that failed lets go, too: its end is dropped. Longer than a test waits for anything.
            let _ = wait.recv_timeout(3 * PATIENCE);
        }
        session.close_with(u32::from(data[0]));
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_, Self::State>, closed: Closed, (): ()) {
        let _ = self.seen.closed.lock().unwrap().send(closed);
    }
}

fn start(server: Server, choice: Choice) -> (ServerHandle, Heard) {
    let ((asked, heard_asked), (closed, heard_closed), (blocked, heard_blocked)) =
        (channel(), channel(), channel());
    let (asked, closed, blocked) = (Mutex::new(asked), Mutex::new(closed), Mutex::new(blocked));
    let seen = Arc::new(Seen { asked, closed, blocked });
    let server = server.backend(choice).start(move |_worker| Greets { seen: Arc::clone(&seen) });
    let heard = Heard { asked: heard_asked, closed: heard_closed, blocked: heard_blocked };
    (server.expect("it starts"), heard)
}

/// A connection, and the worker and the listener that greeted it.
fn greeted(address: SocketAddr) -> (TcpStream, [u8; 2]) {
    let mut client = dial(address);
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting).expect("somebody greets it");
    (client, greeting)
}

fn elsewhere() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn each_session_knows_its_listener() {
    for choice in backends() {
        for workers in [1, 3] {
            let server = Server::from(elsewhere()).listener_token(1);
            let server = server.also_bind("127.0.0.1:0").unwrap().listener_token(2);
            let server = server.also_listen(elsewhere()).listener_token(3);
            // None is given: 0.
            let server = server.also_bind("127.0.0.1:0").unwrap().also_listen(elsewhere()).workers(workers);
            let (server, heard) = start(server, choice);
            let tokens = [1, 2, 3, 0, 0];
            assert_eq!(server.local_addrs().len(), tokens.len());
            for (address, token) in server.local_addrs().iter().zip(tokens) {
                let (mut client, [_, listener]) = greeted(*address);
                assert_eq!(u64::from(listener), token, "{choice:?}");
                let here = client.local_addr().unwrap();
                let (_, listener, peer, local) = heard.asked.recv_timeout(PATIENCE).unwrap();
                assert_eq!((listener, peer, local), (token, here, *address), "{choice:?}");
                client.write_all(b"x").unwrap();
                assert_eq!(read_to_end(&mut client), b"");
                drop(client);
                let closed = heard.closed.recv_timeout(PATIENCE).unwrap();
                assert_eq!((closed.peer, closed.listener()), (Some(here), Some(token)), "{choice:?}");
                assert_eq!(closed.origin, Origin::Accepted { listener: token });
                assert_eq!(closed.reason, CloseReason::ClosedWith(u32::from(b'x')));
                assert_eq!((closed.received, closed.sent), (1, 2), "{choice:?}");
            }
            server.drain(PATIENCE).unwrap();
        }
    }
}

/// Who is refused reads the last word and an end of stream, and no reset, although it has spoken before.
#[test]
fn who_is_refused_reads_a_last_word() {
    for choice in backends() {
        let server = Server::bind("127.0.0.1:0").unwrap().max_sessions(1);
        let server = server.also_bind("127.0.0.1:0").unwrap().listener_token(9).workers(2);
        let (server, _heard) = start(server, choice);
        let [open, closed] = server.local_addrs() else { panic!("two were bound") };
        let (stays, _) = greeted(*open);
        for (address, word) in [(closed, FULL), (open, b"no room\n")] {
            for _ in 0..20 {
                let mut client = dial(*address);
                client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                let mut read = Vec::new();
                client.read_to_end(&mut read).expect("an end and no reset");
                // At the limit its word is asked for on every listener.
                assert_eq!(read, word, "{choice:?}");
            }
        }
        // Counters are published at the end of a turn.
        eventually("all are counted", || server.stats().sessions_rejected == 40);
        drop(stays);
        server.drain(PATIENCE).unwrap();
    }
}

#[test]
fn a_handler_that_panics_over_a_connection_turns_it_away() {
    for choice in backends() {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let server = server.also_bind("127.0.0.1:0").unwrap().listener_token(13).workers(1);
        let (server, _heard) = start(server.on_panic(OnPanic::AbortSession), choice);
        let [open, broken] = server.local_addrs() else { panic!("two were bound") };
        let mut client = dial(*broken);
        client.write_all(b"hello").unwrap();
        assert_eq!(client.read(&mut [0; 8]).expect("an end and no reset"), 0, "{choice:?}");
        greeted(*open);
        eventually("the counts", || {
            let stats = server.stats();
            (stats.panics, stats.sessions_rejected, stats.sessions_opened) == (1, 1, 1)
        });
        server.drain(PATIENCE).unwrap();
    }
}

/// While the worker that owns a listener is blocked, another one is asked; the connection keeps its listener's token.
#[cfg(unix)] // on Windows the accepts in flight belong to the blocked worker's port
#[test]
fn for_a_blocked_worker_another_is_asked() {
    for choice in backends() {
        // The second listener belongs to the second worker.
        let server = Server::bind("127.0.0.1:0").unwrap().listener_token(5);
        let server = server.also_bind("127.0.0.1:0").unwrap().listener_token(6).workers(2);
        let (server, heard) = start(server, choice);
        let mut each = [greeted(server.local_addrs()[0]), greeted(server.local_addrs()[1])];
        each.sort_by_key(|(_, [worker, _])| *worker);
        let [other, (mut blocks, [1, _])] = each else { panic!("one on each worker") };
        let asked: Vec<_> = (0..2).map(|_| heard.asked.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(
            asked.iter().map(|(worker, token, ..)| (*worker, *token)).collect::<Vec<_>>(),
            [(0, 5), (1, 6)]
        );
        blocks.write_all(b"B").unwrap();
        let go = heard.blocked.recv_timeout(PATIENCE).expect("it blocks");
        let (late, greeting) = greeted(server.local_addrs()[1]);
        assert_eq!(greeting, [0, 6], "{choice:?}");
        let (worker, token, peer, _) = heard.asked.recv_timeout(PATIENCE).unwrap();
        assert_eq!((worker, token, peer), (0, 6, late.local_addr().unwrap()), "{choice:?}");
        drop((go, other, late, blocks));
        server.drain(PATIENCE).unwrap();
    }
}
