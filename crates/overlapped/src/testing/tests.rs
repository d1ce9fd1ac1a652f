//! What the kit promises, shown with handlers of a few lines.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::{Behaviour, Peer, World, for_each_behaviour, server};
use crate::catch_panic::contain;
use crate::{
    CloseReason, Closed, DrainReport, Error, Handler, Lease, OnPanic, PostError, Server, Session,
    WorkerContext,
};

const SECOND: Duration = Duration::from_secs(1);

/// Sends everything back, and notes what it was called for.
#[derive(Clone, Default)]
struct Echo {
    log: Rc<RefCell<Vec<String>>>,
}

impl Echo {
    fn saw(&self, what: impl Into<String>) {
        self.log.borrow_mut().push(what.into());
    }
}

impl Handler for Echo {
    /// Bytes received.
    type State = usize;
    type Message = SocketAddr;

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) -> usize {
        if session.token().is_some() {
            session.send("hello");
        }
        0
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, received: &mut usize, data: Lease) {
        *received += data.len();
        self.saw(format!("{}", data.escape_ascii()));
        match &data[..] {
            b"panic" => panic!("as it was asked to"),
            b"timer" => session.set_timer(10 * SECOND, 1),
            b"precise timer" => {
                let at = session.now() + Duration::from_nanos(5_000_001);
                session.worker().set_precise_timer(at);
            }
            b"pause" => session.pause(),
            _ => {
                session.send(data);
            }
        }
    }

    fn on_timer(&mut self, session: &mut Session<'_, Self::State>, _: &mut usize, token: u64) {
        self.saw(format!("timer {token}"));
        session.send("time");
    }

    fn on_tick(&mut self, _: &mut WorkerContext<'_, Self::State>) {
        self.saw("tick");
    }

    fn on_precise_timer(&mut self, worker: &mut WorkerContext<'_, Self::State>) {
        self.saw(format!("precise timer at {} ns", worker.now().as_nanos()));
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Self::State>, address: SocketAddr) {
        worker.connect(address, 5);
    }

    fn on_connect_failed(&mut self, _: &mut WorkerContext<'_, Self::State>, token: u64, error: &io::Error) {
        self.saw(format!("{token}: {:?}", error.kind()));
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_, Self::State>, closed: Closed, _: usize) {
        self.saw(format!("{:?}", closed.reason));
    }
}

fn echo() -> World<Echo> {
    World::start(server(), |_| Echo::default())
}

fn log(world: &World<Echo>) -> Vec<String> {
    world.handler(0).log.take()
}

fn upstream() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 80))
}

#[test]
fn bytes_come_back_and_an_end_is_answered_with_an_end() {
    for_each_behaviour(|behaviour| {
        let mut world = World::start_on(behaviour, server(), |_| Echo::default());
        let mut client = world.connect();
        assert!(client.is_open() && client.received().is_empty());
        let bytes: Vec<u8> = (0..200_000).map(|at: u32| at as u8).collect();
        client.send(&bytes);
        client.finish();
        world.settle();
        assert_eq!(client.received(), bytes);
        assert!(client.has_ended() && !client.is_open() && client.unsent() == 0);
        assert_eq!(log(&world).last().unwrap(), "EndOfStream");
        assert_eq!(world.stats().sessions, 0);
    });
}

#[test]
fn the_handler_gets_each_piece_by_itself() {
    for_each_behaviour(|behaviour| {
        let mut world = World::start_on(behaviour, server(), |_| Echo::default());
        let mut client = world.connect();
        client.send_in_pieces("one two", 1);
        world.settle();
        assert_eq!(log(&world), ["o", "n", "e", " ", "t", "w", "o"]);
        client.send_in_pieces("no cut", 6);
        world.settle();
        assert_eq!(log(&world).concat(), "no cut");
        assert_eq!(client.received(), "one twono cut");
        assert_eq!(world.state(&client), Some(&13));
    });
}

