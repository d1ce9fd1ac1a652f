//! Sessions joined by `feed`, in a drain: they drain together, and nothing that one may still receive for another is lost.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use overlapped_testing::pattern;
use proactor::ConnectionKey;
use proactor::backend::simulated::Behaviour;

use super::fixture::{End, Fixture, Probe, What, behaviours};
use crate::config::Config;
use crate::mailbox::Mail;
use crate::session::{CloseReason, SessionId};

const LIMIT: Duration = Duration::from_secs(10);

/// Sends what a session receives to the one that it feeds, in the order of opening: `feeds[0]` is whom the first feeds.
/// A side that ends its stream ends that of the session that it feeds, as in `examples/proxy.rs`.
fn relay(feeds: &'static [usize]) -> Probe {
    let opened: Rc<RefCell<Vec<SessionId>>> = Rc::default();
    let targets: Rc<RefCell<HashMap<SessionId, SessionId>>> = Rc::default();
    Probe::new(move |session, what| {
        let target = targets.borrow().get(&session.id()).copied();
        match what {
            What::Open => {
                let mut opened = opened.borrow_mut();
                opened.push(session.id());
                let least = 1 + feeds.iter().max().unwrap().max(&(feeds.len() - 1));
                if opened.len() == least {
                    for (from, to) in feeds.iter().enumerate() {
                        let mut from = session.sibling(opened[from]).expect("it is open");
                        assert!(from.feed(opened[*to]));
                        targets.borrow_mut().insert(from.id(), opened[*to]);
                    }
                }
            }
            What::Data(data) => {
                if let Some(mut target) = target.and_then(|target| session.sibling(target)) {
                    target.send(data);
                }
            }
            What::HalfClose => {
                if let Some(mut target) = target.and_then(|target| session.sibling(target)) {
                    target.finish();
                }
            }
            _ => {}
        }
    })
}

struct Relay {
    fixture: Fixture,
    keys: Vec<ConnectionKey>,
}

impl Relay {
    fn new(behaviour: Behaviour, feeds: &'static [usize], sessions: usize) -> Relay {
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), relay(feeds));
        let keys = (0..sessions).map(|_| fixture.connect()).collect();
        Relay { fixture, keys }
    }

    fn drain(&mut self) {
        self.fixture.post(0, Mail::Drain(LIMIT));
        self.fixture.settle();
    }

    fn has_ended(&self) -> bool {
        self.fixture.workers[0].has_ended()
    }

    fn end(&self, side: usize) -> End {
        self.fixture.end(self.keys[side])
    }
}

/// The client's request was relayed; the answer comes in parts, with pauses in which nothing is unread anywhere.
#[test]
fn a_slow_answer_passes_a_draining_relay() {
    for behaviour in behaviours() {
        // With and without a half-close by the client, before and in the drain.
        for finishes_at in [None, Some(0), Some(2)] {
            let mut relay = Relay::new(behaviour, &[1, 0], 2);
            let (client, target) = (relay.keys[0], relay.keys[1]);
            relay.fixture.send(client, b"request");
            relay.fixture.settle();
            if finishes_at == Some(0) {
                relay.fixture.finish(client);
                relay.fixture.settle();
            }
            relay.drain();
            for part in 1..=4 {
                relay.fixture.pass(Duration::from_secs(1));
                let ends = (relay.end(0), relay.end(1));
                let finished = finishes_at.is_some_and(|at| part > at);
                assert_eq!(
                    ends,
                    (End::Open, if finished { End::Finished } else { End::Open }),
                    "{behaviour:?}"
                );
                relay.fixture.send(target, &pattern(5_000, part));
                if finishes_at == Some(part) {
                    relay.fixture.finish(client);
                }
                relay.fixture.settle();
            }
            relay.fixture.finish(target);
            relay.fixture.settle();
            let wanted: Vec<u8> = (1..=4).flat_map(|part| pattern(5_000, part)).collect();
            assert!(relay.fixture.got(client) == wanted, "INV-4: {behaviour:?}");
            assert_eq!(relay.end(0), End::Finished, "INV-8: {behaviour:?}");
            if finishes_at.is_none() {
                relay.fixture.finish(client);
                relay.fixture.settle();
            }
            assert!(relay.has_ended(), "{behaviour:?} {finishes_at:?}: {:?}", relay.fixture.log());
            assert_eq!(relay.fixture.all_stats().cut, 0);
            relay.fixture.assert_clean();
        }
    }
}

