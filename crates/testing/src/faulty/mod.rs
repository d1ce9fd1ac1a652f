//! An echo server that makes chosen mistakes and records each of them: for tests of a client that checks its echoes.
//!
//! Plain blocking sockets: a thread accepts, and each connection has a thread. Which mistakes are made, and at which bytes,
//! is fixed by rules, so that the record can be compared with what the client reports. Without rules it is a correct
//! server, independent of those that are tested with it.

mod connection;
mod record;
mod rules;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{PATIENCE, process, sockets};
use connection::{Connection, LOOK_UP};

pub use record::{Difference, Done, Record};
pub use rules::{Fault, Place, Which};

/// A connection needs little more than a read's bytes, and those are on the heap.
const STACK: usize = 256 << 10;

/// As long as the system allows: a thousand clients may connect at once.
const BACKLOG: i32 = 4096;

/// Windows: how often it is looked for a connection.
const BETWEEN_ACCEPTS: Duration = Duration::from_millis(1);

/// An echo server on IPv4 loopback that makes mistakes. Its connections end when it is dropped.
pub struct FaultyServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// The thread that accepts. `None` while the server is down.
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    rules: Vec<(Place, Fault)>,
    received: AtomicU64,
    echoed: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    record: Record,
    /// Every connection, for as long as its thread serves it.
    connections: Vec<Weak<TcpStream>>,
    /// Threads of connections.
    serving: usize,
    /// True exactly when the server is down, or about to be.
    down: bool,
    paused_until: Option<Instant>,
    /// Of the first connection that swaps, for the second.
    offered: Option<Vec<u8>>,
    /// What the second one gave for it.
    exchanged: Option<Vec<u8>>,
}

