//! Connections beyond a limit: their peers read an end of stream, whatever they have said, also in a drain.

use std::time::Duration;

use super::world::{End, Probe, World, behaviours};
use crate::config::Config;
use crate::mailbox::Mail;

/// What a driver gives a peer to end its stream.
const LIMIT: Duration = Duration::from_millis(100);

fn turned_away(world: &World) -> usize {
    world.workers.iter().map(|worker| worker.driver.snapshot().turned_away).sum()
}

/// Clients that speak before anybody has accepted them.
fn speakers(world: &mut World, count: usize) -> Vec<proactor::ConnectionKey> {
    let keys: Vec<_> = (0..count).map(|_| world.begin_connect()).collect();
    // First to connect, which only the kernel has to see, and then to speak.
    for word in [&b""[..], b"hello"] {
        keys.iter().for_each(|key| world.send(*key, word));
        (0..50).for_each(|_| world.round_of_client());
    }
    keys
}

#[test]
fn who_has_spoken_reads_an_end_beyond_either_limit() {
    for behaviour in behaviours() {
        let limits = [
            Config { max_sessions: 3, ..Config::default() },
            Config { max_per_address: Some(3), ..Config::default() },
        ];
        for config in limits {
            let mut world = World::new(behaviour, 2, config, Probe::echo());
            let keys = speakers(&mut world, 10);
            world.settle();
            let ends = |world: &World, end| keys.iter().filter(|key| world.end(**key) == end).count();
            assert_eq!((ends(&world, End::Open), ends(&world, End::Finished)), (3, 7), "{behaviour:?}");
            assert_eq!(world.all_stats().sessions_rejected, 7);
            for key in keys.iter().filter(|key| world.end(**key) == End::Open) {
                assert_eq!(world.got(*key), b"hello", "{behaviour:?}");
            }
            world.pass(LIMIT);
            assert_eq!(turned_away(&world), 0, "their time is over: {behaviour:?}");
            assert_eq!(ends(&world, End::Finished), 7, "{behaviour:?}");
        }
    }
}

/// A drain takes what the backlog holds: what is beyond the limit reads an end, and the drain waits for that.
#[test]
fn a_drain_waits_for_those_it_turns_away() {
    for behaviour in behaviours() {
        let config = Config { max_sessions: 1, ..Config::default() };
        let mut world = World::new(behaviour, 1, config, Probe::echo());
        let stays = world.connect();
        let keys = speakers(&mut world, 4);
        world.post(0, Mail::Drain(Duration::from_secs(10)));
        world.settle();
        assert!(keys.iter().all(|key| world.end(*key) == End::Finished), "{behaviour:?}");
        world.client.close(stays);
        world.settle();
        assert!(turned_away(&world) > 0 && !world.workers[0].has_ended(), "{behaviour:?}");
        let before = world.client.now();
        for _ in 0..100 {
            if !world.workers[0].has_ended() {
                world.workers[0].turn(true).unwrap();
            }
        }
        assert!(world.workers[0].has_ended(), "{behaviour:?}");
        assert!(world.client.now().since(before) <= 2 * LIMIT, "and no longer: {behaviour:?}");
        assert_eq!((turned_away(&world), world.all_stats().cut), (0, 0), "{behaviour:?}");
    }
}

/// Nobody is waited for beyond the deadline.
#[test]
fn a_deadline_ends_those_who_are_turned_away() {
    for behaviour in behaviours() {
        let config = Config { max_sessions: 1, ..Config::default() };
        let mut world = World::new(behaviour, 1, config, Probe::echo());
        world.connect();
        let keys = speakers(&mut world, 4);
        world.settle();
        assert_eq!(turned_away(&world), 4, "{behaviour:?}");
        world.post(0, Mail::Stop);
        world.settle();
        assert!(world.workers[0].has_ended(), "{behaviour:?}");
        world.workers.clear();
        world.settle();
        assert!(keys.iter().all(|key| world.end(*key) == End::Finished), "{behaviour:?}");
    }
}
