//! What a failed call means: reset, abort, refusal and cancellation are distinguished (INV-7), with the same error
//! kinds as on other systems.
//!
//! | Winsock | Microsoft says | kind, as on Linux |
//! | --- | --- | --- |
//! | `WSAECONNRESET`, `ERROR_NETNAME_DELETED` | "reset by the remote side executing a hard or abortive close" | `ConnectionReset` |
//! | `WSAECONNABORTED` of a send | "terminated due to a time-out or other failure"; also what a send says after the peer's reset was noticed | `BrokenPipe`, as `EPIPE` |
//! | `WSAECONNABORTED` of anything else | the same | `ConnectionAborted` |
//! | `WSAENETRESET` | "broken due to keep-alive activity detecting a failure" | `TimedOut`: `ETIMEDOUT`, `tcp(7)` |
//! | `WSAETIMEDOUT`, `ERROR_SEM_TIMEOUT` | "the peer system failed to respond" | `TimedOut` |
//! | `WSAESHUTDOWN` of a send | "the socket has been shut down" | `BrokenPipe`, as `EPIPE` |
//! | `WSAESHUTDOWN` of a receive | the same | no error: the end of the stream |
//! | `WSAEWOULDBLOCK` of an overlapped call | "too many outstanding overlapped I/O requests" | `WSAENOBUFS`: tried again (INV-9) |
//!
//! <https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsarecv>,
//! <https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasend>.

use std::io;

use windows_sys::Win32::Foundation as win;
use windows_sys::Win32::Networking::WinSock as ws;

use crate::operation::{Operation, Outcome};
use crate::socket::Socket;

/// The result of a call. Whether a packet will come is decided here and nowhere else.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// It succeeded at once, with this number of bytes. No packet comes: sockets post none for immediate success.
    Complete(usize),
    /// Its packet will come.
    Pending,
    /// It failed, with this code. No packet comes.
    Failed(i32),
}

/// Decides which it is. `error` is 0 for success.
pub(super) fn decide(error: i32, bytes: u32) -> Started {
    match error {
        0 => Started::Complete(bytes as usize),
        ws::WSA_IO_PENDING => Started::Pending,
        error => Started::Failed(error),
    }
}

/// The outcome of an operation that failed with `code`. `asked_to_end`: it was cancelled.
pub(super) fn ended<H>(operation: &Operation<H>, code: i32, asked_to_end: bool) -> Outcome<Socket> {
    let error = error(code);
    let kind = match (operation, winsock(code)) {
        (_, ws::WSA_OPERATION_ABORTED) if asked_to_end => return Outcome::Cancelled,
        // Not cancelled by us: the connection was aborted by the system.
        (_, ws::WSA_OPERATION_ABORTED) => io::ErrorKind::ConnectionAborted,
        (Operation::Receive { .. } | Operation::Watch { .. }, ws::WSAESHUTDOWN) => {
            return Outcome::EndOfStream;
        }
        (Operation::Send { .. }, ws::WSAECONNABORTED | ws::WSAESHUTDOWN) => io::ErrorKind::BrokenPipe,
        (_, ws::WSAENETRESET) => io::ErrorKind::TimedOut,
        _ => return Outcome::Failed(error),
    };
    // The system's error stays in the text.
    Outcome::Failed(io::Error::new(kind, error))
}

/// A code as an error.
pub(super) fn error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(winsock(code))
}

/// Winsock's code for Win32's codes of the same errors, and one code for all shortages.
fn winsock(code: i32) -> i32 {
    match u32::try_from(code).unwrap_or(0) {
        win::ERROR_NETNAME_DELETED | win::ERROR_PORT_UNREACHABLE => ws::WSAECONNRESET,
        win::ERROR_CONNECTION_ABORTED => ws::WSAECONNABORTED,
        win::ERROR_CONNECTION_REFUSED => ws::WSAECONNREFUSED,
        win::ERROR_HOST_UNREACHABLE => ws::WSAEHOSTUNREACH,
        win::ERROR_NETWORK_UNREACHABLE => ws::WSAENETUNREACH,
        win::ERROR_SEM_TIMEOUT => ws::WSAETIMEDOUT,
        _ if code == ws::WSAEWOULDBLOCK => ws::WSAENOBUFS,
        _ => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{Outgoing, Payload};

    #[test]
    fn immediate_success_has_no_packet() {
        assert_eq!(decide(0, 7), Started::Complete(7), "no packet comes, so it is over now");
        assert_eq!(decide(ws::WSA_IO_PENDING, 0), Started::Pending);
    }

    #[test]
    fn immediate_failure_has_no_packet() {
        assert_eq!(decide(ws::WSAECONNRESET, 0), Started::Failed(ws::WSAECONNRESET));
    }

    fn receive() -> Operation<()> {
        Operation::Receive { socket: (), block: None }
    }

    fn send() -> Operation<()> {
        Operation::Send { socket: (), payload: Outgoing::One(Payload::from("x")), sent: 0 }
    }

    fn kind(operation: &Operation<()>, code: i32, asked: bool) -> Option<io::ErrorKind> {
        match ended(operation, code, asked) {
            Outcome::Failed(error) => Some(error.kind()),
            Outcome::Cancelled => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn resets_aborts_and_cancellations_differ() {
        for asked in [false, true] {
            for operation in [&receive(), &send()] {
                for reset in [win::ERROR_NETNAME_DELETED as i32, ws::WSAECONNRESET] {
                    assert_eq!(kind(operation, reset, asked), Some(io::ErrorKind::ConnectionReset));
                }
                for late in [ws::WSAENETRESET, ws::WSAETIMEDOUT, win::ERROR_SEM_TIMEOUT as i32] {
                    assert_eq!(kind(operation, late, asked), Some(io::ErrorKind::TimedOut));
                }
            }
            for aborted in [ws::WSAECONNABORTED, win::ERROR_CONNECTION_ABORTED as i32] {
                assert_eq!(kind(&receive(), aborted, asked), Some(io::ErrorKind::ConnectionAborted));
                assert_eq!(kind(&send(), aborted, asked), Some(io::ErrorKind::BrokenPipe));
            }
        }
        assert_eq!(kind(&send(), ws::WSA_OPERATION_ABORTED, true), None);
        assert_eq!(kind(&send(), ws::WSA_OPERATION_ABORTED, false), Some(io::ErrorKind::ConnectionAborted));
    }

    #[test]
    fn a_half_that_was_shut_down_is_broken_or_over() {
        assert_eq!(kind(&send(), ws::WSAESHUTDOWN, false), Some(io::ErrorKind::BrokenPipe));
        for operation in [receive(), Operation::Watch { socket: () }] {
            assert!(matches!(ended(&operation, ws::WSAESHUTDOWN, false), Outcome::EndOfStream));
        }
    }

    #[test]
    fn what_the_system_said_is_told() {
        let Outcome::Failed(error) = ended(&receive(), ws::WSAENETRESET, false) else { panic!("it failed") };
        assert!(error.to_string().contains("10052"), "{error}");
    }
}
