//! Deadlines are judged by what has happened, not by the clock alone: bytes that wait in a socket, bytes that a peer
//! takes slowly, and sessions that may not receive are no silence.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use proactor::ConnectionKey;
use proactor::PoolConfig;
use proactor::backend::simulated::Behaviour;

use super::world::{End, Probe, Seen, What, World, behaviours};
use crate::config::Config;
use crate::session::CloseReason;

const SECOND: Duration = Duration::from_secs(1);

/// Few blocks, so that most receives wait for one.
fn config() -> Config {
    Config { pool: PoolConfig { blocks: 4, block_len: 512 }, ..Config::default() }
}

/// Kernels that hold a few hundred bytes at least: with less, what a client sends does not all lie in the socket.
fn roomy() -> impl Iterator<Item = Behaviour> {
    behaviours().map(|behaviour| Behaviour { capacity: behaviour.capacity.max(300), ..behaviour })
}

/// Lets the clients bring into the kernel what they have to send. No worker runs.
fn clients_alone(world: &mut World, rounds: usize) {
    for _ in 0..rounds {
        world.round_of_client();
    }
}

/// The workers did not run for `time`; the first wait after that is interrupted.
fn goes_on_after(world: &mut World, time: Duration) {
    world.simulation.interrupt();
    world.pass(time);
}

fn idle_calls(world: &World) -> usize {
    world.log().iter().filter(|seen| matches!(seen, Seen::Idle(_))).count()
}

#[test]
fn sessions_that_spoke_during_a_stop_are_not_idle() {
    for behaviour in roomy() {
        let config = Config { idle_timeout: Some(3 * SECOND), ..config() };
        let mut world = World::new(behaviour, 1, config, Probe::echo());
        let keys: Vec<_> = (0..100).map(|_| world.connect()).collect();
        for key in &keys {
            world.send(*key, b"hello");
        }
        world.settle();
        for key in &keys {
            world.send(*key, b" beat");
        }
        clients_alone(&mut world, 300);
        goes_on_after(&mut world, 5 * SECOND);
        for key in &keys {
            assert_eq!(world.got(*key), b"hello beat", "{behaviour:?}");
        }
        assert_eq!((idle_calls(&world), world.reasons()), (0, vec![]), "{behaviour:?}");
        world.pass(3 * SECOND + SECOND / 8);
        assert_eq!(idle_calls(&world), 100, "silence is noticed: {behaviour:?}");
    }
}

#[test]
fn first_bytes_that_came_during_a_stop_are_in_time() {
    for behaviour in roomy() {
        let config = Config { first_byte_timeout: Some(3 * SECOND), ..config() };
        let mut world = World::new(behaviour, 1, config, Probe::echo());
        let keys: Vec<_> = (0..100).map(|_| world.connect()).collect();
        for key in &keys {
            world.send(*key, b"hello");
        }
        clients_alone(&mut world, 300);
        goes_on_after(&mut world, 5 * SECOND);
        for key in &keys {
            assert_eq!(world.got(*key), b"hello", "{behaviour:?}");
        }
        assert_eq!(world.reasons(), [], "{behaviour:?}");
    }
}

#[test]
fn a_peer_that_read_during_a_stop_is_not_stalled() {
    for behaviour in roomy() {
        let config = Config { write_timeout: Some(3 * SECOND), ..Config::default() };
        let mut world = World::new(behaviour, 1, config, Probe::echo());
        let bytes = vec![6; (10 * behaviour.capacity).min(200_000)];
        let keys: Vec<_> = (0..5).map(|_| world.connect()).collect();
        for key in &keys {
            world.client.pause_receive(*key);
        }
        world.settle();
        for key in &keys {
            world.send(*key, &bytes);
        }
        world.settle();
        world.pass(SECOND);
        for key in &keys {
            world.client.receive(*key);
        }
        clients_alone(&mut world, 200);
        goes_on_after(&mut world, 5 * SECOND);
        for key in &keys {
            assert!(world.got(*key) == bytes, "{behaviour:?}: {}", world.got(*key).len());
        }
        assert_eq!(world.reasons(), [], "{behaviour:?}");
    }
}

