//! The client for a person: a prompt, and each echo with its round-trip time. `q` or Ctrl-D quits.
//!
//! Lines are edited in `editor`. A terminal that cannot move its cursor (`TERM=dumb`) gets a plain prompt, and the
//! system's own editing.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use super::Connection;
use super::echo::{Difference, PIECE, Sink, Unasked};
use super::editor::Editor;
use super::prompt::{PROMPT, Prompt};
use super::screen::Screen;
use crate::failure::Failure;
use crate::output::{note, say, written};
use crate::units::count;

pub(super) fn run(connection: &Arc<Connection>) -> Result<(), Failure> {
    let mut editor = Editor::new()?;
    let prompt = editor.as_ref().map_or_else(|| Arc::new(Prompt::new(None)), Editor::prompt);
    let shown =
        Shown { screen: Screen::default(), connection: Arc::clone(connection), prompt: Arc::clone(&prompt) };
    connection.receive(editor.is_some(), shown)?;
    loop {
        prompt.begin();
        // From here on the receiving thread reports it.
        if connection.echo.has_ended() {
            prompt.end();
            return Err(connection.gone());
        }
        let line = editor.as_mut().map_or_else(plain_line, Editor::line);
        prompt.end();
        match line? {
            Some(line) if line.trim_ascii() != b"q" => {
                if !exchange(connection, &line)? {
                    return Ok(());
                }
            }
            _ => return Ok(()),
        }
    }
}

/// Sends a line and says how long its echo took. Returns false when nobody reads that.
fn exchange(connection: &Connection, line: &[u8]) -> Result<bool, Failure> {
    let sent_at = Instant::now();
    let mut sent = 0;
    for piece in line.chunks(PIECE) {
        let ends_line = sent + piece.len() == line.len();
        if !connection.exchange(piece, sent as u64, ends_line)? {
            return Ok(false);
        }
        sent += piece.len();
    }
    let (bytes, took_us) = (count(sent as u64, "byte"), sent_at.elapsed().as_nanos() as f64 / 1e3);
    say(format_args!("  {bytes} in {took_us:.1} µs"))?;
    Ok(true)
}

/// A line as the system edits it, up to 4095 bytes on Linux. `None` at Ctrl-D.
fn plain_line() -> Result<Option<Vec<u8>>, Failure> {
    let mut output = io::stdout().lock();
    written("the prompt", output.write_all(PROMPT.as_bytes()).and_then(|()| output.flush()))?;
    drop(output);
    let mut line = Vec::new();
    let read = io::stdin().lock().read_until(b'\n', &mut line);
    read.map_err(|error| Failure::failed(format_args!("cannot read the terminal: {error}; pipe the input")))?;
    if line.is_empty() {
        // The shell's prompt comes on a line of its own.
        say("")?;
        return Ok(None);
    }
    Ok(Some(line))
}

/// The terminal, for echoes and for what happens while a person types.
struct Shown {
    screen: Screen,
    connection: Arc<Connection>,
    prompt: Arc<Prompt>,
}

impl Sink for Shown {
    const WAITS: bool = false;

    fn print(&mut self, bytes: &[u8], last: bool) -> io::Result<()> {
        self.screen.print(bytes)?;
        if last { self.screen.end_line() } else { Ok(()) }
    }

    fn differs(&mut self, difference: &Difference) {
        let _ = self.screen.end_line();
        note(format_args!("error: {difference}; is {} an echo server?", self.connection.address));
    }

    fn unasked(&mut self, unasked: &Unasked<'_>, _in_line: bool) -> io::Result<()> {
        self.prompt.report(format_args!(
            "error: the server has sent bytes that are no echo: {unasked}; is {} an echo server?",
            self.connection.address
        ));
        Ok(())
    }

    /// Reported at the prompt: a person would otherwise learn it with the next line only.
    fn ended(&mut self) {
        self.prompt.give_up(&self.connection.gone());
    }
}
