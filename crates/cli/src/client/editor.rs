//! Line editing and history on a terminal, with `rustyline`; and messages that arrive while a line is half typed.

use std::io::{self, ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Config, ExternalPrinter};

use super::echo::Echo;
use super::mode::Mode;
use super::terminal::PROMPT;
use crate::output::{Failure, note};

/// A message that has the editor draw its line anew. Itself it leaves the cursor where it is: one row up, if its
/// terminal can do that, and the line end, which a message always has.
pub(super) const TAKE_BACK: &str = if cfg!(windows) { "\n" } else { "\x1b[A\n" };

/// Clears what may be left of a line whose drawing was broken off, and ends the synchronized update that it was in.
const CLEAR: &[u8] = if cfg!(windows) { b"\r" } else { b"\x1b[?2026l\r\x1b[J" };

/// Messages that may wait to be shown.
const MESSAGES: usize = 64;

/// Terminals that cannot move their cursor as the editor needs it; the same list as in `rustyline`.
const PLAIN: [&str; 3] = ["dumb", "cons25", "emacs"];

/// What a person did.
pub(super) enum Typed {
    /// With its line end.
    Line(Vec<u8>),
    /// Ctrl-D on an empty line.
    End,
    /// Nothing yet, and the server has gone. The half-typed line is taken back.
    Gone,
}

/// Dropped, it leaves the terminal as it was.
pub(super) struct Editor {
    lines: rustyline::Editor<(), DefaultHistory>,
    messages: SyncSender<String>,
    mode: Mode,
}

impl Editor {
    /// `None` if this terminal cannot edit.
    pub(super) fn new() -> Option<Editor> {
        if !is_capable(std::env::var("TERM").ok().as_deref()) {
            return None;
        }
        let config = Config::builder().auto_add_history(true).build();
        let mut lines = rustyline::Editor::with_config(config).ok()?;
        let mut printer = lines.create_external_printer().ok()?;
        let (messages, waiting) = sync_channel::<String>(MESSAGES);
        // A message waits for the next prompt if it comes at the very end of a line. Only this thread waits with it.
        let print = move || while waiting.recv().is_ok_and(|message| printer.print(message).is_ok()) {};
        thread::Builder::new().name("messages".into()).spawn(print).ok()?;
        let mode = Mode::enter().ok()?;
        Some(Editor { lines, messages, mode })
    }

    /// Takes messages to show above the line that is edited, each with its line end.
    pub(super) fn messages(&self) -> SyncSender<String> {
        self.messages.clone()
    }

    /// Reads a line. Ends the process at Ctrl-C, as it would without an editor.
    ///
    /// # Errors
    /// What reading the terminal failed with.
    pub(super) fn line(&mut self, echo: &Echo) -> Result<Typed, Failure> {
        loop {
            let prompt = Prompt(echo);
            let lines = &mut self.lines;
            // After an unwinding this editor is not used any more.
            let read = catch_unwind(AssertUnwindSafe(|| lines.readline(&prompt)));
            return match read {
                Ok(Ok(line)) => Ok(Typed::Line([line.as_bytes(), b"\n"].concat())),
                Ok(Err(ReadlineError::Eof)) => Ok(Typed::End),
                Ok(Err(ReadlineError::Interrupted)) => self.mode.interrupt(),
                Ok(Err(ReadlineError::Io(error))) if error.kind() == ErrorKind::InvalidData => {
                    note("warning: that key is not UTF-8; the line was not sent, type it again or pipe it");
                    continue;
                }
                Ok(Err(error)) => Err(Failure::failed(format_args!(
                    "cannot read the terminal: {error}; try TERM=dumb, or pipe the input"
                ))),
                Err(reason) if reason.is::<ServerGone>() => {
                    let mut output = io::stdout().lock();
                    let _ = output.write_all(CLEAR).and_then(|()| output.flush());
                    Ok(Typed::Gone)
                }
                Err(panic) => resume_unwind(panic),
            };
        }
    }
}

/// Whether a terminal of this name can edit. Windows has no such names.
fn is_capable(term: Option<&str>) -> bool {
    match term {
        None | Some("") => cfg!(windows),
        Some(term) => !PLAIN.iter().any(|plain| plain.eq_ignore_ascii_case(term)),
    }
}

/// Unwinds the thread out of the editor.
struct ServerGone;

/// `readline` returns for a key only. But it asks for the prompt whenever it draws, after a message too: by then the old
/// line is cleared. So when the server has gone, the message [`TAKE_BACK`] brings it here, and from here it unwinds;
/// on that way the terminal's mode is restored.
struct Prompt<'a>(&'a Echo);

impl rustyline::Prompt for Prompt<'_> {
    fn raw(&self) -> &str {
        if self.0.has_ended() {
            // No panic: no hook runs, nothing is printed.
            resume_unwind(Box::new(ServerGone));
        }
        PROMPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_terminals() {
        assert!(is_capable(Some("xterm-256color")));
        assert!(!is_capable(Some("dumb")) && !is_capable(Some("Emacs")));
        assert_eq!(is_capable(None), cfg!(windows));
    }
}
