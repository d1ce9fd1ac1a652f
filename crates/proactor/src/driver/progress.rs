//! What is asked before a deadline is judged: whether everything that arrived was handed out, and whether the peer takes
//! what is sent. Off the way of a message.

use crate::backend::Backend;
use crate::socket::{Delivery, SocketCalls};

use super::{ConnectionKey, Driver};

impl<B: Backend> Driver<B> {
    /// Whether everything that had arrived when the last [`turn`](Self::turn) returned from its wait was handed out by
    /// [`next_event`](Self::next_event). Call it after that returned `None`.
    ///
    /// False whenever that is not certain: after a wait that was interrupted (a process that was stopped and goes on) or
    /// whose time ran out, when there was more than one call takes, or when more is ready than a turn hands out. Then a
    /// turn with [`Wait::Poll`](crate::backend::Wait::Poll) looks again. While peers send faster than turns take it, this
    /// may stay false: bound the tries, and ask [`unread`](Self::unread) about the connection that matters.
    ///
    /// What nobody receives is not covered: connections that are paused, that wait for a block while the pool has none or
    /// for the system to have memory, or whose receive was asked for since the turn. For these, too, ask `unread`.
    #[must_use]
    pub fn caught_up(&self) -> bool {
        let hungry = !self.starved.is_empty() && self.backend.pool().available() > 0;
        self.ready.is_empty() && self.rearm.is_none() && !hungry && self.backend.looked()
    }

    /// How far the peer's system has taken what was sent; `None` for a connection that is gone, or where the system does
    /// not tell. One or two system calls.
    ///
    /// On Linux `SIOCOUTQ` and `TCP_INFO`, see tcp(7); our FIN counts as a byte. On Windows `SIO_TCP_INFO`: bytes that are
    /// in flight, without those that the system still holds back. macOS and the BSDs do not tell.
    #[must_use]
    pub fn delivery(&self, connection: ConnectionKey) -> Option<Delivery> {
        let connection = self.connections.get(connection.0)?;
        self.backend.calls().delivery(&connection.socket)
    }
}
