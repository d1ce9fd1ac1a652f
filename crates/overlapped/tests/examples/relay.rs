//! The relay of `examples/proxy.rs` between two plain sockets: whichever side ends, breaks off or stalls, the other
//! sees the same.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use overlapped_testing::{
    Example, PATIENCE, PATTERN_PERIOD, accept, assert_same, expect_bytes, expect_end, pattern, read_to_end,
    under_wine, with_timeouts,
};

/// A relay with one connection through it, seen from both its ends.
struct Relayed {
    relay: Example,
    client: TcpStream,
    target: TcpStream,
}

impl Relayed {
    fn new() -> Relayed {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Example::start("proxy", &[&listener.local_addr().unwrap().to_string()]);
        let client = relay.dial();
        let target = with_timeouts(accept(&listener).unwrap(), PATIENCE);
        Relayed { relay, client, target }
    }

    /// In one order of the ends, then in the other: what holds for one holds for the other.
    fn each_way(test: impl Fn(&Example, TcpStream, TcpStream) + Sync) {
        thread::scope(|scope| {
            scope.spawn(|| {
                let one = Relayed::new();
                test(&one.relay, one.client, one.target);
            });
            let other = Relayed::new();
            test(&other.relay, other.target, other.client);
        });
    }
}

pub(crate) fn wait_for_reset(mut stream: TcpStream) {
    let mut scratch = vec![0; 1 << 16];
    loop {
        match stream.read(&mut scratch) {
            // Under Wine, a reset that meets a socket with no receive under way reads as an end of stream.
            Ok(0) if under_wine() => {
                return eprintln!("known limit of Wine: a reset was seen as an end of stream");
            }
            Ok(0) => panic!("an end of stream where a reset was due"),
            Ok(_) => {}
            Err(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

#[test]
fn either_side_finishes_first() {
    Relayed::each_way(|_, mut first, mut second| {
        first.write_all(&pattern(300_000, 0)).unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        assert_same(&read_to_end(&mut second), &pattern(300_000, 0), "one direction");
        // The other direction is as open as before.
        let answer = thread::spawn(move || {
            second.write_all(&pattern(300_000, 7)).unwrap();
            second
        });
        expect_bytes(&mut first, &pattern(300_000, 7));
        drop(answer.join().unwrap());
        // Now both have ended.
        expect_end(&mut first);
    });
}

#[test]
fn either_side_resets() {
    Relayed::each_way(|_, mut first, mut second| {
        first.write_all(b"hello").unwrap();
        expect_bytes(&mut second, b"hello");
        second.write_all(b"hello").unwrap();
        // Closed with bytes unread: that is a reset.
        first.peek(&mut [0]).unwrap();
        drop(first);
        wait_for_reset(second);
    });
}

/// Writes until the relay, and all kernels on the way, take no more.
fn fill(stream: &mut TcpStream) -> io::Result<usize> {
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    let bytes = pattern(2 * PATTERN_PERIOD, 0);
    let mut sent = 0;
    loop {
        match stream.write(&bytes[sent % PATTERN_PERIOD..]) {
            Ok(count) => sent += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(sent);
            }
            Err(error) => return Err(error),
        }
    }
}

#[test]
fn a_side_that_stalls_holds_the_other_back_and_gets_everything_when_it_goes_on() {
    Relayed::each_way(|_, mut first, mut second| {
        let sent = fill(&mut first).expect("held back, not cut");
        first.shutdown(Shutdown::Write).unwrap();
        assert_same(&read_to_end(&mut second), &pattern(sent, 0), "what was held back");
    });
}

#[test]
fn a_side_that_stalls_for_good_is_cut_and_so_is_the_other() {
    Relayed::each_way(|_, mut first, second| {
        let _ = fill(&mut first);
        wait_for_reset(first);
        drop(second);
    });
}

#[test]
fn a_target_that_refuses_ends_its_client() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let relay = Example::start("proxy", &[&nobody.to_string()]);
    wait_for_reset(relay.dial());
}

/// `RELAY_MIB=1024` and `cargo test -p overlapped slow_reader` carry a gigabyte.
#[test]
#[cfg(target_os = "linux")]
fn a_slow_reader_costs_no_more_memory_than_the_marks_allow() {
    use overlapped_testing::resident;
    let most: usize =
        std::env::var("RELAY_MIB").map_or(48, |mib| mib.parse().expect("a number of MiB")) << 20;
    Relayed::each_way(|relay, mut first, mut second| {
        let before = resident(relay.pid());
        let writer = thread::spawn(move || {
            let bytes = pattern(5 * PATTERN_PERIOD, 0);
            let mut sent = 0;
            while sent < most {
                sent += first.write(&bytes[sent % PATTERN_PERIOD..]).expect("somebody reads");
            }
            first.shutdown(Shutdown::Write).unwrap();
            (first, sent)
        });
        let (mut got, mut highest) = (0, 0);
        let mut piece = vec![0; 64 << 10];
        let mut paused_at = std::time::Instant::now();
        let wanted = pattern(piece.len() + PATTERN_PERIOD, 0);
        loop {
            let count = second.read(&mut piece).expect("no reset");
            if count == 0 {
                break;
            }
            assert!(piece[..count] == wanted[got % PATTERN_PERIOD..][..count], "a wrong byte after {got}");
            got += count;
            // Slow: the writer waits for it, not it for the writer.
            if paused_at.elapsed() > Duration::from_millis(5) {
                highest = highest.max(resident(relay.pid()));
                thread::sleep(Duration::from_millis(5));
                paused_at = std::time::Instant::now();
            }
        }
        let (mut first, sent) = writer.join().unwrap();
        assert_eq!(got, sent);
        drop(second);
        // Both ends see it.
        expect_end(&mut first);
        let grown = highest.saturating_sub(before);
        // The marks allow 64 KiB here, what a ring has on its way is 32 blocks of 16 KiB; and the pool's pages are
        // touched for the first time.
        assert!(grown < 8 << 20, "{grown} bytes more for {got} bytes relayed");
        println!("{got} bytes relayed, at most {grown} bytes more resident");
    });
}
