//! Calls on a socket that are made directly, without an operation. None of them waits.

use std::io;
use std::net::SocketAddr;

use super::{Delivery, Discarded, SocketOptions, TcpInfo};
#[cfg(unix)]
use super::{Socket, delivery, discard, inline_urgent, ip, nodelay, send_now, tcp_info, unread};

/// The calls that a driver makes on a socket directly, without an operation. Each [backend](crate::Backend) has its
/// own.
pub trait SocketCalls<S> {
    /// The peer's address.
    ///
    /// # Errors
    /// If the connection is already gone.
    fn peer_addr(&self, socket: &S) -> io::Result<SocketAddr>;

    /// The local address.
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

    /// Sends what the system takes of `bytes` now; 0 if it takes none. The socket has no operation in flight, and is
    /// only to be closed after this.
    ///
    /// # Errors
    /// If the connection broke.
    fn send(&self, socket: &S, bytes: &[u8]) -> io::Result<usize>;

    /// Takes what has arrived, 256 KiB or little more, and discards it. The socket has no operation in flight, and is
    /// only to be closed after this.
    ///
    /// # Errors
    /// If the connection broke.
    fn discard(&self, socket: &S) -> io::Result<Discarded>;

    /// How far the peer's system has taken what was sent; `None` where the system does not report it.
    fn delivery(&self, socket: &S) -> Option<Delivery>;

    /// What the system has measured of the connection; `None` where the system does not report it.
    fn tcp_info(&self, socket: &S) -> Option<TcpInfo>;

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

/// The calls of a Unix system, for io_uring and readiness alike.
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

    /// A direct call on io_uring too: it never waits, and the ring's own operation would use a kernel thread.
    fn shutdown_write(&self, socket: &Socket) -> io::Result<()> {
        socket.shutdown(std::net::Shutdown::Write)
    }

    fn send(&self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        send_now(socket, bytes)
    }

    fn discard(&self, socket: &Socket) -> io::Result<Discarded> {
        discard(socket)
    }

    fn delivery(&self, socket: &Socket) -> Option<Delivery> {
        delivery(socket)
    }

    fn tcp_info(&self, socket: &Socket) -> Option<TcpInfo> {
        tcp_info(socket)
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
