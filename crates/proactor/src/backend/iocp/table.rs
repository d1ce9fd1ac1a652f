//! Every Win32 and Winsock call of this backend, as a table: the system's, and for tests one in which any call can be
//! made to fail. No other file of the backend names a function of the system.

use std::ffi::c_void;
use std::os::windows::io::AsRawSocket;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock as ws;
use windows_sys::Win32::Storage::FileSystem as file;
use windows_sys::Win32::System::IO::{self as io, OVERLAPPED, OVERLAPPED_ENTRY};

use ws::{SOCKADDR, SOCKET, WSABUF, WSADATA, WSAPROTOCOL_INFOW};

use crate::socket::Socket;

/// `AcceptEx`, which Winsock offers only as a function pointer.
pub(super) type AcceptEx =
    unsafe extern "system" fn(SOCKET, SOCKET, *mut c_void, u32, u32, u32, *mut u32, *mut OVERLAPPED) -> i32;
/// `ConnectEx`, likewise.
pub(super) type ConnectEx = unsafe extern "system" fn(
    SOCKET,
    *const SOCKADDR,
    i32,
    *const c_void,
    u32,
    *mut u32,
    *mut OVERLAPPED,
) -> i32;
/// `GetAcceptExSockaddrs`, likewise.
pub(super) type GetAcceptExSockaddrs = unsafe extern "system" fn(
    *const c_void,
    u32,
    u32,
    u32,
    *mut *mut SOCKADDR,
    *mut i32,
    *mut *mut SOCKADDR,
    *mut i32,
);

type Routine = ws::LPWSAOVERLAPPED_COMPLETION_ROUTINE;

/// Makes the table, and for tests its twin: there each entry first asks whether it is to fail.
macro_rules! calls {
    ($($name:ident: $real:path, ($($arg:ident: $type:ty),* $(,)?) -> $result:ty, failing with $failed:expr;)*) => {
        /// The calls by name. Each is the system's function of that name; Microsoft's page has the contract.
        pub(super) struct Table {
            $(pub(super) $name: unsafe extern "system" fn($($type),*) -> $result,)*
        }

        /// The system's own.
        pub(super) static SYSTEM: Table = Table { $($name: $real,)* };

        #[cfg(test)]
        pub(super) mod twin {
            use super::*;
            use crate::backend::iocp::faults;

            /// The system's calls, each of which a test may have fail.
            pub(in crate::backend::iocp) const TABLE: Table = Table { $($name,)* };

            /// Their names.
            pub(in crate::backend::iocp) const NAMES: &[&str] = &[$(stringify!($name)),*];

            $(
                pub(in crate::backend::iocp) unsafe extern "system" fn $name($($arg: $type),*) -> $result {
                    if faults::meets(stringify!($name)) {
                        return $failed;
                    }
                    // SAFETY: what the caller promised.
                    unsafe { $real($($arg),*) }
                }
            )*
        }
    };
}

calls! {
    startup: ws::WSAStartup, (version: u16, data: *mut WSADATA) -> i32,
        failing with faults::code();
    socket: ws::WSASocketW,
        (family: i32, kind: i32, protocol: i32, info: *const WSAPROTOCOL_INFOW, group: u32, flags: u32) -> SOCKET,
        failing with ws::INVALID_SOCKET;
    ioctl: ws::WSAIoctl,
        (socket: SOCKET, code: u32, input: *const c_void, input_len: u32, output: *mut c_void, output_len: u32,
         bytes: *mut u32, overlapped: *mut OVERLAPPED, routine: Routine) -> i32,
        failing with ws::SOCKET_ERROR;
    unread: ws::ioctlsocket, (socket: SOCKET, command: i32, value: *mut u32) -> i32,
        failing with ws::SOCKET_ERROR;
    get_option: ws::getsockopt, (socket: SOCKET, level: i32, option: i32, value: *mut u8, len: *mut i32) -> i32,
        failing with ws::SOCKET_ERROR;
    set_option: ws::setsockopt, (socket: SOCKET, level: i32, option: i32, value: *const u8, len: i32) -> i32,
        failing with ws::SOCKET_ERROR;
    bind: ws::bind, (socket: SOCKET, address: *const SOCKADDR, len: i32) -> i32,
        failing with ws::SOCKET_ERROR;
    local_address: ws::getsockname, (socket: SOCKET, address: *mut SOCKADDR, len: *mut i32) -> i32,
        failing with ws::SOCKET_ERROR;
    peer_address: ws::getpeername, (socket: SOCKET, address: *mut SOCKADDR, len: *mut i32) -> i32,
        failing with ws::SOCKET_ERROR;
    shutdown: ws::shutdown, (socket: SOCKET, how: i32) -> i32,
        failing with ws::SOCKET_ERROR;
    port: io::CreateIoCompletionPort, (file: HANDLE, port: HANDLE, key: usize, threads: u32) -> HANDLE,
        failing with std::ptr::null_mut();
    modes: file::SetFileCompletionNotificationModes, (file: HANDLE, modes: u8) -> i32,
        failing with 0;
    receive: ws::WSARecv,
        (socket: SOCKET, buffers: *const WSABUF, count: u32, bytes: *mut u32, flags: *mut u32,
         overlapped: *mut OVERLAPPED, routine: Routine) -> i32,
        failing with ws::SOCKET_ERROR;
    send: ws::WSASend,
        (socket: SOCKET, buffers: *const WSABUF, count: u32, bytes: *mut u32, flags: u32,
         overlapped: *mut OVERLAPPED, routine: Routine) -> i32,
        failing with ws::SOCKET_ERROR;
    result: ws::WSAGetOverlappedResult,
        (socket: SOCKET, overlapped: *const OVERLAPPED, bytes: *mut u32, wait: i32, flags: *mut u32) -> i32,
        failing with 0;
    cancel: io::CancelIoEx, (file: HANDLE, overlapped: *const OVERLAPPED) -> i32,
        failing with 0;
    take: io::GetQueuedCompletionStatusEx,
        (port: HANDLE, entries: *mut OVERLAPPED_ENTRY, room: u32, count: *mut u32, millis: u32, alertable: i32) -> i32,
        failing with 0;
    post: io::PostQueuedCompletionStatus,
        (port: HANDLE, bytes: u32, key: usize, overlapped: *const OVERLAPPED) -> i32,
        failing with 0;
}

/// A socket as Winsock names it.
pub(super) fn raw(socket: &Socket) -> SOCKET {
    socket.as_raw_socket() as SOCKET
}
