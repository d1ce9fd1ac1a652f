//! Limits of one session: they hold for it alone, and are gone with it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use proactor::ConnectionKey;

use super::fixture::{End, Fixture, Kept, Probe, Seen, What, behaviours};
use crate::Error;
use crate::config::{Config, Overflow};
use crate::context::Session;
use crate::session::{CloseReason, Sent, SessionId};

const SECOND: Duration = Duration::from_secs(1);

/// Does `set` as the session with the given number opens, counted from 0. Closes silent sessions.
fn opens(set: impl Fn(usize, &mut Session<'_, Kept>) + 'static) -> Probe {
    let opened = Cell::new(0);
    Probe::new(move |session, what| match what {
        What::Open => set(opened.replace(opened.get() + 1), session),
        What::Idle | What::ReadIdle | What::WriteIdle | What::HalfClose => session.close(),
        _ => {}
    })
}

fn pass(fixture: &mut Fixture, time: Duration) {
    for _ in 0..time.as_millis() / 250 {
        fixture.pass(SECOND / 4);
    }
}

fn opened(fixture: &Fixture) -> Vec<SessionId> {
    let id = |seen| if let Seen::Open(id) = seen { Some(id) } else { None };
    fixture.log().into_iter().filter_map(id).collect()
}

/// Which of the clients are closed.
fn closed(fixture: &Fixture, keys: &[ConnectionKey]) -> Vec<usize> {
    (0..keys.len()).filter(|at| fixture.end(keys[*at]) != End::Open).collect()
}

/// Timers of deadlines that are set in the worker.
fn timers(fixture: &Fixture) -> usize {
    fixture.workers[0].deadlines.timers()
}

#[test]
fn each_session_is_idle_by_its_own_timeout() {
    type Set = fn(&mut Session<'_, Kept>, Option<Duration>);
    let sets: [Set; 3] = [
        |session, after| session.set_idle_timeout(after),
        |session, after| session.set_read_idle_timeout(after),
        |session, after| session.set_write_idle_timeout(after),
    ];
    for behaviour in behaviours() {
        for (kind, set) in sets.into_iter().enumerate() {
            for server in [Some(4 * SECOND), None] {
                let only = |at| server.filter(|_| kind == at);
                let config = Config {
                    idle_timeout: only(0),
                    read_idle_timeout: only(1),
                    write_idle_timeout: only(2),
                    ..Config::default()
                };
                let probe = opens(move |number, session| match number {
                    0 => set(session, Some(SECOND)),
                    1 => set(session, Some(10 * SECOND)),
                    2 => set(session, None),
                    _ => {}
                });
                let mut fixture = Fixture::new(behaviour, 1, config, probe);
                let keys: Vec<_> = (0..4).map(|_| fixture.connect()).collect();
                let by_server = server.map(|_| 3);
                let mut wanted = vec![];
                for (passes, ends) in [
                    (3, None),
                    (2, Some(0)),
                    (10, None),
                    (3, by_server),
                    (21, None),
                    (4, Some(1)),
                    (60, None),
                ] {
                    pass(&mut fixture, passes * SECOND / 4);
                    wanted.extend(ends);
                    wanted.sort_unstable();
                    assert_eq!(closed(&fixture, &keys), wanted, "{behaviour:?}, kind {kind}, {server:?}");
                }
                assert!(fixture.reasons().iter().all(|reason| *reason == CloseReason::IdleTimeout));
            }
        }
    }
}

/// The next session in the slot is neither closed by the earlier one's limit, nor kept by it.
#[test]
fn a_limit_is_gone_with_its_session() {
    for behaviour in behaviours() {
        for own in [SECOND / 2, 3600 * SECOND] {
            let config = Config { idle_timeout: Some(2 * SECOND), ..Config::default() };
            let probe = opens(move |number, session| {
                if number == 0 {
                    session.set_idle_timeout(own);
                    session.set_deadline(own);
                    session.set_write_timeout(own);
                }
            });
            let mut fixture = Fixture::new(behaviour, 1, config, probe);
            let first = fixture.connect();
            fixture.finish(first);
            fixture.settle();
            assert_eq!(fixture.reasons(), [CloseReason::EndOfStream], "{behaviour:?}");
            fixture.client.close(first);
            fixture.settle();
            assert!(
                timers(&fixture) <= 1,
                "at most the slot's own, for the next session: {}",
                timers(&fixture)
            );
            let second = fixture.connect();
            let slots: Vec<_> = opened(&fixture).iter().map(|id| id.key.index()).collect();
            assert_eq!(slots[0], slots[1], "the slot is used again");
            pass(&mut fixture, 2 * SECOND - SECOND / 4);
            assert_eq!(fixture.end(second), End::Open, "{behaviour:?}, {own:?}");
            pass(&mut fixture, SECOND / 2);
            assert_eq!(fixture.end(second), End::Finished, "{behaviour:?}, {own:?}");
        }
    }
}

/// A busy session ends at its deadline, after what arrived before it was answered.
#[test]
fn a_deadline_ends_a_busy_session() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Open => session.set_deadline(3 * SECOND),
            What::Data(data) => match data[0] {
                b'-' => session.set_deadline(None),
                b'+' => session.set_deadline(4 * SECOND),
                _ => {
                    session.send(data);
                }
            },
            What::HalfClose => session.close(),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let keys: Vec<_> = (0..3).map(|_| fixture.connect()).collect();
        pass(&mut fixture, SECOND);
        fixture.send(keys[1], b"+");
        fixture.send(keys[2], b"-");
        for _ in 0..7 {
            keys.iter().for_each(|key| fixture.send(*key, b"x"));
            fixture.pass(SECOND / 4);
        }
        assert_eq!(closed(&fixture, &keys), [0; 0], "not before its time: {behaviour:?}");
        // It arrives before the deadline, and is seen after it.
        fixture.send(keys[0], b"last");
        (0..50).for_each(|_| fixture.round_of_client());
        fixture.pass(SECOND / 2);
        assert_eq!(closed(&fixture, &keys), [0], "{behaviour:?}");
        assert_eq!(fixture.got(keys[0]), b"xxxxxxxlast", "{behaviour:?}");
        pass(&mut fixture, SECOND + SECOND / 2);
        assert_eq!(closed(&fixture, &keys), [0], "{behaviour:?}");
        pass(&mut fixture, SECOND * 3 / 4);
        assert_eq!(closed(&fixture, &keys), [0, 1], "{behaviour:?}");
        pass(&mut fixture, 60 * SECOND);
        assert_eq!(closed(&fixture, &keys), [0, 1], "{behaviour:?}");
        fixture.finish(keys[2]);
        fixture.settle();
        assert_eq!(
            fixture.reasons(),
            [CloseReason::Deadline, CloseReason::Deadline, CloseReason::EndOfStream]
        );
        assert_eq!(fixture.stats(0).sessions_timed_out, 2);
        keys.iter().for_each(|key| fixture.client.close(*key));
        fixture.settle();
        assert_eq!(timers(&fixture), 0, "nothing is watched any more");
        fixture.assert_clean();
    }
}

