//! A running server, from outside.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proactor::BackendKind;
use proactor::backend::choice::Refusal;

use super::binding::SkippedAddress;
use super::worker_threads::{ServerState, WorkerThreads};
use super::worker_watch::WorkerWatch;
use crate::error::Result;
use crate::mailbox::{Audience, Mail, Mailbox, list_sessions, post_to_all};
use crate::observe::{Event, Observer, Stats};
use crate::session::{PostError, SendLimits, SessionCursor, SessionHandle, SessionId, SessionPage};
use crate::shared::WorkerShared;
use crate::worker::WorkerHandle;

/// A running server whose handler's [`Message`](crate::Handler::Message) is `M`. Cheap to clone, usable from any thread.
/// Dropping a handle does not end the server.
pub struct ServerHandle<M = ()> {
    pub(super) addresses: Arc<[SocketAddr]>,
    pub(super) backend: BackendKind,
    pub(super) refusals: Arc<[Refusal]>,
    pub(super) skipped: Arc<[SkippedAddress]>,
    pub(super) all_shared: Arc<[Arc<WorkerShared>]>,
    pub(super) worker_threads: Arc<WorkerThreads>,
    pub(super) mailboxes: Arc<[Arc<Mailbox<M>>]>,
    pub(super) send_limits: SendLimits,
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
    /// Answers that the cut sessions [owed](crate::Session::owe).
    pub answers_owed: u64,
}

/// In words: `12 sessions drained, 1 cut, 345 bytes lost`, and if there were some, `, 2 answers owed`.
impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count| if count == 1 { "" } else { "s" };
        let DrainReport { drained, cut, bytes_lost, answers_owed } = *self;
        write!(f, "{drained} session{} drained, {cut} cut, ", plural(drained))?;
        write!(f, "{bytes_lost} byte{} lost", plural(bytes_lost))?;
        if answers_owed > 0 {
            write!(f, ", {answers_owed} answer{} owed", plural(answers_owed))?;
        }
        Ok(())
    }
}