/// The peer's FIN, and bytes before it, came while the worker did not run: no reset.
#[test]
fn a_lingering_session_takes_in_what_came_during_a_stop() {
    for behaviour in roomy() {
        let closes = |session: &mut crate::Session<'_>, what| {
            if let What::Data(_) = what {
                session.close();
            }
        };
        let config = Config { linger_timeout: 2 * SECOND, ..config() };
        let mut world = World::new(behaviour, 1, config, Probe::new(closes));
        let keys: Vec<_> = (0..40).map(|_| world.connect()).collect();
        for key in &keys {
            world.send(*key, b"x");
        }
        world.settle();
        for key in &keys {
            world.send(*key, &[1; 200]);
            world.finish(*key);
        }
        clients_alone(&mut world, 600);
        goes_on_after(&mut world, 5 * SECOND);
        world.pass(3 * SECOND);
        assert_eq!(world.reasons().len(), 40, "{behaviour:?}");
        let ends: Vec<End> = keys.iter().map(|key| world.end(*key)).collect();
        assert!(ends.iter().all(|end| *end == End::Finished), "INV-8: {behaviour:?} {ends:?}");
        world.assert_clean();
    }
}

#[test]
fn a_connect_that_was_made_during_a_stop_has_not_timed_out() {
    for behaviour in roomy() {
        let probe = Probe::echo().on_worker(|worker, seen| {
            if seen == Seen::Message(1) {
                for token in 0..80 {
                    worker.connect(SocketAddr::from(([127, 0, 0, 1], 7)), token);
                }
            }
        });
        let config = Config { connect_timeout: Some(3 * SECOND), ..Config::default() };
        let mut world = World::new(behaviour, 1, config, probe);
        let upstream = world.simulation.listen(SocketAddr::from(([127, 0, 0, 1], 7))).unwrap();
        world.client.listen(upstream).unwrap();
        world.handles[0].post(1).unwrap();
        world.workers[0].turn(false).unwrap();
        goes_on_after(&mut world, 5 * SECOND);
        let failed = world.log().iter().filter(|seen| matches!(seen, Seen::ConnectFailed(..))).count();
        assert_eq!((failed, world.all_stats().sessions_opened), (0, 80), "{behaviour:?}");
    }
}

/// Time passes as it does for a worker that is woken for its deadlines.
fn pass_in_steps(world: &mut World, time: Duration) {
    for _ in 0..time.as_millis() / 250 {
        world.pass(SECOND / 4);
    }
}

/// A peer that takes a few bytes a second out of what the kernel holds.
struct SlowReader {
    key: ConnectionKey,
}

impl SlowReader {
    /// Reads something, and lets `time` pass.
    fn read_a_little(&self, world: &mut World, time: Duration) {
        let before = world.got(self.key).len();
        world.client.receive(self.key);
        for _ in 0..200 {
            world.round_of_client();
            if world.got(self.key).len() > before {
                break;
            }
        }
        world.client.pause_receive(self.key);
        world.settle();
        assert!(world.got(self.key).len() > before, "there was something to read");
        pass_in_steps(world, time);
    }
}

/// Answers every piece with so many bytes in one payload; keeps whoever is idle.
fn answers(len: usize) -> Probe {
    Probe::new(move |session, what| match what {
        What::Data(_) => {
            session.send(vec![7; len]);
        }
        What::HalfClose => session.close(),
        _ => {}
    })
}

#[test]
fn a_download_that_moves_is_neither_idle_nor_stalled() {
    for behaviour in behaviours() {
        // One payload larger than what the kernel holds, and one that it holds as a whole.
        for len in [3 * behaviour.capacity, behaviour.capacity / 2] {
            let config = Config {
                idle_timeout: Some(4 * SECOND),
                write_timeout: Some(4 * SECOND),
                hard_limit: 1 << 20,
                ..Config::default()
            };
            let mut world = World::new(behaviour, 1, config, answers(len));
            let key = world.connect();
            world.client.pause_receive(key);
            world.settle();
            world.send(key, b"x");
            world.settle();
            let reader = SlowReader { key };
            for _ in 0..20 {
                if world.got(key).len() == len {
                    break;
                }
                reader.read_a_little(&mut world, 3 * SECOND);
            }
            assert_eq!((idle_calls(&world), world.reasons()), (0, vec![]), "{behaviour:?}, {len} bytes");
        }
    }
}

