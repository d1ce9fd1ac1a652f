//! Workers that do not turn: what was placed on them goes to others, and what the monitor accepted in their place is
//! admitted like any other connection.

use std::io;
use std::time::Duration;

use proactor::Event as Io;
use proactor::backend::Wait;
use proactor::backend::simulated::Behaviour;

use super::world::{End, Probe, World, behaviours};
use crate::acceptor::Delivery;
use crate::config::Config;
use crate::heartbeat::Pulses;
use crate::mailbox::Mail;
use crate::sync::atomic::Ordering;
use crate::worker::Arrival;

/// Connects `count` clients that wait in the backlog.
fn begin(world: &mut World, count: usize) {
    for _ in 0..count {
        world.begin_connect();
    }
    for _ in 0..50 {
        world.round_of_client();
    }
}

/// Turns worker 0 alone, as often as the kernel needs to give it all that waits.
fn turn_first(world: &mut World) {
    for _ in 0..60 {
        world.workers[0].turn(false).unwrap();
    }
}

fn sessions(world: &World) -> Vec<usize> {
    world.workers.iter().map(|worker| worker.core.sessions.len()).collect()
}

fn placed(world: &World) -> Vec<usize> {
    world.workers.iter().map(|worker| worker.face.placed.load(Ordering::Relaxed)).collect()
}

/// A world in which everybody turns once.
fn turning(behaviour: Behaviour, workers: usize, config: Config) -> (World, Pulses) {
    let mut world = World::new(behaviour, workers, config, Probe::echo());
    world.settle();
    let faces: Vec<_> = world.workers.iter().map(|worker| worker.face.clone()).collect();
    (world, Pulses::new(&faces))
}

/// Ticks of the monitor while worker 0 turns and the others do not.
fn others_stand_still(world: &mut World, pulses: &mut Pulses) {
    for _ in 0..3 {
        pulses.tick();
        world.workers[0].turn(false).unwrap();
    }
}

#[test]
fn arrivals_of_a_blocked_worker_become_sessions_of_another() {
    for behaviour in behaviours() {
        let limits = Config { max_sessions: 6, max_per_address: Some(6), ..Config::default() };
        let (mut world, mut pulses) = turning(behaviour, 2, limits);
        begin(&mut world, 6);
        turn_first(&mut world);
        assert_eq!((sessions(&world), placed(&world)), (vec![3, 0], vec![3, 3]), "{behaviour:?}");
        others_stand_still(&mut world, &mut pulses);
        assert!(world.workers[0].acceptor.take_back().is_empty());
        turn_first(&mut world);
        assert_eq!((sessions(&world), placed(&world)), (vec![6, 0], vec![6, 0]), "{behaviour:?}");
        // Each is counted once: there is no room for one more, and all of it again when they are gone.
        let refused = world.connect();
        assert_eq!(world.end(refused), End::Finished, "{behaviour:?}");
        let keys: Vec<_> = world.peers.keys().copied().collect();
        keys.iter().for_each(|key| world.finish(*key));
        world.settle();
        assert_eq!(placed(&world), [0, 0]);
        begin(&mut world, 6);
        world.settle();
        assert_eq!(sessions(&world), [3, 3], "it turns again: fewest first");
        world.post(0, Mail::Drain(Duration::from_secs(10)));
        world.post(1, Mail::Drain(Duration::from_secs(10)));
        world.settle();
        world.pass(Duration::from_secs(20));
        world.assert_clean();
    }
}

#[test]
fn nothing_is_placed_on_a_blocked_worker() {
    for behaviour in behaviours() {
        let (mut world, mut pulses) = turning(behaviour, 3, Config::default());
        others_stand_still(&mut world, &mut pulses);
        begin(&mut world, 6);
        turn_first(&mut world);
        assert_eq!((sessions(&world), placed(&world)), (vec![6, 0, 0], vec![6, 0, 0]), "{behaviour:?}");
        // One turn, and it has the fewest.
        world.workers[2].turn(false).unwrap();
        begin(&mut world, 2);
        turn_first(&mut world);
        assert_eq!(placed(&world), [6, 0, 2], "{behaviour:?}");
    }
}

/// Connections that worker 0 accepted and does not get to.
fn accepted(world: &mut World, count: usize) -> Vec<Arrival<proactor::backend::simulated::SimSocket>> {
    begin(world, count);
    let mut sockets = Vec::new();
    for _ in 0..60 {
        let driver = &mut world.workers[0].driver;
        driver.turn(Wait::Poll).unwrap();
        while let Some(event) = driver.next_event() {
            if let Io::Accepted { socket, .. } = event {
                sockets.push(Arrival::accepted(socket));
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
            let (mut world, _) = turning(behaviour, 3, limits.clone());
            for arrival in accepted(&mut world, 7) {
                assert!(world.workers[0].acceptor.deliver(1, Delivery::Accepted(arrival)).is_ok());
            }
            world.settle();
            let mut sessions = sessions(&world);
            sessions.sort_unstable();
            assert_eq!(sessions, [1, 1, 2], "{behaviour:?}");
            assert_eq!(world.stats(1).sessions_rejected, 3, "{behaviour:?}");
            let ends = world.peers.values().filter(|peer| peer.end == End::Finished).count();
            assert_eq!(ends, 3, "the rest is closed, not reset: {behaviour:?}");
        }
    }
}

#[test]
fn an_accept_of_the_monitor_that_failed_is_counted() {
    let (mut world, _) = turning(behaviours().next().unwrap(), 2, Config::default());
    for _ in 0..3 {
        let error = io::Error::from(io::ErrorKind::OutOfMemory);
        assert!(world.workers[0].acceptor.deliver(1, Delivery::AcceptFailed(error)).is_ok());
        world.settle();
    }
    assert_eq!((world.stats(0).accept_pauses, world.stats(1).accept_pauses), (0, 3));
}

/// It lies at a worker that ends: the one in whose place it was accepted serves it.
#[test]
fn what_the_monitor_accepted_outlives_the_worker_it_was_handed_to() {
    for behaviour in behaviours() {
        let (mut world, _) = turning(behaviour, 2, Config::default());
        for arrival in accepted(&mut world, 3) {
            // Before its mailbox is closed, and after its last look.
            assert!(world.workers[0].acceptor.deliver(1, Delivery::Accepted(arrival)).is_ok());
        }
        drop(world.workers.remove(1));
        world.settle();
        assert_eq!(sessions(&world), [3], "{behaviour:?}");
    }
}
