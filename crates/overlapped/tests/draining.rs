//! Drains on the real backends: what a session owes arrives, or is counted; a relay drains as one; `on_drain` is
//! called for each session.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use overlapped::{
    Choice, DrainReport, Handler, Lease, Owed, Sent, Server, ServerHandle, Session, SessionId, WorkerContext,
};
use overlapped_testing::{PATIENCE, dial, eventually, expect_bytes, read_to_end};

use common::backends;

/// Rounds per backend: each drain meets another moment.
const ROUNDS: u64 = 20;

/// Gives each question, with its guard, to a thread of the test, and says goodbye.
struct Asks(Sender<(Owed, Vec<u8>)>);

impl Handler for Asks {
    type State = ();
    /// An answer, to be sent by the handler.
    type Message = (Owed, &'static str);

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) {}

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), data: Lease) {
        self.0.send((session.owe(), data.to_vec())).expect("the test waits for it");
    }

    fn on_drain(&mut self, session: &mut Session<'_, Self::State>, _state: &mut ()) {
        session.send("bye ");
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Self::State>, (owed, answer): Self::Message) {
        worker.send(owed.id(), answer);
    }
}

type Asked = (ServerHandle<(Owed, &'static str)>, TcpStream, Owed);

/// A server on `backend`, a client that has asked, and what the server owes it.
fn asked(backend: Choice) -> (Asked, Receiver<(Owed, Vec<u8>)>) {
    let (give, questions) = channel();
    let server = Server::bind("127.0.0.1:0").unwrap().workers(2).backend(backend);
    let server = server.start(move |_| Asks(give.clone())).unwrap();
    let mut client = dial(server.local_addr());
    client.write_all(b"question").unwrap();
    let (owed, _) = questions.recv_timeout(PATIENCE).expect("it was received");
    ((server, client, owed), questions)
}

/// Begins to drain, and waits until the session was told.
fn begin_drain(server: &ServerHandle<(Owed, &'static str)>, client: &TcpStream, limit: Duration) {
    server.begin_drain(limit);
    expect_bytes(client, b"bye ");
}

fn end(server: &ServerHandle<(Owed, &'static str)>) -> DrainReport {
    server.drain(PATIENCE).unwrap()
}

#[test]
fn an_answer_of_another_thread_arrives_in_a_drain() {
    for backend in backends() {
        for round in 0..ROUNDS {
            let ((server, mut client, owed), _questions) = asked(backend);
            begin_drain(&server, &client, PATIENCE);
            let handle = server.clone();
            let answers = thread::spawn(move || {
                if round % 2 == 0 {
                    assert_eq!(owed.send("ANSWER"), Sent::Ok);
                } else {
                    let worker = owed.id().worker();
                    handle.post(worker, (owed, "ANSWER")).unwrap();
                }
            });
            assert_eq!(read_to_end(&mut client), b"ANSWER", "{backend:?}");
            drop(client);
            answers.join().unwrap();
            let report = end(&server);
            let wanted = reported(1, 0, 0);
            assert_eq!(report, wanted, "{backend:?}");
        }
    }
}

#[test]
fn an_answer_that_comes_too_late_is_cut_and_counted() {
    for backend in backends() {
        let ((server, mut client, owed), questions) = asked(backend);
        client.write_all(b"another").unwrap();
        let another = questions.recv_timeout(PATIENCE).expect("it was received");
        begin_drain(&server, &client, Duration::from_millis(50));
        server.wait().unwrap();
        assert_eq!((owed.send("late"), another.0.send("late")), (Sent::Closed, Sent::Closed));
        let wanted = reported(0, 1, 2);
        assert_eq!(end(&server), wanted, "{backend:?}");
        assert_ne!(client.read(&mut [0]).unwrap_or(0), 1, "no answer comes: {backend:?}");
    }
}

/// No deadline is waited for, and no other event wakes the worker: the guard does.
#[test]
fn a_guard_that_is_dropped_ends_the_drain_at_once() {
    for backend in backends() {
        for _ in 0..ROUNDS {
            let ((server, mut client, owed), _questions) = asked(backend);
            begin_drain(&server, &client, 10 * PATIENCE);
            let began = Instant::now();
            drop(owed);
            assert_eq!(read_to_end(&mut client), b"", "{backend:?}");
            drop(client);
            assert_eq!(end(&server), reported(1, 0, 0), "{backend:?}");
            assert!(began.elapsed() < PATIENCE, "{backend:?}");
        }
    }
}

#[test]
fn a_client_that_has_sent_all_gets_its_answer() {
    for backend in backends() {
        let ((server, mut client, owed), _questions) = asked(backend);
        client.shutdown(Shutdown::Write).unwrap();
        let handle = owed.handle().clone();
        assert!(!handle.is_closed());
        let answers = thread::spawn(move || assert_eq!(owed.send("ANSWER"), Sent::Ok));
        assert_eq!(read_to_end(&mut client), b"ANSWER", "{backend:?}");
        answers.join().unwrap();
        server.drain(PATIENCE).unwrap();
    }
}

/// Joins two sessions: what one receives, the other sends.
struct Pair(Option<SessionId>);

impl Handler for Pair {
    type State = Option<SessionId>;
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) -> Option<SessionId> {
        let here = session.id();
        let first = self.0.replace(here)?;
        session.feed(first);
        let mut worker = session.worker();
        let (mut other, state) = worker.session(first).expect("it is open");
        other.feed(here);
        *state = Some(here);
        Some(first)
    }

    fn on_data(
        &mut self,
        session: &mut Session<'_, Self::State>,
        other: &mut Option<SessionId>,
        data: Lease,
    ) {
        other.map(|other| session.worker().send(other, data));
    }

    fn on_half_close(&mut self, session: &mut Session<'_, Self::State>, other: &mut Option<SessionId>) {
        let Some(mut other) = other.and_then(|other| session.sibling(other)) else { return };
        other.finish();
    }
}

/// A relay that owes nothing by name: that one side feeds the other is enough.
#[test]
fn the_parts_of_a_slow_answer_pass_a_relay_in_a_drain() {
    const PARTS: u8 = 5;
    for backend in backends() {
        for round in 0..ROUNDS {
            let server = Server::bind("127.0.0.1:0").unwrap().workers(1).backend(backend);
            let server = server.start(|_| Pair(None)).unwrap();
            let (mut client, mut target) = (dial(server.local_addr()), dial(server.local_addr()));
            eventually("both are open", || server.stats().sessions_opened == 2);
            client.write_all(b"request").unwrap();
            expect_bytes(&mut target, b"request");
            server.begin_drain(PATIENCE);
            if round % 2 == 1 {
                client.shutdown(Shutdown::Write).unwrap();
            }
            let target = thread::spawn(move || {
                for part in 0..PARTS {
                    // It computes: nothing is unread anywhere.
                    thread::sleep(Duration::from_millis(3));
                    target.write_all(&[part; 1000]).unwrap();
                }
            });
            let wanted: Vec<u8> = (0..PARTS).flat_map(|part| [part; 1000]).collect();
            assert!(read_to_end(&mut client) == wanted, "{backend:?}");
            target.join().unwrap();
            drop(client);
            assert_eq!(server.drain(PATIENCE).unwrap(), DrainReport::default(), "they ended: {backend:?}");
        }
    }
}

/// Of sessions that lost no bytes.
fn reported(drained: u64, cut: u64, answers_owed: u64) -> DrainReport {
    let mut report = DrainReport::default();
    (report.drained, report.cut, report.answers_owed) = (drained, cut, answers_owed);
    report
}
