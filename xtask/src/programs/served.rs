//! An example that serves, for as long as its value lives.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::bounded::Failure;
use crate::place;

const START: Duration = Duration::from_secs(20);

pub(super) struct Served {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Served {
    /// Starts an example on a free port of loopback, and waits until it listens.
    pub(super) fn start(example: &str, backend: &str) -> Result<Served, Failure> {
        let program = place::target("debug").join("examples").join(example);
        let mut command = Command::new(program);
        command.args(["127.0.0.1:0", backend]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("`{example}` does not start: {error}"))?;
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (tell, told) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = tell.send(line);
            // A full pipe would hold the example up.
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        let line = told.recv_timeout(START).unwrap_or_default();
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let served = Served { child, address: address.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0))) };
        address.map(|_| served).ok_or_else(|| format!("`{example}` says {line:?}, not where it listens"))
    }

    /// Its port, as programs take it.
    pub(super) fn port(&self) -> String {
        self.address.port().to_string()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
