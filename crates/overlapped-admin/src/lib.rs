//! HTTP for the operators of an [`overlapped`] server: metrics, health checks, a list of sessions, and a live page.
//!
//! ```no_run
//! # use overlapped::{Handler, Lease, Server, Session};
//! # struct Echo;
//! # impl Handler for Echo {
//! #     type State = ();
//! #     type Message = ();
//! #     fn on_open(&mut self, _session: &mut Session<'_>) {}
//! #     fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) { session.send(data); }
//! # }
//! # fn main() -> overlapped::Result<()> {
//! let server = Server::bind("127.0.0.1:9999")?.start(|_worker| Echo)?;
//! let admin = overlapped_admin::Admin::bind("127.0.0.1:9180")?.start(&server)?;
//! server.wait()?;
//! admin.end();
//! # Ok(())
//! # }
//! ```
//!
//! | path | what it answers |
//! | --- | --- |
//! | `/` | a page that shows the server live, and the last five minutes |
//! | `/metrics` | all counters and gauges, by worker, as OpenMetrics or Prometheus text |
//! | `/live` | 200 as long as every worker makes progress; 503 when one has been in one turn of its loop for about ten seconds |
//! | `/ready` | 200 while the server accepts connections; 503 from the moment that a drain is asked for, and while [`AdminHandle::set_ready`] says so |
//! | `/sessions` | the open sessions as JSON, page by page: `?limit=100`, then `?from=` with the `next` of the page before |
//! | `/events` | what the live page is drawn from, once a second, as server-sent events |
//!
//! It is a server of its own, on one worker of its own, which outlives a drain of the server that it watches: `/ready`
//! answers 503 until the end. It takes GET and HEAD only and changes nothing. It has no authentication and no TLS: bind it
//! to loopback or to a network that only operators reach. `/sessions` shows the addresses of peers.
//!
//! Metrics cost the watched workers nothing: the numbers are those that each worker publishes once per turn anyway. Only
//! `/sessions` sends them messages, one at a time over all clients: each asks one worker for up to 128 sessions.
#![forbid(unsafe_code)]

mod handler;
mod history;
mod http;
mod live;
mod metrics;
mod process;
mod sessions;
mod watched;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub fn request(bytes: &[u8]) {
        crate::http::check_any_bytes(bytes);
    }
}

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use overlapped::settings::{Choice, SkippedAddress};
use overlapped::{Endpoint, Result, Server, ServerHandle};

use handler::{Admins, Message};
use watched::Target;

/// Connections at a time. Scrapers and probes are few; each open live page is one more.
const CONNECTIONS: usize = 256;
/// From one address, so that no client of this server keeps the probes out.
const PER_ADDRESS: usize = 64;
/// A connection on which nothing happens is closed.
const IDLE: Duration = Duration::from_secs(60);
/// A client that reads nothing for this time is cut.
const WRITE: Duration = Duration::from_secs(10);
/// At the end, for what is being answered.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// An admin server that is bound and not started yet.
#[derive(Debug)]
pub struct Admin {
    server: Server,
}

impl Admin {
    /// Binds it, as [`Server::bind`] does: every rule for addresses, names and ports is there. Give a loopback address
    /// unless others should see it.
    ///
    /// # Errors
    /// Those of [`Server::bind`].
    pub fn bind(endpoint: impl Into<Endpoint>) -> Result<Admin> {
        Server::bind(endpoint).map(Admin::on)
    }

    /// Takes over one more listener made elsewhere, as `Admin::from(TcpListener)` does.
    #[must_use]
    pub fn also_listen(self, listener: TcpListener) -> Admin {
        Admin { server: self.server.also_listen(listener) }
    }

    fn on(server: Server) -> Admin {
        let server = server
            .workers(1)
            .max_sessions(CONNECTIONS)
            .max_per_address(PER_ADDRESS)
            .pool(64, 4096)
            .idle_timeout(IDLE)
            .write_timeout(WRITE)
            .first_byte_timeout(http::HEAD_TIMEOUT);
        Admin { server }
    }

    /// Which backend it runs on: [`Server::backend`].
    #[must_use]
    pub fn backend(self, choice: Choice) -> Admin {
        Admin { server: self.server.backend(choice) }
    }

    /// The addresses listened on, with the ports that the system chose.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.server.local_addrs()
    }

    /// Starts its worker, which watches `server`.
    ///
    /// # Errors
    /// Those of [`Server::start`].
    pub fn start<M: Send + 'static>(self, server: &ServerHandle<M>) -> Result<AdminHandle> {
        process::note_start();
        let target = Arc::new(Target::new(server.clone()));
        let watched = Arc::clone(&target);
        let handle = self.server.start(move |worker| Admins::new(Arc::clone(&watched), worker))?;
        Ok(AdminHandle { handle, target })
    }
}

/// Takes over a listener made elsewhere, for instance by a service manager.
impl From<TcpListener> for Admin {
    fn from(listener: TcpListener) -> Admin {
        Admin::on(Server::from(listener))
    }
}

/// A running admin server. Cheap to clone, usable from any thread. Dropping it does not end the server.
#[derive(Clone)]
pub struct AdminHandle {
    handle: ServerHandle<Message>,
    target: Arc<Target>,
}

impl AdminHandle {
    /// The first address listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// Every address listened on.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.handle.local_addrs()
    }

    /// The addresses of a name that are not listened on, because this machine does not have them.
    #[must_use]
    pub fn skipped_addresses(&self) -> &[SkippedAddress] {
        self.handle.skipped_addresses()
    }

    /// With `false`, `/ready` answers 503, although the watched server serves: a load balancer then sends new clients
    /// elsewhere before a drain begins. With `true`, as it is at the start, it answers 200 while the server serves.
    pub fn set_ready(&self, ready: bool) {
        self.target.set_ready(ready);
    }

    /// Ends it: open live pages are told how the watched server stands, what is being answered is sent, for up to a second.
    /// Returns when its thread has ended. A second call does nothing.
    pub fn end(&self) {
        // A breakdown of the admin server is not the watched server's.
        let _ = self.handle.drain(LAST_ANSWERS);
    }
}

impl fmt::Debug for AdminHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminHandle({:?})", self.handle.local_addrs())
    }
}
