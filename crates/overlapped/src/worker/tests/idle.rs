//! Silence in one direction and in both, told apart.

use std::time::Duration;

use super::fixture::{Fixture, Probe, Seen, What, behaviours};
use crate::config::Config;
use crate::session::CloseReason;

const SECOND: Duration = Duration::from_secs(1);

/// All three timeouts.
fn config() -> Config {
    let four = Some(4 * SECOND);
    Config { idle_timeout: four, read_idle_timeout: four, write_idle_timeout: four, ..Config::default() }
}

/// How often the handler heard of silence: in both directions, of receiving, of sending.
fn heard(fixture: &Fixture) -> [usize; 3] {
    let log = fixture.log();
    let count = |is: fn(&Seen) -> bool| log.iter().filter(|seen| is(seen)).count();
    [
        count(|seen| matches!(seen, Seen::Idle(_))),
        count(|seen| matches!(seen, Seen::ReadIdle(_))),
        count(|seen| matches!(seen, Seen::WriteIdle(_))),
    ]
}

/// Keeps silent sessions. Sends something every second if `sends`, and never answers.
fn talker(sends: bool) -> Probe {
    Probe::new(move |session, what| match what {
        What::Open if sends => session.set_timer(SECOND, 0),
        What::Timer(_) => {
            session.send("beat");
            session.set_timer(SECOND, 0);
        }
        _ => {}
    })
}

/// In steps of a quarter of a second; the client sends every second if `sends`.
fn pass(fixture: &mut Fixture, time: Duration, sends: Option<proactor::ConnectionKey>) {
    for step in 0..time.as_millis() / 250 {
        if let Some(key) = sends
            && step % 4 == 0
        {
            fixture.send(key, b"x");
        }
        fixture.pass(SECOND / 4);
    }
}

#[test]
fn each_direction_has_its_own_silence() {
    for behaviour in behaviours() {
        for (server_sends, client_sends, wanted) in [
            (false, false, [2, 2, 2]),
            (true, false, [0, 2, 0]),
            (false, true, [0, 0, 2]),
            (true, true, [0, 0, 0]),
        ] {
            let mut fixture = Fixture::new(behaviour, 1, config(), talker(server_sends));
            let key = fixture.connect();
            pass(&mut fixture, 4 * SECOND - SECOND / 4, Some(key).filter(|_| client_sends));
            assert_eq!(heard(&fixture), [0; 3], "not before its time: {behaviour:?}");
            pass(&mut fixture, 6 * SECOND, Some(key).filter(|_| client_sends));
            assert_eq!(heard(&fixture), wanted, "{behaviour:?}: {server_sends}, {client_sends}");
            assert_eq!(fixture.reasons(), []);
        }
    }
}

/// A report of one kind is no activity for another kind.
#[test]
fn kinds_with_different_times_do_not_delay_each_other() {
    for behaviour in behaviours() {
        let config = Config {
            idle_timeout: Some(SECOND),
            read_idle_timeout: Some(3 * SECOND),
            write_idle_timeout: Some(2 * SECOND),
            ..Config::default()
        };
        let mut fixture = Fixture::new(behaviour, 1, config, talker(false));
        fixture.connect();
        pass(&mut fixture, 13 * SECOND, None);
        let [both, read, write] = heard(&fixture);
        assert!(
            (10..=13).contains(&both) && (3..=4).contains(&read) && (5..=6).contains(&write),
            "{both}, {read}, {write}"
        );
    }
}

#[test]
fn bytes_that_wait_in_a_socket_are_no_silence_of_the_peer() {
    for behaviour in behaviours() {
        let config = Config { read_idle_timeout: Some(3 * SECOND), ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, talker(false));
        let keys: Vec<_> = (0..100).map(|_| fixture.connect()).collect();
        for key in &keys {
            fixture.send(*key, b"beat");
        }
        // The clients bring it into the kernel; the worker does not run for a while.
        for _ in 0..300 {
            fixture.round_of_client();
        }
        fixture.simulation.interrupt();
        fixture.pass(5 * SECOND);
        assert_eq!(heard(&fixture), [0; 3], "{behaviour:?}");
        fixture.pass(3 * SECOND + SECOND / 8);
        assert_eq!(heard(&fixture), [0, 100, 0], "silence is noticed: {behaviour:?}");
    }
}

#[test]
fn who_may_not_send_to_us_is_not_read_idle() {
    for behaviour in behaviours() {
        for finishes in [false, true] {
            let config = Config { idle_timeout: None, ..config() };
            let probe = Probe::new(move |session, what| match what {
                What::Open if !finishes => session.pause(),
                What::Timer(_) => session.resume(),
                What::WriteIdle => session.set_timer(Duration::ZERO, 0),
                _ => {}
            });
            let mut fixture = Fixture::new(behaviour, 1, config, probe);
            let key = fixture.connect();
            if finishes {
                fixture.finish(key);
            }
            pass(&mut fixture, 5 * SECOND, None);
            assert_eq!(heard(&fixture), [0, 0, 1], "paused, or the peer has ended its stream: {behaviour:?}");
            // Resumed at the first report: the time counts from then.
            pass(&mut fixture, 2 * SECOND, None);
            assert_eq!(heard(&fixture), [0, 0, 1], "{behaviour:?}");
            pass(&mut fixture, 2 * SECOND, None);
            let reads = usize::from(!finishes);
            assert_eq!(heard(&fixture), [0, reads, 2], "{behaviour:?}");
        }
    }
}

/// One that ended its own stream sends nothing more: no heartbeat is due.
#[test]
fn who_has_finished_is_not_write_idle() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Open => session.finish(),
            What::HalfClose => session.close(),
            _ => {}
        });
        let config = Config { write_idle_timeout: Some(SECOND), ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let key = fixture.connect();
        pass(&mut fixture, 5 * SECOND, None);
        assert_eq!((heard(&fixture), fixture.reasons()), ([0; 3], vec![]), "{behaviour:?}");
        fixture.finish(key);
        fixture.settle();
        assert_eq!(fixture.reasons(), [CloseReason::Local], "{behaviour:?}");
        fixture.client.close(key);
        fixture.settle();
        fixture.assert_clean();
    }
}
