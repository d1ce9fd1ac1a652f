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
use std::time::Duration;

use crate::buffer::{Block, Outgoing, Pool};
use crate::driver::{InFlight, OpKey};
use crate::socket::SocketOptions;
use crate::time::Time;
use crate::waker::Waker;

pub mod choice;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub mod io_uring;
#[cfg(windows)]
pub mod iocp;
pub mod probe;
#[cfg(unix)]
pub mod readiness;
pub mod simulated;

/// The name of a backend, as users write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// Linux's submission and completion rings.
    IoUring,
    /// Windows' I/O completion ports.
    Iocp,
    /// epoll or kqueue: the system says when a call would succeed, the backend makes the call.
    Readiness,
    /// A kernel in memory, under a virtual clock. Never chosen by itself.
    Simulated,
}

impl BackendKind {
    /// The word for the command line and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            BackendKind::IoUring => "io_uring",
            BackendKind::Iocp => "iocp",
            BackendKind::Readiness => "readiness",
            BackendKind::Simulated => "simulated",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One worker's way into the kernel. Made and used on one thread.
pub trait Backend: Sized {
    /// An open socket. It is closed through [`close`](Self::close); dropping one of a real kernel closes it too.
    type Socket: Send + fmt::Debug + 'static;
    /// What names an adopted socket in an operation. A plain value: the connection keeps the socket alive.
    type Handle: Copy + fmt::Debug;
    /// What the kernel wants at a fixed address while an operation is in flight: an `OVERLAPPED`, or nothing. What the
    /// kernel writes in it, and what the backend changes meanwhile, are cells: nobody has a `&mut` to it then.
    type Header: Default;

    /// Which one this is.
    const KIND: BackendKind;

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
    /// index of the connection or listener that it is for, as its operations' entries name it; a kernel that keeps a
    /// word beside a socket is given that.
    ///
    /// # Errors
    /// What the system says. The socket is unchanged then.
    fn adopt(&mut self, socket: &Self::Socket, owner: u32) -> io::Result<Self::Handle>;

    /// Has urgent data on `socket` delivered in line, as bytes of the stream like any other (`SO_OOBINLINE`, RFC 6093).
    /// Sockets that a listener accepts from then on inherit it. Returns whether it was so before.
    ///
    /// # Errors
    /// What the system says.
    fn inline_urgent(&self, socket: &Self::Socket) -> io::Result<bool>;

    /// Has small segments sent at once (`TCP_NODELAY`). Sockets that a listener accepts from then on inherit it. Returns
    /// whether it was so before.
    ///
    /// # Errors
    /// What the system says.
    fn nodelay(&self, socket: &Self::Socket) -> io::Result<bool>;

    /// Sets the options of a connection.
    ///
    /// # Errors
    /// What the system says, for instance of a connection that is already broken.
    fn set_options(&self, socket: &Self::Socket, options: &SocketOptions) -> io::Result<()>;

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

    /// The next completion of this harvest, or `None` when it is time for the next one.
    fn next(&mut self, ops: &mut InFlight<Self>) -> Option<Completion<Self::Socket>>;

    /// Whether the last harvest looked at all there was, and all of that was handed out. Called after [`next`](Self::next)
    /// returned `None`. False whenever that is not certain: after a harvest that was interrupted or whose time ran out,
    /// or that found more than it takes at once.
    fn looked(&self) -> bool;

    /// The operation that is likely to complete next, if that is known: a hint, so that memory can be
    /// [prefetched](crate::prefetch).
    fn upcoming(&self) -> Option<OpKey> {
        None
    }

    /// Sends FIN after what was sent. The receiving half stays open.
    ///
    /// # Errors
    /// If the connection is already gone.
    fn shutdown_write(&mut self, socket: &Self::Socket) -> io::Result<()>;

    /// Closes a socket that has no operation in flight. [`Close::Reset`] discards what was not yet sent and
    /// tells the peer with a reset. The descriptor or handle is closed when this returns, and counted until then.
    fn close(&mut self, socket: Self::Socket, handle: Option<Self::Handle>, how: Close);

    /// Bytes that arrived and were not received yet.
    ///
    /// # Errors
    /// What the system says.
    fn unread(&self, socket: &Self::Socket) -> io::Result<usize>;

    /// Takes what has arrived, 256 KiB or little more, and throws it away. Never waits. The socket
    /// has no operation in flight, and is used for nothing else any more but to be closed.
    ///
    /// # Errors
    /// If the connection broke.
    fn discard(&mut self, socket: &Self::Socket) -> io::Result<Discarded>;

    /// How far the peer's system has taken what was sent; `None` where the system does not tell.
    fn delivery(&self, socket: &Self::Socket) -> Option<Delivery>;

    /// The address at the other end.
    ///
    /// # Errors
    /// If the connection is already gone.
    fn peer_addr(&self, socket: &Self::Socket) -> io::Result<SocketAddr>;

    /// The address at this end.
    ///
    /// # Errors
    /// What the system says.
    fn local_addr(&self, socket: &Self::Socket) -> io::Result<SocketAddr>;
}

/// What [`Backend::discard`] has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// Nothing, and nothing comes: the peer has ended its stream.
    Ended,
    /// Nothing for now.
    Nothing,
    /// There may be more: it took as much as one call takes.
    More,
}

