//! Panics of handlers: each is counted, ends its session alone, and is passed to `on_panic`.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::fixture::{End, Fixture, Probe, Seen, What, behaviours};
use crate::config::{Config, OnPanic};
use crate::mailbox::Mail;
use crate::session::SessionId;

type Dropped = Rc<RefCell<Vec<SessionId>>>;

/// Panics over a piece that begins with an exclamation mark; notes which states were dropped.
fn fragile() -> (Probe, Dropped) {
    let dropped = Dropped::default();
    let note = Rc::clone(&dropped);
    let probe = Probe::new(|session, what| match what {
        What::Data(data) if data[0] == b'!' => panic!("a mistake"),
        What::Data(data) => drop(session.send(data)),
        What::HalfClose => session.close(),
        _ => {}
    });
    (probe.on_drop(move |id| note.borrow_mut().push(id)), dropped)
}

fn opened(fixture: &Fixture) -> Vec<SessionId> {
    let id = |seen| if let Seen::Open(id) = seen { Some(id) } else { None };
    fixture.log().into_iter().filter_map(id).collect()
}

fn panics(fixture: &Fixture) -> Vec<(Option<SessionId>, String)> {
    let told = |seen| if let Seen::Panic(id, message) = seen { Some((id, message)) } else { None };
    fixture.log().into_iter().filter_map(told).collect()
}

#[test]
fn a_panic_drops_the_state_and_is_told() {
    for behaviour in behaviours() {
        let (probe, dropped) = fragile();
        // The state is gone when `on_panic` is called, and the session cannot be reached.
        let gone = Rc::clone(&dropped);
        let probe = probe.on_worker(move |worker, seen| {
            if let Seen::Panic(Some(id), _) = seen {
                assert_eq!(*gone.borrow(), [id]);
                assert!(worker.session(id).is_none_or(|(session, _)| session.is_closing()));
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let (bad, good) = (fixture.connect(), fixture.connect());
        fixture.send(bad, b"!");
        fixture.settle();
        fixture.send(good, b"fine");
        fixture.settle();
        assert_eq!((fixture.end(bad), fixture.got(good)), (End::Reset, &b"fine"[..]), "{behaviour:?}");
        let [bad, good] = opened(&fixture)[..] else { panic!("two") };
        assert_eq!(panics(&fixture), [(Some(bad), "a mistake".to_owned())]);
        assert_eq!(*dropped.borrow(), [bad], "once");
        let stats = fixture.all_stats();
        assert_eq!((stats.panics, stats.sessions_panicked), (1, 1), "{behaviour:?}");
        fixture.post(0, Mail::Stop);
        fixture.settle();
        assert_eq!(fixture.reasons().len(), 1, "after a panic there is no on_close");
        assert_eq!(*dropped.borrow(), [bad, good]);
        fixture.assert_clean();
    }
}

/// A panic in any callback is counted and reported; a connect that is never answered otherwise fails.
#[test]
fn a_panic_in_any_callback_is_counted_and_told_once() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Open if session.is_outbound() => panic!("open"),
            What::Open => session.set_timer(Duration::from_millis(100), 0),
            What::Timer(_) => session.close(),
            _ => {}
        });
        let probe = probe.on_worker(|worker, seen| match seen {
            Seen::Message(1) => panic!("message"),
            Seen::Message(2) => worker.connect(SocketAddr::from(([127, 0, 0, 1], 1)), 1),
            Seen::Message(_) => worker.connect(SocketAddr::from(([127, 0, 0, 1], 7777)), 2),
            Seen::ConnectFailed(..) => panic!("connect"),
            Seen::Tick => panic!("tick"),
            Seen::Close(..) => panic!("close"),
            _ => {}
        });
        let config = Config { tick: Some(Duration::from_millis(500)), ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        fixture.listen_outside();
        let key = fixture.connect();
        for message in 1..=3 {
            fixture.handles[0].post(message).unwrap();
        }
        fixture.pass(Duration::from_millis(100));
        fixture.finish(key);
        fixture.settle();
        fixture.pass(Duration::from_millis(450));
        let [first, outbound] = opened(&fixture)[..] else { panic!("two") };
        let mut told = panics(&fixture);
        told.sort_by(|one, other| one.1.cmp(&other.1));
        let wanted = [(Some(first), "close"), (None, "connect"), (None, "message"), (Some(outbound), "open")];
        let mut wanted = wanted.map(|(id, text)| (id, text.to_owned())).to_vec();
        wanted.push((None, "tick".to_owned()));
        assert_eq!(told, wanted, "{behaviour:?}");
        let stats = fixture.all_stats();
        assert_eq!((stats.panics, stats.sessions_panicked, stats.sessions), (5, 1, 0), "{behaviour:?}");
        fixture.assert_clean();
    }
}

