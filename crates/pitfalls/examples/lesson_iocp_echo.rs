//! The lesson "22주차: IOCP 에코 서버 구현" (week 22: an IOCP echo server), step by step, on the calls of the system: one
//! completion port, N worker threads, an extended `OVERLAPPED`, reference counting. For Windows:
//! `cargo run -p overlapped-pitfalls --example lesson_iocp_echo -- 127.0.0.1:9999`
//! Unlike there, every result is looked at, and short sends are continued. Its portable twin: `lesson_echo.rs`.
#[cfg(not(windows))]
fn main() -> std::process::ExitCode {
    eprintln!("this is the program on Win32 calls; `--example lesson_echo` is its twin for this system");
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
    use std::ptr::{null, null_mut};
    use std::sync::atomic::{AtomicU32, Ordering};
    use windows_sys::Win32::Foundation::{ERROR_NETNAME_DELETED, HANDLE, INVALID_HANDLE_VALUE};
    use windows_sys::Win32::Networking::WinSock as ws;
    use windows_sys::Win32::System::IO::{CreateIoCompletionPort, GetQueuedCompletionStatus, OVERLAPPED};

    /// The extended `OVERLAPPED`. That comes first, so the address which a completion brings is the address of this.
    #[repr(C)]
    struct Operation {
        overlapped: OVERLAPPED,
        sends: bool,
        /// What of the buffer is still to go back: from here to there.
        rest: (usize, usize),
        flags: u32,
        /// The kernel's while an operation is in flight. It lives in the session, and the session lives longer.
        buffer: [u8; 4096],
    }

    /// The completion key is the address of one of these.
    struct Session {
        socket: ws::SOCKET,
        /// One for whoever works on it, one for the operation in flight. At 0 the kernel has nothing of it any more.
        references: AtomicU32,
        operation: Operation,
    }

    pub(super) fn serve(address: &str) -> Result<()> {
        let address: std::net::SocketAddrV4 = address.parse().map_err(Error::other)?;
        // SAFETY: pointers to locals, for calls that are over when they return; a session that we have a reference to.
        unsafe {
            // Step 1: Winsock, and a listening socket made for overlapped calls.
            check(ws::WSAStartup(0x0202, &mut zeroed()) == 0)?;
            let (kind, how) = (ws::SOCK_STREAM, ws::WSA_FLAG_OVERLAPPED);
            let listener = ws::WSASocketW(ws::AF_INET.into(), kind, 0, null(), 0, how);
            check(listener != ws::INVALID_SOCKET)?;
            let mut name: ws::SOCKADDR_IN = zeroed();
            (name.sin_family, name.sin_port) = (ws::AF_INET, address.port().to_be());
            name.sin_addr.S_un.S_addr = u32::from_ne_bytes(address.ip().octets());
            let (at, mut len) = ((&raw mut name).cast(), size_of_val(&name) as i32);
            check(ws::bind(listener, at, len) == 0 && ws::listen(listener, ws::SOMAXCONN as i32) == 0)?;
            check(ws::getsockname(listener, at, &mut len) == 0)?; // which port 0 became
            // Step 2: the completion port, and as many worker threads as there are processors.
            let port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, null_mut(), 0, 0) as usize;
            check(port != 0)?;
            for _ in 0..std::thread::available_parallelism()?.get() {
                std::thread::spawn(move || work(port as HANDLE));
            }
            println!("listening on {}:{}", address.ip(), u16::from_be(name.sin_port));
            // Step 3: the accept loop, on the main thread.
            loop {
                let socket = ws::accept(listener, null_mut(), null_mut());
                if socket == ws::INVALID_SOCKET {
                    std::thread::sleep(std::time::Duration::from_millis(10)); // gone, or the system is short
                    continue;
                }
                // Step 4: the session; its socket tied to the port, with the session as the key; its first WSARecv.
                let (references, operation) = (AtomicU32::new(1), zeroed());
                let session = Box::into_raw(Box::new(Session { socket, references, operation }));
                if !CreateIoCompletionPort(socket as HANDLE, port as HANDLE, session as usize, 0).is_null() {
                    start(session, false);
                }
                release(session);
            }
        }
    }

    /// What a worker thread does, for ever.
    fn work(port: HANDLE) {
        loop {
            // Step 5: a completion. A failed one comes with "false", and says why.
            let (mut bytes, mut key, mut overlapped) = (0, 0, null_mut());
            // SAFETY: the operation that is over held a reference: its session is there, and, as the only one, ours.
            unsafe {
                let done = GetQueuedCompletionStatus(port, &mut bytes, &mut key, &mut overlapped, u32::MAX);
                let failure = if done == 0 { Error::last_os_error().raw_os_error() } else { None };
                assert!(!overlapped.is_null(), "the port is broken: {failure:?}");
                let (session, operation) = (key as *mut Session, overlapped.cast::<Operation>());
                let goes_on = failure.is_none() && bytes > 0; // 0 bytes: the client's stream has ended
                match (failure, (*operation).sends, bytes as usize) {
                    // Step 6: the client is gone: by a reset, or (0 bytes) in good order, with all of its echo out.
                    (Some(code), ..) if code == ERROR_NETNAME_DELETED as i32 => eprintln!("a reset"),
                    (Some(code), ..) => eprintln!("a session broke: error {code}"),
                    // Step 7: WSARecv brought bytes. They go back from where they lie.
                    (None, false, bytes) => (*operation).rest = (0, bytes),
                    // Step 8: WSASend took bytes, perhaps not all of them.
                    (None, true, bytes) => (*operation).rest.0 += bytes,
                }
                if goes_on {
                    start(session, (*operation).rest.0 < (*operation).rest.1); // else the next WSARecv
                }
                release(session); // of the operation that is over
            }
        }
    }

    /// WSARecv or WSASend. It holds a reference while it is in flight; what fails at once never was in flight.
    unsafe fn start(session: *mut Session, sends: bool) {
        // SAFETY: the caller has a reference, and nothing is in flight. What the kernel gets lies in the session.
        unsafe {
            (*session).references.fetch_add(1, Ordering::Relaxed);
            let (socket, op) = ((*session).socket, &raw mut (*session).operation);
            ((*op).overlapped, (*op).sends, (*op).flags) = (zeroed(), sends, 0);
            let (from, to) = if sends { (*op).rest } else { (0, 4096) };
            let buf = (&raw mut (*op).buffer).cast::<u8>().add(from);
            let (buffer, flags) = (ws::WSABUF { len: (to - from) as u32, buf }, &raw mut (*op).flags);
            let result = match sends {
                true => ws::WSASend(socket, &buffer, 1, null_mut(), 0, op.cast(), None),
                false => ws::WSARecv(socket, &buffer, 1, null_mut(), flags, op.cast(), None),
            };
            // Done at once or pending: its completion comes. Failed at once: none does.
            if result != 0 && ws::WSAGetLastError() != ws::WSA_IO_PENDING {
                release(session);
            }
        }
    }

    /// Step 9: a reference is given back. The last one closes the socket and frees the session.
    unsafe fn release(session: *mut Session) {
        // SAFETY: the caller had this reference; at the last one nobody else has the session.
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
