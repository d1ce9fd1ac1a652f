//! Sockets of the real kernels. Each is counted from when it is made or taken over until it is closed. Listening
//! sockets are bound before any worker runs, so that a bad address is reported at once.

mod backlog;
mod calls;
#[cfg(target_os = "linux")]
mod delivery;
mod options;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::time::Duration;

use socket2::{Domain, Protocol, Type};

use crate::operation::MOST_AT_ONCE;
use crate::os::CountedSocket;

pub use calls::SocketCalls;
#[cfg(unix)]
pub use calls::UnixCalls;
#[cfg(target_os = "linux")]
pub(crate) use delivery::{delivery, tcp_info};
pub use options::SocketOptions;

/// An open TCP socket of a real kernel, whichever backend it is for. Closed when dropped, and
/// [counted](crate::os::handles) until then.
#[derive(Debug)]
pub struct Socket {
    inner: socket2::Socket,
    counted: CountedSocket,
}

impl Socket {
    /// A second handle to the same socket, counted separately.
    ///
    /// # Errors
    /// What the system says: out of descriptors.
    pub fn try_clone(&self) -> io::Result<Socket> {
        self.inner.try_clone().map(Socket::from)
    }

    /// The socket, which is not counted any more: the caller owns it.
    #[must_use]
    pub fn into_inner(self) -> socket2::Socket {
        let Socket { inner, counted } = self;
        drop(counted);
        inner
    }
}

impl Deref for Socket {
    type Target = socket2::Socket;

    fn deref(&self) -> &socket2::Socket {
        &self.inner
    }
}

impl From<socket2::Socket> for Socket {
    fn from(inner: socket2::Socket) -> Socket {
        Socket { inner, counted: CountedSocket::new() }
    }
}

impl From<TcpStream> for Socket {
    /// Takes over a connection made elsewhere; from now on its urgent data is delivered in line.
    fn from(stream: TcpStream) -> Socket {
        let socket = socket2::Socket::from(stream);
        let _ = inline_urgent(&socket);
        socket.into()
    }
}

impl From<TcpListener> for Socket {
    fn from(listener: TcpListener) -> Socket {
        socket2::Socket::from(listener).into()
    }
}

/// How a listening socket is made.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// The number of established connections that may wait in the kernel until they are accepted. Linux caps this at
    /// `net.core.somaxconn`, Windows at 65,535.
    pub backlog: i32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions { backlog: 4096 }
    }
}

