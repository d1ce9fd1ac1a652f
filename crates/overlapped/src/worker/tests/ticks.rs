//! The periodic tick: its rate, and what becomes of it when a worker is held up.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use proactor::Time;
use proactor::backend::Wait;
use proactor::backend::simulated::{Behaviour, Simulation};

use super::fixture::{Fixture, Probe, Seen, What};
use crate::config::Config;
use crate::worker::ticks::{MOST_OVERDUE, SHORTEST};

const SECOND: Duration = Duration::from_secs(1);

/// A worker with a tick, and the clock for callbacks that let time pass.
fn fixture(every: Duration, probe: impl FnOnce(Rc<OnceCell<Simulation>>) -> Probe) -> Fixture {
    let clock: Rc<OnceCell<Simulation>> = Rc::default();
    let config = Config { tick: Some(every), ..Config::default() };
    let fixture = Fixture::new(Behaviour::default(), 1, config, probe(Rc::clone(&clock)));
    assert!(clock.set(fixture.simulation.clone()).is_ok());
    fixture
}

fn now(fixture: &Fixture) -> Duration {
    fixture.workers[0].driver.now() - Time::ZERO
}

fn calls(fixture: &Fixture) -> u64 {
    fixture.log().iter().filter(|seen| **seen == Seen::Tick).count() as u64
}

fn skipped(fixture: &Fixture) -> u64 {
    fixture.workers[0].core.report.counters.ticks_skipped
}

/// Sleeps as the worker asks for, in a system whose waits end at multiples of `grain`, and turns.
fn sleep_and_turn(fixture: &mut Fixture, grain: Duration) {
    let worker = &mut fixture.server.workers[0];
    match worker.wait() {
        Wait::Until(at) => {
            let late = at.as_nanos().next_multiple_of(grain.as_nanos() as u64);
            fixture.server.simulation.advance(Time::from_nanos(late) - worker.driver.now());
        }
        Wait::Poll => {}
        Wait::Forever => panic!("it would sleep through its tick"),
    }
    worker.turn(false).unwrap();
}

#[test]
fn the_average_rate_is_the_rate_asked_for() {
    for us in [4_000, 4_001, 5_000, 7_500, 10_000, 16_000, 16_667, 20_000, 33_333, 50_000, 100_000, 1_234_567]
    {
        let every = Duration::from_micros(us);
        // To the nanosecond, epoll's milliseconds, and the timer of Windows.
        for grain in [1, 1_000_000, 15_625_000].map(Duration::from_nanos) {
            let mut fixture = fixture(every, |_| Probe::echo());
            for serial in 1..=1_000u32 {
                while calls(&fixture) < serial.into() {
                    sleep_and_turn(&mut fixture, grain);
                }
                let due = every * serial;
                assert!(now(&fixture) >= due, "tick {serial} of {every:?} is early, at {:?}", now(&fixture));
                assert!(
                    now(&fixture) <= due + grain,
                    "tick {serial} of {every:?} is late, at {:?}",
                    now(&fixture)
                );
            }
            assert_eq!(skipped(&fixture), 0, "{every:?}, {grain:?}");
        }
    }
}

#[test]
fn shorter_periods_than_4_ms_are_coalesced_and_counted() {
    for us in [1, 250, 1_000, 1_700, 3_000, 3_999] {
        let every = Duration::from_micros(us);
        for grain in [1, 1_000_000].map(Duration::from_nanos) {
            let mut fixture = fixture(every, |_| Probe::echo());
            while now(&fixture) < SECOND {
                sleep_and_turn(&mut fixture, grain);
            }
            assert_eq!(calls(&fixture), SECOND.as_millis() as u64 / 4, "{every:?}");
            let asked = (SHORTEST * calls(&fixture) as u32).as_nanos() / every.as_nanos();
            assert_eq!(u128::from(calls(&fixture) + skipped(&fixture)), asked, "{every:?}");
        }
    }
}

