//! Signals: what a drain owes to those who have sent something, and how long it may take.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::peer::{PATIENCE, dial, dial_narrow, eventually, eventually_refused, exchange, fill, noise};
use crate::server::{Server, Summary};

/// Clients have written, and the server's kernel has acknowledged every byte; next to nothing was read yet, so
/// echoes are under way everywhere: in the clients' buffers, in the server's, in its queues. Then comes SIGTERM,
/// and after it the clients read. Each gets all that it wrote, then an end of stream.
#[cfg(target_os = "linux")]
pub(crate) fn sigterm_loses_nothing(backend: &str) {
    use crate::peer::{assert_same, read_to_end};
    use crate::system::unacknowledged;

    let server = Server::start(backend, &["--workers", "2", "--drain-timeout", "30s"]);
    let port = server.address().port();
    let mut clients = Vec::new();
    let mut total = 0;
    for number in 0..40 {
        let mut client = dial(server.address());
        // From a few bytes to more than the kernel takes for a reader that does not read.
        let bytes = noise(number, 10 + number * number * 1_000);
        client.write_all(bytes).unwrap();
        total += bytes.len() as u64;
        clients.push((client, bytes));
    }
    eventually("the server's kernel has it all", || unacknowledged(port) == 0);
    server.terminate();
    thread::scope(|scope| {
        for (client, bytes) in &mut clients {
            scope.spawn(move || assert_same(&read_to_end(client), bytes, "the echo"));
        }
    });
    let ended = server.wait();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let wanted = Summary { sessions: 40, bytes: total, drained: 40, cut: 0, lost: 0 };
    assert_eq!(Summary::of(&ended), wanted, "{ended:?}");
}

/// Clients that never stop writing: the drain ends all the same, and status and summary agree.
pub(crate) fn sigterm_while_clients_write(backend: &str) {
    let server = Server::start(backend, &["--workers", "2", "--drain-timeout", "1s"]);
    let address = server.address();
    let started = Barrier::new(9);
    let ended = thread::scope(|scope| {
        for number in 0..8 {
            let started = &started;
            scope.spawn(move || flood(dial(address), number, started));
        }
        started.wait();
        server.terminate();
        server.wait()
    });
    let summary = Summary::of(&ended);
    assert_eq!(summary.sessions, 8, "{ended:?}");
    assert_eq!(ended.status, Some(i32::from(summary.cut > 0)), "{ended:?}");
    assert!(summary.drained + summary.cut <= 8, "{ended:?}");
    assert!(summary.lost == 0 || summary.cut > 0, "{ended:?}");
}

/// Writes and reads without a pause until the connection ends. What comes back is right as far as it goes.
fn flood(mut stream: TcpStream, number: usize, started: &Barrier) {
    let bytes = noise(number, 1 << 20);
    exchange(&mut stream, &bytes[..1000]);
    started.wait();
    stream.set_nonblocking(true).unwrap();
    let (mut written, mut read) = (1000, 1000);
    let mut buffer = vec![0; 64 << 10];
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "neither end nor reset");
        let at = written % bytes.len();
        match stream.write(&bytes[at..bytes.len().min(at + 30_000)]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The server has gone; what it still sent may be there to read, or lost with the reset.
            Err(_) => return,
        }
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                for (offset, byte) in buffer[..count].iter().enumerate() {
                    assert_eq!(*byte, bytes[(read + offset) % bytes.len()], "an echo that is none");
                }
                read += count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}

/// Clients that wait for each echo before they send the next message: whoever had sent one gets it back whole, or
/// its connection had ended before the message was written.
pub(crate) fn sigterm_between_messages(backend: &str) {
    let server = Server::start(backend, &["--workers", "2"]);
    let address = server.address();
    let started = Barrier::new(17);
    let (ended, echoed) = thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|number| {
                let started = &started;
                scope.spawn(move || ping(dial(address), number, started))
            })
            .collect();
        started.wait();
        server.terminate();
        let ended = server.wait();
        let echoed: u64 = clients.into_iter().map(|client| client.join().expect("no byte wrong")).sum();
        (ended, echoed)
    });
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let summary = Summary::of(&ended);
    assert_eq!((summary.sessions, summary.drained), (16, 16), "{ended:?}");
    assert_eq!((summary.cut, summary.lost, summary.bytes), (0, 0, echoed), "{ended:?}");
}

/// Messages one by one until the server ends. Returns how many bytes came back.
fn ping(mut stream: TcpStream, number: usize, started: &Barrier) -> u64 {
    let mut buffer = vec![0; 5000];
    let mut echoed = 0;
    for round in 0.. {
        if round == 10 {
            started.wait();
        }
        let message = noise(number * 100 + round % 100, 1 + (round * 37) % 5000);
        if stream.write_all(message).is_err() {
            return echoed;
        }
        // An answer is begun only if all of it comes; a message that met the closed end gets none.
        let mut got = 0;
        while got < message.len() {
            match stream.read(&mut buffer[got..message.len()]) {
                Ok(0) | Err(_) => {
                    assert_eq!(got, 0, "the rest of an echo is lost");
                    return echoed;
                }
                Ok(count) => got += count,
            }
        }
        assert!(&buffer[..got] == message, "an echo that is none");
        echoed += got as u64;
    }
    unreachable!("the rounds do not end by themselves")
}

