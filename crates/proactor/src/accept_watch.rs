//! Accepts connections on a thread other than the driver's: while a driver is blocked, another thread can accept from
//! its listeners.

use std::io;
use std::time::Duration;

use crate::socket::Socket;
use crate::waker::Waker;

/// Waits for a wake and, on Unix, for connections on the listeners that it watches. It does not keep a listener open:
/// when the last handle is closed, the watch ends. Lives on one thread.
pub struct AcceptWatch(imp::Watch);

impl AcceptWatch {
    /// Whether another thread can accept a connection from a listener that a driver owns.
    pub const ACCEPTS: bool = cfg!(unix);

    /// Makes one that watches nothing yet. On Unix it uses two descriptors.
    ///
    /// # Errors
    /// What the system says: out of descriptors.
    pub fn new() -> io::Result<AcceptWatch> {
        imp::Watch::new().map(AcceptWatch)
    }

    /// A handle with which any thread can end the current or the next [`wait`](Self::wait).
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.0.waker()
    }

    /// Waits until it is woken, a connection arrives on a watched listener, or `timeout` has passed; `None`: without a
    /// limit. It may return early.
    ///
    /// # Errors
    /// Only if the poller itself is broken.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.wait(timeout)
    }

    /// From now on a connection that arrives on `listener`, or waits there already, ends a wait. On Windows it does not.
    ///
    /// # Errors
    /// What the system says: no memory, or it is watched already.
    pub fn watch(&self, listener: &Socket) -> io::Result<()> {
        self.0.watch(listener)
    }

    /// Stops watching `listener`.
    pub fn forget(&self, listener: &Socket) {
        self.0.forget(listener);
    }
}

/// Accepts a connection from the backlog of `listener`, if one waits there. It blocks for at most one tick of the
/// kernel's clock, even if another holder of this listener takes the connection first.
///
/// If the listener is in blocking mode, this does not change its mode: its other handles share the flag, and io_uring
/// does not wait on a non-blocking listener.
///
/// On Windows it accepts no connection: the next connection belongs to the accepts in flight on the owner's port.
///
/// # Errors
/// If the system is short of something. Errors that concern only one connection are not reported.
pub fn try_accept(listener: &Socket) -> io::Result<Option<Socket>> {
    imp::try_accept(listener)
}

#[cfg(unix)]
use unix as imp;
#[cfg(windows)]
use windows as imp;

