//! A running server, from outside.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proactor::BackendKind;
use proactor::backend::choice::Refusal;

use super::binding::SkippedAddress;
use super::control::Control;
use super::worker_threads::WorkerThreads;
use crate::error::Result;
use crate::observe::{Event, Observer, Stats};
use crate::shared::WorkerShared;

/// A running server. Cheap to clone, usable from any thread. Dropping a handle does not end the server.
#[derive(Clone)]
pub struct ServerHandle {
    pub(super) addresses: Arc<[SocketAddr]>,
    pub(super) backend: BackendKind,
    pub(super) workers: usize,
    pub(super) refusals: Arc<[Refusal]>,
    pub(super) skipped: Arc<[SkippedAddress]>,
    pub(super) all_shared: Arc<[Arc<WorkerShared>]>,
    pub(super) worker_threads: Arc<WorkerThreads>,
    pub(super) control: Arc<dyn Control>,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DrainReport {
    /// Sessions that got everything that was queued for them.
    pub drained: u64,
    /// Sessions that were cut at the deadline.
    pub cut: u64,
    /// Bytes of the cut sessions: queued and not sent, or received and not answered.
    pub bytes_lost: u64,
}

/// In words: `12 sessions drained, 1 cut, 345 bytes lost`.
impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count| if count == 1 { "" } else { "s" };
        let DrainReport { drained, cut, bytes_lost } = *self;
        write!(f, "{drained} session{} drained, {cut} cut, ", plural(drained))?;
        write!(f, "{bytes_lost} byte{} lost", plural(bytes_lost))
    }
}

impl ServerHandle {
    /// The first address listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Every address listened on.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Which backend serves.
    #[must_use]
    pub fn backend(&self) -> BackendKind {
        self.backend
    }

    /// How many workers serve.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The better backends that were refused, and why.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// The addresses of names that are not listened on, because this machine does not have them.
    #[must_use]
    pub fn skipped_addresses(&self) -> &[SkippedAddress] {
        &self.skipped
    }

    pub(super) fn report_skipped(&self, observer: &Observer) {
        for SkippedAddress { name, address, error } in self.skipped.iter() {
            observer.call(&Event::AddressSkipped { name, address: *address, error });
        }
    }

    /// Counters and gauges, as of each worker's last turn.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for shared in self.all_shared.iter() {
            shared.published.add_to(&mut sum);
        }
        sum
    }

    /// Begins to drain and returns at once. The server stops accepting when the backlog is empty, the sessions answer
    /// what they have received, and each is closed gracefully. Sessions that are left after `limit` are cut: they end
    /// at once. A second call can only shorten the time. A callback uses this method to end its own server.
    pub fn begin_drain(&self, limit: Duration) {
        self.control.drain(limit);
    }

    /// Drains and waits for the end.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait). With [`Error::OnWorker`](crate::Error::OnWorker) nothing was begun.
    pub fn drain(&self, limit: Duration) -> Result<DrainReport> {
        self.worker_threads.check_not_inside()?;
        self.begin_drain(limit);
        self.wait()?;
        let Stats { drained, cut, bytes_lost, .. } = self.stats();
        Ok(DrainReport { drained, cut, bytes_lost })
    }

    /// Waits until every worker has ended, and its thread with it. Several threads may wait, each as often as it likes,
    /// and all get the same answer. Workers of another server may wait too.
    ///
    /// # Errors
    /// [`Error::Backend`](crate::Error::Backend) if a worker's backend broke, [`Error::Worker`](crate::Error::Worker) if
    /// a worker panicked. [`Error::OnWorker`](crate::Error::OnWorker) on one of the server's own workers, in a callback,
    /// the factory, the observer or a destructor: that thread would wait for itself.
    pub fn wait(&self) -> Result<()> {
        self.worker_threads.wait_ended()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerHandle({:?}, {}, {} workers)", self.addresses, self.backend, self.workers)
    }
}
