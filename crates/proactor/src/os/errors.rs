//! What an error of the system means: a shortage, a listener that cannot accept, or one connection that is gone.
//!
//! A failed accept is either about one connection, which any peer can cause and which is skipped, or about the
//! listener, which pauses accepting until the engine resumes it. If an error of the second kind were taken for one of
//! the first, accepts would be submitted again at once, forever.

use std::io;

/// How many accepts may fail in a row before even errors that a peer can cause pause accepting. More than peers cause
/// in a short time; far fewer than a loop without a wait would make.
pub(crate) const ACCEPT_FAILURES: u32 = 1000;

/// Whether a failed accept means that the listener cannot accept now. `at_once`: it failed in the call that submitted
/// it.
///
/// * At once: every error, except those that a peer can cause. `AcceptEx` names one such error, `WSAECONNRESET`: "an
///   incoming connection was indicated, but was subsequently terminated by the remote peer prior to accepting the
///   call": <https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex>.
/// * Later, on Windows: only a lack of memory; other errors are about the connection that was being accepted.
/// * Later, elsewhere: the error is what `accept(2)` returned, see [`is_about_the_peer`].
pub(crate) fn concerns_the_listener(error: &io::Error, at_once: bool) -> bool {
    if at_once {
        return !a_peer_can_cause(error);
    }
    #[cfg(windows)]
    return is_shortage(error);
    #[cfg(not(windows))]
    return !is_about_the_peer(error);
}

/// Wine calls a connection that was reset before it was taken "not connected".
fn a_peer_can_cause(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::NotConnected | Kind::Interrupted
    )
}

/// Errors of `accept(2)` that concern one connection in the backlog. Its "Error handling" lists network errors that were
/// pending on the new socket, to be treated "like EAGAIN by retrying".
#[cfg(not(windows))]
pub(crate) fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let pending =
        matches!(error.kind(), Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown);
    pending || a_peer_can_cause(error)
}

/// Whether the system is short of memory or buffers, so that the operation can be retried.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    #[cfg(unix)]
    const NO_BUFFERS: i32 = libc::ENOBUFS;
    #[cfg(windows)]
    const NO_BUFFERS: i32 = windows_sys::Win32::Networking::WinSock::WSAENOBUFS;
    error.kind() == io::ErrorKind::OutOfMemory || error.raw_os_error() == Some(NO_BUFFERS)
}

/// Whether the process or the system has no descriptor left: `accept(2)`, and Microsoft's "Windows Sockets Error Codes".
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    #[cfg(unix)]
    const CODES: [i32; 2] = [libc::EMFILE, libc::ENFILE];
    #[cfg(windows)]
    const CODES: [i32; 1] = [windows_sys::Win32::Networking::WinSock::WSAEMFILE];
    error.raw_os_error().is_some_and(|code| CODES.contains(&code))
}

/// Whether [`listen`](crate::listen) failed because this machine does not have the address
/// (`EADDRNOTAVAIL`), or no address of its family at all (`EAFNOSUPPORT`: a kernel without IPv6). On Windows
/// `WSAEADDRNOTAVAIL` and `WSAEAFNOSUPPORT`.
#[must_use]
pub fn address_unavailable(error: &io::Error) -> bool {
    #[cfg(unix)]
    const NO_SUCH_FAMILY: i32 = libc::EAFNOSUPPORT;
    #[cfg(windows)]
    const NO_SUCH_FAMILY: i32 = windows_sys::Win32::Networking::WinSock::WSAEAFNOSUPPORT;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_SUCH_FAMILY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_down_is_no_peer() {
        let kinds = |at_once| {
            let all = [
                io::ErrorKind::ConnectionReset,
                io::ErrorKind::ConnectionAborted,
                io::ErrorKind::NetworkDown,
                io::ErrorKind::OutOfMemory,
                io::ErrorKind::InvalidInput,
            ];
            all.map(|kind| concerns_the_listener(&kind.into(), at_once))
        };
        assert_eq!(kinds(true), [false, false, true, true, true]);
        // By its packet, a failure of `AcceptEx` is its connection's.
        assert_eq!(kinds(false), [false, false, false, true, !cfg!(windows)]);
    }
}
