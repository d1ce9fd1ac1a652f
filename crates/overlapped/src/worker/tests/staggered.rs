//! A connect to several addresses (RFC 8305): staggered, the next at once when one fails, one session, one answer.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use proactor::backend::simulated::Behaviour;

use super::fixture::{End, Fixture, Probe, Seen, What, behaviours};
use crate::config::Config;
use crate::connect::Connect;
use crate::mailbox::Mail;

const STAGGER: Duration = Duration::from_millis(250);
const TICK: Duration = Duration::from_millis(4);

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A worker that connects to all of `ports`, by one name. Nobody answers at `silent`; `live` are listened on. Returns the
/// peers that sessions began with.
fn client(
    behaviour: Behaviour,
    target: Connect,
    silent: &[u16],
    live: &[u16],
) -> (Fixture, Rc<RefCell<Vec<SocketAddr>>>) {
    let peers: Rc<RefCell<Vec<SocketAddr>>> = Rc::default();
    let note = Rc::clone(&peers);
    let probe = Probe::new(move |session, what| {
        if let What::Open = what {
            note.borrow_mut().extend(session.peer_addr());
        }
    });
    let probe = probe.on_start(move |worker| worker.connect(target.clone(), 1));
    // One seat is enough for one connect.
    let config = Config { max_sessions: 1, ..Config::default() };
    let mut fixture = Fixture::new(behaviour, 1, config, probe);
    silent.iter().for_each(|port| fixture.simulation.silence(at(*port)));
    for port in live {
        let socket = fixture.simulation.listen(at(*port)).unwrap();
        fixture.client.listen(socket).unwrap();
    }
    fixture.settle();
    (fixture, peers)
}

fn to(ports: &[u16]) -> Connect {
    Connect::to(ports.iter().map(|port| at(*port)).collect::<Vec<_>>())
}

fn attempts(fixture: &Fixture) -> usize {
    fixture.workers[0].driver.snapshot().connections
}

fn failures(fixture: &Fixture) -> Vec<ErrorKind> {
    let failed = |seen| if let Seen::ConnectFailed(1, kind) = seen { Some(kind) } else { None };
    fixture.log().into_iter().filter_map(failed).collect()
}

fn end(fixture: &mut Fixture) {
    fixture.post(0, Mail::Drain(Duration::ZERO));
    fixture.settle();
    fixture.assert_clean();
    assert_eq!(fixture.workers[0].driver.snapshot().connections, 0, "INV-2");
    assert!(fixture.workers[0].placement.admit(None).is_ok(), "its seat is free again");
}

#[test]
fn the_next_address_is_tried_after_the_stagger() {
    for behaviour in behaviours() {
        for stagger in [STAGGER, STAGGER / 2] {
            let target = if stagger == STAGGER { to(&[1, 2, 3]) } else { to(&[1, 2, 3]).stagger(stagger) };
            let (mut fixture, peers) = client(behaviour, target, &[1, 2], &[3]);
            assert_eq!(attempts(&fixture), 1, "{behaviour:?}");
            fixture.pass(stagger - TICK);
            assert_eq!(attempts(&fixture), 1, "not earlier");
            fixture.pass(2 * TICK);
            assert_eq!(attempts(&fixture), 2, "{behaviour:?}");
            fixture.pass(stagger + TICK);
            assert_eq!(*peers.borrow(), [at(3)], "{behaviour:?}");
            assert_eq!(attempts(&fixture), 1, "the others are cancelled and released");
            assert_eq!(fixture.workers[0].connecting.len(), 0);
            fixture.pass(STAGGER * 100);
            assert_eq!((peers.borrow().len(), failures(&fixture)), (1, vec![]));
            end(&mut fixture);
        }
    }
}

#[test]
fn the_next_address_is_tried_at_once_when_one_fails() {
    for behaviour in behaviours() {
        let (mut fixture, peers) = client(behaviour, to(&[1, 2, 3, 4]), &[], &[4]);
        assert_eq!(*peers.borrow(), [at(4)], "no time has passed: {behaviour:?}");
        assert_eq!(fixture.all_stats().connects_failed, 0);
        end(&mut fixture);
        // After a failure, the stagger counts from the attempt that it began.
        let (mut fixture, peers) = client(behaviour, to(&[1, 2, 3]), &[2], &[3]);
        fixture.pass(STAGGER - TICK);
        assert_eq!((attempts(&fixture), peers.borrow().len()), (1, 0), "{behaviour:?}");
        fixture.pass(2 * TICK);
        assert_eq!(*peers.borrow(), [at(3)]);
        end(&mut fixture);
    }
}

