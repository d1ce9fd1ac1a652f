//! Water marks, hard limits, deadlines and session limits (INV-6, INV-9).

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use proactor::PoolConfig;

use super::world::{End, Probe, Seen, What, World, behaviours};
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
        let mut world = World::new(behaviour, 1, config, probe);
        let (slow, quick) = (world.connect(), world.connect());
        world.client.pause_receive(slow);
        world.settle();
        let bytes: Vec<u8> = (0..500_000).map(|at| (at % 241) as u8).collect();
        world.send(slow, &bytes);
        world.finish(slow);
        world.settle();
        // A pause is asynchronous: what a multishot receive has under way still comes.
        assert!(most.get() < 10_000 + 64 * 16 * 1024, "{} unsent with {behaviour:?}", most.get());
        world.send(quick, &bytes);
        world.settle();
        assert_eq!(world.got(quick), bytes, "one slow reader does not hold up the others");
        assert_ne!(world.got(slow).len(), bytes.len());
        world.client.receive(slow);
        world.settle();
        assert_eq!(world.got(slow), bytes, "INV-4, INV-8: {behaviour:?}");
        assert_eq!(world.end(slow), End::Finished);
        let writable = world.log().iter().filter(|seen| matches!(seen, Seen::Writable(_))).count();
        assert!(writable > 0, "the handler is told when the queue is low again");
        world.finish(quick);
        world.settle();
        world.assert_clean();
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
        let mut world = World::new(behaviour, 1, config, probe);
        let key = world.connect();
        world.send(key, b"go");
        world.settle();
        assert_eq!(world.end(key), End::Reset);
        assert_eq!(world.reasons(), [CloseReason::Overflow]);
        assert_eq!(world.all_stats().sessions_overflowed, 1);
        world.assert_clean();
    }
}

#[test]
fn or_its_send_is_refused_and_it_is_told_when_there_is_room() {
    for behaviour in behaviours() {
        let (probe, config) = flood(Overflow::Refuse);
        let mut world = World::new(behaviour, 1, config, probe);
        let key = world.connect();
        world.send(key, b"go");
        for _ in 0..300 {
            world.round();
        }
        assert!(world.got(key).len() > 20_000, "it goes on when there is room: {behaviour:?}");
        assert_eq!(world.reasons(), []);
    }
}

#[test]
fn silence_and_stalls_have_deadlines() {
    let second = Duration::from_secs(1);
    for behaviour in behaviours() {
        let config = Config {
            idle_timeout: Some(10 * second),
            first_byte_timeout: Some(2 * second),
            write_timeout: Some(4 * second),
            linger_timeout: Duration::ZERO,
            ..Config::default()
        };
        let mut world = World::new(behaviour, 1, config, Probe::echo());
        let (silent, stalled, idle) = (world.connect(), world.connect(), world.connect());
        world.client.pause_receive(stalled);
        world.settle();
        world.send(stalled, &[0; 2_000_000]);
        world.send(idle, b"hello");
        world.settle();
        world.pass(second);
        assert_eq!(world.reasons(), [], "{behaviour:?}");
        // A deadline is noticed up to a 32nd part of itself late.
        world.pass(second + second / 5);
        assert_eq!(world.reasons(), [CloseReason::FirstByteTimeout], "{behaviour:?}");
        assert_eq!(world.end(silent), End::Finished);
        world.pass(2 * second + second / 5);
        assert_eq!(world.reasons()[1..], [CloseReason::WriteTimeout], "{behaviour:?}");
        world.pass(5 * second);
        assert_eq!(world.reasons().len(), 2);
        world.pass(second + second / 3);
        world.pass(Duration::from_millis(10)); // a linger of no time ends with the next tick
        assert_eq!(world.log().iter().filter(|seen| matches!(seen, Seen::Idle(_))).count(), 1);
        assert_eq!(world.end(idle), End::Finished);
        assert_eq!(world.reasons()[2..], [CloseReason::IdleTimeout], "{behaviour:?}");
        assert_eq!(world.all_stats().sessions_timed_out, 3);
        world.assert_clean();
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
        let mut world = World::new(behaviour, 1, config, probe);
        let key = world.connect();
        let asked = |world: &World| world.log().iter().filter(|seen| matches!(seen, Seen::Idle(_))).count();
        for wanted in 1..4 {
            world.pass(9 * second);
            assert_eq!(asked(&world), wanted - 1, "{behaviour:?}");
            world.pass(second + second / 3);
            assert_eq!(asked(&world), wanted, "{behaviour:?}");
        }
        world.pass(5 * second);
        world.send(key, b"still here");
        world.settle();
        world.pass(9 * second);
        assert_eq!(asked(&world), 3, "counted from the last byte: {behaviour:?}");
        assert_eq!(world.reasons(), []);
    }
}

