//! Watching a socket for its end: a poll for no event, which still reports errors and hang-ups.

use std::io;
use std::os::fd::RawFd;

use ::io_uring::types::Fd;
use ::io_uring::{opcode, squeue};

use crate::operation::Outcome;
use crate::socket::{self, Socket};

/// Multishot, because the kernel adds `POLLRDHUP` to what it is asked for (`IO_POLL_UNMASK` in `io_uring/poll.c`): a
/// poll for one event would end with the peer's FIN, and miss a reset after it. This one reports the FIN and stays
/// armed. Bytes that arrive do not wake it.
pub(super) fn entry(socket: RawFd) -> squeue::Entry {
    opcode::PollAdd::new(Fd(socket), 0).multi(true).build()
}

/// The outcome of a completion; `None` if a watch does not report it.
///
/// # Safety
/// The socket is open.
pub(super) unsafe fn outcome(socket: RawFd, result: i32) -> Option<Outcome<Socket>> {
    let Ok(events) = u32::try_from(result) else {
        return Some(match -result {
            libc::ECANCELED => Outcome::Cancelled,
            code => Outcome::Failed(io::Error::from_raw_os_error(code)),
        });
    };
    let broken = events & (libc::POLLERR | libc::POLLHUP) as u32 != 0;
    // SAFETY: what the caller promised.
    let broken = if broken { unsafe { socket::broken(socket) } } else { None };
    broken.or_else(|| (events & libc::POLLRDHUP as u32 != 0).then_some(Outcome::EndOfStream))
}
