//! What a driver tells of.

use std::io;
use std::net::SocketAddr;

use super::{ConnectionKey, ListenerKey};
use crate::buffer::Lease;

/// What a failure happened in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Connecting.
    Connect,
    /// Receiving.
    Receive,
    /// Sending.
    Send,
}

/// What happened. A closing connection has no event but its last, [`Event::Released`].
#[derive(Debug)]
pub enum Event<S> {
    /// A connection arrived. Give it to [`Driver::adopt`](super::Driver::adopt), here or on another worker, or drop it.
    Accepted {
        /// On which listener.
        listener: ListenerKey,
        /// The connection's socket.
        socket: S,
        /// The address at its other end, if the system told it along with the connection; else ask
        /// [`Driver::peer_of`](super::Driver::peer_of).
        peer: Option<Box<SocketAddr>>,
    },
    /// Accepting failed, and pauses until [`Driver::resume_accept`](super::Driver::resume_accept).
    AcceptFailed {
        /// On which listener.
        listener: ListenerKey,
        /// Why.
        error: io::Error,
    },
    /// A listener that was closed is gone; nothing is in flight for it.
    ListenerReleased {
        /// Which.
        listener: ListenerKey,
    },
    /// An outbound connection stands.
    Connected {
        /// Which.
        connection: ConnectionKey,
    },
    /// Bytes arrived.
    Received {
        /// Where.
        connection: ConnectionKey,
        /// The bytes, at least one.
        data: Lease,
    },
    /// The peer sends no more (INV-7); it still receives.
    EndOfStream {
        /// Where.
        connection: ConnectionKey,
    },
    /// A pause took effect: nothing more arrives until [`Driver::receive`](super::Driver::receive).
    Paused {
        /// Where.
        connection: ConnectionKey,
    },
    /// A payload is out, the whole of it.
    Sent {
        /// Where.
        connection: ConnectionKey,
        /// Its length.
        bytes: usize,
    },
    /// The connection broke. It stays until it is closed or aborted.
    Failed {
        /// Which.
        connection: ConnectionKey,
        /// In what.
        verb: Verb,
        /// Why: `ConnectionReset` is a reset by the peer (INV-7).
        error: io::Error,
    },
    /// The system had no memory for a receive, a watch (a receive too, by its verb) or a send (INV-9). Nothing is lost, and nothing is to be done: it is
    /// tried again by itself.
    Delayed {
        /// Where.
        connection: ConnectionKey,
        /// In what.
        verb: Verb,
        /// What the system said.
        error: io::Error,
    },
    /// A closed connection is gone: nothing is in flight for it, its key names nothing, its socket is closed: the
    /// descriptor is free, and FIN or the reset is on its way, unless another process holds a copy of the socket (see
    /// [`Driver::close`](super::Driver::close)).
    Released {
        /// Which.
        connection: ConnectionKey,
    },
    /// The waker was used.
    Woken,
}
