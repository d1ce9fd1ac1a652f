//! Listening sockets of the real kernels: made and bound before any worker runs, so that a bad address is
//! told at once.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// How a listening socket is made.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Connections the kernel may hold completed and not yet accepted. It caps this at `somaxconn`.
    pub backlog: i32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions { backlog: 4096 }
    }
}

/// Binds `address` and listens on it. Port 0 picks a free one. An IPv6 address listens on IPv6 alone, so that
/// `[::]` and `0.0.0.0` can be bound side by side on every system.
///
/// # Errors
/// What the system says: address in use, not available here, permission denied …
pub fn listen(address: SocketAddr, options: ListenOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Unix this lets a restarted server have its port back from TIME_WAIT. On Windows the same option
    // would let two programs share a port, and exclusive use is what a server wants.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(windows)]
    exclusive(&socket)?;
    // Accepted sockets inherit it where the system lets them.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(socket)
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

/// Bytes that arrived on `socket` and were not received yet: `FIONREAD`.
#[cfg(unix)]
pub(crate) fn unread(socket: &Socket) -> io::Result<usize> {
    use std::os::fd::AsRawFd;
    let mut count: libc::c_int = 0;
    // SAFETY: a live socket, and an integer that the call writes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if result == 0 { Ok(usize::try_from(count).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

/// Bytes that arrived on `socket` and were not received yet: `FIONREAD`.
#[cfg(windows)]
pub(crate) fn unread(socket: &Socket) -> io::Result<usize> {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Networking::WinSock as ws;
    let mut count: u32 = 0;
    // SAFETY: a live socket, and an integer that the call writes.
    let result = unsafe { ws::ioctlsocket(socket.as_raw_socket() as usize, ws::FIONREAD, &raw mut count) };
    if result == 0 { Ok(count as usize) } else { Err(io::Error::last_os_error()) }
}

/// The IP address in a socket address.
pub(crate) fn ip(address: &socket2::SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::ErrorKind::NotConnected.into())
}
