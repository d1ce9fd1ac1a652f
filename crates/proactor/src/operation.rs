//! Operations and their outcomes: the types that the driver and every backend share.
//!
//! An [`Operation`] goes into the in-flight table, is submitted under its [`OpKey`], and ends with an [`Outcome`]: at
//! once, as [`Submitted::Done`], or later, as a [`Completion`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};

use crate::buffer::{Block, Outgoing};

/// What the kernel is asked to do. While it is in flight the table owns it, and every byte that the kernel may touch
/// (INV-1).
pub enum Operation<H> {
    /// Take a connection from a listener's backlog.
    Accept {
        /// The listening socket.
        listener: H,
    },
    /// Connect an open socket.
    Connect {
        /// The socket.
        socket: H,
        /// The destination; boxed, because the kernel may read it after the submission.
        address: Box<socket2::SockAddr>,
    },
    /// Receive bytes.
    Receive {
        /// The socket.
        socket: H,
        /// The block that came back for this connection, which waited for one while the pool was empty. `None`: the
        /// backend takes one, at submission or when bytes arrive.
        block: Option<Block>,
    },
    /// Send the rest of `payload`.
    Send {
        /// The socket.
        socket: H,
        /// The bytes.
        payload: Outgoing,
        /// How many of them were sent already.
        sent: usize,
    },
    /// Watch for the end of the connection while nothing is received. [`Outcome::Failed`] reports a reset;
    /// [`Outcome::EndOfStream`] the peer's end of stream, possibly behind bytes that were not received, or an error
    /// that another operation has already reported. With either it may stay in flight (`more`).
    Watch {
        /// The socket.
        socket: H,
    },
}

impl<H: fmt::Debug> fmt::Debug for Operation<H> {
    /// For reports on operations that are stuck: everything but the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Accept { listener } => write!(f, "Accept on {listener:?}"),
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

/// A call, as traces name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// Take a connection from the backlog.
    Accept,
    /// Connect.
    Connect,
    /// Receive bytes.
    Receive,
    /// Send.
    Send,
    /// Watch for the end of a connection while nothing is received.
    Watch,
    /// Send FIN.
    Finish,
    /// Close a socket.
    Close,
    /// Submit what is batched and wait for completions.
    Wait,
}

impl Call {
    /// The call that an operation stands for.
    pub(crate) const fn of<H>(operation: &Operation<H>) -> Call {
        match operation {
            Operation::Accept { .. } => Call::Accept,
            Operation::Connect { .. } => Call::Connect,
            Operation::Receive { .. } => Call::Receive,
            Operation::Send { .. } => Call::Send,
            Operation::Watch { .. } => Call::Watch,
        }
    }
}

/// Its name in lower case. [`BackendKind::call_names`](crate::BackendKind::call_names) has the kernels' own names.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Call::Accept => "accept",
            Call::Connect => "connect",
            Call::Receive => "receive",
            Call::Send => "send",
            Call::Watch => "watch",
            Call::Finish => "finish",
            Call::Close => "close",
            Call::Wait => "wait",
        })
    }
}

/// The answer to a submission. Whether a completion will come is decided here, once, by type.
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
    /// A connection, and the peer's address if the system reported it with the accept; boxed, because it is large and
    /// rare.
    Accepted(S, Option<Box<SocketAddr>>),
    /// The connection is established.
    Connected,
    /// A block and how many bytes were received into it, from its start; at least one.
    Received(Block, usize),
    /// The peer sends no more.
    EndOfStream,
    /// How many of the remaining bytes were sent; at least one.
    Sent(usize),
    /// A receive found no free block. It is armed again when a block comes back (INV-9).
    NoBlocks,
    /// It was cancelled.
    Cancelled,
    /// It failed.
    Failed(io::Error),
}

/// One item of a harvest.
#[derive(Debug)]
pub enum Harvested<S> {
    /// An operation has completed.
    Completed(Completion<S>),
    /// The waker was used.
    Woken,
}

/// One completion of an operation.
#[derive(Debug)]
pub struct Completion<S> {
    /// Which operation.
    pub key: OpKey,
    /// What happened.
    pub outcome: Outcome<S>,
    /// True exactly when the operation stays in flight and will complete again.
    pub more: bool,
}

/// How a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Sends FIN after the last byte, unless it was sent before.
    Graceful,
    /// Sends RST. Unsent bytes are discarded.
    Reset,
    /// Closes a listening socket. Its port is free when the call returns, so it can be bound again at once.
    Listener,
}

/// Names an operation in flight: its index in the table, and a generation that makes a late completion find
/// nothing (INV-3). One word, and never 0, so that an `Option` of one is no larger.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpKey(NonZeroU64);

impl OpKey {
    pub(crate) const fn new(index: u32, generation: NonZeroU32) -> OpKey {
        let raw = (index as u64) << 32 | generation.get() as u64;
        OpKey(NonZeroU64::new(raw).expect("a generation is never 0"))
    }

    /// The key as a value to pass through the kernel. Its highest bit is never set: values with that bit are for the
    /// backends' own use.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0.get()
    }

    /// The key of a value that came back from the kernel; `None` for 0, which is no key.
    #[must_use]
    pub const fn from_u64(raw: u64) -> Option<OpKey> {
        match NonZeroU64::new(raw) {
            Some(raw) => Some(OpKey(raw)),
            None => None,
        }
    }

    pub(crate) const fn index(self) -> usize {
        (self.0.get() >> 32) as usize
    }

    pub(crate) const fn generation(self) -> u32 {
        self.0.get() as u32
    }
}

impl fmt::Display for OpKey {
    /// The entry's index and its generation: `17.3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.generation())
    }
}

impl fmt::Debug for OpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpKey({self})")
    }
}

/// The most bytes of a send that are submitted at once. Long sends make progress in steps that can be seen, so a slow
/// reader can be told from one that has stopped; and a call made at once delays other connections only for as long as
/// copying this much takes.
pub(crate) const MOST_AT_ONCE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_travel_and_keep_the_highest_bit_free() {
        for (index, generation) in [(0, 1), (1, u32::MAX), (i32::MAX as u32 - 1, 7)] {
            let key = OpKey::new(index, NonZeroU32::new(generation).expect("none is 0"));
            assert_eq!(OpKey::from_u64(key.to_u64()), Some(key));
            assert_eq!(key.to_u64() >> 63, 0);
        }
        assert_eq!(OpKey::from_u64(0), None);
    }
}
