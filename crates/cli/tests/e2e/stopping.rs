//! A server that does not run for longer than its deadlines: Ctrl-Z and `fg`, a debugger, `docker pause`, a suspended
//! host. What arrived meanwhile counts, whatever a clock says.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::peer::{assert_same, dial, dial_narrow, eventually, exchange, fill, noise, read_to_end};
use crate::server::Server;

/// The deadline, and how long the server is stopped: long enough before the one that a busy machine stops it in time,
/// and longer than it.
const DEADLINE: &str = "2s";
const STOPPED: Duration = Duration::from_millis(2_600);

fn signal(server: &Server, signal: Signal) {
    let pid = Pid::from_raw(server.pid().cast_signed()).expect("no process has the number 0");
    kill_process(pid, signal).expect("the server is there");
}

/// Stops the server, does `meanwhile`, and lets it go on after its deadline has passed.
fn stopped(server: &Server, meanwhile: impl FnOnce()) {
    signal(server, Signal::STOP);
    meanwhile();
    // What is tested is time that passes.
    thread::sleep(STOPPED);
    signal(server, Signal::CONT);
}

/// More sessions than a list of events holds and than there are blocks; each has spoken while the server was stopped.
pub(crate) fn speakers_are_not_idle(backend: &str) {
    const SESSIONS: usize = 1_300;
    let server = Server::start(backend, &["--workers", "1", "--idle-timeout", DEADLINE]);
    let mut clients: Vec<TcpStream> = (0..SESSIONS).map(|_| dial(server.address())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        exchange(client, noise(number, 10));
    }
    stopped(&server, || {
        for (number, client) in clients.iter_mut().enumerate() {
            client.write_all(noise(number, 100)).unwrap();
        }
    });
    for (number, client) in clients.iter_mut().enumerate() {
        let mut echo = [0; 100];
        client.read_exact(&mut echo).unwrap_or_else(|error| panic!("client {number} is closed: {error}"));
        assert_same(&echo, noise(number, 100), "the echo");
    }
    // Silence is noticed all the same.
    for client in &mut clients {
        assert_same(&read_to_end(client), b"", "the end of the stream");
    }
    server.end_well();
}

/// Clients that were accepted and have sent their first bytes while the server was stopped.
pub(crate) fn first_bytes_are_in_time(backend: &str) {
    const SESSIONS: usize = 300;
    let server = Server::start(backend, &["--workers", "1", "--first-byte-timeout", DEADLINE]);
    let mut clients: Vec<TcpStream> = (0..SESSIONS).map(|_| dial(server.address())).collect();
    eventually("all are accepted", || server.now().sessions == SESSIONS as u64);
    stopped(&server, || {
        for (number, client) in clients.iter_mut().enumerate() {
            client.write_all(noise(number, 20_000)).unwrap();
        }
    });
    for (number, client) in clients.iter_mut().enumerate() {
        let mut echo = vec![0; 20_000];
        client.read_exact(&mut echo).unwrap_or_else(|error| panic!("client {number} is closed: {error}"));
        assert_same(&echo, noise(number, 20_000), "the echo");
    }
    drop(clients);
    server.end_well();
}

/// A client that has read what the kernels held while the server was stopped.
pub(crate) fn readers_are_not_stalled(backend: &str) {
    const BYTES: usize = 4 << 20;
    let server = Server::start(backend, &["--workers", "1", "--write-timeout", DEADLINE]);
    let mut client = dial_narrow(server.address());
    client.set_nonblocking(true).unwrap();
    let (bytes, mut echo) = (noise(0, BYTES), Vec::new());
    // Until nothing moves any more: the server's send waits for this client to read.
    let mut sent = 0;
    let mut quiet = 0;
    while quiet < 20 {
        let taken = fill(&client, &bytes[sent..]);
        sent += taken;
        quiet = if taken > 0 { 0 } else { quiet + 1 };
        thread::sleep(Duration::from_millis(2));
    }
    let take = |client: &mut TcpStream, all: &mut Vec<u8>| {
        let mut piece = [0; 64 * 1024];
        match client.read(&mut piece) {
            Ok(0) => panic!("an end of stream after {} bytes", all.len()),
            Ok(len) => all.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("cut after {} bytes: {error}", all.len()),
        }
    };
    stopped(&server, || {
        for _ in 0..200 {
            take(&mut client, &mut echo);
        }
    });
    eventually("all of it is echoed", || {
        sent += fill(&client, &bytes[sent..]);
        take(&mut client, &mut echo);
        echo.len() == BYTES
    });
    assert_same(&echo, bytes, "the echo");
    drop(client);
    server.end_well();
}
