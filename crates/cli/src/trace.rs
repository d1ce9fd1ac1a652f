//! `serve --log-ops` and `serve --trace FILE`: what passes between a worker and its system, as lines or as a file.
//!
//! The file is in the Trace Event Format (Google, "Trace Event Format", JSON array), which Perfetto and
//! `chrome://tracing` open: a track per worker with its waits, a slice per operation in flight, a slice per session.

mod file;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use overlapped::Event;
use overlapped::trace::{Moment, Step};

use crate::log::{Log, Queue, Record};
use crate::output::{reader_gone, remedy};
use crate::units::count;

/// Bytes of events that may wait for the disk; as many again may be on their way to it.
const LIMIT: usize = 16 << 20;

/// Bytes of events that are written together.
const BATCH: usize = 16 << 10;

/// A trace file that is being written, by a thread of its own: a disk that is slow, or a pipe that nobody reads, holds
/// up no worker. Events that do not fit are dropped, and an event in their place says how many.
pub(crate) struct Trace {
    name: String,
    began: Instant,
    queue: Arc<Queue>,
    /// Set when a write has failed: the file ends there.
    failed: Arc<AtomicBool>,
}

impl Trace {
    /// Creates the file, or empties it. If it cannot be written to its end, that is said to `log`, once, and the server
    /// goes on.
    pub(crate) fn create(path: &Path, log: Log) -> io::Result<Trace> {
        let file = File::create(path)?;
        let name = path.display().to_string();
        let trace = Trace {
            name: name.clone(),
            began: Instant::now(),
            queue: Arc::new(Queue::in_batches(LIMIT, BATCH)),
            failed: Arc::default(),
        };
        let (queue, failed, began) = (Arc::clone(&trace.queue), Arc::clone(&trace.failed), trace.began);
        thread::Builder::new().name("trace".into()).spawn(move || {
            if let Err(error) = file::write(file, &queue, began) {
                if !reader_gone(&error) {
                    failed.store(true, Relaxed);
                }
                let next = remedy(&error);
                log.note(&Record::warning(format_args!("the trace ends here: {name}: {error}; {next}")));
                // Last: who waits in `flush` may end the process then.
                queue.close();
            }
        })?;
        trace.queue.push(|text| {
            text.extend_from_slice(
                br#"[{"ph":"M","pid":1,"name":"process_name","args":{"name":"overlapped serve"}}"#,
            );
        });
        Ok(trace)
    }

    /// Gives each worker's track its name.
    pub(crate) fn name_workers(&self, workers: usize) {
        for tid in 0..workers {
            self.push(&format!(
                r#"{{"ph":"M","pid":1,"tid":{tid},"name":"thread_name","args":{{"name":"worker {tid}"}}}}"#
            ));
        }
    }

    pub(crate) fn event(&self, event: &Event<'_>) {
        if let Some(line) = self.line(event) {
            self.push(&line);
        }
    }

    /// Ends the array: later events are ignored. [`Trace::flush`] waits until it is in the file.
    pub(crate) fn end(&self) {
        self.queue.end_with(file::END);
    }

    /// Whether no write to the file has failed. A pipe whose reader has gone is no failure.
    pub(crate) fn is_whole(&self) -> bool {
        !self.failed.load(Relaxed)
    }

    /// Waits for the file, until `until`, or until `at_most` while it moves. Returns what to say about events that are
    /// not in it.
    pub(crate) fn flush(&self, until: Instant, at_most: Instant) -> Option<String> {
        self.queue.flush(until, at_most);
        self.missing()
    }

    /// The same in haste: a file that is stuck already is hardly waited for, another one until `end`.
    pub(crate) fn flush_in_haste(&self, end: Instant) -> Option<String> {
        self.queue.flush_in_haste(end);
        self.missing()
    }

