//! Reaching a session from other threads.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    CloseReason, PostError, PostToSession, Room, RoomLevel, SendLimits, Sent, SessionCommand, SessionId,
};
use crate::error::{Error, Result};
use crate::server::is_worker_thread;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a session and its handles share.
#[derive(Debug)]
pub(crate) struct HandleState {
    /// Bytes posted by handles and not yet taken by the worker.
    posted: AtomicUsize,
    /// Memory charged for what is queued, as the worker last stored it.
    queued: AtomicUsize,
    /// True once nothing can be sent any more.
    closed: AtomicBool,
    /// True once the session has begun to close.
    closing: AtomicBool,
    /// For threads that wait for room.
    pub(super) room: Room,
}

impl HandleState {
    /// Of a session that has `queued` bytes charged. `closed`: it takes no send; `closing`: it has begun to close.
    pub(crate) fn new(queued: usize, closed: bool, closing: bool) -> HandleState {
        let (closed, closing) = (closed.into(), closing.into());
        let (posted, queued) = (0.into(), queued.into());
        HandleState { posted, queued, closed, closing, room: Room::default() }
    }

    /// Of a session that is gone.
    pub(crate) fn gone() -> HandleState {
        HandleState::new(0, true, true)
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

    /// The worker has taken a posted send of `len` bytes; its queue is charged with `charge` now.
    pub(crate) fn taken(&self, len: usize, charge: usize) {
        // Store before subtract: readers may briefly over-count, never under-count.
        self.set_queued(charge);
        self.unpost(len);
    }

    /// Counts a send of `len` bytes in, unless more than `limit` would wait for the session then.
    fn post(&self, len: usize, limit: usize) -> bool {
        let posted = self.posted.fetch_add(len, Ordering::AcqRel);
        let queued = self.queued.load(Ordering::Acquire);
        let room = posted.saturating_add(queued).saturating_add(len) <= limit;
        if !room {
            self.unpost(len);
        }
        room
    }

    /// Whether nothing can be sent any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What waits for the session: posted, or queued by the worker.
    fn waiting(&self) -> usize {
        // What the worker takes meanwhile is counted twice rather than not at all.
        let posted = self.posted.load(Ordering::Acquire);
        posted.saturating_add(self.queued.load(Ordering::Acquire))
    }

    fn unpost(&self, len: usize) {
        self.posted.fetch_sub(len, Ordering::AcqRel);
    }

    /// Bytes posted and not taken, and memory charged for what is queued.
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
    pub(crate) limits: SendLimits,
}

impl SessionHandle {
    /// Which session.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Queues `bytes` for the session. [`Sent::Full`]: the session's hard limit or its worker's mailbox is reached, and
    /// nothing was queued. The sends of one thread are sent in the order of the calls.
    pub fn send(&self, bytes: impl Into<Bytes>) -> Sent {
        let bytes = bytes.into();
        let len = bytes.len();
        if self.state.is_closed() {
            return Sent::Closed;
        }
        if !self.state.post(len, self.limits.hard_limit) {
            return Sent::Full;
        }
        match self.mailbox.post_to_session(self.id.key, SessionCommand::Send(bytes)) {
            Ok(()) => Sent::Ok,
            Err(error) => {
                self.state.unpost(len);
                if error.is_full() { Sent::Full } else { Sent::Closed }
            }
        }
    }

    /// Whether a small [`send`](Self::send) would be queued below the session's high-water mark: less than that waits
    /// for the session, the worker's mailbox has room, and the session takes sends.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        !self.state.is_closed() && self.has_room(RoomLevel::Writable)
    }

    /// The limits of what may wait for the session.
    #[must_use]
    pub fn limits(&self) -> SendLimits {
        self.limits
    }