#[test]
fn a_deadline_left_by_an_earlier_session_of_a_slot_is_good_for_the_next() {
    let second = Duration::from_secs(1);
    for behaviour in behaviours() {
        let config = Config {
            idle_timeout: Some(10 * second),
            first_byte_timeout: Some(2 * second),
            write_timeout: Some(4 * second),
            linger_timeout: Duration::ZERO,
            ..Config::default()
        };
        let mut world = World::new(behaviour, 1, config, Probe::echo());
        for _ in 0..3 {
            let passing = world.connect();
            world.send(passing, &[0; 100]);
            world.finish(passing);
            world.settle();
            world.pass(second / 2);
        }
        let (silent, idle) = (world.connect(), world.connect());
        world.send(idle, b"hello");
        world.settle();
        world.pass(2 * second - second / 10);
        assert_eq!(world.end(silent), End::Open, "{behaviour:?}");
        world.pass(second / 5);
        assert_eq!(world.end(silent), End::Finished, "{behaviour:?}");
        world.pass(7 * second + second / 2);
        assert_eq!(world.end(idle), End::Open, "{behaviour:?}");
        world.pass(second);
        assert_eq!(world.end(idle), End::Finished, "{behaviour:?}");
        assert_eq!(world.all_stats().sessions_timed_out, 2);
        world.assert_clean();
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
        let mut world = World::new(behaviour, 1, config, probe);
        world.connect();
        let fired = |world: &World| -> Vec<Seen> {
            let kept = |seen: &Seen| matches!(seen, Seen::Timer(..) | Seen::Tick);
            world.log().into_iter().filter(kept).collect()
        };
        world.pass(Duration::from_millis(9));
        assert_eq!(fired(&world), []);
        world.pass(Duration::from_millis(4));
        assert!(matches!(fired(&world)[..], [Seen::Timer(_, 1)]));
        world.pass(Duration::from_millis(12));
        assert!(matches!(fired(&world)[..], [_, Seen::Tick]));
        world.pass(Duration::from_millis(10));
        assert!(matches!(fired(&world)[..], [_, _, Seen::Timer(_, 2)]));
        world.pass(Duration::from_millis(20));
        assert!(matches!(fired(&world)[..], [_, _, _, Seen::Tick]));
    }
}

#[test]
fn beyond_the_session_limit_connections_are_closed_and_counted() {
    for behaviour in behaviours() {
        let config = Config { max_sessions: 3, ..Config::default() };
        let mut world = World::new(behaviour, 2, config, Probe::echo());
        let keys: Vec<_> = (0..5).map(|_| world.connect()).collect();
        let turned_away = keys.iter().filter(|key| world.end(**key) != End::Open).count();
        assert_eq!((turned_away, world.all_stats().sessions_rejected), (2, 2));
        let stays = keys.iter().copied().find(|key| world.end(*key) == End::Open).unwrap();
        world.finish(stays);
        world.settle();
        let next = world.connect();
        world.send(next, b"room again");
        world.settle();
        assert_eq!(world.got(next), b"room again");
    }
}

#[test]
fn sessions_are_spread_evenly() {
    for behaviour in behaviours() {
        let mut world = World::new(behaviour, 3, Config::default(), Probe::echo());
        let keys: Vec<_> = (0..31).map(|_| world.connect()).collect();
        let spread = |world: &World| {
            let counts: Vec<u64> = (0..3).map(|worker| world.stats(worker).sessions).collect();
            counts.iter().max().unwrap() - counts.iter().min().unwrap()
        };
        assert!(spread(&world) <= 1, "{behaviour:?}");
        for key in &keys[..10] {
            world.finish(*key);
        }
        world.settle();
        for _ in 0..20 {
            world.connect();
        }
        assert!(spread(&world) <= 1, "newcomers go where there are fewest: {behaviour:?}");
    }
}

#[test]
fn a_small_pool_is_shared_and_comes_back() {
    for behaviour in behaviours() {
        let pool = PoolConfig { blocks: 4, block_len: 512 };
        let config = Config { pool, ..Config::default() };
        let mut world = World::new(behaviour, 1, config, Probe::echo());
        let keys: Vec<_> = (0..20).map(|_| world.connect()).collect();
        for key in &keys {
            world.send(*key, &[4; 5_000]);
            world.finish(*key);
        }
        world.settle();
        for key in &keys {
            assert_eq!(world.got(*key), [4; 5_000], "INV-9: {behaviour:?}");
        }
        world.assert_clean();
    }
}
