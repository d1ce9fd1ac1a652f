//! Callbacks that take long: while one runs, every other session of the worker waits.
//!
//! The coarse clock is read once after each callback: a few nanoseconds. What the worker itself did since the callback
//! before is measured with it, because that takes microseconds.

use std::time::Duration;

use proactor::Time;
use proactor::backend::Backend;

use super::{Layer, Worker};
use crate::context::CurrentCallback;
use crate::handler::Handler;
use crate::observe::Longest;

const OFF: u64 = u64::MAX;

/// When the last callback ended, by the coarse clock.
pub(super) struct CallbackClock {
    /// How long a callback may take. [`OFF`]: no clock is read.
    limit_ns: u64,
    ended_at: Time,
    longest: Longest,
}

impl CallbackClock {
    pub(super) fn new(limit: Option<Duration>) -> CallbackClock {
        let limit_ns = limit.map_or(OFF, |limit| u64::try_from(limit.as_nanos()).unwrap_or(OFF));
        CallbackClock { limit_ns, ended_at: Time::ZERO, longest: Longest::default() }
    }

    pub(super) fn longest(&self) -> Duration {
        self.longest.get()
    }
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// A turn begins: what comes before it is not a callback's.
    pub(super) fn start_callback_clock(&mut self) {
        if self.callback_clock.limit_ns != OFF {
            self.callback_clock.ended_at = self.driver.coarse_now();
        }
    }

    /// The current callback has returned.
    #[inline]
    pub(super) fn callback_ended(&mut self) {
        if self.callback_clock.limit_ns != OFF {
            let now = self.driver.coarse_now();
            let took_ns = now.as_nanos().saturating_sub(self.callback_clock.ended_at.as_nanos());
            self.callback_clock.ended_at = now;
            if took_ns >= self.callback_clock.limit_ns {
                self.callback_was_slow(Duration::from_nanos(took_ns));
            }
        }
        self.core.callback = CurrentCallback::None;
    }

    #[cold]
    fn callback_was_slow(&mut self, took: Duration) {
        let now = self.driver.now();
        // By the coarse clock it may seem a tick longer than the whole turn.
        let took = took.min(now.since(self.core.now));
        let session = match self.core.callback {
            CurrentCallback::Session(key) => Some(self.core.id(key)),
            _ => None,
        };
        self.callback_clock.longest.add(now, took);
        let worker = self.core.worker as usize;
        self.core.report.callback_was_slow(now, worker, session, took);
    }
}