#[test]
fn a_download_that_stops_is_cut_and_its_session_is_idle() {
    for behaviour in behaviours() {
        let config = Config { write_timeout: Some(4 * SECOND), hard_limit: 1 << 20, ..Config::default() };
        let mut world = World::new(behaviour, 1, config, answers(8 * behaviour.capacity));
        let key = world.connect();
        world.client.pause_receive(key);
        world.settle();
        world.send(key, b"x");
        world.settle();
        SlowReader { key }.read_a_little(&mut world, 4 * SECOND - SECOND / 4);
        assert_eq!(world.reasons(), [], "not before its time: {behaviour:?}");
        // A quarter of the limit late at most, and a 32nd part for each look.
        pass_in_steps(&mut world, SECOND + 3 * SECOND / 4);
        assert_eq!(world.reasons(), [CloseReason::WriteTimeout], "{behaviour:?}");

        let config = Config { idle_timeout: Some(4 * SECOND), write_timeout: None, ..Config::default() };
        let mut world = World::new(behaviour, 1, config, answers(behaviour.capacity / 2));
        let key = world.connect();
        world.client.pause_receive(key);
        world.settle();
        world.send(key, b"x");
        world.settle();
        world.pass(4 * SECOND - SECOND / 10);
        assert_eq!(idle_calls(&world), 0);
        for _ in 0..9 {
            world.pass(SECOND / 2);
        }
        assert!(idle_calls(&world) > 0, "nothing moves any more: {behaviour:?}");
    }
}

/// Pauses as it opens; timer 0 resumes.
fn paused(resume_after: Duration) -> Probe {
    Probe::new(move |session, what| match what {
        What::Open => {
            session.pause();
            session.set_timer(resume_after, 0);
        }
        What::Timer(_) => session.resume(),
        What::Data(data) => {
            session.send(data);
        }
        What::Idle | What::HalfClose => session.close(),
        What::Writable => {}
    })
}

#[test]
fn a_session_that_its_handler_paused_is_not_idle() {
    for behaviour in behaviours() {
        for first_byte in [false, true] {
            let config = Config {
                idle_timeout: Some(2 * SECOND).filter(|_| !first_byte),
                first_byte_timeout: Some(2 * SECOND).filter(|_| first_byte),
                ..Config::default()
            };
            let mut world = World::new(behaviour, 1, config, paused(7 * SECOND));
            let (spoke, silent) = (world.connect(), world.connect());
            world.send(spoke, b"hello");
            for _ in 0..6 {
                world.pass(SECOND);
            }
            assert_eq!(idle_calls(&world), 0, "{behaviour:?}");
            // Who is silent from the start is closed, paused or not.
            let wanted = if first_byte { End::Finished } else { End::Open };
            assert_eq!((world.end(spoke), world.end(silent)), (End::Open, wanted), "{behaviour:?}");
            world.pass(SECOND + SECOND / 10);
            assert_eq!(world.got(spoke), b"hello", "{behaviour:?}");
            if !first_byte {
                world.pass(SECOND);
                assert_eq!(idle_calls(&world), 0, "it counts from the resume: {behaviour:?}");
                world.pass(SECOND + SECOND / 5);
                assert_eq!(idle_calls(&world), 2, "{behaviour:?}");
            }
        }
    }
}

#[test]
fn a_session_that_another_holds_is_not_idle() {
    let pair: Rc<RefCell<Vec<crate::SessionId>>> = Rc::default();
    for behaviour in behaviours() {
        pair.borrow_mut().clear();
        let ids = Rc::clone(&pair);
        let probe = Probe::new(move |session, what| match what {
            What::Open => {
                ids.borrow_mut().push(session.id());
                if let [source, target] = ids.borrow()[..] {
                    assert!(session.worker().session(source).expect("it is open").feed(target));
                }
            }
            What::Data(data) => {
                let target = ids.borrow()[1];
                session.sibling(target).expect("it is open").send(data);
            }
            _ => {}
        });
        let config = Config {
            idle_timeout: Some(2 * SECOND),
            write_timeout: None,
            high_water: 4_000,
            low_water: 1_000,
            hard_limit: 600_000,
            ..Config::default()
        };
        let mut world = World::new(behaviour, 1, config, probe);
        let (quick, slow) = (world.connect(), world.connect());
        world.client.pause_receive(slow);
        world.settle();
        world.send(quick, &[5; 300_000]);
        world.settle();
        for _ in 0..8 {
            world.pass(SECOND);
        }
        let source = pair.borrow()[0];
        assert!(!world.log().contains(&Seen::Idle(source)), "it cannot help its silence: {behaviour:?}");
    }
}

