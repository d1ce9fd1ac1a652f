//! The overlapped calls, each with one result, and the other calls, which never wait.

use std::ffi::c_void;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::windows::io::FromRawSocket;
use std::ptr;
use std::time::Duration;

use socket2::{Domain, SockAddr};
use windows_sys::Win32::Foundation::{ERROR_NOT_FOUND, HANDLE};
use windows_sys::Win32::Networking::WinSock as ws;
use windows_sys::Win32::System::WindowsProgramming::{
    FILE_SKIP_COMPLETION_PORT_ON_SUCCESS, FILE_SKIP_SET_EVENT_ON_HANDLE,
};
use windows_sys::core::GUID;

use super::errors::{Started, decide};
use super::header::{ADDRESS, ADDRESSES, Header};
use super::table::{AcceptEx, ConnectEx, GetAcceptExSockaddrs, Table, raw};
use crate::buffer::Gather;
use crate::socket::{self, Delivery, Discarded, Socket, SocketCalls, SocketOptions, TcpInfo, ip};

/// Winsock 2.2.
const VERSION: u16 = 0x0202;

/// The system's calls: those of the table, and those that Winsock offers only as function pointers.
#[derive(Clone, Copy)]
pub struct Calls {
    pub(super) table: &'static Table,
    pub(super) accept_ex: AcceptEx,
    pub(super) connect_ex: ConnectEx,
    addresses_of: GetAcceptExSockaddrs,
}

impl Calls {
    pub(super) fn load(table: &'static Table) -> io::Result<Calls> {
        start_winsock(table)?;
        let socket = stream_socket(table, Domain::IPV4)?;
        // SAFETY: each type belongs to its name.
        let (accept_ex, connect_ex, addresses_of) = unsafe {
            let accept_ex: ws::LPFN_ACCEPTEX = extension(table, &socket, &ws::WSAID_ACCEPTEX)?;
            let connect_ex: ws::LPFN_CONNECTEX = extension(table, &socket, &ws::WSAID_CONNECTEX)?;
            let addresses_of: ws::LPFN_GETACCEPTEXSOCKADDRS =
                extension(table, &socket, &ws::WSAID_GETACCEPTEXSOCKADDRS)?;
            (accept_ex, connect_ex, addresses_of)
        };
        let absent = || io::Error::from(io::ErrorKind::Unsupported);
        Ok(Calls {
            table,
            accept_ex: accept_ex.ok_or_else(absent)?,
            connect_ex: connect_ex.ok_or_else(absent)?,
            addresses_of: addresses_of.ok_or_else(absent)?,
        })
    }

    /// The name of the layered service provider that replaces TCP's sockets by its own; `None` if there is none.
    ///
    /// Such a socket is not a kernel handle. This backend needs kernel handles for two reasons:
    ///
    /// * Only with kernel handles does an immediate success post no packet:
    ///   <https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-setfilecompletionnotificationmodes>.
    /// * `CancelIoEx` finds an operation by its `OVERLAPPED`, and the provider has given the socket below another
    ///   one. Cancelling on that socket (`SIO_BASE_HANDLE`) would cancel everything on it, also a send in flight, and
    ///   bytes would be lost in the middle of a stream (INV-4).
    ///
    /// A provider that hands out kernel handles sets `XP1_IFS_HANDLES`, and is harmless:
    /// <https://learn.microsoft.com/windows/win32/api/winsock2/ns-winsock2-wsaprotocol_infow>.
    pub(super) fn layer(&self) -> io::Result<Option<String>> {
        let v4 = layer_of(self.table, &stream_socket(self.table, Domain::IPV4)?)?;
        if v4.is_some() {
            return Ok(v4);
        }
        // Without IPv6 on the machine, only the first check counts.
        stream_socket(self.table, Domain::IPV6).map_or(Ok(None), |v6| layer_of(self.table, &v6))
    }

    /// A socket to accept into, of the family that its listener has.
    pub(super) fn socket_for(&self, listener: ws::SOCKET) -> io::Result<Socket> {
        let family = self.address(self.table.local_address, listener)?.domain();
        stream_socket(self.table, family)
    }

    /// A socket for a connect, bound as `ConnectEx` requires: to `from`, or else to any local address.
    pub(super) fn socket_towards(&self, address: SocketAddr, from: Option<SocketAddr>) -> io::Result<Socket> {
        let socket = stream_socket(self.table, Domain::for_address(address))?;
        self.set_nodelay(&socket)?;
        self.set_inline_urgent(&socket)?;
        if from.is_none_or(|from| from.port() == 0) {
            self.share_port(&socket);
        }
        let any = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let local = SockAddr::from(from.unwrap_or(any));
        // SAFETY: an open socket, and a readable address of the stated length.
        let result = unsafe { (self.table.bind)(raw(&socket), local.as_ptr().cast(), local.len()) };
        checked(result == 0).map(|()| socket)
    }

