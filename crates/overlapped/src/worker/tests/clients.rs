//! Connects with settings of their own: begun later, from a certain address, by name, cancelled, in a drain. Each gets
//! exactly one answer.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use proactor::backend::simulated::Behaviour;

use super::fixture::{Fixture, Kept, Probe, Seen, What, behaviours};
use crate::SessionId;
use crate::config::{Config, OnPanic};
use crate::connect::Connect;
use crate::context::WorkerContext;
use crate::mailbox::Mail;
use crate::session::CloseReason;
use crate::worker::connect::ATTEMPTS_PER_TURN;

/// Where [`Fixture::listen_outside`] listens.
pub(super) const OUTSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7777);
/// Nobody answers there.
pub(super) const SILENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6666);
fn silent(serials: std::ops::Range<u16>) -> Vec<SocketAddr> {
    serials.map(|serial| SocketAddr::new(SILENT.ip(), SILENT.port() - serial)).collect()
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
/// A timer may be this late.
pub(super) const TICK: Duration = Duration::from_millis(4);

/// A worker that connects to `target` with token 7 when it gets message 7, and cancels that with message 8.
fn client(behaviour: Behaviour, config: Config, target: impl Into<Connect>) -> Fixture {
    let target = target.into();
    let probe = Probe::new(|_, _| {}).on_worker(move |worker, seen| match seen {
        Seen::Message(7) => worker.connect(target.clone(), 7),
        Seen::Message(8) => assert_eq!(worker.cancel_connect(7), 1),
        _ => {}
    });
    let mut fixture = Fixture::new(behaviour, 1, config, probe);
    fixture.listen_outside();
    silent(0..5).into_iter().for_each(|address| fixture.simulation.silence(address));
    fixture
}

/// Connects, and lets what follows at once happen.
fn connect(fixture: &mut Fixture) {
    fixture.handles[0].post(7).unwrap();
    fixture.settle();
}

/// The answers to connects: the kinds of failures, and how many sessions began.
pub(super) fn answers(fixture: &Fixture) -> (Vec<ErrorKind>, usize) {
    let log = fixture.log();
    let failed = |seen: &Seen| if let Seen::ConnectFailed(_, kind) = seen { Some(*kind) } else { None };
    let opened = log.iter().filter(|seen| matches!(seen, Seen::Open(_))).count();
    (log.iter().filter_map(failed).collect(), opened)
}

/// Nothing is left of any connect.
pub(super) fn assert_answered(fixture: &mut Fixture) {
    fixture.post(0, Mail::Drain(Duration::ZERO));
    fixture.settle();
    assert!(fixture.workers[0].has_ended());
    fixture.assert_clean();
    let worker = &fixture.workers[0];
    assert!(worker.core.pending_connects.is_empty() && worker.connecting.is_empty());
    assert_eq!(worker.driver.snapshot().connections, 0, "INV-2");
}

#[test]
fn the_start_comes_once_and_before_everything_else() {
    for behaviour in behaviours() {
        let (starts, log) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
        let (count, seen) = (Rc::clone(&starts), Rc::clone(&log));
        let probe = Probe::echo().on_start(move |worker: &mut WorkerContext<'_, Kept>| {
            count.set(count.get() + 1);
            let probe: &Probe = &seen.borrow_mut().take().expect("once");
            assert!(probe.log.borrow().is_empty() && worker.sessions().is_empty());
            worker.connect(OUTSIDE, 1);
        });
        *log.borrow_mut() = Some(probe.clone());
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.listen_outside();
        fixture.handles[0].post(3).unwrap();
        fixture.begin_connect();
        assert_eq!(starts.get(), 0, "not before the worker runs");
        fixture.settle();
        assert_eq!(starts.get(), 1);
        assert_eq!(fixture.outside().count(), 1, "{behaviour:?}");
        assert_eq!(fixture.stats(0).sessions, 2);
    }
}

#[test]
fn a_panic_in_the_start_is_like_any_other() {
    for policy in [OnPanic::AbortSession, OnPanic::StopServer] {
        let config = Config { on_panic: policy, ..Config::default() };
        let probe = Probe::echo().on_start(|_| panic!("on purpose"));
        let mut fixture = Fixture::new(Behaviour::default(), 1, config, probe);
        let turned = crate::catch_panic::contain(|| fixture.workers[0].turn(false).unwrap());
        assert_eq!(turned.is_err(), policy == OnPanic::StopServer);
        if turned.is_ok() {
            fixture.settle();
            assert_eq!(fixture.log(), [Seen::Panic(None, "on purpose".into())], "and is not called again");
            fixture.connect();
            assert_eq!(fixture.stats(0).sessions, 1);
        }
    }
}

