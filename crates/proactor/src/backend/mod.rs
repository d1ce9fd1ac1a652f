//! What every backend gives. A backend translates; it decides nothing that the driver could decide.
//!
//! | item | io_uring | iocp | readiness | simulated |
//! | --- | --- | --- | --- | --- |
//! | `submit` | an SQE, batched | the call itself: done, pending or failed | the non-blocking call, else it waits for an edge | a pending operation |
//! | `send_now` | no | no | the non-blocking call | if it may be done at once |
//! | a watch | a multishot poll | a `WSARecv` of no bytes | an event that says error | a look at the stream |
//! | `cancel` | `ASYNC_CANCEL` | `CancelIoEx` of that one | forgets it | forgets it |
//! | `harvest` | one `enter`: submits and waits | `GetQueuedCompletionStatusEx` | `epoll_wait`, `kevent` | advances the virtual clock |
//! | `next` | a CQE | a packet | performs what became possible | a seeded choice |
//! | `looked` | nothing left over by `enter` | fewer packets than it takes | fewer events than it takes, all served | nothing left |
//! | `discard` | `recv` with `MSG_DONTWAIT` | `recv` after `FIONBIO` | `recv` with `MSG_DONTWAIT` | empties the stream |
//! | `delivery` | `SIOCOUTQ`, `TCP_INFO` | `SIO_TCP_INFO` | as io_uring on Linux; elsewhere it is not known | the stream's counts |
//! | `now` | monotonic clock | monotonic clock | monotonic clock | virtual clock |
//! | `waker` | an eventfd | a posted packet | the poller's own | a flag |
//!
//! Rules that the conformance suite checks on each of them:
//!
//! * An operation that was [`Submitted::Pending`] gets exactly one last completion (`more` false), whatever
//!   happens: success, failure or [`Outcome::Cancelled`]. Until then the table entry is not touched (INV-1).
//! * `Done` and `Failed` *are* that completion: nothing more comes for them.
//! * `cancel` may lose the race; then the operation's own result comes instead.
//! * Closing a socket cancels nothing: the driver closes one only when nothing is in flight for it (INV-2).
//! * A receive may be [`Outcome::Cancelled`] though nobody asked for that. Nothing is lost: it is submitted again.
//! * Urgent data is data: it arrives in its place in the stream, and no byte waits for what follows it (RFC 6093). The
//!   simulated kernel has none.

use std::fmt;
use std::io;
use std::net::SocketAddr;

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

// The list of backends: whoever adds one adds its module above, its line here, and nothing outside its own folder.
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

/// One worker's way into the kernel. Made and used on one thread.
pub trait Backend: Sized {
    /// An open socket. It is closed through [`close`](Self::close); dropping one of a real kernel closes it too.
    type Socket: Send + fmt::Debug + 'static;
    /// What names an adopted socket in an operation. A plain value: the connection keeps the socket alive.
    type Handle: Copy + fmt::Debug;
    /// What the kernel wants at a fixed address while an operation is in flight: an `OVERLAPPED`, or nothing. What the
    /// kernel writes in it, and what the backend changes meanwhile, are cells: nobody has a `&mut` to it then.
    type Header: Default;

    /// The calls on a socket that no operation stands for.
    type Calls: SocketCalls<Self::Socket>;

    /// Which one this is.
    const KIND: BackendKind;
    /// What its kernel calls its calls.
    const CALL_NAMES: CallNames;

    /// The blocks that it receives into.
    fn pool(&self) -> &Pool;

    /// The calls on a socket that no operation stands for.
    fn calls(&self) -> &Self::Calls;

    /// What this one can do beyond the minimum.
    fn abilities(&self) -> Abilities;

    /// The time. Nothing else reads a clock.
    fn now(&self) -> Time;

    /// A handle that ends a wait in [`harvest`](Self::harvest).
    fn waker(&self) -> Waker;

    /// Makes an unconnected socket for `connect` to `address`.
    ///
    /// # Errors
    /// What the system says: out of descriptors, address family not supported …
    fn open(&mut self, address: SocketAddr) -> io::Result<Self::Socket>;

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
    /// Unless the answer is [`Submitted::Done`], the kernel may use `operation`, `header` and the bytes they own
    /// from now on: both stay where they are, and are neither changed nor dropped, until the last completion for
    /// `key` was taken from [`next`](Self::next) (INV-1). `key` names them in the table that the backend is handed
    /// later, and the sockets they name stay open for as long.
    unsafe fn submit(
        &mut self,
        key: OpKey,
        operation: &mut Operation<Self::Handle>,
        header: &Self::Header,
    ) -> Submitted<Self::Socket>;

    /// Sends what can be sent without waiting and without keeping anything of it: a send that is over at once
    /// never enters the table. It may be less than all of it. `None`: not now, or not at all with this backend; then it is submitted.
    ///
    /// # Safety
    /// The socket that `socket` names is open.
    unsafe fn send_now(&mut self, socket: Self::Handle, bytes: &[u8]) -> Option<io::Result<usize>> {
        let _ = (socket, bytes);
        None
    }

    /// Asks for an operation to end early. Its last completion still comes.
    fn cancel(&mut self, key: OpKey, ops: &mut InFlight<Self>);

    /// Hands the kernel what is batched, then waits for completions as `wait` says. Returning early is allowed.
    ///
    /// # Errors
    /// Only what ends the worker: the ring or port itself is broken.
    fn harvest(&mut self, wait: Wait, ops: &mut InFlight<Self>) -> io::Result<()>;

    /// The next completion or wake of this harvest; `None` when it is time for the next one.
    fn next(&mut self, ops: &mut InFlight<Self>) -> Option<Harvested<Self::Socket>>;

    /// Whether the last harvest looked at all there was, and all of that was handed out. Called after [`next`](Self::next)
    /// returned `None`. False whenever that is not certain: after a harvest that was interrupted or whose time ran out,
    /// or that found more than it takes at once; and while a receive was submitted of which nobody knows yet whether
    /// bytes wait for it.
    fn looked(&self) -> bool;

    /// The operation that is likely to complete next, if that is known: a hint, so that memory can be
    /// [prefetched](crate::prefetch).
    fn upcoming(&self) -> Option<OpKey> {
        None
    }

    /// Closes a socket that has no operation in flight. [`Close::Reset`] discards what was not yet sent and
    /// tells the peer with a reset. The descriptor or handle is closed when this returns, and counted until then.
    fn close(&mut self, socket: Self::Socket, handle: Option<Self::Handle>, how: Close);
}

/// What a backend can do beyond the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// One submitted accept completes once per connection, until it is cancelled.
    pub multishot_accept: bool,
    /// One submitted receive completes once per arrival, until it is cancelled.
    pub multishot_receive: bool,
    /// Accepts worth having in flight per listener when they are not multishot.
    pub accepts: u16,
}

/// How long a harvest may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Poll,
    /// Until something completes or this moment has come.
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
    /// Makes one that receives into blocks of `pool`.
    ///
    /// # Errors
    /// Why this machine does not offer it here and now.
    fn create(pool: Pool) -> Result<Self, choice::Refusal>;

    /// The size of its submission ring; `None` for a backend without one.
    fn ring_size(&self) -> Option<feature::RingSize> {
        None
    }

    /// What its kernel can do beyond what is needed, each feature tried. Empty for a backend that uses none.
    #[must_use]
    fn features() -> Vec<feature::Feature> {
        Vec::new()
    }
}
