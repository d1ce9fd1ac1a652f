//! Readiness: the system reports when a call would not wait (epoll, kqueue), and the backend makes the call then.
//!
//! Edge-triggered: an edge says that something *may* have changed since the last "would block", so each half of
//! a socket remembers whether it may be tried. Calls are made one at a time as the driver asks for completions,
//! so one block, still in the cache, serves one connection after the other.

mod attempt;
mod calls;
mod names;
mod token;
mod urgent;
mod wake;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};

use super::choice::Refusal;
use super::names::CallNames;
use super::{Abilities, Backend, BackendKind, Create, InFlight, Wait};
use crate::buffer::Pool;
use crate::operation::{Close, Completion, Harvested, MOST_AT_ONCE, OpKey, Operation, Outcome, Submitted};
use crate::os::CountedPort;
use crate::socket::{self, Socket, UnixCalls};
use crate::time::Time;
use crate::waker::Waker;

use attempt::Attempt;
use token::{GENERATIONS, WAKE, named_by, token_of};
pub(crate) use wake::PollWaker;
use watch::Watches;

const EVENTS: usize = 1024;
/// Completions per harvest beyond one for each event: it bounds the share of a turn that a peer without pauses can
/// take.
const EXTRA: usize = 64;

/// One worker's poller.
pub struct Readiness {
    poll: Poll,
    events: Events,
    sources: Vec<Source>,
    watches: Watches,
    free: Vec<u32>,
    /// Sources that may have something to do, in the order in which they are served.
    ready: VecDeque<u32>,
    budget: usize,
    /// Completions without an event, such as those of cancels.
    immediate: VecDeque<Completion<Socket>>,
    pool: Pool,
    wake: Arc<mio::Waker>,
    woken: bool,
    /// True exactly when the last poll reported all events.
    looked: bool,
    epoch: Instant,
    _counted: CountedPort,
}

/// A registered socket, as operations name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    fd: RawFd,
    source: u32,
}

/// The state of a registered socket. Half a cache line, and never across two.
#[derive(Default)]
#[repr(align(32))]
struct Source {
    generation: u32,
    /// True exactly when a receive or accept may be tried: since an edge, no call has said "would block".
    readable: bool,
    /// True exactly when a send may be tried, by the same rule.
    writable: bool,
    /// True once the peer's FIN or reset was announced: a short read does not mean that nothing is left.
    ended: bool,
    /// True from when urgent data was announced until a receive would block: reads stop short at it (RFC 6093,
    /// section 3.1), and the bytes after it have no edge of their own.
    urgent: bool,
    /// True exactly when this source is in the `ready` queue.
    queued: bool,
    reading: Option<OpKey>,
    writing: Option<OpKey>,
}

impl Create for Readiness {
    fn create(pool: Pool) -> Result<Readiness, Refusal> {
        let refusal = |error: io::Error| Refusal {
            backend: BackendKind::Readiness,
            reason: format!("a poller could not be made: {error}"),
            remedy: "raise the descriptor limit (`ulimit -n`)".into(),
        };
        let poll = Poll::new().map_err(refusal)?;
        let wake = mio::Waker::new(poll.registry(), WAKE).map_err(refusal)?;
        Ok(Readiness {
            poll,
            events: Events::with_capacity(EVENTS),
            sources: Vec::new(),
            watches: Watches::default(),
            free: Vec::new(),
            ready: VecDeque::new(),
            budget: 0,
            immediate: VecDeque::new(),
            pool,
            wake: Arc::new(wake),
            woken: false,
            looked: false,
            epoch: Instant::now(),
            _counted: CountedPort::new(),
        })
    }
}

impl Readiness {
    fn source(&mut self, handle: Handle) -> &mut Source {
        &mut self.sources[handle.source as usize]
    }

    /// While one source is served, prefetches what the next two need.
    #[inline]
    fn prefetch(&self, ops: &InFlight<Readiness>) {
        if let Some(key) = self.upcoming() {
            ops.prefetch(key);
            if let Some(at) = self.ready.get(1) {
                crate::prefetch(&self.sources, *at as usize);
            }
        }
    }

