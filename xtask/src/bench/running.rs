//! A server that runs, on a port that it has chosen, until the value is dropped.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::placed;
use crate::bounded::Failure;

const START: Duration = Duration::from_secs(10);
/// From SIGTERM to its end; then it is killed.
const END: Duration = Duration::from_secs(3);

pub(super) struct Running {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Running {
    /// Starts a server on these processors and waits until it listens. What it says on standard error is in `errors`, and
    /// the last line of it in the failure.
    pub(super) fn start(command: &[String], processors: &[usize], errors: &Path) -> Result<Running, Failure> {
        let (program, words) = command.split_first().ok_or("there is no command")?;
        let file = File::create(errors).map_err(|error| format!("{}: {error}", errors.display()))?;
        let mut command = placed::command(program);
        command.args(words).stdout(Stdio::piped()).stderr(file);
        let mut child =
            placed::spawn(processors, &mut command).map_err(|error| format!("does not start: {error}"))?;
        let lines = first_line(child.stdout.take().expect("piped"));
        let mut running = Running { child, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        let line = lines.recv_timeout(START).unwrap_or_default();
        running.address = address_in(&line).ok_or_else(|| running.why_not_listening(&line, errors))?;
        Ok(running)
    }

    fn why_not_listening(&mut self, line: &str, errors: &Path) -> Failure {
        // Its standard output is closed as soon as it ends; its status takes a moment.
        let status = self.exit_within(Duration::from_millis(500));
        let last = last_line(errors);
        match (status, line.trim()) {
            (true, _) => format!("ended before it listened: {last}"),
            (false, "") => format!("did not say that it listens within {START:?}: {last}"),
            (false, line) => format!("says {line:?}, not where it listens"),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, and waits; returns how long that took. The sockets of a killed server would take processor time
    /// from what is measured next.
    pub(super) fn stop(mut self) -> Duration {
        let asked = Instant::now();
        if !self.has_ended() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            self.exit_within(END);
        }
        asked.elapsed()
    }

    fn exit_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.has_ended() {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends the first line, and reads on: a full pipe would hold the server up.
fn first_line(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let _ = stdout.read_line(&mut line);
        let _ = sender.send(line);
        let _ = std::io::copy(&mut stdout, &mut std::io::sink());
    });
    receiver
}

/// `listening on 127.0.0.1:9999 (io_uring, 1 worker)`
fn address_in(line: &str) -> Option<SocketAddr> {
    line.trim().strip_prefix("listening on ")?.split_whitespace().next()?.parse().ok()
}

/// Of what a program said.
pub(super) fn last_line(file: &Path) -> String {
    let mut text = String::new();
    let read = File::open(file).and_then(|mut file| file.read_to_string(&mut text));
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    match (read, last) {
        (Ok(_), Some(line)) => line.trim().chars().take(200).collect(),
        _ => "it says nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str, name: &str) -> Result<Running, Failure> {
        let command = ["sh", "-c", script].map(str::to_owned);
        let errors = std::env::temp_dir().join(format!("overlapped-bench-{}-{name}", std::process::id()));
        let started = Running::start(&command, &placed::allowed(), &errors);
        let _ = std::fs::remove_file(errors);
        started
    }

    #[test]
    fn a_server_is_started_and_ends_when_asked() {
        let script =
            "trap 'exit 0' TERM; echo 'listening on 127.0.0.1:7 (a, b)'; while :; do sleep 0.01; done";
        let mut running = start(script, "good").unwrap();
        assert_eq!(running.address, "127.0.0.1:7".parse().unwrap());
        assert!(!running.has_ended());
        assert!(running.stop() < END);
    }

    #[test]
    fn a_server_that_does_not_listen_is_reported() {
        let failure = |script, name| start(script, name).err().expect("it does not listen");
        let said = failure("echo first >&2; echo no such option >&2; exit 3", "ends");
        assert_eq!(said, "ended before it listened: no such option");
        let said = failure("echo hello; exec sleep 100", "speaks");
        assert_eq!(said, "says \"hello\", not where it listens");
        let missing = ["/no/such/program".to_owned()];
        let said =
            Running::start(&missing, &placed::allowed(), &std::env::temp_dir().join("x")).err().unwrap();
        assert!(said.contains("/no/such/program"), "{said}");
    }
}
