//! What a server listens on: addresses, listeners made elsewhere, and their tokens.

use std::net::{SocketAddr, TcpListener};

use proactor::Socket;

use super::binding;
use super::builder::Server;
#[cfg(doc)]
use crate::admission::Incoming;
#[cfg(doc)]
use crate::context::Session;
use crate::endpoint::Endpoint;
use crate::error::Result;
#[cfg(doc)]
use crate::{error::Error, handler::Handler};

impl Server {
    /// Binds an address and listens on it. Nothing is accepted before [`start`](Self::start) or [`run`](Self::run). To
    /// take over a listener made elsewhere, for instance by a service manager, use `Server::from(TcpListener)`.
    ///
    /// * A *name* means all addresses that it resolves to, each once. One that this machine does not have (`::1`
    ///   without IPv6) is skipped and [reported](Self::skipped_addresses), if the name has another one; any other failure
    ///   is an error, as is every failure of a literal address.
    /// * `0.0.0.0` means every IPv4 address of this machine, and `[::]` every IPv6 address: an IPv6 socket takes no IPv4
    ///   connections (`IPV6_V6ONLY` is set), whatever the system's default. For both, bind both.
    /// * Port 0 picks a free port. All addresses of a name get the same one.
    /// * Accepted connections send small segments at once (`TCP_NODELAY`). This is so for every session, however its
    ///   listener was made, and for outbound ones.
    /// * An address in use is retried for at most 2 s, over all addresses of a server: the address of a killed process may
    ///   stay in use for some time after its end (on Linux, if it had a ring: usually 4 to 40 ms, on a busy machine also
    ///   a quarter of a second). The calling thread sleeps meanwhile.
    ///
    /// # Errors
    /// [`Error::Resolve`] or [`Error::Bind`].
    pub fn bind(endpoint: impl Into<Endpoint>) -> Result<Server> {
        Server::without_listeners().also_bind(endpoint)
    }

    /// A server that does not listen: an engine for clients. All its sessions are those that its handlers
    /// [connect](crate::WorkerContext::connect), for instance in [`Handler::on_start`](crate::Handler::on_start).
    /// Everything else is as in a server with listeners: workers, settings, handles, statistics, drain.
    ///
    /// ```no_run
    /// use overlapped::{Handler, Lease, Server, Session, WorkerContext};
    ///
    /// struct Client;
    ///
    /// impl Handler for Client {
    ///     type State = ();
    ///     type Message = ();
    ///
    ///     fn on_start(&mut self, worker: &mut WorkerContext<'_, Self::State>) {
    ///         worker.connect("echo.example:7", 0);
    ///     }
    ///
    ///     fn on_open(&mut self, session: &mut Session<'_, Self::State>) {
    ///         session.send("hello\n");
    ///     }
    ///
    ///     fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), data: Lease) {
    ///         println!("{}", String::from_utf8_lossy(&data));
    ///         session.close();
    ///     }
    /// }
    ///
    /// fn main() -> overlapped::Result<()> {
    ///     Server::without_listeners().workers(1).run(|_worker| Client)
    /// }
    /// ```
    #[must_use]
    pub fn without_listeners() -> Server {
        Server::listening(Vec::new(), Vec::new())
    }

    /// Listens on one more address, or on those of one more name, as [`bind`](Self::bind) does.
    ///
    /// # Errors
    /// [`Error::Resolve`] or [`Error::Bind`].
    pub fn also_bind(mut self, endpoint: impl Into<Endpoint>) -> Result<Server> {
        let endpoint = endpoint.into();
        let (addresses, name) = (endpoint.resolve()?, endpoint.is_name().then(|| endpoint.to_string()));
        let wanted = binding::Wanted { addresses: &addresses, name: name.as_deref(), taken: &self.addresses };
        let bound = binding::bind(&mut binding::System::new(), &wanted, &mut self.retry_left)?;
        self.before_last = self.tokens.len();
        for (socket, address) in bound.sockets {
            self.add(socket, Some(address));
        }
        self.skipped.extend(bound.skipped);
        Ok(self)
    }

    /// Takes over one more listener made elsewhere, as `Server::from(TcpListener)` does.
    #[must_use]
    pub fn also_listen(mut self, listener: TcpListener) -> Server {
        let address = listener.local_addr().ok();
        self.before_last = self.tokens.len();
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

    /// The tokens of the sockets.
    pub(super) fn socket_tokens(&self) -> &[u64] {
        &self.tokens[self.tokens.len() - self.sockets.len()..]
    }
}

/// Takes over a listener made elsewhere, for instance by a service manager. `TCP_NODELAY` and `SO_OOBINLINE` (urgent
/// data in line) are set on the listener and on the connections that it accepts, as with [`Server::bind`]. The backlog
/// of the listener is not changed.
///
/// The listener's `FD_CLOEXEC` flag, which decides whether programs that the process executes inherit it, is not
/// changed. The server's own duplicates of the listener are never inherited.
impl From<TcpListener> for Server {
    fn from(listener: TcpListener) -> Server {
        let addresses = listener.local_addr().into_iter().collect();
        Server::listening(vec![listener.into()], addresses)
    }
}
