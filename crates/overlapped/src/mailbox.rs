//! What crosses threads: bounded queues into a worker, and the doorbell that wakes it (INV-5, INV-6).

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use proactor::{ConnectionKey, Socket, Waker};

use crate::heartbeat::Heartbeat;
use crate::stats::{Published, Stats};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, OnceLock};

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The worker's mailbox is full; try again later, or drop the message.
    #[error("the worker's mailbox is full")]
    Full,
    /// The worker has stopped.
    #[error("the worker has stopped")]
    Stopped,
}

/// What a handle asks of a session.
pub(crate) enum SessionCommand {
    Send(Bytes),
    Close,
    Abort,
}

/// What waits in a worker's mailbox.
pub(crate) enum Mail<M> {
    Message(M),
    Session(ConnectionKey, SessionCommand),
    /// One shared buffer to many sessions of this worker.
    Broadcast(Vec<ConnectionKey>, Bytes),
    Drain(Duration),
    /// Abort everything and end.
    Stop,
}

/// Wakes a worker, once for any number of posts between two looks into its mailboxes.
#[derive(Default)]
pub(crate) struct Doorbell {
    rung: AtomicBool,
    waker: OnceLock<Waker>,
}

impl Doorbell {
    /// Connects the doorbell to a worker that has just been made. What was posted before is found by its first look.
    pub(crate) fn install(&self, waker: Waker) {
        assert!(self.waker.set(waker).is_ok(), "a worker is started once");
        // Who rang before this woke nobody, and nothing makes that look see it: so there is something to see. A swap,
        // for who rings from here on either finds it, or finds the waker.
        self.rung.swap(true, Ordering::AcqRel);
    }

    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some(waker) = self.waker.get()
        {
            waker.wake();
        }
    }

    /// Whether something was posted since the last look. What is posted after this rings again.
    pub(crate) fn take(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }
}

/// A bounded queue from many threads to one.
pub(crate) struct Queue<T> {
    items: Mutex<Option<VecDeque<T>>>,
    limit: usize,
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: usize) -> Queue<T> {
        Queue { items: Mutex::new(Some(VecDeque::new())), limit }
    }

    /// # Errors
    /// The item itself, with the reason, so that it can be tried elsewhere.
    pub(crate) fn push(&self, item: T, limited: bool) -> Result<(), (T, PostError)> {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        match items.as_mut() {
            None => Err((item, PostError::Stopped)),
            Some(items) if limited && items.len() >= self.limit => Err((item, PostError::Full)),
            Some(items) => {
                items.push_back(item);
                Ok(())
            }
        }
    }

    /// Swaps everything posted into `into`, which must be empty: the lock is held for a moment only.
    pub(crate) fn take_all(&self, into: &mut VecDeque<T>) {
        debug_assert!(into.is_empty());
        if let Some(items) = self.items.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            std::mem::swap(items, into);
        }
    }

    /// Takes the oldest item.
    pub(crate) fn pop(&self) -> Option<T> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.pop_front()
    }

    /// Gives back what was popped last.
    ///
    /// # Errors
    /// The item itself, if the queue was closed meanwhile.
    pub(crate) fn unpop(&self, item: T) -> Result<(), T> {
        match self.items.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(items) => {
                items.push_front(item);
                Ok(())
            }
            None => Err(item),
        }
    }

    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, VecDeque::len)
    }

    /// Refuses everything from now on; returns what was left.
    pub(crate) fn close(&self) -> VecDeque<T> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

/// What others see of a worker, whatever its handler and backend.
#[derive(Default)]
pub(crate) struct WorkerShared {
    pub(crate) doorbell: Doorbell,
    pub(crate) published: Published,
    pub(crate) heartbeat: Heartbeat,
    /// Duplicates of the listeners that this worker owns: while it is blocked, the monitor accepts from them.
    spare_listeners: Mutex<Vec<Socket>>,
    /// Sessions placed on this worker, from the moment it was chosen: what the acceptor balances by.
    pub(crate) placed: AtomicUsize,
    /// Posts refused on the posting threads.
    pub(crate) refused: AtomicU64,
    /// Panics of the observer, which has no other place to be counted: it is told of operations by the driver.
    pub(crate) observer_panics: AtomicU64,
}

impl WorkerShared {
    /// The duplicates, for as long as they are locked.
    pub(crate) fn spare_listeners(&self) -> MutexGuard<'_, Vec<Socket>> {
        self.spare_listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_stats(&self, sum: &mut Stats) {
        self.published.add_to(sum);
        sum.posts_refused += self.refused.load(Ordering::Relaxed);
        sum.observer_panics += self.observer_panics.load(Ordering::Relaxed);
    }
}

/// One worker's mailbox.
pub(crate) struct Mailbox<M> {
    pub(crate) index: usize,
    pub(crate) shared: Arc<WorkerShared>,
    pub(crate) mail: Queue<Mail<M>>,
}

impl<M> Mailbox<M> {
    pub(crate) fn new(index: usize, shared: Arc<WorkerShared>, limit: usize) -> Mailbox<M> {
        Mailbox { index, shared, mail: Queue::new(limit) }
    }

    /// `limited` is false for what the engine itself posts, which is bounded by other means.
    pub(crate) fn post(&self, mail: Mail<M>, limited: bool) -> Result<(), PostError> {
        match self.mail.push(mail, limited) {
            Ok(()) => {
                self.shared.doorbell.ring();
                Ok(())
            }
            Err((_, error)) => {
                self.shared.refused.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}

/// Posting to a worker without knowing its handler: what session handles are made of.
pub(crate) trait PostToSession: Send + Sync {
    fn post_to_session(&self, session: ConnectionKey, command: SessionCommand) -> Result<(), PostError>;
}

impl<M: Send> PostToSession for Mailbox<M> {
    fn post_to_session(&self, session: ConnectionKey, command: SessionCommand) -> Result<(), PostError> {
        self.post(Mail::Session(session, command), true)
    }
}

/// Brings results of other threads into a handler's world. Cheap to clone, usable from any thread.
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
    /// [`PostError::Full`] if the mailbox is, [`PostError::Stopped`] if the worker has ended.
    pub fn post(&self, message: M) -> Result<(), PostError> {
        self.all[self.index].post(Mail::Message(message), true)
    }

    /// The handles of all workers of the server, this one included, by index.
    pub fn workers(&self) -> impl Iterator<Item = WorkerHandle<M>> + '_ {
        (0..self.all.len()).map(|index| WorkerHandle { index, all: Arc::clone(&self.all) })
    }

    /// Sends one buffer to sessions of any worker, at one mailbox message per worker. Returns how many workers'
    /// mailboxes refused it.
    pub fn broadcast(&self, sessions: &[crate::SessionId], bytes: &Bytes) -> usize {
        let mut refused = 0;
        for mailbox in self.all.iter() {
            let here = sessions.iter().filter(|id| id.worker() == mailbox.index).map(|id| id.key);
            let keys: Vec<ConnectionKey> = here.collect();
            if !keys.is_empty() && mailbox.post(Mail::Broadcast(keys, bytes.clone()), true).is_err() {
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

impl<M> fmt::Debug for WorkerHandle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerHandle({} of {})", self.index, self.all.len())
    }
}