impl<M: Send> ServerHandle<M> {
    /// The first address listened on.
    ///
    /// # Panics
    /// If the server was made [without listeners](crate::Server::without_listeners).
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        let first = self.addresses.first();
        *first.expect("a server without listeners has no address; see `Server::without_listeners`")
    }

    /// Every address listened on. Empty for a server [without listeners](crate::Server::without_listeners).
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Which backend serves.
    #[must_use]
    pub fn backend(&self) -> BackendKind {
        self.backend
    }

    /// The handles of the workers, by index.
    pub fn workers(&self) -> impl ExactSizeIterator<Item = WorkerHandle<M>> + '_ {
        (0..self.mailboxes.len()).map(|index| WorkerHandle::new(index, Arc::clone(&self.mailboxes)))
    }

    /// Posts `message` to the worker with this index, as [`WorkerHandle::post`] does.
    ///
    /// # Errors
    /// With the message, if the worker's mailbox is full or the worker has ended.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn post(&self, worker: usize, message: M) -> std::result::Result<(), PostError<M>> {
        self.mailboxes[worker].post_message(message)
    }

    /// Posts a clone of `message` to each worker. Returns how many workers' mailboxes refused it.
    pub fn post_to_all(&self, message: &M) -> usize
    where
        M: Clone,
    {
        post_to_all(&self.mailboxes, message)
    }

    /// A handle on the session with this id, which may live on any worker. If the session has ended, the handle learns it
    /// from the worker, which may take a moment: until then [`SessionHandle::send`] may return [`Sent::Ok`](crate::Sent::Ok) for bytes that
    /// are discarded, as it may whenever a session ends.
    ///
    /// # Panics
    /// If the id is of another server, which has more workers.
    #[must_use]
    pub fn session(&self, id: SessionId) -> SessionHandle
    where
        M: 'static,
    {
        self.mailboxes[id.worker()].session(id, self.send_limits)
    }

    /// Sends one buffer to every session of the server, with one mailbox message per worker. Returns how many workers'
    /// mailboxes refused the message.
    pub fn broadcast(&self, bytes: &Bytes) -> usize {
        let refused = |mailbox: &&Arc<Mailbox<M>>| {
            mailbox.post(Mail::Broadcast(Audience::All, bytes.clone()), true).is_err()
        };
        self.mailboxes.iter().filter(refused).count()
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

    /// The same, of each worker by itself, by index.
    pub fn worker_stats(&self) -> impl ExactSizeIterator<Item = Stats> + '_ {
        self.all_shared.iter().map(|shared| {
            let mut stats = Stats::default();
            shared.published.add_to(&mut stats);
            stats
        })
    }

    /// Whether it serves, drains, or has ended. It drains from the moment that [`begin_drain`](Self::begin_drain) or
    /// [`drain`](Self::drain) is called.
    #[must_use]
    pub fn state(&self) -> ServerState {
        self.worker_threads.state()
    }

    /// For a watchdog: tells from call to call which workers make no progress.
    #[must_use]
    pub fn watch_workers(&self) -> WorkerWatch {
        WorkerWatch::new(Arc::clone(&self.all_shared))
    }

    /// Asks a worker for a page of its open sessions, and returns at once: `answer` is called on the worker's thread, where it
    /// must be quick, or on this thread if no worker is left. The list begins at `SessionCursor::default()`, and goes on at
    /// the [`next`](SessionPage::next) of each page. A page has at most `limit` sessions, which is 1 to 128, from one worker
    /// and one moment; between two pages sessions come and go. It costs the worker as much as a message, and up to two
    /// system calls for each session; so do not ask for the next page before the last has come. A panic of `answer` is
    /// counted as a handler's, and ends nothing, whatever `Server::on_panic` says.
    ///
    /// # Errors
    /// [`PostError::Full`] if the worker's mailbox is full: then `answer` is not called.
    pub fn list_sessions(
        &self,
        from: SessionCursor,
        limit: usize,
        answer: impl FnOnce(SessionPage) + Send + 'static,
    ) -> std::result::Result<(), PostError> {
        list_sessions(&self.mailboxes, from, limit, Box::new(answer))
    }

    /// Begins to drain and returns at once. The server stops accepting when the backlog is empty,
    /// [`on_drain`](crate::Handler::on_drain) is called for each session, the sessions answer what they have received,
    /// and each is closed gracefully.
    ///
    /// A session is closed when everything that it has received was answered: nothing is unread, nothing is queued, it
    /// [owes](crate::Session::owe) no answer, it is not [paused](crate::Session::pause), and no other session
    /// [feeds](crate::Session::feed) it that may still receive something for it. Sessions that are left after `limit`
    /// are cut: they end at once, and what they had queued, not answered, or still owed is counted. A second call can
    /// only shorten the time. A callback uses this method to end its own server.
    pub fn begin_drain(&self, limit: Duration) {
        self.worker_threads.begin_drain();
        post_to_engines(&self.mailboxes, || Mail::Drain(limit));
    }

    /// Drains and waits for the end.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait). With [`Error::OnWorker`](crate::Error::OnWorker) nothing was begun.
    pub fn drain(&self, limit: Duration) -> Result<DrainReport> {
        self.worker_threads.check_not_inside()?;
        self.begin_drain(limit);
        self.wait()?;
        Ok(self.drain_report())
    }

    /// How a drain that has ended went.
    pub(crate) fn drain_report(&self) -> DrainReport {
        let Stats { drained, cut, bytes_lost, answers_owed, .. } = self.stats();
        DrainReport { drained, cut, bytes_lost, answers_owed }
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

/// Posts mail of the engine's own, which no limit refuses, to all workers.
pub(super) fn post_to_engines<M>(mailboxes: &[Arc<Mailbox<M>>], mail: impl Fn() -> Mail<M>) {
    for mailbox in mailboxes {
        // A worker that has ended needs none.
        let _ = mailbox.post(mail(), false);
    }
}

impl<M> Clone for ServerHandle<M> {
    fn clone(&self) -> Self {
        ServerHandle {
            addresses: Arc::clone(&self.addresses),
            backend: self.backend,
            refusals: Arc::clone(&self.refusals),
            skipped: Arc::clone(&self.skipped),
            all_shared: Arc::clone(&self.all_shared),
            worker_threads: Arc::clone(&self.worker_threads),
            mailboxes: Arc::clone(&self.mailboxes),
            send_limits: self.send_limits,
        }
    }
}

impl<M> fmt::Debug for ServerHandle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerHandle({:?}, {}, {} workers)", self.addresses, self.backend, self.mailboxes.len())
    }
}
