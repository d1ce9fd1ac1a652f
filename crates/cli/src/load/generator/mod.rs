//! The generator: connections of a server without listeners, which send messages and check what comes back.
//!
//! Each worker counts for itself ([`recorder`]) and hands over what it has every 100 ms; this thread collects it, shows
//! the progress, and ends the run early at a Ctrl-C.

mod behaving;
mod collect;
mod connecting;
mod meters;
mod pattern;
mod progress;
mod recorder;
mod room;
mod schedule;
mod slot;
mod sources;
mod stages;
mod stalls;
#[cfg(test)]
mod tests;
mod timeouts;
mod traffic;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

use overlapped::{OnPanic, Server, ServerHandle};
use proactor::os;

use super::interrupts::is_interrupted;
use super::measured::{Counts, EventKind, Measured, Mismatch};
use super::plan::{Behaviour, Plan};
use crate::failure::Failure;
use crate::output::note;
use crate::units;
use collect::Collected;
use meters::Use;
use progress::Progress;
use recorder::{Slice, Span};
use sources::Sources;
use stalls::Gaps;
use traffic::{Settings, Traffic};

/// How long an interval of the timeline is, in ns.
const INTERVAL: u64 = 100_000_000;
/// From the order to begin until the run begins.
const LEAD: Duration = Duration::from_millis(2);
/// What may be in flight on one connection, in bytes.
const MOST_IN_FLIGHT: usize = 256 << 20;
/// How long the end of the connections may take.
const CLOSING: Duration = Duration::from_secs(1);

/// What a worker is asked to do.
#[derive(Clone, Copy, Debug)]
enum ToWorker {
    /// At `start`, in ns since the epoch of all workers.
    Begin { start: u64 },
    /// The measured part ends now.
    Interrupt,
}

/// What a worker hands over.
enum FromWorker {
    /// Each of its connects was answered once.
    Ready {
        open: u64,
        failures: Vec<(String, u64)>,
    },
    Slice(Slice),
    Done(Box<Final>),
}

/// What a worker has at the end.
struct Final {
    counts: Counts,
    mismatches: Vec<Mismatch>,
    gaps: Gaps,
    events: Vec<(usize, EventKind, u64)>,
    late: hdrhistogram::Histogram<u64>,
    use_of: Use,
    span: Span,
    /// Whether it ended, or gave up waiting, because it was interrupted.
    is_interrupted: bool,
}

/// Does what `plan` says. The caller's thread waits meanwhile.
///
/// # Errors
/// If the plan cannot be carried out on this machine, if no connection can be opened, or if the generator itself broke.
pub(super) fn run(plan: &Plan) -> Result<Measured, Failure> {
    let server = server(plan)?;
    room::check_descriptors(plan)?;
    room::check_memory(plan)?;
    check_process(plan)?;
    let (out, results) = channel();
    let settings = Settings { plan: plan.clone(), sources: sources(plan)?, epoch: Some(Instant::now()) };
    let epoch = settings.epoch.unwrap_or_else(Instant::now);
    let settings = Arc::new(settings);
    let handle = server
        .start(move |worker| Traffic::new(Arc::clone(&settings), worker.index() as u32, out.clone()))
        .map_err(|error| room::explain(error, plan.threads))?;
    for refusal in handle.refusals() {
        note(format_args!("note: {refusal}; measuring through {}", handle.backend()));
    }
    let mut progress = Progress::new(plan);
    let result = Run { plan, handle: &handle, results: &results, epoch }.collect(&mut progress);
    progress.end();
    // What is left is aborted already: this waits for the workers' threads.
    handle.drain(CLOSING).map_err(Failure::failed)?;
    result
}

