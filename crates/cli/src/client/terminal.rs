//! The client for a person: a prompt, and each echo with its round-trip time. `q` or Ctrl-D quits.
//!
//! Lines are edited in `editor`. A terminal that cannot move its cursor (`TERM=dumb`) gets a plain prompt, and the
//! system's own editing.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use super::Connection;
use super::echo::{Difference, PIECE, Sink, Unasked};
use super::editor::{Editor, TAKE_BACK, Typed};
use super::screen::Screen;
use crate::output::{Failure, fail, note, say, written};

pub(super) const PROMPT: &str = "> ";

pub(super) fn run(connection: &Arc<Connection>) -> Result<(), Failure> {
    let (screen, address) = (Screen::default(), connection.address.clone());
    let Some(mut editor) = Editor::new() else {
        connection.receive(Shown { screen, address, prompt: Prompt::Plain(Arc::clone(connection)) })?;
        return converse(connection, plain_line);
    };
    connection.receive(Shown { screen, address, prompt: Prompt::Editor(editor.messages()) })?;
    let result = converse(connection, || editor.line(&connection.echo));
    // The terminal as it was, before anything else is said.
    drop(editor);
    result
}

fn converse(
    connection: &Connection,
    mut line: impl FnMut() -> Result<Typed, Failure>,
) -> Result<(), Failure> {
    loop {
        let line = match line()? {
            Typed::Line(line) if line.trim_ascii() == b"q" => return Ok(()),
            Typed::Line(line) => line,
            Typed::End => return Ok(()),
            Typed::Gone => return Err(connection.gone()),
        };
        let sent_at = Instant::now();
        let mut sent = 0;
        for piece in line.chunks(PIECE) {
            let ends_line = sent + piece.len() == line.len();
            if !connection.exchange(piece, sent as u64, ends_line)? {
                return Ok(());
            }
            sent += piece.len();
        }
        let plural = if sent == 1 { "" } else { "s" };
        say(format_args!("  {sent} byte{plural} in {:.1} µs", sent_at.elapsed().as_nanos() as f64 / 1e3))?;
    }
}

/// A line as the system edits it, up to 4095 bytes on Linux.
fn plain_line() -> Result<Typed, Failure> {
    written("the prompt", prompt())?;
    let mut line = Vec::new();
    let read = io::stdin().lock().read_until(b'\n', &mut line);
    read.map_err(|error| Failure::failed(format_args!("cannot read the terminal: {error}; pipe the input")))?;
    if line.is_empty() {
        // The shell's prompt comes on a line of its own.
        say("")?;
        return Ok(Typed::End);
    }
    Ok(Typed::Line(line))
}

fn prompt() -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(PROMPT.as_bytes())?;
    output.flush()
}

/// The terminal, for echoes and for what happens while a person types.
struct Shown {
    screen: Screen,
    address: String,
    prompt: Prompt,
}

enum Prompt {
    /// Messages go above the line that is edited.
    Editor(SyncSender<String>),
    Plain(Arc<Connection>),
}

impl Shown {
    fn report(&mut self, what: &str) -> io::Result<()> {
        let ended = self.screen.end_line();
        note(format_args!("error: {what}; is {} an echo server?", self.address));
        ended
    }
}

impl Sink for Shown {
    const WAITS: bool = false;

    fn print(&mut self, bytes: &[u8], last: bool) -> io::Result<()> {
        self.screen.print(bytes)?;
        if last { self.screen.end_line() } else { Ok(()) }
    }

    fn differs(&mut self, difference: &Difference) {
        let _ = self.report(&difference.to_string());
    }

    fn unasked(&mut self, unasked: &Unasked<'_>, in_line: bool) -> io::Result<()> {
        let what = format!("the server has sent what it was not sent: {unasked}");
        match &self.prompt {
            _ if in_line => self.report(&what),
            // Full of other messages: the person has seen enough of them.
            Prompt::Editor(messages) => {
                let _ = messages.try_send(format!("error: {what}; is {} an echo server?\n", self.address));
                Ok(())
            }
            Prompt::Plain(_) => {
                io::stdout().lock().write_all(b"\n")?;
                self.report(&what)?;
                prompt()
            }
        }
    }

    /// Reports it at the prompt: a person would otherwise learn it with the next line only.
    fn ended(&mut self) {
        match &self.prompt {
            // The editor then finds that the stream has ended. Full: it is about to.
            Prompt::Editor(messages) => drop(messages.try_send(TAKE_BACK.to_owned())),
            // Nothing else ends a read from a terminal.
            Prompt::Plain(connection) => {
                if connection.echo.claim_end() {
                    let _ = say("");
                    fail(&connection.gone());
                    std::process::exit(1);
                }
            }
        }
    }
}
