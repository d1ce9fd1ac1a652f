//! How a socket becomes a connection.

use std::io;

use crate::backend::Backend;
use crate::socket::{SocketCalls, SocketOptions};

use super::connection::{Connection, Life};
use super::{ConnectionKey, Driver};

impl<B: Backend> Driver<B> {
    /// Takes over a connected socket. Nothing is received until [`receive`](Self::receive).
    ///
    /// # Errors
    /// If the backend cannot register it; the socket is [turned away](Self::refuse) then.
    pub fn adopt(&mut self, socket: B::Socket) -> io::Result<ConnectionKey> {
        self.set_options_of(&socket, self.options);
        self.register(socket).map_err(|(socket, error)| {
            self.refuse(socket);
            error
        })
    }

    /// How connections find out about peers that are gone: from now on set on each that is [adopted](Self::adopt) or
    /// [opened](Self::connect). Try the options first ([`SocketOptions::check_keepalive`],
    /// [`SocketOptions::check_user_timeout`]): a connection that refuses them goes on without.
    pub fn set_options(&mut self, options: SocketOptions) {
        self.options = options;
    }

    pub(super) fn set_options_of(&self, socket: &B::Socket, options: SocketOptions) {
        if !options.is_default() {
            // It fails where the connection has broken already, on some systems. Its receive tells of that.
            let _ = self.backend.calls().set_options(socket, &options);
        }
    }

    pub(super) fn register(&mut self, socket: B::Socket) -> Result<ConnectionKey, (B::Socket, io::Error)> {
        match self.backend.adopt(&socket, self.connections.next_index()) {
            Ok(handle) => {
                Ok(ConnectionKey(self.connections.insert(Connection::new(socket, handle, Life::Open))))
            }
            Err(error) => Err((socket, error)),
        }
    }
}
