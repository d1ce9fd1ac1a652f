//! Water marks, hard limits, deadlines and session limits (INV-6, INV-9).

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use proactor::PoolConfig;

use super::fixture::{End, Fixture, Probe, Seen, What, behaviours};
use crate::config::{Config, Overflow};
use crate::session::{CloseReason, Sent};

#[test]
fn a_peer_that_does_not_read_is_not_read_from() {
    for behaviour in behaviours() {
        let most = Rc::new(Cell::new(0));
        let seen = Rc::clone(&most);
        let probe = Probe::new(move |session, what| match what {
            What::Data(data) => {
                assert_eq!(session.send(data), Sent::Ok, "INV-6: high water comes before the hard limit");
                seen.set(seen.get().max(session.unsent()));
            }
            What::HalfClose => session.close(),
            _ => {}
        });
        let config = Config { high_water: 10_000, low_water: 5_000, ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let (slow, quick) = (fixture.connect(), fixture.connect());
        fixture.client.pause_receive(slow);
        fixture.settle();
        let bytes: Vec<u8> = (0..500_000).map(|at| (at % 241) as u8).collect();
        fixture.send(slow, &bytes);
        fixture.finish(slow);
        fixture.settle();
        // A pause is asynchronous: what a multishot receive has under way still comes.
        assert!(most.get() < 10_000 + 64 * 16 * 1024, "{} unsent with {behaviour:?}", most.get());
        fixture.send(quick, &bytes);
        fixture.settle();
        assert_eq!(fixture.got(quick), bytes, "one slow reader does not hold up the others");
        assert_ne!(fixture.got(slow).len(), bytes.len());
        fixture.client.receive(slow);
        fixture.settle();
        assert_eq!(fixture.got(slow), bytes, "INV-4, INV-8: {behaviour:?}");
        assert_eq!(fixture.end(slow), End::Finished);
        let writable = fixture.log().iter().filter(|seen| matches!(seen, Seen::Writable(_))).count();
        assert!(writable > 0, "the handler is told when the queue is low again");
        fixture.finish(quick);
        fixture.settle();
        fixture.assert_clean();
    }
}

fn flood(policy: Overflow) -> (Probe, Config) {
    let probe = Probe::new(|session, what| {
        if let What::Data(_) | What::Writable = what {
            while session.send(vec![3; 1000]) == Sent::Ok {
                assert!(session.unsent() <= 20_000, "INV-6: the hard limit holds");
            }
        }
    });
    let config = Config {
        high_water: 10_000,
        low_water: 5_000,
        hard_limit: 20_000,
        overflow: policy,
        ..Config::default()
    };
    (probe, config)
}

#[test]
fn over_the_hard_limit_a_session_is_closed() {
    for behaviour in behaviours() {
        let (probe, config) = flood(Overflow::Close);
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let key = fixture.connect();
        fixture.send(key, b"go");
        fixture.settle();
        assert_eq!(fixture.end(key), End::Reset);
        assert_eq!(fixture.reasons(), [CloseReason::Overflow]);
        assert_eq!(fixture.all_stats().sessions_overflowed, 1);
        fixture.assert_clean();
    }
}

#[test]
fn or_its_send_is_refused_and_it_is_told_when_there_is_room() {
    for behaviour in behaviours() {
        let (probe, config) = flood(Overflow::Refuse);
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let key = fixture.connect();
        fixture.send(key, b"go");
        for _ in 0..300 {
            fixture.round();
        }
        assert!(fixture.got(key).len() > 20_000, "it goes on when there is room: {behaviour:?}");
        assert_eq!(fixture.reasons(), []);
    }
}

fn short_deadlines() -> Config {
    Config {
        idle_timeout: Some(Duration::from_secs(10)),
        first_byte_timeout: Some(Duration::from_secs(2)),
        write_timeout: Some(Duration::from_secs(4)),
        linger_timeout: Duration::ZERO,
        ..Config::default()
    }
}

#[test]
fn silence_and_stalls_have_deadlines() {
    let second = Duration::from_secs(1);
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 1, short_deadlines(), Probe::echo());
        let (silent, stalled, idle) = (fixture.connect(), fixture.connect(), fixture.connect());
        fixture.client.pause_receive(stalled);
        fixture.settle();
        fixture.send(stalled, &[0; 2_000_000]);
        fixture.send(idle, b"hello");
        fixture.settle();
        fixture.pass(second);
        assert_eq!(fixture.reasons(), [], "{behaviour:?}");
        // A deadline is noticed up to a 32nd part of itself late.
        fixture.pass(second + second / 5);
        assert_eq!(fixture.reasons(), [CloseReason::FirstByteTimeout], "{behaviour:?}");
        assert_eq!(fixture.end(silent), End::Finished);
        fixture.pass(2 * second + second / 5);
        assert_eq!(fixture.reasons()[1..], [CloseReason::WriteTimeout], "{behaviour:?}");
        fixture.pass(5 * second);
        assert_eq!(fixture.reasons().len(), 2);
        fixture.pass(second + second / 3);
        fixture.pass(Duration::from_millis(10)); // a linger of no time ends with the next tick
        assert_eq!(fixture.log().iter().filter(|seen| matches!(seen, Seen::Idle(_))).count(), 1);
        assert_eq!(fixture.end(idle), End::Finished);
        assert_eq!(fixture.reasons()[2..], [CloseReason::IdleTimeout], "{behaviour:?}");
        assert_eq!(fixture.all_stats().sessions_timed_out, 3);
        fixture.assert_clean();
    }
}

