//! Plain sockets of the standard library: the other end of a connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use socket2::SockRef;

use crate::PATIENCE;

/// A connection of which each read and write ends within [`PATIENCE`].
///
/// # Panics
/// If nobody listens there.
#[must_use]
#[track_caller]
pub fn dial(address: impl ToSocketAddrs) -> TcpStream {
    with_timeouts(TcpStream::connect(address).expect("the server listens"), PATIENCE)
}

/// Accepts a connection that ends when it is closed. On Windows, what `TcpListener::accept` returns is inherited by every
/// process that is started meanwhile, and the connection goes on until that one has ended, too.
///
/// # Errors
/// The system's.
pub fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    SockRef::from(listener).accept().map(|(socket, _)| socket.into())
}

/// Bounds each read and write of `stream`: a test fails instead of hanging.
///
/// # Panics
/// If the system refuses a timeout.
#[must_use]
#[track_caller]
pub fn with_timeouts(stream: TcpStream, limit: Duration) -> TcpStream {
    stream.set_read_timeout(Some(limit)).expect("a limit above zero");
    stream.set_write_timeout(Some(limit)).expect("a limit above zero");
    stream
}

/// Closes with a reset.
///
/// # Panics
/// If the system refuses the option.
#[track_caller]
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an open socket");
    drop(stream);
}

/// Writes `bytes` in pieces and reads the echo of each.
///
/// # Panics
/// If an echo does not come, or differs.
#[track_caller]
pub fn exchange(stream: &mut TcpStream, bytes: &[u8]) {
    for piece in bytes.chunks(16 * 1024) {
        stream.write_all(piece).expect("the server receives");
        expect_bytes(&mut *stream, piece);
    }
}

/// Reads exactly `wanted`.
///
/// # Panics
/// If other bytes come, or too few.
#[track_caller]
pub fn expect_bytes(mut stream: impl Read, wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    stream.read_exact(&mut got).expect("as many bytes as are wanted");
    crate::assert_same(&got, wanted, "what is read");
}

/// Reads the end of the stream, and nothing before it.
///
/// # Panics
/// If bytes come, or a reset.
#[track_caller]
pub fn expect_end(mut stream: impl Read) {
    assert_eq!(stream.read(&mut [0; 16]).expect("an end of stream, not a reset"), 0, "no bytes before it");
}

/// Everything up to the end of the stream.
///
/// # Panics
/// If the stream ends with a reset.
#[must_use]
#[track_caller]
pub fn read_to_end(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an end of stream, not a reset");
    bytes
}

/// Writes from `bytes`, on a non-blocking stream, until nothing more is taken. Returns how much was.
///
/// # Panics
/// If the connection is broken.
#[must_use]
#[track_caller]
pub fn fill(mut stream: &TcpStream, bytes: &[u8]) -> usize {
    let mut taken = 0;
    while taken < bytes.len() {
        match stream.write(&bytes[taken..]) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("the server receives: {error}"),
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = dial(listener.local_addr().unwrap());
        let other = accept(&listener).unwrap();
        (one, with_timeouts(other, PATIENCE))
    }

    #[test]
    fn an_end_is_told_from_a_reset() {
        let (one, other) = pair();
        drop(one);
        expect_end(&other);
        let (one, other) = pair();
        reset(one);
        // Under Wine, a reset that meets a socket with no receive under way reads as an end of stream.
        if !cfg!(windows) {
            assert!(std::panic::catch_unwind(|| read_to_end(&other)).is_err());
        }
    }

    /// Rust's standard library starts every process on Windows with the handles that may be inherited.
    #[test]
    fn a_process_that_is_started_keeps_no_connection() {
        let (one, other) = pair();
        let waits_for_input = if cfg!(windows) { "cmd" } else { "cat" };
        let mut process = Command::new(waits_for_input)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("a program of every system");
        drop(other);
        expect_end(&one);
        drop(process.stdin.take());
        process.wait().expect("it ends with its input");
    }

    #[test]
    fn a_wrong_echo_is_noticed() {
        let (mut one, mut other) = pair();
        other.write_all(b"hellO").unwrap();
        assert!(std::panic::catch_unwind(move || exchange(&mut one, b"hello")).is_err());
    }

    #[test]
    fn a_peer_that_does_not_read_is_filled() {
        let (one, other) = pair();
        one.set_nonblocking(true).unwrap();
        let bytes = crate::pattern(64 << 20, 0);
        let taken = fill(&one, &bytes);
        // Windows takes a large send whole.
        assert!(taken > 0 && (taken < bytes.len() || cfg!(windows)));
        drop(one);
        crate::assert_same(&read_to_end(&other), &bytes[..taken], "what was taken");
    }
}
