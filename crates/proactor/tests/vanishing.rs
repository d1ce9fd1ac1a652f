//! Clients that vanish, in thousands: at any time, while receives and sends are in flight for them. Afterwards
//! nothing is in flight, no handle is open, and the process lives. With the feature `guard-pages`, no finished
//! operation was accessed.
//!
//! One test, because what is open is counted for the whole process.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use overlapped_testing::{Random, open_descriptors};
use proactor::backend::{Create, Wait};
use proactor::os::handles;
use proactor::{
    ConnectionKey, Driver, Event, Lease, ListenOptions, Moment, Pool, PoolConfig, Sending, Snapshot, Socket,
};
use socket2::SockRef;

const CYCLES: usize = 2_000;
const CLIENTS: usize = 4;
/// How long all of them together may take.
const WHOLE_RUN: Duration = Duration::from_secs(120);

#[test]
fn two_thousand_clients_vanish() {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    vanish::<proactor::backend::io_uring::IoUring>();
    #[cfg(unix)]
    vanish::<proactor::backend::readiness::Readiness>();
    #[cfg(windows)]
    vanish::<proactor::backend::iocp::Iocp>();
}

/// An echo server without timeouts: a connection that it does not release stays.
struct Server<B: Create<Socket = Socket>> {
    driver: Driver<B>,
    waiting: HashMap<ConnectionKey, (VecDeque<Lease>, bool)>,
    accepted: usize,
    ended: usize,
    failed: usize,
    /// Sends that had to wait.
    waited: usize,
}

fn vanish<B: Create<Socket = Socket>>() {
    let descriptors = || open_descriptors(std::process::id());
    let (handles_before, descriptors_before) = (handles(), descriptors());
    let pool = Pool::new(PoolConfig { blocks: 64, block_len: 4096 });
    let backend = match B::create(pool.clone()) {
        Ok(backend) => backend,
        Err(refusal) => return eprintln!("skipped: {refusal}"),
    };
    let mut driver = Driver::new(backend);
    let submitted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&submitted);
    driver.set_tracer(Some(Box::new(move |step| {
        if matches!(step.moment, Moment::Submitted { .. }) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    })));
    let listener = proactor::listen(SocketAddr::from(([127, 0, 0, 1], 0)), ListenOptions::default()).unwrap();
    let listener = driver.listen(listener).unwrap();
    let address = driver.listener_addr(listener).unwrap();
    driver.turn(Wait::Poll).unwrap();
    let at_rest = driver.snapshot();

    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            thread::spawn(move || (0..CYCLES / CLIENTS).for_each(|cycle| live(address, client, cycle)))
        })
        .collect();
    let mut server = Server { driver, waiting: HashMap::new(), accepted: 0, ended: 0, failed: 0, waited: 0 };
    server.run("the clients to vanish", |server| {
        let vanished = clients.iter().all(thread::JoinHandle::is_finished);
        vanished && server.driver.snapshot() == at_rest && server.waiting.is_empty()
    });
    clients.into_iter().for_each(|client| client.join().expect("a client does not fail"));
    assert_eq!(pool.in_use(), at_rest.blocks_in_use as u32);
    assert!(server.accepted > CYCLES / 2 && server.waited > CYCLES / 20);

    server.driver.close_listener(listener);
    server.run("the listener's end", |server| server.driver.snapshot() == Snapshot::default());
    let Server { driver, accepted, ended, failed, waited, .. } = server;
    let name = driver.kind();
    drop(driver);
    assert_eq!(pool.in_use(), 0);
    drop(pool);
    assert_eq!(handles(), handles_before, "every handle is closed");
    assert_eq!(descriptors(), descriptors_before, "every descriptor is closed");
    eprintln!(
        "{name}: {CYCLES} clients, {accepted} accepted, {ended} ended, {failed} broke, {waited} sends waited, \
         {} operations{}; in flight 0, handles {handles_before:?}, descriptors {descriptors_before:?}",
        submitted.load(Ordering::Relaxed),
        if cfg!(feature = "guard-pages") { ", each on a page of its own" } else { "" },
    );
}

impl<B: Create<Socket = Socket>> Server<B> {
    fn run(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            let report = || (self.driver.snapshot(), self.driver.in_flight_report());
            assert!(start.elapsed() < WHOLE_RUN, "waited for {what} in vain: {:?}", report());
            let soon = self.driver.now() + Duration::from_millis(20);
            self.driver.turn(Wait::Until(soon)).unwrap();
            while let Some(event) = self.driver.next_event() {
                self.handle(event);
            }
        }
    }

    fn handle(&mut self, event: Event<Socket>) {
        match event {
            Event::Accepted { socket, .. } => {
                self.accepted += 1;
                // Small, so that sends wait for a client that does not read.
                let _ = socket.set_send_buffer_size(4096);
                // It may be gone already.
                let Ok(key) = self.driver.adopt(socket) else { return };
                self.waiting.insert(key, (VecDeque::new(), false));
                self.driver.receive(key);
            }
            Event::Received { connection, data } => {
                let (queue, _) = self.waiting.get_mut(&connection).expect("it is open");
                queue.push_back(data);
                // A receive stays in flight beside the send, for a while.
                if queue.len() > 3 {
                    self.driver.pause_receive(connection);
                }
                self.send(connection);
            }
            Event::Sent { connection, .. } => self.send(connection),
            Event::EndOfStream { connection } => {
                self.ended += 1;
                self.waiting.get_mut(&connection).expect("it is open").1 = true;
                self.send(connection);
            }
            Event::Failed { connection, .. } => {
                self.failed += 1;
                self.driver.abort(connection);
            }
            Event::Released { connection } => drop(self.waiting.remove(&connection).expect("released once")),
            Event::AcceptFailed { error, .. } => panic!("{error}"),
            _ => {}
        }
    }

    fn send(&mut self, key: ConnectionKey) {
        let (queue, ended) = self.waiting.get_mut(&key).expect("it is open");
        while !self.driver.is_sending(key) {
            match queue.pop_front() {
                Some(data) => {
                    if self.driver.send(key, data) != Sending::Done {
                        self.waited += 1;
                        return;
                    }
                }
                None if *ended => return self.driver.close(key),
                None => return self.driver.receive(key),
            }
        }
    }
}

/// A client: sends something, reads some of it, and vanishes.
fn live(address: SocketAddr, client: usize, cycle: usize) {
    let mut random = Random((client * CYCLES + cycle) as u64);
    let stream = TcpStream::connect(address);
    let mut stream = stream.unwrap_or_else(|error| panic!("client {client} finds no server: {error}"));
    SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
    let mut buffer = [0; 4096];
    // One in eight is gone before it was accepted, for all we know.
    if random.below(8) > 0 {
        stream.set_read_timeout(Some(WHOLE_RUN)).unwrap();
        stream.write_all(&[7]).unwrap();
        stream.read_exact(&mut buffer[..1]).unwrap();
    }
    stream.set_nonblocking(true).unwrap();
    for _ in 0..random.below(12) {
        match random.below(4) {
            // More than the echo's way back takes: the server's sends wait.
            0 | 1 => {
                let _ = stream.write(&vec![7; random.below(60_000)]);
            }
            2 => {
                let _ = stream.read(&mut buffer);
            }
            _ => thread::yield_now(),
        }
    }
    match random.below(4) {
        // Unread bytes make it a reset as well, at a time that the system chooses.
        0 => drop(stream),
        1 => {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        _ => {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }
}
