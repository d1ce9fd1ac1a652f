//! What a failed call means: reset, abort, refusal and cancellation are told apart (INV-7).

use std::io;

use windows_sys::Win32::Foundation as win;
use windows_sys::Win32::Networking::WinSock as ws;

use crate::backend::Outcome;
use crate::socket::Socket;

/// What became of a call: the famous decision, made here and nowhere else.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// It is over, with so many bytes moved. No packet comes.
    Complete(usize),
    /// Its packet will come.
    Pending,
    /// It failed, with this code. No packet comes.
    Failed(i32),
}

/// Decides. `error` is 0 for success; `inline` says that the socket posts no packet for what succeeds at once.
pub(super) fn decide(error: i32, bytes: u32, inline: bool) -> Started {
    match error {
        0 if inline => Started::Complete(bytes as usize),
        0 | ws::WSA_IO_PENDING => Started::Pending,
        error => Started::Failed(error),
    }
}

/// How an operation ended that failed with `code`. `asked_to_end`: it had been cancelled.
pub(super) fn ended(code: i32, asked_to_end: bool) -> Outcome<Socket> {
    match code {
        ws::WSA_OPERATION_ABORTED if asked_to_end => Outcome::Cancelled,
        // Nobody here asked for it: the connection was torn down below us.
        ws::WSA_OPERATION_ABORTED => Outcome::Failed(io::ErrorKind::ConnectionAborted.into()),
        code => Outcome::Failed(error(code)),
    }
}

/// A code as an error of the kind that the other systems would give.
pub(super) fn error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(match u32::try_from(code).unwrap_or(0) {
        win::ERROR_NETNAME_DELETED | win::ERROR_PORT_UNREACHABLE => ws::WSAECONNRESET,
        win::ERROR_CONNECTION_ABORTED => ws::WSAECONNABORTED,
        win::ERROR_CONNECTION_REFUSED => ws::WSAECONNREFUSED,
        win::ERROR_HOST_UNREACHABLE => ws::WSAEHOSTUNREACH,
        win::ERROR_NETWORK_UNREACHABLE => ws::WSAENETUNREACH,
        win::ERROR_SEM_TIMEOUT => ws::WSAETIMEDOUT,
        _ => code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immediate_success_is_counted_once() {
        assert_eq!(decide(0, 7, true), Started::Complete(7), "no packet comes, so it is over now");
        assert_eq!(decide(0, 7, false), Started::Pending, "a packet comes, so it is not over yet");
        assert_eq!(decide(ws::WSA_IO_PENDING, 0, true), Started::Pending);
        assert_eq!(decide(ws::WSA_IO_PENDING, 0, false), Started::Pending);
    }

    #[test]
    fn immediate_failure_has_no_packet() {
        for inline in [false, true] {
            assert_eq!(decide(ws::WSAECONNRESET, 0, inline), Started::Failed(ws::WSAECONNRESET));
        }
    }

    #[test]
    fn resets_aborts_and_cancellations_differ() {
        let kind = |code, asked| match ended(code, asked) {
            Outcome::Failed(error) => Some(error.kind()),
            Outcome::Cancelled => None,
            other => panic!("{other:?}"),
        };
        for asked in [false, true] {
            for reset in [win::ERROR_NETNAME_DELETED as i32, ws::WSAECONNRESET] {
                assert_eq!(kind(reset, asked), Some(io::ErrorKind::ConnectionReset));
            }
            assert_eq!(kind(ws::WSAECONNABORTED, asked), Some(io::ErrorKind::ConnectionAborted));
        }
        assert_eq!(kind(ws::WSA_OPERATION_ABORTED, true), None);
        assert_eq!(kind(ws::WSA_OPERATION_ABORTED, false), Some(io::ErrorKind::ConnectionAborted));
    }
}
