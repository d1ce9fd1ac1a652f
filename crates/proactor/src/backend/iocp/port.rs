//! The completion port: packets out of it, sockets tied to it, and the packet that wakes its worker.

use std::io;
use std::os::windows::io::{AsRawHandle, AsRawSocket, FromRawHandle, OwnedHandle};
use std::ptr;

use socket2::Socket;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED, OVERLAPPED_ENTRY,
    PostQueuedCompletionStatus,
};

use crate::waker::{OneWake, Wake};

/// Packets taken with one call.
const BATCH: usize = 128;

/// A completion port. Its worker and every waker hold it together: its handle is closed when the last of them
/// lets go, so a late wake meets a port that nobody reads, never a stranger's handle (INV-3).
pub(super) struct Port {
    handle: OwnedHandle,
    /// Under way exactly when a wake-up packet is in the port.
    wake: OneWake,
}

impl Port {
    pub(super) fn new() -> io::Result<Port> {
        // One thread: the port's worker (INV-5).
        // SAFETY: no memory is passed; an invalid file handle asks for a port without a file.
        let handle = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 1) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above made this handle for us alone.
        let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
        Ok(Port { handle, wake: OneWake::default() })
    }

    /// Ties a socket to this port for the rest of its life.
    pub(super) fn associate(&self, socket: &Socket) -> io::Result<()> {
        let file = socket.as_raw_socket() as HANDLE;
        // SAFETY: both handles are open; no memory is passed.
        let port = unsafe { CreateIoCompletionPort(file, self.handle.as_raw_handle(), 0, 0) };
        if port.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Says that the wake-up packet was taken: the next wake posts another.
    pub(super) fn woken(&self) {
        self.wake.over();
    }
}

impl Wake for Port {
    fn wake(&self) {
        if !self.wake.begin() {
            return;
        }
        // SAFETY: the port is open for as long as `self` lives; no memory is passed.
        let done = unsafe { PostQueuedCompletionStatus(self.handle.as_raw_handle(), 0, 0, ptr::null()) };
        if done == 0 {
            // The kernel is out of memory for a packet: the next wake tries again.
            self.wake.over();
        }
    }
}

/// What was taken out of a port and not handed on yet.
pub(super) struct Packets {
    entries: Box<[OVERLAPPED_ENTRY]>,
    next: usize,
    count: usize,
}

impl Packets {
    pub(super) fn new() -> Packets {
        Packets { entries: vec![OVERLAPPED_ENTRY::default(); BATCH].into(), next: 0, count: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next == self.count
    }

    /// Waits up to `millis` for packets (`u32::MAX`: for ever).
    pub(super) fn take(&mut self, port: &Port, millis: u32) -> io::Result<()> {
        debug_assert!(self.is_empty(), "packets that were not handed on would be lost");
        (self.next, self.count) = (0, 0);
        let mut count = 0;
        // SAFETY: as many writable entries as are stated, and a counter. The port is open.
        let done = unsafe {
            GetQueuedCompletionStatusEx(
                port.handle.as_raw_handle(),
                self.entries.as_mut_ptr(),
                BATCH as u32,
                &raw mut count,
                millis,
                0,
            )
        };
        // A time-out may leave any count: only success makes it mean something.
        if done != 0 {
            self.count = count as usize;
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(WAIT_TIMEOUT as i32) { Ok(()) } else { Err(error) }
    }

    /// The `OVERLAPPED` of the next packet; null for a wake-up.
    pub(super) fn next(&mut self) -> Option<*mut OVERLAPPED> {
        let entry = self.entries[..self.count].get(self.next)?;
        self.next += 1;
        Some(entry.lpOverlapped)
    }
}
