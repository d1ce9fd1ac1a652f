//! Connects that are asked for in a drain: answered once each, and no drain is longer for them.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::fixture::{End, Fixture, Kept, Probe, Seen, What, behaviours};
use proactor::Time;

use crate::config::Config;
use crate::context::Session;
use crate::context::{Connect, WorkerContext};
use crate::mailbox::Mail;
use crate::session::CloseReason;
use crate::worker::WorkerHandle;

const LIMIT: Duration = Duration::from_secs(1);
const OUTSIDE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7777);

/// What was asked for, and how it was answered.
#[derive(Clone, Default)]
struct Asked(Rc<Cell<u64>>);

impl Asked {
    fn connect(&self, worker: &mut WorkerContext<'_, Kept>) {
        // Far more than anybody has to ask for here, and few enough for the simulated network.
        if self.0.get() < 10_000 {
            self.0.set(self.0.get() + 1);
            worker.connect(OUTSIDE, self.0.get());
        }
    }

    /// Every token has one answer.
    fn assert_answered(&self, fixture: &Fixture, opened: &[u64]) {
        let failed = |seen| if let Seen::ConnectFailed(token, _) = seen { Some(token) } else { None };
        let mut answered: Vec<u64> = fixture.log().into_iter().filter_map(failed).collect();
        answered.extend(opened);
        answered.sort_unstable();
        assert_eq!(
            answered,
            (1..=self.0.get()).collect::<Vec<_>>(),
            "each is answered once: {:?}",
            fixture.log()
        );
    }
}

/// The tokens of outbound sessions, noted as they open.
fn note_token(opened: &Rc<RefCell<Vec<u64>>>, session: &Session<'_, Kept>) {
    opened.borrow_mut().extend(session.token());
}

fn failures(fixture: &Fixture) -> Vec<(u64, ErrorKind)> {
    let failed = |seen| if let Seen::ConnectFailed(token, kind) = seen { Some((token, kind)) } else { None };
    fixture.log().into_iter().filter_map(failed).collect()
}

/// Clients that come back whenever they are cut off.
#[test]
fn who_comes_back_does_not_keep_a_drain_from_ending() {
    for behaviour in behaviours() {
        for first in [Mail::Drain(LIMIT), Mail::Drain(Duration::ZERO), Mail::Stop] {
            let (asked, opened) = (Asked::default(), Rc::<RefCell<Vec<u64>>>::default());
            let (ask, note, again) = (asked.clone(), Rc::clone(&opened), RefCell::new(Vec::new()));
            let probe = Probe::new(move |session, what| {
                if let What::Open = what {
                    note_token(&note, session);
                }
            });
            let probe = probe.on_worker(move |worker, seen| match seen {
                // Once more, each.
                Seen::ConnectFailed(token, _) if again.borrow().contains(&token) => {}
                Seen::ConnectFailed(..) => {
                    ask.connect(worker);
                    again.borrow_mut().push(ask.0.get());
                }
                _ => ask.connect(worker),
            });
            let config = Config { tick: Some(Duration::from_millis(50)), ..Config::default() };
            let mut fixture = Fixture::new(behaviour, 1, config, probe);
            fixture.listen_outside();
            for message in 0..20 {
                fixture.handles[0].post(message).unwrap();
            }
            fixture.settle();
            assert_eq!(fixture.stats(0).sessions, 20, "{behaviour:?}");
            fixture.post(0, first);
            fixture.settle();
            fixture.pass(LIMIT);
            assert!(
                fixture.workers[0].has_ended(),
                "at its deadline: {behaviour:?} {:?}",
                fixture.all_stats()
            );
            assert_eq!(fixture.outside().count(), 20, "nobody is dialled in a drain");
            fixture.assert_clean();
            assert_eq!(fixture.reasons().len(), 20, "each session hears of its end: {behaviour:?}");
            asked.assert_answered(&fixture, &opened.borrow());
            assert_eq!(fixture.all_stats().connects_failed, asked.0.get() - 20, "counted, each");
        }
    }
}

