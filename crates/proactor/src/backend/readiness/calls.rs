//! The non-blocking calls, each repeated when a signal interrupts it.

use std::io;
use std::os::fd::{FromRawFd, RawFd};

use socket2::{SockAddr, SockRef, Socket};

#[cfg(target_os = "linux")]
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const SEND_FLAGS: i32 = 0; // SO_NOSIGPIPE is set instead, see `prepare`

/// Makes a socket fit for readiness: it never waits, and a dead peer is an error, not a signal.
pub(super) fn prepare(socket: &Socket) -> io::Result<()> {
    // One call on Linux, where accept makes its sockets so already; asking costs less than setting.
    socket.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    Ok(())
}

fn retried(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        let result = call();
        if let Ok(value) = usize::try_from(result) {
            return Ok(value);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

pub(super) fn receive(fd: RawFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the slice is writable for its length, and the call does not outlive it (INV-1).
    retried(|| unsafe { libc::recv(fd, into.as_mut_ptr().cast(), into.len(), 0) })
}

pub(super) fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the slice is readable for its length, and the call does not outlive it (INV-1).
    retried(|| unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), SEND_FLAGS) })
}

pub(super) fn accept(fd: RawFd) -> io::Result<Socket> {
    #[cfg(target_os = "linux")]
    let accept = || {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no address is asked for, so no memory is passed.
        unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) as isize }
    };
    #[cfg(not(target_os = "linux"))]
    let accept = || {
        // SAFETY: no address is asked for, so no memory is passed.
        unsafe { libc::accept(fd, std::ptr::null_mut(), std::ptr::null_mut()) as isize }
    };
    let accepted = retried(accept)?;
    // SAFETY: the call made this descriptor for us alone.
    let socket = unsafe { Socket::from_raw_fd(accepted as RawFd) };
    #[cfg(not(target_os = "linux"))]
    socket.set_cloexec(true)?;
    Ok(socket)
}

/// Starts connecting. True when the connection stands at once.
pub(super) fn connect(fd: RawFd, address: &SockAddr) -> io::Result<bool> {
    // SAFETY: the address is readable for its length.
    let result = unsafe { libc::connect(fd, address.as_ptr().cast(), address.len()) };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Interrupted, it goes on by itself: connect(2).
        Some(libc::EINPROGRESS | libc::EINTR) => Ok(false),
        _ => Err(error),
    }
}

/// How a connect that was in progress ended: `SO_ERROR`, and "would block" while it has not.
pub(super) fn connected(fd: RawFd) -> io::Result<()> {
    // SAFETY: the connection in whose name this is called keeps the descriptor open (INV-2).
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let socket = SockRef::from(&fd);
    match (socket.take_error()?, socket.peer_addr()) {
        (Some(error), _) => Err(error),
        (None, Ok(_)) => Ok(()),
        (None, Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        (None, Err(error)) => Err(error),
    }
}
