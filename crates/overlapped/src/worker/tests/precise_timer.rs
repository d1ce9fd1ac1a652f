//! The precise timer of a worker: at exactly its time under a virtual clock, and no obstacle to other work.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use proactor::backend::Wait;
use proactor::backend::simulated::{Behaviour, Simulation};
use proactor::{ConnectionKey, Time};

use super::fixture::{End, Fixture, Kept, Probe, Seen, What, behaviours};
use crate::config::Config;
use crate::context::WorkerContext;
use crate::mailbox::Mail;

const SECOND: Duration = Duration::from_secs(1);
/// No multiple of the timing wheel's 4 ms.
const ODD: Duration = Duration::from_nanos(7_123_457);

type Times = Rc<RefCell<Vec<Time>>>;

/// A probe that notes when its precise timer is called, then does what `act` says.
fn noting(act: impl Fn(&mut WorkerContext<'_, Kept>, Seen) + 'static) -> (Probe, Times) {
    let times = Times::default();
    let noted = Rc::clone(&times);
    let probe = Probe::echo().on_worker(move |worker, seen| {
        if seen == Seen::PreciseTimer {
            assert_eq!(worker.now(), worker.turn_time(), "no time passes within a turn");
            noted.borrow_mut().push(worker.now());
        }
        act(worker, seen);
    });
    (probe, times)
}

fn at(nanos: u64) -> Time {
    Time::from_nanos(nanos)
}

fn fixture(probe: Probe) -> Fixture {
    Fixture::new(crate::testing::Behaviour::default(), 1, Config::default(), probe)
}

#[test]
fn it_is_called_once_at_exactly_its_time() {
    for behaviour in behaviours() {
        let (probe, times) = noting(|_, _| {});
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        fixture.settle();
        let due = fixture.simulation.now() + ODD;
        let worker = &mut fixture.server.workers[0];
        worker.call_by_hand(|_, worker| worker.set_precise_timer(due));
        assert_eq!(worker.next_due(), Some(due));
        // It waits as over a real kernel: the virtual clock moves to the end of the wait.
        worker.turn(true).unwrap();
        assert_eq!((&times.borrow()[..], worker.wait()), (&[due][..], Wait::Forever), "{behaviour:?}");
        fixture.pass(SECOND);
        assert_eq!(times.borrow().len(), 1, "{behaviour:?}");
    }
}

#[test]
fn it_is_not_called_a_nanosecond_early() {
    for behaviour in behaviours() {
        let (probe, times) = noting(|_, _| {});
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let due = fixture.simulation.now() + ODD;
        fixture.workers[0].call_by_hand(|_, worker| worker.set_precise_timer(due));
        fixture.pass(ODD - Duration::from_nanos(1));
        assert_eq!(times.borrow()[..], [], "{behaviour:?}");
        fixture.pass(Duration::from_nanos(1));
        assert_eq!(times.borrow()[..], [due], "{behaviour:?}");
    }
}

#[test]
fn it_is_moved_and_cancelled() {
    let (probe, times) = noting(|worker, seen| match seen {
        Seen::Message(0) => worker.set_precise_timer(None),
        Seen::Message(ms) => worker.set_precise_timer(at(u64::from(ms) * 1_000_000)),
        _ => {}
    });
    let mut fixture = fixture(probe);
    let set = |fixture: &mut Fixture, ms, passes: u64| {
        fixture.handles[0].post(ms).unwrap();
        fixture.pass(Duration::from_millis(passes));
    };
    set(&mut fixture, 10, 5);
    set(&mut fixture, 30, 20);
    assert_eq!(times.borrow()[..], [], "it was moved to a later time");
    set(&mut fixture, 27, 2);
    assert_eq!(times.borrow()[..], [at(27_000_000)], "it was moved to an earlier time");
    set(&mut fixture, 40, 10);
    set(&mut fixture, 0, 100);
    assert_eq!(times.borrow().len(), 1, "it was cancelled");
    // In the turn in which the clock has reached it, the message is before it.
    set(&mut fixture, 200, 1);
    fixture.handles[0].post(0).unwrap();
    fixture.pass(SECOND);
    assert_eq!(times.borrow().len(), 1, "it was cancelled when it was due");
}

#[test]
fn it_sets_itself_again() {
    for behaviour in behaviours() {
        let every = Duration::from_micros(137);
        let (probe, times) = noting(move |worker, seen| {
            if seen == Seen::PreciseTimer {
                worker.set_precise_timer(worker.turn_time() + every);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let first = fixture.simulation.now() + every;
        let worker = &mut fixture.server.workers[0];
        worker.call_by_hand(|_, worker| worker.set_precise_timer(first));
        while times.borrow().len() < 1_000 {
            worker.turn(true).unwrap();
        }
        let wanted: Vec<Time> = (0..1_000).map(|serial| first + every * serial).collect();
        assert_eq!(*times.borrow(), wanted, "{behaviour:?}");
    }
}

/// A schedule that is behind is called once after each return from the kernel.
#[test]
fn one_that_is_always_due_lets_others_work() {
    for behaviour in behaviours() {
        let (probe, times) = noting(|worker, seen| {
            if matches!(seen, Seen::PreciseTimer | Seen::Message(_)) {
                worker.set_precise_timer(Time::ZERO);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.handles[0].post(1).unwrap();
        let mut turns = 0;
        fixture.send(key, b"and I?");
        while fixture.got(key) != b"and I?" {
            fixture.round();
            turns += 1;
            assert!(turns < 100 && times.borrow().len() <= turns, "{behaviour:?}");
        }
        assert!(times.borrow().len() >= turns - 1, "in every turn from the message on: {behaviour:?}");
        assert_eq!(fixture.workers[0].wait(), Wait::Until(Time::ZERO), "it does not sleep");
    }
}

/// Also set from a session's callback.
#[test]
fn it_is_called_during_a_drain_and_does_not_delay_its_end() {
    for behaviour in behaviours() {
        let (probe, times) = noting(|worker, seen| {
            if seen == Seen::PreciseTimer {
                assert!(worker.is_draining());
                worker.set_precise_timer(worker.now() + 60 * SECOND);
            }
        });
        let probe = probe.also_on_session(|session, what| {
            if matches!(what, What::Open) {
                let due = session.now() + ODD;
                assert_eq!(session.now(), session.turn_time());
                session.worker().set_precise_timer(due);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        let due = fixture.simulation.now() + ODD;
        fixture.post(0, Mail::Drain(10 * SECOND));
        fixture.pass(ODD);
        assert_eq!((&times.borrow()[..], fixture.workers[0].has_ended()), (&[due][..], false));
        fixture.client.close(key);
        fixture.pass(SECOND);
        assert!(fixture.workers[0].has_ended(), "the other one is not waited for: {behaviour:?}");
        assert_eq!(times.borrow().len(), 1);
    }
}

#[test]
fn a_panic_in_it_is_reported_and_it_may_be_set_again() {
    for behaviour in behaviours() {
        let panics = Cell::new(true);
        let (probe, times) = noting(move |worker, seen| match seen {
            Seen::PreciseTimer => assert!(!panics.replace(false), "on purpose"),
            Seen::Panic(None, _) => worker.set_precise_timer(worker.now() + ODD),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        let due = fixture.simulation.now() + ODD;
        fixture.workers[0].call_by_hand(|_, worker| worker.set_precise_timer(due));
        fixture.pass(ODD);
        fixture.pass(ODD);
        assert_eq!(times.borrow()[..], [due, due + ODD], "{behaviour:?}");
        assert_eq!((fixture.stats(0).panics, fixture.stats(0).sessions), (1, 1), "{behaviour:?}");
        fixture.send(key, b"still here");
        fixture.settle();
        assert_eq!(fixture.got(key), b"still here", "{behaviour:?}");
    }
}

const SEND: Duration = Duration::from_micros(5);
/// Sessions; a turn over the simulated kernel brings up to 64 completions.
const BURST: u32 = 30;

/// A worker that has just received from all sessions, on a kernel that works for a while on each echo. Its precise timer is
/// due.
fn before_a_burst(probe: Probe) -> (Fixture, Vec<ConnectionKey>) {
    let calm = Behaviour { cuts: false, multishot: true, inline: false, ..Behaviour::default() };
    let mut fixture = Fixture::new(calm, 1, Config::default(), probe);
    let keys: Vec<_> = (0..BURST).map(|_| fixture.connect()).collect();
    fixture.settle();
    for key in &keys {
        fixture.send(*key, b"come back");
    }
    fixture.round_of_client();
    fixture.workers[0].turn(false).unwrap();
    assert_eq!(fixture.workers[0].core.report.counters.bytes_received, u64::from(BURST) * 9);
    fixture.simulation.set_submission_time(SEND);
    let now = fixture.simulation.now();
    fixture.workers[0].call_by_hand(|_, worker| worker.set_precise_timer(now));
    (fixture, keys)
}

fn send_to_all(worker: &mut WorkerContext<'_, Kept>, bytes: &[u8]) {
    for id in worker.sessions() {
        let _ = worker.send(id, bytes.to_vec());
    }
}

/// It waits for four sends, not for all.
#[test]
fn it_does_not_wait_for_a_burst_of_submissions() {
    let (probe, times) = noting(|worker, seen| {
        if seen == Seen::PreciseTimer {
            worker.set_precise_timer(worker.now() + Duration::from_micros(1));
        }
    });
    let (mut fixture, keys) = before_a_burst(probe);
    let start = fixture.simulation.now();
    for _ in 0..3 {
        fixture.workers[0].turn(false).unwrap();
    }
    let passed = fixture.simulation.now().since(start);
    assert_eq!(passed, BURST * SEND, "all echoes were submitted");
    let mut times = times.take();
    times.insert(0, start);
    times.push(start + passed);
    let gaps = times.windows(2).map(|pair| pair[1].since(pair[0]));
    assert!(gaps.max() <= Some(4 * SEND), "{times:?}");
    fixture.workers[0].call_by_hand(|_, worker| worker.set_precise_timer(None));
    fixture.settle();
    assert!(keys.iter().all(|key| fixture.got(*key) == b"come back"));
}

/// More is to be submitted than a turn submits in parts.
#[test]
fn a_timer_that_is_always_due_does_not_keep_the_turn_from_ending() {
    let asks = Cell::new(true);
    let (probe, times) = noting(move |worker, seen| {
        if seen == Seen::PreciseTimer {
            if asks.take() {
                send_to_all(worker, b"x");
            }
            worker.set_precise_timer(Time::ZERO);
        }
    });
    let mut fixture = fixture(probe);
    let keys: Vec<_> = (0..1100).map(|_| fixture.connect()).collect();
    fixture.settle();
    fixture.workers[0].call_by_hand(|_, worker| worker.set_precise_timer(Time::ZERO));
    fixture.workers[0].turn(false).unwrap();
    assert_eq!(times.take().len(), 1, "nothing was to be submitted");
    fixture.workers[0].turn(false).unwrap();
    assert_eq!(times.take().len(), 256 + 1, "after each part, and after the rest");
    fixture.workers[0].call_by_hand(|_, worker| worker.set_precise_timer(None));
    fixture.settle();
    assert!(keys.iter().all(|key| fixture.got(*key) == b"x"));
}

#[test]
fn one_whose_callback_takes_long_does_not_keep_the_turn_from_ending() {
    let clock: Rc<RefCell<Option<Simulation>>> = Rc::default();
    let slow = Rc::clone(&clock);
    let (probe, times) = noting(move |worker, seen| {
        if seen == Seen::PreciseTimer {
            slow.borrow().as_ref().expect("a burst was prepared").advance(Duration::from_millis(4));
            worker.set_precise_timer(Time::ZERO);
        }
    });
    let (mut fixture, keys) = before_a_burst(probe);
    clock.replace(Some(fixture.simulation.clone()));
    fixture.workers[0].turn(false).unwrap();
    assert_eq!(times.borrow().len(), 4 + 1, "after the parts of ten milliseconds, and after the rest");
    fixture.workers[0].call_by_hand(|_, worker| worker.set_precise_timer(None));
    fixture.settle();
    assert!(keys.iter().all(|key| fixture.got(*key) == b"come back"));
}

/// What a callback asked for before it panicked goes out before the worker sleeps.
#[test]
fn a_panic_between_two_parts_loses_nothing() {
    let (probe, _) = noting(|worker, seen| {
        if seen == Seen::PreciseTimer {
            send_to_all(worker, b", and more");
            panic!("on purpose");
        }
    });
    let (mut fixture, keys) = before_a_burst(probe);
    let worker = &mut fixture.workers[0];
    worker.turn(true).unwrap();
    assert!(
        worker.core.touched.is_empty() && worker.core.deferred.is_empty(),
        "it was asked for in this turn"
    );
    fixture.settle();
    assert_eq!(fixture.stats(0).panics, 1);
    for key in &keys {
        assert_eq!(String::from_utf8_lossy(fixture.got(*key)), "come back, and more");
    }
}

/// A limit that is given to a session between two parts wakes the worker as any other does.
#[test]
fn a_limit_that_is_set_between_two_parts_is_watched() {
    let (probe, _) = noting(|worker, seen| {
        if seen == Seen::PreciseTimer {
            for id in worker.sessions() {
                worker.session(id).expect("it is open").0.set_deadline(3 * SECOND);
            }
        }
    });
    let (mut fixture, keys) = before_a_burst(probe);
    fixture.workers[0].turn(false).unwrap();
    assert!(fixture.workers[0].core.relimited.is_empty(), "before the worker sleeps");
    fixture.settle();
    assert!(keys.iter().all(|key| fixture.end(*key) == End::Open));
    fixture.pass(4 * SECOND);
    assert!(keys.iter().all(|key| fixture.end(*key) != End::Open));
}
