//! What a server listens on: listeners made elsewhere, and tokens.

use std::net::{SocketAddr, TcpListener};

use proactor::Socket;

use super::builder::Server;
#[cfg(doc)]
use crate::admission::Incoming;
#[cfg(doc)]
use crate::context::Session;

impl Server {
    /// Takes over one more listener made elsewhere, as `Server::from(TcpListener)` does.
    #[must_use]
    pub fn also_listen(mut self, listener: TcpListener) -> Server {
        let address = listener.local_addr().ok();
        self.before_last = self.sockets.len();
        self.add(listener.into(), address);
        self
    }

    /// The token of the listener that was added last, by [`bind`](Self::bind), [`also_bind`](Self::also_bind),
    /// [`also_listen`](Self::also_listen) or `Server::from`; if that was a name, of the listeners on all its addresses.
    /// Sessions have it as [`Session::listener`], connections that arrive as [`Incoming::listener`]. Default: 0.
    ///
    /// ```no_run
    /// # fn main() -> overlapped::Result<()> {
    /// # use overlapped::Server;
    /// const CLIENTS: u64 = 1;
    /// const ADMIN: u64 = 2;
    /// let server = Server::bind("0.0.0.0:9999")?
    ///     .listener_token(CLIENTS)
    ///     .also_bind("127.0.0.1:9998")?
    ///     .listener_token(ADMIN);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn listener_token(mut self, token: u64) -> Server {
        self.tokens[self.before_last..].fill(token);
        self
    }

    /// Adds one listener.
    pub(super) fn add(&mut self, socket: Socket, address: Option<SocketAddr>) {
        self.sockets.push(socket);
        self.tokens.push(0);
        self.addresses.extend(address);
    }
}
