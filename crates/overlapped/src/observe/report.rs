//! The one way by which a worker reports: an event is counted, then passed to the observer, if there is one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use proactor::backend::Backend;
use proactor::{Driver, Time};

use super::stats::Counters;
use super::{Event, Published};
use crate::catch_panic::contain;
use crate::session::SessionId;

/// How often a shortage is reported. Each is counted.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// A user's observer. Called on workers' threads, between two operations: it must be quick.
pub(crate) type Observe = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// The observer of one worker's events.
#[derive(Clone)]
pub(crate) struct Observer {
    observe: Observe,
    published: Arc<Published>,
}

impl Observer {
    /// `published` are the worker's numbers, where the observer's panics are counted.
    pub(crate) fn new(observe: Observe, published: Arc<Published>) -> Observer {
        Observer { observe, published }
    }

    /// Calls the observer. A panic in it is counted and goes no further: it affects neither the session nor the handler,
    /// and the observer gets the next event as before.
    pub(crate) fn call(&self, event: &Event<'_>) {
        if contain(|| (self.observe)(event)).is_err() {
            self.published.count_observer_panic();
        }
    }

    /// Has every operation of `driver` reported as an event of `worker`.
    pub(crate) fn trace_operations<B: Backend>(self, driver: &mut Driver<B>, worker: usize) {
        driver.set_tracer(Some(Box::new(move |step| {
            let session = step.connection.map(|key| SessionId { worker: worker as u32, key });
            self.call(&Event::Operation { worker, backend: B::KIND, session, step });
        })));
    }
}

/// Where a worker's events go: its counters, and its observer.
pub(crate) struct Report {
    pub(crate) counters: Counters,
    observer: Option<Observer>,
    accept_pauses: Interval,
    delays: Interval,
    slow_callbacks: Interval,
}

impl Report {
    pub(crate) fn new(observer: Option<Observer>) -> Report {
        Report {
            counters: Counters::default(),
            observer,
            accept_pauses: Interval::default(),
            delays: Interval::default(),
            slow_callbacks: Interval::default(),
        }
    }

    /// Reports an event. Inlined, so that only one counter is left of the choice by kind.
    #[inline(always)]
    pub(crate) fn emit(&mut self, event: &Event<'_>) {
        self.counters.count(event);
        if let Some(observer) = &self.observer {
            observer.call(event);
        }
    }

    /// Accepting pauses for lack of a resource (INV-9).
    pub(crate) fn accept_paused(&mut self, now: Time, error: &io::Error, retry_after: Duration) {
        let event = Event::AcceptPaused { error, retry_after };
        if self.accept_pauses.is_due(now) { self.emit(&event) } else { self.counters.count(&event) }
    }

    /// A callback took longer than it may.
    pub(crate) fn callback_was_slow(
        &mut self,
        now: Time,
        worker: usize,
        session: Option<SessionId>,
        took: Duration,
    ) {
        let event = Event::SlowCallback { worker, session, took };
        if self.slow_callbacks.is_due(now) { self.emit(&event) } else { self.counters.count(&event) }
    }

    /// The system had no memory for a receive or a send (INV-9).
    pub(crate) fn delayed(&mut self, now: Time, error: &io::Error) {
        let event = Event::Delayed { error };
        if self.delays.is_due(now) { self.emit(&event) } else { self.counters.count(&event) }
    }
}

/// Resource shortages, and slow callbacks, are reported at most once per interval (INV-9).
#[derive(Default)]
struct Interval {
    reported_at: Option<Time>,
}

impl Interval {
    /// Whether a report is due now; if so, the next interval begins.
    fn is_due(&mut self, now: Time) -> bool {
        let due = self.reported_at.is_none_or(|at| now.since(at) >= REPORT_EVERY);
        if due {
            self.reported_at = Some(now);
        }
        due
    }
}