    /// Serves one source: its sending half first, so that queued bytes are sent before more are received.
    #[inline]
    fn serve(&mut self, at: u32, ops: &mut InFlight<Readiness>) -> Option<Completion<Socket>> {
        let source = &self.sources[at as usize];
        if let Some(key) = source.writing.filter(|_| source.writable) {
            let operation = ops.get_mut(key).expect("INV-1: a waiting operation is in the table").operation;
            if let Attempt::Done(outcome) = self.attempt(operation) {
                self.sources[at as usize].writing = None;
                self.enqueue(at);
                return Some(Completion { key, outcome, more: false });
            }
        }
        let source = &self.sources[at as usize];
        let key = source.reading.filter(|_| source.readable)?;
        let operation = ops.get_mut(key).expect("INV-1: a waiting operation is in the table").operation;
        let attempt = match operation {
            Operation::Receive { socket, block } => self.receive(*socket, block),
            operation => self.attempt(operation),
        };
        let Attempt::Done(outcome) = attempt else {
            self.enqueue(at);
            return None;
        };
        let more = matches!(outcome, Outcome::Received(..) | Outcome::Accepted(..));
        if more {
            self.enqueue(at);
        } else {
            self.sources[at as usize].reading = None;
        }
        Some(Completion { key, outcome, more })
    }

    /// Queues a source if it has something to try.
    fn enqueue(&mut self, at: u32) {
        let source = &mut self.sources[at as usize];
        let reads = source.readable && source.reading.is_some();
        let writes = source.writable && source.writing.is_some();
        if (reads || writes) && !source.queued {
            source.queued = true;
            self.ready.push_back(at);
        }
    }

    /// Takes note of the events. Returns how many there were.
    fn take_events(&mut self) -> usize {
        let mut count = 0;
        for event in &self.events {
            count += 1;
            if event.token() == WAKE {
                self.woken = true;
                continue;
            }
            let (at, generation) = named_by(event.token());
            let Some(source) = self.sources.get_mut(at as usize) else { continue };
            if source.generation & GENERATIONS != generation {
                continue; // an event for an earlier socket in this place (INV-3)
            }
            source.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            source.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
            source.ended |= event.is_read_closed() || event.is_error();
            if event.is_priority() {
                source.urgent = true;
            }
            if event.is_error() || event.is_read_closed() && event.is_write_closed() {
                self.watches.broke(at);
            } else if event.is_read_closed() {
                self.watches.ended(at);
            }
            let reads = source.readable && source.reading.is_some();
            let writes = source.writable && source.writing.is_some();
            if (reads || writes) && !source.queued {
                source.queued = true;
                self.ready.push_back(at);
            }
        }
        self.end_watches();
        count
    }
}

impl Backend for Readiness {
    type Socket = Socket;
    type Handle = Handle;
    type Header = ();
    type Calls = UnixCalls;

    const KIND: BackendKind = BackendKind::Readiness;
    const CALL_NAMES: CallNames = names::NAMES;
    /// `epoll_wait` takes milliseconds, and mio rounds up. The rest is timer slack (50 µs) and the time to wake up.
    const WAIT_ROUNDING: Duration = Duration::from_micros(1_200);

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn calls(&self) -> &UnixCalls {
        &UnixCalls
    }

    fn abilities(&self) -> Abilities {
        Abilities { multishot_accept: true, multishot_receive: true, accepts: 1 }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.epoch.elapsed()
    }

    fn waker(&self) -> Waker {
        Waker::new(Arc::new(PollWaker(Arc::clone(&self.wake))))
    }

    fn open(&mut self, address: SocketAddr, from: Option<SocketAddr>) -> io::Result<Socket> {
        socket::towards(address, from)
    }

