//! The public API on the real backends, from outside, with plain sockets at the other end.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use overlapped::{
    Bytes, Choice, CloseReason, Closed, Error, Handler, Lease, Sent, Server, ServerHandle, Session,
    SessionHandle, SessionId, WorkerContext,
};
use overlapped_testing::{PATIENCE, dial, eventually};

use common::backends;

/// Tells the test what it is called for; echoes.
struct Reporter {
    tell: Sender<SessionEvent>,
}

enum SessionEvent {
    Opened(SessionHandle),
    Message(u32, usize),
    ConnectFailed(u64, ErrorKind),
    Closed(SessionId, CloseReason),
}

enum Ask {
    Number(u32),
    Connect(SocketAddr, u64),
}

impl Handler for Reporter {
    type State = ();
    type Message = Ask;

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) {
        let _ = self.tell.send(SessionEvent::Opened(session.handle()));
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), data: Lease) {
        if !session.is_outbound() {
            session.send(data);
        }
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Self::State>, message: Ask) {
        match message {
            Ask::Number(number) => {
                let _ = self.tell.send(SessionEvent::Message(number, worker.index()));
            }
            Ask::Connect(address, token) => worker.connect(address, token),
        }
    }

    fn on_connect_failed(
        &mut self,
        _worker: &mut WorkerContext<'_, Self::State>,
        token: u64,
        error: &std::io::Error,
    ) {
        let _ = self.tell.send(SessionEvent::ConnectFailed(token, error.kind()));
    }

    fn on_close(
        &mut self,
        _: &mut WorkerContext<'_, Self::State>,
        Closed { id: session, reason, .. }: Closed,
        _state: (),
    ) {
        let _ = self.tell.send(SessionEvent::Closed(session, reason));
    }
}

struct Fixture {
    server: ServerHandle<Ask>,
    events: Receiver<SessionEvent>,
    workers: Vec<overlapped::WorkerHandle<Ask>>,
}

fn start(choice: Choice, workers: usize) -> Fixture {
    let (tell, events) = channel();
    let (give, workers_given) = channel();
    let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(workers);
    let server = server.connect_timeout(Some(Duration::from_millis(300)));
    let server = server.start(move |worker| {
        let _ = give.send(worker);
        Reporter { tell: tell.clone() }
    });
    let server = server.expect("it starts");
    let mut workers: Vec<_> = workers_given.try_iter().collect();
    workers.sort_by_key(overlapped::WorkerHandle::index);
    Fixture { server, events, workers }
}

impl Fixture {
    fn next_event(&self) -> SessionEvent {
        self.events.recv_timeout(PATIENCE).expect("the handler is called")
    }

    fn opened(&self) -> SessionHandle {
        match self.next_event() {
            SessionEvent::Opened(handle) => handle,
            _ => panic!("something else happened"),
        }
    }
}

#[test]
fn handles_reach_sessions_from_other_threads() {
    for choice in backends() {
        let fixture = start(choice, 2);
        let mut client = dial(fixture.server.local_addr());
        let handle = fixture.opened();
        let threads: Vec<_> = (0..4u8)
            .map(|thread| {
                let handle = handle.clone();
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        assert_eq!(handle.send(vec![thread; 50]), Sent::Ok);
                    }
                })
            })
            .collect();
        let mut got = vec![0; 4 * 100 * 50];
        client.read_exact(&mut got).unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        for thread in 0..4u8 {
            assert_eq!(got.iter().filter(|byte| **byte == thread).count(), 5000);
        }
        handle.close().unwrap();
        assert_eq!(client.read(&mut got).unwrap(), 0);
        drop(client);
        assert!(
            matches!(fixture.next_event(), SessionEvent::Closed(id, CloseReason::Local) if id == handle.id())
        );
        assert_eq!(handle.send("too late"), Sent::Closed);
        fixture.server.drain(PATIENCE).unwrap();
    }
}

#[test]
fn messages_reach_every_worker_and_one_buffer_every_session() {
    for choice in backends() {
        let fixture = start(choice, 2);
        for (index, worker) in fixture.workers.iter().enumerate() {
            worker.post(Ask::Number(7)).unwrap();
            assert!(matches!(fixture.next_event(), SessionEvent::Message(7, at) if at == index));
        }
        let mut clients: Vec<TcpStream> = (0..6).map(|_| dial(fixture.server.local_addr())).collect();
        let ids: Vec<SessionId> = clients.iter().map(|_| fixture.opened().id()).collect();
        assert_eq!(ids.iter().filter(|id| id.worker() == 0).count(), 3, "fewest sessions first");
        let bytes = Bytes::from(vec![9; 100_000]);
        assert_eq!(fixture.workers[0].broadcast_to(&ids, &bytes), 0);
        for client in &mut clients {
            let mut got = vec![0; bytes.len()];
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, bytes);
        }
        drop(clients);
        let report = fixture.server.drain(PATIENCE).unwrap();
        assert_eq!((report.cut, report.bytes_lost), (0, 0));
    }
}

