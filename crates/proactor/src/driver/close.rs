//! The close of a connection, in four steps: cancel, join, close, release. Only here is a connection's socket closed
//! while the driver lives, and only here is a connection released (INV-2).

use std::io;

use crate::backend::Backend;
use crate::operation::{Call, Close};
use crate::socket::SocketCalls;

use super::connection::{Life, Receive};
use super::keys::Key;
use super::{ConnectionKey, Driver, Moment, Ready, TraceResult};

impl<B: Backend> Driver<B> {
    /// Sends FIN after what was sent, and keeps receiving: the peer may still send, and closing a socket with unread
    /// bytes would turn the close into a reset (INV-8). Call it when no send is in flight.
    ///
    /// # Errors
    /// If the connection is already gone.
    ///
    /// # Panics
    /// If a send is in flight: FIN goes out after the last byte.
    pub fn finish(&mut self, connection: ConnectionKey) -> io::Result<()> {
        let state = self.connections.get(connection.0).ok_or(io::ErrorKind::NotConnected)?;
        assert!(state.send.is_none(), "INV-8: FIN goes out after the last byte");
        let result = self.backend.calls().shutdown_write(&state.socket);
        if self.tracer.is_some() {
            self.trace_call(
                Some(connection.0),
                Call::Finish,
                Moment::Returned(TraceResult::of_result(&result)),
            );
        }
        result
    }

    /// Closes gracefully: the receive or watch is cancelled, and a send in flight is completed. When nothing is in
    /// flight, the socket is closed. [`Event::Released`](super::Event::Released) is the last event of the connection.
    ///
    /// A close closes only the descriptor of this process. A child process made by `fork(2)` that has not called `exec`
    /// holds a copy of each descriptor that was open, and a connection ends only when the last copy is closed. While
    /// such a process lives, neither FIN nor the reset of an [abort](Self::abort) is sent, and the port stays in use. A
    /// process that has called `exec`, as [`std::process::Command`] does, holds no copy: all descriptors of this
    /// library are close-on-exec. Where a copy may exist, call [`finish`](Self::finish) before `close`: `finish` sends
    /// FIN even if another process holds the socket.
    pub fn close(&mut self, connection: ConnectionKey) {
        self.begin_close(connection, Close::Graceful);
    }

    /// Closes at once: everything in flight is cancelled, unsent bytes are discarded, and the peer sees a reset
    /// (unless another process holds a copy of the socket, see [`close`](Self::close)). Also ends a graceful close
    /// that takes too long.
    pub fn abort(&mut self, connection: ConnectionKey) {
        self.begin_close(connection, Close::Reset);
    }

    fn begin_close(&mut self, connection: ConnectionKey, how: Close) {
        let key = connection.0;
        let Some(state) = self.connections.get_mut(key) else { return };
        let before = state.life;
        match before {
            // A graceful close never softens an abort, and nothing is closed twice.
            Life::Closing(Close::Reset) => return,
            Life::Closing(Close::Graceful) if how == Close::Graceful => return,
            _ => state.life = Life::Closing(how),
        }
        let before_receive = state.receive;
        let mut cancel = [None, None, None];
        match state.receive {
            Receive::Armed(op) => {
                state.receive = Receive::Cancelling { op, resume: false };
                cancel[0] = Some(op);
            }
            Receive::Cancelling { op, .. } => state.receive = Receive::Cancelling { op, resume: false },
            Receive::Idle | Receive::Wanted | Receive::Starved | Receive::Delayed | Receive::Ended => {
                state.receive = Receive::Ended;
            }
        }
        if how == Close::Reset {
            cancel[1] = state.send;
        }
        if let Life::Connecting(op) = before {
            cancel[2] = Some(op);
        }
        self.leave_queue(key, before_receive);
        self.end_watch(key);
        for op in cancel.into_iter().flatten() {
            self.cancel(op);
        }
        self.release_if_joined(key);
    }

    /// An operation of a connection has ended. True if the connection is closing: there is no event for the result then,
    /// and if it was the last operation in flight, the connection is released.
    #[inline]
    pub(super) fn ends_a_closing(&mut self, key: Key) -> bool {
        let closing = self.connection(key).is_closing();
        if closing {
            self.release_if_joined(key);
        }
        closing
    }

    /// Releases a closing connection for which nothing is in flight any more. Its slot is reused only after
    /// [`Event::Released`](super::Event::Released) was handed out: until then the caller's tables may still hold it.
    fn release_if_joined(&mut self, key: Key) {
        let Some(state) = self.connections.get(key) else { return };
        let Life::Closing(how) = state.life else { return };
        if state.in_flight > 0 {
            return;
        }
        let state = self.connections.take(key).expect("looked up above");
        self.backend.close(state.socket, Some(state.handle), how);
        if self.tracer.is_some() {
            self.trace_call(Some(key), Call::Close, Moment::Returned(TraceResult::Done));
        }
        self.ready.push_back(Ready::Released(ConnectionKey(key)));
    }
}
