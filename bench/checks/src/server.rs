//! A peer as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::list::Peer;

/// Longer than any step takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Ended when dropped.
pub struct Server {
    process: Child,
    output: Option<BufReader<ChildStdout>>,
    port: u16,
}

impl Server {
    /// Starts it on a port that the system chooses, and returns when it accepts.
    ///
    /// # Panics
    ///
    /// It does not start, or does not say where it listens.
    #[must_use]
    pub fn start(program: &Path, peer: &Peer) -> Server {
        let mut command = Command::new(program);
        command.args(peer.arguments(0)).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let output = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        let mut server = Server { process, output: None, port: 0 };
        let (line, output) = in_time("says where it listens", move || {
            let (mut line, mut output) = (String::new(), output);
            output.read_line(&mut line).map(|_| (line, output))
        })
        .expect("its first line");
        let port = line.trim_end().strip_prefix("listening on 127.0.0.1:").map(str::parse);
        let Some(Ok(port)) = port else { panic!("{}: first line `{line}`", peer.name) };
        (server.output, server.port) = (Some(output), port);
        server
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// # Panics
    ///
    /// It has ended before, has printed anything else, or does not end.
    pub fn end_by_signal(mut self) {
        assert!(self.process.try_wait().expect("its status").is_none(), "the peer has ended by itself");
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("the signal");
        let mut output = self.output.take().expect("a server that has started");
        // Its output ends when it does.
        let rest = in_time("ends", move || {
            let mut rest = String::new();
            output.read_to_string(&mut rest).map(|_| rest)
        });
        assert_eq!(rest.expect("its output"), "", "the peer printed more than one line");
        self.process.wait().expect("its end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if it has ended: nothing is left to do then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs `step` on another thread, and panics if it takes too long.
fn in_time<T: Send + 'static>(what: &str, step: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(step()));
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("waiting until the peer {what}: {error}"))
}
