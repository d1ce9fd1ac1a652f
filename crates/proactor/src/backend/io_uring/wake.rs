//! The eventfd by which other threads wake a ring, and taking ownership of descriptors from completions.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::socket::Socket;

use crate::waker::Wake;

/// An eventfd that the ring polls.
pub(super) struct WakeEvent(OwnedFd);

impl WakeEvent {
    pub(super) fn new() -> io::Result<WakeEvent> {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above made this descriptor for us alone.
        Ok(WakeEvent(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Takes the wakes so far, so that the next one is an edge.
    pub(super) fn reset(&self) {
        let mut count = [0u8; 8];
        // SAFETY: eight writable bytes. Failure means that there was nothing to take.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl Wake for WakeEvent {
    fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes. It fails only when the counter is full, and then a wake is due anyway.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

/// Takes ownership of the descriptor that an accept completed with.
pub(super) fn socket_of(fd: RawFd) -> Socket {
    // SAFETY: the kernel made this descriptor for the completion that named it, and a completion is taken once.
    unsafe { socket2::Socket::from_raw_fd(fd) }.into()
}
