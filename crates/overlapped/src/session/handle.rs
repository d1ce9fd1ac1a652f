//! Reaching a session from other threads.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{PostError, PostToSession, Sent, SessionCommand, SessionId};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a session and its handles share.
#[derive(Debug, Default)]
pub(crate) struct HandleState {
    /// Bytes posted by handles and not yet taken by the worker.
    pub(crate) posted: AtomicUsize,
    /// Memory charged for what is queued, as of the worker's last look.
    pub(crate) queued: AtomicUsize,
    /// True once nothing can be sent any more.
    pub(crate) closed: AtomicBool,
    /// True once the session has begun to close.
    pub(crate) closing: AtomicBool,
}

/// A session as other threads may use it. Cheap to clone. Kept longer than its session, it answers
/// [`Sent::Closed`].
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

    /// Queues `bytes` for the session. [`Sent::Full`]: the session's hard limit or its worker's mailbox is
    /// reached, and nothing was queued. Sends of one thread leave in their order.
    pub fn send(&self, bytes: impl Into<Bytes>) -> Sent {
        let bytes = bytes.into();
        let len = bytes.len();
        if self.state.closed.load(Ordering::Acquire) {
            return Sent::Closed;
        }
        let posted = self.state.posted.fetch_add(len, Ordering::AcqRel);
        let queued = self.state.queued.load(Ordering::Acquire);
        if posted.saturating_add(queued).saturating_add(len) > self.limit {
            self.state.posted.fetch_sub(len, Ordering::AcqRel);
            return Sent::Full;
        }
        match self.mailbox.post_to_session(self.id.key, SessionCommand::Send(bytes)) {
            Ok(()) => Sent::Ok,
            Err(error) => {
                self.state.posted.fetch_sub(len, Ordering::AcqRel);
                if error == PostError::Full { Sent::Full } else { Sent::Closed }
            }
        }
    }

    /// Closes the session gracefully, after what was sent before.
    ///
    /// # Errors
    /// [`PostError::Full`] if the worker's mailbox is, [`PostError::Stopped`] if the worker has ended.
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

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionHandle({})", self.id)
    }
}
