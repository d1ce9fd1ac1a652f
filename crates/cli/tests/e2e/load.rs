//! One kind of peer must not be felt by another: those that do not read, those that break off, those that are
//! silent.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::peer::{
    Random, assert_same, dial, dial_narrow, eventually, exchange, fill, noise, read_to_end, reset,
};
use crate::server::Server;
use crate::system;

const SLOW: usize = 200;
const OTHERS: usize = 20;

/// Two hundred write until nothing is taken any more and read nothing. The server holds a bounded amount for
/// them, the others do not notice, and in the end each gets every byte it sent.
pub(crate) fn slow_readers(backend: &str) {
    const HIGH_WATER: u64 = 64 << 10;
    // What may still come in after a receive was paused: what a ring has on its way, 32 blocks of 16 KiB.
    const BLOCKS: u64 = 32 * (16 << 10);
    const SLACK: u64 = 16 << 20;
    let _ = overlapped::raise_descriptor_limit();
    let server = Server::start(backend, &["--workers", "2"]);
    let address = server.address();
    exchange_all(address, 1 << 20);
    let before = system::resident(server.pid());
    let mut slow: Vec<(TcpStream, usize)> = (0..SLOW).map(|_| (dial_narrow(address), 0)).collect();
    for (stream, _) in &slow {
        stream.set_nonblocking(true).unwrap();
    }
    let everything = noise(0, 8 << 20);
    let mut moved_at = Instant::now();
    // Blocked is who was not taken anything from for a while. Who is only slow is no harm to what follows.
    while moved_at.elapsed() < Duration::from_millis(300) {
        for (stream, sent) in &mut slow {
            let taken = fill(stream, &everything[*sent..]);
            *sent += taken;
            if taken > 0 {
                moved_at = Instant::now();
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
    assert!(slow.iter().all(|(_, sent)| *sent < everything.len()), "each of them is held back");
    exchange_all(address, 1 << 20);
    let grown = system::resident(server.pid()).saturating_sub(before);
    let most = SLOW as u64 * (HIGH_WATER + BLOCKS) + SLACK;
    assert!(grown < most, "{grown} bytes more for {SLOW} slow readers; at most {most} would be right");
    let threads = 4;
    thread::scope(|scope| {
        for share in slow.chunks_mut(SLOW / threads) {
            scope.spawn(move || {
                for (stream, sent) in share {
                    stream.set_nonblocking(false).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    assert_same(&read_to_end(stream), &everything[..*sent], "the echo");
                }
            });
        }
    });
    server.end_well();
}

/// Twenty sessions at the same time, each with `bytes` bytes.
fn exchange_all(address: SocketAddr, bytes: usize) {
    thread::scope(|scope| {
        for number in 0..OTHERS {
            scope.spawn(move || exchange(&mut dial(address), noise(number, bytes)));
        }
    });
}

/// Hundreds break off with a reset, at all moments, while others go on. Nothing of them stays behind.
pub(crate) fn resets(backend: &str) {
    const RESETS: usize = 2_000;
    let _ = overlapped::raise_descriptor_limit();
    let server = Server::start(backend, &["--workers", "2"]);
    let address = server.address();
    exchange(&mut dial(address), b"awake");
    eventually("the first is gone", || system::unacknowledged(address.port()) == 0);
    let before = {
        // Whatever a server opens with its first session is open now.
        let mut fewest = usize::MAX;
        eventually("its descriptors are counted", || {
            let now = server.descriptors();
            let settled = now >= fewest;
            fewest = fewest.min(now);
            settled
        });
        fewest
    };
    let over = AtomicBool::new(false);
    let exchanged = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..4 {
            let (over, exchanged) = (&over, &exchanged);
            scope.spawn(move || {
                let mut client = dial(address);
                while !over.load(Ordering::Relaxed) {
                    exchange(&mut client, noise(number, 100_000));
                    exchanged.fetch_add(1, Ordering::Relaxed);
                }
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(read_to_end(&mut client), b"");
            });
        }
        let breakers: Vec<_> =
            (0..4).map(|seed| scope.spawn(move || break_off(address, seed, RESETS / 4))).collect();
        breakers.into_iter().for_each(|breaker| breaker.join().expect("it connects each time"));
        let so_far = exchanged.load(Ordering::Relaxed);
        eventually("the others go on", || exchanged.load(Ordering::Relaxed) > so_far + 4);
        over.store(true, Ordering::Relaxed);
    });
    exchange(&mut dial(address), noise(9, 1 << 20));
    eventually("every descriptor is closed", || server.descriptors() <= before);
    let after = server.descriptors();
    let summary = server.end_well();
    eprintln!(
        "{backend}: {RESETS} clients broke off, {before} descriptors before, {after} after; {summary:?}"
    );
    // Some are gone before they were accepted.
    assert!(summary.sessions as usize >= RESETS / 4, "{summary:?}");
}

fn break_off(address: SocketAddr, seed: u64, times: usize) {
    let mut random = Random(seed);
    let mut held = Vec::new();
    for number in 0..times {
        let mut client = dial(address);
        let bytes = noise(number, random.below(300_000));
        match random.below(4) {
            0 => {}
            1 => client.write_all(&bytes[..bytes.len().min(100)]).unwrap(),
            2 => exchange(&mut client, &bytes[..bytes.len().min(20_000)]),
            // In the middle of its echo, and with more on its way in.
            _ => {
                client.set_nonblocking(true).unwrap();
                let _ = fill(&client, bytes);
                let _ = client.read(&mut [0; 1000]);
            }
        }
        held.push(client);
        if held.len() > 20 {
            reset(held.swap_remove(random.below(20)));
        }
    }
    held.into_iter().for_each(reset);
}

/// A hundred silent sessions, and for two seconds not a single wake-up of any thread.
pub(crate) fn idle_sessions_wake_nobody(backend: &str) {
    let server = Server::start(backend, &["--workers", "2"]);
    let mut clients: Vec<TcpStream> = (0..100).map(|_| dial(server.address())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        exchange(client, noise(number, 10_000));
    }
    // The last completions are still being put away: quiet is when nothing changes for a while.
    let (mut seen, mut since) = (system::switches(server.pid()), Instant::now());
    eventually("the server falls silent", || {
        let now = system::switches(server.pid());
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(200)
    });
    // No waiting for something: the interval is what is measured.
    thread::sleep(Duration::from_secs(2));
    assert_eq!(system::switches(server.pid()), seen, "somebody woke up");
    for client in &mut clients {
        exchange(client, b"still there");
    }
    drop(clients);
    server.end_well();
}
