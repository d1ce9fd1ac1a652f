//! Connections beyond a limit: their peers read an end of stream, whatever they have sent, also in a drain.

use std::time::Duration;

use super::fixture::{End, Fixture, Probe, behaviours};
use crate::config::Config;
use crate::mailbox::Mail;

/// What a driver gives a peer to end its stream.
const LIMIT: Duration = Duration::from_millis(100);

fn turned_away(fixture: &Fixture) -> usize {
    fixture.workers.iter().map(|worker| worker.driver.snapshot().turned_away).sum()
}

/// Clients that speak before anybody has accepted them.
fn speakers(fixture: &mut Fixture, count: usize) -> Vec<proactor::ConnectionKey> {
    let keys: Vec<_> = (0..count).map(|_| fixture.begin_connect()).collect();
    // First to connect, which only the kernel has to see, and then to speak.
    for word in [&b""[..], b"hello"] {
        keys.iter().for_each(|key| fixture.send(*key, word));
        (0..50).for_each(|_| fixture.round_of_client());
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
            let mut fixture = Fixture::new(behaviour, 2, config, Probe::echo());
            let keys = speakers(&mut fixture, 10);
            fixture.settle();
            let ends = |fixture: &Fixture, end| keys.iter().filter(|key| fixture.end(**key) == end).count();
            assert_eq!((ends(&fixture, End::Open), ends(&fixture, End::Finished)), (3, 7), "{behaviour:?}");
            assert_eq!(fixture.all_stats().sessions_rejected, 7);
            for key in keys.iter().filter(|key| fixture.end(**key) == End::Open) {
                assert_eq!(fixture.got(*key), b"hello", "{behaviour:?}");
            }
            fixture.pass(LIMIT);
            assert_eq!(turned_away(&fixture), 0, "their time is over: {behaviour:?}");
            assert_eq!(ends(&fixture, End::Finished), 7, "{behaviour:?}");
        }
    }
}

/// A drain takes what the backlog holds: what is beyond the limit reads an end, and the drain waits for that.
#[test]
fn a_drain_waits_for_those_it_turns_away() {
    for behaviour in behaviours() {
        let config = Config { max_sessions: 1, ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, Probe::echo());
        let stays = fixture.connect();
        let keys = speakers(&mut fixture, 4);
        fixture.post(0, Mail::Drain(Duration::from_secs(10)));
        fixture.settle();
        assert!(keys.iter().all(|key| fixture.end(*key) == End::Finished), "{behaviour:?}");
        fixture.client.close(stays);
        fixture.settle();
        assert!(turned_away(&fixture) > 0 && !fixture.workers[0].has_ended(), "{behaviour:?}");
        let before = fixture.client.now();
        for _ in 0..100 {
            if !fixture.workers[0].has_ended() {
                fixture.workers[0].turn(true).unwrap();
            }
        }
        assert!(fixture.workers[0].has_ended(), "{behaviour:?}");
        assert!(fixture.client.now().since(before) <= 2 * LIMIT, "and no longer: {behaviour:?}");
        assert_eq!((turned_away(&fixture), fixture.all_stats().cut), (0, 0), "{behaviour:?}");
    }
}

/// No connection is waited for beyond the deadline.
#[test]
fn a_deadline_ends_those_who_are_turned_away() {
    for behaviour in behaviours() {
        let config = Config { max_sessions: 1, ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, Probe::echo());
        fixture.connect();
        let keys = speakers(&mut fixture, 4);
        fixture.settle();
        assert_eq!(turned_away(&fixture), 4, "{behaviour:?}");
        fixture.post(0, Mail::Stop);
        fixture.settle();
        assert!(fixture.workers[0].has_ended(), "{behaviour:?}");
        fixture.workers.clear();
        fixture.settle();
        assert!(keys.iter().all(|key| fixture.end(*key) == End::Finished), "{behaviour:?}");
    }
}
