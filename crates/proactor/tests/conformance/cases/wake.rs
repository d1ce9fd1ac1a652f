//! Waking a driver from other threads, and how long it waits without a wake.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use proactor::Backend;
use proactor::backend::Wait;

use crate::endpoint::Finished;
use crate::fixture::Fixture;
use crate::kernel::Kernel;

/// A wait that only a wake ends. Virtual time passes at once, so that is tried until the machine has had time.
const LONG: Duration = Duration::from_secs(20);
/// A wake that takes longer was lost.
const PROMPT: Duration = Duration::from_secs(10);

/// Waits for a wake, and panics if it was lost.
fn wait_for_wake<K: Kernel>(fixture: &mut Fixture<'_, K>) {
    let (start, before) = (Instant::now(), fixture.here.woken);
    while fixture.here.woken == before {
        let moment = fixture.here.driver.now() + LONG;
        fixture.here.step(Wait::Until(moment));
        assert!(start.elapsed() < PROMPT, "a wake was lost");
        thread::yield_now();
    }
}

/// The other thread answers each round with one wake: before the wait, or during it.
pub fn each_wake_ends_a_wait<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    let (ask, asked) = channel::<()>();
    let waker = fixture.here.driver.waker();
    let thread = thread::spawn(move || {
        for () in asked {
            waker.wake();
        }
    });
    for round in 0..50 {
        ask.send(()).unwrap();
        if round % 2 == 0 {
            thread::yield_now();
        }
        wait_for_wake(&mut fixture);
        assert_eq!(fixture.here.woken, round + 1, "one wake, one report");
    }
    drop(ask);
    thread.join().unwrap();
    fixture.finish()
}

pub fn a_wake_before_the_wait_is_not_lost<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let waker = fixture.here.driver.waker();
    waker.wake();
    wait_for_wake(&mut fixture);
    waker.wake();
    fixture.here.driver.turn(Wait::Forever).unwrap();
    let event = fixture.here.driver.next_event();
    assert!(matches!(event, Some(proactor::Event::Woken)), "{event:?}");
    fixture.finish()
}

/// Several wakes may become one; a thousand become a few, and then it is quiet.
pub fn many_wakes_become_few<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let waker = fixture.here.driver.waker();
    for _ in 0..1000 {
        waker.wake();
    }
    wait_for_wake(&mut fixture);
    fixture.settle();
    assert!(fixture.here.woken <= 8, "{} reports", fixture.here.woken);
    waker.clone().wake();
    wait_for_wake(&mut fixture);
    fixture.finish()
}

/// What was written before a wake is seen after it, whichever thread wakes.
pub fn no_wake_of_many_threads_is_lost<K: Kernel>(kernel: &K) -> Finished {
    const THREADS: usize = 3;
    const EACH: usize = 200;
    let mut fixture = Fixture::new(kernel);
    let count = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (count, waker) = (Arc::clone(&count), fixture.here.driver.waker());
            thread::spawn(move || {
                for _ in 0..EACH {
                    count.fetch_add(1, Ordering::Release);
                    waker.wake();
                }
            })
        })
        .collect();
    while count.load(Ordering::Acquire) < THREADS * EACH {
        wait_for_wake(&mut fixture);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    fixture.finish()
}

pub fn a_waker_may_outlive_its_driver<K: Kernel>(kernel: &K) -> Finished {
    let fixture = Fixture::new(kernel);
    let waker = fixture.here.driver.waker();
    let finished = fixture.finish_by_dropping();
    waker.wake();
    thread::spawn(move || waker.wake()).join().unwrap();
    finished
}

/// With operations in flight and nothing happening, a wait lasts as long as it was asked to, and costs a few
/// turns, not a loop.
pub fn an_idle_wait_lasts_as_long_as_asked<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    fixture.settle();
    let moment = fixture.here.driver.now() + Duration::from_millis(40);
    let mut turns = 0;
    while fixture.here.driver.now() < moment {
        assert!(!fixture.here.step(Wait::Until(moment)), "nothing happens");
        turns += 1;
    }
    assert!(turns <= 10, "{turns} turns");
    fixture.finish()
}

/// A wait may end late by a backend's rounding, and is not rounded down: the rest would be turns without sleep. Where
/// nothing is rounded it ends at exactly its time.
pub fn a_wait_of_part_of_a_millisecond_sleeps<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    fixture.settle();
    for nanos in [1, 130_001, 999_999, 1_000_001, 2_500_000] {
        let moment = fixture.here.driver.now() + Duration::from_nanos(nanos);
        let mut turns = 0;
        while fixture.here.driver.now() < moment {
            assert!(!fixture.here.step(Wait::Until(moment)), "nothing happens");
            turns += 1;
        }
        assert!(turns <= 3, "{nanos} ns: {turns} turns");
        if K::Backend::WAIT_ROUNDING.is_zero() {
            assert_eq!((fixture.here.driver.now(), turns), (moment, 1));
        }
    }
    fixture.finish()
}
