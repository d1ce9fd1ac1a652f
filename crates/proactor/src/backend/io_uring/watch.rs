//! Watching a socket for its end: a poll for nothing, which hears of what every poll hears of.

use std::io;
use std::os::fd::RawFd;

use ::io_uring::types::Fd;
use ::io_uring::{opcode, squeue};

use crate::operation::Outcome;
use crate::socket::{self, Socket};

/// Multishot, because the kernel adds `POLLRDHUP` to what it is asked for (`IO_POLL_UNMASK` in `io_uring/poll.c`): a poll
/// for one event would be over with the peer's FIN, and deaf to a reset behind it. This one tells of the FIN and stays.
/// Bytes that arrive do not wake it.
pub(super) fn entry(socket: RawFd) -> squeue::Entry {
    opcode::PollAdd::new(Fd(socket), 0).multi(true).build()
}

/// What a completion means; `None` if it tells of nothing that a watch is for.
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
