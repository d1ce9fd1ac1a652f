//! Deadlines are judged by what has happened, not by the clock alone: bytes that wait in a socket, bytes that a peer
//! takes slowly, and sessions that may not receive are no silence.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use proactor::ConnectionKey;
use proactor::PoolConfig;
use proactor::backend::simulated::Behaviour;

use super::fixture::{End, Fixture, Kept, Probe, Seen, What, behaviours};
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
fn clients_alone(fixture: &mut Fixture, rounds: usize) {
    for _ in 0..rounds {
        fixture.round_of_client();
    }
}

/// The workers did not run for `time`; the first wait after that is interrupted.
fn goes_on_after(fixture: &mut Fixture, time: Duration) {
    fixture.simulation.interrupt();
    fixture.pass(time);
}

fn idle_calls(fixture: &Fixture) -> usize {
    fixture.log().iter().filter(|seen| matches!(seen, Seen::Idle(_))).count()
}

#[test]
fn sessions_that_spoke_during_a_stop_are_not_idle() {
    for behaviour in roomy() {
        let config = Config { idle_timeout: Some(3 * SECOND), ..config() };
        let mut fixture = Fixture::new(behaviour, 1, config, Probe::echo());
        let keys: Vec<_> = (0..100).map(|_| fixture.connect()).collect();
        for key in &keys {
            fixture.send(*key, b"hello");
        }
        fixture.settle();
        for key in &keys {
            fixture.send(*key, b" beat");
        }
        clients_alone(&mut fixture, 300);
        goes_on_after(&mut fixture, 5 * SECOND);
        for key in &keys {
            assert_eq!(fixture.got(*key), b"hello beat", "{behaviour:?}");
        }
        assert_eq!((idle_calls(&fixture), fixture.reasons()), (0, vec![]), "{behaviour:?}");
        fixture.pass(3 * SECOND + SECOND / 8);
        assert_eq!(idle_calls(&fixture), 100, "silence is noticed: {behaviour:?}");
    }
}

#[test]
fn first_bytes_that_came_during_a_stop_are_in_time() {
    for behaviour in roomy() {
        let config = Config { first_byte_timeout: Some(3 * SECOND), ..config() };
        let mut fixture = Fixture::new(behaviour, 1, config, Probe::echo());
        let keys: Vec<_> = (0..100).map(|_| fixture.connect()).collect();
        for key in &keys {
            fixture.send(*key, b"hello");
        }
        clients_alone(&mut fixture, 300);
        goes_on_after(&mut fixture, 5 * SECOND);
        for key in &keys {
            assert_eq!(fixture.got(*key), b"hello", "{behaviour:?}");
        }
        assert_eq!(fixture.reasons(), [], "{behaviour:?}");
    }
}

#[test]
fn a_peer_that_read_during_a_stop_is_not_stalled() {
    for behaviour in roomy() {
        let config = Config { write_timeout: Some(3 * SECOND), ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, Probe::echo());
        let bytes = vec![6; (10 * behaviour.capacity).min(200_000)];
        let keys: Vec<_> = (0..5).map(|_| fixture.connect()).collect();
        for key in &keys {
            fixture.client.pause_receive(*key);
        }
        fixture.settle();
        for key in &keys {
            fixture.send(*key, &bytes);
        }
        fixture.settle();
        fixture.pass(SECOND);
        for key in &keys {
            fixture.client.receive(*key);
        }
        clients_alone(&mut fixture, 200);
        goes_on_after(&mut fixture, 5 * SECOND);
        for key in &keys {
            assert!(fixture.got(*key) == bytes, "{behaviour:?}: {}", fixture.got(*key).len());
        }
        assert_eq!(fixture.reasons(), [], "{behaviour:?}");
    }
}

