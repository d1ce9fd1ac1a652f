//! Timers of sessions: never early, moved, cancelled, and gone with their session (INV-3, INV-6).

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use proactor::Time;
use proactor::backend::Wait;
use proactor::backend::simulated::{Behaviour, Simulation};

use super::fixture::{Fixture, Kept, Probe, Seen, What, behaviours};
use crate::config::Config;
use crate::context::Session;
use crate::mailbox::Mail;
use crate::session::{CloseReason, SessionId};

const HOUR: Duration = Duration::from_secs(3600);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The clock of a fixture, for callbacks that let time pass.
#[derive(Clone, Default)]
struct Clock(Rc<OnceCell<Simulation>>);

impl Clock {
    /// A callback that takes this long.
    fn advance(&self, by: Duration) {
        self.0.get().expect("the fixture was made").advance(by);
    }

    fn fixture(&self, behaviour: Behaviour, config: Config, probe: Probe) -> Fixture {
        let fixture = Fixture::new(behaviour, 1, config, probe);
        assert!(self.0.set(fixture.simulation.clone()).is_ok());
        fixture
    }
}

fn now(session: &Session<'_, Kept>) -> Time {
    session.endpoints.now()
}

/// Timers that are set in the worker, of any kind.
fn timers(fixture: &Fixture) -> usize {
    fixture.workers[0].core.timers.len()
}

/// Tokens of the timers that fired, in order.
fn fired(fixture: &Fixture) -> Vec<u64> {
    let token = |seen| if let Seen::Timer(_, token) = seen { Some(token) } else { None };
    fixture.log().into_iter().filter_map(token).collect()
}

#[test]
fn a_timer_counts_from_the_call_however_long_the_turn_takes() {
    for behaviour in behaviours() {
        for turn in [0, 1_300, 23_000, 80_000, 400_000].map(Duration::from_micros) {
            for after in [0, 1, 4, 30, 100].map(ms) {
                let (clock, set, took) =
                    (Clock::default(), Rc::new(Cell::new(Time::ZERO)), Rc::new(Cell::new(None)));
                let (ours, at, noted) = (clock.clone(), Rc::clone(&set), Rc::clone(&took));
                let probe = Probe::new(move |session, what| match what {
                    What::Data(_) => {
                        ours.advance(turn);
                        at.set(now(session));
                        session.set_timer(after, 7);
                        ours.advance(turn);
                    }
                    What::Timer(7) => noted.set(Some(now(session) - at.get())),
                    _ => {}
                });
                let mut fixture = clock.fixture(behaviour, Config::default(), probe);
                let key = fixture.connect();
                fixture.send(key, b"x");
                fixture.settle();
                for _ in 0..after.as_millis() + 5 {
                    fixture.pass(ms(1));
                }
                let took = took.get().expect("it fires");
                assert!(took >= after, "{after:?} after {took:?}, in a turn of {turn:?}");
                assert!(took <= after.max(turn) + ms(5), "{after:?} after {took:?}, in a turn of {turn:?}");
            }
        }
    }
}

/// From a message, from another session's callback, and from a callback of the same turn that came before.
#[test]
fn a_timer_counts_from_the_call_wherever_it_is_set() {
    for behaviour in behaviours() {
        let (clock, ids) = (Clock::default(), Rc::new(RefCell::new(Vec::<SessionId>::new())));
        let set: Rc<RefCell<Vec<(u64, Time)>>> = Rc::default();
        let early: Rc<RefCell<Vec<u64>>> = Rc::default();
        let set_one = {
            let (clock, set) = (clock.clone(), Rc::clone(&set));
            move |session: &mut Session<'_, Kept>, token| {
                clock.advance(ms(70));
                set.borrow_mut().push((token, now(session)));
                session.set_timer(ms(100), token);
            }
        };
        let (opened, set_in_worker) = (Rc::clone(&ids), set_one.clone());
        let (noted, early_ones) = (Rc::clone(&set), Rc::clone(&early));
        let probe = Probe::new(move |session, what| match what {
            What::Open => opened.borrow_mut().push(session.id()),
            What::Data(_) => {
                set_one(session, 1);
                let other = *opened.borrow().iter().find(|id| **id != session.id()).unwrap();
                set_one(&mut session.sibling(other).unwrap(), 2);
            }
            What::Timer(token) => {
                let at = noted.borrow().iter().find(|(other, _)| *other == token).unwrap().1;
                if now(session) - at < ms(100) {
                    early_ones.borrow_mut().push(token);
                }
                if token == 1 {
                    set_one(session, 3);
                }
            }
            _ => {}
        });
        let ours = Rc::clone(&ids);
        let probe = probe.on_worker(move |worker, seen| {
            if let Seen::Message(token) = seen {
                let id = ours.borrow()[0];
                set_in_worker(&mut worker.session(id).unwrap().0, token.into());
            }
        });
        let mut fixture = clock.fixture(behaviour, Config::default(), probe);
        let (one, _other) = (fixture.connect(), fixture.connect());
        fixture.handles[0].post(10).unwrap();
        fixture.handles[0].post(11).unwrap();
        fixture.send(one, b"x");
        fixture.settle();
        for _ in 0..600 {
            fixture.pass(ms(1));
        }
        let mut all = fired(&fixture);
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 10, 11], "{behaviour:?}");
        assert_eq!(early.borrow()[..], [], "{behaviour:?}");
    }
}