/// How long nothing must move until nothing will: longer than TCP's own pauses, a delayed acknowledgement and the shortest
/// retransmission time-out of Linux, 200 ms each at most.
const QUIET: Duration = Duration::from_millis(600);

/// A connection that holds up a drain: it has sent, does not read, and so is owed something.
pub(crate) fn hold_up(address: SocketAddr) -> TcpStream {
    let stream = dial_narrow(address);
    stream.set_nonblocking(true).unwrap();
    let bytes = noise(0, 8 << 20);
    let (mut sent, mut moved_at, mut refusals) = (0, Instant::now(), 0);
    // Elapsed time alone proves nothing: this process may not have been scheduled.
    while moved_at.elapsed() < QUIET || refusals < 20 {
        let taken = fill(&stream, &bytes[sent..]);
        sent += taken;
        refusals += 1;
        if taken > 0 {
            (moved_at, refusals) = (Instant::now(), 0);
        }
        thread::sleep(Duration::from_millis(2));
    }
    assert!(sent < bytes.len(), "nothing is taken any more");
    stream
}

/// The drain's deadline cuts who does not read: status 1, and the summary says how many and how much.
pub(crate) fn deadline_cuts(backend: &str) {
    let server = Server::start(backend, &["--drain-timeout", "300ms"]);
    let held: Vec<TcpStream> = (0..3).map(|_| hold_up(server.address())).collect();
    let mut idle = dial(server.address());
    exchange(&mut idle, b"served");
    let ended = server.end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let summary = Summary::of(&ended);
    assert_eq!((summary.sessions, summary.drained, summary.cut), (4, 1, 3), "{ended:?}");
    // Each is owed more than a high-water mark: that is why it is held.
    assert!(summary.lost > 3 * 64 * 1024, "{ended:?}");
    assert_eq!(idle.read(&mut [0]).expect("a graceful close"), 0);
    drop(held);
}

/// A second request to end within this time of the first one is the same request.
pub(crate) const ONE_REQUEST: Duration = Duration::from_millis(500);

/// A second signal, half a second or more later, does not wait for anybody.
pub(crate) fn second_signal_ends_at_once(backend: &str) {
    let server = Server::start(backend, &["--drain-timeout", "10m"]);
    let address = server.address();
    let held = hold_up(address);
    server.terminate();
    eventually_refused(address);
    // Not a wait: the time between the two is what makes them two.
    thread::sleep(ONE_REQUEST);
    server.interrupt();
    let ended = server.wait();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.starts_with("ended at once: ") && ended.stderr.lines().count() == 1, "{ended:?}");
    drop(held);
}

/// SIGINT, as from a terminal, drains as SIGTERM does.
pub(crate) fn interrupt_drains(backend: &str) {
    let server = Server::start(backend, &[]);
    let mut client = dial(server.address());
    exchange(&mut client, b"served");
    server.interrupt();
    assert_eq!(client.read(&mut [0]).expect("a graceful close"), 0);
    let ended = server.wait();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let wanted = Summary { sessions: 1, bytes: 6, drained: 1, cut: 0, lost: 0 };
    assert_eq!(Summary::of(&ended), wanted, "{ended:?}");
}

/// The first signal is answered on stderr, once: what happens now and how to end at once. Not with `--quiet`.
pub(crate) fn the_first_signal_is_answered(backend: &str) {
    for (flags, wanted) in [
        (&["--drain-timeout", "5m"][..], "draining, up to 5 min; a second signal ends at once\n"),
        (&[], "draining, up to 10 s; a second signal ends at once\n"),
        (&["--quiet"], ""),
    ] {
        let server = Server::start(backend, flags);
        let mut client = dial(server.address());
        exchange(&mut client, b"x");
        // Stopped, it meets both at once: the second is the first once more.
        server.signal(Signal::STOP);
        server.terminate();
        server.interrupt();
        server.signal(Signal::CONT);
        assert_eq!(client.read(&mut [0]).expect("a graceful close"), 0);
        let ended = server.wait_for_all();
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), wanted), "{ended:?}");
        let summary = "served 1 session, echoed 1 B (1 byte); drained 1, cut 0, lost 0 bytes";
        assert_eq!(ended.text().contains(summary), !wanted.is_empty(), "{ended:?}");
    }
}

/// `--drain-timeout 0s` cuts what is left at once.
pub(crate) fn no_time_for_a_drain(backend: &str) {
    let server = Server::start(backend, &["--drain-timeout", "0s"]);
    let held = hold_up(server.address());
    server.terminate();
    let ended = server.wait_for_all();
    assert_eq!(
        (ended.status, ended.stderr.as_str()),
        (Some(1), "draining, at once: what is left is cut\n"),
        "{ended:?}"
    );
    assert_eq!(Summary::of(&ended).cut, 1, "{ended:?}");
    drop(held);
}
