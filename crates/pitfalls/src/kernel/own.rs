//! The stand-in where no completion kernel may be used: a thread that keeps raw addresses and reads or writes there
//! when a socket is ready. Calls behave as on Windows: what can be done at once is, and a completion is posted too.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Block, Completion, Kernel, KernelName, NO_SIGNAL, Purpose, RawSocket, SendMode, Started};

/// How long the thread waits for sockets before it looks at new operations.
const TICK_MS: i32 = 1;
/// Descriptors of the kernel's own begin here, so that a program's numbers are what they would be without it. The
/// first one that the descriptor limit leaves room for.
const FIRST_DESCRIPTORS: [i32; 3] = [500, 200, 100];

pub(super) struct Own {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    skipping: HashSet<RawSocket>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<Operation>,
    completed: VecDeque<Completion>,
    stopped: bool,
}

/// An operation in flight. As in a real kernel, it keeps the socket open, and nothing else.
struct Operation {
    socket: OwnedFd,
    purpose: Purpose,
    address: *mut u8,
    len: usize,
    done: usize,
    whole: bool,
    cancelled: bool,
    block: *mut Block,
}

// SAFETY: the addresses are memory of an arena, which every thread may use; that two do so at the same time is the
// subject of this crate, and all accesses are volatile or the system's own.
unsafe impl Send for Operation {}
// SAFETY: as above; a completion only carries the address of a block.
unsafe impl Send for Completion {}

impl Own {
    pub(super) fn new() -> io::Result<Own> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("kernel".into()).spawn(move || run(&theirs))?;
        Ok(Own { shared, thread: Some(thread), skipping: HashSet::new() })
    }

    /// # Safety
    /// `address` and `block` are memory of an arena.
    unsafe fn start(&mut self, socket: RawSocket, mut operation: Operation) -> Started {
        // SAFETY: the caller's promise.
        match unsafe { operation.attempt() } {
            None => {
                self.shared.lock().pending.push(operation);
                self.shared.changed.notify_all();
                Started::Pending
            }
            Some(Ok(bytes)) if self.skipping.contains(&socket) => Started::Done(bytes),
            Some(Ok(bytes)) => {
                let completion = Completion::new(operation.block, Ok(bytes));
                self.shared.lock().completed.push_back(completion);
                Started::DoneAndPosted(bytes)
            }
            Some(Err(error)) => Started::Failed(error),
        }
    }
}

impl Kernel for Own {
    fn name(&self) -> KernelName {
        KernelName::Own
    }

    fn adopt(&mut self, _socket: RawSocket) -> io::Result<()> {
        Ok(())
    }

    unsafe fn receive(
        &mut self,
        socket: RawSocket,
        buffer: *mut u8,
        len: usize,
        block: *mut Block,
    ) -> Started {
        match Operation::new(socket, Purpose::Receive, buffer, len, block, false) {
            // SAFETY: the caller's promise.
            Ok(operation) => unsafe { self.start(socket, operation) },
            Err(error) => Started::Failed(error),
        }
    }

    unsafe fn send(
        &mut self,
        socket: RawSocket,
        buffer: *const u8,
        len: usize,
        block: *mut Block,
        mode: SendMode,
    ) -> Started {
        let whole = mode != SendMode::Some;
        match Operation::new(socket, Purpose::Send, buffer.cast_mut(), len, block, whole) {
            // SAFETY: the caller's promise.
            Ok(operation) => unsafe { self.start(socket, operation) },
            Err(error) => Started::Failed(error),
        }
    }

    fn cancel(&mut self, _socket: RawSocket, block: *mut Block) {
        let mut state = self.shared.lock();
        state
            .pending
            .iter_mut()
            .filter(|operation| operation.block == block)
            .for_each(|it| it.cancelled = true);
        self.shared.changed.notify_all();
    }

    fn next(&mut self, patience: Duration) -> io::Result<Option<Completion>> {
        let state = self.shared.lock();
        let waited =
            self.shared.changed.wait_timeout_while(state, patience, |state| state.completed.is_empty());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        Ok(state.completed.pop_front())
    }

