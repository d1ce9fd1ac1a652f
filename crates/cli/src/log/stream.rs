//! The thread that writes what is queued for stdout or stderr.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
#[cfg(unix)]
use std::os::fd::AsFd as AsDescriptor;
#[cfg(windows)]
use std::os::windows::io::AsHandle as AsDescriptor;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::queue::{Batch, Queue, lines};
use super::record::{Record, Style};
use crate::output::{reader_gone, remedy};

/// Most bytes of one write, in whole lines: a pipe takes this number in one piece, and another writer to the same pipe
/// (`2>&1`) cannot come in between. POSIX, `PIPE_BUF`: Linux has 4096, others promise 512.
const PIECE: usize = if cfg!(any(target_os = "linux", windows)) { 4096 } else { 512 };

/// What a write fails with when the process was started without the stream: `EBADF`, `ERROR_INVALID_HANDLE`.
const NO_STREAM: i32 = if cfg!(windows) { 6 } else { 9 };

/// How long to wait before the next try on a stream that another process made non-blocking: from, and up to.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// Where a stream's lines go.
pub(crate) type Sink = Box<dyn Write + Send>;

/// A standard stream past the lock and the buffer that the standard library has for it: a write that is stuck then
/// holds up nobody else, and not the end of the process.
///
/// Not so where no descriptor is left, and for a console of Windows, which shows text right only as the standard
/// library writes it (in UTF-16). There the writer is the only one to take the lock, and the end of the process only
/// tries it.
pub(crate) fn standard(stream: impl AsDescriptor + IsTerminal + Write + Send + 'static) -> Sink {
    match duplicate(&stream) {
        Ok(file) => Box::new(file),
        Err(_) => Box::new(stream),
    }
}

#[cfg(unix)]
fn duplicate(stream: &impl AsDescriptor) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

#[cfg(windows)]
fn duplicate(stream: &(impl AsDescriptor + IsTerminal)) -> io::Result<File> {
    if stream.is_terminal() {
        return Err(ErrorKind::Unsupported.into());
    }
    stream.as_handle().try_clone_to_owned().map(File::from)
}

/// One of the two streams: its queue, and what its writer has met.
pub(crate) struct Stream {
    pub(crate) queue: Queue,
    name: &'static str,
    style: Style,
    /// Missing lines that were reported in the stream itself.
    reported: AtomicU64,
    /// What writing fails with, and what to do about it. `None` while it works: then lines are lost to a slow reader only.
    failure: Mutex<Option<String>>,
}

impl Stream {
    /// With up to `limit` bytes that wait.
    pub(crate) fn new(name: &'static str, limit: usize, style: Style) -> Stream {
        let (reported, failure) = (AtomicU64::new(0), Mutex::new(None));
        Stream { queue: Queue::new(limit), name, style, reported, failure }
    }

    /// Queues a record's line.
    pub(crate) fn say(&self, record: &Record<'_>) {
        self.queue.push(|text| self.style.append(text, record));
    }

    /// A record's line, with its end.
    pub(crate) fn line(&self, record: &Record<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        self.style.append(&mut line, record);
        line
    }

    /// Lines that were not written and are not reported as missing either.
    pub(crate) fn unreported(&self) -> u64 {
        self.queue.unwritten().saturating_sub(self.reported.load(Relaxed))
    }