/// The peer's FIN, and bytes before it, came while the worker did not run: no reset.
#[test]
fn a_lingering_session_takes_in_what_came_during_a_stop() {
    for behaviour in roomy() {
        let closes = |session: &mut crate::Session<'_, Kept>, what| {
            if let What::Data(_) = what {
                session.close();
            }
        };
        let config = Config { linger_timeout: 2 * SECOND, ..config() };
        let mut fixture = Fixture::new(behaviour, 1, config, Probe::new(closes));
        let keys: Vec<_> = (0..40).map(|_| fixture.connect()).collect();
        for key in &keys {
            fixture.send(*key, b"x");
        }
        fixture.settle();
        for key in &keys {
            fixture.send(*key, &[1; 200]);
            fixture.finish(*key);
        }
        clients_alone(&mut fixture, 600);
        goes_on_after(&mut fixture, 5 * SECOND);
        fixture.pass(3 * SECOND);
        assert_eq!(fixture.reasons().len(), 40, "{behaviour:?}");
        let ends: Vec<End> = keys.iter().map(|key| fixture.end(*key)).collect();
        assert!(ends.iter().all(|end| *end == End::Finished), "INV-8: {behaviour:?} {ends:?}");
        fixture.assert_clean();
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
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let upstream = fixture.simulation.listen(SocketAddr::from(([127, 0, 0, 1], 7))).unwrap();
        fixture.client.listen(upstream).unwrap();
        fixture.handles[0].post(1).unwrap();
        fixture.workers[0].turn(false).unwrap();
        goes_on_after(&mut fixture, 5 * SECOND);
        let failed = fixture.log().iter().filter(|seen| matches!(seen, Seen::ConnectFailed(..))).count();
        assert_eq!((failed, fixture.all_stats().sessions_opened), (0, 80), "{behaviour:?}");
    }
}

/// Time passes as it does for a worker that is woken for its deadlines.
fn pass_in_steps(fixture: &mut Fixture, time: Duration) {
    for _ in 0..time.as_millis() / 250 {
        fixture.pass(SECOND / 4);
    }
}

/// A peer that takes a few bytes a second out of what the kernel holds.
struct SlowReader {
    key: ConnectionKey,
}

impl SlowReader {
    /// Reads something, and lets `time` pass.
    fn read_a_little(&self, fixture: &mut Fixture, time: Duration) {
        let before = fixture.got(self.key).len();
        fixture.client.receive(self.key);
        for _ in 0..200 {
            fixture.round_of_client();
            if fixture.got(self.key).len() > before {
                break;
            }
        }
        fixture.client.pause_receive(self.key);
        fixture.settle();
        assert!(fixture.got(self.key).len() > before, "there was something to read");
        pass_in_steps(fixture, time);
    }
}

/// Answers every piece with `len` bytes in one payload; keeps idle sessions open.
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
            let mut fixture = Fixture::new(behaviour, 1, config, answers(len));
            let key = fixture.connect();
            fixture.client.pause_receive(key);
            fixture.settle();
            fixture.send(key, b"x");
            fixture.settle();
            let reader = SlowReader { key };
            for _ in 0..20 {
                if fixture.got(key).len() == len {
                    break;
                }
                reader.read_a_little(&mut fixture, 3 * SECOND);
            }
            assert_eq!((idle_calls(&fixture), fixture.reasons()), (0, vec![]), "{behaviour:?}, {len} bytes");
        }
    }
}

