//! A connect that a handler asks for: where to, and how.

use std::net::SocketAddr;
use std::time::Duration;

use proactor::SocketOptions;

use crate::endpoint::Endpoint;

/// The pause between two attempts of one connect: the "Connection Attempt Delay" of RFC 8305, section 5.
const STAGGER: Duration = Duration::from_millis(250);
/// "The recommended minimum value is 100 milliseconds […] the absolute minimum of 10 milliseconds", RFC 8305, section 8.
const SHORTEST_STAGGER: Duration = Duration::from_millis(10);

/// Names a connect of one worker. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectId(pub(crate) u64);

/// Where to connect, and how: what [`WorkerContext::connect`](crate::WorkerContext::connect) takes. Whatever makes an
/// [`Endpoint`] makes a `Connect`, too: a `SocketAddr`, `"127.0.0.1:9999"`, `("name", 9999)`, a list of addresses.
///
/// ```
/// # use std::time::Duration;
/// # use overlapped::{Connect, Handler, WorkerContext};
/// # fn connect<H: Handler>(worker: &mut WorkerContext<'_, H>) {
/// let target = Connect::to("db.example:5432").deadline(Duration::from_secs(3)).local_addr(([10, 0, 0, 2], 0));
/// worker.connect(target, 7);
/// # }
/// ```
///
/// # Names
///
/// A name is resolved on a thread of the server's, never on a worker: up to four threads per server, which are started
/// when there is a name to resolve, and end when there is none. Connects to the same name share one lookup. No result is
/// cached. At most 65,536 connects of a server may wait for lookups at one time; further ones fail with
/// [`ResourceBusy`](std::io::ErrorKind::ResourceBusy).
///
/// # Several addresses
///
/// If there are several addresses, they are tried as in RFC 8305 ("Happy Eyeballs"). The addresses of a name are tried in
/// the resolver's order (RFC 6724), with the two families in turns, and the first address first (section 4). A list of
/// addresses is tried in its own order. The next attempt begins when the last one has failed, or after the
/// [stagger](Self::stagger). The first connection that is established becomes the session; the other attempts are
/// cancelled. If one of them was already established, it is closed without a session. If all attempts fail, the error
/// of the last one is reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    pub(crate) endpoint: Endpoint,
    /// `None`: the server's.
    pub(crate) deadline: Option<Option<Duration>>,
    pub(crate) from: Option<SocketAddr>,
    /// `None`: the server's.
    pub(crate) options: Option<SocketOptions>,
    pub(crate) after: Duration,
    pub(crate) stagger: Duration,
}

impl Connect {
    /// A connect to an address, a name with a port, or a list of addresses, with the server's settings.
    #[must_use]
    pub fn to(endpoint: impl Into<Endpoint>) -> Connect {
        let endpoint = endpoint.into();
        let (after, stagger) = (Duration::ZERO, STAGGER);
        Connect { endpoint, deadline: None, from: None, options: None, after, stagger }
    }

    /// How long this connect may take, in all: resolving the name, and all attempts. Then it fails with
    /// [`TimedOut`](std::io::ErrorKind::TimedOut). `None`: the system's own limit only. Default:
    /// [`Server::connect_timeout`](crate::Server::connect_timeout).
    #[must_use]
    pub fn deadline(mut self, limit: impl Into<Option<Duration>>) -> Connect {
        self.deadline = Some(limit.into());
        self
    }

    /// The local address of the connection. With port 0 the system picks the port. Addresses of the other family are not
    /// tried. The connect fails with the system's error if this machine does not have the address or the port is in use
    /// ([`AddrNotAvailable`](std::io::ErrorKind::AddrNotAvailable), [`AddrInUse`](std::io::ErrorKind::AddrInUse)).
    /// Default: the system picks both.
    #[must_use]
    pub fn local_addr(mut self, local: impl Into<SocketAddr>) -> Connect {
        self.from = Some(local.into());
        self
    }

    /// The socket's options instead of the server's ([`Server::keepalive`](crate::Server::keepalive) and
    /// [`Server::user_timeout`](crate::Server::user_timeout)).
    ///
    /// Options that this system does not have are left out: try them first with [`SocketOptions::check_keepalive`] and
    /// [`SocketOptions::check_user_timeout`].
    #[must_use]
    pub fn options(mut self, options: SocketOptions) -> Connect {
        self.options = Some(options);
        self
    }

    /// Begins the connect this much later: never earlier, and at most 4 ms later unless the worker is busy. Its deadline
    /// counts from then, and only then does it count as a session. Default: at once.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Connect {
        self.after = delay;
        self
    }

    /// How long after one attempt the next address is tried, if the attempt has neither succeeded nor failed. At least 10
    /// ms (RFC 8305, section 8). Default: 250 ms.
    #[must_use]
    pub fn stagger(mut self, pause: Duration) -> Connect {
        self.stagger = pause.max(SHORTEST_STAGGER);
        self
    }
}

impl<E: Into<Endpoint>> From<E> for Connect {
    fn from(endpoint: E) -> Connect {
        Connect::to(endpoint)
    }
}