fn server(plan: &Plan) -> Result<Server, Failure> {
    let in_flight = (plan.pipeline as usize).saturating_mul(plan.size);
    if in_flight > MOST_IN_FLIGHT {
        return Err(Failure::usage(format_args!(
            "{} of {} bytes in flight are more than {} MiB for a connection; give a smaller --pipeline or --size",
            units::count(plan.pipeline.into(), "message"),
            plan.size,
            MOST_IN_FLIGHT >> 20
        )));
    }
    // A connection must go on reading while it sends, or it and the server would wait for each other.
    let unsent = 2 * in_flight.max(behaving::UNREAD) + (1 << 20);
    Ok(Server::without_listeners()
        .workers(plan.threads as usize)
        .backend(plan.backend)
        .max_sessions(plan.connections as usize * 2)
        .high_water(unsent)
        .hard_limit(unsent + (4 << 20))
        .write_timeout(None)
        .tick(Duration::from_nanos(INTERVAL))
        .on_panic(OnPanic::StopServer))
}

fn sources(plan: &Plan) -> Result<Sources, Failure> {
    let reopens = |it: &Behaviour| matches!(it, Behaviour::Churn | Behaviour::HalfClose);
    let reopens = plan.behaviours.iter().any(reopens);
    Sources::new(&plan.addresses, plan.connections, reopens, sources::ports())
}

/// Whether the server's process can be looked at, before a run is made in vain.
fn check_process(plan: &Plan) -> Result<(), Failure> {
    let Some(pid) = plan.server_pid else { return Ok(()) };
    os::process_usage(pid).map(drop).map_err(|error| Failure::failed(format_args!("--server-pid: {error}")))
}

/// A run under way.
struct Run<'a> {
    plan: &'a Plan,
    handle: &'a ServerHandle<ToWorker>,
    results: &'a Receiver<FromWorker>,
    epoch: Instant,
}

impl Run<'_> {
    fn collect(&self, progress: &mut Progress) -> Result<Measured, Failure> {
        self.await_connections()?;
        let start = self.epoch.elapsed() + LEAD;
        self.post(ToWorker::Begin { start: start.as_nanos() as u64 })?;
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut all = Collected::new(self.plan, since_1970 + LEAD + self.plan.warmup);
        let mut has_posted = false;
        while all.ended() < self.plan.threads as usize {
            if !has_posted && is_interrupted() {
                has_posted = true;
                self.post(ToWorker::Interrupt)?;
            }
            match self.next()? {
                Some(FromWorker::Slice(slice)) => {
                    progress.slice(&slice);
                    all.slice(slice);
                }
                Some(FromWorker::Done(ended)) => all.done(*ended),
                Some(FromWorker::Ready { .. }) | None => {}
            }
            progress.passed(self.plan, self.epoch.elapsed().saturating_sub(start));
        }
        Ok(all.measured(self.handle.backend().to_string()))
    }

    /// Waits until every connection was opened, or has failed once.
    fn await_connections(&self) -> Result<(), Failure> {
        let (mut ready, mut all_open, mut reasons) = (0, 0, Vec::new());
        while ready < self.plan.threads {
            if is_interrupted() {
                return Err(Failure::failed("ended before all connections were open; nothing was measured"));
            }
            if let Some(FromWorker::Ready { open, failures }) = self.next()? {
                ready += 1;
                all_open += open;
                reasons.extend(failures);
            }
        }
        if all_open > 0 {
            return Ok(());
        }
        let why = reasons.into_iter().max_by_key(|(_, count)| *count);
        let why = why.map_or_else(|| "every connection ended at once".to_owned(), |(why, _)| why);
        Err(Failure::failed(format_args!(
            "cannot connect to {}: {why}; start an echo server there (`overlapped serve --bind {}`), or give another address",
            self.plan.target, self.plan.target
        )))
    }

    fn post(&self, message: ToWorker) -> Result<(), Failure> {
        match self.handle.post_to_all(&message) {
            0 => Ok(()),
            _ => Err(self.broken()),
        }
    }

    /// What comes next from a worker, within a moment.
    fn next(&self) -> Result<Option<FromWorker>, Failure> {
        match self.results.recv_timeout(Duration::from_nanos(INTERVAL)) {
            Ok(next) => Ok(Some(next)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(self.broken()),
        }
    }

    /// Why the workers are gone.
    fn broken(&self) -> Failure {
        match self.handle.wait() {
            Err(error) => Failure::failed(format_args!("the generator broke: {error}; please report this")),
            Ok(()) => Failure::failed("the generator ended by itself; please report this"),
        }
    }
}