/// Binds `address` and listens on it. Port 0 picks a free one. An IPv6 address listens on IPv6 only, so that `[::]` and
/// `0.0.0.0` can be bound side by side on every system.
///
/// # Errors
/// What the system says: address in use, not available here, permission denied …
pub fn listen(address: SocketAddr, options: ListenOptions) -> io::Result<Socket> {
    let socket =
        Socket::from(socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?);
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Unix this lets a restarted server bind its port while connections are in TIME_WAIT. On Windows the same
    // option would let two programs share a port; a server needs exclusive use.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(windows)]
    exclusive(&socket)?;
    // Accepted sockets inherit it where the system lets them.
    socket.set_tcp_nodelay(true)?;
    inline_urgent(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(backlog::of_this_system(options.backlog))?;
    Ok(socket)
}

/// A socket for a connect to `address`, bound to `from` if that is given. It is blocking.
#[cfg(unix)]
pub(crate) fn towards(address: SocketAddr, from: Option<SocketAddr>) -> io::Result<Socket> {
    let socket =
        Socket::from(socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?);
    socket.set_tcp_nodelay(true)?;
    inline_urgent(&socket)?;
    if let Some(from) = from {
        if from.port() == 0 {
            #[cfg(target_os = "linux")]
            port_at_connect(&socket);
        } else {
            // The port of an earlier connection may be in TIME_WAIT.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&from.into())?;
    }
    Ok(socket)
}

/// Lets the system choose the port of a bound socket when it connects, not when it is bound: only then does it know the
/// peer, so connections to different peers may share a port. Without this, one local address has at most 28,232
/// outbound connections (`ip_local_port_range`). `IP_BIND_ADDRESS_NO_PORT` of `ip(7)`, since Linux 4.2, also for IPv6.
#[cfg(target_os = "linux")]
fn port_at_connect(socket: &Socket) {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    // SAFETY: a live socket, and an option value of the stated size that outlives the call. If it fails, the port is
    // chosen by the bind.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
}

#[cfg(windows)]
fn exclusive(socket: &Socket) -> io::Result<()> {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Networking::WinSock as ws;
    let on: i32 = 1;
    // SAFETY: a live socket, and an option value of the stated size that outlives the call.
    let result = unsafe {
        ws::setsockopt(
            socket.as_raw_socket() as usize,
            ws::SOL_SOCKET,
            ws::SO_EXCLUSIVEADDRUSE,
            std::ptr::from_ref(&on).cast(),
            4,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the system deliver urgent data in line, as RFC 6093 recommends. Returns whether this was set before. A read
/// still stops before the last urgent byte. `FIONREAD` then counts the bytes before and after the urgent byte; without
/// this option it stops there, too. On Linux (`sk_clone_lock`) and the BSDs accepted sockets inherit the option from
/// their listener.
pub(crate) fn inline_urgent(socket: &socket2::Socket) -> io::Result<bool> {
    let before = socket.out_of_band_inline()?;
    if !before {
        socket.set_out_of_band_inline(true)?;
    }
    Ok(before)
}

/// Has small segments sent at once (`TCP_NODELAY`), instead of a round trip later. Returns whether it was so before.
/// Accepted sockets inherit it from their listener on Linux and the BSDs.
pub(crate) fn nodelay(socket: &socket2::Socket) -> io::Result<bool> {
    let before = socket.tcp_nodelay()?;
    if !before {
        socket.set_tcp_nodelay(true)?;
    }
    Ok(before)
}

/// Bytes that arrived on `socket` and were not received yet: `FIONREAD`.
#[cfg(unix)]
pub(crate) fn unread(socket: &Socket) -> io::Result<usize> {
    use std::os::fd::AsRawFd;
    // SAFETY: a live socket.
    unsafe { unread_of(socket.as_raw_fd()) }
}

/// The same by descriptor.
///
/// # Safety
/// It is open.
#[cfg(unix)]
pub(crate) unsafe fn unread_of(fd: std::os::fd::RawFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the caller promises an open descriptor; the call writes one integer.
    let result = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut count) };
    if result == 0 { Ok(usize::try_from(count).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

/// Sends what the system takes of `bytes`, without waiting; 0 if it takes none. For a socket that is only to be closed:
/// on Windows this makes the socket non-blocking.
pub(crate) fn send_now(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    // Apple's systems have `SO_NOSIGPIPE` instead of the flag.
    #[cfg(all(unix, not(target_vendor = "apple")))]
    const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    #[cfg(target_vendor = "apple")]
    const FLAGS: i32 = libc::MSG_DONTWAIT;
    #[cfg(windows)]
    const FLAGS: i32 = 0;
    #[cfg(windows)]
    socket.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    loop {
        match socket.send_with_flags(bytes, FLAGS) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Discards what has arrived, 256 KiB or little more, without waiting. For a socket that is only to be closed: on
/// Windows this makes the socket non-blocking.
pub(crate) fn discard(socket: &Socket) -> io::Result<Discarded> {
    #[cfg(unix)]
    const FLAGS: i32 = libc::MSG_DONTWAIT;
    #[cfg(windows)]
    const FLAGS: i32 = 0;
    #[cfg(windows)]
    socket.set_nonblocking(true)?;
    let mut scratch = [const { std::mem::MaybeUninit::uninit() }; 16 * 1024];
    let mut taken = 0;
    while taken < MOST_AT_ONCE {
        match socket.recv_with_flags(&mut scratch, FLAGS) {
            Ok(0) => return Ok(Discarded::Ended),
            Ok(bytes) => taken += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Discarded::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Discarded::More)
}

/// The most calls of [`discard`] before a close, 8 MiB: a peer may send without end. An unread socket holds less,
/// unless its receive buffer was enlarged.
pub(crate) const MOST_DISCARDS: usize = 32;

/// Discards what has arrived before a socket is closed: bytes left unread would turn the close into a reset. One call at
/// least, and as many of `calls` as it takes: they bound what is closed together, because a peer may send without end.
pub(crate) fn discard_arrived(mut discard: impl FnMut() -> io::Result<Discarded>, calls: &mut usize) {
    while matches!(discard(), Ok(Discarded::More)) && *calls > 0 {
        *calls -= 1;
    }
}

/// Turns away an accepted socket that belongs to no driver: it sends FIN, discards up to 8 MiB of received bytes, and
/// closes the socket, so that the peer reads an end of stream. It does not wait for the peer: bytes that arrive later
/// cause a reset. [`Driver::refuse`](crate::Driver::refuse) waits.
pub fn turn_away(socket: Socket) {
    let _ = socket.shutdown(std::net::Shutdown::Write);
    discard_arrived(|| discard(&socket), &mut { MOST_DISCARDS });
    drop(socket);
}

/// What is left after [`SocketCalls::discard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// Nothing, and nothing will come: the peer has ended its stream.
    Ended,
    /// Nothing for now.
    Nothing,
    /// There may be more: the call discarded as much as it may.
    More,
}

/// How many of the sent bytes the peer's system has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes the system holds that the peer's system has not acknowledged.
    pub unacknowledged: usize,
    /// Grows whenever the peer's system acknowledges bytes. Compare two readings; the value itself means nothing.
    pub acknowledged: u64,
    /// How long ago the peer's system acknowledged anything; an acknowledgement of nothing new, such as the answer to
    /// a probe, counts too. `None` where the system does not report it.
    pub last: Option<Duration>,
}

/// What the system has measured of a TCP connection: RFC 6298 for the times, RFC 5681 for the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TcpInfo {
    /// The smoothed round-trip time. Zero before the first measurement.
    pub rtt: Duration,
    /// Bytes that were sent again, since the connection began. 0 on Linux before 4.19, which does not count them.
    pub retransmitted: u64,
    /// Bytes that the peer's system has not acknowledged. On Linux also those that are not sent yet, and our FIN counts as
    /// a byte; on Windows only those in flight.
    pub unacknowledged: u64,
    /// Bytes that may be in flight at most (congestion window).
    pub congestion_window: u64,
}

/// No other Unix reports how many bytes were acknowledged.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn delivery(_socket: &Socket) -> Option<Delivery> {
    None
}

/// macOS and the BSDs have other structures for it.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn tcp_info(_socket: &Socket) -> Option<TcpInfo> {
    None
}

/// For a watch: what happened to a socket that reports an error or a hang-up. `None`: it is still connected. This
/// takes the error (`SO_ERROR`): no later call on this socket reports it. If it was taken before, the outcome is an
/// end of stream.
///
/// # Safety
/// The descriptor is open.
#[cfg(unix)]
pub(crate) unsafe fn broken(fd: std::os::fd::RawFd) -> Option<crate::operation::Outcome<Socket>> {
    use crate::operation::Outcome;
    // SAFETY: what the caller promised.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let socket = socket2::SockRef::from(&fd);
    Some(match socket.take_error() {
        // Linux reports a reset after the peer's FIN this way, although nothing was sent here.
        Ok(Some(error)) if error.raw_os_error() == Some(libc::EPIPE) => {
            Outcome::Failed(io::Error::from_raw_os_error(libc::ECONNRESET))
        }
        Ok(Some(error)) | Err(error) => Outcome::Failed(error),
        Ok(None) if socket.peer_addr().is_ok() => return None,
        Ok(None) => Outcome::EndOfStream,
    })
}

/// The IP address in a socket address.
pub(crate) fn ip(address: &socket2::SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::ErrorKind::NotConnected.into())
}
