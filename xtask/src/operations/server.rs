//! A program that runs beside the checks, for as long as its value lives; and `overlapped serve` as one.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;
use crate::bounded::Failure;

/// A child process whose lines are read. Killed when dropped.
pub(super) struct Running {
    name: String,
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub(super) fn start(name: &str, command: &mut Command) -> Result<Running, Failure> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("`{name}` does not start: {error}"))?;
        let (tell, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for stream in streams {
            let tell = tell.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    // Nobody may want it any more; the pipe is emptied all the same.
                    let _ = tell.send(line);
                }
            });
        }
        Ok(Running { name: name.to_owned(), child, lines })
    }

    /// The next line that `wanted` makes something of.
    pub(super) fn line<T>(&self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> Result<T, Failure> {
        let (deadline, mut others) = (Instant::now() + PATIENCE, Vec::new());
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match wanted(&line) {
                    Some(found) => return Ok(found),
                    None => others.push(line),
                },
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(format!(
                        "`{}` does not say {what}; it says: {}",
                        self.name,
                        others.join("\n")
                    ));
                }
            }
        }
    }

    /// What it has said and was not looked at.
    pub(super) fn said(&self) -> String {
        self.lines.try_iter().collect::<Vec<_>>().join("\n")
    }

    /// Ends its standard input.
    pub(super) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// SIGTERM.
    pub(super) fn terminate(&self) {
        // It may have ended by itself; who waits for it finds out.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    /// Waits for its end. Returns its status and the lines that were not looked at.
    pub(super) fn wait(mut self) -> Result<(Option<i32>, Vec<String>), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok((status.code(), self.lines.iter().collect())),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
                Ok(None) => return Err(format!("`{}` does not end", self.name)),
                Err(error) => return Err(format!("`{}`: {error}", self.name)),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `overlapped serve` with `--admin`.
pub(super) struct Server {
    pub(super) running: Running,
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
}

impl Server {
    pub(super) fn start(program: &Path, args: &[&str]) -> Result<Server, Failure> {
        let mut command = Command::new(program);
        Server::of(command.args(["serve", "--bind", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).args(args))
    }

    /// A command that becomes such a server.
    pub(super) fn of(command: &mut Command) -> Result<Server, Failure> {
        let running = Running::start("overlapped serve", command)?;
        let address = running.line("where it listens", |line| {
            line.strip_prefix("listening on ")?.split(' ').next()?.parse().ok()
        })?;
        let admin = running.line("where the admin server is", |line| {
            line.strip_prefix("admin on http://")?.strip_suffix('/')?.parse().ok()
        })?;
        Ok(Server { running, address, admin })
    }

    /// Ends it. Returns its last line.
    pub(super) fn end(self) -> Result<String, Failure> {
        self.running.terminate();
        let (status, lines) = self.running.wait()?;
        let last = lines.iter().rev().find(|line| line.starts_with("served ")).cloned();
        match (status, last) {
            (Some(0), Some(last)) => Ok(last),
            (status, _) => Err(format!("`overlapped serve` ended with {status:?}: {}", lines.join("\n"))),
        }
    }
}