    /// Starts taking a connection from `listener`'s backlog into `into`. Associate `into` with a port only
    /// afterwards: its worker is not known yet.
    ///
    /// # Safety
    /// As for [`receive`](Self::receive); `addresses` points to [`ADDRESSES`] writable bytes.
    pub(super) unsafe fn accept(
        &self,
        listener: ws::SOCKET,
        into: ws::SOCKET,
        addresses: *mut u8,
        header: &Header,
    ) -> Started {
        let mut bytes = 0;
        // SAFETY: the caller keeps both sockets, the addresses and the header until the completion (INV-1).
        let done = unsafe {
            let (addresses, overlapped) = (addresses.cast(), header.overlapped());
            (self.accept_ex)(listener, into, addresses, 0, ADDRESS, ADDRESS, &raw mut bytes, overlapped)
        };
        decide(code_unless(done != 0), bytes)
    }

    /// The peer's address, from the bytes that a completed accept wrote; `None` if they are no address.
    pub(super) fn peer_in(&self, addresses: &[u8; ADDRESSES]) -> Option<SocketAddr> {
        let (mut local, mut peer) = (ptr::null_mut(), ptr::null_mut());
        let (mut local_len, mut len) = (0, 0);
        // SAFETY: the bytes that an accept with these lengths wrote; four places for where in them the addresses are.
        let address = unsafe {
            let from = addresses.as_ptr().cast();
            (self.addresses_of)(
                from,
                0,
                ADDRESS,
                ADDRESS,
                &raw mut local,
                &raw mut local_len,
                &raw mut peer,
                &raw mut len,
            );
            let room = size_of::<ws::SOCKADDR_STORAGE>();
            let usable = !peer.is_null() && usize::try_from(len).is_ok_and(|len| len > 0 && len <= room);
            usable.then(|| {
                SockAddr::try_init(|into, into_len| {
                    ptr::copy_nonoverlapping(peer.cast::<u8>(), into.cast(), len as usize);
                    *into_len = len;
                    Ok(())
                })
            })?
        };
        address.ok()?.1.as_socket()
    }

    /// Starts connecting a bound socket.
    ///
    /// # Safety
    /// As for [`receive`](Self::receive); `address` stays too.
    pub(super) unsafe fn connect(&self, socket: ws::SOCKET, to: &SockAddr, header: &Header) -> Started {
        let mut bytes = 0;
        // SAFETY: the caller keeps the socket, the address and the header until the completion (INV-1).
        let done = unsafe {
            let (address, len) = (to.as_ptr().cast(), to.len());
            (self.connect_ex)(socket, address, len, ptr::null(), 0, &raw mut bytes, header.overlapped())
        };
        decide(code_unless(done != 0), bytes)
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
        header: &Header,
    ) -> Started {
        let (buffer, mut bytes) = (ws::WSABUF { len, buf: to }, 0);
        // SAFETY: the caller keeps the socket, the bytes and the header until the completion (INV-1). The array
        // of buffers is copied before the call returns.
        let result = unsafe {
            let (flags, overlapped) = (header.flags(), header.overlapped());
            (self.table.receive)(socket, &raw const buffer, 1, &raw mut bytes, flags, overlapped, None)
        };
        decide(code_unless(result == 0), bytes)
    }

    /// Starts sending the bytes of all pieces, in order. More pieces than `Gather` has parts are left out.
    ///
    /// # Safety
    /// As for [`receive`](Self::receive).
    pub(super) unsafe fn send(&self, socket: ws::SOCKET, pieces: &[&[u8]], header: &Header) -> Started {
        let mut buffers = [ws::WSABUF { len: 0, buf: ptr::null_mut() }; Gather::MOST];
        for (buffer, piece) in buffers.iter_mut().zip(pieces) {
            *buffer = ws::WSABUF { len: piece.len() as u32, buf: piece.as_ptr().cast_mut() };
        }
        let (buffers, count, mut bytes) = (&raw const buffers[0], pieces.len().min(Gather::MOST) as u32, 0);
        // SAFETY: the caller keeps the socket, the bytes and the header until the completion (INV-1). The kernel
        // only reads the bytes; the array of buffers is copied before the call returns.
        let result = unsafe {
            (self.table.send)(socket, buffers, count, &raw mut bytes, 0, header.overlapped(), None)
        };
        decide(code_unless(result == 0), bytes)
    }