#[test]
fn the_deadline_cuts_both_sides_of_a_relay() {
    for behaviour in behaviours() {
        let mut relay = Relay::new(behaviour, &[1, 0], 2);
        relay.drain();
        relay.fixture.pass(LIMIT - Duration::from_millis(1));
        assert_eq!((relay.end(0), relay.end(1)), (End::Open, End::Open), "{behaviour:?}");
        relay.fixture.pass(Duration::from_millis(1));
        assert!(relay.has_ended(), "{behaviour:?}");
        let stats = relay.fixture.all_stats();
        assert_eq!((stats.drained, stats.cut, stats.bytes_lost), (0, 2, 0), "{behaviour:?}");
        relay.fixture.assert_clean();
    }
}

/// Whichever side goes: the other one is an ordinary session then.
#[test]
fn a_relay_whose_one_side_is_gone_drains_at_once() {
    for behaviour in behaviours() {
        for gone in 0..2 {
            for before in [true, false] {
                let mut relay = Relay::new(behaviour, &[1, 0], 2);
                if before {
                    relay.fixture.client.abort(relay.keys[gone]);
                    relay.fixture.settle();
                }
                relay.drain();
                if !before {
                    assert_eq!(relay.end(1 - gone), End::Open, "{behaviour:?}");
                    relay.fixture.client.abort(relay.keys[gone]);
                    relay.fixture.settle();
                }
                assert_eq!(relay.end(1 - gone), End::Finished, "{behaviour:?}");
                relay.fixture.finish(relay.keys[1 - gone]);
                relay.fixture.settle();
                assert!(relay.has_ended(), "{behaviour:?}");
                assert_eq!(relay.fixture.reasons(), [CloseReason::Reset, CloseReason::Drained]);
            }
        }
    }
}

/// Nobody feeds the first of a chain: it drains when it is silent; then the second, then the third.
#[test]
fn a_chain_drains_from_its_source_and_loses_nothing() {
    for behaviour in behaviours() {
        let mut relay = Relay::new(behaviour, &[1, 2], 3);
        // On their way, in a kernel's buffers of a few hundred bytes, when the drain begins.
        relay.fixture.send(relay.keys[0], &pattern(30_000, 0));
        relay.fixture.send(relay.keys[1], &pattern(30_000, 9));
        for _ in 0..behaviour.seed {
            relay.fixture.round();
        }
        relay.drain();
        for _ in 0..4 {
            for side in 0..3 {
                if relay.end(side) == End::Finished {
                    relay.fixture.finish(relay.keys[side]);
                }
            }
            relay.fixture.settle();
        }
        assert!(relay.has_ended(), "without the deadline: {behaviour:?}");
        let stats = relay.fixture.all_stats();
        assert_eq!((stats.drained, stats.cut, stats.bytes_lost), (3, 0, 0), "{behaviour:?}");
        assert_eq!(stats.bytes_sent, stats.bytes_received, "what was received was relayed: {behaviour:?}");
        relay.fixture.assert_clean();
    }
}

/// A source with many fed sessions ends: they all drain then.
#[test]
fn a_fan_out_drains_with_its_source() {
    for behaviour in behaviours() {
        let held = Rc::new(Cell::new(None));
        let (first, holds) = (Rc::new(Cell::new(None)), Rc::clone(&held));
        let probe = Probe::new(move |session, what| match what {
            What::Open => match first.get() {
                None => {
                    first.set(Some(session.id()));
                    holds.set(Some(session.owe()));
                }
                Some(source) => {
                    let here = session.id();
                    assert!(session.sibling(source).expect("it is open").feed(here));
                }
            },
            What::HalfClose => session.close(),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let keys: Vec<_> = (0..5).map(|_| fixture.connect()).collect();
        fixture.post(0, Mail::Drain(LIMIT));
        fixture.settle();
        assert!(keys.iter().all(|key| fixture.end(*key) == End::Open), "{behaviour:?}");
        drop(held.take());
        fixture.settle();
        assert!(keys.iter().all(|key| fixture.end(*key) == End::Finished), "{behaviour:?}");
        assert!(fixture.workers[0].core.awaiting_source.is_empty(), "INV-6");
    }
}
