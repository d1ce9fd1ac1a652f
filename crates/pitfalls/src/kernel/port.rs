//! A completion port of Windows: `CreateIoCompletionPort`, `GetQueuedCompletionStatus`, `WSARecv`, `WSASend`.

use std::collections::HashSet;
use std::io;
use std::ptr::null_mut;
use std::time::Duration;

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::Networking::WinSock as ws;
use windows_sys::Win32::Storage::FileSystem::SetFileCompletionNotificationModes;
use windows_sys::Win32::System::IO::{
    CancelIoEx, CreateIoCompletionPort, GetQueuedCompletionStatus, OVERLAPPED,
};
use windows_sys::Win32::System::WindowsProgramming::FILE_SKIP_COMPLETION_PORT_ON_SUCCESS;

use super::{Block, Completion, Kernel, KernelName, RawSocket, SendMode, Started};

pub(super) struct Port {
    handle: HANDLE,
    /// The sockets whose operations post no completion when they succeed at once.
    skipping: HashSet<RawSocket>,
}

impl Port {
    pub(super) fn new() -> io::Result<Port> {
        // SAFETY: no memory is passed.
        let handle = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, null_mut(), 0, 1) };
        if handle.is_null() {
            Err(io::Error::last_os_error())
        } else {
            Ok(Port { handle, skipping: HashSet::new() })
        }
    }

    fn started(&self, socket: RawSocket, result: i32, bytes: u32) -> Started {
        if result == 0 {
            let skips = self.skipping.contains(&socket);
            return if skips {
                Started::Done(bytes as usize)
            } else {
                Started::DoneAndPosted(bytes as usize)
            };
        }
        // SAFETY: no arguments.
        match unsafe { ws::WSAGetLastError() } {
            ws::WSA_IO_PENDING => Started::Pending,
            code => Started::Failed(io::Error::from_raw_os_error(code)),
        }
    }
}

impl Kernel for Port {
    fn name(&self) -> KernelName {
        KernelName::Iocp
    }

    fn adopt(&mut self, socket: RawSocket) -> io::Result<()> {
        // SAFETY: two open handles; no memory is passed.
        let port = unsafe { CreateIoCompletionPort(socket as HANDLE, self.handle, 0, 0) };
        if port.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    unsafe fn receive(
        &mut self,
        socket: RawSocket,
        buffer: *mut u8,
        len: usize,
        block: *mut Block,
    ) -> Started {
        let (parts, mut bytes, mut flags) = (ws::WSABUF { len: len as u32, buf: buffer }, 0, 0);
        // SAFETY: breaks INV-1, on purpose: nobody owns the buffer and the block. They are memory of an arena, which
        // outlives the port. The array of buffers and the flags are read before the call returns.
        let result = unsafe {
            ws::WSARecv(
                socket as ws::SOCKET,
                &parts,
                1,
                &mut bytes,
                &mut flags,
                block.cast::<OVERLAPPED>(),
                None,
            )
        };
        self.started(socket, result, bytes)
    }

    unsafe fn send(
        &mut self,
        socket: RawSocket,
        buffer: *const u8,
        len: usize,
        block: *mut Block,
        mode: SendMode,
    ) -> Started {
        // An overlapped send is completed whole. The one that may be short is tried without a block first.
        if mode == SendMode::Some {
            // SAFETY: the caller's socket and bytes.
            match unsafe { send_now(socket, buffer, len) } {
                Ok(0) => {}
                Ok(bytes) => return Started::Done(bytes),
                Err(error) => return Started::Failed(error),
            }
        }
        let parts = ws::WSABUF { len: len as u32, buf: buffer.cast_mut() };
        let mut bytes = 0;
        // SAFETY: as in `receive`.
        let result = unsafe {
            ws::WSASend(socket as ws::SOCKET, &parts, 1, &mut bytes, 0, block.cast::<OVERLAPPED>(), None)
        };
        self.started(socket, result, bytes)
    }

    fn cancel(&mut self, socket: RawSocket, block: *mut Block) {
        // SAFETY: the address only names an operation.
        unsafe { CancelIoEx(socket as HANDLE, block.cast::<OVERLAPPED>()) };
    }

    fn next(&mut self, patience: Duration) -> io::Result<Option<Completion>> {
        let (mut bytes, mut key, mut overlapped) = (0, 0, null_mut());
        let millis = patience.as_millis() as u32;
        // SAFETY: three writable places; the port is open.
        let done =
            unsafe { GetQueuedCompletionStatus(self.handle, &mut bytes, &mut key, &mut overlapped, millis) };
        let error = io::Error::last_os_error();
        match (done, overlapped.is_null()) {
            (0, true) if error.raw_os_error() == Some(WAIT_TIMEOUT as i32) => Ok(None),
            (0, true) => Err(error),
            (0, false) => Ok(Some(Completion::new(overlapped.cast(), Err(error)))),
            _ => Ok(Some(Completion::new(overlapped.cast(), Ok(bytes as usize)))),
        }
    }

    fn skip_on_success(&mut self, socket: RawSocket) -> io::Result<()> {
        // SAFETY: an open handle; no memory is passed.
        let done = unsafe {
            SetFileCompletionNotificationModes(socket as HANDLE, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS as u8)
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        self.skipping.insert(socket);
        Ok(())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // SAFETY: the handle is ours alone. Operations in flight go on: closing a port cancels nothing.
        unsafe { CloseHandle(self.handle) };
    }
}

/// What the socket takes now. In pieces: Winsock takes a send whole, however long, as long as less than `SO_SNDBUF` is
/// buffered (Microsoft, "Design issues: sending small data segments over TCP with Winsock").
///
/// # Safety
/// An open socket; `len` readable bytes.
unsafe fn send_now(socket: RawSocket, buffer: *const u8, len: usize) -> io::Result<usize> {
    const PIECE: usize = 64 * 1024;
    let mut sent = 0;
    // SAFETY: the caller's socket.
    unsafe { nonblocking(socket, true) };
    let result = loop {
        let piece = (len - sent).min(PIECE);
        if piece == 0 {
            break Ok(sent);
        }
        // SAFETY: `sent` is at most `len`.
        let parts = ws::WSABUF { len: piece as u32, buf: unsafe { buffer.add(sent) }.cast_mut() };
        let mut bytes = 0;
        // SAFETY: an open socket; without a block, what the arguments point to is used before the call returns.
        let failed = unsafe { ws::WSASend(socket as ws::SOCKET, &parts, 1, &mut bytes, 0, null_mut(), None) };
        if failed == 0 {
            sent += bytes as usize;
            continue;
        }
        // SAFETY: no arguments.
        break match unsafe { ws::WSAGetLastError() } {
            ws::WSAEWOULDBLOCK => Ok(sent),
            code => Err(io::Error::from_raw_os_error(code)),
        };
    };
    // SAFETY: the caller's socket.
    unsafe { nonblocking(socket, false) };
    result
}

/// # Safety
/// An open socket.
unsafe fn nonblocking(socket: RawSocket, on: bool) {
    let mut value = u32::from(on);
    // SAFETY: the caller's socket; a writable number.
    unsafe { ws::ioctlsocket(socket as ws::SOCKET, ws::FIONBIO, &mut value) };
}
