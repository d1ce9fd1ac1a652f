//! Timers of a worker: never early, one per token, and no concern of any session.

use std::time::Duration;

use super::fixture::{Fixture, Probe, Seen, What, behaviours};
use crate::config::Config;
use crate::mailbox::Mail;

const SECOND: Duration = Duration::from_secs(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Tokens of the worker's timers that fired, in order.
fn fired(fixture: &Fixture) -> Vec<u64> {
    let token = |seen| if let Seen::WorkerTimer(token) = seen { Some(token) } else { None };
    fixture.log().into_iter().filter_map(token).collect()
}

fn timers(fixture: &Fixture) -> usize {
    fixture.workers[0].core.timers.len()
}

/// Message `n` sets timer `n` for `n` ms.
fn by_message() -> Probe {
    Probe::echo().on_worker(|worker, seen| {
        if let Seen::Message(after) = seen {
            worker.set_timer(ms(after.into()), after.into());
        }
    })
}

#[test]
fn they_fire_once_in_order_and_never_early() {
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), by_message());
        for after in [300, 100, 1000, 100] {
            fixture.handles[0].post(after).unwrap();
        }
        fixture.settle();
        assert_eq!(timers(&fixture), 3, "one per token");
        for (passes, wanted) in
            [(99, &[][..]), (5, &[100]), (195, &[100]), (5, &[100, 300]), (695, &[100, 300])]
        {
            fixture.pass(ms(passes));
            assert_eq!(fired(&fixture), wanted, "{behaviour:?}");
        }
        fixture.pass(ms(5));
        assert_eq!((fired(&fixture), timers(&fixture)), (vec![100, 300, 1000], 0), "{behaviour:?}");
    }
}

#[test]
fn they_are_moved_cancelled_and_set_again() {
    for behaviour in behaviours() {
        let probe = Probe::echo().on_worker(|worker, seen| match seen {
            Seen::Message(1) => {
                worker.set_timer(SECOND, 1);
                worker.set_timer(SECOND, 2);
                worker.set_timer(SECOND, 3);
                worker.set_timer(2 * SECOND, 1);
                assert!(worker.cancel_timer(2) && !worker.cancel_timer(2) && !worker.cancel_timer(9));
            }
            // Periodic: itself again. Due at the same time as another, which it cancels.
            Seen::WorkerTimer(3) => {
                assert!(!worker.cancel_timer(3), "it is no longer set");
                worker.set_timer(SECOND, 3);
                worker.cancel_timer(1);
            }
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.handles[0].post(1).unwrap();
        for _ in 0..14 {
            fixture.pass(SECOND / 4 + ms(5));
        }
        assert_eq!(fired(&fixture), [3, 3, 3], "{behaviour:?}");
    }
}

/// A session's timer with the same token is another timer; sessions come and go.
#[test]
fn they_are_apart_from_those_of_sessions() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Open => {
                session.set_timer(SECOND, 7);
                session.worker().set_timer(2 * SECOND, 7);
            }
            What::Data(_) => {
                assert!(session.cancel_timer(7));
                session.close();
            }
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.send(key, b"x");
        fixture.settle();
        fixture.client.close(key);
        fixture.pass(2 * SECOND + ms(5));
        assert_eq!(fired(&fixture), [7], "{behaviour:?}");
        assert!(!fixture.log().iter().any(|seen| matches!(seen, Seen::Timer(..))), "{behaviour:?}");
        fixture.assert_clean();
    }
}

#[test]
fn they_fire_during_a_drain_and_do_not_delay_its_end() {
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), by_message());
        // A paused client keeps the session, and the drain, for a while.
        let probe_key = fixture.connect();
        fixture.handles[0].post(100).unwrap();
        fixture.handles[0].post(60_000).unwrap();
        fixture.settle();
        fixture.post(0, Mail::Drain(10 * SECOND));
        fixture.pass(ms(105));
        assert_eq!(fired(&fixture), [100], "{behaviour:?}");
        fixture.client.close(probe_key);
        fixture.pass(SECOND);
        assert!(fixture.workers[0].has_ended(), "the other one is not waited for: {behaviour:?}");
        assert_eq!(fired(&fixture), [100]);
    }
}

#[test]
fn a_panic_in_one_leaves_the_others() {
    for behaviour in behaviours() {
        let probe = Probe::echo().on_worker(|worker, seen| match seen {
            Seen::Message(_) => (1..4).for_each(|token| worker.set_timer(SECOND, token)),
            Seen::WorkerTimer(2) => panic!("on purpose"),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.handles[0].post(0).unwrap();
        fixture.settle();
        fixture.pass(SECOND + ms(5));
        fixture.pass(ms(5));
        assert_eq!(fired(&fixture), [1, 2, 3], "{behaviour:?}");
        let panics = fixture.log().into_iter().filter(|seen| matches!(seen, Seen::Panic(None, _))).count();
        assert_eq!((panics, fixture.stats(0).panics, fixture.stats(0).sessions), (1, 1, 1));
        fixture.send(key, b"still here");
        fixture.settle();
        assert_eq!(fixture.got(key), b"still here", "{behaviour:?}");
    }
}
