//! What every exhibit stands on: a kernel, memory for sessions, sockets, and the story that is told.

use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::fd::AsRawFd;
#[cfg(windows)]
use std::os::windows::io::AsRawSocket;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::arena::{Arena, BUFFER, Place};
#[cfg(unix)]
use crate::kernel::NO_SIGNAL;
use crate::kernel::{Completion, Kernel, RawSocket, SendMode, Started};
use crate::story::{Evidence, Story, Value};

/// How long anything that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing must come before it counts as "does not come".
const SILENCE: Duration = Duration::from_millis(100);

/// The place of an exhibit.
pub(crate) struct Stage {
    pub(crate) kernel: Box<dyn Kernel>,
    pub(crate) sessions: Arena,
    pub(crate) story: Story,
    pub(crate) evidence: Evidence,
}

impl Stage {
    pub(crate) fn new(kernel: Box<dyn Kernel>) -> Stage {
        Stage { kernel, sessions: Arena::new(64), story: Story::default(), evidence: Evidence::default() }
    }

    /// Notes a fact.
    pub(crate) fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        self.evidence.note(name, value);
    }

    /// A client and the server's end of its connection, which the kernel knows.
    pub(crate) fn connection(&mut self) -> io::Result<(TcpStream, TcpStream)> {
        let (client, server) = connection()?;
        self.kernel.adopt(raw(&server))?;
        Ok((client, server))
    }

    /// `WSARecv` into a session's buffer, with the session's block for receives.
    pub(crate) fn receive(&mut self, socket: &TcpStream, session: Place) -> Started {
        // SAFETY: a place of an arena.
        unsafe { self.kernel.receive(raw(socket), session.buffer(), BUFFER, session.receive()) }
    }

    /// `WSASend` of the first `len` bytes of a session's buffer, with the session's block for sends.
    pub(crate) fn send(&mut self, socket: RawSocket, session: Place, len: usize, mode: SendMode) -> Started {
        // SAFETY: a place of an arena.
        unsafe { self.kernel.send(socket, session.buffer(), len, session.send(), mode) }
    }

    /// The next completion.
    pub(crate) fn next(&mut self) -> io::Result<Completion> {
        let completion = self.kernel.next(PATIENCE)?;
        completion.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "a completion did not come"))
    }

    /// The next completion, if one comes at all.
    pub(crate) fn next_if_any(&mut self) -> io::Result<Option<Completion>> {
        self.kernel.next(SILENCE)
    }

    /// Waits for an operation that a call has started, and for nothing else: how many bytes it moved.
    pub(crate) fn finish(&mut self, started: Started) -> io::Result<usize> {
        match started {
            Started::Done(bytes) => Ok(bytes),
            Started::Failed(error) => Err(error),
            Started::Pending | Started::DoneAndPosted(_) => self.next()?.result,
        }
    }
}

/// A client, and the server's end of its connection.
pub(crate) fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    connect(&listener)
}

/// A client of a listener, and the server's end of its connection.
pub(crate) fn connect(listener: &TcpListener) -> io::Result<(TcpStream, TcpStream)> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let (server, _) = listener.accept()?;
    server.set_nodelay(true)?;
    Ok((client, server))
}

/// The number by which the system knows a socket.
pub(crate) fn raw(socket: &TcpStream) -> RawSocket {
    #[cfg(unix)]
    return socket.as_raw_fd();
    #[cfg(windows)]
    socket.as_raw_socket()
}

/// Sends until the socket takes nothing more: how many bytes. The next operation on it has to wait for the peer.
///
/// One refusal is not the end: on a busy machine, what was sent is still on its way to the peer, and makes room when it
/// arrives. The socket is full when it refuses for as long as [`SILENCE`].
pub(crate) fn fill(socket: &TcpStream) -> io::Result<usize> {
    fill_until_silent(socket, SILENCE)
}

/// The fewest refusals of a socket that is full. Elapsed time alone proves nothing: the process may not have been scheduled.
const REFUSALS: u32 = 20;

fn fill_until_silent(socket: &TcpStream, silence: Duration) -> io::Result<usize> {
    SockRef::from(socket).set_send_buffer_size(16 * 1024)?;
    let (filler, mut sent) = ([b'.'; 4096], 0);
    let deadline = Instant::now() + PATIENCE;
    let (mut taken_at, mut refusals) = (Instant::now(), 0);
    while Instant::now() < deadline {
        match send_now(socket, &filler) {
            Ok(bytes) => (sent, taken_at, refusals) = (sent + bytes, Instant::now(), 0),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if taken_at.elapsed() >= silence && refusals >= REFUSALS => return Ok(sent),
            Err(_) => {
                refusals += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the socket takes without end"))
}

/// A send that does not wait, and leaves the socket as it is.
#[cfg(unix)]
fn send_now(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send_with_flags(bytes, libc::MSG_DONTWAIT | NO_SIGNAL)
}

/// A send that does not wait, and leaves the socket as it is.
#[cfg(windows)]
fn send_now(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    socket.set_nonblocking(true)?;
    let result = SockRef::from(socket).send(bytes);
    socket.set_nonblocking(false)?;
    result
}

/// Reads exactly `count` bytes.
pub(crate) fn read_exactly(mut client: &TcpStream, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads to the end of the stream; a reset ends it, too.
pub(crate) fn read_to_end(mut client: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match client.read_to_end(&mut bytes) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
        _ => Ok(bytes),
    }
}

/// Waits until something is true that a kernel brings about.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{what}: not within {PATIENCE:?}")));
        }
        // A system call, too: a ring does its work for this thread when it enters the kernel.
        std::thread::yield_now();
    }
    Ok(())
}

/// Bytes as a text; runs of the filler are counted.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let bytes = &bytes[bytes.iter().position(|byte| *byte != b'.').unwrap_or(bytes.len())..];
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_refuses_for_a_moment_is_not_full() {
        const READ_ON: usize = 8 * 1024 * 1024;
        let (client, server) = connection().unwrap();
        let reader = std::thread::spawn(move || read_exactly(&client, READ_ON).map(|_| client));
        // The send buffer has 16 KiB: it is full for a moment again and again until the reader has had enough.
        let sent = fill_until_silent(&server, Duration::from_secs(1)).unwrap();
        assert!(sent >= READ_ON, "full after {sent} bytes");
        let _client = reader.join().unwrap().unwrap();
        let refused = send_now(&server, b"more").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }
}
