//! The overlapped calls, each with its one result, and the calls around them that never wait.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::AsRawSocket;
use std::ptr;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock as ws;
use windows_sys::Win32::Storage::FileSystem::SetFileCompletionNotificationModes;
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED};
use windows_sys::Win32::System::WindowsProgramming::{
    FILE_SKIP_COMPLETION_PORT_ON_SUCCESS, FILE_SKIP_SET_EVENT_ON_HANDLE,
};
use windows_sys::core::GUID;

use super::errors::{Started, decide};
use super::header::Header;

/// What one of the two addresses takes that `AcceptEx` writes: the longest address, and 16 bytes more.
const ADDRESS: usize = size_of::<ws::SOCKADDR_IN6>() + 16;
/// What `AcceptEx` writes. Nobody reads it, but it insists.
pub(super) const ADDRESSES: usize = 2 * ADDRESS;

/// The calls that Winsock has only behind pointers, and what it promises of its sockets.
#[derive(Clone, Copy)]
pub(super) struct Calls {
    accept_ex: unsafe extern "system" fn(
        ws::SOCKET,
        ws::SOCKET,
        *mut c_void,
        u32,
        u32,
        u32,
        *mut u32,
        *mut OVERLAPPED,
    ) -> i32,
    connect_ex: unsafe extern "system" fn(
        ws::SOCKET,
        *const ws::SOCKADDR,
        i32,
        *const c_void,
        u32,
        *mut u32,
        *mut OVERLAPPED,
    ) -> i32,
    /// Whether what succeeds at once posts no packet.
    pub(super) inline: bool,
}

impl Calls {
    pub(super) fn load() -> io::Result<Calls> {
        let socket = stream_socket(Domain::IPV4)?;
        // SAFETY: each type belongs to its name.
        let (accept_ex, connect_ex) = unsafe {
            let accept_ex: ws::LPFN_ACCEPTEX = extension(&socket, &ws::WSAID_ACCEPTEX)?;
            let connect_ex: ws::LPFN_CONNECTEX = extension(&socket, &ws::WSAID_CONNECTEX)?;
            (accept_ex, connect_ex)
        };
        let absent = || io::Error::from(io::ErrorKind::Unsupported);
        Ok(Calls {
            accept_ex: accept_ex.ok_or_else(absent)?,
            connect_ex: connect_ex.ok_or_else(absent)?,
            // A machine without IPv6 has no say in what its sockets are.
            inline: is_native(&socket)?
                && stream_socket(Domain::IPV6).map_or(Ok(true), |v6| is_native(&v6))?,
        })
    }

    /// Starts taking a connection from `listener`'s backlog into `into`. Associate `into` with a port only
    /// afterwards: which worker's it will be is not known yet.
    ///
    /// # Safety
    /// As for [`receive`](Self::receive); `scratch` has room for [`ADDRESSES`] bytes.
    pub(super) unsafe fn accept(
        &self,
        listener: ws::SOCKET,
        into: &Socket,
        scratch: *mut u8,
        header: &mut Header,
    ) -> Started {
        let (into, address, mut bytes) = (into.as_raw_socket() as ws::SOCKET, ADDRESS as u32, 0);
        // SAFETY: the caller keeps both sockets, the addresses and the header until the completion (INV-1).
        let done = unsafe {
            let (scratch, overlapped) = (scratch.cast(), header.overlapped());
            (self.accept_ex)(listener, into, scratch, 0, address, address, &raw mut bytes, overlapped)
        };
        decide(code_unless(done != 0), bytes, self.inline)
    }

    /// Starts connecting a bound socket.
    ///
    /// # Safety
    /// As for [`receive`](Self::receive); `address` stays too.
    pub(super) unsafe fn connect(&self, socket: ws::SOCKET, to: &SockAddr, header: &mut Header) -> Started {
        let mut bytes = 0;
        // SAFETY: the caller keeps the socket, the address and the header until the completion (INV-1).
        let done = unsafe {
            let (address, len) = (to.as_ptr().cast(), to.len());
            (self.connect_ex)(socket, address, len, ptr::null(), 0, &raw mut bytes, header.overlapped())
        };
        decide(code_unless(done != 0), bytes, self.inline)
    }

    /// Starts receiving up to `len` bytes; with `len` 0 it completes when there is something to receive.
    ///
    /// # Safety
    /// Unless the answer is `Complete` or `Failed`, the kernel may use `to`, `header` and the socket until the
    /// packet for `header` was taken: all of them stay as they are until then (INV-1).
    pub(super) unsafe fn receive(
        &self,
        socket: ws::SOCKET,
        to: *mut u8,
        len: u32,
        header: &mut Header,
    ) -> Started {
        let (buffer, mut bytes) = (ws::WSABUF { len, buf: to }, 0);
        // SAFETY: the caller keeps the socket, the bytes and the header until the completion (INV-1). The array
        // of buffers is copied before the call returns.
        let result = unsafe {
            let (flags, overlapped) = (header.flags(), header.overlapped());
            ws::WSARecv(socket, &raw const buffer, 1, &raw mut bytes, flags, overlapped, None)
        };
        decide(code_unless(result == 0), bytes, self.inline)
    }