/// Bytes of a send that a kernel is handed at once. A completion kernel reports them when all are out, which tells a
/// peer that reads slowly from one that does not; a call that is made at once holds up the other connections for no
/// longer than copying them takes.
pub(crate) const MOST_AT_ONCE: usize = 256 * 1024;

/// What a backend can do beyond the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// One submitted accept completes once per connection, until it is cancelled.
    pub multishot_accept: bool,
    /// One submitted receive completes once per arrival, until it is cancelled.
    pub multishot_receive: bool,
    /// Accepts worth having in flight per listener when they are not multishot.
    pub accepts: u16,
    /// A send may complete inside `submit`.
    pub inline_completion: bool,
}

/// How far the peer's system has taken what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes the system holds that the peer's system has not acknowledged.
    pub unacknowledged: usize,
    /// Grows whenever the peer's system acknowledges bytes. Compare two readings; the value itself means nothing.
    pub acknowledged: u64,
    /// How long ago the peer's system acknowledged anything; also an acknowledgement that says nothing new, as the answer
    /// to a probe does. `None` where the system does not tell.
    pub last: Option<Duration>,
}

/// What the kernel is asked to do. The in-flight table owns it, and with it every byte the kernel may touch.
pub enum Operation<H> {
    /// Nothing: a free entry of the table.
    Vacant,
    /// Take a connection from a listener's backlog.
    Accept {
        /// The listening socket.
        listener: H,
        /// Memory for what the system hands out with a connection; a backend that needs it fills it in.
        scratch: Option<Box<[u8]>>,
    },
    /// Connect an open socket.
    Connect {
        /// The socket.
        socket: H,
        /// Where to; boxed, because the kernel may read it later.
        address: Box<socket2::SockAddr>,
    },
    /// Take what arrives.
    Receive {
        /// The socket.
        socket: H,
        /// Where to put it: a block that its connection has waited for in line, or one that the backend chose when it was
        /// submitted. `None`: the backend chooses when bytes arrive.
        block: Option<Block>,
    },
    /// Send the rest of `payload`.
    Send {
        /// The socket.
        socket: H,
        /// The bytes.
        payload: Outgoing,
        /// How many of them are out already.
        sent: usize,
    },
    /// Hear of the end while nothing is received. [`Outcome::Failed`] tells of a reset; [`Outcome::EndOfStream`] of the
    /// peer's end of stream, perhaps with bytes before it that were not received, or of an error that was told to
    /// another operation. With either it may stay in flight (`more`).
    Watch {
        /// The socket.
        socket: H,
    },
}

impl<H: fmt::Debug> fmt::Debug for Operation<H> {
    /// What a report on something stuck needs: not the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Vacant => f.write_str("Vacant"),
            Operation::Accept { listener, .. } => write!(f, "Accept on {listener:?}"),
            Operation::Connect { socket, address } => match address.as_socket() {
                Some(address) => write!(f, "Connect {socket:?} to {address}"),
                None => write!(f, "Connect {socket:?}"),
            },
            Operation::Receive { socket, block: Some(_) } => write!(f, "Receive on {socket:?}, with a block"),
            Operation::Receive { socket, block: None } => write!(f, "Receive on {socket:?}"),
            Operation::Watch { socket } => write!(f, "Watch on {socket:?}"),
            Operation::Send { socket, payload, sent } => {
                write!(f, "Send on {socket:?}, {sent} of {} bytes out", payload.len())
            }
        }
    }
}

/// What became of a submission: the one decision of completion I/O, as a type.
#[derive(Debug)]
#[must_use]
pub enum Submitted<S> {
    /// It is over; no completion will come for it.
    Done(Outcome<S>),
    /// Its completion will come.
    Pending,
}

/// The result of an operation.
#[derive(Debug)]
pub enum Outcome<S> {
    /// A connection, and the address at its other end if the system told it along with it; boxed, because it is
    /// large and rare.
    Accepted(S, Option<Box<SocketAddr>>),
    /// The connection stands.
    Connected,
    /// Bytes, at least one, in the first part of a block.
    Received(Block, usize),
    /// The peer sends no more.
    EndOfStream,
    /// So many of the remaining bytes went out; at least one.
    Sent(usize),
    /// A receive found no free block. A shortage (INV-9): it is armed again when a block comes back.
    NoBlocks,
    /// It ended early because it was asked to.
    Cancelled,
    /// It failed.
    Failed(io::Error),
}

/// One entry of a harvest.
#[derive(Debug)]
pub struct Completion<S> {
    /// What it is about.
    pub about: About,
    /// What happened.
    pub outcome: Outcome<S>,
    /// True exactly when the operation stays in flight and will complete again.
    pub more: bool,
}

/// What a completion is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// An operation of the table.
    Operation(OpKey),
    /// The waker. The outcome means nothing.
    Wake,
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

/// How a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// FIN, if it was not sent yet, after everything sent.
    Graceful,
    /// RST. What was not yet on its way is discarded.
    Reset,
    /// A listening socket. Its port is free when the call returns: who hears of it may bind there at once.
    Listener,
}

/// Makes a backend on the calling thread.
pub trait Create: Backend {
    /// Makes one that receives into blocks of `pool`.
    ///
    /// # Errors
    /// Why this machine does not offer it here and now.
    fn create(pool: &Pool) -> Result<Self, choice::Refusal>;
}