#[test]
fn lingering_and_connecting_count_from_their_start() {
    for behaviour in behaviours() {
        let clock = Clock::default();
        let (ours, theirs) = (clock.clone(), clock.clone());
        let probe = Probe::new(move |session, what| {
            if let What::Data(_) = what {
                ours.advance(ms(480));
                session.close();
            }
        });
        let probe = probe.on_worker(move |worker, seen| {
            if let Seen::Message(_) = seen {
                worker.connect(SocketAddr::from(([127, 0, 0, 1], 9999)), 1);
                theirs.advance(ms(480));
            }
        });
        let config = Config {
            linger_timeout: ms(500),
            connect_timeout: Some(ms(500)),
            write_timeout: None,
            ..Config::default()
        };
        let mut fixture = clock.fixture(behaviour, config, probe);
        let key = fixture.connect();
        fixture.send(key, b"x");
        fixture.settle();
        fixture.pass(ms(490));
        assert_eq!(fixture.reasons(), [], "its peer has 500 ms for a FIN: {behaviour:?}");
        fixture.pass(ms(20));
        assert_eq!(fixture.reasons(), [CloseReason::Local], "{behaviour:?}");
        assert_eq!(timers(&fixture), 0);

        let worker = &mut fixture.workers[0];
        worker.mailbox.post(Mail::Message(1), true).unwrap();
        worker.take_mail();
        let deadline = worker.core.timers.next().expect("a connect has a deadline");
        assert!(deadline >= worker.driver.now() + ms(500), "{behaviour:?}");
        fixture.settle();
        assert_eq!(timers(&fixture), 0, "a connect that is decided has none: {behaviour:?}");
    }
}

#[test]
fn a_token_has_one_timer_and_setting_it_again_moves_it() {
    for behaviour in behaviours().take(6) {
        for (first, second) in [(30, 90), (90, 30), (30, 30), (30, 31), (0, 500), (3_600_000, 10)] {
            let probe = Probe::new(move |session, what| match what {
                What::Open => {
                    session.set_timer(ms(first), 1);
                    session.set_timer(ms(40), 2);
                    session.set_timer(ms(second), 1);
                }
                What::Timer(2) => session.set_timer(ms(2_000), 2),
                _ => {}
            });
            let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
            fixture.connect();
            fixture.connect();
            assert_eq!(timers(&fixture), 4);
            for _ in 0..second {
                assert!(!fired(&fixture).contains(&1), "{first} then {second}: {behaviour:?}");
                fixture.pass(ms(1));
            }
            fixture.pass(ms(5));
            let of_one = |fixture: &Fixture| fired(fixture).iter().filter(|token| **token == 1).count();
            assert_eq!(of_one(&fixture), 2, "{first} then {second}: {behaviour:?}");
            fixture.pass(ms(1_000));
            assert_eq!(of_one(&fixture), 2, "once each: {first} then {second}: {behaviour:?}");
            assert_eq!(timers(&fixture), 2);
        }
    }
}

