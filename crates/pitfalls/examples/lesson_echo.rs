//! The lesson "22주차: IOCP 에코 서버 구현" (week 22: an IOCP echo server), step by step, on `proactor`: the same program
//! on IOCP, io_uring and readiness. `cargo run --release --example lesson_echo -- 127.0.0.1:9999`
//!
//! Where the lesson has one port for N threads, this has N ports, each with one thread: then a session belongs to one
//! thread, and nothing of it needs a lock. `crates/overlapped` is what becomes of this program when it is finished.
use std::collections::{HashMap, VecDeque};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{io, thread};

use proactor::backend::choice::Refusal;
use proactor::backend::{Create, Wait};
use proactor::{ConnectionKey, Driver, Event, Lease, Payload, Pool, PoolConfig, Sending, Socket, Waker};

/// What the lesson calls a session. Its socket, and the count of what is in flight for it, are the driver's: a session
/// cannot be freed while the kernel holds something of it, whatever is forgotten here.
#[derive(Default)]
struct Session {
    /// Received and not sent back yet. A block that is being sent is the in-flight table's until its completion.
    waiting: VecDeque<Lease>,
    ended: bool,
}

/// A worker thread, as the accept loop knows it.
struct Worker {
    inbox: Sender<Socket>,
    waker: Waker,
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    // Step 1: WSASocket(WSA_FLAG_OVERLAPPED), bind, listen. On loopback, unless another address is asked for.
    let listener = TcpListener::bind(address)?;
    // Step 2: worker threads, each with a completion port: CreateIoCompletionPort(INVALID_HANDLE_VALUE, …).
    let workers: Vec<Worker> = (0..2).map(|_| start_worker()).collect();
    println!("listening on {}", listener.local_addr()?);
    // Step 3: the accept loop, on the main thread. Each connection goes to a worker, which is woken for it.
    for (number, accepted) in listener.incoming().enumerate() {
        let worker = &workers[number % workers.len()];
        let Ok(socket) = accepted else { continue }; // gone before we came to it
        if worker.inbox.send(socket.into()).is_ok() {
            worker.waker.wake(); // PostQueuedCompletionStatus
        }
    }
    Ok(())
}

fn start_worker() -> Worker {
    let (inbox, connections) = channel();
    let (tell, told) = channel();
    thread::spawn(move || {
        // The best this system has; where a ring may not be made, the fallback. The first that is made never returns.
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        let refused = work::<proactor::backend::io_uring::IoUring>(&connections, &tell);
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        eprintln!("note: {refused}; going on with readiness");
        #[cfg(unix)]
        let refused = work::<proactor::backend::readiness::Readiness>(&connections, &tell);
        #[cfg(windows)]
        let refused = work::<proactor::backend::iocp::Iocp>(&connections, &tell);
        panic!("no worker: {refused}");
    });
    Worker { inbox, waker: told.recv().expect("a worker starts") }
}

/// Step 4: what a worker thread does, for ever. Returns only if its port cannot be made.
fn work<B: Create<Socket = Socket>>(inbox: &Receiver<Socket>, ready: &Sender<Waker>) -> Refusal {
    let pool = Pool::new(PoolConfig::default());
    let mut driver = match B::create(pool) {
        Ok(backend) => Driver::new(backend),
        Err(refusal) => return refusal,
    };
    let _ = ready.send(driver.waker());
    let mut sessions: HashMap<ConnectionKey, Session> = HashMap::new();
    loop {
        // GetQueuedCompletionStatusEx: many completions a call. An error here means that the port itself is broken.
        driver.turn(Wait::Forever).expect("the port works");
        while let Some(event) = driver.next_event() {
            match event {
                // Step 5: a new connection. CreateIoCompletionPort(socket, port, key) and the first WSARecv.
                Event::Woken => {
                    while let Ok(socket) = inbox.try_recv() {
                        let Ok(session) = driver.adopt(socket) else { continue };
                        sessions.insert(session, Session::default());
                        driver.receive(session);
                    }
                }
                // Step 6: a WSARecv completed. Its bytes go back with WSASend; what comes meanwhile waits, and no more
                // is received until it has gone: a peer that does not read is not fed.
                Event::Received { connection, data } => {
                    let Some(session) = sessions.get_mut(&connection) else { continue };
                    session.waiting.push_back(data);
                    driver.pause_receive(connection);
                    send_next(&mut driver, connection, session);
                }
                // Step 7: a WSASend completed, the whole of it: a short one was continued. Then the next WSARecv.
                Event::Sent { connection, .. } => {
                    let Some(session) = sessions.get_mut(&connection) else { continue };
                    send_next(&mut driver, connection, session);
                }
                // Step 8: the peer says no more. What it is owed goes out first, then its socket is closed …
                Event::EndOfStream { connection } => {
                    let Some(session) = sessions.get_mut(&connection) else { continue };
                    session.ended = true;
                    send_next(&mut driver, connection, session);
                }
                // … and a connection that broke is something else: there is nobody to send to.
                Event::Failed { connection, .. } => driver.abort(connection),
                // Step 9: the last operation has completed (the lesson's reference count is zero), the socket is
                // closed, the key names nothing any more. Now, and only now, the session goes.
                Event::Released { connection } => drop(sessions.remove(&connection)),
                _ => {}
            }
        }
    }
}

/// Sends what waits; with nothing left, receives again, or closes if the peer has ended.
fn send_next<B: Create<Socket = Socket>>(driver: &mut Driver<B>, key: ConnectionKey, session: &mut Session) {
    while !driver.is_sending(key) {
        match session.waiting.pop_front() {
            Some(data) => match driver.send(key, Payload::Lease(data)) {
                Sending::Done => {}
                Sending::InFlight | Sending::Closed => return,
            },
            None if session.ended => return driver.close(key),
            None => return driver.receive(key),
        }
    }
}
