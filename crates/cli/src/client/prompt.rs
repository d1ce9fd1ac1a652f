//! The prompt, and the half-typed line behind it: what others who have something to say must know of them.
//!
//! The editor draws the line and tells [`Prompt`] what it has drawn; it waits for a key without an end. Another thread
//! can show a message above the line, or take the line back and end the process.

use std::fmt::Display;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use rustyline::GraphemeClusterMode;

use super::mode::Mode;
use crate::failure::Failure;
use crate::output::{fail, note};

pub(super) const PROMPT: &str = "> ";

/// What a window has whose size is not known.
const COLUMNS: usize = 80;

/// Where the editor's tabs end.
const TAB_STOP: usize = 8;

pub(super) struct Prompt {
    /// `None` on a terminal that cannot move its cursor. There the system edits the line, and nobody else knows it.
    mode: Option<Arc<Mode>>,
    /// Held while a message is written, which lasts for as long as the terminal does not read. The thread that handles
    /// signals never waits for it.
    draft: Mutex<Draft>,
}

/// What stands at the prompt.
#[derive(Default)]
struct Draft {
    /// True exactly while a line is read.
    reading: bool,
    /// Columns of the terminal.
    columns: usize,
    /// [`PROMPT`], or what stands there during a search in the history.
    prompt: String,
    line: String,
    /// The cursor, in bytes of the line.
    cursor: usize,
}

impl Prompt {
    /// With the mode that a line is edited in; `None` if it is not edited here.
    pub(super) fn new(mode: Option<Arc<Mode>>) -> Prompt {
        Prompt { mode, draft: Mutex::default() }
    }

    /// A line is read from now on.
    pub(super) fn begin(&self) {
        // The shell may have continued us in the background, and given us the terminal since without a signal.
        if let Some(mode) = &self.mode {
            mode.reenter();
        }
        let mut draft = self.lock();
        PROMPT.clone_into(&mut draft.prompt);
        draft.line.clear();
        (draft.reading, draft.cursor) = (true, 0);
    }

    /// The line is read.
    pub(super) fn end(&self) {
        self.lock().reading = false;
    }

    /// The line is about to be drawn so.
    pub(super) fn edited(&self, line: &str, cursor: usize) {
        let mut draft = self.lock();
        line.clone_into(&mut draft.line);
        draft.cursor = cursor;
    }

    /// Another prompt is about to be drawn.
    pub(super) fn prompted(&self, prompt: &str) {
        prompt.clone_into(&mut self.lock().prompt);
    }

    /// Writes a message to stderr, if a line is being read above it.
    pub(super) fn report(&self, message: impl Display) {
        let draft = self.lock();
        if !draft.reading {
            note(message);
            return;
        }
        let (clear, again) = match self.mode {
            Some(_) => (draft.clear(), draft.again()),
            None => ("\n".to_owned(), PROMPT.to_owned()),
        };
        let _ = write(&clear);
        note(message);
        let _ = write(&again);
    }

    /// If a line is being read, takes it back, leaves the terminal as it was and ends the process. Nothing else ends a
    /// read from a terminal.
    pub(super) fn give_up(&self, failure: &Failure) {
        let draft = self.lock();
        if draft.reading {
            match &self.mode {
                Some(mode) => {
                    let _ = write(&draft.clear());
                    mode.end(&failure.line(), failure.status());
                }
                None => {
                    let _ = write("\n");
                    fail(failure);
                    std::process::exit(failure.status().into());
                }
            }
        }
    }

    /// Draws what stood there before the process was stopped, if a line is being read.
    pub(super) fn redraw(&self) {
        let draft = self.lock();
        if draft.reading {
            let _ = write(&format!("\r{}", draft.again()));
        }
    }

    /// Moves the cursor to a line of its own below the one that is being read. Empty between lines, and while another
    /// thread shows something: for the thread that handles signals.
    pub(super) fn below(&self) -> String {
        let mut draft = match self.draft.try_lock() {
            Ok(draft) => draft,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return String::new(),
        };
        draft.measure();
        if draft.reading { draft.below() } else { String::new() }
    }

    /// Leaves the terminal as it was, for good.
    pub(super) fn leave(&self) {
        if let Some(mode) = &self.mode {
            mode.leave();
        }
    }

    /// Ends the process as Ctrl-C does, with the terminal as it was.
    pub(super) fn interrupt(&self) -> ! {
        self.leave();
        super::mode::interrupt();
    }

    fn lock(&self) -> MutexGuard<'_, Draft> {
        let mut draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        draft.measure();
        draft
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Rows are counted from the one that the prompt begins in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    row: usize,
    column: usize,
}

