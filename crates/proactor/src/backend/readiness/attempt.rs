//! The calls of operations, and what each result means for its socket: whether another call may be tried before the
//! next edge.

use std::io;

use super::{Handle, Readiness, calls, urgent};
use crate::buffer::{Block, Gather, Outgoing};
use crate::operation::{MOST_AT_ONCE, Operation, Outcome};
use crate::socket::Socket;

/// The result of a non-blocking call.
pub(super) enum Attempt {
    Done(Outcome<Socket>),
    WouldBlock,
}

impl Readiness {
    /// Makes the call of an operation, and notes what the result means for the socket.
    pub(super) fn attempt(&mut self, operation: &mut Operation<Handle>) -> Attempt {
        match operation {
            Operation::Watch { .. } => unreachable!("a watch makes no call"),
            Operation::Accept { listener } => {
                let result = calls::accept(listener.fd);
                self.noted(*listener, result, false, |socket| Outcome::Accepted(socket, None))
            }
            Operation::Connect { socket, .. } => {
                let result = calls::connected(socket.fd);
                self.noted(*socket, result, true, |()| Outcome::Connected)
            }
            Operation::Receive { socket, block } => self.receive(*socket, block),
            Operation::Send { socket, payload, sent } => {
                let (handle, len) = (*socket, (payload.len() - *sent).min(MOST_AT_ONCE));
                let result = match payload {
                    Outgoing::One(payload) => calls::send(handle.fd, &payload.as_slice()[*sent..][..len]),
                    Outgoing::Many(_) => {
                        let mut pieces = [&[][..]; Gather::MOST];
                        let count = payload.pieces(*sent, len, &mut pieces);
                        calls::send_pieces(handle.fd, &pieces[..count])
                    }
                };
                match self.sent(handle, result, len) {
                    Some(Ok(sent)) => Attempt::Done(Outcome::Sent(sent)),
                    Some(Err(error)) => Attempt::Done(Outcome::Failed(error)),
                    None => Attempt::WouldBlock,
                }
            }
        }
    }

    /// `None`: it would block. If fewer than `len` bytes were taken, the next call would block too.
    #[inline]
    pub(super) fn sent(
        &mut self,
        handle: Handle,
        result: io::Result<usize>,
        len: usize,
    ) -> Option<io::Result<usize>> {
        match &result {
            Ok(sent) if *sent < len => self.source(handle).writable = false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.source(handle).writable = false;
                return None;
            }
            _ => {}
        }
        Some(result)
    }

    #[inline]
    pub(super) fn receive(&mut self, handle: Handle, own: &mut Option<Block>) -> Attempt {
        let block = if own.is_none() { self.pool.take_unreserved() } else { own.take() };
        let Some(mut block) = block else { return self.receive_without_block(handle) };
        let result = calls::receive(handle.fd, block.bytes_mut());
        match result {
            // A read that did not fill the block emptied the socket: epoll(7), "Questions and answers", 9. Except if
            // the end of stream or urgent data was announced with the same edge: there will be no further edge for
            // it.
            Ok(len) if urgent::ANNOUNCED && len < block.capacity() as usize => {
                let source = self.source(handle);
                source.readable = source.ended | source.urgent;
            }
            // It may be tried again.
            Err(ref error) if self.source(handle).urgent && urgent::is_refused_by_signal(handle, error) => {
                return Attempt::WouldBlock;
            }
            _ => {}
        }
        self.noted(handle, result, false, |len| match len {
            0 => Outcome::EndOfStream,
            len => Outcome::Received(block, len),
        })
    }

    /// Only a connection that has bytes to receive waits for a block.
    #[cold]
    fn receive_without_block(&mut self, handle: Handle) -> Attempt {
        let result = calls::peek(handle.fd);
        if let Err(error) = &result
            && self.source(handle).urgent
            && urgent::is_refused_by_signal(handle, error)
        {
            return Attempt::WouldBlock;
        }
        self.noted(handle, result, false, |len| match len {
            0 => Outcome::EndOfStream,
            _ => Outcome::NoBlocks,
        })
    }

    #[inline]
    fn noted<T>(
        &mut self,
        handle: Handle,
        result: io::Result<T>,
        writing: bool,
        outcome: impl FnOnce(T) -> Outcome<Socket>,
    ) -> Attempt {
        match result {
            Ok(value) => Attempt::Done(outcome(value)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let source = self.source(handle);
                if writing {
                    source.writable = false;
                } else {
                    (source.readable, source.urgent) = (false, false);
                }
                Attempt::WouldBlock
            }
            Err(error) => Attempt::Done(Outcome::Failed(error)),
        }
    }
}
