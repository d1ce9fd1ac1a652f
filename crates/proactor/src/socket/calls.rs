//! Calls on a socket that no operation in flight stands for. None of them waits.

use std::io;
use std::net::SocketAddr;

use super::{Delivery, Discarded, SocketOptions};
#[cfg(unix)]
use super::{Socket, delivery, discard, inline_urgent, ip, nodelay, unread};

/// What a driver asks of a socket directly, without an operation. Each [backend](crate::Backend) says by which calls its
/// kernel does it.
pub trait SocketCalls<S> {
    /// The address at the other end.
    ///
    /// # Errors
    /// If the connection is already gone.
    fn peer_addr(&self, socket: &S) -> io::Result<SocketAddr>;

    /// The address at this end.
    ///
    /// # Errors
    /// What the system says.
    fn local_addr(&self, socket: &S) -> io::Result<SocketAddr>;

    /// Bytes that arrived and were not received yet.
    ///
    /// # Errors
    /// What the system says.
    fn unread(&self, socket: &S) -> io::Result<usize>;

    /// Sends FIN after what was sent. The receiving half stays open.
    ///
    /// # Errors
    /// If the connection is already gone.
    fn shutdown_write(&self, socket: &S) -> io::Result<()>;

    /// Takes what has arrived, 256 KiB or little more, and discards it. The socket has no operation in flight, and is
    /// only to be closed after this.
    ///
    /// # Errors
    /// If the connection broke.
    fn discard(&self, socket: &S) -> io::Result<Discarded>;

    /// How far the peer's system has taken what was sent; `None` where the system does not tell.
    fn delivery(&self, socket: &S) -> Option<Delivery>;

    /// Has urgent data delivered in line, as bytes of the stream like any other (`SO_OOBINLINE`, RFC 6093). Sockets that
    /// a listener accepts from then on inherit it. Returns whether it was so before.
    ///
    /// # Errors
    /// What the system says.
    fn inline_urgent(&self, socket: &S) -> io::Result<bool>;

    /// Has small segments sent at once (`TCP_NODELAY`). Sockets that a listener accepts from then on inherit it. Returns
    /// whether it was so before.
    ///
    /// # Errors
    /// What the system says.
    fn nodelay(&self, socket: &S) -> io::Result<bool>;

    /// Sets the options of a connection.
    ///
    /// # Errors
    /// What the system says, for instance of a connection that is already broken.
    fn set_options(&self, socket: &S, options: &SocketOptions) -> io::Result<()>;
}

/// The calls of a Unix system: the same ones beside a ring and beside a poller.
#[cfg(unix)]
#[derive(Debug)]
pub struct UnixCalls;

#[cfg(unix)]
impl SocketCalls<Socket> for UnixCalls {
    fn peer_addr(&self, socket: &Socket) -> io::Result<SocketAddr> {
        ip(&socket.peer_addr()?)
    }

    fn local_addr(&self, socket: &Socket) -> io::Result<SocketAddr> {
        ip(&socket.local_addr()?)
    }

    fn unread(&self, socket: &Socket) -> io::Result<usize> {
        unread(socket)
    }

    /// A ring has an operation for it, which goes through a worker thread of the kernel; the call itself never waits.
    fn shutdown_write(&self, socket: &Socket) -> io::Result<()> {
        socket.shutdown(std::net::Shutdown::Write)
    }

    fn discard(&self, socket: &Socket) -> io::Result<Discarded> {
        discard(socket)
    }

    fn delivery(&self, socket: &Socket) -> Option<Delivery> {
        delivery(socket)
    }

    fn inline_urgent(&self, socket: &Socket) -> io::Result<bool> {
        inline_urgent(socket)
    }

    fn nodelay(&self, socket: &Socket) -> io::Result<bool> {
        nodelay(socket)
    }

    fn set_options(&self, socket: &Socket, options: &SocketOptions) -> io::Result<()> {
        options.apply(socket)
    }
}
