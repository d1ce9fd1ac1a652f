//! The periodic tick: its rate, and what becomes of it when a worker is held up.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use proactor::Time;
use proactor::backend::Wait;
use proactor::backend::simulated::{Behaviour, Simulation};

use super::world::{Probe, Seen, What, World};
use crate::config::Config;
use crate::worker::ticks::{MOST_OVERDUE, SHORTEST};

const SECOND: Duration = Duration::from_secs(1);

/// A worker with a tick, and the clock for callbacks that let time pass.
fn world(every: Duration, probe: impl FnOnce(Rc<OnceCell<Simulation>>) -> Probe) -> World {
    let clock: Rc<OnceCell<Simulation>> = Rc::default();
    let config = Config { tick: Some(every), ..Config::default() };
    let world = World::new(Behaviour::default(), 1, config, probe(Rc::clone(&clock)));
    assert!(clock.set(world.simulation.clone()).is_ok());
    world
}

fn now(world: &World) -> Duration {
    world.workers[0].driver.now() - Time::ZERO
}

fn calls(world: &World) -> u64 {
    world.log().iter().filter(|seen| **seen == Seen::Tick).count() as u64
}

fn skipped(world: &World) -> u64 {
    world.workers[0].core.report.stats.ticks_skipped
}

/// Sleeps as the worker asks for, in a system whose waits end at multiples of `grain`, and turns.
fn sleep_and_turn(world: &mut World, grain: Duration) {
    let worker = &mut world.workers[0];
    match worker.wait() {
        Wait::Until(at) => {
            let late = at.as_nanos().next_multiple_of(grain.as_nanos() as u64);
            world.simulation.advance(Time::from_nanos(late) - worker.driver.now());
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
            let mut world = world(every, |_| Probe::echo());
            for serial in 1..=1_000u32 {
                while calls(&world) < serial.into() {
                    sleep_and_turn(&mut world, grain);
                }
                let due = every * serial;
                assert!(now(&world) >= due, "tick {serial} of {every:?} is early, at {:?}", now(&world));
                assert!(
                    now(&world) <= due + grain,
                    "tick {serial} of {every:?} is late, at {:?}",
                    now(&world)
                );
            }
            assert_eq!(skipped(&world), 0, "{every:?}, {grain:?}");
        }
    }
}

#[test]
fn shorter_periods_than_4_ms_are_coalesced_and_counted() {
    for us in [1, 250, 1_000, 1_700, 3_000, 3_999] {
        let every = Duration::from_micros(us);
        for grain in [1, 1_000_000].map(Duration::from_nanos) {
            let mut world = world(every, |_| Probe::echo());
            while now(&world) < SECOND {
                sleep_and_turn(&mut world, grain);
            }
            assert_eq!(calls(&world), SECOND.as_millis() as u64 / 4, "{every:?}");
            let asked = (SHORTEST * calls(&world) as u32).as_nanos() / every.as_nanos();
            assert_eq!(u128::from(calls(&world) + skipped(&world)), asked, "{every:?}");
        }
    }
}

#[test]
fn a_worker_that_was_held_up_makes_up_for_a_few_ticks_and_serves_others_between() {
    let every = Duration::from_millis(10);
    for held_up in [1, 7, 8, 9, 100, 360_000] {
        let mut world = world(every, |clock| {
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
        let key = world.connect();
        world.handles[0].post(1).unwrap();
        let mut answered_at = None;
        for turn in 1..=20 {
            world.send(key, b"?");
            world.round();
            assert_eq!(calls(&world), turn.min(held_up).min(MOST_OVERDUE), "one call in a turn");
            if !world.got(key).is_empty() {
                answered_at.get_or_insert(calls(&world));
            }
        }
        assert!(answered_at.unwrap() <= 3.min(held_up), "others are served between: {answered_at:?}");
        assert_eq!(calls(&world) + skipped(&world), held_up, "each tick is called or counted");
        assert!(held_up > MOST_OVERDUE || skipped(&world) == 0);
        // The moments stay where they were.
        world.pass(Duration::from_millis(4));
        assert_eq!(calls(&world) + skipped(&world), held_up);
        world.pass(Duration::from_millis(1));
        assert_eq!(calls(&world) + skipped(&world), held_up + 1);
    }
}

#[test]
fn a_busy_worker_keeps_the_rate_while_its_turns_are_shorter_than_the_period() {
    for (turn_us, every_us) in [(3_000, 10_000), (3_900, 4_000), (16_000, 16_667), (25_000, 10_000)] {
        let (turn, every) = (Duration::from_micros(turn_us), Duration::from_micros(every_us));
        let mut world = world(every, |clock| {
            Probe::echo().on_worker(move |_, seen| {
                if let Seen::Message(_) = seen {
                    clock.get().unwrap().advance(turn);
                }
            })
        });
        let mut turns = 0;
        while now(&world) < 10 * SECOND {
            world.handles[0].post(0).unwrap();
            world.workers[0].turn(false).unwrap();
            turns += 1;
        }
        let asked = (now(&world).as_nanos() / every.as_nanos()) as u64;
        if turn < every {
            assert_eq!((calls(&world), skipped(&world)), (asked, 0), "{every:?} in turns of {turn:?}");
        } else {
            assert!(calls(&world) >= turns - 1, "one in each turn");
            let all = calls(&world) + skipped(&world);
            assert!((asked - MOST_OVERDUE..=asked).contains(&all), "{all} of {asked}");
        }
    }
}

#[test]
fn a_tick_that_takes_longer_than_its_period_leaves_room_for_others() {
    let every = Duration::from_millis(10);
    let mut world = world(every, |clock| {
        Probe::echo().on_worker(move |_, seen| {
            if seen == Seen::Tick {
                clock.get().unwrap().advance(Duration::from_millis(25));
            }
        })
    });
    let key = world.connect();
    for _ in 0..1_000 {
        sleep_and_turn(&mut world, Duration::from_nanos(1));
    }
    let asked = (now(&world).as_nanos() / every.as_nanos()) as u64;
    let all = calls(&world) + skipped(&world);
    assert!((asked - MOST_OVERDUE - 2..=asked).contains(&all), "{all} of {asked}");
    world.send(key, b"and I?");
    // Never at rest: every round has its tick.
    for _ in 0..20 {
        world.round();
    }
    assert_eq!(world.got(key), b"and I?");
}

#[test]
fn a_tick_that_panics_is_followed_by_the_next() {
    let every = Duration::from_millis(10);
    let mut world = world(every, |_| {
        Probe::echo().on_worker(|_, seen| {
            assert!(seen != Seen::Tick, "on purpose");
        })
    });
    for serial in 1..=5 {
        world.pass(every);
        assert_eq!(calls(&world), serial);
    }
}

#[test]
fn a_period_of_zero_is_refused() {
    let refused = |tick| Config { tick, ..Config::default() }.check().map_err(|error| error.to_string());
    assert!(refused(Some(Duration::ZERO)).unwrap_err().starts_with("the tick has a period of 0"));
    assert!(refused(Some(Duration::from_nanos(1))).is_ok());
    assert!(refused(Some(Duration::MAX)).is_ok());
    let mut forever = world(Duration::MAX, |_| Probe::echo());
    forever.pass(1_000_000 * SECOND);
    assert_eq!(calls(&forever), 0);
}
