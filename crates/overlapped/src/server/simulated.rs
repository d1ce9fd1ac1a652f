//! A server without threads and sockets, for tests: its settings, and its handle. `testing` runs its workers.

use std::net::SocketAddr;
use std::sync::Arc;

use proactor::BackendKind;

use super::Server;
use super::handle::ServerHandle;
use super::worker_threads::WorkerThreads;
use crate::config::{Config, TURNED_AWAY};
use crate::error::Result;
use crate::mailbox::Mailbox;
use crate::observe::Observe;
use crate::session::SendLimits;
use crate::shared::WorkerShared;

/// What the workers of a simulated server are made from.
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) workers: usize,
    /// What they listen on, in the simulated network, with the tokens.
    pub(crate) listeners: Vec<(SocketAddr, u64)>,
    pub(crate) observe: Option<Observe>,
}

impl Settings {
    /// What they listen on.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(address, _)| *address).collect()
    }
}

impl Server {
    /// A server with every setting at its default, which has bound nothing.
    pub(crate) fn without_sockets(addresses: Vec<SocketAddr>) -> Server {
        Server::listening(Vec::new(), addresses)
    }

    /// The settings, independent of the machine: one worker and no limit of sessions unless set. Closes the sockets.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for the first setting that makes no sense.
    pub(crate) fn into_settings(mut self) -> Result<Settings> {
        self.workers.get_or_insert(1);
        self.config.max_sessions = self.config.max_sessions.min(usize::MAX - 1);
        let workers = self.settle()?;
        self.config.turned_away = TURNED_AWAY;
        let listeners = self.addresses.into_iter().zip(self.tokens).collect();
        Ok(Settings { config: self.config, workers, listeners, observe: self.observer })
    }
}

impl<M: Send> ServerHandle<M> {
    /// The handle of a simulated server.
    pub(crate) fn simulated(
        addresses: &[SocketAddr],
        send_limits: SendLimits,
        all_shared: &[Arc<WorkerShared>],
        mailboxes: &Arc<[Arc<Mailbox<M>>]>,
    ) -> ServerHandle<M> {
        ServerHandle {
            addresses: addresses.into(),
            backend: BackendKind::Simulated,
            refusals: Arc::default(),
            skipped: Arc::default(),
            all_shared: all_shared.into(),
            worker_threads: Arc::new(WorkerThreads::simulated()),
            mailboxes: Arc::clone(mailboxes),
            send_limits,
        }
    }
}
