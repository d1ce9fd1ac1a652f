//! The server of the lesson "22주차: IOCP 에코 서버 구현" (week 22: an IOCP echo server), step by step, on Win32 calls: one
//! completion port, N worker threads, an extended `OVERLAPPED`, reference counting. On Windows:
//! `cargo run -p overlapped-pitfalls --example lesson_iocp_echo -- 127.0.0.1:9999`
//! Unlike the lesson's server, it checks every result and continues short sends. `lesson_echo.rs` runs on every system.
#[cfg(not(windows))]
fn main() -> std::process::ExitCode {
    eprintln!("this example calls Win32 and needs Windows; on this system, run `--example lesson_echo`");
    std::process::ExitCode::FAILURE
}
#[cfg(windows)]
fn main() -> std::io::Result<()> {
    lesson::serve(&std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into()))
}

#[cfg(windows)]
mod lesson {
    use std::io::{Error, Result};
    use std::mem::{size_of_val, zeroed};
    use std::ops::Range;
    use std::ptr::{null, null_mut};
    use std::sync::atomic::{AtomicU32, Ordering};
    use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
    use windows_sys::Win32::Networking::WinSock as ws;
    use windows_sys::Win32::System::IO::{CreateIoCompletionPort, GetQueuedCompletionStatus, OVERLAPPED};