#[test]
fn a_download_that_stops_is_cut_and_its_session_is_idle() {
    for behaviour in behaviours() {
        let config = Config { write_timeout: Some(4 * SECOND), hard_limit: 1 << 20, ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, answers(8 * behaviour.capacity));
        let key = fixture.connect();
        fixture.client.pause_receive(key);
        fixture.settle();
        fixture.send(key, b"x");
        fixture.settle();
        SlowReader { key }.read_a_little(&mut fixture, 4 * SECOND - SECOND / 4);
        assert_eq!(fixture.reasons(), [], "not before its time: {behaviour:?}");
        // A quarter of the limit late at most, and a 32nd part for each look.
        pass_in_steps(&mut fixture, SECOND + 3 * SECOND / 4);
        assert_eq!(fixture.reasons(), [CloseReason::WriteTimeout], "{behaviour:?}");

        let config = Config { idle_timeout: Some(4 * SECOND), write_timeout: None, ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, answers(behaviour.capacity / 2));
        let key = fixture.connect();
        fixture.client.pause_receive(key);
        fixture.settle();
        fixture.send(key, b"x");
        fixture.settle();
        fixture.pass(4 * SECOND - SECOND / 10);
        assert_eq!(idle_calls(&fixture), 0);
        for _ in 0..9 {
            fixture.pass(SECOND / 2);
        }
        assert!(idle_calls(&fixture) > 0, "nothing moves any more: {behaviour:?}");
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
        What::Writable | What::Sent(_) => {}
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
            let mut fixture = Fixture::new(behaviour, 1, config, paused(7 * SECOND));
            let (spoke, silent) = (fixture.connect(), fixture.connect());
            fixture.send(spoke, b"hello");
            for _ in 0..6 {
                fixture.pass(SECOND);
            }
            assert_eq!(idle_calls(&fixture), 0, "{behaviour:?}");
            // A session that is silent from the start is closed, paused or not.
            let wanted = if first_byte { End::Finished } else { End::Open };
            assert_eq!((fixture.end(spoke), fixture.end(silent)), (End::Open, wanted), "{behaviour:?}");
            fixture.pass(SECOND + SECOND / 10);
            assert_eq!(fixture.got(spoke), b"hello", "{behaviour:?}");
            if !first_byte {
                fixture.pass(SECOND);
                assert_eq!(idle_calls(&fixture), 0, "it counts from the resume: {behaviour:?}");
                fixture.pass(SECOND + SECOND / 5);
                assert_eq!(idle_calls(&fixture), 2, "{behaviour:?}");
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
                    assert!(session.worker().session(source).expect("it is open").0.feed(target));
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
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let (quick, slow) = (fixture.connect(), fixture.connect());
        fixture.client.pause_receive(slow);
        fixture.settle();
        fixture.send(quick, &[5; 300_000]);
        fixture.settle();
        for _ in 0..8 {
            fixture.pass(SECOND);
        }
        let source = pair.borrow()[0];
        assert!(!fixture.log().contains(&Seen::Idle(source)), "it cannot help its silence: {behaviour:?}");
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
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        // To itself: one session is outbound, the other accepted.
        fixture.handles[0].post(1).unwrap();
        fixture.settle();
        assert_eq!(fixture.all_stats().sessions, 2);
        fixture.pass(2 * SECOND + SECOND / 10);
        assert_eq!(fixture.all_stats().sessions_timed_out, 1, "the accepted one alone: {behaviour:?}");
        let reasons = fixture.reasons();
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
            let mut fixture = Fixture::new(behaviour, 1, Config::default(), paused(10 * SECOND));
            let key = fixture.connect();
            fixture.send(key, bytes);
            fixture.settle();
            if reset {
                fixture.client.abort(key);
            } else {
                fixture.finish(key);
            }
            fixture.settle();
            assert_eq!(fixture.reasons(), Vec::from_iter(wanted), "{behaviour:?} {bytes:?} {reset}");
            fixture.pass(11 * SECOND);
            if !reset {
                assert_eq!((fixture.got(key), fixture.end(key)), (bytes, End::Finished), "{behaviour:?}");
                assert_eq!(fixture.reasons(), [CloseReason::EndOfStream], "{behaviour:?}");
            }
            fixture.client.close(key);
            fixture.settle();
            fixture.assert_clean();
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
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let key = fixture.connect();
        fixture.client.pause_receive(key);
        fixture.settle();
        fixture.send(key, b"x");
        fixture.settle();
        pass_in_steps(&mut fixture, 3 * SECOND);
        assert_eq!(idle_calls(&fixture), 0, "{behaviour:?}");
        pass_in_steps(&mut fixture, 3 * SECOND);
        assert!(idle_calls(&fixture) > 0, "nothing moves: {behaviour:?}");
    }
}
