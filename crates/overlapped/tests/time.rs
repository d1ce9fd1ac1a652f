//! Silence, deadlines of one session, and timers of a worker, on the real backends.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use overlapped::{
    Choice, CloseReason, Closed, Handler, Idle, Lease, Sent, Server, ServerHandle, Session, SessionId,
    WorkerContext,
};
use overlapped_testing::{PATIENCE, dial, read_to_end};

use common::backends;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Echoes; tells why each session ended.
struct Timed {
    /// Sends a heartbeat when nothing was sent for a while, instead of what is the default.
    beats: bool,
    /// Of each session.
    deadline: Option<Duration>,
    ended: Sender<CloseReason>,
}

impl Handler for Timed {
    type State = ();
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_>) {
        session.set_deadline(self.deadline);
    }

    fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) {
        session.send(data);
    }

    fn on_idle(&mut self, session: &mut Session<'_>, _state: &mut (), idle: Idle) {
        match idle {
            Idle::Write if self.beats => _ = session.send([b'.']),
            _ => session.close(),
        }
    }

    fn on_close(&mut self, _worker: &mut WorkerContext<'_>, closed: Closed, _state: ()) {
        let _ = self.ended.send(closed.reason);
    }
}

fn start(
    choice: Choice,
    set: impl Fn(Server) -> Server,
    beats: bool,
    deadline: Option<Duration>,
) -> (ServerHandle, Receiver<CloseReason>) {
    let (ended, heard) = channel();
    let server = set(Server::bind("127.0.0.1:0").unwrap().workers(1).backend(choice));
    let server = server.start(move |_worker| Timed { beats, deadline, ended: ended.clone() }).unwrap();
    (server, heard)
}

#[test]
fn a_silent_peer_gets_heartbeats_until_its_own_silence_is_too_long() {
    for choice in backends() {
        let set = |server: Server| server.write_idle_timeout(ms(50)).read_idle_timeout(ms(500));
        let (server, ended) = start(choice, set, true, None);
        let since = Instant::now();
        let mut client = dial(server.local_addr());
        let beats = read_to_end(&mut client);
        assert!(since.elapsed() >= ms(500), "{choice:?}: {:?}: too soon", since.elapsed());
        // Late timers make fewer, never more.
        assert!(
            (1..=10).contains(&beats.len()) && beats.iter().all(|beat| *beat == b'.'),
            "{choice:?}: {beats:?}"
        );
        drop(client);
        assert_eq!(ended.recv_timeout(PATIENCE), Ok(CloseReason::IdleTimeout), "{choice:?}");
        server.drain(PATIENCE).unwrap();
    }
}

/// Its handler has no `on_idle`.
struct Plain;

impl Handler for Plain {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_>) {}

    fn on_data(&mut self, _session: &mut Session<'_>, _state: &mut (), _data: Lease) {}
}

/// Without heartbeats there is nothing to do about it: only the peer's silence closes a session.
#[test]
fn by_default_a_session_that_sends_nothing_is_not_closed_for_that() {
    for choice in backends() {
        let server = Server::bind("127.0.0.1:0").unwrap().workers(1).backend(choice);
        let server = server.write_idle_timeout(ms(20)).read_idle_timeout(ms(400));
        let server = server.start(|_worker| Plain).unwrap();
        let since = Instant::now();
        assert_eq!(read_to_end(&mut dial(server.local_addr())), b"");
        assert!(since.elapsed() >= ms(400), "{choice:?}: {:?}: too soon", since.elapsed());
        server.drain(PATIENCE).unwrap();
    }
}

/// Sends and reads single bytes until the server ends its stream.
fn keeps_busy(client: &mut TcpStream) -> Duration {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        if client.write_all(b"x").is_err() || !matches!(client.read(&mut [0]), Ok(1)) {
            return since.elapsed();
        }
    }
    panic!("its deadline has not ended it");
}

#[test]
fn a_deadline_ends_a_session_that_is_busy() {
    for choice in backends() {
        let (server, ended) = start(choice, |server| server, false, Some(ms(300)));
        let mut client = dial(server.local_addr());
        let took = keeps_busy(&mut client);
        // It began before the client's first byte.
        assert!(took >= ms(200), "{choice:?}: {took:?}: too soon");
        drop(client);
        assert_eq!(ended.recv_timeout(PATIENCE), Ok(CloseReason::Deadline), "{choice:?}");
        server.drain(PATIENCE).unwrap();
    }
}

/// Sends to all its sessions every 20 ms, as long as there are some; a session has room for 30,000 bytes.
struct Periodic {
    sessions: Vec<SessionId>,
    refused: Sender<usize>,
}

impl Handler for Periodic {
    type State = ();
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_>) {
        let mut limits = session.send_limits();
        (limits.low_water, limits.high_water, limits.hard_limit) = (1_000, 20_000, 30_000);
        session.set_send_limits(limits).expect("they make sense");
        self.sessions.push(session.id());
        session.worker().set_timer(ms(20), 1);
    }

    fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), _data: Lease) {
        let taken = (0..10).take_while(|_| session.send(vec![0; 10_000]) == Sent::Ok).count();
        let _ = self.refused.send(taken);
    }

    fn on_worker_timer(&mut self, worker: &mut WorkerContext<'_>, token: u64) {
        self.sessions.retain(|id| worker.send(*id, *b"now\n") != Sent::Closed);
        if !self.sessions.is_empty() {
            worker.set_timer(ms(20), token);
        }
    }
}

#[test]
fn a_worker_has_timers_and_a_session_limits_of_its_own() {
    for choice in backends() {
        let (refused, heard) = channel();
        let server = Server::bind("127.0.0.1:0").unwrap().workers(1).backend(choice);
        let server =
            server.start(move |_worker| Periodic { sessions: Vec::new(), refused: refused.clone() }).unwrap();
        let mut clients = [dial(server.local_addr()), dial(server.local_addr())];
        for client in &mut clients {
            let mut beats = [0; 12];
            client.read_exact(&mut beats).unwrap();
            assert_eq!(&beats, b"now\nnow\nnow\n", "{choice:?}");
        }
        clients[0].write_all(b"x").unwrap();
        // Room for 30,000 bytes, of which a beat may take four.
        let taken = heard.recv_timeout(PATIENCE).unwrap();
        assert!((2..=3).contains(&taken), "{choice:?}: {taken}");
        drop(clients);
        server.drain(PATIENCE).unwrap();
    }
}
