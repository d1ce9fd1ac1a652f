//! Outbound connections of servers without listeners, on the real backends of this system.

mod common;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use overlapped::{Choice, Closed, Connect, Handler, Lease, Server, ServerHandle, Session, WorkerContext};
use overlapped_testing::{PATIENCE, expect_bytes, expect_end, with_timeouts};

use common::backends;

/// What a client reports.
#[derive(Debug)]
#[cfg_attr(windows, allow(dead_code, reason = "fewer cases run there"))]
enum ClientEvent {
    Opened { token: u64, peer: SocketAddr, local: SocketAddr },
    Failed { token: u64, kind: ErrorKind, message: String },
    Closed(u64),
}

/// Connects to all targets when it starts: the token is the target's index. Greets each. A message cancels a connect.
struct Client {
    targets: Vec<Connect>,
    tell: Sender<ClientEvent>,
}

impl Client {
    fn tell(&self, told: ClientEvent) {
        let _ = self.tell.send(told);
    }
}

impl Handler for Client {
    type State = u64;
    type Message = u64;

    fn on_start(&mut self, worker: &mut WorkerContext<'_, Self::State>) {
        for (target, token) in self.targets.iter().zip(0..) {
            worker.connect(target.clone(), token);
        }
    }

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) -> u64 {
        let token = session.token().expect("all sessions are outbound");
        let (peer, local) = (session.peer_addr().unwrap(), session.local_addr().unwrap());
        session.send("hello");
        self.tell(ClientEvent::Opened { token, peer, local });
        token
    }

    fn on_data(&mut self, _session: &mut Session<'_, Self::State>, _token: &mut u64, _data: Lease) {}

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Self::State>, token: u64) {
        assert_eq!(worker.cancel_connect(token), 1);
    }

    fn on_connect_failed(
        &mut self,
        _worker: &mut WorkerContext<'_, Self::State>,
        token: u64,
        error: &io::Error,
    ) {
        self.tell(ClientEvent::Failed { token, kind: error.kind(), message: error.to_string() });
    }

    fn on_close(&mut self, _worker: &mut WorkerContext<'_, Self::State>, _closed: Closed, token: u64) {
        self.tell(ClientEvent::Closed(token));
    }
}

fn start(choice: Choice, targets: Vec<Connect>) -> (ServerHandle<u64>, Receiver<ClientEvent>) {
    let (tell, told) = channel();
    let server = Server::without_listeners().backend(choice).workers(1);
    let server = server.start(move |_| Client { targets: targets.clone(), tell: tell.clone() });
    (server.unwrap(), told)
}

fn next(told: &Receiver<ClientEvent>) -> ClientEvent {
    told.recv_timeout(PATIENCE).expect("an answer")
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn a_server_without_listeners_connects_counts_and_drains() {
    for choice in backends() {
        let (listener, address) = listener();
        let (tell, told) = channel();
        let server = Server::without_listeners().backend(choice).workers(3);
        let server = server
            .start(move |_| Client { targets: vec![Connect::to(address)], tell: tell.clone() })
            .unwrap();
        assert_eq!((server.local_addrs(), server.workers().len()), (&[][..], 3));
        let peers: Vec<_> = (0..3).map(|_| with_timeouts(listener.accept().unwrap().0, PATIENCE)).collect();
        for peer in &peers {
            expect_bytes(peer, b"hello");
            assert!(matches!(next(&told), ClientEvent::Opened { token: 0, peer, .. } if peer == address));
        }
        let ends = std::thread::spawn(move || peers.into_iter().for_each(expect_end));
        let report = server.drain(PATIENCE).unwrap();
        ends.join().unwrap();
        assert_eq!((report.drained, report.cut, report.bytes_lost), (3, 0, 0));
        assert_eq!((server.stats().sessions_closed, server.stats().in_flight), (3, 0));
    }
}

/// There is no backlog to wait for.
#[test]
fn a_drain_with_nothing_to_drain_ends_at_once() {
    for choice in backends() {
        let (server, _told) = start(choice, Vec::new());
        let began = Instant::now();
        server.drain(PATIENCE * 10).unwrap();
        assert!(began.elapsed() < PATIENCE);
    }
}

#[test]
fn a_server_without_listeners_has_no_address() {
    let (server, _told) = start(backends()[0], Vec::new());
    let address = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.local_addr()));
    let message = *address.expect_err("none").downcast::<String>().expect("text");
    assert!(message.contains("without listeners"), "{message}");
    server.drain(PATIENCE).unwrap();
}