    /// Whether the last write failed, and not because nobody reads.
    pub(crate) fn fails(&self) -> bool {
        self.failure().is_some()
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a user is warned of when `lines` lines are missing.
    pub(crate) fn gap(&self, lines: u64) -> String {
        let lines = if lines == 1 { "1 line was".to_owned() } else { format!("{lines} lines were") };
        let name = self.name;
        match &*self.failure() {
            None => format!("{lines} dropped: the reader of {name} is too slow"),
            Some(failure) => format!("{lines} dropped: {name} cannot be written: {failure}"),
        }
    }

    /// Starts the thread that writes to `sink` until the queue has ended. It reports missing lines where they are
    /// missing, and to `copy`. `after_first` is dropped after the first batch.
    ///
    /// # Errors
    /// If the system has no thread.
    pub(crate) fn start(
        self: &Arc<Stream>,
        sink: Sink,
        copy: Option<Arc<Stream>>,
        after_first: impl Send + 'static,
    ) -> io::Result<()> {
        let mut writer = Writer { stream: Arc::clone(self), sink, copy, missing: 0, mid_line: false };
        thread::Builder::new().name(self.name.into()).spawn(move || {
            let mut after_first = Some(after_first);
            let mut batch = Batch::default();
            while writer.stream.queue.take(&mut batch) {
                if writer.write_batch(&batch).is_err() {
                    // A reader that has gone away is no error.
                    writer.stream.queue.close();
                }
                drop(after_first.take());
            }
        })?;
        Ok(())
    }
}

/// Nobody will ever read what is written.
struct Gone;

struct Writer {
    stream: Arc<Stream>,
    sink: Sink,
    /// Where reports go too.
    copy: Option<Arc<Stream>>,
    /// Lines missing before the next one, not yet reported.
    missing: u64,
    /// A write failed in the middle of a line.
    mid_line: bool,
}

impl Writer {
    fn write_batch(&mut self, batch: &Batch) -> Result<(), Gone> {
        let mut rest = &*batch.bytes;
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(piece_len(rest, PIECE));
            rest = later;
            self.write_piece(piece)?;
        }
        self.missing += batch.dropped;
        self.report()?;
        Ok(())
    }

    /// Writes whole lines, after a report of those missing before them.
    fn write_piece(&mut self, piece: &[u8]) -> Result<(), Gone> {
        if self.report()? {
            match self.write_all(piece) {
                Ok(()) => {
                    self.stream.queue.wrote(lines(piece));
                    return Ok(());
                }
                Err(error) => self.failed(&error)?,
            }
        }
        self.missing += lines(piece);
        Ok(())
    }

    /// Writes how many lines are missing here, if there are. False if that failed.
    fn report(&mut self) -> Result<bool, Gone> {
        if self.missing == 0 {
            return Ok(true);
        }
        let gap = self.stream.gap(self.missing);
        let mut line = if self.mid_line { vec![b'\n'] } else { Vec::new() };
        line.append(&mut self.stream.line(&Record::warning(format_args!("{gap}"))));
        match self.write_all(&line) {
            Ok(()) => {
                *self.stream.failure() = None;
                self.stream.reported.fetch_add(std::mem::take(&mut self.missing), Relaxed);
                if let Some(copy) = &self.copy {
                    copy.say(&Record::warning(format_args!("{gap}")));
                }
                Ok(true)
            }
            Err(error) => self.failed(&error).map(|()| false),
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut pause = PAUSE.0;
        while !bytes.is_empty() {
            match self.sink.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.mid_line = bytes[count - 1] != b'\n';
                    bytes = &bytes[count..];
                    pause = PAUSE.0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(PAUSE.1);
                }
                Err(error) => return Err(error),
            }
        }
        self.sink.flush()
    }

    fn failed(&self, error: &io::Error) -> Result<(), Gone> {
        if reader_gone(error) || error.raw_os_error() == Some(NO_STREAM) {
            return Err(Gone);
        }
        *self.stream.failure() = Some(format!("{error}; {}", remedy(error)));
        Ok(())
    }
}

/// How much of `bytes` to write at once: whole lines of at most `most` bytes together, or one longer line.
pub(crate) fn piece_len(bytes: &[u8], most: usize) -> usize {
    if bytes.len() <= most {
        return bytes.len();
    }
    let end = |at| at + 1;
    let within = bytes[..most].iter().rposition(|byte| *byte == b'\n').map(end);
    within.or_else(|| bytes.iter().position(|byte| *byte == b'\n').map(end)).unwrap_or(bytes.len())
}
