//! Receives that found no block although nothing has arrived.
//!
//! A receive takes its block before it looks at the socket. With an empty buffer ring it ends with `ENOBUFS` at once:
//! on every kernel when it is armed, and on Linux 6.1 also behind the bytes that took the last block (`io_recv` in
//! `io_uring/net.c`). A connection with nothing to receive needs no block and must not wait for one. So its socket is
//! polled, and the receive is submitted again when something has arrived.
//!
//! The poll has the receive's key: a cancel finds whichever of the two is in the kernel. Their completions differ,
//! because bytes always come with a block. A receive that waited for a block brings its own, and has one completion.

use std::os::fd::RawFd;

use ::io_uring::types::Fd;
use ::io_uring::{opcode, squeue};

use super::buffers;
use crate::buffer::Block;

/// What to do after a completion of a receive that found no block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Something has arrived: submit the receive.
    Receive,
    /// Nothing has arrived: poll until something does.
    Poll,
}

/// `None`: nothing special; the completion is handled like any other.
///
/// # Safety
/// The socket is open.
#[cold]
pub(super) unsafe fn next(socket: RawFd, result: i32) -> Option<Next> {
    if result > 0 {
        return Some(Next::Receive);
    }
    // SAFETY: what the caller promised.
    (result == -libc::ENOBUFS && unsafe { is_silent(socket) }).then_some(Next::Poll)
}

pub(super) fn receive(socket: RawFd) -> squeue::Entry {
    opcode::RecvMulti::new(Fd(socket), buffers::GROUP).build()
}

/// A receive of a connection that waited for a block, into that block. One-shot, because it has no other block.
pub(super) fn receive_into(block: &mut Block, socket: RawFd) -> squeue::Entry {
    opcode::Recv::new(Fd(socket), block.as_mut_ptr(), block.capacity()).build()
}

/// Ends with the first bytes, the end of the stream or an error.
pub(super) fn poll(socket: RawFd) -> squeue::Entry {
    opcode::PollAdd::new(Fd(socket), libc::POLLIN as u32).build()
}

/// Whether a receive would find nothing: no bytes, no end, no error. If a signal interrupts the check, the answer is
/// yes, and the poll that follows finds out.
///
/// # Safety
/// The socket is open.
unsafe fn is_silent(socket: RawFd) -> bool {
    let mut entry = libc::pollfd { fd: socket, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, as stated, which the call reads and writes. It does not wait.
    unsafe { libc::poll(&raw mut entry, 1, 0) <= 0 }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn only_what_has_nothing_to_receive_is_polled() {
        const NO_BLOCKS: i32 = -libc::ENOBUFS;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        // SAFETY: the socket lives as long as this closure.
        let next = |result| unsafe { next(socket.as_raw_fd(), result) };
        assert_eq!(next(NO_BLOCKS), Some(Next::Poll), "nothing has arrived");
        assert_eq!(next(i32::from(libc::POLLIN)), Some(Next::Receive), "the poll says that something has");
        assert_eq!(next(0), None, "the end");
        for error in [libc::ECANCELED, libc::ECONNRESET, libc::ENOMEM] {
            assert_eq!(next(-error), None);
        }
        peer.write_all(b"x").unwrap();
        socket.peek(&mut [0]).unwrap();
        assert_eq!(next(NO_BLOCKS), None, "it waits for a block");
    }
}