#[test]
fn sessions_are_opened_outwards() {
    for choice in backends() {
        let fixture = start(choice, 1);
        let here = fixture.server.local_addr();
        fixture.workers[0].post(Ask::Connect(here, 1)).unwrap();
        let (one, other) = (fixture.opened(), fixture.opened());
        assert_ne!(one.id(), other.id());
        // A port without a listener: that of a closed one.
        let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        fixture.workers[0].post(Ask::Connect(nowhere, 2)).unwrap();
        assert!(matches!(fixture.next_event(), SessionEvent::ConnectFailed(2, ErrorKind::ConnectionRefused)));
        one.close().unwrap();
        assert!(matches!(fixture.next_event(), SessionEvent::Closed(..)));
        assert!(matches!(fixture.next_event(), SessionEvent::Closed(..)));
        eventually("nothing is left but the accept", || fixture.server.stats().sessions == 0);
        fixture.server.drain(PATIENCE).unwrap();
    }
}

/// No stream leads to a broadcast address: `ip(7)`, `ENETUNREACH`. Unreachable is neither refused nor timed out.
#[cfg(target_os = "linux")]
#[test]
fn a_connect_to_where_no_way_leads_says_so() {
    for choice in backends() {
        let fixture = start(choice, 1);
        fixture.workers[0].post(Ask::Connect("255.255.255.255:9".parse().unwrap(), 3)).unwrap();
        assert!(matches!(
            fixture.next_event(),
            SessionEvent::ConnectFailed(3, ErrorKind::NetworkUnreachable)
        ));
        fixture.server.drain(PATIENCE).unwrap();
        assert_eq!(fixture.server.stats().in_flight, 0, "INV-2");
    }
}

/// A full backlog does not answer: the connect times out, which is not the same as being refused.
#[cfg(target_os = "linux")]
#[test]
fn a_connect_that_nobody_answers_times_out() {
    let full =
        proactor::listen("127.0.0.1:0".parse().unwrap(), proactor::ListenOptions { backlog: 0 }).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _taken = TcpStream::connect(address).expect("the one place there is");
    for choice in backends() {
        let fixture = start(choice, 1);
        fixture.workers[0].post(Ask::Connect(address, 7)).unwrap();
        assert!(matches!(fixture.next_event(), SessionEvent::ConnectFailed(7, ErrorKind::TimedOut)));
        eventually("the failure is counted", || fixture.server.stats().connects_failed == 1);
        fixture.server.drain(PATIENCE).unwrap();
        assert_eq!(fixture.server.stats().in_flight, 0, "INV-2");
    }
}

#[test]
fn a_drain_answers_what_was_sent_and_reports() {
    for choice in backends() {
        let fixture = start(choice, 2);
        let clients: Vec<TcpStream> = (0..20).map(|_| dial(fixture.server.local_addr())).collect();
        let bytes: Vec<u8> = (0..200_000).map(|at| (at % 253) as u8).collect();
        let readers: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let bytes = bytes.clone();
                std::thread::spawn(move || {
                    let mut writing = client.try_clone().unwrap();
                    let wanted = bytes.clone();
                    let writer = std::thread::spawn(move || writing.write_all(&bytes).is_ok());
                    let mut got = Vec::new();
                    client.read_to_end(&mut got).expect("an end of stream, not a reset");
                    // All of it was on its way before the drain began.
                    assert!(writer.join().unwrap());
                    assert!(got == wanted, "{} of {} bytes", got.len(), wanted.len());
                })
            })
            .collect();
        eventually("all bytes are received", || fixture.server.stats().bytes_received == 20 * 200_000);
        let report = fixture.server.drain(PATIENCE).unwrap();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!((report.drained, report.cut, report.bytes_lost), (20, 0, 0));
        let stats = fixture.server.stats();
        assert_eq!((stats.sessions, stats.in_flight, stats.blocks_in_use), (0, 0, 0), "INV-1, INV-2");
        assert!(TcpStream::connect(fixture.server.local_addr()).is_err(), "the port is free again");
    }
}

#[test]
fn a_deadline_cuts_and_says_so() {
    for choice in backends() {
        let fixture = start(choice, 1);
        let mut client = dial(fixture.server.local_addr());
        client.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        // It writes until nothing moves any more, and never reads.
        while client.write(&[1; 65536]).is_ok() {}
        let report = fixture.server.drain(Duration::from_millis(50)).unwrap();
        assert_eq!((report.drained, report.cut), (0, 1));
        assert!(report.bytes_lost > 0);
    }
}

struct Fragile;

impl Handler for Fragile {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) {}

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), data: Lease) {
        assert_ne!(data[0], b'!', "a mistake in a handler");
        session.send(data);
    }
}

#[test]
fn a_panicking_handler_loses_that_session_only() {
    for choice in backends() {
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
        let server = server.start(|_worker| Fragile).unwrap();
        let (mut good, mut bad) = (dial(server.local_addr()), dial(server.local_addr()));
        bad.write_all(b"!").unwrap();
        assert!(bad.read(&mut [0; 8]).is_err(), "a reset");
        good.write_all(b"fine").unwrap();
        let mut got = [0; 4];
        good.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"fine");
        eventually("the panic is counted", || server.stats().sessions_panicked == 1);
        drop(good);
        server.drain(PATIENCE).unwrap();
    }
}