#[test]
fn who_is_kept_when_idle_is_asked_again_after_another_such_time() {
    let second = Duration::from_secs(1);
    for behaviour in behaviours().take(4) {
        let config = Config { idle_timeout: Some(10 * second), ..Config::default() };
        let probe = Probe::new(|session, what| {
            if let What::Data(data) = what {
                session.send(data);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let key = fixture.connect();
        let asked =
            |fixture: &Fixture| fixture.log().iter().filter(|seen| matches!(seen, Seen::Idle(_))).count();
        for wanted in 1..4 {
            fixture.pass(9 * second);
            assert_eq!(asked(&fixture), wanted - 1, "{behaviour:?}");
            fixture.pass(second + second / 3);
            assert_eq!(asked(&fixture), wanted, "{behaviour:?}");
        }
        fixture.pass(5 * second);
        fixture.send(key, b"still here");
        fixture.settle();
        fixture.pass(9 * second);
        assert_eq!(asked(&fixture), 3, "counted from the last byte: {behaviour:?}");
        assert_eq!(fixture.reasons(), []);
    }
}

#[test]
fn a_deadline_left_by_an_earlier_session_of_a_slot_is_good_for_the_next() {
    let second = Duration::from_secs(1);
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 1, short_deadlines(), Probe::echo());
        for _ in 0..3 {
            let passing = fixture.connect();
            fixture.send(passing, &[0; 100]);
            fixture.finish(passing);
            fixture.settle();
            fixture.pass(second / 2);
        }
        let (silent, idle) = (fixture.connect(), fixture.connect());
        fixture.send(idle, b"hello");
        fixture.settle();
        fixture.pass(2 * second - second / 10);
        assert_eq!(fixture.end(silent), End::Open, "{behaviour:?}");
        fixture.pass(second / 5);
        assert_eq!(fixture.end(silent), End::Finished, "{behaviour:?}");
        fixture.pass(7 * second + second / 2);
        assert_eq!(fixture.end(idle), End::Open, "{behaviour:?}");
        fixture.pass(second);
        assert_eq!(fixture.end(idle), End::Finished, "{behaviour:?}");
        assert_eq!(fixture.all_stats().sessions_timed_out, 2);
        fixture.assert_clean();
    }
}

#[test]
fn timers_fire_in_time_and_ticks_repeat() {
    for behaviour in behaviours().take(4) {
        let probe = Probe::new(|session, what| {
            if let What::Open = what {
                session.set_timer(Duration::from_millis(30), 2);
                session.set_timer(Duration::from_millis(10), 1);
            }
        });
        let config = Config { tick: Some(Duration::from_millis(20)), ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        fixture.connect();
        let fired = |fixture: &Fixture| -> Vec<Seen> {
            let kept = |seen: &Seen| matches!(seen, Seen::Timer(..) | Seen::Tick);
            fixture.log().into_iter().filter(kept).collect()
        };
        fixture.pass(Duration::from_millis(9));
        assert_eq!(fired(&fixture), []);
        fixture.pass(Duration::from_millis(4));
        assert!(matches!(fired(&fixture)[..], [Seen::Timer(_, 1)]));
        fixture.pass(Duration::from_millis(12));
        assert!(matches!(fired(&fixture)[..], [_, Seen::Tick]));
        fixture.pass(Duration::from_millis(10));
        assert!(matches!(fired(&fixture)[..], [_, _, Seen::Timer(_, 2)]));
        fixture.pass(Duration::from_millis(20));
        assert!(matches!(fired(&fixture)[..], [_, _, _, Seen::Tick]));
    }
}

#[test]
fn beyond_the_session_limit_connections_are_closed_and_counted() {
    for behaviour in behaviours() {
        let config = Config { max_sessions: 3, ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 2, config, Probe::echo());
        let keys: Vec<_> = (0..5).map(|_| fixture.connect()).collect();
        let turned_away = keys.iter().filter(|key| fixture.end(**key) != End::Open).count();
        assert_eq!((turned_away, fixture.all_stats().sessions_rejected), (2, 2));
        let stays = keys.iter().copied().find(|key| fixture.end(*key) == End::Open).unwrap();
        fixture.finish(stays);
        fixture.settle();
        let next = fixture.connect();
        fixture.send(next, b"room again");
        fixture.settle();
        assert_eq!(fixture.got(next), b"room again");
    }
}

#[test]
fn sessions_are_spread_evenly() {
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 3, Config::default(), Probe::echo());
        let keys: Vec<_> = (0..31).map(|_| fixture.connect()).collect();
        let spread = |fixture: &Fixture| {
            let counts: Vec<u64> = (0..3).map(|worker| fixture.stats(worker).sessions).collect();
            counts.iter().max().unwrap() - counts.iter().min().unwrap()
        };
        assert!(spread(&fixture) <= 1, "{behaviour:?}");
        for key in &keys[..10] {
            fixture.finish(*key);
        }
        fixture.settle();
        for _ in 0..20 {
            fixture.connect();
        }
        assert!(spread(&fixture) <= 1, "newcomers go where there are fewest: {behaviour:?}");
    }
}

#[test]
fn a_small_pool_is_shared_and_comes_back() {
    for behaviour in behaviours() {
        let pool = PoolConfig { blocks: 4, block_len: 512 };
        let config = Config { pool, ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, Probe::echo());
        let keys: Vec<_> = (0..20).map(|_| fixture.connect()).collect();
        for key in &keys {
            fixture.send(*key, &[4; 5_000]);
            fixture.finish(*key);
        }
        fixture.settle();
        for key in &keys {
            assert_eq!(fixture.got(*key), [4; 5_000], "INV-9: {behaviour:?}");
        }
        fixture.assert_clean();
    }
}
