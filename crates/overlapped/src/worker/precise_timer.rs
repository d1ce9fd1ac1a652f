//! The precise timer of a worker: finer than the timing wheel, and finer than a backend's waits.
//!
//! The worker sleeps until shortly before the timer's time, and from then on waits until a time that has passed, which
//! polls. Each of those polls is a turn with everything that belongs to one, so the worker's other work goes on.

use std::io;
use std::time::Duration;

use proactor::Time;
use proactor::backend::Backend;

use super::{Layer, Worker};
use crate::handler::Handler;

/// A sleep ends this part of its length early, if that is more than the backend's rounding; the rest is slept after it.
/// Linux lets an `epoll_wait` end late by a 1000th of its length, in a process of low priority by a 200th.
const PART: u32 = 128;

/// Operations that are submitted at once while a precise timer is close.
const TOGETHER: u32 = 4;
/// How close: about as long as the kernel works on a full ring of sends. The parts of one turn take no longer.
const CLOSE: Duration = Duration::from_millis(10);
/// Parts of one turn at most: a full ring.
const PARTS: u32 = 256;

/// When to stop sleeping for a precise timer that is due at `at`.
pub(super) fn sleep_until<B: Backend>(at: Time, now: Time) -> Time {
    if B::WAIT_ROUNDING.is_zero() {
        return at;
    }
    at.before(B::WAIT_ROUNDING.max(at.since(now) / PART))
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// With io_uring, one system call submits everything that a turn asks for: for fifty sends, that takes a few hundred
    /// microseconds, and a precise timer would wait for them. So while one is close, they are submitted in parts. A turn
    /// ends for a timer that is always due, too: then the rest is submitted at once, and completions are looked at.
    #[inline]
    pub(super) fn submit_in_parts(&mut self) -> io::Result<()> {
        if self.core.precise_timer.is_some() { self.in_parts() } else { Ok(()) }
    }

    fn in_parts(&mut self) -> io::Result<()> {
        let mut now = self.driver.now();
        let end = now + CLOSE;
        for _ in 0..PARTS {
            let is_close = self.core.precise_timer.is_some_and(|at| at <= now + CLOSE);
            if !is_close || now > end || !self.driver.submit_some(TOGETHER)? {
                break;
            }
            now = self.driver.now();
            self.core.now = now;
            self.catching_panics(Self::fire_precise_timer);
            // Of a callback that panicked, too.
            self.catching_panics(Self::flush);
        }
        Ok(())
    }

    /// Calls the handler if its precise timer is due: at most once after each return from the kernel, so that a timer that
    /// is always due lets other work in between.
    #[inline]
    pub(super) fn fire_precise_timer(&mut self) {
        if self.core.precise_timer.is_some_and(|at| at <= self.core.now) {
            self.core.precise_timer = None;
            self.worker_callback(H::on_precise_timer);
            self.flush();
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::Duration;

    use proactor::backend::readiness::Readiness;
    use proactor::backend::simulated::Simulated;

    use super::*;

    /// Sleeps as Linux does at its worst, one after the other.
    #[test]
    fn a_few_sleeps_lead_up_to_the_time_and_none_past_it() {
        for shift in 0..45 {
            let at = Time::ZERO + Duration::from_nanos(12_345 << shift);
            let (mut now, mut sleeps) = (Time::ZERO, 0);
            loop {
                let until = sleep_until::<Readiness>(at, now);
                if until <= now {
                    break;
                }
                now = until + Readiness::WAIT_ROUNDING.max(until.since(now) / 200);
                sleeps += 1;
                assert!(now <= at, "shift {shift}: {:?} late", now.since(at));
            }
            assert!(
                at.since(now) <= Readiness::WAIT_ROUNDING && sleeps <= 7,
                "shift {shift}: {sleeps} sleeps"
            );
        }
    }

    #[test]
    fn a_clock_that_rounds_nothing_is_asked_for_the_time_itself() {
        let at = Time::from_nanos(u64::MAX);
        assert_eq!(sleep_until::<Simulated>(at, Time::ZERO), at);
    }
}
