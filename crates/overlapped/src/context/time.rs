//! The clock of a worker as its handler reads it, and the worker's precise timer.

use proactor::Time;

use super::{Session, WorkerContext};

impl<S> WorkerContext<'_, S> {
    /// The time now. Reads the clock, which takes about 25 ns on most systems; [`turn_time`](Self::turn_time) does not.
    ///
    /// Times of different workers cannot be compared: the clock of each starts with it.
    #[must_use]
    pub fn now(&self) -> Time {
        self.endpoints.now()
    }

    /// The time at which the worker last returned from the kernel. What this turn's callbacks are called for had happened
    /// by then. At or before [`now`](Self::now).
    #[must_use]
    pub fn turn_time(&self) -> Time {
        self.core.now
    }

    /// Calls [`Handler::on_precise_timer`](crate::Handler::on_precise_timer) once, at `at`: never earlier, and within
    /// microseconds if the worker has nothing else to do and has a processor to itself. A time that has passed is due
    /// when the worker next returns from the kernel. A worker has one such timer: setting it again moves it, and `None`
    /// cancels it, even if it is already due.
    ///
    /// This costs processor time. The kernel's timers are coarse, so the worker sleeps until shortly before `at`, and
    /// polls the kernel without sleeping for the rest: 0.2 ms with io_uring, 1.2 ms with readiness, 17 ms with IOCP, as
    /// [`Backend::WAIT_ROUNDING`](proactor::Backend::WAIT_ROUNDING) says. A worker whose precise timer is always that
    /// close never sleeps. It handles events meanwhile, as always; callbacks that are running when the timer becomes due
    /// delay it. Where some milliseconds do not matter, use [`set_timer`](Self::set_timer).
    ///
    /// As the other timers of a worker, it is called during a drain, too, and does not delay its end.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use overlapped::WorkerContext;
    /// # fn send_later<S>(worker: &mut WorkerContext<'_, S>) {
    /// worker.set_precise_timer(worker.now() + Duration::from_micros(350));
    /// worker.set_precise_timer(None);
    /// # }
    /// ```
    pub fn set_precise_timer(&mut self, at: impl Into<Option<Time>>) {
        self.core.precise_timer = at.into();
    }
}

impl<S> Session<'_, S> {
    /// The time now, as [`WorkerContext::now`]: reads the clock.
    #[must_use]
    pub fn now(&self) -> Time {
        self.endpoints.now()
    }

    /// The time at which the worker last returned from the kernel, as [`WorkerContext::turn_time`]: reads no clock.
    #[must_use]
    pub fn turn_time(&self) -> Time {
        self.core.now
    }
}