    fn skip_on_success(&mut self, socket: RawSocket) -> io::Result<()> {
        self.skipping.insert(socket);
        Ok(())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Operation {
    fn new(
        socket: RawSocket,
        purpose: Purpose,
        address: *mut u8,
        len: usize,
        block: *mut Block,
        whole: bool,
    ) -> io::Result<Operation> {
        let socket = duplicate(socket)?;
        Ok(Operation { socket, purpose, address, len, done: 0, whole, cancelled: false, block })
    }

    /// Goes on as far as the socket lets it. `None`: not over.
    ///
    /// # Safety
    /// `address` is memory of an arena.
    unsafe fn attempt(&mut self) -> Option<io::Result<usize>> {
        if self.purpose == Purpose::Receive && self.len == 0 {
            return readable(self.socket.as_raw_fd());
        }
        loop {
            let (socket, len) = (self.socket.as_raw_fd(), self.len - self.done);
            // SAFETY: breaks INV-1, on purpose: nobody owns these bytes. The arena outlives this thread's use of them.
            let count = unsafe {
                let at = self.address.add(self.done).cast();
                match self.purpose {
                    Purpose::Receive => libc::recv(socket, at, len, libc::MSG_DONTWAIT),
                    Purpose::Send => libc::send(socket, at, len, libc::MSG_DONTWAIT | NO_SIGNAL),
                }
            };
            if count < 0 {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::WouldBlock => return None,
                    io::ErrorKind::Interrupted => continue,
                    _ => return Some(Err(error)),
                }
            }
            self.done += count as usize;
            if self.done == self.len || !self.whole {
                return Some(Ok(self.done));
            }
        }
    }

    fn wanted(&self) -> libc::pollfd {
        let events = if self.purpose == Purpose::Receive { libc::POLLIN } else { libc::POLLOUT };
        libc::pollfd { fd: self.socket.as_raw_fd(), events, revents: 0 }
    }
}

/// A receive of zero bytes: over when there is something to receive, or the stream has ended. `recv` with a length of
/// zero does not wait for that on every system.
fn readable(socket: RawSocket) -> Option<io::Result<usize>> {
    let mut byte = 0_u8;
    let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    // SAFETY: an open socket, and one writable byte.
    if unsafe { libc::recv(socket, (&raw mut byte).cast(), 1, flags) } >= 0 {
        return Some(Ok(0));
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => None,
        _ => Some(Err(error)),
    }
}

fn duplicate(socket: RawSocket) -> io::Result<OwnedFd> {
    let mut failed = io::Error::from_raw_os_error(libc::EINVAL);
    for first in FIRST_DESCRIPTORS {
        // SAFETY: a number, which need not be open.
        match unsafe { libc::fcntl(socket, libc::F_DUPFD_CLOEXEC, first) } {
            -1 => failed = io::Error::last_os_error(),
            // SAFETY: a descriptor that was just made, and is ours alone.
            copy => return Ok(unsafe { OwnedFd::from_raw_fd(copy) }),
        }
        if failed.raw_os_error() != Some(libc::EINVAL) {
            break;
        }
    }
    Err(failed)
}

/// The thread: waits until a socket is ready, then reads or writes where it was told to, whoever has that memory now.
fn run(shared: &Shared) {
    loop {
        let mut wanted: Vec<libc::pollfd> = {
            let state = shared.lock();
            let idle = |state: &mut State| state.pending.is_empty() && !state.stopped;
            let state = shared.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
            if state.stopped {
                return;
            }
            state.pending.iter().map(Operation::wanted).collect()
        };
        // SAFETY: an array of as many entries as are stated. Their sockets are open: only this thread ends an operation.
        unsafe { libc::poll(wanted.as_mut_ptr(), wanted.len() as libc::nfds_t, TICK_MS) };
        let mut state = shared.lock();
        let pending = std::mem::take(&mut state.pending);
        for mut operation in pending {
            let over = if operation.cancelled {
                Some(Err(io::Error::from_raw_os_error(libc::ECANCELED)))
            } else {
                // SAFETY: the promise of whoever started it.
                unsafe { operation.attempt() }
            };
            match over {
                None => state.pending.push(operation),
                Some(result) => {
                    state.completed.push_back(Completion::new(operation.block, result));
                    shared.changed.notify_all();
                }
            }
        }
    }
}
