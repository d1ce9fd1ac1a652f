//! Reaching a session from other threads.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use proactor::Payload;

use super::{OwedCount, PostError, PostToSession, PostedPayload, Sent, SessionCommand, SessionId};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a session and its handles share.
#[derive(Debug)]
pub(crate) struct HandleState {
    /// Memory charged for what handles have posted and the worker has not taken yet.
    posted: AtomicUsize,
    /// Memory charged for what is queued, as the worker last stored it.
    queued: AtomicUsize,
    /// True once nothing can be sent any more.
    closed: AtomicBool,
    /// True once the session has begun to close.
    closing: AtomicBool,
    /// Answers that the session owes.
    pub(crate) owed: OwedCount,
}

impl HandleState {
    /// Of a session that its worker has still to find.
    pub(crate) fn new() -> HandleState {
        HandleState {
            posted: 0.into(),
            queued: 0.into(),
            closed: false.into(),
            closing: false.into(),
            owed: OwedCount::new(),
        }
    }

    /// Of a session that is gone.
    pub(crate) fn gone() -> HandleState {
        let gone = HandleState::new();
        gone.close(true);
        gone
    }

    /// The worker has found the session: it has `queued` bytes charged. `closed`: it takes no send; `closing`: it has begun
    /// to close.
    pub(crate) fn attach(&self, queued: usize, closed: bool, closing: bool) {
        self.set_queued(queued);
        if closed {
            self.close(closing);
        }
    }

    /// Nothing can be sent any more. `closing`: the session has begun to close, too.
    pub(crate) fn close(&self, closing: bool) {
        self.closed.store(true, Ordering::Release);
        if closing {
            self.closing.store(true, Ordering::Release);
        }
    }

    /// The worker's queue for the session is charged with this much now.
    #[inline]
    pub(crate) fn set_queued(&self, charge: usize) {
        self.queued.store(charge, Ordering::Release);
    }

    /// The worker has taken a posted send that was charged with `posted`; its queue is charged with `queued` now.
    pub(crate) fn taken(&self, posted: usize, queued: usize) {
        // Store before subtract: readers may briefly over-count, never under-count.
        self.set_queued(queued);
        self.unpost(posted);
    }

    /// Counts a send in that is charged with `charge`, unless more than `limit` would wait for the session then.
    fn post(&self, charge: usize, limit: usize) -> bool {
        let posted = self.posted.fetch_add(charge, Ordering::AcqRel);
        let queued = self.queued.load(Ordering::Acquire);
        let room = posted.saturating_add(queued).saturating_add(charge) <= limit;
        if !room {
            self.unpost(charge);
        }
        room
    }

    fn unpost(&self, charge: usize) {
        self.posted.fetch_sub(charge, Ordering::AcqRel);
    }

    /// Whether answers are owed, or posted sends were not taken yet. If so, a mail or a posted send follows when that is
    /// over.
    pub(crate) fn awaits_answers(&self) -> bool {
        // In this order: a thread posts its answer before it ends its guard.
        self.owed.await_end() > 0 || self.posted.load(Ordering::Acquire) > 0
    }

    /// Memory charged for what is posted and not taken, and for what is queued.
    #[cfg(all(loom, test))]
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.posted.load(Ordering::Relaxed), self.queued.load(Ordering::Relaxed))
    }
}

/// A session as other threads may use it. Cheap to clone. When its session has ended, it answers [`Sent::Closed`].
#[derive(Clone)]
pub struct SessionHandle {
    pub(crate) id: SessionId,
    pub(crate) state: Arc<HandleState>,
    pub(crate) mailbox: Arc<dyn PostToSession>,
    pub(crate) limit: usize,
}

impl SessionHandle {
    /// Which session.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Queues bytes for the session: whatever [`Session::send`](crate::Session::send) takes, except what must stay on a
    /// worker's thread, a [`Lease`](crate::Lease) and a [`Payload`] (the compiler says that it "cannot be sent between
    /// threads safely"; [`Lease::to_bytes`](crate::Lease::to_bytes) copies). [`Sent::Full`]: the session's hard limit or
    /// its worker's mailbox is reached, and nothing was queued. The sends of one thread are sent in the order of the
    /// calls.
    pub fn send(&self, bytes: impl Into<Payload> + Send) -> Sent {
        let payload = bytes.into();
        let charge = payload.charge();
        if self.state.closed.load(Ordering::Acquire) {
            return Sent::Closed;
        }
        if !self.state.post(charge, self.limit) {
            return self.not_posted(Sent::Full);
        }
        match self.mailbox.post_to_session(self.id.key, SessionCommand::Send(PostedPayload::new(payload))) {
            Ok(()) => Sent::Ok,
            Err(error) => {
                self.state.unpost(charge);
                self.not_posted(if error.is_full() { Sent::Full } else { Sent::Closed })
            }
        }
    }

    /// A worker that saw the bytes counted in waits for them.
    #[cold]
    fn not_posted(&self, sent: Sent) -> Sent {
        if self.state.owed.is_awaited_idle() {
            self.mailbox.post_to_engine(self.id.key, SessionCommand::Answered);
        }
        sent
    }

    /// Closes the session gracefully, after what was sent before.
    ///
    /// # Errors
    /// [`PostError::Full`] if the worker's mailbox is full, [`PostError::Stopped`] if the worker has ended.
    pub fn close(&self) -> Result<(), PostError> {
        self.mailbox.post_to_session(self.id.key, SessionCommand::Close)
    }

    /// Closes the session at once, with a reset.
    ///
    /// # Errors
    /// As for [`close`](Self::close).
    pub fn abort(&self) -> Result<(), PostError> {
        self.mailbox.post_to_session(self.id.key, SessionCommand::Abort)
    }

    /// Whether the session has begun to close, as [`Session::is_closing`](crate::Session::is_closing) says on its worker.
    /// One that only [finished](crate::Session::finish) its own stream has not; [`send`](Self::send) answers
    /// [`Sent::Closed`] for it, too.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.closing.load(Ordering::Acquire)
    }
}

/// Handles of the same session are equal. Those of sessions of two servers never are.
impl PartialEq for SessionHandle {
    fn eq(&self, other: &SessionHandle) -> bool {
        self.id == other.id && Arc::ptr_eq(&self.mailbox, &other.mailbox)
    }
}

impl Eq for SessionHandle {}

/// By the session's id.
impl Hash for SessionHandle {
    fn hash<S: Hasher>(&self, state: &mut S) {
        self.id.hash(state);
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionHandle({})", self.id)
    }
}
