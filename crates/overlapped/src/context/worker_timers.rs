//! Timers of a worker, beside those of its sessions.

use std::time::Duration;

use proactor::Time;

use super::{Core, WorkerContext};
use crate::timers::Due;

impl<S> WorkerContext<'_, S> {
    /// Calls [`Handler::on_worker_timer`](crate::Handler::on_worker_timer) with `token`, once, when `after` has passed
    /// since this call: never earlier, and at most 4 ms later unless the worker is busy. A worker has at most one such
    /// timer per token: setting it again moves it. Tokens of sessions' timers are separate.
    ///
    /// Timers are called during a drain, too, and do not delay its end: when the last session has ended, the worker
    /// ends, and timers that are still set are dropped.
    pub fn set_timer(&mut self, after: Duration, token: u64) {
        self.core.set_worker_timer(self.endpoints.now() + after, token);
    }

    /// Cancels the worker's timer for `token`: it does not fire any more, even if it is already due. Returns false if no
    /// such timer was set.
    pub fn cancel_timer(&mut self, token: u64) -> bool {
        let id = self.core.worker_timers.remove(&token);
        id.is_some_and(|id| self.core.timers.cancel(id))
    }
}

impl Core {
    fn set_worker_timer(&mut self, at: Time, token: u64) {
        let Core { timers, worker_timers, .. } = self;
        if !worker_timers.get(&token).is_some_and(|id| timers.move_to(*id, at)) {
            worker_timers.insert(token, timers.set(at, Due::Worker { token }));
        }
    }

    /// The worker's timer for `token` fires: another one may be set for it.
    pub(crate) fn worker_timer_fired(&mut self, token: u64) {
        self.worker_timers.remove(&token);
    }
}
