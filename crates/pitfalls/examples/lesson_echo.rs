//! The server of the lesson "22주차: IOCP 에코 서버 구현" (week 22: an IOCP echo server), step by step, on `proactor`: the
//! same program on IOCP, io_uring and readiness. `cargo run --release --example lesson_echo -- 127.0.0.1:9999`
//!
//! The lesson has one port for N threads. This program has N ports, each with one thread: a session belongs to one
//! thread, so it needs no lock. `crates/overlapped` is the same design, complete.
use std::collections::{HashMap, VecDeque};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use std::{io, thread};

use proactor::backend::choice::Refusal;
use proactor::backend::{Create, Wait};
use proactor::{ConnectionKey, Driver, Event, Lease, Payload, Pool, PoolConfig, Sending, Socket, Waker};

/// The lesson's session. The driver has its socket and the count of its operations in flight, so no mistake here can
/// free memory that the kernel still uses.
#[derive(Default)]
struct Session {
    /// Received bytes that are not sent back yet. A block that is being sent is owned by the in-flight table.
    unsent: VecDeque<Lease>,
    /// True exactly when the peer has ended its stream.
    peer_ended: bool,
}

/// A worker thread, as the accept loop sees it.
struct Worker {
    inbox: Sender<Socket>,
    waker: Waker,
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    // Step 1: WSASocket(WSA_FLAG_OVERLAPPED), bind, listen. The default address is on loopback.
    let listener = TcpListener::bind(address)?;
    // Step 2: start worker threads, each with a completion port: CreateIoCompletionPort(INVALID_HANDLE_VALUE, …).
    let workers: Vec<Worker> = (0..2).map(|_| start_worker()).collect();
    println!("listening on {}", listener.local_addr()?);
    // Step 3: accept connections, on the main thread. Pass each to a worker, and wake the worker.
    for (number, accepted) in listener.incoming().enumerate() {
        let worker = &workers[number % workers.len()];
        let Ok(socket) = accepted else {
            thread::sleep(Duration::from_millis(10)); // the client has left, or descriptors are short
            continue;
        };
        if worker.inbox.send(socket.into()).is_ok() {
            worker.waker.wake(); // PostQueuedCompletionStatus
        }
    }
    Ok(())
}

fn start_worker() -> Worker {
    let (inbox, connections) = channel();
    let (ready, started) = channel();
    thread::spawn(move || {
        // Tries the best backend of this system, then the fallback. If a backend can be created, `work` does not return.
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        let refused = work::<proactor::backend::io_uring::IoUring>(&connections, &ready);
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        eprintln!("note: {refused}; using readiness instead");
        #[cfg(unix)]
        let refused = work::<proactor::backend::readiness::Readiness>(&connections, &ready);
        #[cfg(windows)]
        let refused = work::<proactor::backend::iocp::Iocp>(&connections, &ready);
        panic!("no backend for the worker: {refused}");
    });
    Worker { inbox, waker: started.recv().expect("a worker starts") }
}

/// Step 4: a worker thread: takes completions and handles them. Returns only if its backend cannot be created.
fn work<B: Create<Socket = Socket>>(inbox: &Receiver<Socket>, ready: &Sender<Waker>) -> Refusal {
    let pool = Pool::new(PoolConfig::default());
    let mut driver = match B::create(pool) {
        Ok(backend) => Driver::new(backend),
        Err(refusal) => return refusal,
    };
    let _ = ready.send(driver.waker());
    let mut sessions: HashMap<ConnectionKey, Session> = HashMap::new();
    loop {
        // GetQueuedCompletionStatusEx: one call takes many completions. It fails only if the port itself is unusable.
        driver.turn(Wait::Forever).expect("the port works");
        while let Some(event) = driver.next_event() {
            match event {
                // Step 5: a new connection: CreateIoCompletionPort(socket, port, key), then the first WSARecv.
                Event::Woken => {
                    while let Ok(socket) = inbox.try_recv() {
                        let Ok(session) = driver.adopt(socket) else { continue };
                        sessions.insert(session, Session::default());
                        driver.receive(session);
                    }
                }
                // Step 6: WSARecv is complete. Send the bytes back with WSASend. Receive again only when they are sent,
                // so a peer that does not read its echo cannot fill our memory.
                Event::Received { connection, data } => {
                    let Some(session) = sessions.get_mut(&connection) else { continue };
                    session.unsent.push_back(data);
                    driver.pause_receive(connection);
                    send_next(&mut driver, connection, session);
                }
                // Step 7: WSASend is complete; the driver has continued a short send. Then the next WSARecv.
                Event::Sent { connection, .. } => {
                    let Some(session) = sessions.get_mut(&connection) else { continue };
                    send_next(&mut driver, connection, session);
                }
                // Step 8: the peer has ended its stream. Send the rest of its echo, then close the connection …
                Event::EndOfStream { connection } => {
                    let Some(session) = sessions.get_mut(&connection) else { continue };
                    session.peer_ended = true;
                    send_next(&mut driver, connection, session);
                }
                // … or the connection failed, for example with a reset: nothing more can be sent.
                Event::Failed { connection, .. } => driver.abort(connection),
                // Step 9: the last operation is complete (the lesson's reference count is 0), the socket is closed, and
                // the key is no longer valid. The session is freed here and nowhere else.
                Event::Released { connection } => drop(sessions.remove(&connection)),
                _ => {}
            }
        }
    }
}

/// Sends the next received block. If there is none, closes if the peer has ended its stream, and receives otherwise.
fn send_next<B: Create<Socket = Socket>>(driver: &mut Driver<B>, key: ConnectionKey, session: &mut Session) {
    while !driver.is_sending(key) {
        match session.unsent.pop_front() {
            Some(data) => match driver.send(key, Payload::Lease(data)) {
                Sending::Done => {}
                Sending::InFlight | Sending::Closed => return,
            },
            None if session.peer_ended => return driver.close(key),
            None => return driver.receive(key),
        }
    }
}
