//! Sessions as they should be: every byte back, in order, to the last one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::peer::{PATIENCE, Random, assert_same, dial, exchange, noise, read_to_end};
use crate::server::{Server, serve_on};

const SESSIONS: usize = 1000;
const THREADS: usize = 4;

/// One of the thousand: writes its bytes in random fragments, reads random fragments, compares, half-closes, and
/// sees the end.
struct Talk {
    stream: TcpStream,
    bytes: &'static [u8],
    written: usize,
    read: usize,
    finished: bool,
    ended: bool,
}

impl Talk {
    fn begin(number: usize, address: SocketAddr, random: &mut Random) -> Talk {
        let stream = dial(address);
        stream.set_nonblocking(true).unwrap();
        // Most are short, as in life; all sizes up to a mebibyte occur.
        let most = [1, 16 << 10, 16 << 10, 16 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20];
        let size = random.below(most[number % most.len()] + 1);
        Talk { stream, bytes: noise(number, size), written: 0, read: 0, finished: false, ended: false }
    }

    /// Returns whether anything moved.
    fn step(&mut self, random: &mut Random, buffer: &mut [u8]) -> bool {
        self.write(random) | self.read(random, buffer)
    }

    fn write(&mut self, random: &mut Random) -> bool {
        if self.written == self.bytes.len() {
            let first = !self.finished;
            if first {
                self.stream.shutdown(Shutdown::Write).unwrap();
                self.finished = true;
            }
            return first;
        }
        let left = &self.bytes[self.written..];
        match self.stream.write(&left[..fragment(random).min(left.len())]) {
            Ok(count) => {
                self.written += count;
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("after {} bytes: {error}", self.written),
        }
    }

    fn read(&mut self, random: &mut Random, buffer: &mut [u8]) -> bool {
        match self.stream.read(&mut buffer[..fragment(random)]) {
            Ok(0) => {
                assert!(self.finished, "the server ends after its client");
                assert_eq!(self.read, self.bytes.len(), "an end of stream before all came back");
                self.ended = true;
                true
            }
            Ok(count) => {
                let wanted = self.bytes.get(self.read..self.read + count).expect("not more than was sent");
                assert_same(&buffer[..count], wanted, "the echo");
                self.read += count;
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("after {} bytes: {error}", self.read),
        }
    }
}

pub(crate) const LONGEST_FRAGMENT: usize = 64 << 10;

pub(crate) fn fragment(random: &mut Random) -> usize {
    match random.below(8) {
        0 => 1,
        1 => 1 + random.below(64),
        2..5 => 1 + random.below(4096),
        _ => 1 + random.below(LONGEST_FRAGMENT),
    }
}

fn drive(mut talks: Vec<Talk>, random: &mut Random) {
    let mut buffer = vec![0; LONGEST_FRAGMENT];
    let mut moved_at = Instant::now();
    while !talks.is_empty() {
        let mut moved = false;
        for talk in &mut talks {
            moved |= talk.step(random, &mut buffer);
        }
        talks.retain(|talk| !talk.ended);
        if moved {
            moved_at = Instant::now();
        } else {
            let stuck = moved_at.elapsed();
            assert!(stuck < PATIENCE, "{} sessions move no more", talks.len());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A thousand at a time, of all sizes, cut at random in both directions.
pub(crate) fn a_thousand_sessions(backend: &str) {
    let _ = overlapped::raise_descriptor_limit();
    let server = Server::start(backend, &["--workers", "2"]);
    let address = server.address();
    let mut random = Random(1);
    // All stand before the first says anything, so all are open at once.
    let mut talks: Vec<Talk> =
        (0..SESSIONS).map(|number| Talk::begin(number, address, &mut random)).collect();
    // Under Wine the sockets are another process's too.
    #[cfg(target_os = "linux")]
    if backend != "iocp" {
        crate::peer::eventually("the server holds them all", || {
            crate::system::descriptors(server.pid()) >= SESSIONS
        });
    }
    let total: usize = talks.iter().map(|talk| talk.bytes.len()).sum();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let share = talks.split_off(talks.len() - SESSIONS / THREADS);
            scope.spawn(move || drive(share, &mut Random(thread as u64)));
        }
    });
    #[cfg(unix)]
    {
        let summary = server.end_well();
        assert_eq!((summary.sessions, summary.bytes), (SESSIONS as u64, total as u64));
    }
    let _ = total;
}

/// What was sent before FIN comes back after it: all of it, then an end of stream, and no reset.
pub(crate) fn half_close_tail(backend: &str) {
    let server = Server::start(backend, &[]);
    // Little enough for the buffers in between: everything is written before anything is read.
    let mut client = dial(server.address());
    let bytes = noise(1, 512 << 10);
    client.write_all(bytes).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_same(&read_to_end(&mut client), bytes, "the echo");
    assert_eq!(client.read(&mut [0]).expect("still no reset"), 0);
    // More than all buffers hold: the server has to wait for its reader, long after the FIN came.
    let mut client = dial(server.address());
    let bytes = noise(2, 8 << 20);
    thread::scope(|scope| {
        let mut writing = client.try_clone().unwrap();
        scope.spawn(move || {
            writing.write_all(bytes).unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        assert_same(&read_to_end(&mut client), bytes, "the echo");
    });
    assert_eq!(client.read(&mut [0]).expect("still no reset"), 0);
    // Nothing but a FIN.
    let mut client = dial(server.address());
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), b"");
}

/// Several `--bind`, each with its line, on two workers: each address echoes.
pub(crate) fn several_addresses(backend: &str) {
    let binds = ["--bind", "127.0.0.1:0", "--bind", "localhost:0", "--bind", "127.0.0.1:0"];
    let command = serve_on(backend, &[&["--workers", "2"][..], &binds].concat());
    // `localhost` may be one address or two, of which one may be missing here.
    let named = overlapped::Endpoint::from("localhost:0").resolve().expect("localhost has an address");
    let named = named.iter().filter(|address| TcpListener::bind(address).is_ok()).count();
    let server = Server::launch_on(command, 2 + named).unwrap_or_else(|ended| panic!("{ended:?}"));
    assert_eq!((server.backend.as_str(), server.workers), (backend, 2));
    let mut ports: Vec<SocketAddr> = server.addresses.clone();
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), server.addresses.len(), "each has a port of its own");
    for round in 0..3 {
        for (number, address) in server.addresses.iter().enumerate() {
            exchange(&mut dial(*address), noise(10 * round + number, 50_000));
        }
    }
}

/// IPv6, where the machine has it.
pub(crate) fn ipv6(backend: &str) {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("left out: this machine has no IPv6");
        return;
    }
    let command = serve_on(backend, &["--bind", "[::1]:0", "--workers", "2"]);
    let server = Server::launch(command).unwrap_or_else(|ended| panic!("{ended:?}"));
    assert!(server.address().is_ipv6());
    for number in 0..4 {
        let mut client = dial(server.address());
        exchange(&mut client, noise(number, 100_000));
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut client), b"");
    }
}
