//! When a session receives: pause and resume, and relays, where unsent bytes of one side hold the receive of the other.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use overlapped_testing::pattern;
use proactor::ConnectionKey;
use proactor::backend::simulated::Behaviour;

use super::fixture::{End, Fixture, Probe, What, behaviours};
use crate::SessionId;
use crate::config::Config;
use crate::session::{CloseReason, Sent};

#[test]
fn a_paused_session_receives_nothing_until_it_is_resumed() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Data(data) => {
                session.pause();
                session.set_timer(Duration::from_millis(10), 0);
                session.send(data);
            }
            What::Timer(_) => session.resume(),
            What::HalfClose => session.close(),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.send(key, b"one");
        fixture.settle();
        fixture.send(key, b"two");
        fixture.settle();
        let before = fixture.got(key).to_vec();
        assert!(b"one".starts_with(&before[..]), "{behaviour:?}: {before:?}");
        for _ in 0..20 {
            fixture.pass(Duration::from_millis(20)); // a cut stream takes a round for each piece
        }
        assert_eq!(fixture.got(key), b"onetwo", "{behaviour:?}");
        fixture.finish(key);
        for _ in 0..5 {
            fixture.pass(Duration::from_millis(20));
        }
        assert_eq!(fixture.end(key), End::Finished, "{behaviour:?}");
        fixture.client.close(key);
        fixture.settle();
        fixture.assert_clean();
    }
}

/// When the second session of a relay closes.
const CLOSES_AFTER: Duration = Duration::from_secs(30);

/// Two sessions that send on what the other receives.
fn relay() -> Probe {
    let pair: Rc<RefCell<Vec<SessionId>>> = Rc::default();
    Probe::new(move |session, what| match what {
        What::Open => {
            let mut pair = pair.borrow_mut();
            pair.push(session.id());
            if let [first, second] = pair[..] {
                assert!(session.feed(first));
                assert!(session.worker().session(first).expect("it is open").0.feed(second));
                session.set_timer(CLOSES_AFTER, 0);
            }
        }
        What::Data(data) => {
            let pair = pair.borrow();
            let other = pair.iter().copied().find(|id| *id != session.id()).expect("two were opened");
            let sent = session.sibling(other).map(|mut other| other.send(data));
            assert_ne!(sent, Some(Sent::Full), "INV-6: the relay stays within its limits");
        }
        What::HalfClose | What::Timer(_) => session.close(),
        _ => {}
    })
}

/// Both clients of a relay. The second one does not read.
fn relay_with_a_slow_side(behaviour: Behaviour) -> (Fixture, ConnectionKey, ConnectionKey) {
    let config = Config { high_water: 20_000, low_water: 5_000, hard_limit: 600_000, ..Config::default() };
    let mut fixture = Fixture::new(behaviour, 1, config, relay());
    let (quick, slow) = (fixture.connect(), fixture.connect());
    fixture.client.pause_receive(slow);
    fixture.settle();
    (fixture, quick, slow)
}

#[test]
fn a_relay_is_held_by_its_slow_side_and_not_by_the_other() {
    const BYTES: usize = 1_000_000;
    for behaviour in behaviours() {
        let (mut fixture, quick, slow) = relay_with_a_slow_side(behaviour);
        let bytes = pattern(BYTES, 0);
        fixture.send(quick, &bytes);
        fixture.settle();
        assert!(fixture.all_stats().bytes_received < 600_000, "{behaviour:?}: {:?}", fixture.all_stats());
        // The other direction flows: the two sides do not wait for each other.
        fixture.send(slow, &bytes[..100_000]);
        fixture.settle();
        assert!(fixture.got(quick) == &bytes[..100_000], "{behaviour:?}: {}", fixture.got(quick).len());
        fixture.client.receive(slow);
        fixture.settle();
        assert!(fixture.got(slow) == &bytes[..], "INV-4: {behaviour:?}: {}", fixture.got(slow).len());
    }
}

#[test]
fn a_full_session_that_goes_lets_its_source_go() {
    for behaviour in behaviours() {
        let (mut fixture, quick, slow) = relay_with_a_slow_side(behaviour);
        fixture.send(quick, &[5; 1_000_000]);
        fixture.settle();
        fixture.client.abort(slow);
        fixture.settle();
        assert_eq!(fixture.reasons(), [CloseReason::Reset], "{behaviour:?}");
        assert_eq!(fixture.all_stats().bytes_received, 1_000_000, "it receives again: {behaviour:?}");
    }
}

/// Its last bytes are still on their way, and nothing more is sent to it: nobody has to wait for it.
#[test]
fn a_full_session_that_closes_lets_its_source_go_at_once() {
    for behaviour in behaviours() {
        let (mut fixture, quick, slow) = relay_with_a_slow_side(behaviour);
        fixture.send(quick, &[5; 1_000_000]);
        fixture.settle();
        assert!(fixture.all_stats().bytes_received < 600_000, "INV-6: {behaviour:?}");
        fixture.pass(CLOSES_AFTER);
        fixture.settle();
        assert_eq!(fixture.reasons(), [], "it waits for its reader: {behaviour:?}");
        assert_eq!(fixture.all_stats().bytes_received, 1_000_000, "it receives again: {behaviour:?}");
        let sent = fixture.all_stats().bytes_sent as usize;
        fixture.client.receive(slow);
        fixture.settle();
        assert!(fixture.got(slow).len() > sent, "INV-8: what was queued goes out: {behaviour:?}");
        assert!(matches!(fixture.end(slow), End::Finished), "INV-8: {behaviour:?}");
    }
}

#[test]
fn beyond_the_limit_per_address_connections_are_closed_and_counted() {
    for behaviour in behaviours() {
        let config = Config { max_per_address: Some(3), ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 2, config, Probe::echo());
        let keys: Vec<_> = (0..5).map(|_| fixture.connect()).collect();
        let turned_away = keys.iter().filter(|key| fixture.end(**key) != End::Open).count();
        assert_eq!((turned_away, fixture.all_stats().sessions_rejected), (2, 2), "{behaviour:?}");
        let stays = keys.iter().copied().find(|key| fixture.end(*key) == End::Open).unwrap();
        fixture.finish(stays);
        fixture.settle();
        let next = fixture.connect();
        fixture.send(next, b"room again");
        fixture.settle();
        assert_eq!(fixture.got(next), b"room again");
    }
}