    /// What a user is warned of.
    fn missing(&self) -> Option<String> {
        let (name, missing) = (&self.name, self.queue.unwritten());
        (missing > 0).then(|| {
            let events = if missing == 1 {
                "1 event of the trace was"
            } else {
                &format!("{missing} events of the trace were")
            };
            format!("{events} dropped: {name} is written too slowly")
        })
    }

    fn push(&self, event: &str) {
        self.queue.push(|text| {
            text.extend_from_slice(file::SEPARATOR);
            text.extend_from_slice(event.as_bytes());
        });
    }

    fn line(&self, event: &Event<'_>) -> Option<String> {
        let at = self.began.elapsed().as_nanos() as f64 / 1000.0;
        let line = |ph: &str, tid: usize, name: &str, rest: &str| {
            format!(r#"{{"ph":"{ph}","pid":1,"tid":{tid},"ts":{at:.3},"name":"{name}"{rest}}}"#)
        };
        Some(match event {
            Event::Opened { session, .. } => {
                line("b", session.worker(), "session", &format!(r#","cat":"session","id":"{session}""#))
            }
            Event::Closed { session, reason, received, sent, .. } => {
                let args = format!(r#"{{"why":"{reason}","received":{received},"sent":{sent}}}"#);
                let rest = format!(r#","cat":"session","id":"{session}","args":{args}"#);
                line("e", session.worker(), "session", &rest)
            }
            Event::Operation { worker, backend, session, step, .. } => {
                let name = backend.call_names().of(step.call);
                let (ph, name) = match step.moment {
                    Moment::Began => ("B", name.submitted),
                    Moment::Ended => ("E", name.submitted),
                    Moment::Submitted { .. } => ("b", name.submitted),
                    Moment::Completed { more: false, .. } => ("e", name.submitted),
                    Moment::Completed { more: true, .. } => ("n", name.completed),
                    Moment::Cancelling => ("n", backend.call_names().cancel),
                    Moment::Returned(_) => ("i", name.submitted),
                    _ => return None,
                };
                let id =
                    step.operation.map_or(String::new(), |op| format!(r#","cat":"op","id":"{worker}/{op}""#));
                let session = session.map_or(String::new(), |id| format!(r#""session":"{id}","#));
                let scope = if ph == "i" { r#","s":"t""# } else { "" };
                let rest = format!(r#"{id}{scope},"args":{{{session}"what":"{}"}}"#, what(step));
                line(ph, *worker, name, &rest)
            }
            _ => return None,
        })
    }
}

/// A line for a step, in the system's own words.
pub(crate) fn log_step(log: &Log, began: Instant, event: &Event<'_>) {
    let Event::Operation { worker, backend, session, step, .. } = event else { return };
    let names = backend.call_names();
    let name = match step.moment {
        Moment::Completed { .. } => names.of(step.call).completed,
        Moment::Cancelling => names.cancel,
        _ => names.of(step.call).submitted,
    };
    let mut who = session.map_or_else(|| format!("{worker}/-"), |session| session.to_string());
    if let Some(op) = step.operation {
        let _ = write!(who, " op {op}");
    }
    // Not to stdout, which begins with the addresses listened on.
    log.note_bare(format_args!("{:>12.6} {who:<18} {name}: {}", began.elapsed().as_secs_f64(), what(step)));
}

fn what(step: &Step) -> String {
    match step.moment {
        Moment::Submitted { bytes: 0, pending: true, .. } => "submitted".into(),
        Moment::Submitted { bytes, pending: true, .. } => {
            format!("submitted, {}", count(bytes as u64, "byte"))
        }
        Moment::Submitted { pending: false, .. } => "done at once".into(),
        Moment::Completed { result, more: true, .. } => format!("{result}, stays in flight"),
        Moment::Completed { result, .. } | Moment::Returned(result) => result.to_string(),
        Moment::Cancelling => "asked to end".into(),
        Moment::Began => "waits".into(),
        Moment::Ended => "returned".into(),
        moment => format!("{moment:?}"),
    }
}