#[test]
fn a_factory_that_panics_is_an_error_of_start() {
    for choice in backends() {
        let made = AtomicUsize::new(0);
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(3);
        let result = server.start(move |_worker| {
            assert!(made.fetch_add(1, Ordering::Relaxed) < 2, "no handler for you");
            Fragile
        });
        match result {
            Err(error @ Error::Worker { .. }) => {
                assert!(error.to_string().contains("no handler for you"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let server = || Server::bind("127.0.0.1:0").unwrap();
    let refused = |server: Server| match server.start(|_worker| Fragile) {
        Err(Error::Config { .. }) => {}
        other => panic!("{other:?}"),
    };
    refused(server().workers(0));
    refused(server().workers(100_000));
    refused(server().max_sessions(0));
    refused(server().low_water(70_000));
    refused(server().hard_limit(10));
    refused(server().pool(0, 4096));
    refused(server().pool(16, 0));
    refused(server().mailbox(0));
    let taken = server();
    match Server::bind(taken.local_addrs()[0]) {
        Err(error @ Error::Bind { .. }) => assert!(error.to_string().contains("another port"), "{error}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two servers on one port"),
    }
    assert!(matches!(Server::bind("no port"), Err(Error::Resolve { .. })));
}

#[test]
fn a_half_closed_peer_gets_its_tail() {
    for choice in backends() {
        let fixture = start(choice, 1);
        let mut client = dial(fixture.server.local_addr());
        let handle = fixture.opened();
        let mut writing = client.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            writing.write_all(&[3; 300_000]).unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        writer.join().unwrap();
        assert_eq!(got.len(), 300_000);
        assert!(
            matches!(fixture.next_event(), SessionEvent::Closed(id, CloseReason::EndOfStream) if id == handle.id())
        );
        fixture.server.drain(PATIENCE).unwrap();
    }
}

/// Sends once, when it is opened, and closes in `on_writable`.
struct Sends {
    bytes: usize,
    close_when_writable: bool,
}

impl Handler for Sends {
    type State = ();
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) {
        session.send(vec![7; self.bytes]);
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), data: Lease) {
        session.send(data);
    }

    fn on_writable(&mut self, session: &mut Session<'_, Self::State>, _state: &mut ()) {
        if self.close_when_writable {
            session.close();
        }
    }
}

/// However much of it the kernel takes at once: the handler saw that it was above the mark.
#[test]
fn who_was_above_the_high_water_mark_is_told_of_room() {
    for choice in backends() {
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1);
        let server = server.start(|_worker| Sends { bytes: 1 << 20, close_when_writable: true }).unwrap();
        let mut got = Vec::new();
        dial(server.local_addr()).read_to_end(&mut got).expect("events, it closes");
        assert_eq!(got.len(), 1 << 20, "{choice:?}");
        server.drain(PATIENCE).unwrap();
    }
}

/// The write deadline is for peers that do not read. One that reads a large payload slowly does.
#[test]
fn a_slow_reader_of_a_large_payload_is_not_taken_for_one_that_does_not_read() {
    const BYTES: usize = 16 << 20;
    for choice in backends() {
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1).hard_limit(2 * BYTES);
        let server = server.write_timeout(Some(Duration::from_millis(250)));
        let server = server.start(|_worker| Sends { bytes: BYTES, close_when_writable: false }).unwrap();
        let mut client = dial(server.local_addr());
        let (mut got, mut piece) = (0, vec![0; 64 << 10]);
        while got < BYTES {
            got += client.read(&mut piece).expect("it is not cut");
            // Slow, and never silent: several times the deadline in all.
            std::thread::sleep(Duration::from_millis(4));
        }
        drop(client);
        server.drain(PATIENCE).unwrap();
        assert_eq!(server.stats().sessions_timed_out, 0, "{choice:?}");
    }
}

/// What a ring may bring in of one session at a time grows with the blocks; the default limit does too.
#[test]
fn large_blocks_do_not_overflow_the_default_limit() {
    for choice in backends() {
        let server = Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(1).pool(64, 256 << 10);
        let server = server.start(|_worker| Sends { bytes: 0, close_when_writable: false }).unwrap();
        let mut client = dial(server.local_addr());
        let mut writing = client.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            writing.write_all(&vec![3; 16 << 20]).expect("it is not cut");
            writing.shutdown(Shutdown::Write).unwrap();
        });
        // All that the kernels and the server take is in before the first byte is read back.
        let (mut taken, mut since) = (0, Instant::now());
        eventually("it takes no more", || {
            let now = server.stats().bytes_received;
            if now != taken {
                (taken, since) = (now, Instant::now());
            }
            taken > 0 && since.elapsed() > Duration::from_millis(100)
        });
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("an end of stream");
        writer.join().unwrap();
        assert_eq!(got.len(), 16 << 20, "{choice:?}");
        server.drain(PATIENCE).unwrap();
    }
}
