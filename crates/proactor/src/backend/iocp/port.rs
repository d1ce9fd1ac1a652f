//! The completion port: packets out of it, sockets tied to it, and the packet that wakes its worker.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::System::IO::{OVERLAPPED, OVERLAPPED_ENTRY};

use super::calls::raw;
use super::table::Table;
use crate::os::CountedPort;
use crate::socket::Socket;
use crate::waker::{OneWake, Wake};

/// Packets taken with one call.
const BATCH: usize = 128;
/// The completion key of the packet that wakes; a socket's is one more than its owner's index.
const WAKE_KEY: usize = 0;
/// How often a wait looks for a wake that could not be posted: the longest that such a wake can be late. An idle worker is
/// woken by nothing else.
const OWED_MS: u32 = 5_000;

/// A completion port. Its worker and every waker hold it together: its handle is closed when the last of them
/// lets go, so a late wake meets a port that nobody reads, never a stranger's handle (INV-3).
pub(super) struct Port {
    table: &'static Table,
    handle: OwnedHandle,
    /// Under way exactly while a wake-up packet is in the port, or a wake is owed.
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

    /// Ties a socket to this port for the rest of its life. Its packets bring its owner's name along.
    pub(super) fn associate(&self, socket: &Socket, owner: u32) -> io::Result<()> {
        let (file, key) = (raw(socket) as HANDLE, owner as usize + 1);
        // SAFETY: both handles are open; no memory is passed.
        let port = unsafe { (self.table.port)(file, self.handle.as_raw_handle(), key, 0) };
        if port.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Says that the wake-up packet was taken: the next wake posts another.
    pub(super) fn woken(&self) {
        self.wake.over();
    }

    /// Whether a wake could not be posted, and was not handed out yet; it is the caller's then.
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
            // The system has no memory for a packet (INV-9). Others may have joined this wake already, so it is owed: the
            // worker finds it when it next looks.
            self.wake.owe();
        }
    }
}

/// What a packet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// Somebody used the waker.
    Wake,
    /// An operation of the owner with this index has ended.
    End { overlapped: *mut OVERLAPPED, owner: u32 },
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

    /// Whether there may be more in the port than was taken.
    pub(super) fn is_full(&self) -> bool {
        self.count == self.entries.len()
    }

    /// Waits up to `millis` for packets (`u32::MAX`: for ever), or until a wake is owed.
    pub(super) fn wait(&mut self, port: &Port, mut millis: u32) -> io::Result<()> {
        loop {
            // Only looked at here; `take_owed` takes it. A whole wait before that would be too long.
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
        // A time-out may leave any count: only success makes it mean something.
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