    fn adopt(&mut self, socket: &Socket, _owner: u32) -> io::Result<Handle> {
        calls::prepare(socket)?;
        let at = self.free.pop().unwrap_or_else(|| {
            self.sources.push(Source::default());
            (self.sources.len() - 1) as u32
        });
        let fd = socket.as_raw_fd();
        let token = token_of(at, self.sources[at as usize].generation);
        let events = urgent::announced_with(Interest::READABLE | Interest::WRITABLE);
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), token, events) {
            self.free.push(at);
            return Err(error);
        }
        // A new socket can be written to; if it can be read, registering causes an edge.
        self.sources[at as usize].writable = true;
        Ok(Handle { fd, source: at })
    }

    unsafe fn submit(&mut self, key: OpKey, operation: &mut Operation<Handle>, (): &()) -> Submitted<Socket> {
        match operation {
            Operation::Connect { socket, address } => {
                let (handle, result) = (*socket, calls::connect(socket.fd, address));
                match result {
                    Ok(true) => return Submitted::Done(Outcome::Connected),
                    Ok(false) => {
                        let source = self.source(handle);
                        (source.writable, source.writing) = (false, Some(key));
                    }
                    Err(error) => return Submitted::Done(Outcome::Failed(error)),
                }
            }
            Operation::Send { socket, .. } => {
                let handle = *socket;
                if self.source(handle).writable
                    && let Attempt::Done(outcome) = self.attempt(operation)
                {
                    return Submitted::Done(outcome);
                }
                self.source(handle).writing = Some(key);
            }
            // These are tried in order, like those with an edge.
            Operation::Receive { socket: handle, .. } | Operation::Accept { listener: handle } => {
                let handle = *handle;
                self.source(handle).reading = Some(key);
                self.enqueue(handle.source);
            }
            Operation::Watch { socket } => return self.submit_watch(key, *socket),
        }
        Submitted::Pending
    }

    #[inline]
    unsafe fn send_now(&mut self, socket: Handle, bytes: &[u8]) -> Option<io::Result<usize>> {
        if !self.source(socket).writable {
            return None;
        }
        let bytes = &bytes[..bytes.len().min(MOST_AT_ONCE)];
        let result = calls::send(socket.fd, bytes);
        self.sent(socket, result, bytes.len())
    }

    fn cancel(&mut self, key: OpKey, ops: &mut InFlight<Readiness>) {
        let Some(entry) = ops.get(key) else { return };
        let (handle, writing) = match entry.operation {
            Operation::Accept { listener: handle } | Operation::Receive { socket: handle, .. } => {
                (*handle, false)
            }
            Operation::Connect { socket: handle, .. } | Operation::Send { socket: handle, .. } => {
                (*handle, true)
            }
            Operation::Watch { socket } => return self.cancel_watch(key, *socket),
        };
        let source = self.source(handle);
        let half = if writing { &mut source.writing } else { &mut source.reading };
        // Otherwise it was cancelled before, or its completion was queued already.
        if half.take_if(|waiting| *waiting == key).is_some() {
            self.immediate.push_back(Completion { key, outcome: Outcome::Cancelled, more: false });
        }
    }

    fn harvest(&mut self, wait: Wait, _ops: &mut InFlight<Readiness>) -> io::Result<()> {
        let busy = !self.ready.is_empty() || !self.immediate.is_empty();
        let timeout = match wait {
            _ if busy => Some(Duration::ZERO),
            Wait::Poll => Some(Duration::ZERO),
            Wait::Until(at) => Some(at.since(self.now())),
            Wait::Forever => None,
        };
        self.looked = false;
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {
                let count = self.take_events();
                self.looked = count < EVENTS && (count > 0 || timeout == Some(Duration::ZERO));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        self.budget = self.ready.len() + EXTRA;
        Ok(())
    }

    #[inline]
    fn next(&mut self, ops: &mut InFlight<Readiness>) -> Option<Harvested<Socket>> {
        if let Some(completion) = self.immediate.pop_front() {
            return Some(Harvested::Completed(completion));
        }
        if std::mem::take(&mut self.woken) {
            return Some(Harvested::Woken);
        }
        while self.budget > 0 {
            let at = self.ready.pop_front()?;
            self.budget -= 1;
            self.sources[at as usize].queued = false;
            self.prefetch(ops);
            if let Some(completion) = self.serve(at, ops) {
                return Some(Harvested::Completed(completion));
            }
        }
        None
    }

    #[inline]
    fn upcoming(&self) -> Option<OpKey> {
        self.sources.get(*self.ready.front()? as usize)?.reading
    }

    fn looked(&self) -> bool {
        self.looked && self.ready.is_empty() && self.immediate.is_empty()
    }

    fn close(&mut self, socket: Socket, handle: Option<Handle>, how: Close) {
        if let Some(handle) = handle {
            let source = self.source(handle);
            debug_assert!(
                source.reading.is_none() && source.writing.is_none(),
                "INV-2: nothing is in flight"
            );
            let generation = source.generation.wrapping_add(1);
            // It may still be queued. The slot is free all the same: serving it then does nothing.
            let queued = source.queued;
            *source = Source { generation, queued, ..Source::default() };
            self.free.push(handle.source);
            self.watches.forget(handle.source);
        }
        if how == Close::Reset {
            // If this fails, the close is an orderly one.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        // Closing the only descriptor of a socket takes it out of the poller too: epoll(7), kqueue(2).
        drop(socket);
    }
}