#[test]
fn a_cancelled_timer_does_not_fire() {
    for behaviour in behaviours().take(6) {
        let answers: Rc<RefCell<Vec<bool>>> = Rc::default();
        let ours = Rc::clone(&answers);
        let probe = Probe::new(move |session, what| {
            let cancel = |session: &mut Session<'_, Kept>, token| {
                ours.borrow_mut().push(session.cancel_timer(token));
            };
            match what {
                What::Open => {
                    session.set_timer(ms(10), 1);
                    session.set_timer(ms(20), 2);
                    cancel(session, 1);
                    cancel(session, 1);
                    cancel(session, 3);
                }
                What::Timer(2) => {
                    cancel(session, 2);
                    session.set_timer(ms(10), 1);
                    session.set_timer(HOUR, 4);
                }
                What::Timer(1) => cancel(session, 4),
                _ => {}
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.connect();
        for _ in 0..100 {
            fixture.pass(ms(1));
        }
        assert_eq!(fired(&fixture), [2, 1]);
        assert_eq!(answers.borrow()[..], [true, false, false, false, true]);
        assert_eq!(timers(&fixture), 0);
        assert!(matches!(fixture.workers[0].wait(), Wait::Forever), "nobody wakes for a cancelled timer");
    }
}

/// All are due in the same turn, and the first to fire decides about the others.
#[test]
fn a_timer_that_is_due_already_can_be_cancelled_and_moved() {
    for behaviour in behaviours() {
        let ids: Rc<RefCell<Vec<SessionId>>> = Rc::default();
        let ours = Rc::clone(&ids);
        let probe = Probe::new(move |session, what| match what {
            What::Open => {
                ours.borrow_mut().push(session.id());
                for token in 1..=4 {
                    session.set_timer(ms(20), token);
                }
            }
            What::Timer(1) => {
                assert!(session.cancel_timer(2));
                assert!(!session.cancel_timer(1), "it has fired");
                session.set_timer(ms(200), 3);
                session.set_timer(Duration::ZERO, 1);
                let other = *ours.borrow().iter().find(|id| **id != session.id()).unwrap();
                let mut other = session.sibling(other).unwrap();
                (1..=4).for_each(|token| assert!(other.cancel_timer(token)));
            }
            What::Timer(4) => assert!(session.cancel_timer(1), "set again, and not before the next turn"),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.connect();
        fixture.begin_connect();
        fixture.settle();
        fixture.pass(ms(100));
        assert_eq!(fired(&fixture), [1, 4], "{behaviour:?}");
        fixture.pass(ms(210));
        assert_eq!(fired(&fixture), [1, 4, 3], "{behaviour:?}");
        assert_eq!(timers(&fixture), 0);
    }
}

/// How a session ends while it has timers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Close,
    Abort,
    Panic,
    HalfClose,
    Reset,
    Drain,
}

impl Ending {
    /// Sets three timers in each session, and ends it with its first bytes if that is the handler's part.
    fn probe(self) -> Probe {
        Probe::new(move |session, what| match what {
            What::Open => (0..3).for_each(|token| session.set_timer(HOUR, token)),
            What::Data(_) => match self {
                Ending::Close => session.close(),
                Ending::Abort => session.abort(),
                Ending::Panic => panic!("on purpose"),
                Ending::HalfClose | Ending::Reset | Ending::Drain => {}
            },
            What::HalfClose => session.close(),
            _ => {}
        })
    }

    /// Opens five sessions, and ends them with everything that belongs to it.
    fn carry_out(self, fixture: &mut Fixture) {
        let keys: Vec<_> = (0..5).map(|_| fixture.connect()).collect();
        assert_eq!(timers(fixture), 15);
        for key in &keys {
            fixture.send(*key, b"x");
        }
        fixture.settle();
        if self == Ending::Drain {
            fixture.post(0, Mail::Drain(HOUR));
            fixture.settle();
        }
        for key in keys {
            match self {
                Ending::HalfClose => fixture.finish(key),
                Ending::Reset => fixture.client.abort(key),
                Ending::Close | Ending::Abort | Ending::Panic | Ending::Drain => fixture.client.close(key),
            }
        }
        fixture.settle();
    }
}

#[test]
fn timers_of_sessions_that_are_gone_take_no_memory() {
    use Ending::*;
    for behaviour in behaviours() {
        for ending in [Close, Abort, Panic, HalfClose, Reset, Drain] {
            let mut fixture = Fixture::new(behaviour, 1, Config::default(), ending.probe());
            let rounds = if ending == Drain { 1 } else { 4 };
            for _ in 0..rounds {
                ending.carry_out(&mut fixture);
                fixture.assert_clean();
                assert_eq!(timers(&fixture), 0, "{ending:?}, {behaviour:?}");
                let worker = &fixture.workers[0];
                let sleeps = worker.has_ended() || matches!(worker.wait(), Wait::Forever);
                assert!(sleeps, "nobody wakes for what is gone: {:?}, {ending:?}", worker.wait());
            }
            // Three each, and a linger.
            let capacity = fixture.workers[0].core.timers.capacity();
            assert!(capacity <= 5 * 4, "{capacity}: {ending:?}, {behaviour:?}");
            assert_eq!(fired(&fixture), []);
        }
    }
}

#[test]
fn a_session_that_is_closing_has_no_timers() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Open => {
                session.set_timer(ms(50), 1);
                session.set_timer(HOUR, 2);
            }
            What::Data(_) => {
                session.send(vec![0; 1_000_000]);
                session.close();
                session.set_timer(ms(50), 3);
                assert!(!session.cancel_timer(1) && !session.cancel_timer(3));
            }
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.client.pause_receive(key);
        fixture.send(key, b"x");
        fixture.settle();
        assert_eq!(
            (fixture.all_stats().sessions, timers(&fixture)),
            (1, 0),
            "its peer does not read: {behaviour:?}"
        );
        fixture.pass(ms(500));
        assert_eq!(fired(&fixture), []);
    }
}

#[test]
fn a_newcomer_in_the_slot_hears_no_timer_of_the_session_before() {
    for behaviour in behaviours() {
        let opened = Rc::new(Cell::new(0));
        let probe = Probe::new(move |session, what| match what {
            What::Open => {
                let first = opened.replace(opened.get() + 1) == 0;
                session.set_timer(if first { ms(100) } else { ms(300) }, 7);
                if first {
                    session.set_timer(ms(100), 8);
                }
            }
            What::HalfClose => session.close(),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.finish(key);
        fixture.settle();
        fixture.connect();
        let slots: Vec<usize> = fixture
            .log()
            .iter()
            .filter_map(|seen| if let Seen::Open(id) = seen { Some(id.key.index()) } else { None })
            .collect();
        assert_eq!(slots[0], slots[1]);
        fixture.pass(ms(250));
        assert_eq!(fired(&fixture), [], "INV-3: {behaviour:?}");
        fixture.pass(ms(60));
        assert_eq!(fired(&fixture), [7]);
    }
}

#[test]
fn a_timer_that_each_message_sets_again_is_one_timer() {
    for behaviour in behaviours().filter(|behaviour| behaviour.capacity > 300) {
        let probe = Probe::new(|session, what| match what {
            What::Data(data) => {
                session.set_timer(Duration::from_secs(2), 0);
                session.send(data);
            }
            What::Timer(0) => session.close(),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        for _ in 0..2_000 {
            fixture.send(key, b"still here");
            fixture.round();
            fixture.simulation.advance(ms(7));
        }
        fixture.settle();
        let wheel = &fixture.workers[0].core.timers;
        assert_eq!((wheel.len(), wheel.capacity()), (1, 1), "{behaviour:?}");
        fixture.pass(ms(1_900));
        assert_eq!(fired(&fixture), [], "{behaviour:?}");
        fixture.pass(ms(200));
        assert_eq!(fired(&fixture), [0], "{behaviour:?}");
    }
}

#[test]
fn a_session_may_have_thousands_of_timers() {
    const COUNT: u64 = 20_000;
    let probe = Probe::new(|session, what| {
        if let What::Open = what {
            // 7,919 is prime: every token once, in no order.
            for serial in 0..COUNT {
                let token = serial * 7_919 % COUNT;
                session.set_timer(HOUR, token);
                session.set_timer(ms(token), token);
            }
            for token in (0..COUNT).filter(|token| token % 3 == 0) {
                assert!(session.cancel_timer(token));
            }
        }
    });
    let mut fixture = Fixture::new(Behaviour::default(), 1, Config::default(), probe);
    let key = fixture.connect();
    fixture.pass(ms(COUNT / 2));
    let mut half = fired(&fixture);
    half.sort_unstable();
    assert!(half.iter().copied().eq((0..=COUNT / 2).filter(|token| token % 3 != 0)));
    fixture.client.abort(key);
    fixture.settle();
    fixture.assert_clean();
    assert_eq!(timers(&fixture), 0);
}
