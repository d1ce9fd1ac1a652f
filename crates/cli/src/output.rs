//! What goes to stdout and stderr, written at once. A reader that has gone away is no error; any other write error is,
//! a full disk for one. A server or a measurement that runs prints through `log` instead, which does not wait for a reader.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::error::ErrorKind;
use serde::Serialize;

use crate::args;
use crate::failure::Failure;

/// Whether a write failed because nobody reads the stream any more: that is the reader's choice, and no error.
pub(crate) fn reader_gone(error: &io::Error) -> bool {
    // The reader has disconnected its end of a pipe: Rust has no kind for it, as it has for the other two that
    // Windows knows (`ERROR_BROKEN_PIPE`, `ERROR_NO_DATA`).
    const ERROR_PIPE_NOT_CONNECTED: i32 = 233;
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
        || (cfg!(windows) && error.raw_os_error() == Some(ERROR_PIPE_NOT_CONNECTED))
}

/// A line on stdout, at once: a reader waits for it.
///
/// # Errors
/// As [`written`].
pub(crate) fn say(line: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written("the output", writeln!(out, "{line}").and_then(|()| out.flush()))
}

/// Bytes on stdout, as they are.
///
/// # Errors
/// As [`written`].
pub(crate) fn say_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written("the output", out.write_all(bytes).and_then(|()| out.flush()))
}

/// A report as one JSON value on stdout, indented.
///
/// # Errors
/// As [`written`].
pub(crate) fn say_json(report: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report);
    say(text.map_err(|error| Failure::failed(format_args!("cannot write this as JSON: {error}")))?)
}

/// What came of writing `what` to stdout.
///
/// # Errors
/// Whatever the write failed with, except that its reader has gone.
pub(crate) fn written(what: &str, result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if !reader_gone(&error) => {
            let next = remedy(&error);
            Err(Failure::failed(format_args!("cannot write {what} to stdout: {error}; {next}")))
        }
        _ => Ok(()),
    }
}

/// What a user can do about a failed write.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "make room on the disk (`df` shows it), or write elsewhere",
        io::ErrorKind::QuotaExceeded => "make room within the quota, or write elsewhere",
        io::ErrorKind::FileTooLarge => "raise the limit (`ulimit -f`), or write elsewhere",
        io::ErrorKind::NotFound => "create the directory first, or write elsewhere",
        io::ErrorKind::IsADirectory => "name a file in it",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a place where this user may write"
        }
        _ => "write elsewhere",
    }
}

/// Takes the lines of [`note`] in place of stderr.
static NOTES: OnceLock<Box<TakeNote>> = OnceLock::new();

type TakeNote = dyn Fn(&str) + Send + Sync;

/// From now on `take` is given what is noted, without the end of the line: once in a process, by a command whose work must
/// not wait for the reader of stderr.
pub(crate) fn give_notes_to(take: impl Fn(&str) + Send + Sync + 'static) {
    let _ = NOTES.set(Box::new(take));
}

/// A line on stderr, in one piece: others may write to the same file.
pub(crate) fn note(line: impl Display) {
    match NOTES.get() {
        Some(take) => take(&line.to_string()),
        None => {
            let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
        }
    }
}

pub(crate) fn fail(failure: &Failure) -> ExitCode {
    note(failure.line());
    ExitCode::from(failure.status())
}

/// Help and version as they are; an error in one line.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let printed = error.print().and_then(|()| io::stdout().flush());
            written("the output", printed).map_or_else(|failure| fail(&failure), |()| ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(2)
        }
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or("wrong usage").trim_start_matches("error: ");
            fail(&Failure::usage(format_args!("{first}{}", args::tip(error))))
        }
    }
}

/// Text after a first column; what does not fit goes under its beginning.
pub(crate) fn wrapped(out: &mut String, first: &str, text: &str, width: usize) {
    let indent = first.chars().count();
    let mut column = indent;
    out.push_str(first);
    for (index, word) in text.split(' ').enumerate() {
        let len = word.chars().count();
        if index > 0 && column + 1 + len > width {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += len;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_goes_on_under_its_beginning() {
        let mut out = String::new();
        wrapped(&mut out, "ab  ", &["word"; 20].join(" "), 80);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("ab  word") && lines[0].len() <= 80);
        assert!(lines[1].starts_with("    word"));
        assert_eq!(out.split_whitespace().count(), 21);
    }
}
