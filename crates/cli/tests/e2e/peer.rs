//! The other end: plain sockets, random bytes, and waiting with a bound.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// How long anything may take before a test fails. Generous: both cores may be busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A connection that fails the test rather than hang.
pub(crate) fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    patient(stream)
}

/// A connection with small kernel buffers, so that not reading is soon felt at the other end.
pub(crate) fn dial_narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).unwrap();
    // Before connecting: the window is agreed on then.
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.set_send_buffer_size(16 * 1024).unwrap();
    // The loopback's segments of 64 KiB let the server's kernel take megabytes for each connection; hundreds of them
    // then run into the whole system's limit for TCP (`tcp_mem`), which drops what it had let through.
    #[cfg(unix)]
    socket.set_tcp_mss(1400).unwrap();
    socket.connect(&address.into()).expect("the server listens");
    patient(socket.into())
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Closes with a reset.
pub(crate) fn reset(stream: TcpStream) {
    let socket = Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

/// Writes `bytes` in pieces and reads each back.
pub(crate) fn exchange(stream: &mut TcpStream, bytes: &[u8]) {
    let mut echo = vec![0; 16 * 1024];
    for piece in bytes.chunks(echo.len()) {
        stream.write_all(piece).expect("the server receives");
        let echo = &mut echo[..piece.len()];
        stream.read_exact(echo).expect("the server echoes");
        assert!(echo == piece, "an echo that is none");
    }
}

/// Everything up to the end of the stream. A reset fails the test.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an end of stream, not a reset");
    bytes
}

/// Asserts equality without printing megabytes.
pub(crate) fn assert_same(got: &[u8], wanted: &[u8]) {
    let differs = got.iter().zip(wanted).position(|(got, wanted)| got != wanted);
    assert!(got == wanted, "{} of {} bytes, the first wrong one at {differs:?}", got.len(), wanted.len());
}

/// Writes from `bytes`, on a non-blocking stream, until nothing more is taken. Returns how much was.
pub(crate) fn fill(mut stream: &TcpStream, bytes: &[u8]) -> usize {
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

/// Waits for what somebody else brings about.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// SplitMix64: seeded, so that a failure comes again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// From 0 to below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

const NOISE: usize = 8 << 20;

/// `len` random bytes, different ones for different `at`.
pub(crate) fn noise(at: usize, len: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let mut random = Random(7);
        (0..NOISE / 8).flat_map(|_| random.next().to_le_bytes()).collect()
    });
    let start = (at * 7919) % (NOISE - len + 1);
    &bytes[start..start + len]
}
