//! Drains: everything that was received is answered, and nothing is waited for beyond the deadline.

use std::time::Duration;

use super::fixture::{End, Fixture, Probe, behaviours};
use crate::config::Config;
use crate::mailbox::Mail;
use crate::session::CloseReason;

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn what_is_on_its_way_is_answered_first() {
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 2, Config::default(), Probe::echo());
        let keys: Vec<_> = (0..6).map(|_| fixture.connect()).collect();
        for key in &keys {
            fixture.send(*key, &[5; 30_000]);
        }
        // How far the first bytes come before the drain begins is different in each run.
        for _ in 0..behaviour.seed {
            fixture.round();
        }
        let under_way: Vec<usize> = keys.iter().map(|key| fixture.got(*key).len()).collect();
        for worker in 0..2 {
            fixture.post(worker, Mail::Drain(LIMIT));
        }
        for _ in 0..40 {
            fixture.settle();
            for key in &keys {
                if fixture.end(*key) == End::Finished {
                    fixture.finish(*key);
                }
            }
        }
        let stats = fixture.all_stats();
        assert!(fixture.workers.iter().all(super::super::Worker::has_ended), "{behaviour:?} {stats:?}");
        assert_eq!((stats.drained, stats.cut, stats.bytes_lost), (6, 0, 0), "{behaviour:?}");
        assert_eq!(stats.bytes_sent, stats.bytes_received, "every byte received was answered");
        for (key, before) in keys.iter().zip(under_way) {
            assert_eq!(fixture.end(*key), End::Finished, "INV-8: {behaviour:?}");
            assert!(fixture.got(*key).len() >= before);
        }
        fixture.assert_clean();
    }
}

#[test]
fn a_handler_that_answers_nothing_drains_too() {
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), Probe::new(|_, _| {}));
        let key = fixture.connect();
        fixture.send(key, &[1; 100_000]);
        for _ in 0..behaviour.seed {
            fixture.round();
        }
        fixture.post(0, Mail::Drain(LIMIT));
        fixture.settle();
        assert_eq!(fixture.end(key), End::Finished, "{behaviour:?}");
        fixture.finish(key);
        fixture.settle();
        assert!(fixture.workers[0].has_ended(), "{behaviour:?}");
        assert_eq!(fixture.reasons(), [CloseReason::Drained]);
        fixture.assert_clean();
    }
}

#[test]
fn the_deadline_cuts_who_does_not_read_and_counts_what_is_lost() {
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), Probe::echo());
        let key = fixture.connect();
        fixture.client.pause_receive(key);
        fixture.settle();
        fixture.send(key, &[9; 1_000_000]);
        fixture.settle();
        fixture.post(0, Mail::Drain(LIMIT));
        fixture.settle();
        assert!(!fixture.workers[0].has_ended());
        fixture.pass(LIMIT - Duration::from_millis(1));
        assert!(!fixture.workers[0].has_ended());
        fixture.pass(Duration::from_millis(1));
        assert!(fixture.workers[0].has_ended(), "{behaviour:?}");
        let stats = fixture.all_stats();
        assert_eq!((stats.drained, stats.cut), (0, 1));
        assert!(stats.bytes_lost > 0, "{stats:?}");
        assert_eq!(fixture.reasons(), [CloseReason::Cut]);
        fixture.assert_clean();
    }
}

#[test]
fn idle_sessions_and_the_backlog_are_let_go() {
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 2, Config::default(), Probe::echo());
        let old = fixture.connect();
        // Connected, its first bytes sent, and not accepted yet when the drain begins.
        let new = fixture.server.client.connect(fixture.server.address).unwrap();
        fixture.post(0, Mail::Drain(LIMIT));
        fixture.post(1, Mail::Drain(LIMIT));
        fixture.client.turn(proactor::backend::Wait::Poll).unwrap();
        let connected = std::iter::from_fn(|| fixture.client.next_event()).count() > 0;
        fixture.settle();
        assert_eq!(fixture.end(old), End::Finished);
        if connected {
            assert_eq!(fixture.all_stats().sessions_opened, 2, "the backlog is served: {behaviour:?}");
        }
        fixture.client.close(old);
        fixture.client.abort(new);
        fixture.settle();
        assert!(fixture.workers.iter().all(super::super::Worker::has_ended), "{behaviour:?}");
        fixture.assert_clean();
    }
}

#[test]
fn a_second_drain_only_shortens() {
    let behaviour = behaviours().next().unwrap();
    let mut fixture = Fixture::new(behaviour, 1, Config::default(), Probe::echo());
    let key = fixture.connect();
    fixture.client.pause_receive(key);
    fixture.settle();
    fixture.send(key, &[9; 1_000_000]);
    fixture.settle();
    fixture.post(0, Mail::Drain(Duration::from_secs(5)));
    fixture.post(0, Mail::Drain(Duration::from_secs(50)));
    fixture.pass(Duration::from_secs(1));
    assert!(!fixture.workers[0].has_ended());
    fixture.post(0, Mail::Stop);
    fixture.settle();
    assert!(fixture.workers[0].has_ended());
    assert_eq!(fixture.reasons(), [CloseReason::Cut]);
}
