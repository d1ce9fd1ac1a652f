//! The completion port: packets out of it, sockets tied to it, and the packet that wakes its worker.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::System::IO::{OVERLAPPED, OVERLAPPED_ENTRY};

use super::table::Table;
use super::table::raw;
use crate::os::CountedPort;
use crate::socket::Socket;
use crate::waker::{OneWake, Wake};

/// Packets taken with one call.
const BATCH: usize = 128;
/// The completion key of the packet that wakes; a socket's is one more than its owner's index.
const WAKE_KEY: usize = 0;
/// How often a wait checks for a wake that could not be posted; such a wake is at most this late. Nothing else wakes
/// an idle worker.
const OWED_MS: u32 = 5_000;

/// A completion port. Its worker and every waker hold it together: its handle is closed when the last of them lets
/// go, so a late wake is posted to a port that nobody reads, never to a reused handle (INV-3).
pub(super) struct Port {
    table: &'static Table,
    handle: OwnedHandle,
    /// Pending exactly while a wake-up packet is in the port, or a wake could not be posted.
    wake: OneWake,
    _counted: CountedPort,
}

impl Port {
    pub(super) fn new(table: &'static Table) -> io::Result<Port> {
        // One thread: the port's worker (INV-5).
        // SAFETY: no memory is passed; an invalid file handle asks for a port without a file.
        let handle = unsafe { (table.port)(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 1) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above made this handle for us alone.
        let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
        Ok(Port { table, handle, wake: OneWake::default(), _counted: CountedPort::new() })
    }

    /// Ties a socket to this port for the rest of its life. Its packets carry its owner's index.
    pub(super) fn associate(&self, socket: &Socket, owner: u32) -> io::Result<()> {
        let (file, key) = (raw(socket) as HANDLE, owner as usize + 1);
        // SAFETY: both handles are open; no memory is passed.
        let port = unsafe { (self.table.port)(file, self.handle.as_raw_handle(), key, 0) };
        if port.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The wake-up packet was taken: the next wake posts another.
    pub(super) fn woken(&self) {
        self.wake.over();
    }

    /// Takes a wake that could not be posted. True: there was one, and the caller hands it out.
    pub(super) fn owes_wake(&self) -> bool {
        self.wake.take_owed()
    }
}

impl Wake for Port {
    fn wake(&self) {
        if !self.wake.begin() {
            return;
        }
        // SAFETY: the port is open for as long as `self` lives; no memory is passed.
        let posted = unsafe { (self.table.post)(self.handle.as_raw_handle(), 0, WAKE_KEY, ptr::null()) };
        if posted == 0 {
            // The system has no memory for a packet (INV-9). Other threads may rely on this wake already, so it is
            // kept: the worker finds it when it looks next.
            self.wake.owe();
        }
    }
}

/// What a packet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// The waker was used.
    Wake,
    /// An operation of the owner with this index has completed.
    End { overlapped: *mut OVERLAPPED, owner: u32 },
}

/// Packets that were taken out of a port and not handed out yet.
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

    /// Whether there may be more in the port than was taken.
    pub(super) fn is_full(&self) -> bool {
        self.count == self.entries.len()
    }

    /// Waits up to `millis` for packets (`u32::MAX`: forever), or until there is a wake that could not be posted.
    pub(super) fn wait(&mut self, port: &Port, mut millis: u32) -> io::Result<()> {
        loop {
            // Only checked here; `take_owed` takes it. A whole wait before that would be too long.
            let part = if port.wake.is_owed() { 0 } else { millis.min(OWED_MS) };
            self.take(port, part)?;
            if !self.is_empty() || port.wake.is_owed() || part == millis {
                return Ok(());
            }
            if millis != u32::MAX {
                millis -= part;
            }
        }
    }

    fn take(&mut self, port: &Port, millis: u32) -> io::Result<()> {
        debug_assert!(self.is_empty(), "packets that were not handed on would be lost");
        (self.next, self.count) = (0, 0);
        let mut count = 0;
        // SAFETY: as many writable entries as are stated, and a counter. The port is open.
        let done = unsafe {
            (port.table.take)(
                port.handle.as_raw_handle(),
                self.entries.as_mut_ptr(),
                BATCH as u32,
                &raw mut count,
                millis,
                0,
            )
        };
        // After a time-out the count is undefined: only success sets it.
        if done != 0 {
            self.count = count as usize;
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(WAIT_TIMEOUT as i32) { Ok(()) } else { Err(error) }
    }

    /// The next packet, if one is left.
    pub(super) fn next(&mut self) -> Option<Packet> {
        let packet = self.entries[..self.count].get(self.next)?.into();
        self.next += 1;
        Some(packet)
    }
}

impl From<&OVERLAPPED_ENTRY> for Packet {
    fn from(entry: &OVERLAPPED_ENTRY) -> Packet {
        match entry.lpCompletionKey {
            WAKE_KEY => Packet::Wake,
            key => Packet::End { overlapped: entry.lpOverlapped, owner: (key - 1) as u32 },
        }
    }
}