    /// Blocks the calling thread until the session [is writable](Self::is_writable), for at most `timeout`
    /// ([`Duration::MAX`]: without a limit). [`Sent::Ok`]: it is. [`Sent::Full`]: it was not within that time.
    /// [`Sent::Closed`]: the session takes no more sends.
    ///
    /// # Errors
    /// [`Error::WaitInCallback`] on a thread that is a worker: a callback must not block. There, use
    /// [`Handler::on_writable`](crate::Handler::on_writable).
    pub fn wait_writable(&self, timeout: Duration) -> Result<Sent> {
        check_may_wait()?;
        Ok(self.wait_for_room(RoomLevel::Writable, Instant::now().checked_add(timeout)))
    }

    /// As [`send`](Self::send), but while the session or its worker's mailbox is full, the calling thread waits, for at
    /// most `timeout` ([`Duration::MAX`]: without a limit). [`Sent::Full`]: there was no room within that time, and
    /// nothing was queued; at once if `bytes` are more than the hard limit. To keep the session's queue short, this waits
    /// until less than the high-water mark is queued, not only for as much room as `bytes` need.
    ///
    /// # Errors
    /// As for [`wait_writable`](Self::wait_writable).
    pub fn send_timeout(&self, bytes: impl Into<Bytes>, timeout: Duration) -> Result<Sent> {
        check_may_wait()?;
        let (bytes, deadline) = (bytes.into(), Instant::now().checked_add(timeout));
        let SendLimits { high_water, hard_limit, .. } = self.limits;
        let level = RoomLevel::for_payload(bytes.len(), high_water, hard_limit);
        loop {
            let sent = self.send(bytes.clone());
            if sent != Sent::Full || bytes.len() > hard_limit {
                return Ok(sent);
            }
            let room = self.wait_for_room(level, deadline);
            if room != Sent::Ok {
                return Ok(room);
            }
        }
    }

    fn has_room(&self, level: RoomLevel) -> bool {
        level.has_room(self.state.waiting(), self.limits.high_water) && self.mailbox.has_room()
    }

    fn wait_for_room(&self, level: RoomLevel, deadline: Option<Instant>) -> Sent {
        let ask =
            |request| self.mailbox.post_to_session(self.id.key, SessionCommand::AnswerWhenRoom(request));
        self.state.wait_for_room(level, || self.has_room(level), ask, deadline)
    }

    /// Closes the session gracefully, after what was sent before.
    ///
    /// # Errors
    /// [`PostError::Full`] if the worker's mailbox is full, [`PostError::Stopped`] if the worker has ended.
    pub fn close(&self) -> std::result::Result<(), PostError> {
        self.end(SessionCommand::Close(CloseReason::Local))
    }

    /// The same for a reason of the program's own: see [`Session::close_with`](crate::Session::close_with).
    ///
    /// # Errors
    /// As for [`close`](Self::close).
    pub fn close_with(&self, code: u32) -> std::result::Result<(), PostError> {
        self.end(SessionCommand::Close(CloseReason::ClosedWith(code)))
    }

    /// Closes the session at once, with a reset.
    ///
    /// # Errors
    /// As for [`close`](Self::close).
    pub fn abort(&self) -> std::result::Result<(), PostError> {
        self.end(SessionCommand::Abort(CloseReason::Aborted))
    }

    /// The same for a reason of the program's own: see [`Session::abort_with`](crate::Session::abort_with).
    ///
    /// # Errors
    /// As for [`close`](Self::close).
    pub fn abort_with(&self, code: u32) -> std::result::Result<(), PostError> {
        self.end(SessionCommand::Abort(CloseReason::AbortedWith(code)))
    }

    fn end(&self, command: SessionCommand) -> std::result::Result<(), PostError> {
        self.mailbox.post_to_session(self.id.key, command)
    }

    /// Whether the session has begun to close, as [`Session::is_closing`](crate::Session::is_closing) says on its worker.
    /// One that only [finished](crate::Session::finish) its own stream has not; [`send`](Self::send) answers
    /// [`Sent::Closed`] for it, too.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.closing.load(Ordering::Acquire)
    }
}

/// # Errors
/// [`Error::WaitInCallback`] on a worker's thread.
fn check_may_wait() -> Result<()> {
    if is_worker_thread() { Err(Error::WaitInCallback) } else { Ok(()) }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionHandle({})", self.id)
    }
}