#[test]
fn a_connect_may_begin_later_and_have_a_deadline_of_its_own() {
    for behaviour in behaviours() {
        let config = Config { connect_timeout: Some(SECOND * 60), max_sessions: 1, ..Config::default() };
        let mut fixture = client(behaviour, config, Connect::to(SILENT).after(SECOND).deadline(SECOND * 2));
        connect(&mut fixture);
        fixture.pass(SECOND - TICK);
        assert_eq!(fixture.workers[0].driver.snapshot().connections, 0, "not earlier");
        assert!(fixture.workers[0].placement.admit(None).is_ok(), "it has no seat before");
        fixture.pass(2 * TICK);
        assert_eq!(fixture.workers[0].driver.snapshot().connections, 1, "{behaviour:?}");
        assert!(fixture.workers[0].placement.admit(None).is_err(), "now it has");
        fixture.pass(SECOND * 2 - 3 * TICK);
        assert_eq!(answers(&fixture).0, []);
        fixture.pass(4 * TICK);
        assert_eq!(answers(&fixture), (vec![ErrorKind::TimedOut], 0), "{behaviour:?}");
        assert_eq!(fixture.workers[0].driver.snapshot().connections, 0);
        assert_answered(&mut fixture);
    }
}

#[test]
fn a_connect_without_a_deadline_waits() {
    let config = Config { connect_timeout: Some(SECOND), ..Config::default() };
    let mut fixture = client(Behaviour::default(), config, Connect::to(SILENT).deadline(None));
    connect(&mut fixture);
    fixture.pass(SECOND * 3600);
    assert_eq!(answers(&fixture), (vec![], 0));
    assert_answered(&mut fixture);
    assert_eq!(answers(&fixture), (vec![ErrorKind::ConnectionAborted], 0));
}

