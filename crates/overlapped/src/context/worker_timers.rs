//! Timers of a worker, beside those of its sessions.

use std::time::Duration;

use super::WorkerContext;

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
        self.core.cancel_worker_timer(token)
    }
}
