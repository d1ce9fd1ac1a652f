//! Bytes on their way to a peer and back, each kind as clients send them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::server::PATIENCE;

/// Around the sizes of buffers, and far beyond.
const SIZES: [usize; 13] = [1, 2, 63, 64, 65, 1000, 4096, 16_383, 16_384, 16_385, 65_536, 100_000, 3_000_000];

/// Each message in one piece, all over one connection.
pub(crate) fn whole(address: SocketAddr) {
    let stream = connect(address);
    for size in SIZES {
        echo(&stream, &random(size), usize::MAX);
    }
}

/// Three connections side by side, each with bytes in pieces of random sizes.
pub(crate) fn in_parts(address: SocketAddr, promises: Promises) {
    let pieces: &[usize] = if promises == Promises::All { &[10, 3000, 40_000] } else { &[10, 100, 200] };
    thread::scope(|scope| {
        for &piece in pieces {
            let bytes = random(piece * 100);
            scope.spawn(move || echo(&connect(address), &bytes, piece));
        }
    });
}

/// What a peer can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promises {
    /// Everything.
    All,
    /// What the workloads of the benchmark need. The peer's library drops what it has not sent yet when the client closes
    /// its side: a part comes back, then the end. And of megabytes that are sent without waiting for their echo, some come
    /// back wrong or not at all.
    Some,
}

/// The client closes its side behind its last byte: it gets the rest, then the end.
pub(crate) fn half_closed(address: SocketAddr, promises: Promises) {
    for size in SIZES.into_iter().flat_map(|size| [size; 5]) {
        let (stream, bytes) = (connect(address), random(size));
        let (received, end) = thread::scope(|scope| {
            scope.spawn(|| {
                let sent = send(&stream, &bytes, usize::MAX).and_then(|()| stream.shutdown(Shutdown::Write));
                assert!(promises == Promises::Some || sent.is_ok(), "sending: {sent:?}");
            });
            let mut received = Vec::new();
            let end = (&stream).read_to_end(&mut received);
            (received, end)
        });
        match promises {
            Promises::All => {
                end.expect("all bytes, then the end");
                same(&received, &bytes, "half-closed");
            }
            Promises::Some => {
                let waiting = end.err().filter(|error| error.kind() == ErrorKind::WouldBlock);
                assert!(waiting.is_none(), "the peer does not close the connection");
                same(&received, &bytes[..received.len()], "half-closed");
            }
        }
    }
    // Nothing at all.
    let stream = connect(address);
    stream.shutdown(Shutdown::Write).expect("closing one side");
    assert_eq!((&stream).read(&mut [0]).expect("the end"), 0);
}

/// Connections that fail while the peer receives and sends; one next to them goes on.
pub(crate) fn reset_in_the_middle(address: SocketAddr) {
    let witness = connect(address);
    for size in SIZES.into_iter().flat_map(|size| [size; 4]) {
        echo(&witness, &random(100), usize::MAX);
        let stream = connect(address);
        // What the socket takes without waiting: the peer may be stuck in its own send by then.
        stream.set_write_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        let _ = (&stream).write_all(&random(size));
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a reset instead of an end");
        drop(stream);
    }
    echo(&witness, &random(100_000), usize::MAX);
}

/// `count` connections, all open before the first byte and until the last.
pub(crate) fn at_once(address: SocketAddr, count: usize) {
    let streams: Vec<TcpStream> = (0..count).map(|_| connect(address)).collect();
    // Small enough to lie in the sockets' buffers until it is read.
    let messages: Vec<Vec<u8>> = (0..count).map(|_| random(fastrand::usize(1..20_000))).collect();
    for (mut stream, message) in streams.iter().zip(&messages) {
        stream.write_all(message).expect("sending");
    }
    for (stream, message) in streams.iter().zip(&messages) {
        receive(stream, message);
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

fn random(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fastrand::fill(&mut bytes);
    bytes
}

/// Sends in pieces of at most `piece` bytes, and receives at the same time.
fn echo(stream: &TcpStream, bytes: &[u8], piece: usize) {
    thread::scope(|scope| {
        scope.spawn(|| send(stream, bytes, piece).expect("sending"));
        receive(stream, bytes);
    });
}

fn send(mut stream: &TcpStream, bytes: &[u8], piece: usize) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(fastrand::usize(1..=piece.min(rest.len())));
        stream.write_all(now)?;
        rest = later;
    }
    Ok(())
}

fn receive(mut stream: &TcpStream, expected: &[u8]) {
    let mut received = vec![0; expected.len()];
    stream.read_exact(&mut received).expect("every byte");
    same(&received, expected, "open");
}

/// `assert_eq` would print megabytes.
fn same(received: &[u8], expected: &[u8], connection: &str) {
    let (got, sent) = (received.len(), expected.len());
    assert_eq!(got, sent, "{connection}: {got} bytes came back of {sent}");
    let differs = received.iter().zip(expected).position(|(received, expected)| received != expected);
    assert_eq!(differs, None, "{connection}: another byte came back at this place of {sent}");
}
