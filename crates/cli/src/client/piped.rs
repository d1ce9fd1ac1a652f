//! The client between files and pipes: each line is sent with its newline, its whole echo awaited and printed as it
//! came.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::Arc;

use super::Connection;
use super::echo::{Difference, PIECE, Sink, Unasked};
use super::screen::Screen;
use crate::failure::Failure;
use crate::output::note;

/// Sends stdin line by line, to its end. If it is `typed`, a line of `q` ends it too: then stdout is the file or pipe.
pub(super) fn run(connection: &Arc<Connection>, typed: bool) -> Result<(), Failure> {
    let screen = io::stdout().is_terminal().then(Screen::default);
    connection.receive(false, Output { screen, address: connection.address.clone(), reported: false })?;
    let mut input = io::stdin().lock();
    let (mut piece, mut offset) = (Vec::new(), 0);
    loop {
        piece.clear();
        let read = (&mut input).take(PIECE as u64).read_until(b'\n', &mut piece);
        read.map_err(|error| {
            Failure::failed(format_args!("cannot read the input: {error}; give it a file or a pipe"))
        })?;
        if piece.is_empty() || (typed && piece.trim_ascii() == b"q") {
            return Ok(());
        }
        if !connection.exchange(&piece, offset, true)? {
            return Ok(());
        }
        offset += piece.len() as u64;
    }
}

/// stdout: as it came, except to a terminal.
struct Output {
    screen: Option<Screen>,
    address: String,
    /// A difference was reported. After a byte too many or too few, all that follows differs.
    reported: bool,
}

impl Output {
    fn report(&mut self, what: &str) {
        if !std::mem::replace(&mut self.reported, true) {
            if let Some(screen) = &mut self.screen {
                let _ = screen.end_line();
            }
            let address = &self.address;
            note(format_args!(
                "error: {what}; is {address} an echo server? (only the first difference is reported)"
            ));
        }
    }
}

impl Sink for Output {
    const WAITS: bool = true;

    fn print(&mut self, bytes: &[u8], _last: bool) -> io::Result<()> {
        if let Some(screen) = &mut self.screen {
            return screen.print(bytes);
        }
        let mut output = io::stdout().lock();
        output.write_all(bytes).and_then(|()| output.flush())
    }

    fn differs(&mut self, difference: &Difference) {
        self.report(&difference.to_string());
    }

    /// After the last line: what was sent is over.
    fn unasked(&mut self, unasked: &Unasked<'_>, in_line: bool) -> io::Result<()> {
        let printed = self.print(unasked.bytes, !in_line);
        self.report(&format!("after all {} bytes that were sent came {unasked}", unasked.after));
        printed
    }
}