    /// What the lesson stores in `is_recv`.
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Receive,
        Send,
    }

    /// The extended `OVERLAPPED`. It is the first field, so a completion's `OVERLAPPED*` is also an `Operation*`.
    #[repr(C)]
    struct Operation {
        overlapped: OVERLAPPED,
        kind: Kind,
        /// The part of `buffer` that is received and not sent back yet.
        unsent: Range<usize>,
        flags: u32,
        /// The kernel reads or writes it while the operation is in flight. The session is not freed before that ends.
        buffer: [u8; 4096],
    }

    /// One client. Its address is the completion key.
    struct Session {
        socket: ws::SOCKET,
        /// One for the operation in flight, one for the accept loop until that has started. At 0 the session is freed.
        references: AtomicU32,
        operation: Operation,
    }

    pub(super) fn serve(address: &str) -> Result<()> {
        let address: std::net::SocketAddrV4 = address.parse().map_err(Error::other)?;
        // SAFETY: these calls use their pointers only until they return; this thread has a reference to the session.
        unsafe {
            // Step 1: start Winsock; create a socket for overlapped I/O, bind it, listen.
            check(ws::WSAStartup(0x0202, &mut zeroed()) == 0)?;
            let listener =
                ws::WSASocketW(ws::AF_INET.into(), ws::SOCK_STREAM, 0, null(), 0, ws::WSA_FLAG_OVERLAPPED);
            check(listener != ws::INVALID_SOCKET)?;
            let mut name: ws::SOCKADDR_IN = zeroed();
            (name.sin_family, name.sin_port) = (ws::AF_INET, address.port().to_be());
            name.sin_addr.S_un.S_addr = u32::from_ne_bytes(address.ip().octets());
            let (name_ptr, mut len) = ((&raw mut name).cast(), size_of_val(&name) as i32);
            check(ws::bind(listener, name_ptr, len) == 0)?;
            check(ws::listen(listener, ws::SOMAXCONN as i32) == 0)?;
            check(ws::getsockname(listener, name_ptr, &mut len) == 0)?; // the real port, if the given one is 0
            // Step 2: create the completion port, and one worker thread per processor.
            let port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, null_mut(), 0, 0) as usize;
            check(port != 0)?;
            for _ in 0..std::thread::available_parallelism()?.get() {
                std::thread::spawn(move || work(port as HANDLE));
            }
            println!("listening on {}:{}", address.ip(), u16::from_be(name.sin_port));
            // Step 3: accept clients, on the main thread.
            loop {
                let socket = ws::accept(listener, null_mut(), null_mut());
                if socket == ws::INVALID_SOCKET {
                    std::thread::sleep(std::time::Duration::from_millis(10)); // the client left, or a shortage
                    continue;
                }
                // Step 4: create the session, associate its socket with the port (key: the session), start WSARecv.
                let (overlapped, kind, unsent) = (zeroed(), Kind::Receive, 0..0);
                let operation = Operation { overlapped, kind, unsent, flags: 0, buffer: [0; 4096] };
                let references = AtomicU32::new(1);
                let session = Box::into_raw(Box::new(Session { socket, references, operation }));
                if !CreateIoCompletionPort(socket as HANDLE, port as HANDLE, session as usize, 0).is_null() {
                    start(session, Kind::Receive);
                }
                release(session);
            }
        }
    }

    /// A worker thread: takes completions from the port, one at a time.
    fn work(port: HANDLE) {
        loop {
            // Step 5: wait for a completion. FALSE means that its operation failed; GetLastError has the reason.
            let (mut bytes, mut key, mut overlapped) = (0, 0, null_mut());
            // SAFETY: the completed operation still holds a reference, so its session exists. A session has one
            // operation at a time, so neither the kernel nor another thread uses this one now.
            unsafe {
                let done = GetQueuedCompletionStatus(port, &mut bytes, &mut key, &mut overlapped, u32::MAX);
                let failure = (done == 0).then(Error::last_os_error);
                assert!(!overlapped.is_null(), "the completion port failed: {failure:?}");
                let (session, operation) = (key as *mut Session, &mut *overlapped.cast::<Operation>());
                // Step 6: the session ends if its operation failed (ERROR_NETNAME_DELETED: a reset), or if the client has
                // ended its stream (0 bytes). By then all of its echo is sent.
                let ends = failure.is_some() || bytes == 0;
                match (failure, operation.kind, bytes as usize) {
                    (Some(error), ..) => eprintln!("a session failed: {error}"),
                    // Step 7: WSARecv is complete. Its bytes are sent back from where they are.
                    (None, Kind::Receive, received) => operation.unsent = 0..received,
                    // Step 8: WSASend is complete. After a short send, some bytes are still unsent.
                    (None, Kind::Send, sent) => operation.unsent.start += sent,
                }
                if !ends {
                    start(session, if operation.unsent.is_empty() { Kind::Receive } else { Kind::Send });
                }
                release(session); // the reference of the completed operation
            }
        }
    }

    /// Starts WSARecv or WSASend. The operation holds a reference to the session until its completion is handled.
    unsafe fn start(session: *mut Session, kind: Kind) {
        // SAFETY: the caller has a reference, and the session has no operation in flight. All that the kernel gets a
        // pointer to is in the session, which the operation's reference keeps alive.
        unsafe {
            (*session).references.fetch_add(1, Ordering::Relaxed);
            let (socket, op) = ((*session).socket, &raw mut (*session).operation);
            ((*op).overlapped, (*op).kind, (*op).flags) = (zeroed(), kind, 0);
            let part = if kind == Kind::Send { (*op).unsent.clone() } else { 0..4096 };
            let buf = (&raw mut (*op).buffer).cast::<u8>().add(part.start);
            let (buffer, flags) = (ws::WSABUF { len: part.len() as u32, buf }, &raw mut (*op).flags);
            let result = match kind {
                Kind::Receive => ws::WSARecv(socket, &buffer, 1, null_mut(), flags, op.cast(), None),
                Kind::Send => ws::WSASend(socket, &buffer, 1, null_mut(), 0, op.cast(), None),
            };
            // After success or WSA_IO_PENDING, a completion follows. After another error, none does.
            if result != 0 && ws::WSAGetLastError() != ws::WSA_IO_PENDING {
                release(session);
            }
        }
    }

    /// Step 9: gives a reference back. The last one closes the socket and frees the session.
    unsafe fn release(session: *mut Session) {
        // SAFETY: the caller has this reference and does not use it again. After the last one, nothing uses the session.
        unsafe {
            if (*session).references.fetch_sub(1, Ordering::AcqRel) == 1 {
                ws::closesocket((*session).socket);
                drop(Box::from_raw(session));
            }
        }
    }

    fn check(success: bool) -> Result<()> {
        if success { Ok(()) } else { Err(Error::last_os_error()) }
    }
}
