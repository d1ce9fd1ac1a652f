//! stderr of a command that writes its results to stdout itself: a thread writes the lines, so that a reader that has
//! stopped holds up nothing else.

use std::fmt::Display;
use std::io;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Instant;

use super::record::Style;
use super::stream::{Stream, standard};
use super::{AT_MOST, GRACE, LIMIT, STUCK, append, text_of};

/// Cloning gives another handle of the same.
#[derive(Clone)]
pub(crate) struct Notes(Arc<Stream>);

impl Notes {
    /// Begins to write to stderr.
    ///
    /// # Errors
    /// If the system has no thread.
    pub(crate) fn open() -> io::Result<Notes> {
        let stream = Arc::new(Stream::new("stderr", LIMIT, Style::plain()));
        stream.start(standard(io::stderr()), None, ())?;
        Ok(Notes(stream))
    }

    /// A line. Never waits for the reader.
    pub(crate) fn note(&self, line: impl Display) {
        self.0.queue.push(|text| append(text, line));
    }

    /// Waits until all lines are written, so that what is written elsewhere comes after them. A reader that moves is waited
    /// for, up to [`AT_MOST`]; one that is stuck for a second at most.
    pub(crate) fn flush(&self) {
        let now = Instant::now();
        self.0.queue.flush(now + GRACE, now + AT_MOST);
    }

    /// The same for a process that ends now: a second at most, whatever the reader does.
    pub(crate) fn flush_in_haste(&self) {
        self.0.queue.flush_in_haste(Instant::now() + STUCK);
    }

    /// Says what a panic says, in place of the standard hook, which waits for the reader.
    pub(crate) fn panicked(&self, panic: &PanicHookInfo<'_>) {
        let (text, is_last) = text_of(panic);
        self.note(text);
        if is_last {
            self.flush_in_haste();
        }
    }
}