    /// Cancels the operation of `header`, and no other. True: it will end, or is over already. False: the system
    /// could not; try again.
    pub(super) fn cancel(&self, socket: ws::SOCKET, header: &Header) -> bool {
        // SAFETY: the operation's connection keeps the socket open (INV-2). The address only names an operation.
        let done = unsafe { (self.table.cancel)(socket as HANDLE, header.overlapped()) };
        done != 0 || code_unless(false) == ERROR_NOT_FOUND as i32
    }

    /// The Winsock code of an operation whose packet said that it failed.
    pub(super) fn failure(&self, socket: ws::SOCKET, header: &Header) -> i32 {
        let (mut bytes, mut flags) = (0, 0);
        // SAFETY: the packet was taken, so the header is ours again; two integers that the call writes.
        let done =
            unsafe { (self.table.result)(socket, header.overlapped(), &raw mut bytes, 0, &raw mut flags) };
        match code_unless(done != 0) {
            // The packet reported a failure: if its status has no Winsock code, the connection is broken.
            0 => ws::WSAECONNABORTED,
            code => code,
        }
    }

    /// Turns off the packet for immediate success, and the event of the handle, which is not used.
    pub(super) fn skip_on_success(&self, socket: &Socket) -> io::Result<()> {
        let modes = FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE;
        // SAFETY: an open handle; no memory is passed.
        checked(unsafe { (self.table.modes)(raw(socket) as HANDLE, modes as u8) } != 0)
    }

    /// One of a socket's addresses; `ask` is one of the table's two calls for that.
    fn address(
        &self,
        ask: unsafe extern "system" fn(ws::SOCKET, *mut ws::SOCKADDR, *mut i32) -> i32,
        socket: ws::SOCKET,
    ) -> io::Result<SockAddr> {
        // SAFETY: an open socket, writable room for any address, and its size.
        let address = unsafe {
            SockAddr::try_init(|address, len| checked(ask(socket, address.cast(), len.cast()) == 0))?
        };
        Ok(address.1)
    }

    /// `SIO_TCP_INFO`, version 0: Windows 10 1703 and newer. Bytes that the system has not sent yet are not reported.
    fn info(&self, socket: &Socket) -> Option<Info> {
        let version = 0_u32;
        // Not a value: its boolean is whatever the system writes.
        let mut info = MaybeUninit::<ws::TCP_INFO_v0>::zeroed();
        let mut written = 0;
        // SAFETY: a version to read and room for the answer to it, for a call that is over when it returns.
        let result = unsafe {
            (self.table.ioctl)(
                raw(socket),
                ws::SIO_TCP_INFO,
                (&raw const version).cast(),
                size_of_val(&version) as u32,
                info.as_mut_ptr().cast(),
                size_of_val(&info) as u32,
                &raw mut written,
                ptr::null_mut(),
                None,
            )
        };
        if result != 0 || (written as usize) < size_of_val(&info) {
            return None;
        }
        let info = info.as_ptr();
        // SAFETY: integers within the answer, which was zeroed and then written.
        Some(unsafe {
            Info {
                rtt_us: (&raw const (*info).RttUs).read(),
                in_flight: (&raw const (*info).BytesInFlight).read(),
                window: (&raw const (*info).Cwnd).read(),
                out: (&raw const (*info).BytesOut).read(),
                again: (&raw const (*info).BytesRetrans).read(),
            }
        })
    }
}

/// What is used of a `TCP_INFO_v0`. Bytes, except the time.
struct Info {
    rtt_us: u32,
    in_flight: u32,
    window: u32,
    out: u64,
    again: u32,
}

/// Uses the table's calls where it has them, so that tests can make them fail.
impl SocketCalls<Socket> for Calls {
    fn peer_addr(&self, socket: &Socket) -> io::Result<SocketAddr> {
        ip(&self.address(self.table.peer_address, raw(socket))?)
    }

    fn local_addr(&self, socket: &Socket) -> io::Result<SocketAddr> {
        ip(&self.address(self.table.local_address, raw(socket))?)
    }

    /// Bytes that arrived and were not received yet: `FIONREAD`.
    fn unread(&self, socket: &Socket) -> io::Result<usize> {
        let mut count: u32 = 0;
        // SAFETY: an open socket, and an integer that the call writes.
        checked(unsafe { (self.table.unread)(raw(socket), ws::FIONREAD, &raw mut count) } == 0)?;
        Ok(count as usize)
    }

    fn shutdown_write(&self, socket: &Socket) -> io::Result<()> {
        // SAFETY: an open socket; no memory is passed.
        checked(unsafe { (self.table.shutdown)(raw(socket), ws::SD_SEND) } == 0)
    }

