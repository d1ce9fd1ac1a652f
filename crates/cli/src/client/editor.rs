//! Line editing and history on a terminal, with `rustyline`.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::ErrorKind;
use std::sync::Arc;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{ColorMode, Config, Helper};

use super::mode::{self, Mode};
use super::prompt::{PROMPT, Prompt};
use crate::failure::Failure;
use crate::output::note;

/// Terminals that cannot move their cursor as the editor needs it; the same list as in `rustyline`.
const PLAIN: [&str; 3] = ["dumb", "cons25", "emacs"];

/// What to do about a terminal that cannot be used.
const INSTEAD: &str = "raise the limits (`ulimit -n`, `ulimit -u`), try TERM=dumb, or pipe the input";

/// Dropped, it leaves the terminal as it was.
pub(super) struct Editor {
    lines: rustyline::Editor<Watch, DefaultHistory>,
    prompt: Arc<Prompt>,
    mode: Arc<Mode>,
}

impl Editor {
    /// `None` if this terminal cannot edit.
    ///
    /// # Errors
    /// If the system does not let us put the terminal back in order when a signal comes. Then its mode is not changed.
    pub(super) fn new() -> Result<Option<Editor>, Failure> {
        if !is_capable(std::env::var("TERM").ok().as_deref()) {
            return Ok(None);
        }
        // Not for colours, of which there are none: only with them it asks how to show a line, which is how we learn
        // what it shows. Its `ExternalPrinter` would know, but loses sight of keys that come together (18.0).
        //
        // Signals: it would stop the process itself at Ctrl-Z, without the mode in which the terminal was.
        let config =
            Config::builder().auto_add_history(true).color_mode(ColorMode::Forced).enable_signals(true);
        let Ok(mut lines) = rustyline::Editor::with_config(config.build()) else { return Ok(None) };
        let mode = Arc::new(Mode::read().map_err(untaken)?);
        let prompt = Arc::new(Prompt::new(Some(Arc::clone(&mode))));
        let (resumed, left) = (Arc::clone(&prompt), Arc::clone(&prompt));
        mode::watch(&mode, move || resumed.redraw(), move || left.below()).map_err(untaken)?;
        lines.set_helper(Some(Watch { prompt: Arc::clone(&prompt), mode: Arc::clone(&mode) }));
        // From here on it is left as it was when this is dropped.
        let editor = Editor { lines, prompt, mode };
        editor.mode.enter().map_err(untaken)?;
        Ok(Some(editor))
    }

    /// Where messages go while a line is edited.
    pub(super) fn prompt(&self) -> Arc<Prompt> {
        Arc::clone(&self.prompt)
    }

    /// Reads a line, which gets its line end. `None` at Ctrl-D. Ends the process at Ctrl-C, as it would without an
    /// editor.
    ///
    /// # Errors
    /// What reading the terminal failed with.
    pub(super) fn line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let read = self.lines.readline(&Beginning(&self.mode));
            self.mode.settle_interrupt();
            match read {
                Ok(line) => return Ok(Some([line.as_bytes(), b"\n"].concat())),
                Err(ReadlineError::Eof) => return Ok(None),
                Err(ReadlineError::Interrupted) => self.prompt.interrupt(),
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                    note(
                        "warning: that key is not UTF-8, and the line was not sent; type it again, or pipe it",
                    );
                }
                Err(error) => {
                    return Err(Failure::failed(format_args!(
                        "cannot read the terminal: {error}; {INSTEAD}"
                    )));
                }
            }
        }
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        self.prompt.leave();
    }
}

/// The terminal's mode is as it was.
fn untaken(error: impl Display) -> Failure {
    Failure::failed(format_args!("cannot take the terminal: {error}; {INSTEAD}"))
}

/// Whether a terminal of this name can edit. Windows has no such names.
fn is_capable(term: Option<&str>) -> bool {
    match term {
        None | Some("") => cfg!(windows),
        Some(term) => !PLAIN.iter().any(|plain| plain.eq_ignore_ascii_case(term)),
    }
}

/// The prompt. The editor measures it before it puts a handler for SIGINT in place, and draws it after that.
struct Beginning<'a>(&'a Mode);

impl rustyline::Prompt for Beginning<'_> {
    fn raw(&self) -> &str {
        // The process may have been stopped, and continued in the background, as the editor took the terminal.
        self.0.reenter();
        self.0.hold_interrupt();
        PROMPT
    }

    fn styled(&self) -> &str {
        PROMPT
    }
}

/// Changes nothing, and passes on what the editor draws.
struct Watch {
    prompt: Arc<Prompt>,
    mode: Arc<Mode>,
}

impl Highlighter for Watch {
    fn highlight_char(&self, line: &str, cursor: usize, _kind: CmdKind) -> bool {
        self.prompt.edited(line, cursor);
        false
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        self.mode.settle_interrupt();
        self.prompt.prompted(prompt);
        Cow::Borrowed(prompt)
    }
}

impl Helper for Watch {}
impl Validator for Watch {}

impl Hinter for Watch {
    type Hint = String;
}

impl Completer for Watch {
    type Candidate = String;
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
