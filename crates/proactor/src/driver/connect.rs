//! How a socket becomes a connection: connected from here, or adopted.

use std::io;
use std::net::SocketAddr;

use crate::backend::Backend;
use crate::destination::{destination, refuse_itself};
use crate::operation::{Close, OpKey, Operation, Outcome};
use crate::socket::{SocketCalls, SocketOptions};

use super::connection::{Connection, Life};
use super::keys::Key;
use super::{ConnectionKey, Driver, Event, Verb};

impl<B: Backend> Driver<B> {
    /// Connects to `address`. [`Event::Connected`] or [`Event::Failed`] follows. `0.0.0.0` and `[::]` mean this
    /// machine's loopback address, as on Linux; Windows would refuse them (`WSAEADDRNOTAVAIL`), and the BSDs choose
    /// an interface.
    ///
    /// If a port of this machine has no listener, the system may give that port to the connecting socket, which is then
    /// its own peer (RFC 9293, section 3.5, "simultaneous open"), and no server can bind the port. Such a connect fails
    /// with [`ConnectionRefused`](io::ErrorKind::ConnectionRefused).
    ///
    /// # Errors
    /// If a socket cannot be made.
    pub fn connect(&mut self, address: SocketAddr) -> io::Result<ConnectionKey> {
        self.connect_with(address, None, self.options)
    }

    /// Like [`connect`](Self::connect), but from the local address `from` if that is given, and with `options` instead of
    /// the [driver's options](Self::set_options). With port 0 in `from`, the system picks the port; on Linux and Windows,
    /// connections to different peers may then share one (`IP_BIND_ADDRESS_NO_PORT`, `SO_REUSE_UNICASTPORT`).
    ///
    /// # Errors
    /// If a socket cannot be made, or not be bound to `from`: for instance because `from` is not an address of this
    /// machine, is in use, or is of another family than `address`.
    pub fn connect_with(
        &mut self,
        address: SocketAddr,
        from: Option<SocketAddr>,
        options: SocketOptions,
    ) -> io::Result<ConnectionKey> {
        let address = destination(address);
        let socket = self.backend.open(address, from)?;
        self.set_options_of(&socket, options);
        let connection = self.register(socket).map_err(|(socket, error)| {
            self.backend.close(socket, None, Close::Graceful);
            error
        })?;
        let handle = self.connection(connection.0).handle;
        let address = Box::new(socket2::SockAddr::from(address));
        let op = self.start(connection.0, Operation::Connect { socket: handle, address });
        let state = self.connection(connection.0);
        state.life = Life::Connecting(op);
        state.hold();
        Ok(connection)
    }

    pub(super) fn complete_connect(
        &mut self,
        op: OpKey,
        owner: u32,
        outcome: Outcome<B::Socket>,
    ) -> Option<Event<B::Socket>> {
        let key = self.owner(owner);
        drop(self.ops.remove(op));
        self.connection(key).let_go();
        if self.ends_a_closing(key) {
            return None;
        }
        let connection = ConnectionKey(key);
        self.connection(key).life = Life::Open;
        match outcome {
            Outcome::Connected => Some(match self.met_itself(key) {
                Some(error) => Event::Failed { connection, verb: Verb::Connect, error },
                None => Event::Connected { connection },
            }),
            Outcome::Failed(error) => Some(Event::Failed { connection, verb: Verb::Connect, error }),
            other => unreachable!("a connect ended with {other:?}"),
        }
    }

    /// The error of a connection whose ends are the same.
    fn met_itself(&mut self, key: Key) -> Option<io::Error> {
        let connection = ConnectionKey(key);
        let (local, peer) = (self.local_addr(connection).ok()?, self.peer_addr(connection).ok()?);
        refuse_itself(local, peer).err()
    }

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

    /// Sets the options by which connections detect dead peers. They apply to connections [adopted](Self::adopt) or
    /// [opened](Self::connect) from now on. Try the options first ([`SocketOptions::check_keepalive`],
    /// [`SocketOptions::check_user_timeout`]): if they cannot be set on a connection, it goes on without them.
    pub fn set_options(&mut self, options: SocketOptions) {
        self.options = options;
    }

    pub(super) fn set_options_of(&self, socket: &B::Socket, options: SocketOptions) {
        if !options.is_default() {
            // On some systems this fails if the connection broke already; its receive reports that.
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