impl Draft {
    /// The window may have another size by now. The editor draws the line again then.
    fn measure(&mut self) {
        let size = terminal_size::terminal_size_of(io::stdout());
        self.columns = size.map_or(COLUMNS, |(width, _)| width.0.into());
    }

    /// Clears the prompt and the line, and leaves the cursor where the prompt began.
    fn clear(&self) -> String {
        let up = self.position(&self.line[..self.cursor]).row;
        format!("{}\r\x1b[J", rows_up(up))
    }

    /// Leaves them, and the cursor at the start of the next line.
    fn below(&self) -> String {
        let (cursor, end) = (self.position(&self.line[..self.cursor]), self.position(&self.line));
        let rows = end.row - cursor.row;
        if rows == 0 { "\n".to_owned() } else { format!("\x1b[{rows}B\n") }
    }

    /// Draws them again, as the editor has drawn them.
    fn again(&self) -> String {
        let (cursor, end) = (self.position(&self.line[..self.cursor]), self.position(&self.line));
        let mut text = format!("{}{}", self.prompt, self.line);
        // A terminal does not wrap before the next character.
        if end.column == 0 && end.row > 0 && !self.line.ends_with('\n') {
            text.push('\n');
        }
        let _ = write!(text, "{}\r", rows_up(end.row - cursor.row));
        if cursor.column > 0 {
            let _ = write!(text, "\x1b[{}C", cursor.column);
        }
        text
    }

    /// Where the cursor is after the prompt and `text`.
    fn position(&self, text: &str) -> Position {
        let (columns, width) = (self.columns.max(1), GraphemeClusterMode::from_env());
        let mut at = Position::default();
        let mut bytes = [0; 4];
        for char in self.prompt.chars().chain(text.chars()) {
            let wide = match char {
                '\n' => {
                    at = Position { row: at.row + 1, column: 0 };
                    continue;
                }
                '\t' => TAB_STOP - at.column % TAB_STOP,
                char => usize::from(width.width(char.encode_utf8(&mut bytes))),
            };
            at.column += wide;
            if at.column > columns {
                at = Position { row: at.row + 1, column: wide };
            }
        }
        if at.column == columns { Position { row: at.row + 1, column: 0 } } else { at }
    }
}

fn rows_up(rows: usize) -> String {
    if rows == 0 { String::new() } else { format!("\x1b[{rows}A") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(line: &str, cursor: usize) -> Draft {
        Draft { reading: true, columns: 10, prompt: PROMPT.into(), line: line.into(), cursor }
    }

    fn at(line: &str) -> (usize, usize) {
        let Position { row, column } = draft(line, 0).position(line);
        (row, column)
    }

    #[test]
    fn lines_wrap_as_the_terminal_wraps_them() {
        assert_eq!(at(""), (0, 2));
        assert_eq!(at("1234567"), (0, 9));
        assert_eq!(at("12345678"), (1, 0));
        assert_eq!(at("123456789"), (1, 1));
        assert_eq!(at(&"x".repeat(18)), (2, 0));
        assert_eq!(at("ab\nc"), (1, 1));
        assert_eq!(at("\tx"), (0, 9));
        // A wide character is not cut in half.
        assert_eq!(at("1234567漢"), (1, 2));
        assert_eq!(at("123456漢"), (1, 0));
        // A combining character takes no room.
        assert_eq!(at("e\u{301}"), (0, 3));
    }

    #[test]
    fn a_line_is_cleared_from_where_the_cursor_is() {
        assert_eq!(draft("abc", 1).clear(), "\r\x1b[J");
        assert_eq!(draft(&"x".repeat(30), 30).clear(), "\x1b[3A\r\x1b[J");
        assert_eq!(draft(&"x".repeat(30), 9).clear(), "\x1b[1A\r\x1b[J");
    }

    #[test]
    fn a_line_is_left_below_its_end() {
        assert_eq!(draft("abc", 1).below(), "\n");
        assert_eq!(draft(&"x".repeat(30), 30).below(), "\n");
        assert_eq!(draft(&"x".repeat(30), 9).below(), "\x1b[2B\n");
    }

    #[test]
    fn a_line_is_drawn_again_with_its_cursor() {
        assert_eq!(draft("abc", 1).again(), "> abc\r\x1b[3C");
        assert_eq!(draft("12345678", 8).again(), "> 12345678\n\r");
        assert_eq!(draft("123456789", 2).again(), "> 123456789\x1b[1A\r\x1b[4C");
    }
}
