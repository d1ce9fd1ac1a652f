//! The events of a driver.

use std::io;
use std::net::SocketAddr;

use super::{ConnectionKey, ListenerKey};
use crate::buffer::Lease;

/// The operation that failed or was delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Connecting.
    Connect,
    /// Receiving.
    Receive,
    /// Sending.
    Send,
}

/// An event. After `close` or `abort` a connection has one more event, [`Event::Released`].
#[derive(Debug)]
pub enum Event<S> {
    /// A connection arrived. Give it to [`Driver::adopt`](super::Driver::adopt), here or on another worker, or drop it.
    Accepted {
        /// On which listener.
        listener: ListenerKey,
        /// The connection's socket.
        socket: S,
        /// The peer's address, if the system reported it with the connection; else ask
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
    /// An outbound connection is established.
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
    /// A pause took effect: nothing more is received until [`Driver::receive`](super::Driver::receive).
    Paused {
        /// Where.
        connection: ConnectionKey,
    },
    /// All bytes of a payload were sent.
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
        /// The operation that failed.
        verb: Verb,
        /// The error: `ConnectionReset` is a reset by the peer (INV-7).
        error: io::Error,
    },
    /// The system had no memory for a receive, a watch (reported as a receive) or a send (INV-9). The driver retries
    /// it; no data is lost.
    Delayed {
        /// Where.
        connection: ConnectionKey,
        /// The operation that is retried.
        verb: Verb,
        /// The system's error.
        error: io::Error,
    },
    /// A connection was released: nothing is in flight for it, its key is stale, and its socket is closed. The
    /// descriptor can be reused. FIN or the reset was sent, unless another process holds a copy of the socket (see
    /// [`Driver::close`](super::Driver::close)).
    Released {
        /// Which.
        connection: ConnectionKey,
    },
    /// The waker was used.
    Woken,
}