/// Connects once from each kind of callback.
fn connects_from_each_callback() -> Probe {
    let ticks = Rc::new(Cell::new(0));
    let probe = Probe::new(|session, what| match what {
        What::Open if !session.is_outbound() => {
            session.pause();
            session.set_timer(Duration::from_millis(100), 0);
        }
        What::Timer(0) => {
            session.worker().connect(OUTSIDE, 10);
            session.set_timer(Duration::from_millis(100), 1);
        }
        What::Timer(_) => {
            session.close();
            session.worker().connect(OUTSIDE, 11);
        }
        _ => {}
    });
    probe.on_worker(move |worker, seen| {
        let token = match seen {
            Seen::Tick if worker.is_draining() && ticks.replace(1) == 0 => 20,
            Seen::Message(_) => 21,
            Seen::Close(..) if worker.is_draining() => 22,
            // In the name of a session that lives: it is still this callback that asks.
            Seen::ConnectFailed(21, _) => {
                let live = worker.sessions()[0];
                return worker.session(live).unwrap().0.worker().connect(OUTSIDE, 23);
            }
            _ => return,
        };
        worker.connect(OUTSIDE, token);
    })
}

/// In a drain that a paused session holds up.
#[test]
fn only_the_callbacks_of_live_sessions_connect_in_a_drain() {
    for behaviour in behaviours() {
        let probe = connects_from_each_callback();
        let config = Config { tick: Some(Duration::from_millis(20)), ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        fixture.listen_outside();
        let key = fixture.connect();
        fixture.post(0, Mail::Drain(LIMIT));
        fixture.settle();
        fixture.handles[0].post(1).unwrap();
        fixture.pass(Duration::from_millis(20));
        let mut refused = [20, 21, 23].map(|token| (token, ErrorKind::ConnectionAborted)).to_vec();
        let mut so_far = failures(&fixture);
        so_far.sort_unstable_by_key(|(token, _)| *token);
        assert_eq!(so_far, refused, "{behaviour:?}");
        assert_eq!(fixture.outside().count(), 0);
        fixture.pass(Duration::from_millis(100));
        assert_eq!(fixture.outside().count(), 1, "a live session connects: {behaviour:?}");
        fixture.pass(Duration::from_millis(100));
        assert_eq!(fixture.outside().count(), 1, "one that closes does not");
        assert_eq!(fixture.end(key), End::Finished);
        fixture.finish(key);
        fixture.settle();
        assert!(fixture.workers[0].has_ended(), "{behaviour:?}");
        refused.extend([(11, ErrorKind::ConnectionAborted), (22, ErrorKind::ConnectionAborted)]);
        refused.push((22, ErrorKind::ConnectionAborted)); // two sessions ended
        let mut all = failures(&fixture);
        all.sort_unstable_by_key(|(token, _)| *token);
        refused.sort_unstable_by_key(|(token, _)| *token);
        assert_eq!(all, refused, "{behaviour:?}");
        fixture.assert_clean();
    }
}

/// What the backlog brings needs an upstream that is connected to in the drain.
#[test]
fn a_relay_reaches_its_upstream_in_a_drain() {
    for behaviour in behaviours() {
        let inbound = Rc::new(Cell::new(None));
        let probe = Probe::new(move |session, what| match what {
            What::Open if session.is_outbound() => {
                let from = inbound.get().expect("somebody asked");
                session.send("hello");
                session.sibling(from).expect("it is paused").resume();
            }
            What::Open => {
                inbound.set(Some(session.id()));
                session.pause();
                session.worker().connect(OUTSIDE, 1);
            }
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.listen_outside();
        let key = fixture.begin_connect();
        // In the backlog by then.
        while !fixture.client.is_receiving(key) {
            fixture.round_of_client();
        }
        fixture.post(0, Mail::Drain(LIMIT));
        fixture.settle();
        let got: Vec<&[u8]> = fixture.outside().map(|peer| &peer.got[..]).collect();
        assert_eq!(got, [b"hello"], "{behaviour:?}");
        assert_eq!(fixture.end(key), End::Finished);
        fixture.finish(key);
        fixture.settle();
        assert!(fixture.workers[0].has_ended());
        assert_eq!(fixture.reasons(), [CloseReason::Drained; 2], "{behaviour:?}");
        assert!(failures(&fixture).is_empty());
        fixture.assert_clean();
    }
}

/// A connect that a session asks for just before the deadline fails at the deadline, once; what that answer asks for is
/// refused.
#[test]
fn a_connect_that_stands_at_the_deadline_fails_once() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Open if !session.is_outbound() => {
                session.pause();
                session.set_timer(LIMIT, 0);
            }
            What::Timer(_) => {
                for token in 1..=5 {
                    session.worker().connect(OUTSIDE, token);
                }
            }
            _ => {}
        });
        let probe = probe.on_worker(|worker, seen| {
            if let Seen::ConnectFailed(token @ ..=5, _) = seen {
                worker.connect(OUTSIDE, token + 5);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.listen_outside();
        fixture.connect();
        fixture.post(0, Mail::Drain(LIMIT));
        fixture.settle();
        fixture.pass(LIMIT);
        assert!(fixture.workers[0].has_ended(), "{behaviour:?}");
        let mut failed = failures(&fixture);
        failed.sort_unstable_by_key(|(token, _)| *token);
        let wanted: Vec<_> = (1..=10).map(|token| (token, ErrorKind::ConnectionAborted)).collect();
        assert_eq!(failed, wanted, "{behaviour:?}");
        assert_eq!(fixture.reasons(), [CloseReason::Cut]);
        assert_eq!(fixture.all_stats().connects_failed, 10);
        fixture.assert_clean();
    }
}

/// A handler that always asks again is answered a number of times; then the drain goes on, and ends without waiting for it.
#[test]
fn who_asks_again_for_ever_is_not_answered_for_ever() {
    for behaviour in behaviours() {
        for idle in [true, false] {
            let probe = Probe::new(|session, _| session.pause()).on_worker(|worker, seen| match seen {
                Seen::Message(_) => worker.connect(OUTSIDE, 1),
                Seen::ConnectFailed(token, _) => worker.connect(OUTSIDE, token + 1),
                _ => {}
            });
            let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
            if !idle {
                fixture.connect();
            }
            fixture.post(0, Mail::Drain(LIMIT));
            fixture.handles[0].post(1).unwrap();
            fixture.settle();
            assert_eq!(fixture.workers[0].has_ended(), idle, "{behaviour:?}");
            let tokens: Vec<u64> = failures(&fixture).into_iter().map(|(token, _)| token).collect();
            assert_eq!(tokens, (1..=16).collect::<Vec<_>>(), "{behaviour:?}");
            fixture.pass(LIMIT);
            assert!(fixture.workers[0].has_ended());
            fixture.assert_clean();
        }
    }
}

/// A session's end, or what is refused after it, is the last thing there is: nobody sleeps until the deadline before that
/// is seen.
#[test]
fn a_drain_ends_with_its_last_answer() {
    const ENDS: Duration = Duration::from_millis(500);
    for behaviour in behaviours() {
        for retries in 0..=3 {
            let probe = Probe::new(|session, what| match what {
                What::Open => {
                    session.pause();
                    session.set_timer(ENDS, 0);
                }
                _ => session.abort(),
            });
            let probe = probe.on_worker(move |worker, seen| match seen {
                Seen::Close(..) => worker.connect(OUTSIDE, 1),
                Seen::ConnectFailed(token, _) if token <= retries => worker.connect(OUTSIDE, token + 1),
                _ => {}
            });
            let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
            fixture.connect();
            fixture.post(0, Mail::Drain(LIMIT));
            // Its waits let the time pass.
            fixture.workers[0].run().unwrap();
            assert_eq!(failures(&fixture).len() as u64, retries + 1);
            let ended = fixture.workers[0].driver.now();
            assert!(ended < Time::ZERO + LIMIT, "{retries} retries, {behaviour:?}: {ended:?}");
        }
    }
}

/// The last session's end posts a message, and that asks for a connect: the worker has nothing else left to do.
#[test]
fn a_connect_that_the_last_message_asks_for_is_answered() {
    for behaviour in behaviours() {
        let handle: Rc<RefCell<Option<WorkerHandle<u32>>>> = Rc::default();
        let post = Rc::clone(&handle);
        let probe = Probe::echo().on_worker(move |worker, seen| match seen {
            Seen::Close(..) => post.borrow().as_ref().unwrap().post(1).unwrap(),
            Seen::Message(1) => worker.connect(OUTSIDE, 5),
            Seen::ConnectFailed(token @ ..=7, _) => worker.connect(OUTSIDE, token + 1),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.listen_outside();
        *handle.borrow_mut() = Some(fixture.handles[0].clone());
        fixture.connect();
        fixture.post(0, Mail::Drain(Duration::ZERO));
        fixture.settle();
        assert!(fixture.workers[0].has_ended(), "{behaviour:?}");
        assert!(fixture.log().contains(&Seen::Message(1)));
        let wanted = [5, 6, 7, 8].map(|token| (token, ErrorKind::ConnectionAborted));
        assert_eq!(failures(&fixture), wanted, "{behaviour:?}");
        assert_eq!(fixture.outside().count(), 0);
        handle.borrow_mut().take();
    }
}

/// The kernel does not give everything back in time: the worker ends, and each session gets its `on_close`.
#[test]
fn a_session_that_is_not_joined_in_time_hears_of_its_end() {
    for behaviour in behaviours() {
        let asked = Asked::default();
        let ask = asked.clone();
        let probe = Probe::echo().on_worker(move |worker, seen| {
            if let Seen::Close(..) = seen {
                ask.connect(worker);
                // One of them panics: the others get their `on_close` all the same.
                assert_ne!(ask.0.get(), 150, "on purpose");
            }
        });
        let config = Config { max_sessions: 300, ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        fixture.listen_outside();
        for _ in 0..200 {
            fixture.begin_connect();
        }
        fixture.settle();
        assert_eq!(fixture.stats(0).sessions, 200);
        fixture.post(0, Mail::Stop);
        fixture.workers[0].turn(false).unwrap();
        assert!(!fixture.workers[0].has_ended());
        // A turn takes 64 completions at most, and then it is too late for the rest.
        fixture.simulation.advance(Duration::from_secs(2));
        fixture.workers[0].turn(false).unwrap();
        assert!(fixture.workers[0].has_ended(), "{behaviour:?}");
        fixture.workers[0].publish();
        let stats = fixture.all_stats();
        assert_eq!((stats.sessions, stats.sessions_closed), (0, 200), "{behaviour:?}");
        assert_eq!(stats.drained + stats.cut, 200);
        assert_eq!(fixture.reasons().len(), 200, "{behaviour:?}");
        asked.assert_answered(&fixture, &[]);
        assert_eq!(room(&fixture), 300, "INV-2: all are counted out");
    }
}

/// A connection that another worker placed on this one before it knew that the deadline had passed.
#[test]
fn nothing_begins_after_the_deadline() {
    for behaviour in behaviours() {
        let config = Config { max_sessions: 10, ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 2, config, Probe::echo());
        // Three on the first, two on the second: the next is the second's.
        let mut keys: Vec<_> = (0..5).map(|_| fixture.connect()).collect();
        assert_eq!((fixture.stats(0).sessions, fixture.stats(1).sessions), (3, 2));
        fixture.post(1, Mail::Drain(Duration::ZERO));
        fixture.workers[1].turn(false).unwrap();
        assert!(!fixture.workers[1].has_ended(), "its two are not joined yet");
        let late = fixture.begin_connect();
        while !fixture.client.is_receiving(late) {
            fixture.round_of_client();
        }
        for _ in 0..20 {
            fixture.workers[0].turn(false).unwrap();
        }
        // Nor what a session asked for before, if it was not begun by then.
        let left = Connect { address: fixture.address, token: 9, refusals: 0, options: None };
        fixture.workers[1].core.connects.push_back(left);
        fixture.settle();
        assert!(fixture.workers[1].has_ended(), "{behaviour:?}");
        assert_eq!(fixture.all_stats().sessions_opened, 5, "{behaviour:?}");
        assert_eq!(fixture.end(late), End::Finished, "it is turned away");
        assert_eq!(failures(&fixture), [(9, ErrorKind::ConnectionAborted)]);
        assert_eq!(fixture.reasons().len(), 2);
        keys.push(late);
        keys.into_iter().for_each(|key| fixture.client.abort(key));
        fixture.settle();
        fixture.assert_clean();
        assert_eq!(room(&fixture), 10, "INV-2: all are counted out");
    }
}

/// How many sessions the server has room for.
fn room(fixture: &Fixture) -> usize {
    let seats: Vec<_> = (0..1_000).map_while(|_| fixture.workers[0].placement.admit(None).ok()).collect();
    seats.len()
}

/// The port to connect to is the next that the system gives, and no socket listens there: the connection is one to itself,
/// and fails like any that is refused. No session begins, and the port can be listened on.
#[test]
fn a_connect_that_meets_itself_has_failed() {
    for behaviour in behaviours() {
        let own = std::net::SocketAddr::from(([127, 0, 0, 1], 20_001));
        let probe = Probe::echo().on_worker(move |worker, seen| {
            if let Seen::Message(_) = seen {
                worker.connect(own, 5);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.post(0, Mail::Message(0));
        fixture.settle();
        assert_eq!(
            fixture.log()[1..],
            [Seen::ConnectFailed(5, ErrorKind::ConnectionRefused)],
            "{behaviour:?}"
        );
        assert_eq!(fixture.all_stats().connects_failed, 1);
        fixture.assert_clean();
        fixture.simulation.listen(own).expect("nobody has it any more");
        // The next connect finds no socket, not even its own.
        fixture.post(0, Mail::Message(0));
        fixture.settle();
    }
}
