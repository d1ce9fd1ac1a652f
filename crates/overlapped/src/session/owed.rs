//! Answers that a session owes: guards that other threads may hold and end.

use std::fmt;

use proactor::Payload;

use super::{Sent, SessionCommand, SessionHandle, SessionId};

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
    pub fn send(&self, bytes: impl Into<Payload> + Send) -> Sent {
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