/// `localhost` may have an address that nobody listens on; a name that no resolver is asked for is an error.
#[test]
fn names_are_resolved_and_errors_name_them() {
    for choice in backends() {
        let (listener, address) = listener();
        let targets = vec![Connect::to(("localhost", address.port())), Connect::to("no\0name:80")];
        let (server, told) = start(choice, targets);
        let mut failed = false;
        for _ in 0..2 {
            match next(&told) {
                ClientEvent::Opened { token: 0, peer, .. } => assert_eq!(peer, address),
                ClientEvent::Failed { token: 1, message, .. } => {
                    failed = true;
                    assert!(message.contains("no\0name:80"), "{message:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(failed);
        expect_bytes(with_timeouts(listener.accept().unwrap().0, PATIENCE), b"hello");
        assert!(matches!(next(&told), ClientEvent::Closed(0)));
        server.drain(PATIENCE).unwrap();
        assert_eq!(server.stats().connects_failed, 1);
    }
}

#[test]
fn a_connect_begins_later() {
    const DELAY: Duration = Duration::from_millis(100);
    for choice in backends() {
        let (listener, address) = listener();
        let began = Instant::now();
        let (server, told) = start(choice, vec![Connect::to(address).after(DELAY)]);
        assert!(matches!(next(&told), ClientEvent::Opened { token: 0, .. }));
        assert!(began.elapsed() >= DELAY, "never earlier");
        drop(listener);
        server.drain(PATIENCE).unwrap();
    }
}

/// A refused address costs no time.
#[test]
fn the_next_address_is_tried_at_once_when_one_refuses() {
    for choice in backends() {
        let (listener, address) = listener();
        let refused = self::listener().1;
        let target = Connect::to(vec![refused, address]).stagger(PATIENCE * 10).deadline(PATIENCE * 10);
        let (server, told) = start(choice, vec![target]);
        assert!(matches!(next(&told), ClientEvent::Opened { token: 0, peer, .. } if peer == address));
        drop(listener);
        server.drain(PATIENCE).unwrap();
    }
}

/// Loopback has more than one address only there, and a full backlog answers nothing only there.
#[cfg(target_os = "linux")]
mod linux {
    use std::net::TcpStream;

    use super::*;

    /// A listener whose backlog is full.
    fn full() -> (proactor::Socket, TcpStream, SocketAddr) {
        let any = "127.0.0.1:0".parse().unwrap();
        let full = proactor::listen(any, proactor::ListenOptions { backlog: 0 }).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let taken = TcpStream::connect(address).expect("the one place there is");
        (full, taken, address)
    }

    #[test]
    fn an_address_that_does_not_answer_is_passed_over_after_the_stagger() {
        const STAGGER: Duration = Duration::from_millis(100);
        let (_full, _taken, silent) = full();
        for choice in backends() {
            let (listener, address) = listener();
            let began = Instant::now();
            let (server, told) = start(choice, vec![Connect::to(vec![silent, address]).stagger(STAGGER)]);
            assert!(matches!(next(&told), ClientEvent::Opened { token: 0, peer, .. } if peer == address));
            assert!(began.elapsed() >= STAGGER, "not before");
            expect_bytes(with_timeouts(listener.accept().unwrap().0, PATIENCE), b"hello");
            assert!(matches!(next(&told), ClientEvent::Closed(0)));
            server.drain(PATIENCE).unwrap();
            assert_eq!(server.stats().in_flight, 0, "INV-2: the other attempt is released");
        }
    }

    #[test]
    fn a_connect_that_nobody_answers_can_be_cancelled_and_has_its_own_deadline() {
        let (_full, _taken, silent) = full();
        for choice in backends() {
            let targets = vec![
                Connect::to(silent).deadline(None),
                Connect::to(silent).deadline(Duration::from_millis(50)),
            ];
            let (server, told) = start(choice, targets);
            assert!(matches!(next(&told), ClientEvent::Failed { token: 1, kind: ErrorKind::TimedOut, .. }));
            server.post(0, 0).unwrap();
            assert!(matches!(
                next(&told),
                ClientEvent::Failed { token: 0, kind: ErrorKind::Interrupted, .. }
            ));
            server.drain(PATIENCE).unwrap();
            assert_eq!((server.stats().in_flight, server.stats().connects_failed), (0, 2));
            assert!(told.try_recv().is_err(), "one answer each");
        }
    }

    #[test]
    fn the_peer_sees_the_local_address_that_was_given() {
        for choice in backends() {
            let (listener, address) = listener();
            let targets = vec![
                Connect::to(address).local_addr(([127, 0, 0, 3], 0)),
                Connect::to(address).local_addr(([192, 0, 2, 1], 0)),
            ];
            let (server, told) = start(choice, targets);
            let mut seen = None;
            for _ in 0..2 {
                match next(&told) {
                    ClientEvent::Opened { token: 0, local, .. } => seen = Some(local),
                    ClientEvent::Failed { token: 1, kind: ErrorKind::AddrNotAvailable, .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            let (_stream, peer) = listener.accept().unwrap();
            assert_eq!((Some(peer), peer.ip().to_string().as_str()), (seen, "127.0.0.3"));
            server.begin_drain(Duration::ZERO);
            server.wait().unwrap();
        }
    }
}
