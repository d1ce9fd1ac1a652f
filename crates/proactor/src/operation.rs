//! What is asked of a kernel and what it answers: the words that the driver and every backend share.
//!
//! An [`Operation`] goes into the in-flight table, is submitted under its [`OpKey`], and ends with an [`Outcome`]: at
//! once, as [`Submitted::Done`], or later, as a [`Completion`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};

use crate::buffer::{Block, Outgoing};

/// What the kernel is asked to do. The in-flight table owns it, and with it every byte the kernel may touch.
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

/// What a system is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Take a connection from the backlog.
    Accept,
    /// Connect.
    Connect,
    /// Take what arrives.
    Receive,
    /// Send.
    Send,
    /// Hear of a reset while nothing is received.
    Watch,
    /// Send FIN.
    Finish,
    /// Close a socket.
    Close,
    /// Wait for completions, after handing over what is batched.
    Wait,
}

impl Call {
    /// What an operation asks for.
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

/// What a harvest brings, one at a time.
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
    /// FIN, if it was not sent yet, after everything sent.
    Graceful,
    /// RST. What was not yet on its way is discarded.
    Reset,
    /// A listening socket. Its port is free when the call returns: who hears of it may bind there at once.
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

    /// The key as the value that travels through the kernel. Its highest bit is never set: values that have it
    /// are for the backends' own purposes.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0.get()
    }

    /// The key that travelled; `None` for 0, which no key is.
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

/// Bytes of a send that a kernel is handed at once. A completion kernel reports them when all are out, which tells a
/// peer that reads slowly from one that does not; a call that is made at once holds up the other connections for no
/// longer than copying them takes.
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