#[test]
fn a_worker_that_was_held_up_makes_up_for_a_few_ticks_and_serves_others_between() {
    let every = Duration::from_millis(10);
    for held_up in [1, 7, 8, 9, 100, 360_000] {
        let mut fixture = fixture(every, |clock| {
            Probe::new(|session, what| {
                if let What::Data(data) = what {
                    session.send(data);
                }
            })
            .on_worker(move |_, seen| {
                if seen == Seen::Message(1) {
                    clock.get().unwrap().advance(Duration::from_millis(10 * held_up + 5));
                }
            })
        });
        let key = fixture.connect();
        fixture.handles[0].post(1).unwrap();
        let mut answered_at = None;
        for turn in 1..=20 {
            fixture.send(key, b"?");
            fixture.round();
            assert_eq!(calls(&fixture), turn.min(held_up).min(MOST_OVERDUE), "one call in a turn");
            if !fixture.got(key).is_empty() {
                answered_at.get_or_insert(calls(&fixture));
            }
        }
        assert!(answered_at.unwrap() <= 3.min(held_up), "others are served between: {answered_at:?}");
        assert_eq!(calls(&fixture) + skipped(&fixture), held_up, "each tick is called or counted");
        assert!(held_up > MOST_OVERDUE || skipped(&fixture) == 0);
        // The moments stay where they were.
        fixture.pass(Duration::from_millis(4));
        assert_eq!(calls(&fixture) + skipped(&fixture), held_up);
        fixture.pass(Duration::from_millis(1));
        assert_eq!(calls(&fixture) + skipped(&fixture), held_up + 1);
    }
}

#[test]
fn a_busy_worker_keeps_the_rate_while_its_turns_are_shorter_than_the_period() {
    for (turn_us, every_us) in [(3_000, 10_000), (3_900, 4_000), (16_000, 16_667), (25_000, 10_000)] {
        let (turn, every) = (Duration::from_micros(turn_us), Duration::from_micros(every_us));
        let mut fixture = fixture(every, |clock| {
            Probe::echo().on_worker(move |_, seen| {
                if let Seen::Message(_) = seen {
                    clock.get().unwrap().advance(turn);
                }
            })
        });
        let mut turns = 0;
        while now(&fixture) < 10 * SECOND {
            fixture.handles[0].post(0).unwrap();
            fixture.workers[0].turn(false).unwrap();
            turns += 1;
        }
        let asked = (now(&fixture).as_nanos() / every.as_nanos()) as u64;
        if turn < every {
            assert_eq!((calls(&fixture), skipped(&fixture)), (asked, 0), "{every:?} in turns of {turn:?}");
        } else {
            assert!(calls(&fixture) >= turns - 1, "one in each turn");
            let all = calls(&fixture) + skipped(&fixture);
            assert!((asked - MOST_OVERDUE..=asked).contains(&all), "{all} of {asked}");
        }
    }
}

#[test]
fn a_tick_that_takes_longer_than_its_period_leaves_room_for_others() {
    let every = Duration::from_millis(10);
    let mut fixture = fixture(every, |clock| {
        Probe::echo().on_worker(move |_, seen| {
            if seen == Seen::Tick {
                clock.get().unwrap().advance(Duration::from_millis(25));
            }
        })
    });
    let key = fixture.connect();
    for _ in 0..1_000 {
        sleep_and_turn(&mut fixture, Duration::from_nanos(1));
    }
    let asked = (now(&fixture).as_nanos() / every.as_nanos()) as u64;
    let all = calls(&fixture) + skipped(&fixture);
    assert!((asked - MOST_OVERDUE - 2..=asked).contains(&all), "{all} of {asked}");
    fixture.send(key, b"and I?");
    // Never at rest: every round has its tick.
    for _ in 0..20 {
        fixture.round();
    }
    assert_eq!(fixture.got(key), b"and I?");
}

#[test]
fn a_tick_that_panics_is_followed_by_the_next() {
    let every = Duration::from_millis(10);
    let mut fixture = fixture(every, |_| {
        Probe::echo().on_worker(|_, seen| {
            assert!(seen != Seen::Tick, "on purpose");
        })
    });
    for serial in 1..=5 {
        fixture.pass(every);
        assert_eq!(calls(&fixture), serial);
    }
}

#[test]
fn a_period_of_zero_is_refused() {
    let refused = |tick| Config { tick, ..Config::default() }.check().map_err(|error| error.to_string());
    assert!(refused(Some(Duration::ZERO)).unwrap_err().starts_with("the tick has a period of 0"));
    assert!(refused(Some(Duration::from_nanos(1))).is_ok());
    assert!(refused(Some(Duration::MAX)).is_ok());
    let mut forever = fixture(Duration::MAX, |_| Probe::echo());
    forever.pass(1_000_000 * SECOND);
    assert_eq!(calls(&forever), 0);
}
