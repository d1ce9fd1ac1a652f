//! Urgent data (RFC 6093) breaks two rules of readiness: a read stops short before it, and may be refused there.

use std::io;

use mio::Interest;

use super::Handle;
use crate::socket;

/// Whether an event announces urgent data. Until one does, a read that did not fill its block has emptied the socket.
/// Where events do not, no short read is trusted: kqueue has such an event on some systems, but not through mio.
/// (This has never run.)
pub(super) const ANNOUNCED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// What a socket is registered for: `events`, and urgent data where the system announces it.
pub(super) fn announced_with(events: Interest) -> Interest {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let events = events | Interest::PRIORITY;
    events
}

/// Whether a receive that would block did not look at the socket's bytes. Linux refuses one that has nothing to read
/// before the urgent mark while a signal is pending (`tcp_recvmsg_locked` in `net/ipv4/tcp.c`: "Are we at urgent
/// data?"), so that a handler of `SIGURG` could run. No event reports when that is over: it is over when the call
/// returns.
#[cold]
pub(super) fn is_refused_by_signal(handle: Handle, error: &io::Error) -> bool {
    let blocked = error.kind() == io::ErrorKind::WouldBlock;
    // SAFETY: the connection in whose name this is called keeps the descriptor open (INV-2).
    blocked && unsafe { socket::unread_of(handle.fd) }.is_ok_and(|unread| unread > 0)
}