#[test]
fn a_connect_comes_from_the_address_it_is_given() {
    for behaviour in behaviours() {
        let from = SocketAddr::from(([127, 0, 0, 9], 0));
        let seen = Rc::new(Cell::new(None));
        let note = Rc::clone(&seen);
        let probe = Probe::new(move |session, what| {
            if let What::Open = what {
                note.set(session.local_addr().ok());
            }
        });
        let probe = probe.on_start(move |worker| {
            let other_family = SocketAddr::new("::1".parse().unwrap(), 7777);
            worker.connect(Connect::to(vec![other_family, OUTSIDE]).local_addr(from), 1);
            worker.connect(Connect::to(other_family).local_addr(from), 2);
            worker.connect(Connect::to(OUTSIDE).local_addr(([192, 0, 2, 1], 0)), 3);
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.listen_outside();
        fixture.settle();
        assert_eq!(seen.get().map(|local| local.ip()), Some(from.ip()), "{behaviour:?}");
        let wanted = vec![ErrorKind::AddrNotAvailable; 2];
        assert_eq!(answers(&fixture), (wanted, 1), "{behaviour:?}");
    }
}

/// In every stage, and also before the connect has begun.
#[test]
fn a_cancelled_connect_fails_once() {
    let targets = [
        Connect::to(OUTSIDE).after(SECOND),
        Connect::to("name:7777"),
        Connect::to(SILENT),
        Connect::to(vec![SILENT, OUTSIDE]),
    ];
    for behaviour in behaviours() {
        for target in &targets {
            for at_once in [true, false] {
                let mut fixture = client(behaviour, Config::default(), target.clone());
                fixture.handles[0].post(7).unwrap();
                if !at_once {
                    fixture.settle();
                }
                fixture.handles[0].post(8).unwrap();
                fixture.settle();
                assert_eq!(answers(&fixture), (vec![ErrorKind::Interrupted], 0), "{target:?}, {behaviour:?}");
                while fixture.names.asked() > 0 {
                    fixture.names.answer(Ok(vec![OUTSIDE]));
                }
                fixture.simulation.end_silence(SILENT);
                fixture.pass(SECOND * 60);
                assert_eq!(answers(&fixture), (vec![ErrorKind::Interrupted], 0), "{target:?}, {behaviour:?}");
                assert_eq!(fixture.all_stats().connects_failed, 1);
                assert_answered(&mut fixture);
            }
        }
    }
}

/// Cancelled by the callback that asked for it: it has not begun.
#[test]
fn a_connect_may_be_cancelled_before_it_begins() {
    for behaviour in behaviours() {
        let probe = Probe::echo().on_start(|worker| {
            for token in [1, 2, 1] {
                worker.connect(OUTSIDE, token);
            }
            assert_eq!(
                (worker.cancel_connect(1), worker.cancel_connect(1), worker.cancel_connect(9)),
                (2, 0, 0)
            );
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.listen_outside();
        fixture.settle();
        assert_eq!(answers(&fixture), (vec![ErrorKind::Interrupted; 2], 1), "{behaviour:?}");
        assert_eq!(fixture.outside().count(), 1, "only the other one connected");
        assert_answered(&mut fixture);
    }
}

/// The answer to another connect cancels one that is established in the same turn: no session begins.
#[test]
fn a_cancel_holds_even_if_the_connection_is_there() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| {
            if let What::Open = what {
                // Whichever is first cancels the other.
                session.worker().cancel_connect(1);
            }
        });
        let probe = probe.on_start(|worker| (0..2).for_each(|_| worker.connect(OUTSIDE, 1)));
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.listen_outside();
        fixture.settle();
        assert_eq!(answers(&fixture), (vec![ErrorKind::Interrupted], 1), "{behaviour:?}");
        assert_answered(&mut fixture);
    }
}

#[test]
fn a_name_is_resolved_elsewhere_and_then_connected_to() {
    for behaviour in behaviours() {
        let mut fixture = client(behaviour, Config::default(), "name:7777");
        connect(&mut fixture);
        assert_eq!((answers(&fixture), fixture.names.asked()), ((vec![], 0), 1), "the worker does not wait");
        assert_eq!(fixture.names.answer(Ok(vec![OUTSIDE])), "name:7777");
        fixture.settle();
        assert_eq!(answers(&fixture), (vec![], 1), "{behaviour:?}");
        connect(&mut fixture);
        fixture.names.answer(Err(io::Error::new(ErrorKind::NotFound, "name:7777 has no address")));
        fixture.settle();
        assert_eq!(answers(&fixture), (vec![ErrorKind::NotFound], 1), "{behaviour:?}");
        // Too late, each.
        connect(&mut fixture);
        fixture.pass(SECOND * 11);
        assert_eq!(answers(&fixture).0, [ErrorKind::NotFound, ErrorKind::TimedOut], "{behaviour:?}");
        fixture.names.answer(Ok(vec![OUTSIDE]));
        fixture.settle();
        assert_eq!(answers(&fixture).1, 1);
        assert_answered(&mut fixture);
    }
}

/// What cannot be a name, or is no endpoint at all, is answered like any other failure.
#[test]
fn text_that_is_no_endpoint_fails() {
    for wrong in ["localhost", "::1:80", "[fe80::1]:80"] {
        let mut fixture = client(Behaviour::default(), Config::default(), wrong);
        connect(&mut fixture);
        assert_eq!(answers(&fixture), (vec![ErrorKind::InvalidInput], 0), "{wrong}");
        assert_answered(&mut fixture);
    }
}

/// A drain waits for a name or an address until its deadline, and for a connect that begins later not at all.
#[test]
fn in_a_drain_each_stage_has_one_answer() {
    let stages = [
        (Connect::to(OUTSIDE).after(SECOND / 2), true),
        (Connect::to("name:7777"), false),
        (Connect::to([&silent(0..5)[..], &[OUTSIDE]].concat()), false),
    ];
    for behaviour in behaviours() {
        for (target, at_once) in &stages {
            let mut fixture = client(behaviour, Config::default(), target.clone());
            connect(&mut fixture);
            fixture.post(0, Mail::Drain(SECOND));
            fixture.settle();
            assert_eq!(fixture.workers[0].has_ended(), *at_once, "{target:?}, {behaviour:?}");
            fixture.pass(SECOND - TICK);
            assert_eq!(answers(&fixture).0.len(), usize::from(*at_once), "{target:?}");
            fixture.pass(2 * TICK);
            assert_eq!(
                answers(&fixture),
                (vec![ErrorKind::ConnectionAborted], 0),
                "{target:?}, {behaviour:?}"
            );
            assert!(fixture.workers[0].has_ended(), "{target:?}, {behaviour:?}");
            if fixture.names.asked() > 0 {
                fixture.names.answer(Ok(vec![OUTSIDE]));
            }
            fixture.assert_clean();
            assert_eq!(fixture.outside().count(), 0);
        }
    }
}

/// A live session may connect in a drain, but not later.
#[test]
fn no_connect_that_begins_later_is_taken_in_a_drain() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Open => {
                session.pause();
                session.set_timer(SECOND / 10, 0);
            }
            What::Timer(_) => session.worker().connect(Connect::to(OUTSIDE).after(SECOND / 100), 5),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.listen_outside();
        fixture.connect();
        fixture.post(0, Mail::Drain(SECOND));
        fixture.pass(SECOND / 10 + TICK);
        assert_eq!(answers(&fixture), (vec![ErrorKind::ConnectionAborted], 1), "{behaviour:?}");
    }
}

