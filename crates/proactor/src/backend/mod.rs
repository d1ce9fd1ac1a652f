//! What every backend provides. A backend translates; it makes no decision that the driver can make.
//!
//! # Backends
//!
//! | item | io_uring | iocp | readiness | simulated |
//! | --- | --- | --- | --- | --- |
//! | `submit` | an SQE, batched | the call itself: done, pending or failed | the non-blocking call, else it waits for an edge | a pending operation |
//! | `send_now` | no | no | the non-blocking call | if it may be done at once |
//! | a watch | a multishot poll | a `WSARecv` of no bytes | an event that says error | a look at the stream |
//! | `cancel` | `ASYNC_CANCEL` | `CancelIoEx` of that one | forgets it | forgets it |
//! | `submit_some` | an `enter` that submits | no | no | advances the virtual clock |
//! | `harvest` | one `enter`: submits and waits | `GetQueuedCompletionStatusEx` | `epoll_wait`, `kevent` | advances the virtual clock |
//! | `next` | a CQE | a packet | performs what became possible | a seeded choice |
//! | `looked` | nothing left over by `enter` | fewer packets than it takes | fewer events than it takes, all served | nothing left |
//! | `discard` | `recv` with `MSG_DONTWAIT` | `recv` after `FIONBIO` | `recv` with `MSG_DONTWAIT` | empties the stream |
//! | `send` without an operation | `send` with `MSG_DONTWAIT` | `send` after `FIONBIO` | `send` with `MSG_DONTWAIT` | what fits into the stream |
//! | `delivery` | `SIOCOUTQ`, `TCP_INFO` | `SIO_TCP_INFO` | as io_uring on Linux; elsewhere it is not known | the stream's counts |
//! | `tcp_info` | the same | the same | the same | the stream's counts |
//! | a wait ends late by | timer slack, 50 µs | up to 16 ms: the system's clock ticks | up to 1 ms: `epoll_wait` takes milliseconds | nothing |
//! | `now` | monotonic clock | monotonic clock | monotonic clock | virtual clock |
//! | `waker` | an eventfd | a posted packet | the poller's own | a flag |
//!
//! Rules that the conformance suite checks on each of them:
//!
//! * An operation that was [`Submitted::Pending`] gets exactly one last completion (`more` false), whatever happens:
//!   success, failure or [`Outcome::Cancelled`](crate::operation::Outcome::Cancelled). Until then the table entry is
//!   not touched (INV-1).
//! * [`Submitted::Done`], a failure too, *is* that completion: no other comes.
//! * `cancel` may lose the race; then the operation's own result comes instead.
//! * Closing a socket cancels nothing: the driver closes one only when nothing is in flight for it (INV-2).
//! * A receive may be [`Outcome::Cancelled`](crate::operation::Outcome::Cancelled) without a cancel. No data is lost:
//!   the driver submits it again.
//! * Urgent data arrives in line, in its place in the stream, and no byte waits for the bytes that follow it (RFC
//!   6093). The simulated kernel has none.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::buffer::Pool;
use crate::inflight::Table;
use crate::operation::{Close, Harvested, OpKey, Operation, Submitted};
use crate::socket::SocketCalls;
use crate::time::Time;
use crate::waker::Waker;

use names::CallNames;

pub mod choice;
pub mod feature;
pub mod names;
pub mod probe;
mod visit;

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub mod io_uring;
#[cfg(windows)]
pub mod iocp;
#[cfg(unix)]
pub mod readiness;
pub mod simulated;

pub use visit::Visitor;

