//! Drains: nothing that was received goes unanswered, nobody is waited for beyond the deadline.

use std::time::Duration;

use super::world::{End, Probe, World, behaviours};
use crate::config::Config;
use crate::mailbox::Mail;
use crate::session::CloseReason;

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn what_is_on_its_way_is_answered_first() {
    for behaviour in behaviours() {
        let mut world = World::new(behaviour, 2, Config::default(), Probe::echo());
        let keys: Vec<_> = (0..6).map(|_| world.connect()).collect();
        for key in &keys {
            world.send(*key, &[5; 30_000]);
        }
        // How far the first bytes come before the drain begins is different in each run.
        for _ in 0..behaviour.seed {
            world.round();
        }
        let under_way: Vec<usize> = keys.iter().map(|key| world.got(*key).len()).collect();
        for worker in 0..2 {
            world.post(worker, Mail::Drain(LIMIT));
        }
        for _ in 0..40 {
            world.settle();
            for key in &keys {
                if world.end(*key) == End::Finished {
                    world.finish(*key);
                }
            }
        }
        let stats = world.all_stats();
        assert!(world.workers.iter().all(super::super::Worker::has_ended), "{behaviour:?} {stats:?}");
        assert_eq!((stats.drained, stats.cut, stats.bytes_lost), (6, 0, 0), "{behaviour:?}");
        assert_eq!(stats.bytes_sent, stats.bytes_received, "every byte received was answered");
        for (key, before) in keys.iter().zip(under_way) {
            assert_eq!(world.end(*key), End::Finished, "INV-8: {behaviour:?}");
            assert!(world.got(*key).len() >= before);
        }
        world.assert_clean();
    }
}

#[test]
fn a_handler_that_answers_nothing_drains_too() {
    for behaviour in behaviours() {
        let mut world = World::new(behaviour, 1, Config::default(), Probe::new(|_, _| {}));
        let key = world.connect();
        world.send(key, &[1; 100_000]);
        for _ in 0..behaviour.seed {
            world.round();
        }
        world.post(0, Mail::Drain(LIMIT));
        world.settle();
        assert_eq!(world.end(key), End::Finished, "{behaviour:?}");
        world.finish(key);
        world.settle();
        assert!(world.workers[0].has_ended(), "{behaviour:?}");
        assert_eq!(world.reasons(), [CloseReason::Drained]);
        world.assert_clean();
    }
}

#[test]
fn the_deadline_cuts_who_does_not_read_and_counts_what_is_lost() {
    for behaviour in behaviours() {
        let mut world = World::new(behaviour, 1, Config::default(), Probe::echo());
        let key = world.connect();
        world.client.pause_receive(key);
        world.settle();
        world.send(key, &[9; 1_000_000]);
        world.settle();
        world.post(0, Mail::Drain(LIMIT));
        world.settle();
        assert!(!world.workers[0].has_ended());
        world.pass(LIMIT - Duration::from_millis(1));
        assert!(!world.workers[0].has_ended());
        world.pass(Duration::from_millis(1));
        assert!(world.workers[0].has_ended(), "{behaviour:?}");
        let stats = world.all_stats();
        assert_eq!((stats.drained, stats.cut), (0, 1));
        assert!(stats.bytes_lost > 0, "{stats:?}");
        assert_eq!(world.reasons(), [CloseReason::Cut]);
        world.assert_clean();
    }
}

#[test]
fn idle_sessions_and_the_backlog_are_let_go() {
    for behaviour in behaviours() {
        let mut world = World::new(behaviour, 2, Config::default(), Probe::echo());
        let old = world.connect();
        // Connected, its first bytes sent, and not accepted yet when the drain begins.
        let new = world.client.connect(world.address).unwrap();
        world.post(0, Mail::Drain(LIMIT));
        world.post(1, Mail::Drain(LIMIT));
        world.client.turn(proactor::backend::Wait::Poll).unwrap();
        let connected = std::iter::from_fn(|| world.client.next_event()).count() > 0;
        world.settle();
        assert_eq!(world.end(old), End::Finished);
        if connected {
            assert_eq!(world.all_stats().sessions_opened, 2, "the backlog is served: {behaviour:?}");
        }
        world.client.close(old);
        world.client.abort(new);
        world.settle();
        assert!(world.workers.iter().all(super::super::Worker::has_ended), "{behaviour:?}");
        world.assert_clean();
    }
}

#[test]
fn a_second_drain_only_shortens() {
    let behaviour = behaviours().next().unwrap();
    let mut world = World::new(behaviour, 1, Config::default(), Probe::echo());
    let key = world.connect();
    world.client.pause_receive(key);
    world.settle();
    world.send(key, &[9; 1_000_000]);
    world.settle();
    world.post(0, Mail::Drain(Duration::from_secs(5)));
    world.post(0, Mail::Drain(Duration::from_secs(50)));
    world.pass(Duration::from_secs(1));
    assert!(!world.workers[0].has_ended());
    world.post(0, Mail::Stop);
    world.settle();
    assert!(world.workers[0].has_ended());
    assert_eq!(world.reasons(), [CloseReason::Cut]);
}
