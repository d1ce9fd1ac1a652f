//! How a server ends: the requests to end it, and what is said at its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Release};
use std::thread;
use std::time::{Duration, Instant};

use overlapped::{ServerHandle, Stats};
use overlapped_admin::AdminHandle;

use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::log::{AT_MOST, Level, Log, Record, STUCK};
use crate::signals;
use crate::trace::Trace;
use crate::units::{bytes, count, span};

use super::supervisor::Supervisor;

/// Says how it ended, and waits up to a second for a reader that has stopped. Returns the exit status: 1 if the drain cut
/// something, and if stdout could not be written at its end or the trace not to its end, for another reason than that
/// nobody reads them.
pub(super) fn conclude(
    args: &ServeArgs,
    handle: &ServerHandle,
    ended: Result<(), Failure>,
    log: &Log,
    trace: Option<&Trace>,
) -> u8 {
    let until = Instant::now() + STUCK;
    if let Some(trace) = trace {
        trace.end();
        if let Some(warning) = trace.flush(until - STUCK / 2, until + AT_MOST) {
            log.note(&Record::warning(format_args!("{warning}")));
        }
    }
    let traced = trace.is_none_or(Trace::is_whole);
    let (last, status) = match ended {
        Err(failure) => {
            log.note(&Record::new(Level::Error, format_args!("{}", failure.message())));
            (String::new(), failure.status())
        }
        Ok(()) => {
            let stats = handle.stats();
            let last = if args.quiet { String::new() } else { summary_of(&stats) };
            (last, u8::from(stats.cut > 0))
        }
    };
    let printed = log.finish(&last, until);
    if printed && traced { status } else { status.max(1) }
}

fn summary_of(stats: &Stats) -> String {
    let rejected = match stats.sessions_rejected {
        0 => String::new(),
        number => format!(" (and rejected {number})"),
    };
    let too_late = match stats.bytes_discarded {
        0 => String::new(),
        number => format!(" (and discarded {number} that came too late)"),
    };
    format!(
        "served {}{rejected}, echoed {} ({}); drained {}, cut {}, lost {}{too_late}\n",
        count(stats.sessions_opened, "session"),
        bytes(stats.bytes_sent),
        count(stats.bytes_sent, "byte"),
        stats.drained,
        stats.cut,
        count(stats.bytes_lost, "byte"),
    )
}

/// What the requests to end act on.
pub(super) struct Ending<'a> {
    pub(super) args: &'a ServeArgs,
    pub(super) handle: &'a ServerHandle,
    pub(super) admin: Option<&'a AdminHandle>,
    pub(super) log: &'a Log,
    pub(super) trace: Option<Arc<Trace>>,
    pub(super) supervisor: &'a Supervisor,
}

impl Ending<'_> {
    /// Returns what becomes true when a second request ends the process at once. Nothing in here waits for a reader for
    /// more than a second.
    pub(super) fn watch_signals(self) -> Result<Arc<AtomicBool>, Failure> {
        let (left, asked, trace) = (self.handle.clone(), self.handle.clone(), self.trace.clone());
        let (last, answers) = (self.log.clone(), self.log.clone());
        let ends_at_once = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&ends_at_once);
        let at_once = move || {
            ending.store(true, Release);
            let end = Instant::now() + STUCK;
            if let Some(trace) = &trace {
                trace.end();
            }
            let cut = count(left.stats().sessions, "session");
            last.last_note(&Record::info(format_args!("ended at once: {cut} cut")), end);
            if let Some(warning) = trace.as_ref().and_then(|trace| trace.flush_in_haste(end)) {
                last.last_note(&Record::warning(format_args!("{warning}")), end);
            }
        };
        let now = move || answers.note_bare(line_of(&asked.stats()));
        signals::watch(self.drain(), at_once, now)
            .map_err(|error| Failure::failed(format_args!("cannot watch for signals: {error}")))?;
        Ok(ends_at_once)
    }

    /// Begins the drain that the first request asks for; it is given the time that the system leaves.
    fn drain(&self) -> impl FnOnce(Duration) + Send + use<> {
        let (delay, timeout, quiet) = (self.args.drain_delay, self.args.drain_timeout, self.args.quiet);
        let (handle, admin, log) = (self.handle.clone(), self.admin.cloned(), self.log.clone());
        let supervisor = self.supervisor.clone();
        move |left| {
            let (delay, limit) = share(left, delay, timeout);
            if let Some(admin) = admin {
                admin.set_ready(false);
            }
            supervisor.stopping(delay, limit);
            if !quiet {
                // Before it begins: the end may be near.
                log.note(&Record::info(format_args!("{}", drain_notice(delay, limit))));
            }
            let begin = move || {
                thread::sleep(delay);
                handle.begin_drain(limit);
            };
            let Some(begin) = begin_later(delay, begin) else { return };
            begin();
        }
    }
}

/// What the delay and the drain get of the time that the system leaves: the drain first, because what it cuts is lost.
fn share(left: Duration, delay: Duration, timeout: Duration) -> (Duration, Duration) {
    let limit = timeout.min(left);
    (delay.min(left - limit), limit)
}

/// Has `begin` called on another thread, because a second request must be heard meanwhile. Returns it if it is to be called
/// here: there is no delay, or no thread.
fn begin_later<F: FnOnce() + Clone + Send + 'static>(delay: Duration, begin: F) -> Option<F> {
    if delay.is_zero() {
        return Some(begin);
    }
    thread::Builder::new().name("drain-delay".into()).spawn(begin.clone()).err().map(|_| begin)
}

/// What the first request to end is answered with, on stderr: the person who asked sees why nothing seems to happen.
fn drain_notice(delay: Duration, limit: Duration) -> String {
    let first = match delay {
        Duration::ZERO => "draining".to_owned(),
        delay => format!("not ready any more; draining in {}", span(delay)),
    };
    match limit {
        Duration::ZERO if delay.is_zero() => "draining, at once: what is left is cut".to_owned(),
        Duration::ZERO => format!("{first}, at once: what is left then is cut; a second signal ends at once"),
        limit => format!("{first}, up to {}; a second signal ends at once", span(limit)),
    }
}

/// The counters for a script: between the commas, a name and then a number.
fn line_of(now: &Stats) -> String {
    format!(
        "now: sessions {}, in flight {}, blocks in use {}, opened {}, closed {}, rejected {}, bytes echoed {}",
        now.sessions,
        now.in_flight,
        now.blocks_in_use,
        now.sessions_opened,
        now.sessions_closed,
        now.sessions_rejected,
        now.bytes_sent,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_goes_before_its_delay() {
        let of = |left, delay, timeout| {
            let (delay, limit) =
                share(Duration::from_secs(left), Duration::from_secs(delay), Duration::from_secs(timeout));
            (delay.as_secs(), limit.as_secs())
        };
        assert_eq!(of(1_000, 5, 10), (5, 10));
        assert_eq!(of(4, 5, 10), (0, 4), "as when a console window of Windows is closed");
        assert_eq!(of(12, 5, 10), (2, 10));
        assert_eq!(of(4, 5, 0), (4, 0));
    }
}
