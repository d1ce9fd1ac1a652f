//! Connections that the handler is asked about, and where sessions say that they come from.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use proactor::ConnectionKey;
use proactor::backend::simulated::Behaviour;

use super::fixture::{End, Fixture, LISTENER, Probe, Seen, What, behaviours};
use crate::admission::Admission;
use crate::config::Config;
use crate::session::{CloseReason, Closed, Origin};

const FULL: &[u8] = b"server full\n";
/// What a driver gives a peer to end its stream.
const LIMIT: Duration = Duration::from_millis(100);

fn turned_away(fixture: &Fixture) -> usize {
    fixture.workers.iter().map(|worker| worker.driver.snapshot().turned_away).sum()
}

/// Clients that speak before anybody has accepted them.
fn speakers(fixture: &mut Fixture, count: usize) -> Vec<ConnectionKey> {
    let keys: Vec<_> = (0..count).map(|_| fixture.begin_connect()).collect();
    for word in [&b""[..], b"hello"] {
        keys.iter().for_each(|key| fixture.send(*key, word));
        (0..50).for_each(|_| fixture.round_of_client());
    }
    keys
}

/// How many clients have read `word` and then an end of stream, and how many are sessions.
fn refused_and_open(fixture: &Fixture, keys: &[ConnectionKey], word: &[u8]) -> (usize, usize) {
    let refused = |key: &&ConnectionKey| fixture.end(**key) == End::Finished && fixture.got(**key) == word;
    let open = |key: &&ConnectionKey| fixture.end(**key) == End::Open && fixture.got(**key) == b"hello";
    (keys.iter().filter(refused).count(), keys.iter().filter(open).count())
}

#[test]
fn who_is_refused_reads_a_last_word() {
    for behaviour in behaviours() {
        let probe = Probe::echo().on_accept(|incoming| match incoming.sessions() {
            0..3 => Admission::Admit,
            _ => Admission::refuse(FULL),
        });
        let mut fixture = Fixture::new(behaviour, 2, Config::default(), probe);
        let keys = speakers(&mut fixture, 10);
        fixture.settle();
        assert_eq!(refused_and_open(&fixture, &keys, FULL), (7, 3), "{behaviour:?}");
        let stats = fixture.all_stats();
        assert_eq!((stats.sessions_rejected, stats.sessions_opened), (7, 3), "{behaviour:?}");
        fixture.pass(LIMIT);
        assert_eq!(turned_away(&fixture), 0, "their time is over: {behaviour:?}");
        assert_eq!(refused_and_open(&fixture, &keys, FULL), (7, 3), "no reset follows: {behaviour:?}");
        // Who was refused takes nobody's room.
        let first = keys.iter().copied().find(|key| fixture.end(*key) == End::Open).unwrap();
        fixture.finish(first);
        fixture.settle();
        let next = fixture.connect();
        assert_eq!(fixture.end(next), End::Open, "{behaviour:?}");
    }
}

#[test]
fn a_limit_that_is_reached_may_have_a_last_word() {
    for behaviour in behaviours() {
        let limits = [
            (Config { max_sessions: 3, ..Config::default() }, "SessionLimit"),
            (Config { max_per_address: Some(3), ..Config::default() }, "AddressLimit"),
        ];
        for (config, name) in limits {
            for speaks in [true, false] {
                let probe = Probe::echo().on_accept(move |incoming| match incoming.limit_reached() {
                    Some(limit) if speaks => Admission::refuse(format!("{limit:?}")),
                    // There is no room, whatever it answers.
                    _ => Admission::Admit,
                });
                let mut fixture = Fixture::new(behaviour, 2, config.clone(), probe);
                let keys = speakers(&mut fixture, 5);
                fixture.settle();
                let word = if speaks { name.as_bytes() } else { b"" };
                assert_eq!(refused_and_open(&fixture, &keys, word), (2, 3), "{name}, {behaviour:?}");
                assert_eq!(fixture.all_stats().sessions_rejected, 2, "{behaviour:?}");
            }
        }
    }
}

