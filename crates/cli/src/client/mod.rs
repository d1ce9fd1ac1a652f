//! `overlapped client`: a line out, its echo back.
//!
//! `echo` sends, receives and compares; it does not know where lines come from or where echoes go. Between files and
//! pipes that is `piped`; for a person `terminal`, with the line editor in `editor` and what it shows in `prompt`.

mod echo;
mod editor;
#[cfg(unix)]
mod ending;
mod mode;
mod piped;
mod prompt;
mod screen;
mod terminal;
mod visible;

use std::io::{self, IsTerminal};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use overlapped::Endpoint;
use proactor::{destination, refuse_itself};

use crate::args::ClientArgs;
use crate::failure::Failure;
use crate::output::{note, written};
use echo::{Echo, Missing, Sink, Trouble};

/// How long the server has to end its stream when we have ended ours.
const GOODBYE: Duration = Duration::from_millis(200);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &ClientArgs) -> Result<ExitCode, Failure> {
    let stream = connect(&args.address)?;
    let connection = Arc::new(Connection { stream, echo: Echo::new(), address: args.address.clone() });
    let result = match (io::stdin().is_terminal(), io::stdout().is_terminal()) {
        (true, true) => terminal::run(&connection),
        (typed, _) => piped::run(&connection, typed),
    };
    let left = connection.echo.leave(&connection.stream, GOODBYE);
    result?;
    written("the echo", left)?;
    Ok(if connection.echo.is_faithful() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn connect(address: &str) -> Result<TcpStream, Failure> {
    let candidates = candidates(address)?;
    let mut failures = Vec::new();
    for candidate in &candidates {
        match connect_to(candidate) {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) if candidates.len() == 1 => failures.push(error.to_string()),
            Err(error) => failures.push(format!("{}: {error}", candidate.ip())),
        }
    }
    let failures = failures.join(", ");
    let next = "is a server running there? start one with `overlapped serve`";
    Err(Failure::failed(format_args!("cannot connect to {address}: {failures}; {next}")))
}

/// The addresses to try, at least one, each once.
///
/// # Errors
/// If the name has none.
pub(crate) fn candidates(address: &str) -> Result<Vec<SocketAddr>, Failure> {
    let resolved = Endpoint::from(address).resolve().map_err(Failure::failed)?;
    let mut candidates = Vec::with_capacity(resolved.len());
    for address in resolved.into_iter().map(destination) {
        if !candidates.contains(&address) {
            candidates.push(address);
        }
    }
    Ok(candidates)
}

fn connect_to(address: &SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
    refuse_itself(stream.local_addr()?, stream.peer_addr()?)?;
    Ok(stream)
}

/// A server, and what is known of its echoes.
struct Connection {
    stream: TcpStream,
    echo: Echo,
    address: String,
}

impl Connection {
    /// Begins to receive, into `sink`. `edited`: beside a line editor, whose terminal must be put back before a signal ends
    /// or stops the process. Without one the threads take signals as those of any program do.
    ///
    /// # Errors
    /// If the system has no threads.
    fn receive(self: &Arc<Self>, edited: bool, mut sink: impl Sink + Send + 'static) -> Result<(), Failure> {
        let (receiving, watching) = (Arc::clone(self), Arc::clone(self));
        let receive = move || receiving.echo.receive(&receiving.stream, &mut sink);
        let watch = move || watching.echo.watch(warn);
        let started = spawn(edited, "receive", receive).and_then(|()| spawn(edited, "watch", watch));
        started.map_err(|error| {
            Failure::failed(format_args!("cannot start a thread to receive with: {error}; raise `ulimit -u`"))
        })
    }

    /// Sends a piece of a line, before which there are `offset` bytes, and waits for its echo. Returns false when
    /// nobody reads what is printed.
    ///
    /// # Errors
    /// If the server has gone, or the echo cannot be printed.
    fn exchange(&self, piece: &[u8], offset: u64, ends_line: bool) -> Result<bool, Failure> {
        match self.echo.exchange(&self.stream, piece, offset, ends_line) {
            Ok(()) => Ok(true),
            Err(Trouble::Gone) => Err(self.gone()),
            Err(Trouble::Unprinted(error)) => written("the echo", Err(error)).map(|()| false),
        }
    }

    fn gone(&self) -> Failure {
        Failure::failed(format_args!(
            "the server at {} has closed the connection; connect again, or ask it why (`serve -v`)",
            self.address
        ))
    }
}

/// On a line of its own, also if part of an echo stands on the terminal.
fn warn(missing: &Missing) {
    let own_line = if missing.is_partial() && io::stdout().is_terminal() { "\n" } else { "" };
    note(format_args!("{own_line}warning: {missing}"));
}

fn spawn(edited: bool, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    if edited {
        mode::spawn(name, run)
    } else {
        thread::Builder::new().name(name.into()).spawn(run).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows refuses to connect to them.
    #[test]
    fn unspecified_addresses_are_this_machine() {
        for (given, wanted) in [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80")] {
            let found = candidates(given).unwrap_or_else(|failure| panic!("{}", failure.line()));
            assert_eq!(found, [wanted.parse().unwrap()]);
        }
    }
}
