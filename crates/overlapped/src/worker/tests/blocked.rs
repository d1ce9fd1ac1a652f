//! Workers that do not turn: what was placed on them goes to others, and what the monitor accepted in their place is
//! admitted like any other connection.

use std::io;
use std::time::Duration;

use proactor::Event as Io;
use proactor::backend::Wait;
use proactor::backend::simulated::Behaviour;

use super::fixture::{End, Fixture, Probe, behaviours};
use crate::admission::Delivery;
use crate::config::Config;
use crate::mailbox::Mail;
use crate::shared::Pulses;
use crate::worker::Arrival;

/// Connects `count` clients that wait in the backlog.
fn begin(fixture: &mut Fixture, count: usize) {
    for _ in 0..count {
        fixture.begin_connect();
    }
    for _ in 0..50 {
        fixture.round_of_client();
    }
}

/// Turns worker 0 alone, as often as the kernel needs to give it all that waits.
fn turn_first(fixture: &mut Fixture) {
    for _ in 0..60 {
        fixture.workers[0].turn(false).unwrap();
    }
}

fn sessions(fixture: &Fixture) -> Vec<usize> {
    fixture.workers.iter().map(|worker| worker.core.sessions.len()).collect()
}

fn placed(fixture: &Fixture) -> Vec<usize> {
    fixture.workers.iter().map(|worker| worker.shared.placed()).collect()
}

/// A fixture whose workers have all turned once.
fn turning(behaviour: Behaviour, workers: usize, config: Config) -> (Fixture, Pulses) {
    let mut fixture = Fixture::new(behaviour, workers, config, Probe::echo());
    fixture.settle();
    let all_shared: Vec<_> = fixture.workers.iter().map(|worker| worker.shared.clone()).collect();
    (fixture, Pulses::new(&all_shared))
}

/// Ticks of the monitor while worker 0 turns and the others do not.
fn others_stand_still(fixture: &mut Fixture, pulses: &mut Pulses) {
    for _ in 0..3 {
        pulses.tick();
        fixture.workers[0].turn(false).unwrap();
    }
}

#[test]
fn arrivals_of_a_blocked_worker_become_sessions_of_another() {
    for behaviour in behaviours() {
        let limits = Config { max_sessions: 6, max_per_address: Some(6), ..Config::default() };
        let (mut fixture, mut pulses) = turning(behaviour, 2, limits);
        begin(&mut fixture, 6);
        turn_first(&mut fixture);
        assert_eq!((sessions(&fixture), placed(&fixture)), (vec![3, 0], vec![3, 3]), "{behaviour:?}");
        others_stand_still(&mut fixture, &mut pulses);
        assert!(fixture.workers[0].placement.take_back().is_empty());
        turn_first(&mut fixture);
        assert_eq!((sessions(&fixture), placed(&fixture)), (vec![6, 0], vec![6, 0]), "{behaviour:?}");
        // Each is counted once: there is no room for one more, and all of it again when they are gone.
        let refused = fixture.connect();
        assert_eq!(fixture.end(refused), End::Finished, "{behaviour:?}");
        let keys: Vec<_> = fixture.peers.keys().copied().collect();
        keys.iter().for_each(|key| fixture.finish(*key));
        fixture.settle();
        assert_eq!(placed(&fixture), [0, 0]);
        begin(&mut fixture, 6);
        fixture.settle();
        assert_eq!(sessions(&fixture), [3, 3], "it turns again: fewest first");
        fixture.post(0, Mail::Drain(Duration::from_secs(10)));
        fixture.post(1, Mail::Drain(Duration::from_secs(10)));
        fixture.settle();
        fixture.pass(Duration::from_secs(20));
        fixture.assert_clean();
    }
}

#[test]
fn nothing_is_placed_on_a_blocked_worker() {
    for behaviour in behaviours() {
        let (mut fixture, mut pulses) = turning(behaviour, 3, Config::default());
        others_stand_still(&mut fixture, &mut pulses);
        begin(&mut fixture, 6);
        turn_first(&mut fixture);
        assert_eq!((sessions(&fixture), placed(&fixture)), (vec![6, 0, 0], vec![6, 0, 0]), "{behaviour:?}");
        // One turn, and it has the fewest.
        fixture.workers[2].turn(false).unwrap();
        begin(&mut fixture, 2);
        turn_first(&mut fixture);
        assert_eq!(placed(&fixture), [6, 0, 2], "{behaviour:?}");
    }
}

/// Connections that worker 0 accepted and does not get to.
fn accepted(fixture: &mut Fixture, count: usize) -> Vec<Arrival<proactor::backend::simulated::SimSocket>> {
    begin(fixture, count);
    let mut sockets = Vec::new();
    for _ in 0..60 {
        let driver = &mut fixture.workers[0].driver;
        driver.turn(Wait::Poll).unwrap();
        while let Some(event) = driver.next_event() {
            if let Io::Accepted { socket, .. } = event {
                sockets.push(Arrival::accepted(socket, None, 0));
            }
        }
    }
    assert_eq!(sockets.len(), count);
    sockets
}

#[test]
fn what_the_monitor_accepted_is_limited_and_placed_like_the_rest() {
    let session_limit = Config { max_sessions: 4, ..Config::default() };
    let address_limit = Config { max_per_address: Some(4), ..Config::default() };
    for behaviour in behaviours() {
        for limits in [&session_limit, &address_limit] {
            let (mut fixture, _) = turning(behaviour, 3, limits.clone());
            for arrival in accepted(&mut fixture, 7) {
                assert!(fixture.workers[0].placement.deliver(1, Delivery::Accepted(arrival)).is_ok());
            }
            fixture.settle();
            let mut sessions = sessions(&fixture);
            sessions.sort_unstable();
            assert_eq!(sessions, [1, 1, 2], "{behaviour:?}");
            assert_eq!(fixture.stats(1).sessions_rejected, 3, "{behaviour:?}");
            let ends = fixture.peers.values().filter(|peer| peer.end == End::Finished).count();
            assert_eq!(ends, 3, "the rest is closed, not reset: {behaviour:?}");
        }
    }
}

#[test]
fn an_accept_of_the_monitor_that_failed_is_counted() {
    let (mut fixture, _) = turning(behaviours().next().unwrap(), 2, Config::default());
    for _ in 0..3 {
        let error = io::Error::from(io::ErrorKind::OutOfMemory);
        assert!(fixture.workers[0].placement.deliver(1, Delivery::AcceptFailed(error)).is_ok());
        fixture.settle();
    }
    assert_eq!((fixture.stats(0).accept_pauses, fixture.stats(1).accept_pauses), (0, 3));
}

/// It lies at a worker that ends: the one in whose place it was accepted serves it.
#[test]
fn what_the_monitor_accepted_outlives_the_worker_it_was_handed_to() {
    for behaviour in behaviours() {
        let (mut fixture, _) = turning(behaviour, 2, Config::default());
        for arrival in accepted(&mut fixture, 3) {
            // Before its mailbox is closed, and after its last look.
            assert!(fixture.workers[0].placement.deliver(1, Delivery::Accepted(arrival)).is_ok());
        }
        drop(fixture.workers.remove(1));
        fixture.settle();
        assert_eq!(sessions(&fixture), [3], "{behaviour:?}");
    }
}
