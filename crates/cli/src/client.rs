//! `overlapped client`: a line out, its echo back.
//!
//! A thread receives and prints all the time, so a line of any length cannot block against its own echo, and a
//! server that goes away is noticed at once, also while a person thinks.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use overlapped::{AlignedBuf, Endpoint};

use crate::args::ClientArgs;
use crate::output::{Failure, fail, reader_gone, say};

/// How long the server has to end its stream when we have ended ours.
const GOODBYE: Duration = Duration::from_millis(200);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &ClientArgs) -> Result<ExitCode, Failure> {
    let stream = connect(&args.address)?;
    let interactive = io::stdin().is_terminal();
    let echo = Arc::new(Echo::default());
    let receiving = stream.try_clone().map_err(Failure::failed)?;
    let (printed, address) = (Arc::clone(&echo), args.address.clone());
    let receiver = thread::spawn(move || {
        printed.receive(receiving);
        // A person at the prompt would otherwise learn it only with the next line.
        if interactive && !printed.lock().leaving {
            say("");
            fail(&gone(&address));
            std::process::exit(1);
        }
    });
    let result = exchange(&stream, &echo, interactive, &args.address);
    echo.lock().leaving = true;
    let _ = stream.shutdown(Shutdown::Write);
    // A server in order ends its stream in return. One that does not is not waited for.
    let state = echo.lock();
    let (ended, _) = echo
        .changed
        .wait_timeout_while(state, GOODBYE, |state| !state.ended)
        .unwrap_or_else(PoisonError::into_inner);
    if ended.ended {
        drop(ended);
        let _ = receiver.join();
    }
    result.map(|()| ExitCode::SUCCESS)
}

fn connect(address: &str) -> Result<TcpStream, Failure> {
    let resolved = Endpoint::from(address).resolve().map_err(Failure::failed)?;
    let mut failures = Vec::new();
    for candidate in &resolved {
        match TcpStream::connect_timeout(candidate, CONNECT_TIMEOUT) {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) if resolved.len() == 1 => failures.push(error.to_string()),
            Err(error) => failures.push(format!("{}: {error}", candidate.ip())),
        }
    }
    let failures = failures.join(", ");
    let next = "is a server running there? start one with `overlapped serve`";
    Err(Failure::failed(format_args!("cannot connect to {address}: {failures}; {next}")))
}

fn gone(address: &str) -> Failure {
    Failure::failed(format_args!(
        "the server at {address} has closed the connection; connect again, or ask it why (`serve -v`)"
    ))
}

/// What the thread that sends and the one that receives know of each other.
#[derive(Default)]
struct Echo {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes of the line at hand that have not come back yet.
    left: usize,
    /// The server sends no more.
    ended: bool,
    /// What printing failed with.
    unprinted: Option<io::Error>,
    /// This end is done.
    leaving: bool,
}

impl Echo {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_while(self.lock(), |state| condition(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives and prints until the stream ends. What nobody sent for waits: a server cannot fill our memory.
    fn receive(&self, mut stream: TcpStream) {
        let mut buffer = AlignedBuf::zeroed(64 * 1024);
        loop {
            let mut rest = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => &buffer[..len],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            while !rest.is_empty() {
                let left = self.wait_while(|state| state.left == 0).left;
                let (now, later) = rest.split_at(left.min(rest.len()));
                rest = later;
                let mut output = io::stdout().lock();
                let printed = output.write_all(now).and_then(|()| output.flush());
                drop(output);
                let mut state = self.lock();
                state.left -= now.len();
                state.unprinted = state.unprinted.take().or(printed.err());
                self.changed.notify_all();
            }
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }
}

fn exchange(mut stream: &TcpStream, echo: &Echo, interactive: bool, address: &str) -> Result<(), Failure> {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        if interactive && prompt().is_err() {
            return Ok(());
        }
        line.clear();
        let read = input.read_until(b'\n', &mut line);
        read.map_err(|error| Failure::failed(format_args!("cannot read the input: {error}")))?;
        if line.is_empty() || (interactive && line.trim_ascii() == b"q") {
            return Ok(());
        }
        let sent_at = Instant::now();
        echo.lock().left = line.len();
        echo.changed.notify_all();
        // A server that is gone is told by the other thread, which first prints what came back.
        let _ = stream.write_all(&line);
        let mut state = echo.wait_while(|state| state.left > 0 && !state.ended && state.unprinted.is_none());
        match state.unprinted.take() {
            None => {}
            // A reader that has gone away is no error.
            Some(error) if reader_gone(&error) => return Ok(()),
            Some(error) => return Err(Failure::failed(format_args!("cannot print the echo: {error}"))),
        }
        if state.left > 0 {
            return Err(gone(address));
        }
        drop(state);
        if interactive {
            let (took, count) = (sent_at.elapsed(), line.len());
            let plural = if count == 1 { "" } else { "s" };
            say(format_args!("  {count} byte{plural} in {:.1} µs", took.as_nanos() as f64 / 1e3));
        }
    }
}

fn prompt() -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(b"> ")?;
    output.flush()
}