#[test]
fn an_outbound_session_need_not_speak_first() {
    for behaviour in behaviours() {
        let probe = Probe::echo().on_worker(|worker, seen| {
            if seen == Seen::Message(1) {
                worker.connect(SocketAddr::from(([127, 0, 0, 1], 9999)), 1);
            }
        });
        let config = Config { first_byte_timeout: Some(2 * SECOND), ..Config::default() };
        let mut world = World::new(behaviour, 1, config, probe);
        // To itself: one session is outbound, the other accepted.
        world.handles[0].post(1).unwrap();
        world.settle();
        assert_eq!(world.all_stats().sessions, 2);
        world.pass(2 * SECOND + SECOND / 10);
        assert_eq!(world.all_stats().sessions_timed_out, 1, "the accepted one alone: {behaviour:?}");
        let reasons = world.reasons();
        let others: Vec<_> =
            reasons.iter().filter(|reason| **reason != CloseReason::FirstByteTimeout).collect();
        assert_eq!(others, [&CloseReason::EndOfStream], "the outbound one, after that: {behaviour:?}");
    }
}

#[test]
fn a_paused_session_hears_of_a_reset_and_of_an_end_with_nothing_before_it() {
    for behaviour in behaviours() {
        for (bytes, reset, wanted) in [
            (&b""[..], true, Some(CloseReason::Reset)),
            (b"unheard", true, Some(CloseReason::Reset)),
            (b"", false, Some(CloseReason::EndOfStream)),
            (b"unheard", false, None),
        ] {
            let mut world = World::new(behaviour, 1, Config::default(), paused(10 * SECOND));
            let key = world.connect();
            world.send(key, bytes);
            world.settle();
            if reset {
                world.client.abort(key);
            } else {
                world.finish(key);
            }
            world.settle();
            assert_eq!(world.reasons(), Vec::from_iter(wanted), "{behaviour:?} {bytes:?} {reset}");
            world.pass(11 * SECOND);
            if !reset {
                assert_eq!((world.got(key), world.end(key)), (bytes, End::Finished), "{behaviour:?}");
                assert_eq!(world.reasons(), [CloseReason::EndOfStream], "{behaviour:?}");
            }
            world.client.close(key);
            world.settle();
            world.assert_clean();
        }
    }
}

/// Its slot was not watched while it was paused. It resumes while too much is unsent: idle applies again.
#[test]
fn a_session_that_resumes_while_it_is_full_is_watched_again() {
    for behaviour in behaviours() {
        let len = 8 * behaviour.capacity;
        let probe = Probe::new(move |session, what| match what {
            What::Data(_) => {
                session.send(vec![7; len]);
                session.pause();
                session.set_timer(3 * SECOND, 0);
            }
            What::Timer(_) => session.resume(),
            _ => {}
        });
        let config = Config {
            idle_timeout: Some(SECOND),
            write_timeout: None,
            high_water: 200,
            low_water: 100,
            hard_limit: 1 << 20,
            ..Config::default()
        };
        let mut world = World::new(behaviour, 1, config, probe);
        let key = world.connect();
        world.client.pause_receive(key);
        world.settle();
        world.send(key, b"x");
        world.settle();
        pass_in_steps(&mut world, 3 * SECOND);
        assert_eq!(idle_calls(&world), 0, "{behaviour:?}");
        pass_in_steps(&mut world, 3 * SECOND);
        assert!(idle_calls(&world) > 0, "nothing moves: {behaviour:?}");
    }
}
