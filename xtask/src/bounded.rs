//! Programs that are given so much time and no more: a hang ends with a report of what is in flight.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::hang;

/// Why a chore failed, for its reader.
pub(crate) type Failure = String;

/// Runs a program to its end, and says so if that is not success.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<(), Failure> {
    let status = status_of(command, limit)?;
    judge(command, status)
}

/// Success, or what is to be said instead.
pub(crate) fn judge(command: &Command, status: ExitStatus) -> Result<(), Failure> {
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", name_of(command))) }
}

/// Runs a program to its end, whatever that is.
pub(crate) fn status_of(command: &mut Command, limit: Duration) -> Result<ExitStatus, Failure> {
    let name = name_of(command);
    let mut child = command.spawn().map_err(|error| format!("`{name}` does not start: {error}"))?;
    wait(&mut child, limit, prefix_of(command)).map_err(|report| hung(&name, limit, &report))
}

/// For a program that is only asked something.
#[cfg(unix)]
pub(crate) const PROGRAM: Duration = Duration::from_secs(120);

/// What such a program prints, if it succeeds.
#[cfg(unix)]
pub(crate) fn output_of(command: &mut Command) -> Result<String, Failure> {
    let (lines, _) = lines_of(command, PROGRAM, |_| false)?;
    Ok(lines.join("\n"))
}

/// Runs a program to its end and returns the lines that it printed; those of its standard error that `noted`
/// chooses come second, and all of its standard error is shown as it appears.
pub(crate) fn lines_of(
    command: &mut Command,
    limit: Duration,
    noted: fn(&str) -> bool,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let name = name_of(command);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("`{name}` does not start: {error}"))?;
    let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let out = thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).collect::<Vec<_>>());
    let err = thread::spawn(move || {
        let lines = BufReader::new(err).lines().map_while(Result::ok);
        lines.inspect(|line| eprintln!("{line}")).filter(|line| noted(line)).collect::<Vec<_>>()
    });
    let status = wait(&mut child, limit, prefix_of(command)).map_err(|report| hung(&name, limit, &report))?;
    let told = (out.join().expect("reading does not panic"), err.join().expect("reading does not panic"));
    judge(command, status).map(|()| told)
}

/// Waits for the end of a program. When its time is over, ends it, with a report of what it was doing.
fn wait(child: &mut Child, limit: Duration, prefix: Option<&OsStr>) -> Result<ExitStatus, String> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => thread::sleep(Duration::from_millis(20)),
            Err(_) => break,
        }
    }
    let report = hang::report(child.id(), prefix);
    let _ = child.kill();
    let _ = child.wait();
    Err(report)
}

/// The Wine that a command runs in, if it does.
fn prefix_of(command: &Command) -> Option<&OsStr> {
    command.get_envs().find(|(name, _)| *name == "WINEPREFIX").and_then(|(_, prefix)| prefix)
}

fn hung(name: &str, limit: Duration, report: &str) -> Failure {
    format!("`{name}` hung: it was not over after {limit:?} and was ended. In flight then:\n{report}")
}

/// The command as one would type it, without the directories of a program's own path.
fn name_of(command: &Command) -> String {
    let file = |text: &std::ffi::OsStr| {
        let text = text.to_string_lossy();
        text.rsplit('/').next().unwrap_or_default().to_owned()
    };
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(file).collect::<Vec<_>>().join(" ")
}
