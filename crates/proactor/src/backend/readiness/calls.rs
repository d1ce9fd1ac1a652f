//! The non-blocking calls, each repeated when a signal interrupts it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, RawFd};

use socket2::{SockAddr, SockRef};

use crate::buffer::Gather;
use crate::socket::Socket;

/// A dead peer must be an error, not a SIGPIPE, which ends a process that does not ignore it. Rust programs ignore
/// it; a program in another language that calls Rust may not. POSIX has the flag; Apple's systems have `SO_NOSIGPIPE`
/// instead, see [`prepare`].
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: i32 = 0;

/// Makes a socket fit for readiness: it never waits, and a dead peer is an error, not a signal.
pub(super) fn prepare(socket: &Socket) -> io::Result<()> {
    // On Linux, accepted sockets are non-blocking already: the check costs less than setting it.
    socket.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    Ok(())
}

#[inline]
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

#[inline]
pub(super) fn receive(fd: RawFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the slice is writable for its length, and the call does not outlive it (INV-1).
    retried(|| unsafe { recv(fd, into.as_mut_ptr().cast(), into.len()) })
}

/// Peeks at one byte: what a receive would find.
pub(super) fn peek(fd: RawFd) -> io::Result<usize> {
    let mut byte = [0u8];
    // SAFETY: one writable byte, and the call does not outlive it.
    retried(|| unsafe { libc::recv(fd, byte.as_mut_ptr().cast(), byte.len(), libc::MSG_PEEK) })
}

#[inline]
pub(super) fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the slice is readable for its length, and the call does not outlive it (INV-1).
    retried(|| unsafe { send_to(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// Several pieces with one call; not more than `Gather` has parts.
#[cold]
pub(super) fn send_pieces(fd: RawFd, pieces: &[&[u8]]) -> io::Result<usize> {
    let mut list = [const { MaybeUninit::<libc::iovec>::uninit() }; Gather::MOST];
    for (place, piece) in list.iter_mut().zip(pieces) {
        place.write(libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() });
    }
    // SAFETY: a header of zeros is one without address, pieces and control data.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = list.as_mut_ptr().cast();
    header.msg_iovlen = pieces.len().min(Gather::MOST) as _;
    // SAFETY: `msg_iovlen` entries of the list were written, each for bytes that outlive the call, which reads them.
    retried(|| unsafe { libc::sendmsg(fd, &raw const header, SEND_FLAGS) })
}

/// The bare system call. The C library's is a cancellation point: as soon as a process has two threads, that costs
/// two atomic operations each time, and no thread is cancelled here.
///
/// # Safety
/// As for `recv(2)`.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
unsafe fn recv(fd: RawFd, into: *mut libc::c_void, len: usize) -> isize {
    // SAFETY: recvfrom(2) takes an int, a pointer, a length, flags, and two pointers that may be null.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, into, len, 0, 0usize, 0usize) as isize }
}

/// # Safety
/// As for `recv(2)`.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
unsafe fn recv(fd: RawFd, into: *mut libc::c_void, len: usize) -> isize {
    // SAFETY: as the caller says.
    unsafe { libc::recv(fd, into, len, 0) }
}

/// # Safety
/// As for `send(2)`.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
unsafe fn send_to(fd: RawFd, bytes: *const libc::c_void, len: usize) -> isize {
    // SAFETY: sendto(2) takes an int, a pointer, a length, flags, a pointer that may be null, and its length.
    unsafe { libc::syscall(libc::SYS_sendto, fd, bytes, len, SEND_FLAGS, 0usize, 0usize) as isize }
}

/// # Safety
/// As for `send(2)`.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
unsafe fn send_to(fd: RawFd, bytes: *const libc::c_void, len: usize) -> isize {
    // SAFETY: as the caller says.
    unsafe { libc::send(fd, bytes, len, SEND_FLAGS) }
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
    let socket = Socket::from(unsafe { socket2::Socket::from_raw_fd(accepted as RawFd) });
    #[cfg(not(target_os = "linux"))]
    socket.set_cloexec(true)?;
    Ok(socket)
}

/// Starts connecting. True if the connection is established at once.
pub(super) fn connect(fd: RawFd, address: &SockAddr) -> io::Result<bool> {
    // SAFETY: the address is readable for its length.
    let result = unsafe { libc::connect(fd, address.as_ptr().cast(), address.len()) };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // An interrupted connect continues by itself: connect(2).
        Some(libc::EINPROGRESS | libc::EINTR) => Ok(false),
        _ => Err(error),
    }
}

/// The result of a connect in progress: `SO_ERROR`; "would block" while it is not over.
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
