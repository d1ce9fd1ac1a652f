//! Deadlines of a session, in real time: what should happen is waited for, not measured.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::peer::{PATIENCE, dial, dial_narrow, eventually, exchange, noise};
use crate::server::Server;

/// Waits for the server to close a connection, in whichever way.
fn is_closed(mut stream: TcpStream) {
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("not closed within {PATIENCE:?}: {error}"),
        }
    }
}

fn told(server: &Server, wanted: &str) {
    while let Some(line) = server.line() {
        if line.contains(wanted) {
            return;
        }
    }
    panic!("no line says {wanted:?}");
}

/// Silent sessions are closed, before and after they have said something; a busy one is not.
pub(crate) fn idle(backend: &str) {
    let server = Server::start(backend, &["--idle-timeout", "300ms", "-v"]);
    let silent = dial(server.address());
    let mut once = dial(server.address());
    exchange(&mut once, b"only this");
    let address = server.address();
    thread::scope(|scope| {
        let busy = scope.spawn(move || {
            // An order of magnitude more often than the deadline, and twice as long.
            let mut client = dial(address);
            for number in 0..20 {
                exchange(&mut client, noise(number, 100));
                thread::sleep(Duration::from_millis(30));
            }
        });
        is_closed(silent);
        is_closed(once);
        told(&server, "closed: idle for too long");
        busy.join().expect("who speaks is not idle");
    });
}

/// Who never speaks is closed; who has spoken may be silent as long as it likes.
pub(crate) fn first_byte(backend: &str) {
    let server = Server::start(backend, &["--first-byte-timeout", "300ms", "-v"]);
    let mut spoken = dial(server.address());
    exchange(&mut spoken, b"hello");
    is_closed(dial(server.address()));
    told(&server, "closed: no first byte in time");
    exchange(&mut spoken, b"still here");
}

/// Who does not read is cut. Who reads is served meanwhile.
pub(crate) fn write(backend: &str) {
    let server = Server::start(backend, &["--write-timeout", "300ms", "-v"]);
    let mut stuck = dial_narrow(server.address());
    stuck.set_nonblocking(true).unwrap();
    let mut reading = dial(server.address());
    let bytes = noise(0, 64 << 10);
    eventually("the connection is reset", || {
        exchange(&mut reading, bytes);
        stuck.write_all(bytes).is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
    });
    told(&server, "closed: the peer does not read");
    exchange(&mut reading, bytes);
}