#[cfg(unix)]
mod unix {
    use std::io;
    use std::os::fd::AsRawFd;
    use std::sync::Arc;
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Token};

    use crate::backend::readiness::PollWaker;
    use crate::os::CountedPort;
    use crate::os::{ACCEPT_FAILURES, is_about_the_peer};
    use crate::socket::{Socket, inline_urgent, nodelay};
    use crate::waker::Waker;

    const WAKE: Token = Token(usize::MAX);
    const LISTENER: Token = Token(0);
    pub(super) struct Watch {
        poll: Poll,
        events: Events,
        waker: Arc<mio::Waker>,
        _counted: CountedPort,
    }

    impl Watch {
        pub(super) fn new() -> io::Result<Watch> {
            let poll = Poll::new()?;
            let waker = Arc::new(mio::Waker::new(poll.registry(), WAKE)?);
            Ok(Watch { poll, events: Events::with_capacity(16), waker, _counted: CountedPort::new() })
        }

        pub(super) fn waker(&self) -> Waker {
            Waker::new(Arc::new(PollWaker(Arc::clone(&self.waker))))
        }

        pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
            match self.poll.poll(&mut self.events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                result => result,
            }
        }
    }

    impl Watch {
        pub(super) fn watch(&self, listener: &Socket) -> io::Result<()> {
            let fd = listener.as_raw_fd();
            self.poll.registry().register(&mut SourceFd(&fd), LISTENER, Interest::READABLE)
        }

        pub(super) fn forget(&self, listener: &Socket) {
            // It fails only if it was not watched.
            let _ = self.poll.registry().deregister(&mut SourceFd(&listener.as_raw_fd()));
        }
    }

    pub(super) fn try_accept(listener: &Socket) -> io::Result<Option<Socket>> {
        let mut failures = 0;
        while is_readable(listener)? {
            match accept(listener) {
                Ok(socket) => return Ok(Some(socket)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if is_about_the_peer(&error) && failures < ACCEPT_FAILURES => failures += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn is_readable(listener: &Socket) -> io::Result<bool> {
        let mut entry = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, as stated, which outlives the call; the descriptor is open while its socket is borrowed.
        match unsafe { libc::poll(&raw mut entry, 1, 0) } {
            ready if ready >= 0 => Ok(ready > 0),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
                error => Err(error),
            },
        }
    }

    /// Between `poll` and `accept` another thread or process may take the connection, and `accept` on a blocking
    /// listener would then wait for the next one. `SO_RCVTIMEO` limits that: socket(7). It concerns blocking calls
    /// alone, of which there are no others; connections that arrive while it is set inherit it, to no effect.
    #[cfg(target_os = "linux")]
    pub(super) fn accept(listener: &Socket) -> io::Result<Socket> {
        const LIMIT: Duration = Duration::from_millis(1);
        let before = listener.read_timeout()?;
        listener.set_read_timeout(Some(LIMIT))?;
        let accepted = listener.accept();
        let restored = listener.set_read_timeout(before);
        let (socket, _) = accepted?;
        restored?;
        socket.set_read_timeout(before)?;
        Ok(prepared(socket))
    }

    /// Only the readiness backend runs here, and its listeners do not block.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn accept(listener: &Socket) -> io::Result<Socket> {
        listener.accept().map(|(socket, _)| prepared(socket))
    }

    /// A connection in the backlog of a listener made elsewhere has not inherited the options that a driver set
    /// later.
    fn prepared(socket: socket2::Socket) -> Socket {
        let _ = inline_urgent(&socket);
        let _ = nodelay(&socket);
        socket.into()
    }
}

#[cfg(windows)]
mod windows {
    use std::io;
    use std::sync::{Arc, Condvar, Mutex, PoisonError};
    use std::time::Duration;

    use crate::socket::Socket;
    use crate::waker::{Wake, Waker};

    #[derive(Default)]
    pub(super) struct Watch(Arc<Signal>);

    #[derive(Default)]
    struct Signal {
        woken: Mutex<bool>,
        changed: Condvar,
    }

    impl Wake for Signal {
        fn wake(&self) {
            *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.changed.notify_one();
        }
    }

    impl Watch {
        pub(super) fn new() -> io::Result<Watch> {
            Ok(Watch::default())
        }

        pub(super) fn waker(&self) -> Waker {
            Waker::new(Arc::clone(&self.0) as Arc<_>)
        }

        pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
            let woken = self.0.woken.lock().unwrap_or_else(PoisonError::into_inner);
            let asleep = |woken: &mut bool| !*woken;
            let mut woken = match timeout {
                None => self.0.changed.wait_while(woken, asleep).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    let waited = self.0.changed.wait_timeout_while(woken, timeout, asleep);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            *woken = false;
            Ok(())
        }

        pub(super) fn watch(&self, _listener: &Socket) -> io::Result<()> {
            Ok(())
        }

        pub(super) fn forget(&self, _listener: &Socket) {}
    }

    pub(super) fn try_accept(_listener: &Socket) -> io::Result<Option<Socket>> {
        Ok(None)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use overlapped_testing::PATIENCE;

    use super::*;
    use crate::socket::{ListenOptions, listen};

    fn listener() -> (Socket, std::net::SocketAddr) {
        let socket = listen("127.0.0.1:0".parse().unwrap(), ListenOptions::default()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    #[test]
    fn a_blocking_listener_without_a_connection_is_not_waited_for() {
        let (listener, address) = listener();
        assert!(!listener.nonblocking().unwrap());
        assert!(try_accept(&listener).unwrap().is_none());
        let client = TcpStream::connect(address).unwrap();
        let socket = try_accept(&listener).unwrap().expect("it waits in the backlog");
        assert_eq!(socket.peer_addr().unwrap().as_socket(), Some(client.local_addr().unwrap()));
        assert_eq!((listener.read_timeout().unwrap(), socket.read_timeout().unwrap()), (None, None));
        assert!(try_accept(&listener).unwrap().is_none());
    }

    /// The moment between looking and accepting, in which another holder took the connection.
    #[test]
    fn a_connection_that_somebody_else_took_is_not_waited_for() {
        let (listener, _) = listener();
        listener.set_nonblocking(cfg!(not(target_os = "linux"))).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _ = tell.send(unix::accept(&listener).err().map(|error| error.kind()));
        });
        let error = told.recv_timeout(PATIENCE).expect("it does not block for good");
        assert_eq!(error, Some(io::ErrorKind::WouldBlock));
    }

    /// Two take from one backlog: each connection is taken once.
    #[test]
    fn two_that_take_from_one_backlog_take_each_connection_once() {
        const CONNECTIONS: usize = 200;
        let (one, address) = listener();
        let other = one.try_clone().unwrap();
        let taken = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for listener in [&one, &other] {
                scope.spawn(|| {
                    let start = Instant::now();
                    while taken.load(Ordering::Relaxed) < CONNECTIONS {
                        assert!(start.elapsed() < PATIENCE, "a connection was lost");
                        let socket = try_accept(listener).unwrap();
                        taken.fetch_add(usize::from(socket.is_some()), Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..CONNECTIONS {
                drop(TcpStream::connect(address).unwrap());
            }
        });
        assert_eq!(taken.into_inner(), CONNECTIONS);
    }

    #[test]
    fn a_connection_and_a_wake_end_a_wait() {
        let (listener, address) = listener();
        let mut watch = AcceptWatch::new().unwrap();
        watch.watch(&listener).unwrap();
        let client = TcpStream::connect(address).unwrap();
        watch.wait(Some(PATIENCE)).unwrap();
        assert!(try_accept(&listener).unwrap().is_some());
        drop(client);
        let waker = watch.waker();
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| waker.wake());
            watch.wait(Some(PATIENCE)).unwrap();
        });
        watch.forget(&listener);
        waker.wake();
        watch.wait(Some(PATIENCE)).unwrap();
        assert!(start.elapsed() < PATIENCE);
    }

    /// The watch itself does not keep the port.
    #[test]
    fn a_watched_listener_that_is_closed_gives_its_port_back() {
        let (listener, address) = listener();
        let watch = AcceptWatch::new().unwrap();
        watch.watch(&listener).unwrap();
        drop(listener);
        assert!(TcpStream::connect(address).is_err());
        drop(watch);
    }
}