impl FaultyServer {
    /// One on a free port, with the mistakes that it is to make.
    ///
    /// # Panics
    /// If the system gives no socket or no thread.
    #[must_use]
    #[track_caller]
    pub fn start(rules: &[(Place, Fault)]) -> FaultyServer {
        let shared = Arc::new(Shared {
            rules: rules.to_vec(),
            received: AtomicU64::new(0),
            echoed: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        #[cfg(unix)]
        make_room(&listener);
        let address = listener.local_addr().expect("a bound socket");
        let accepting = Some(accept(listener, &shared));
        FaultyServer { address, shared, accepting }
    }

    /// One that makes no mistakes.
    ///
    /// # Panics
    /// As [`FaultyServer::start`].
    #[must_use]
    #[track_caller]
    pub fn correct() -> FaultyServer {
        FaultyServer::start(&[])
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far. A mistake is recorded before the client can notice it.
    #[must_use]
    pub fn record(&self) -> Record {
        self.shared.state().record.clone()
    }

    /// Bytes received so far, over all connections.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Bytes sent so far, over all connections.
    #[must_use]
    pub fn echoed(&self) -> u64 {
        self.shared.echoed.load(Ordering::Relaxed)
    }

    /// From now on no connection sends anything for this time. Returns at once.
    pub fn pause(&self, length: Duration) {
        self.shared.state().paused_until = Some(Instant::now() + length);
    }

    /// Ends every connection and listens no more, as if its process had ended. Nothing happens if it is down.
    ///
    /// # Panics
    /// If a connection does not end within [`PATIENCE`].
    pub fn die(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.shared.state().down = true;
        self.shared.changed.notify_all();
        // The thread that accepts looks up when there is something to accept.
        let _ = TcpStream::connect(self.address);
        accepting.join().expect("it accepts without a panic");
        let connections = std::mem::take(&mut self.shared.state().connections);
        for stream in connections.iter().filter_map(Weak::upgrade) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| state.serving > 0);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert_eq!(state.serving, 0, "every connection ends");
    }

    /// Listens again at the same address. Connections are counted on.
    ///
    /// # Panics
    /// If it is up, or if the port was taken by another process.
    #[track_caller]
    pub fn come_back(&mut self) {
        assert!(self.accepting.is_none(), "it is down");
        self.shared.state().down = false;
        let listener = listen(self.address).expect("the port is still free");
        self.accepting = Some(accept(listener, &self.shared));
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        if thread::panicking() {
            // The first failure is the one to show.
            self.shared.state().down = true;
            self.shared.changed.notify_all();
        } else {
            self.die();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for this time, or until the server goes down.
    fn wait(&self, length: Duration) {
        let _ = self.changed.wait_timeout_while(self.state(), length, |state| !state.down);
    }

    /// Begins a pause of all connections.
    fn pause(&self, length: Duration) {
        self.state().paused_until = Some(Instant::now() + length);
    }

    /// Waits until no pause is left, or until the server goes down.
    fn wait_for_pause(&self) {
        let mut state = self.state();
        while let Some(until) = state.paused_until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.down {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Exchanges the first bytes of two connections. The first one waits for the second, with a bound.
    fn swap(&self, mut mine: Vec<u8>) -> Vec<u8> {
        let mut state = self.state();
        if let Some(mut other) = state.offered.take() {
            let both = mine.len().min(other.len());
            mine[..both].swap_with_slice(&mut other[..both]);
            state.exchanged = Some(other);
            self.changed.notify_all();
            return mine;
        }
        state.offered = Some(mine);
        let alone = |state: &mut State| state.exchanged.is_none() && !state.down;
        let waited = self.changed.wait_timeout_while(state, PATIENCE, alone);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.exchanged.take().or_else(|| state.offered.take()).unwrap_or_default()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // For coming back. On Windows it would allow two listeners.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // See `next`.
    socket.set_nonblocking(cfg!(windows))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Makes the process's table of descriptors as large as it will be needed. Linux makes one that threads share larger with
/// a wait for every processor (`synchronize_rcu`), which takes seconds on a busy machine; until then nothing is accepted.
#[cfg(unix)]
fn make_room(socket: &TcpListener) {
    use rustix::process::{Resource, getrlimit};
    const MOST: u64 = 4096;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = getrlimit(Resource::Nofile).current.map_or(MOST, |limit| limit.min(MOST));
        // Where even that is not possible, it is only slower.
        let _ = rustix::io::fcntl_dupfd_cloexec(socket, limit.saturating_sub(1) as i32);
    });
}

/// The next connection. On Windows a program that is started before it is made private inherits it, however soon that is
/// done: none is started meanwhile.
fn next(listener: &TcpListener) -> io::Result<TcpStream> {
    if !cfg!(windows) {
        return sockets::accept(listener);
    }
    loop {
        let accepted = {
            let _none = process::no_starts();
            sockets::accept(listener)
        };
        match accepted {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(BETWEEN_ACCEPTS),
            Ok(stream) => return stream.set_nonblocking(false).map(|()| stream),
            failed => return failed,
        }
    }
}

fn accept(listener: TcpListener, shared: &Arc<Shared>) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        // A failed accept is a client that has gone, or a lack of descriptors that is over when others are closed.
        loop {
            let stream = next(&listener);
            let mut state = shared.state();
            if state.down {
                return;
            }
            let Ok(stream) = stream else { continue };
            let _ = stream.set_nodelay(true);
            let _ = stream.set_write_timeout(Some(PATIENCE));
            let _ = stream.set_read_timeout(LOOK_UP);
            let stream = Arc::new(stream);
            state.connections.retain(|other| other.strong_count() > 0);
            state.connections.push(Arc::downgrade(&stream));
            let number = state.record.accepted;
            state.record.accepted += 1;
            state.serving += 1;
            drop(state);
            let connection = Connection::new(number, stream, Arc::clone(&shared));
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().stack_size(STACK);
            let serve = move || {
                connection.run();
                shared.state().serving -= 1;
                shared.changed.notify_all();
            };
            thread.spawn(serve).expect("a thread for a connection");
        }
    })
}