#[test]
fn a_connection_is_described_before_during_and_after_its_session() {
    for behaviour in behaviours() {
        let incoming = Rc::new(RefCell::new(Vec::new()));
        let opened = Rc::new(RefCell::new(Vec::new()));
        let (seen, told) = (Rc::clone(&incoming), Rc::clone(&opened));
        let probe = Probe::new(move |session, what| match what {
            What::Open => told.borrow_mut().push((session.peer_addr().unwrap(), session.origin().unwrap())),
            What::Data(data) => {
                session.send(data);
            }
            What::HalfClose => session.close(),
            _ => {}
        });
        let probe = probe.on_accept(move |incoming| {
            let (peer, local) = (incoming.peer_addr().unwrap(), incoming.local_addr().unwrap());
            seen.borrow_mut().push((peer, local, incoming.listener(), incoming.sessions()));
            Admission::Admit
        });
        let mut fixture = Fixture::new(behaviour, 2, Config::default(), probe);
        let keys = [fixture.connect(), fixture.connect()];
        let peers = keys.map(|key| fixture.client.local_addr(key).unwrap());
        let at = |peer, before| (peer, fixture.address, LISTENER, before);
        assert_eq!(*incoming.borrow(), [at(peers[0], 0), at(peers[1], 1)], "{behaviour:?}");
        let origin = Origin::Accepted { listener: LISTENER };
        assert_eq!(*opened.borrow(), peers.map(|peer| (peer, origin)), "on either worker: {behaviour:?}");
        for key in keys {
            fixture.send(key, b"hello");
            fixture.settle();
            fixture.finish(key);
            fixture.settle();
        }
        let closed = fixture.probe.closed.borrow();
        for (Closed { id: _, reason, peer, origin: from, received, sent, tcp }, wanted) in
            closed.iter().zip(peers)
        {
            assert_eq!((*reason, *peer, *from), (CloseReason::EndOfStream, Some(wanted), origin));
            assert_eq!((*received, *sent, *tcp), (5, 5, None), "{behaviour:?}");
        }
        assert_eq!(closed.len(), 2, "{behaviour:?}");
    }
}

#[test]
fn an_outbound_session_has_its_token_and_is_not_asked_about() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| {
            if let What::Open = what {
                assert_eq!((session.token(), session.listener()), (Some(5), None));
                assert!(session.is_outbound());
                session.close_with(9);
            }
        });
        let asked = Rc::new(Cell::new(0));
        let count = Rc::clone(&asked);
        let address = Rc::new(Cell::new(None));
        let to = Rc::clone(&address);
        let probe = probe.on_accept(move |_| {
            count.set(count.get() + 1);
            Admission::Admit
        });
        let probe = probe.on_worker(move |worker, seen| {
            if let (Seen::Message(_), Some(to)) = (seen, to.get()) {
                worker.connect(to, 5);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let outside = fixture.listen_outside();
        address.set(Some(outside));
        fixture.handles[0].post(1).unwrap();
        fixture.settle();
        let closed = fixture.probe.closed.borrow();
        let [closed] = closed[..] else { panic!("one session: {closed:?}") };
        assert_eq!((closed.token(), closed.listener()), (Some(5), None));
        assert_eq!((closed.peer, closed.reason), (Some(outside), CloseReason::ClosedWith(9)));
        assert_eq!(asked.get(), 0, "{behaviour:?}");
    }
}

/// The second of three connections.
fn panics_at_the_second() -> Probe {
    let asked = Cell::new(0);
    Probe::echo().on_accept(move |_| {
        asked.set(asked.get() + 1);
        assert!(asked.get() != 2, "not this one");
        Admission::Admit
    })
}

#[test]
fn a_panic_turns_the_connection_away_and_nothing_else() {
    for behaviour in behaviours() {
        for workers in [1, 2] {
            let mut fixture = Fixture::new(behaviour, workers, Config::default(), panics_at_the_second());
            let keys = speakers(&mut fixture, 3);
            fixture.settle();
            assert_eq!(refused_and_open(&fixture, &keys, b""), (1, 2), "{behaviour:?}");
            let stats = fixture.all_stats();
            assert_eq!((stats.panics, stats.sessions_rejected, stats.sessions), (1, 1, 2), "{behaviour:?}");
            assert!(fixture.log().contains(&Seen::Panic(None, "not this one".into())), "{behaviour:?}");
            fixture.pass(LIMIT);
            keys.iter().for_each(|key| fixture.client.close(*key));
            fixture.settle();
            fixture.assert_clean();
        }
    }
}

/// A connection that was admitted and placed on a worker that ends goes to another one, which does not ask again.
#[test]
fn a_connection_is_asked_about_once() {
    let calm = Behaviour { seed: 1, capacity: 64 * 1024, cuts: false, multishot: true, inline: false };
    let asked = Rc::new(Cell::new(0));
    let count = Rc::clone(&asked);
    let origins = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&origins);
    let probe = Probe::new(move |session, what| {
        if let What::Open = what {
            seen.borrow_mut().push((session.id().worker(), session.listener()));
        }
    });
    let probe = probe.on_accept(move |_| {
        count.set(count.get() + 1);
        Admission::Admit
    });
    let mut fixture = Fixture::new(calm, 2, Config::default(), probe);
    fixture.connect();
    fixture.begin_connect();
    (0..50).for_each(|_| fixture.round_of_client());
    for _ in 0..50 {
        fixture.workers[0].turn(false).unwrap();
    }
    assert_eq!((asked.get(), origins.borrow().len()), (2, 1), "it is placed on the second worker");
    drop(fixture.workers.remove(1));
    fixture.settle();
    assert_eq!(asked.get(), 2);
    assert_eq!(*origins.borrow(), [(0, Some(LISTENER)), (0, Some(LISTENER))], "it keeps its token");
}
