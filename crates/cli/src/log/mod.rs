//! What a running server prints, without waiting for whoever reads it.
//!
//! Workers and signals queue their lines; a thread for each of stdout and stderr writes them, so that a reader that has
//! stopped (`serve -v | less`) holds up neither the server nor the other stream. Each queue is bounded. What does not
//! fit is dropped. Each gap is reported in the stream itself, where it is; those of stdout on stderr too, which also has
//! what could not be reported before the end.

mod notes;
mod queue;
mod record;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub(crate) use notes::Notes;
pub(crate) use queue::{Batch, GRACE, Queue, STUCK, lines};
use record::Style;
pub(crate) use record::{Field, Format, Level, Record};
use stream::{Sink, Stream, standard};

/// Bytes that may wait for each stream's reader; as many again may be on their way to it. Some 50,000 lines.
const LIMIT: usize = 4 << 20;

/// How long a writer that moves is waited for at the end, however much waits.
pub(crate) const AT_MOST: Duration = Duration::from_secs(5);

/// Both streams. Cloning gives another handle of the same.
#[derive(Clone)]
pub(crate) struct Log {
    out: Arc<Stream>,
    err: Arc<Stream>,
}

impl Log {
    /// Takes in lines from now on; [`Log::open`] begins to write them.
    pub(crate) fn new(format: Format) -> Log {
        let styles = (Style::of(format, &io::stdout()), Style::of(format, &io::stderr()));
        Log::with_limit(LIMIT, styles)
    }

    fn with_limit(limit: usize, (out, err): (Style, Style)) -> Log {
        Log {
            out: Arc::new(Stream::new("stdout", limit, out)),
            err: Arc::new(Stream::new("stderr", limit, err)),
        }
    }

    /// A record on stdout.
    pub(crate) fn say(&self, record: &Record<'_>) {
        self.out.say(record);
    }

    /// A record on stderr.
    pub(crate) fn note(&self, record: &Record<'_>) {
        self.err.say(record);
    }

    /// A line on stderr as it is: its reader knows its form.
    pub(crate) fn note_bare(&self, line: impl Display) {
        self.err.queue.push(|text| append(text, line));
    }

    /// Begins to write: `first` on stdout, then what waits, on both.
    ///
    /// # Errors
    /// If the system has no thread.
    pub(crate) fn open(&self, first: &str) -> io::Result<()> {
        self.open_on(first, standard(io::stdout()), standard(io::stderr()))
    }

    fn open_on(&self, first: &str, out: Sink, err: Sink) -> io::Result<()> {
        self.out.queue.push_first(first.as_bytes());
        let (written, begun) = channel::<()>();
        self.out.start(out, Some(Arc::clone(&self.err)), written)?;
        // Both may be one file: stderr waits for the first lines, but not for a reader that is stuck from the start.
        let held = HeldBack { sink: err, until: Some((begun, Instant::now() + STUCK)) };
        self.err.start(Box::new(held), None, ())
    }

    /// Writes `last` on stdout, after all that waits on either stream: both may be one file. Then says on stderr what is
    /// missing on stdout. Waits for readers that move, for stuck ones until `until`.
    ///
    /// Returns false if stdout cannot be written at its end, as on a full disk. stderr may be the same file, so then the
    /// exit status is what is left to say so. A reader that is slow, or gone, is no error.
    #[must_use]
    pub(crate) fn finish(&self, last: &str, until: Instant) -> bool {
        let at_most = until + AT_MOST;
        self.err.queue.flush(until - STUCK / 2, at_most);
        self.out.queue.push_always(last.as_bytes());
        self.out.queue.flush(until, at_most);
        let missing = self.out.unreported();
        if missing > 0 {
            self.note_always(&Record::warning(format_args!("{}", self.out.gap(missing))));
        }
        // A reader that is there gets it, however long another one was waited for.
        self.err.queue.flush(until.max(Instant::now() + GRACE), at_most);
        missing == 0 || !self.out.fails()
    }

    /// Writes a record on stderr, after all that waits for it, before the process ends at `end`.
    pub(crate) fn last_note(&self, record: &Record<'_>, end: Instant) {
        self.note_always(record);
        self.err.queue.flush_in_haste(end);
    }

    fn note_always(&self, record: &Record<'_>) {
        self.err.queue.push_always(&self.err.line(record));
    }

    /// Says what a panic says, in place of the standard hook, which writes to stderr itself and could block a worker.
    pub(crate) fn panicked(&self, panic: &PanicHookInfo<'_>) {
        let (text, is_last) = text_of(panic);
        if is_last {
            self.last_note(&Record::new(Level::Panic, format_args!("{text}")), Instant::now() + STUCK);
        } else {
            self.note(&Record::new(Level::Panic, format_args!("{text}")));
        }
    }
}

/// What a panic of this thread says, and whether the process ends with it.
fn text_of(panic: &PanicHookInfo<'_>) -> (String, bool) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let backtrace = std::backtrace::Backtrace::capture();
    let traced = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
    let stack = if traced { format!("\nstack backtrace:\n{backtrace}") } else { String::new() };
    (format!("thread '{name}' {panic}{stack}"), name == "main")
}

/// Appends a line and its end. Writing to memory cannot fail; what a `Display` itself refuses stays short.
fn append(text: &mut Vec<u8>, line: impl Display) {
    let _ = write!(text, "{line}");
    text.push(b'\n');
}

/// A sink whose first write waits until the other end of a channel is dropped, or until a moment.
struct HeldBack {
    sink: Sink,
    until: Option<(Receiver<()>, Instant)>,
}

impl Write for HeldBack {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some((dropped, moment)) = self.until.take() {
            let _ = dropped.recv_timeout(moment.saturating_duration_since(Instant::now()));
        }
        self.sink.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
