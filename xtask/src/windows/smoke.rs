//! The real program, from end to end: a Windows server echoes what Linux clients send, and drains when it is
//! asked to end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::wine::Wine;
use crate::bounded::{self, Failure};

const CLIENTS: u64 = 8;
/// Bytes of each client, give or take a few.
const BYTES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(wine: &Wine, server: &Path) -> Result<(), Failure> {
    let mut command = wine.program(server);
    command.args(["serve", "--bind", "127.0.0.1:0", "--workers", "2"]).stdout(Stdio::piped());
    let mut server = Server::start(&mut command)?;
    let address = server.address()?;
    let clients: Vec<_> = (1..=CLIENTS).map(|seed| thread::spawn(move || client(address, seed))).collect();
    let mut total = 0;
    for client in clients {
        total += client.join().map_err(|_| "a client panicked")??;
    }
    server.end()?;
    let said = server.line("what it served")?;
    let wanted = format!("served {CLIENTS} sessions");
    if !said.starts_with(&wanted)
        || !said.contains(&format!("({total} bytes)"))
        || !said.contains("lost 0 bytes")
    {
        return Err(format!("the server says \"{said}\", not \"{wanted} … ({total} bytes) … lost 0 bytes\""));
    }
    println!("{said}");
    Ok(())
}

struct Server {
    child: Child,
    lines: Receiver<String>,
}

impl Server {
    fn start(command: &mut Command) -> Result<Server, Failure> {
        let mut child = command.spawn().map_err(|error| format!("the server does not start: {error}"))?;
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || out.lines().map_while(Result::ok).all(|line| tell.send(line).is_ok()));
        Ok(Server { child, lines })
    }

    fn line(&self, what: &str) -> Result<String, Failure> {
        let line = self.lines.recv_timeout(PATIENCE);
        line.map_err(|_| format!("the server did not say {what} within {} s", PATIENCE.as_secs()))
    }

    fn address(&self) -> Result<SocketAddr, Failure> {
        let line = self.line("where it listens")?;
        let word = line.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next());
        let address = word.and_then(|word| word.parse().ok()).filter(|_| line.contains("(iocp, 2 workers)"));
        address.ok_or_else(|| format!("not where an IOCP server listens: \"{line}\""))
    }

    /// Asks it to end as Ctrl-C does, which Wine makes of this signal, and waits until it has.
    fn end(&mut self) -> Result<(), Failure> {
        let pid = self.child.id().to_string();
        bounded::run(Command::new("kill").args(["-INT", &pid]), PATIENCE)?;
        let status = bounded::wait(&mut self.child, PATIENCE);
        let status = status.ok_or("the server hung: it did not end when it was asked to")?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}")) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends pieces of all sizes, half-closes, and checks that every byte comes back, and then the end.
fn client(address: SocketAddr, seed: u64) -> Result<usize, Failure> {
    let failed = |error: std::io::Error| format!("client {seed}: {error}");
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut reader = stream.try_clone().map_err(failed)?;
    let writer = thread::spawn(move || send(&stream, seed));
    let mut echoed = Vec::with_capacity(BYTES);
    reader.read_to_end(&mut echoed).map_err(failed)?;
    let sent = writer.join().map_err(|_| "a client panicked")?.map_err(failed)?;
    match echoed.iter().zip(&sent).position(|(got, wanted)| got != wanted) {
        None if echoed.len() == sent.len() => Ok(sent.len()),
        at => Err(format!(
            "client {seed}: {} bytes came back for {}, the first wrong one at {at:?}",
            echoed.len(),
            sent.len()
        )),
    }
}

fn send(mut stream: &TcpStream, seed: u64) -> std::io::Result<Vec<u8>> {
    let mut state = seed;
    let mut sent = Vec::with_capacity(BYTES);
    while sent.len() < BYTES {
        // From single bytes to several blocks at once.
        let len = 1 + (random(&mut state) as usize) % (1 << (random(&mut state) % 17));
        let start = sent.len();
        sent.extend((0..len).map(|_| random(&mut state) as u8));
        stream.write_all(&sent[start..])?;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(sent)
}

/// `SplitMix64`: the same bytes in every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