    fn send(&self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        socket::send_now(socket, bytes)
    }

    fn discard(&self, socket: &Socket) -> io::Result<Discarded> {
        socket::discard(socket)
    }

    fn delivery(&self, socket: &Socket) -> Option<Delivery> {
        let info = self.info(socket)?;
        let (out, again, in_flight) = (info.out, u64::from(info.again), u64::from(info.in_flight));
        let acknowledged = out.saturating_sub(again).saturating_sub(in_flight);
        Some(Delivery { unacknowledged: info.in_flight as usize, acknowledged, last: None })
    }

    fn tcp_info(&self, socket: &Socket) -> Option<TcpInfo> {
        let info = self.info(socket)?;
        Some(TcpInfo {
            rtt: Duration::from_micros(info.rtt_us.into()),
            retransmitted: info.again.into(),
            unacknowledged: info.in_flight.into(),
            congestion_window: info.window.into(),
        })
    }

    fn inline_urgent(&self, socket: &Socket) -> io::Result<bool> {
        socket::inline_urgent(socket)
    }

    fn nodelay(&self, socket: &Socket) -> io::Result<bool> {
        socket::nodelay(socket)
    }

    fn set_options(&self, socket: &Socket, options: &SocketOptions) -> io::Result<()> {
        options.apply(socket)
    }
}

/// Starts Winsock for this process. Never undone: sockets may outlive every port.
fn start_winsock(table: &Table) -> io::Result<()> {
    let mut data = ws::WSADATA::default();
    // SAFETY: writable room for what the call tells of the implementation.
    match unsafe { (table.startup)(VERSION, &raw mut data) } {
        0 => Ok(()),
        // The one call that returns its error.
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// An overlapped socket that no child process inherits.
fn stream_socket(table: &Table, domain: Domain) -> io::Result<Socket> {
    let flags = ws::WSA_FLAG_OVERLAPPED | ws::WSA_FLAG_NO_HANDLE_INHERIT;
    // SAFETY: no memory is passed.
    let socket =
        unsafe { (table.socket)(domain.into(), ws::SOCK_STREAM, ws::IPPROTO_TCP, ptr::null(), 0, flags) };
    checked(socket != ws::INVALID_SOCKET)?;
    // SAFETY: the call above made this socket for us alone.
    Ok(unsafe { socket2::Socket::from_raw_socket(socket as _) }.into())
}

/// Fetches one of Winsock's function pointers.
///
/// # Safety
/// `T` is the nullable pointer type of the function that `id` names.
unsafe fn extension<T: Default>(table: &Table, socket: &Socket, id: &GUID) -> io::Result<T> {
    let (mut function, mut bytes) = (T::default(), 0);
    // SAFETY: a GUID to read and room for the pointer that `id` names, for a call that is over when it returns.
    let result = unsafe {
        (table.ioctl)(
            raw(socket),
            ws::SIO_GET_EXTENSION_FUNCTION_POINTER,
            ptr::from_ref(id).cast::<c_void>(),
            size_of::<GUID>() as u32,
            (&raw mut function).cast(),
            size_of::<T>() as u32,
            &raw mut bytes,
            ptr::null_mut(),
            None,
        )
    };
    checked(result == 0).map(|()| function)
}

/// The name of the provider that made a socket, if the socket is not a kernel handle.
fn layer_of(table: &Table, socket: &Socket) -> io::Result<Option<String>> {
    let mut info = ws::WSAPROTOCOL_INFOW::default();
    let mut len = size_of::<ws::WSAPROTOCOL_INFOW>() as i32;
    // SAFETY: an open socket, and writable room of the stated size.
    let result = unsafe {
        let room = (&raw mut info).cast();
        (table.get_option)(raw(socket), ws::SOL_SOCKET, ws::SO_PROTOCOL_INFOW, room, &raw mut len)
    };
    checked(result == 0)?;
    let name = info.szProtocol.split(|unit| *unit == 0).next().unwrap_or_default();
    let is_native = info.dwServiceFlags1 & ws::XP1_IFS_HANDLES != 0;
    Ok((!is_native).then(|| String::from_utf16_lossy(name)))
}

pub(super) fn checked(success: bool) -> io::Result<()> {
    if success { Ok(()) } else { Err(super::errors::error(code_unless(false))) }
}

/// 0 for success, else the calling thread's last error.
fn code_unless(success: bool) -> i32 {
    // SAFETY: no memory is passed.
    if success { 0 } else { unsafe { ws::WSAGetLastError() } }
}
