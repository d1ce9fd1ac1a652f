//! Reaching a worker from other threads.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use proactor::ConnectionKey;

use crate::mailbox::{Audience, Mail, Mailbox, post_to_all};
use crate::session::{PostError, SessionId};

/// Posts messages to a worker's handler, for instance the results of other threads. Cheap to clone, usable from any
/// thread.
pub struct WorkerHandle<M> {
    index: usize,
    all: Arc<[Arc<Mailbox<M>>]>,
}

impl<M: Send> WorkerHandle<M> {
    pub(crate) fn new(index: usize, all: Arc<[Arc<Mailbox<M>>]>) -> WorkerHandle<M> {
        WorkerHandle { index, all }
    }

    /// Which worker this is, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Hands `message` to this worker's [`Handler::on_message`](crate::Handler::on_message). Messages of one
    /// thread arrive in the order in which they were posted.
    ///
    /// # Errors
    /// With the message: [`PostError::Full`] if the mailbox is full, [`PostError::Stopped`] if the worker has ended.
    pub fn post(&self, message: M) -> Result<(), PostError<M>> {
        self.all[self.index].post_message(message)
    }

    /// The handles of all workers of the server, this one included, by index.
    pub fn workers(&self) -> impl ExactSizeIterator<Item = WorkerHandle<M>> + '_ {
        (0..self.all.len()).map(|index| WorkerHandle { index, all: Arc::clone(&self.all) })
    }

    /// Posts a clone of `message` to each worker of the server, this one included. Returns how many workers' mailboxes
    /// refused it.
    pub fn post_to_all(&self, message: &M) -> usize
    where
        M: Clone,
    {
        post_to_all(&self.all, message)
    }

    /// Sends one buffer to `sessions`, which may be on any workers, with one mailbox message per worker. Returns how
    /// many workers' mailboxes refused the message.
    pub fn broadcast_to(&self, sessions: &[SessionId], bytes: &Bytes) -> usize {
        let mut refused = 0;
        for mailbox in self.all.iter() {
            let here = sessions.iter().filter(|id| id.worker() == mailbox.index).map(|id| id.key);
            let keys: Vec<ConnectionKey> = here.collect();
            if keys.is_empty() {
                continue;
            }
            let mail = Mail::Broadcast(Audience::These(keys), bytes.clone());
            if mailbox.post(mail, true).is_err() {
                refused += 1;
            }
        }
        refused
    }
}

impl<M> Clone for WorkerHandle<M> {
    fn clone(&self) -> Self {
        WorkerHandle { index: self.index, all: Arc::clone(&self.all) }
    }
}

/// Handles of the same worker are equal.
impl<M> PartialEq for WorkerHandle<M> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && Arc::ptr_eq(&self.all, &other.all)
    }
}

impl<M> Eq for WorkerHandle<M> {}

/// By the worker's index.
impl<M> Hash for WorkerHandle<M> {
    fn hash<S: Hasher>(&self, state: &mut S) {
        self.index.hash(state);
    }
}

impl<M> fmt::Debug for WorkerHandle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerHandle({} of {})", self.index, self.all.len())
    }
}