/// A handler that changes its limits at every message, or pauses and resumes, needs no more timers for it.
#[test]
fn changing_a_limit_again_and_again_needs_one_timer() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Open => session.set_idle_timeout(60 * SECOND),
            What::Data(data) => {
                for after in 1..100 {
                    session.set_read_idle_timeout(SECOND * (after % 7 + 60));
                    session.set_write_timeout(SECOND);
                    session.set_deadline(SECOND * 100);
                }
                session.send(data);
                session.pause();
                session.set_timer(SECOND / 10, 0);
            }
            What::Timer(_) => session.resume(),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        for _ in 0..50 {
            fixture.send(key, b"x");
            fixture.pass(SECOND / 4);
        }
        assert!(timers(&fixture) <= 4, "{} timers: {behaviour:?}", timers(&fixture));
        assert_eq!(fixture.reasons(), []);
    }
}

#[test]
fn a_peer_that_does_not_read_is_cut_by_the_sessions_own_write_timeout() {
    for behaviour in behaviours() {
        for server in [None, Some(20 * SECOND)] {
            let config = Config { write_timeout: server, hard_limit: 1 << 20, ..Config::default() };
            let probe = opens(move |number, session| {
                match number {
                    0 => session.set_write_timeout(2 * SECOND),
                    1 => session.set_write_timeout(None),
                    _ => {}
                }
                session.set_timer(SECOND, 0);
            });
            let (sends, len) = (probe, 8 * behaviour.capacity);
            let probe = with_timer(sends, len);
            let mut fixture = Fixture::new(behaviour, 1, config, probe);
            let keys: Vec<_> = (0..3).map(|_| fixture.connect()).collect();
            keys.iter().for_each(|key| fixture.client.pause_receive(*key));
            fixture.settle();
            pass(&mut fixture, 3 * SECOND - SECOND / 4);
            assert_eq!(fixture.reasons(), [], "not before its time: {behaviour:?}");
            pass(&mut fixture, SECOND);
            assert_eq!(fixture.reasons(), [CloseReason::WriteTimeout], "{behaviour:?}, {server:?}");
            pass(&mut fixture, 40 * SECOND);
            let cut = 1 + usize::from(server.is_some());
            assert_eq!(fixture.reasons(), vec![CloseReason::WriteTimeout; cut], "{behaviour:?}, {server:?}");
        }
    }
}