/// The destructor of the state, and `on_panic` itself: both are counted, and lead to nothing else.
#[test]
fn what_panics_after_a_panic_goes_no_further() {
    for behaviour in behaviours() {
        let (probe, _) = fragile();
        let probe = probe.on_drop(|_| panic!("a destructor")).on_worker(|_, seen| {
            if let Seen::Panic(..) = seen {
                panic!("telling");
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let (bad, good) = (fixture.connect(), fixture.connect());
        fixture.send(bad, b"!");
        fixture.send(good, b"fine");
        fixture.settle();
        assert_eq!((fixture.end(bad), fixture.got(good)), (End::Reset, &b"fine"[..]), "{behaviour:?}");
        let bad = opened(&fixture)[0];
        assert_eq!(panics(&fixture), [(Some(bad), "a mistake".to_owned())], "told once");
        assert_eq!(
            (fixture.all_stats().panics, fixture.all_stats().sessions_panicked),
            (3, 1),
            "{behaviour:?}"
        );
    }
}

#[test]
fn what_on_panic_asks_for_is_done() {
    for behaviour in behaviours() {
        let (probe, _) = fragile();
        let probe = probe.on_worker(|worker, seen| {
            if let Seen::Panic(..) = seen {
                worker.broadcast(&"sorry".into(), None);
                worker.connect(SocketAddr::from(([127, 0, 0, 1], 7777)), 3);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.listen_outside();
        let (bad, good) = (fixture.connect(), fixture.connect());
        fixture.send(bad, b"!");
        fixture.settle();
        assert_eq!(fixture.got(good), b"sorry", "{behaviour:?}");
        assert_eq!(fixture.outside().count(), 1);
    }
}

/// Every callback in a drain panics, the last message's, too, and so does each `on_panic`.
#[test]
fn a_drain_in_which_everything_panics_ends() {
    for behaviour in behaviours() {
        let (probe, dropped) = fragile();
        let probe = probe.on_worker(|worker, seen| {
            worker.connect(SocketAddr::from(([127, 0, 0, 1], 7777)), 3);
            panic!("in {seen:?}");
        });
        let config = Config { tick: Some(Duration::from_millis(20)), ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let keys: Vec<_> = (0..5).map(|_| fixture.connect()).collect();
        fixture.send(keys[0], b"!");
        fixture.post(0, Mail::Drain(Duration::from_secs(1)));
        fixture.handles[0].post(1).unwrap();
        fixture.settle();
        for _ in 0..50 {
            fixture.pass(Duration::from_millis(20));
        }
        assert!(fixture.workers[0].has_ended(), "{behaviour:?} {:?}", fixture.all_stats());
        assert_eq!(dropped.borrow().len(), 5, "nothing leaks");
        fixture.assert_clean();
    }
}

/// The worker ends with sessions in hand, whose destructors panic all: the process lives, and each of them ran.
#[test]
fn a_worker_that_stops_for_a_panic_drops_every_state() {
    for behaviour in behaviours() {
        let (probe, dropped) = fragile();
        let note = Rc::clone(&dropped);
        let probe = probe.on_drop(move |id| {
            note.borrow_mut().push(id);
            panic!("a destructor");
        });
        let config = Config { on_panic: OnPanic::StopServer, ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let keys: Vec<_> = (0..5).map(|_| fixture.connect()).collect();
        fixture.send(keys[2], b"!");
        let stopped = catch_unwind(AssertUnwindSafe(|| fixture.settle())).expect_err("it stops");
        assert_eq!(stopped.downcast_ref::<String>().map(String::as_str), Some("a mistake"));
        fixture.workers.clear();
        assert_eq!(dropped.borrow().len(), 5, "{behaviour:?}");
        assert!(panics(&fixture).is_empty(), "its fields are not to be trusted");
        assert_eq!(fixture.all_stats().panics, 6);
    }
}
