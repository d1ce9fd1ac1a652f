//! An example of the crate under test, run as a program.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::{PATIENCE, dial, exit_of, spawned};

/// A server that is an example: it takes the address to listen on as its first argument, and prints
/// `listening on ADDRESS`. Killed when dropped.
pub struct Example {
    child: Child,
    address: SocketAddr,
    /// What it prints after the first line, when its stdout ends.
    rest: Mutex<Receiver<String>>,
}

impl Example {
    /// The program of an example. `cargo test` builds examples beside the tests.
    ///
    /// # Panics
    /// If this is no test that cargo built.
    #[must_use]
    pub fn command(name: &str) -> Command {
        let test = std::env::current_exe().expect("a test has a path");
        let built =
            test.parent().and_then(std::path::Path::parent).expect("a test lies in a folder of the build");
        Command::new(built.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
    }

    /// Starts an example on a free port, with more arguments after the address, and waits until it listens.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`].
    #[must_use]
    #[track_caller]
    pub fn start(name: &str, more: &[&str]) -> Example {
        let mut command = Example::command(name);
        command.arg("127.0.0.1:0").args(more).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawned(&mut command)
            .unwrap_or_else(|error| panic!("{command:?}: {error}; build it first: cargo build --examples"));
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (tell, told) = channel();
        let (end, rest) = channel();
        // From a thread, which also reads the rest, so that the example is never held up by a full pipe.
        thread::spawn(move || {
            let mut line = String::new();
            let read = stdout.read_line(&mut line);
            let _ = tell.send(read.map(|_| line));
            let mut rest = String::new();
            let _ = stdout.read_to_string(&mut rest);
            let _ = end.send(rest);
        });
        // Ended with the test, also if it does not listen.
        let mut example =
            Example { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), rest: Mutex::new(rest) };
        let line = told.recv_timeout(PATIENCE).expect("it says that it listens").expect("text");
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        example.address = address.unwrap_or_else(|| panic!("{name} says {line:?}"));
        example
    }

    /// The number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection to it.
    ///
    /// # Panics
    /// If it does not listen any more.
    #[must_use]
    #[track_caller]
    pub fn dial(&self) -> TcpStream {
        dial(self.address)
    }

    /// Its stdin.
    ///
    /// # Panics
    /// If it was taken before.
    #[must_use]
    #[track_caller]
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("taken once")
    }

    /// What it printed after the first line, once it has closed its stdout.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`], or if this was asked before.
    #[must_use]
    #[track_caller]
    pub fn rest_of_stdout(&mut self) -> String {
        self.rest.get_mut().expect("nobody panics with it").recv_timeout(PATIENCE).expect("its stdout ends")
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`].
    #[must_use]
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        exit_of(&mut self.child, PATIENCE)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
