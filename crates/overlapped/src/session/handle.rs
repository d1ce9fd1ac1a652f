//! Reaching a session from other threads.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proactor::Payload;

use super::{
    CloseReason, OwedCount, PostError, PostToSession, PostedPayload, Room, RoomLevel, RoomRequest,
    SendLimits, Sent, SessionCommand, SessionId,
};
use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::worker_thread;

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
    /// For threads that wait for room.
    room: Arc<Room>,
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
            room: Arc::default(),
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

    /// Whether nothing can be sent any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What waits for the session: posted, or queued by the worker.
    fn waiting(&self) -> usize {
        // Posted first, then queued: with `taken`, this may briefly over-count, never under-count.
        let posted = self.posted.load(Ordering::Acquire);
        posted.saturating_add(self.queued.load(Ordering::Acquire))
    }

    /// Sleeps until `has_room`, or until the session takes no more sends; at most until `deadline`. `ask` posts a request
    /// to the session's worker. Returns what a send that fits would return: [`Sent::Full`] after the deadline.
    pub(crate) fn wait_for_room(
        &self,
        level: RoomLevel,
        high_water: usize,
        has_room: impl Fn() -> bool,
        ask: impl Fn(RoomRequest) -> std::result::Result<(), PostError>,
        deadline: Option<Instant>,
    ) -> Sent {
        loop {
            if self.is_closed() {
                return Sent::Closed;
            }
            if has_room() {
                return Sent::Ok;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Sent::Full;
            }
            if self.room.begin(level) && ask(RoomRequest::new(&self.room, level, high_water)).is_err() {
                // The worker has stopped.
                return Sent::Closed;
            }
            self.room.wait(level, deadline);
        }
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
    pub(crate) limits: SendLimits,
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
        match self.try_send(bytes.into()) {
            Ok(()) => Sent::Ok,
            Err((refused, _)) => refused,
        }
    }

    /// The same. What is not queued is returned, with the reason.
    fn try_send(&self, payload: Payload) -> std::result::Result<(), (Sent, Payload)> {
        // Charged as the worker will find it.
        let payload = Payload::from(PostedPayload::new(payload));
        let charge = payload.charge();
        if self.state.is_closed() {
            return Err((Sent::Closed, payload));
        }
        if !self.state.post(charge, self.limits.hard_limit) {
            return Err((self.not_posted(Sent::Full), payload));
        }
        let command = SessionCommand::Send(PostedPayload::new(payload));
        let Err(error) = self.mailbox.post_to_session(self.id.key, command) else { return Ok(()) };
        self.state.unpost(charge);
        let refused = self.not_posted(if error.is_full() { Sent::Full } else { Sent::Closed });
        match error {
            PostError::Full(SessionCommand::Send(payload))
            | PostError::Stopped(SessionCommand::Send(payload)) => Err((refused, payload.into())),
            _ => unreachable!("what was posted is returned"),
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

    /// Whether a small [`send`](Self::send) would be queued below the session's high-water mark: less than that waits
    /// for the session, the worker's mailbox has room, and the session takes sends.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        !self.state.is_closed() && self.has_room(RoomLevel::Writable)
    }

    /// How many bytes may wait for the session, as far as this handle is concerned: what
    /// [`Session::send_limits`](crate::Session::send_limits) returned when [`Session::handle`](crate::Session::handle)
    /// made it; the server's limits if it is from [`ServerHandle::session`](crate::ServerHandle::session).
    #[must_use]
    pub fn send_limits(&self) -> SendLimits {
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
    /// nothing was queued; at once if `bytes` are charged with more than the hard limit. To keep the session's queue
    /// short, this waits until less than the high-water mark is queued, not only for as much room as `bytes` need.
    ///
    /// # Errors
    /// As for [`wait_writable`](Self::wait_writable).
    pub fn send_timeout(&self, bytes: impl Into<Payload> + Send, timeout: Duration) -> Result<Sent> {
        check_may_wait()?;
        let (mut payload, deadline) = (bytes.into(), Instant::now().checked_add(timeout));
        let SendLimits { high_water, hard_limit, .. } = self.limits;
        let charge = payload.charge();
        let level = RoomLevel::for_payload(charge, high_water, hard_limit);
        loop {
            match self.try_send(payload) {
                Ok(()) => return Ok(Sent::Ok),
                Err((Sent::Full, refused)) if charge <= hard_limit => payload = refused,
                Err((refused, _)) => return Ok(refused),
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
        let ask = |request| self.post(SessionCommand::AnswerWhenRoom(request));
        self.state.wait_for_room(level, self.limits.high_water, || self.has_room(level), ask, deadline)
    }

    /// Closes the session gracefully, after what was sent before.
    ///
    /// # Errors
    /// [`PostError::Full`] if the worker's mailbox is full, [`PostError::Stopped`] if the worker has ended.
    pub fn close(&self) -> std::result::Result<(), PostError> {
        self.post(SessionCommand::Close(CloseReason::Local))
    }

    /// The same for a reason of the program's own: see [`Session::close_with`](crate::Session::close_with).
    ///
    /// # Errors
    /// As for [`close`](Self::close).
    pub fn close_with(&self, code: u32) -> std::result::Result<(), PostError> {
        self.post(SessionCommand::Close(CloseReason::ClosedWith(code)))
    }

    /// Closes the session at once, with a reset.
    ///
    /// # Errors
    /// As for [`close`](Self::close).
    pub fn abort(&self) -> std::result::Result<(), PostError> {
        self.post(SessionCommand::Abort(CloseReason::Aborted))
    }

    /// The same for a reason of the program's own: see [`Session::abort_with`](crate::Session::abort_with).
    ///
    /// # Errors
    /// As for [`close`](Self::close).
    pub fn abort_with(&self, code: u32) -> std::result::Result<(), PostError> {
        self.post(SessionCommand::Abort(CloseReason::AbortedWith(code)))
    }

    fn post(&self, command: SessionCommand) -> std::result::Result<(), PostError> {
        self.mailbox.post_to_session(self.id.key, command).map_err(|error| error.map(drop))
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

/// # Errors
/// [`Error::WaitInCallback`] on a worker's thread.
fn check_may_wait() -> Result<()> {
    if worker_thread::is_worker() { Err(Error::WaitInCallback) } else { Ok(()) }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionHandle({})", self.id)
    }
}