// The list of backends. A new backend needs its own folder, its module above and its line here; nothing else.
visit::backends! {
    /// Linux's submission and completion rings.
    IoUring = "io_uring": io_uring::IoUring, if all(target_os = "linux", target_pointer_width = "64");
    /// Windows' I/O completion ports.
    Iocp = "iocp": iocp::Iocp, if windows;
    /// epoll or kqueue: the system says when a call would succeed, the backend makes the call.
    Readiness = "readiness": readiness::Readiness, if unix;
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The in-flight table of a driver over `B`.
pub type InFlight<B> = Table<<B as Backend>::Header, <B as Backend>::Handle>;

/// One worker's interface to the kernel. Made and used on one thread.
pub trait Backend: Sized {
    /// An open socket. It is closed through [`close`](Self::close); dropping one of a real kernel closes it too.
    type Socket: Send + fmt::Debug + 'static;
    /// How operations name an adopted socket. A plain value: the connection keeps the socket open.
    type Handle: Copy + fmt::Debug;
    /// What the kernel needs at a fixed address while an operation is in flight: an `OVERLAPPED`, or nothing. Fields
    /// that the kernel or the backend writes during that time must be cells: there is no `&mut` to a header in
    /// flight.
    type Header: Default;

    /// Calls on a socket that are made directly, without an operation.
    type Calls: SocketCalls<Self::Socket>;

    /// Which backend this is.
    const KIND: BackendKind;
    /// The kernel's own names for its calls, for traces.
    const CALL_NAMES: CallNames;
    /// How late a [`harvest`](Self::harvest) that waits [`Wait::Until`] a time may end although a processor is free: what
    /// the time is rounded up by, what the system's timers are late by, and the time that the thread takes to wake up.
    /// Of a wait of more than 100 ms, a 128th of it if that is more: Linux lets a long `epoll_wait` end later than a
    /// short one. For a precise time, wait until this much before it, then use [`Wait::Poll`].
    const WAIT_ROUNDING: Duration;

    /// The blocks that it receives into.
    fn pool(&self) -> &Pool;

    /// Calls on a socket that are made directly, without an operation.
    fn calls(&self) -> &Self::Calls;

    /// What this backend can do beyond the minimum.
    fn abilities(&self) -> Abilities;

    /// The current time. The driver reads no other clock.
    fn now(&self) -> Time;

    /// The same from a clock that is cheaper to read, and up to 16 ms behind: [`os::coarse_time_ns`](crate::os::coarse_time_ns).
    /// It counts from another moment than [`now`](Self::now).
    fn coarse_now(&self) -> Time {
        Time::from_nanos(crate::os::coarse_time_ns())
    }

    /// A handle that ends a wait in [`harvest`](Self::harvest).
    fn waker(&self) -> Waker;

    /// Makes a socket for a connect to `address`, bound to `from` if that is given. With port 0 in `from`, the system
    /// picks the port.
    ///
    /// # Errors
    /// What the system says: out of descriptors, address family not supported, `from` is not an address of this machine
    /// or is in use …
    fn open(&mut self, address: SocketAddr, from: Option<SocketAddr>) -> io::Result<Self::Socket>;

    /// Makes a socket usable in operations of this backend: registers it with the poller or port. `owner` is the
    /// index of the connection or listener that it is for, as its operations' entries have it. IOCP needs it: it is the
    /// socket's completion key, and each packet is checked against its entry's owner (INV-3).
    ///
    /// # Errors
    /// What the system says. The socket is unchanged then.
    fn adopt(&mut self, socket: &Self::Socket, owner: u32) -> io::Result<Self::Handle>;

    /// Starts an operation.
    ///
    /// # Safety
    /// Unless the answer is [`Submitted::Done`], the kernel may use `operation`, `header` and the bytes they own from
    /// now on. Until the last completion for `key` was taken from [`next`](Self::next), both stay where they are and
    /// are neither changed nor dropped (INV-1), and the sockets that they name stay open. `key` is their key in the
    /// table that later calls are given.
    unsafe fn submit(
        &mut self,
        key: OpKey,
        operation: &mut Operation<Self::Handle>,
        header: &Self::Header,
    ) -> Submitted<Self::Socket>;

    /// Tries to send without waiting, before the send enters the in-flight table. Returns the number of bytes sent,
    /// which may be smaller than the payload. Returns `None` if the send would block, or if this backend never sends at
    /// once; the driver then submits the send.
    ///
    /// # Safety
    /// The socket that `socket` names is open.
    unsafe fn send_now(&mut self, socket: Self::Handle, bytes: &[u8]) -> Option<io::Result<usize>> {
        let _ = (socket, bytes);
        None
    }

    /// Asks the kernel to end an operation early. Its last completion still comes.
    fn cancel(&mut self, key: OpKey, ops: &mut InFlight<Self>);

    /// Hands `most` operations to the kernel, if more than that are waiting for the next [`harvest`](Self::harvest), which
    /// hands over all. Returns whether it tried: a kernel that is short of something takes fewer. It waits for nothing and brings no completion. For a caller that cannot wait
    /// for the end of a system call that works on many. Backends whose [`submit`](Self::submit) makes the call itself have
    /// none waiting.
    ///
    /// # Errors
    /// As for [`harvest`](Self::harvest).
    fn submit_some(&mut self, most: u32) -> io::Result<bool> {
        let _ = most;
        Ok(false)
    }

    /// Submits what is batched, then waits for completions as `wait` says. Returning early is allowed.
    ///
    /// # Errors
    /// Only if the ring, port or poller itself is broken; the worker ends then.
    fn harvest(&mut self, wait: Wait, ops: &mut InFlight<Self>) -> io::Result<()>;

    /// The next completion or wake of this harvest; `None` when it is time for the next one. The driver looks its key up:
    /// what comes for an operation that is over is dropped (INV-3).
    fn next(&mut self, ops: &mut InFlight<Self>) -> Option<Harvested<Self::Socket>>;

    /// Whether the last harvest found everything that was ready, and all of it was handed out. Called after
    /// [`next`](Self::next) returned `None`. False whenever that is not certain: after a harvest that was
    /// interrupted, timed out, or found more than it takes at once; and after a receive was submitted for which bytes
    /// may already be waiting.
    fn looked(&self) -> bool;

    /// The operation that is likely to complete next, if known: a hint for memory to be
    /// [prefetched](crate::prefetch).
    fn upcoming(&self) -> Option<OpKey> {
        None
    }

    /// Closes a socket that has no operation in flight. [`Close::Reset`] discards unsent bytes and resets the
    /// connection. The descriptor or handle is closed when this returns.
    fn close(&mut self, socket: Self::Socket, handle: Option<Self::Handle>, how: Close);
}

/// What a backend can do beyond the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// One submitted accept completes once per connection, until it is cancelled.
    pub multishot_accept: bool,
    /// One submitted receive completes once per arrival, until it is cancelled.
    pub multishot_receive: bool,
    /// Accepts to keep in flight per listener if they are not multishot.
    pub accepts: u16,
}

/// How long a harvest may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Poll,
    /// Until something completes, or until this time.
    Until(Time),
    /// Until something completes.
    Forever,
}

impl Wait {
    /// The same wait, or one until `at` if that comes first.
    pub(crate) fn at_latest(self, at: Time) -> Wait {
        match self {
            Wait::Poll => Wait::Poll,
            Wait::Until(moment) => Wait::Until(moment.min(at)),
            Wait::Forever => Wait::Until(at),
        }
    }
}

/// Makes a backend on the calling thread.
pub trait Create: Backend {
    /// Makes a backend that receives into blocks of `pool`.
    ///
    /// # Errors
    /// Why this machine does not offer it now.
    fn create(pool: Pool) -> Result<Self, choice::Refusal>;

    /// The size of its submission ring; `None` for a backend without one.
    fn ring_size(&self) -> Option<feature::RingSize> {
        None
    }

    /// Optional features of its kernel, each tried out. Empty for a backend that uses none.
    #[must_use]
    fn features() -> Vec<feature::Feature> {
        Vec::new()
    }
}
