//! Answers that a session owes: guards that other threads may hold and end.

use std::fmt;

use bytes::Bytes;

use super::{Sent, SessionCommand, SessionHandle, SessionId};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Set while the worker waits for the end of the last guard.
const AWAITED: usize = 1;
/// One guard.
const ONE: usize = 2;

/// How many answers a session owes, and whether its worker waits for them: one word, so that of a last guard that ends and
/// a worker that begins to wait, one sees the other.
#[derive(Debug)]
pub(crate) struct OwedCount(AtomicUsize);

impl OwedCount {
    pub(crate) fn new() -> OwedCount {
        OwedCount(0.into())
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Acquire) / ONE
    }

    fn begin(&self) {
        self.0.fetch_add(ONE, Ordering::Relaxed);
    }

    /// A guard ends. Returns whether the worker waits for that.
    fn end(&self) -> bool {
        self.0.fetch_sub(ONE, Ordering::AcqRel) == ONE + AWAITED && self.take_awaited()
    }

    /// The worker waits from now on, once. Returns how many answers are owed.
    pub(crate) fn await_end(&self) -> usize {
        self.0.fetch_or(AWAITED, Ordering::AcqRel) / ONE
    }

    /// Whether nothing is owed, and the worker waits for something else that has just ended: bytes that were posted.
    pub(crate) fn is_awaited_idle(&self) -> bool {
        // Not a load, which may miss the worker's last step.
        self.0.fetch_or(0, Ordering::AcqRel) == AWAITED && self.take_awaited()
    }

    /// Of several threads that end what the worker waits for, one wakes it (INV-6: one mail per wait).
    fn take_awaited(&self) -> bool {
        self.0.compare_exchange(AWAITED, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// An answer that a session owes its peer, made with [`Session::owe`](crate::Session::owe). Dropping it ends the debt: drop
/// it when the answer was sent, or when there will be none.
///
/// It may be sent to another thread: with a job, and back with its result in a message. Where the handler is not needed for
/// the answer, the other thread sends it [itself](Self::send). Both ways the answer is queued before the debt ends, so a
/// drain does not close the session in between.
///
/// As long as a session owes an answer:
///
/// * a drain does not close it before the drain's deadline. If it is cut then,
///   [`DrainReport::answers_owed`](crate::DrainReport::answers_owed) counts what it owed;
/// * it is not idle (see [`Server::idle_timeout`](crate::Server::idle_timeout));
/// * [`Session::close_when_answered`](crate::Session::close_when_answered), which is what a handler does by default when
///   the peer ends its stream, waits.
///
/// All other ends of the session are as usual: a guard does not keep a session alive that is closed, aborted or reset. What
/// is sent to it then returns [`Sent::Closed`].
#[must_use = "the session owes the answer until this is dropped"]
pub struct Owed {
    handle: SessionHandle,
}

impl Owed {
    pub(crate) fn new(handle: SessionHandle) -> Owed {
        handle.state.owed.begin();
        Owed { handle }
    }

    /// The session that owes the answer.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.handle.id()
    }

    /// The handle of that session.
    #[must_use]
    pub fn handle(&self) -> &SessionHandle {
        &self.handle
    }

    /// Sends the answer, or a part of it, as [`SessionHandle::send`] does, from any thread. The debt ends when this guard is
    /// dropped, not earlier: after [`Sent::Full`] the answer can be sent again.
    pub fn send(&self, bytes: impl Into<Bytes>) -> Sent {
        self.handle.send(bytes)
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if self.handle.state.owed.end() {
            self.handle.mailbox.post_to_engine(self.handle.id.key, SessionCommand::Answered);
        }
    }
}

impl fmt::Debug for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owed({})", self.id())
    }
}