    /// Starts sending `len` bytes.
    ///
    /// # Safety
    /// As for [`receive`](Self::receive).
    pub(super) unsafe fn send(
        &self,
        socket: ws::SOCKET,
        from: *const u8,
        len: u32,
        header: &mut Header,
    ) -> Started {
        let (buffer, mut bytes) = (ws::WSABUF { len, buf: from.cast_mut() }, 0);
        // SAFETY: the caller keeps the socket, the bytes and the header until the completion (INV-1). The kernel
        // only reads the bytes; the array of buffers is copied before the call returns.
        let result = unsafe {
            ws::WSASend(socket, &raw const buffer, 1, &raw mut bytes, 0, header.overlapped(), None)
        };
        decide(code_unless(result == 0), bytes, self.inline)
    }
}

/// An overlapped socket: socket2 makes no others.
pub(super) fn stream_socket(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
}

/// Asks for the operation of `header` alone to end early. It may be over already; then this does nothing.
pub(super) fn cancel(socket: ws::SOCKET, header: &mut Header) {
    // SAFETY: the operation's connection keeps the socket open (INV-2). The address only names an operation.
    unsafe { CancelIoEx(socket as HANDLE, header.overlapped()) };
}

/// The Winsock code of an operation whose packet said that it failed.
pub(super) fn failure(socket: ws::SOCKET, header: &mut Header) -> i32 {
    let (mut bytes, mut flags) = (0, 0);
    // SAFETY: the packet was taken, so the header is ours again; two integers that the call writes.
    let done =
        unsafe { ws::WSAGetOverlappedResult(socket, header.overlapped(), &raw mut bytes, 0, &raw mut flags) };
    match code_unless(done != 0) {
        // It cannot succeed after all; if the status has no name in Winsock, the connection is broken anyhow.
        0 => ws::WSAECONNABORTED,
        code => code,
    }
}

/// Turns off the packet for what succeeds at once, and the event that nobody waits for.
pub(super) fn skip_on_success(socket: &Socket) -> io::Result<()> {
    let modes = FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE;
    // SAFETY: an open handle; no memory is passed.
    let done = unsafe { SetFileCompletionNotificationModes(socket.as_raw_socket() as HANDLE, modes as u8) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes an accepted socket a full one: with addresses, half-close, and its listener's options.
pub(super) fn update_accepted(socket: &Socket, listener: ws::SOCKET) -> io::Result<()> {
    let listener = listener.to_ne_bytes();
    set_option(socket.as_raw_socket() as ws::SOCKET, ws::SO_UPDATE_ACCEPT_CONTEXT, &listener)
}

/// The same for a connected one.
pub(super) fn update_connected(socket: ws::SOCKET) -> io::Result<()> {
    set_option(socket, ws::SO_UPDATE_CONNECT_CONTEXT, &[])
}

fn set_option(socket: ws::SOCKET, option: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: an open socket, and readable bytes of the stated length.
    let result =
        unsafe { ws::setsockopt(socket, ws::SOL_SOCKET, option, value.as_ptr(), value.len() as i32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The family of a bound socket.
pub(super) fn domain(socket: ws::SOCKET) -> io::Result<Domain> {
    let mut address = ws::SOCKADDR_STORAGE::default();
    let mut len = size_of::<ws::SOCKADDR_STORAGE>() as i32;
    // SAFETY: an open socket, writable room for any address, and its size.
    let result = unsafe { ws::getsockname(socket, (&raw mut address).cast(), &raw mut len) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Domain::from(i32::from(address.ss_family)))
}

/// Fetches one of Winsock's function pointers.
///
/// # Safety
/// `T` is the nullable pointer type of the function that `id` names.
unsafe fn extension<T: Default>(socket: &Socket, id: &GUID) -> io::Result<T> {
    let (mut function, mut bytes) = (T::default(), 0);
    // SAFETY: a GUID to read and room for the pointer that `id` names, for a call that is over when it returns.
    let result = unsafe {
        ws::WSAIoctl(
            socket.as_raw_socket() as ws::SOCKET,
            ws::SIO_GET_EXTENSION_FUNCTION_POINTER,
            ptr::from_ref(id).cast(),
            size_of::<GUID>() as u32,
            (&raw mut function).cast(),
            size_of::<T>() as u32,
            &raw mut bytes,
            ptr::null_mut(),
            None,
        )
    };
    if result == 0 { Ok(function) } else { Err(io::Error::last_os_error()) }
}

/// Whether a socket is the kernel's own, not one that a layered provider made: only those may skip packets.
fn is_native(socket: &Socket) -> io::Result<bool> {
    let mut info = ws::WSAPROTOCOL_INFOW::default();
    let mut len = size_of::<ws::WSAPROTOCOL_INFOW>() as i32;
    // SAFETY: an open socket, and writable room of the stated size.
    let result = unsafe {
        let (socket, room) = (socket.as_raw_socket() as ws::SOCKET, (&raw mut info).cast());
        ws::getsockopt(socket, ws::SOL_SOCKET, ws::SO_PROTOCOL_INFOW, room, &raw mut len)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info.dwServiceFlags1 & ws::XP1_IFS_HANDLES != 0)
}

/// 0 for success, else the calling thread's last error.
fn code_unless(success: bool) -> i32 {
    // SAFETY: no memory is passed.
    if success { 0 } else { unsafe { ws::WSAGetLastError() } }
}