#[test]
fn an_earlier_address_may_still_win() {
    for behaviour in behaviours() {
        let (mut fixture, peers) = client(behaviour, to(&[1, 2]), &[1, 2], &[1, 2]);
        fixture.pass(STAGGER + TICK);
        assert_eq!(attempts(&fixture), 2);
        fixture.simulation.end_silence(at(1));
        fixture.settle();
        assert_eq!(*peers.borrow(), [at(1)], "{behaviour:?}");
        assert_eq!(attempts(&fixture), 1);
        end(&mut fixture);
    }
}

/// All are established in the same turn: one is the session, and the others read an end of stream.
#[test]
fn who_is_second_is_closed_without_a_session() {
    for behaviour in behaviours() {
        let ports = [1, 2, 3, 4];
        let (mut fixture, peers) = client(behaviour, to(&ports), &ports, &ports);
        for _ in ports {
            fixture.pass(STAGGER + TICK);
        }
        assert_eq!(attempts(&fixture), 4);
        ports.iter().for_each(|port| fixture.simulation.end_silence(at(*port)));
        fixture.settle();
        assert_eq!(peers.borrow().len(), 1, "{behaviour:?}");
        assert_eq!((attempts(&fixture), failures(&fixture)), (1, vec![]), "{behaviour:?}");
        let ends: Vec<End> = fixture.outside().map(|peer| peer.end).collect();
        assert_eq!(ends.iter().filter(|end| **end == End::Open).count(), 1, "{ends:?}, {behaviour:?}");
        assert!(!ends.contains(&End::Reset), "{ends:?}, {behaviour:?}");
        end(&mut fixture);
    }
}

#[test]
fn when_all_fail_there_is_one_answer() {
    for behaviour in behaviours() {
        let (mut fixture, peers) = client(behaviour, to(&[1, 2, 3]), &[], &[]);
        assert_eq!((failures(&fixture), peers.borrow().len()), (vec![ErrorKind::ConnectionRefused], 0));
        assert_eq!(fixture.all_stats().connects_failed, 1);
        end(&mut fixture);
    }
}

#[test]
fn one_deadline_covers_all_attempts() {
    for behaviour in behaviours() {
        let deadline = STAGGER * 5 / 2;
        let (mut fixture, peers) =
            client(behaviour, to(&[1, 2, 3, 4, 5]).deadline(deadline), &[1, 2, 3, 4], &[5]);
        fixture.pass(STAGGER + TICK);
        fixture.pass(STAGGER + TICK);
        assert_eq!((attempts(&fixture), failures(&fixture)), (3, vec![]), "{behaviour:?}");
        fixture.pass(STAGGER / 2 + TICK);
        assert_eq!(failures(&fixture), [ErrorKind::TimedOut], "{behaviour:?}");
        fixture.pass(STAGGER * 10);
        assert_eq!((attempts(&fixture), peers.borrow().len()), (0, 0), "all are released: {behaviour:?}");
        assert_eq!(fixture.all_stats().connects_failed, 1);
        end(&mut fixture);
    }
}

/// The families of a name take turns; a list of addresses keeps its order.
#[test]
fn the_addresses_of_a_name_are_interleaved() {
    let v6 = |port| SocketAddr::new("::1".parse().unwrap(), port);
    let found = vec![v6(1), v6(2), at(3), at(4)];
    for (target, order) in [
        (Connect::to("name:1"), vec![v6(1), at(3), v6(2), at(4)]),
        (Connect::to(found.clone()).after(STAGGER), found.clone()),
    ] {
        let (mut fixture, _) = client(Behaviour::default(), target, &[], &[]);
        order.iter().for_each(|address| fixture.simulation.silence(*address));
        if fixture.names.asked() > 0 {
            fixture.names.answer(Ok(found.clone()));
        } else {
            fixture.simulation.advance(STAGGER + TICK);
        }
        for tried in 1..=order.len() {
            fixture.settle();
            assert_eq!(attempts(&fixture), tried);
            let pending = fixture.workers[0].core.pending_connects.first().expect("it goes on");
            assert!(pending.left.iter().eq(&order[tried..]), "{:?}", pending.left);
            fixture.simulation.advance(STAGGER + TICK);
        }
        end(&mut fixture);
        assert_eq!(failures(&fixture), [ErrorKind::ConnectionAborted]);
    }
}
