//! `overlapped client`: a line out, its echo back.
//!
//! A thread receives all the time, so a long line cannot block against its own echo, and a server that goes away
//! is noticed at once, also while a person thinks.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::args::ClientArgs;
use crate::output::{Failure, fail};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &ClientArgs) -> Result<ExitCode, Failure> {
    let stream = connect(&args.address)?;
    let interactive = io::stdin().is_terminal();
    let leaving = Arc::new(AtomicBool::new(false));
    let (chunks, echo) = sync_channel(64);
    let receiving = stream.try_clone().map_err(Failure::failed)?;
    let watched = Watch { address: args.address.clone(), leaving: Arc::clone(&leaving), interactive };
    thread::spawn(move || watched.receive(receiving, &chunks));
    let result = exchange(&stream, &echo, interactive, &args.address);
    leaving.store(true, Ordering::Release);
    let _ = stream.shutdown(Shutdown::Write);
    result.map(|()| ExitCode::SUCCESS)
}

fn connect(address: &str) -> Result<TcpStream, Failure> {
    let resolved = address.to_socket_addrs().map_err(|error| {
        Failure::failed(format_args!("cannot resolve {address}: {error}; give it as HOST:PORT"))
    })?;
    let mut last = io::Error::other("it resolves to no address");
    for candidate in resolved {
        match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    let next = "is a server running there? start one with `overlapped serve`";
    Err(Failure::failed(format_args!("cannot connect to {address}: {last}; {next}")))
}

fn gone(address: &str) -> Failure {
    Failure::failed(format_args!(
        "the server at {address} has closed the connection; start it again and reconnect"
    ))
}

/// The receiving thread's view.
struct Watch {
    address: String,
    leaving: Arc<AtomicBool>,
    interactive: bool,
}

impl Watch {
    fn receive(self, mut stream: TcpStream, chunks: &SyncSender<Vec<u8>>) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) if chunks.send(buffer[..len].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // A person at the prompt would otherwise learn it only with the next line. With a pipe, the other thread
        // still prints what has arrived, and then finds the channel closed.
        if self.interactive && !self.leaving.load(Ordering::Acquire) {
            println!();
            fail(&gone(&self.address));
            std::process::exit(1);
        }
    }
}

fn exchange(
    mut stream: &TcpStream,
    echo: &Receiver<Vec<u8>>,
    interactive: bool,
    address: &str,
) -> Result<(), Failure> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let mut line = Vec::new();
    loop {
        if interactive && prompt(&mut output).is_err() {
            return Ok(());
        }
        line.clear();
        let read = input.read_until(b'\n', &mut line);
        read.map_err(|error| Failure::failed(format_args!("cannot read the input: {error}")))?;
        if line.is_empty() || (interactive && line.trim_ascii() == b"q") {
            return Ok(());
        }
        let sent_at = Instant::now();
        // What came back before the break is still printed below.
        let broken = stream.write_all(&line).is_err();
        let mut left = line.len();
        while left > 0 {
            let Ok(chunk) = echo.recv() else {
                let _ = output.flush();
                return Err(gone(address));
            };
            let count = chunk.len().min(left);
            left -= count;
            if output.write_all(&chunk[..count]).is_err() {
                return Ok(()); // nobody reads what we print
            }
        }
        if broken {
            return Err(gone(address));
        }
        if interactive {
            let took = sent_at.elapsed();
            let _ = writeln!(output, "  {} bytes in {:.1} µs", line.len(), took.as_nanos() as f64 / 1e3);
        }
        if output.flush().is_err() {
            return Ok(());
        }
    }
}

fn prompt(output: &mut impl Write) -> io::Result<()> {
    output.write_all(b"> ")?;
    output.flush()
}