/// The same, and `len` bytes are sent when a timer fires.
fn with_timer(probe: Probe, len: usize) -> Probe {
    probe.also_on_session(move |session, what| {
        if let What::Timer(_) = what {
            session.send(vec![7; len]);
        }
    })
}

/// Its own hard limit and marks, whatever the server's; another session has the server's.
#[test]
fn a_session_has_its_own_send_limits() {
    for behaviour in behaviours() {
        let sent: Rc<RefCell<Vec<(usize, Sent)>>> = Rc::default();
        let noted = Rc::clone(&sent);
        let probe = opens(move |number, session| {
            let before = session.send_limits();
            assert_eq!((before.low_water, before.high_water, before.hard_limit), (1_000, 5_000, 10_000));
            let mut limits = before;
            if number == 0 {
                (limits.low_water, limits.high_water, limits.hard_limit) = (2_000, 20_000, 40_000);
                session.set_send_limits(limits).expect("they make sense");
                let mut wrong = limits;
                wrong.hard_limit = 19_999;
                let refused = session.set_send_limits(wrong);
                assert!(
                    matches!(refused, Err(Error::Config { setting: "the hard limit", .. })),
                    "{refused:?}"
                );
                assert_eq!(session.send_limits(), limits, "nothing has changed");
            }
            for _ in 0..5 {
                noted.borrow_mut().push((number, session.send(vec![1; 9_000])));
            }
        });
        let pool = proactor::PoolConfig { blocks: 16, block_len: 4096 };
        let config = Config {
            high_water: 5_000,
            low_water: 1_000,
            hard_limit: 10_000,
            overflow: Overflow::Refuse,
            pool,
            ..Config::default()
        };
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let keys = [fixture.connect(), fixture.connect()];
        fixture.settle();
        let taken = |number| {
            let all = sent.borrow();
            all.iter().filter(|(of, sent)| (*of, *sent) == (number, Sent::Ok)).count()
        };
        assert_eq!((taken(0), taken(1)), (4, 1), "INV-6: {behaviour:?}");
        assert_eq!((fixture.got(keys[0]).len(), fixture.got(keys[1]).len()), (36_000, 9_000));
        let writable = fixture.log().iter().filter(|seen| matches!(seen, Seen::Writable(_))).count();
        assert_eq!(writable, 2, "each was over its high-water mark: {behaviour:?}");
    }
}

/// A session with room for everything it is asked for still takes nothing once it closes.
#[test]
fn own_limits_open_no_closed_session() {
    for behaviour in behaviours() {
        let answers: Rc<RefCell<Vec<Sent>>> = Rc::default();
        let noted = Rc::clone(&answers);
        let probe = opens(move |_, session| {
            session.set_send_limits(session.send_limits()).expect("they are the server's");
            noted.borrow_mut().push(session.send("one"));
            session.finish();
            noted.borrow_mut().push(session.send("two"));
            session.close();
            noted.borrow_mut().push(session.send("three"));
            session.set_deadline(SECOND);
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.settle();
        assert_eq!(*answers.borrow(), [Sent::Ok, Sent::Closed, Sent::Closed]);
        assert_eq!(fixture.got(key), b"one", "{behaviour:?}");
        fixture.client.close(key);
        pass(&mut fixture, 3 * SECOND);
        assert_eq!(fixture.reasons(), [CloseReason::Local], "{behaviour:?}");
        fixture.assert_clean();
    }
}
