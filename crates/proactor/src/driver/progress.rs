//! What to ask before a deadline ends a connection: was everything that arrived handed out, and does the peer still
//! take bytes? Not on the hot path.

use crate::backend::Backend;
use crate::socket::{Delivery, SocketCalls, TcpInfo};

use super::{ConnectionKey, Driver};

impl<B: Backend> Driver<B> {
    /// Whether [`next_event`](Self::next_event) has handed out everything that had arrived when the last
    /// [`turn`](Self::turn) returned. Call it after `next_event` returned `None`.
    ///
    /// False whenever that is not certain: after a wait that was interrupted (for instance, the process was stopped
    /// and continued) or timed out, and when more was ready than one call or one turn takes. Then a turn with
    /// [`Wait::Poll`](crate::backend::Wait::Poll) looks again. While peers send faster than turns take it, this may
    /// stay false: limit the number of tries, and ask [`unread`](Self::unread) about the connection that matters.
    ///
    /// Connections that do not receive are not covered: those that are paused, wait for a block while the pool is
    /// empty, wait for a retry, or whose receive was requested after the turn. Ask `unread` about them.
    #[must_use]
    pub fn caught_up(&self) -> bool {
        let hungry = !self.starved.is_empty() && self.backend.pool().available() > 0;
        self.ready.is_empty() && self.rearm.is_none() && !hungry && self.backend.looked()
    }

    /// How many of the sent bytes the peer's system has acknowledged. `None` for a connection that is gone, or if the
    /// system does not report it. Costs one or two system calls.
    ///
    /// On Linux `SIOCOUTQ` and `TCP_INFO`, see tcp(7); our FIN counts as a byte. On Windows `SIO_TCP_INFO`: bytes
    /// that are in flight, without those that the system still holds back. macOS and the BSDs do not report it.
    #[must_use]
    pub fn delivery(&self, connection: ConnectionKey) -> Option<Delivery> {
        let connection = self.connections.get(connection.0)?;
        self.backend.calls().delivery(&connection.socket)
    }

    /// What the system has measured of a connection. `None` for one that is gone, or if the system does not report it.
    /// Costs one or two system calls.
    ///
    /// On Linux `TCP_INFO` and `SIOCOUTQ`, see tcp(7). On Windows `SIO_TCP_INFO` (Windows 10 1703 or newer). macOS and the
    /// BSDs: not implemented.
    #[must_use]
    pub fn tcp_info(&self, connection: ConnectionKey) -> Option<TcpInfo> {
        let connection = self.connections.get(connection.0)?;
        self.backend.calls().tcp_info(&connection.socket)
    }
}