/// The session that asked for a connect is in the token: a relay has no table.
#[test]
fn the_asker_is_found_by_the_token() {
    for behaviour in behaviours() {
        let pairs: Rc<RefCell<Vec<(SessionId, SessionId)>>> = Rc::default();
        let (note, lost) = (Rc::clone(&pairs), Rc::new(Cell::new(None)));
        let find = Rc::clone(&lost);
        let probe = Probe::new(move |session, what| match (what, session.token()) {
            (What::Open, None) => {
                let (target, asker) = (if note.borrow().is_empty() { OUTSIDE } else { SILENT }, session.id());
                let target = Connect::to(target).deadline(SECOND);
                session.worker().connect(target, asker.to_token());
            }
            (What::Open, Some(token)) => {
                let asker = session.worker().id_from_token(token);
                assert!(session.sibling(asker).is_some());
                note.borrow_mut().push((session.id(), asker));
            }
            _ => {}
        });
        let probe = probe.on_worker(move |worker, seen| {
            if let Seen::ConnectFailed(token, _) = seen {
                let asker = worker.id_from_token(token);
                find.set(Some(asker));
                worker.session(asker).expect("it waits").0.abort();
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.listen_outside();
        fixture.simulation.silence(SILENT);
        fixture.connect();
        let opened: Vec<SessionId> = fixture
            .log()
            .iter()
            .filter_map(|seen| if let Seen::Open(id) = seen { Some(*id) } else { None })
            .collect();
        assert_eq!(*pairs.borrow(), [(opened[1], opened[0])], "{behaviour:?}");
        fixture.connect();
        fixture.pass(SECOND + 10 * TICK);
        assert_eq!(fixture.reasons(), [CloseReason::Aborted], "{behaviour:?}");
        assert!(lost.get().is_some() && lost.get() != Some(opened[0]));
    }
}

/// However many connects are asked for together, and whatever they wait for first: a turn begins some of them.
#[test]
fn many_connects_do_not_begin_in_one_turn() {
    const CONNECTS: u64 = 1_000;
    let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
    let targets = [
        Connect::to(OUTSIDE),
        Connect::to(OUTSIDE).after(SECOND),
        Connect::to("name:7777"),
        Connect::to(vec![nobody, OUTSIDE]),
    ];
    for target in targets {
        let begin = target.clone();
        let probe = Probe::echo().on_start(move |worker| {
            (0..CONNECTS).for_each(|token| worker.connect(begin.clone(), token));
        });
        let mut fixture = Fixture::new(behaviours().next().unwrap(), 1, Config::default(), probe);
        fixture.listen_outside();
        // The first turn asks for names, and sets timers.
        fixture.workers[0].turn(false).expect("the simulated kernel does not break");
        let mut begun = fixture.workers[0].driver.snapshot().connections;
        assert!(begun <= ATTEMPTS_PER_TURN, "{target:?}: {begun}");
        (0..fixture.names.asked()).for_each(|_| drop(fixture.names.answer(Ok(vec![OUTSIDE]))));
        fixture.simulation.advance(SECOND + TICK);
        for turn in 0.. {
            fixture.round();
            let now = fixture.workers[0].driver.snapshot().connections;
            assert!(now <= begun + ATTEMPTS_PER_TURN, "{target:?}: {begun}, then {now}");
            assert!(turn < 100, "{target:?}: {now}");
            begun = now;
            if fixture.all_stats().sessions_opened == CONNECTS {
                break;
            }
        }
        fixture.settle();
        assert_eq!(fixture.all_stats().sessions, CONNECTS);
    }
}