/// The same seed and the same calls: the same callbacks, byte for byte. Another seed: others.
#[test]
fn a_seed_decides_the_run() {
    let run = |seed| {
        let behaviour = Behaviour { seed, ..Behaviour::default() };
        let mut world = World::start_on(behaviour, server().workers(2), |_| Echo::default());
        let mut clients: Vec<Peer> = (0..20).map(|_| world.connect()).collect();
        clients.iter_mut().for_each(|client| client.send([b'x'; 5_000]));
        world.settle();
        [0, 1].map(|worker| world.handler(worker).log.take())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn resets_in_both_directions() {
    let mut world = echo();
    let mut client = world.connect();
    client.reset();
    world.settle();
    assert_eq!(log(&world), ["Reset"]);
    assert!(!client.is_open() && !client.was_reset());

    let client = world.connect();
    let session = world.session(&client).expect("it is open");
    world.call(0, |_, worker| worker.session(session).expect("it is open").0.abort());
    world.settle();
    assert!(client.was_reset());
    assert_eq!(world.session(&client), None);
}

/// A slow reader: back-pressure reaches it, and the write timeout ends its session, which it sees without reading.
#[test]
fn a_peer_that_does_not_read() {
    let server = || server().write_timeout(Some(8 * SECOND));
    let mut world = World::start(server(), |_| Echo::default());
    let mut client = world.connect();
    client.stop_reading();
    client.send(vec![1; 10_000_000]);
    world.settle();
    assert!(client.unsent() > 5_000_000, "{} bytes are still unsent", client.unsent());
    world.advance(6 * SECOND);
    client.resume_reading();
    world.settle();
    assert_eq!((client.received().len(), client.unsent()), (10_000_000, 0));

    client.stop_reading();
    client.send(vec![1; 10_000_000]);
    world.advance(11 * SECOND);
    assert!(client.was_reset());
    assert_eq!(log(&world).last().unwrap(), "WriteTimeout");
}

#[test]
fn time_passes_only_when_it_is_advanced() {
    let server = server().tick(Some(3 * SECOND)).idle_timeout(Some(60 * SECOND));
    let mut world = World::start(server, |_| Echo::default());
    world.advance(Duration::from_millis(5));
    assert_eq!(world.elapsed(), Duration::from_millis(8), "in steps of 4 ms");
    let mut client = world.connect();
    client.send_in_pieces("timer", 5);
    world.settle();
    let _ = log(&world);
    world.advance(9 * SECOND);
    assert_eq!(log(&world), ["tick", "tick", "tick"]);
    world.advance(SECOND);
    assert_eq!(log(&world), ["timer 1"]);
    world.advance(59 * SECOND);
    assert!(client.is_open());
    world.advance(3 * SECOND);
    assert!(client.has_ended());
    let log = log(&world);
    assert_eq!(log[19..21], ["tick", "IdleTimeout"], "60 s is 20 ticks: {log:?}");
}

/// The clock stops for it, and then goes on to a multiple of 4 ms.
#[test]
fn a_precise_timer_comes_at_exactly_its_time() {
    let mut world = echo();
    let mut client = world.connect();
    client.send("precise timer");
    world.settle();
    assert_eq!(log(&world), ["precise timer"]);
    world.advance(Duration::from_millis(4));
    assert!(log(&world).is_empty());
    world.advance(Duration::from_millis(4));
    assert_eq!(log(&world), ["precise timer at 5000001 ns"]);
    assert_eq!(world.elapsed(), Duration::from_millis(8));
    world.advance(SECOND);
    assert!(log(&world).is_empty(), "once");
}

#[test]
fn connections_that_the_handler_makes() {
    let mut world = World::start(server().connect_timeout(Some(5 * SECOND)), |_| Echo::default());
    world.post(0, upstream());
    world.settle();
    assert_eq!(log(&world), ["5: ConnectionRefused"]);

    let mut upstream_program = world.listen(upstream());
    assert_eq!(upstream_program.address(), upstream());
    world.post(0, upstream());
    world.settle();
    let mut upstream_side = upstream_program.accept();
    assert!(upstream_program.try_accept().is_none());
    assert_eq!(upstream_side.received(), "hello");
    assert_eq!(upstream_side.address(), upstream());
    upstream_side.send("back");
    upstream_side.finish();
    world.settle();
    assert_eq!(log(&world).last().unwrap(), "EndOfStream");

    world.silence(upstream());
    world.post(0, upstream());
    world.advance(4 * SECOND);
    assert_eq!(log(&world), [""; 0]);
    world.advance(2 * SECOND);
    assert_eq!(log(&world), ["5: TimedOut"]);

    world.fail_connects(upstream(), io::ErrorKind::HostUnreachable);
    world.post(0, upstream());
    world.settle();
    assert_eq!(log(&world), ["5: HostUnreachable"]);

    world.restore_connects(upstream());
    world.post(0, upstream());
    world.settle();
    assert!(upstream_program.accept().is_open());
    world.unlisten(&upstream_program);
    world.post(0, upstream());
    world.settle();
    assert_eq!(log(&world), ["5: ConnectionRefused"]);
}

/// INV-9, as a handler sees it: nothing is lost, and no session ends.
#[test]
fn a_kernel_without_memory_delays_and_ends_nothing() {
    for_each_behaviour(|behaviour| {
        let mut world = World::start_on(behaviour, server(), |_| Echo::default());
        let mut client = world.connect();
        world.set_short_of_memory(true);
        client.send("question");
        let mut late = world.begin_connect(world.handle().local_addr());
        world.advance(5 * SECOND);
        assert!(client.received().is_empty() && world.stats().sessions == 1);
        world.set_short_of_memory(false);
        world.advance(5 * SECOND);
        assert_eq!(client.received(), "question");
        late.send("too");
        world.settle();
        assert_eq!(late.received(), "too");
        assert!(world.stats().accept_pauses > 0);
        assert_eq!(log(&world).concat(), "questiontoo");
    });
}

#[test]
fn addresses_of_clients_and_of_the_server() {
    let other = SocketAddr::from(([127, 0, 0, 1], 1234));
    let mut world = World::start(
        Server::without_sockets(vec![upstream(), other]).max_per_address(Some(1)).workers(2),
        |_| Echo::default(),
    );
    let from = |last, port| SocketAddr::from(([192, 0, 2, last], port));
    let first = world.connect_from(from(1, 1));
    assert_eq!(first.address(), from(1, 1));
    assert!(world.connect_from(from(1, 2)).has_ended(), "one session for each address");
    assert!(world.connect_from(from(2, 1)).is_open());
    assert!(world.connect_to(other).is_open());
    assert_eq!(world.handle().local_addrs(), [upstream(), other]);
    assert!(world.connect_to(SocketAddr::from(([127, 0, 0, 1], 1))).was_refused());
    let peer = world
        .session(&first)
        .map(|id| world.call(id.worker(), |_, worker| worker.session(id).unwrap().0.peer_addr().unwrap()));
    assert_eq!(peer, Some(from(1, 1)));
}

#[test]
fn a_drain_takes_the_time_that_it_needs() {
    let mut world = echo();
    let mut clients: Vec<Peer> = (0..3).map(|_| world.connect()).collect();
    clients[0].send("last words");
    clients[1].stop_reading();
    clients[1].send(vec![0; 1_000_000]);
    clients[2].stay_open();
    let report = world.drain(10 * SECOND);
    assert_eq!((report.drained, report.cut), (2, 1));
    assert!(report.bytes_lost > 0);
    assert_eq!(clients[0].received(), "last words");
    assert!(clients[1].was_reset() && clients[2].has_ended());
    assert_eq!(world.elapsed(), 10 * SECOND, "until the slow reader is cut");
    assert!(world.has_ended());
    assert!(world.connect().was_refused());
    assert_eq!(world.drain(SECOND), report, "and no further");
    assert!(matches!(world.handle().drain(SECOND), Err(Error::OnWorker)));
    assert!(matches!(world.handle().post(0, upstream()), Err(PostError::Stopped(_))));
}

#[test]
fn an_empty_world_is_drained_at_once() {
    let mut world = echo();
    assert_eq!(world.drain(SECOND), DrainReport::default());
    assert_eq!(world.elapsed(), Duration::ZERO);
}

#[test]
#[should_panic(expected = "a callback panicked: as it was asked to")]
fn a_panic_in_a_callback_fails_the_test() {
    let mut world = echo();
    world.connect().send_in_pieces("panic", 5);
    world.settle();
}

#[test]
#[should_panic(expected = "as it was asked to")]
fn and_so_it_does_if_it_stops_the_server() {
    let mut world = World::start(server().on_panic(OnPanic::StopServer), |_| Echo::default());
    world.expect_panics();
    world.connect().send_in_pieces("panic", 5);
    world.settle();
}

#[test]
fn an_expected_panic_ends_its_session() {
    let mut world = echo();
    world.expect_panics();
    let (mut bad, mut good) = (world.connect(), world.connect());
    bad.send_in_pieces("panic", 5);
    good.send("fine");
    world.settle();
    assert_eq!(world.panics(), ["as it was asked to"]);
    assert!(bad.was_reset() && good.is_open());
    assert_eq!(good.received(), "fine");
    assert_eq!(world.stats().panics, 1);
    assert!(world.panics().is_empty(), "they are taken");
}

#[track_caller]
fn message(misuse: &mut dyn FnMut()) -> String {
    contain(misuse).expect_err("it panics")
}

#[test]
fn misuse_is_a_clear_panic() {
    let mut world = echo();
    let mut client = world.connect();
    assert_eq!(message(&mut || client.send_in_pieces("x", 0)), "a piece has at least 1 byte");
    client.finish();
    assert!(message(&mut || client.send("x")).contains("it sends no more"));
    let mut closed = world.connect();
    let id = world.session(&closed).unwrap();
    world.call(0, |_, worker| worker.session(id).unwrap().0.close());
    world.settle();
    assert!(message(&mut || closed.send("x")).contains("`stay_open`"));
    let mut listener = world.listen(upstream());
    assert_eq!(message(&mut || drop(listener.accept())), "nothing has connected to 10.0.0.1:80 (yet)");
    assert!(message(&mut || drop(world.listen(upstream()))).starts_with("10.0.0.1:80: "));
    let wrong = || drop(World::start(server().max_sessions(0), |_| Echo::default()));
    assert!(message(&mut { wrong }).contains("the session limit"));
    let mut small = World::start(server().mailbox(1), |_| Echo::default());
    small.post(0, upstream());
    assert!(message(&mut || small.post(0, upstream())).starts_with("worker 0: "));
    small.settle();
}

/// An echo that is connected to itself: its two sessions answer each other for ever.
#[test]
#[should_panic(expected = "does not come to rest without time passing")]
fn a_world_without_rest_is_reported() {
    struct Restless;

    impl Handler for Restless {
        type State = ();
        type Message = ();

        fn on_open(&mut self, session: &mut Session<'_, Self::State>) {
            session.send("ping");
        }

        fn on_data(&mut self, session: &mut Session<'_, Self::State>, _: &mut (), data: Lease) {
            session.send(data);
        }
    }

    let mut world = World::start(server(), |_| Restless);
    let here = world.handle().local_addr();
    world.call(0, |_, worker| worker.connect(here, 0));
    world.settle();
}

#[test]
fn what_was_received_prints_as_text() {
    let mut world = echo();
    let mut client = world.connect();
    client.send("a\r\n\0");
    world.settle();
    let received = client.received();
    assert_eq!(format!("{received:?}"), r#"b"a\r\n\x00""#);
    assert_eq!((received.text(), &received[..2]), ("a\r\n\0", &b"a\r"[..]));
    assert!(received == *b"a\r\n\0" && received == b"a\r\n\0" && received == received.to_vec());
    assert_ne!(received, "a");
}

/// The reason that a handler of the server gives, and that of a peer, are told apart.
#[test]
fn a_handler_that_finishes_still_receives() {
    let mut world = echo();
    let mut client = world.connect();
    client.stay_open();
    let id = world.session(&client).unwrap();
    world.call(0, |_, worker| worker.session(id).unwrap().0.finish());
    world.settle();
    assert!(client.has_ended());
    client.send("more");
    world.settle();
    assert_eq!(world.state(&client), Some(&4));
    client.finish();
    world.settle();
    assert_eq!(log(&world).last().unwrap(), &format!("{:?}", CloseReason::Local));
    assert_eq!(world.session(&client), None);
}
