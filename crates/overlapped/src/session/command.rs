//! What handles ask of a session, and how it reaches the session's worker.

use std::fmt;

use bytes::Bytes;
use proactor::{AlignedBuf, ConnectionKey, Payload};

use super::{CloseReason, RoomRequest};

/// A message was not taken. It is returned, as `std::sync::mpsc::TrySendError` does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PostError<M = ()> {
    /// The worker's mailbox is full; try again later, or drop the message.
    Full(M),
    /// The worker has ended. In a drain, workers end one after the other, each when its last session has ended, while
    /// others still have sessions: that is no overload.
    Stopped(M),
}

impl<M> PostError<M> {
    /// The message that was not taken.
    pub fn into_message(self) -> M {
        match self {
            PostError::Full(message) | PostError::Stopped(message) => message,
        }
    }

    /// Whether a later attempt may succeed.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, PostError::Full(_))
    }

    /// The same error, with another message or part of the message.
    pub(crate) fn map<T>(self, change: impl FnOnce(M) -> T) -> PostError<T> {
        match self {
            PostError::Full(message) => PostError::Full(change(message)),
            PostError::Stopped(message) => PostError::Stopped(change(message)),
        }
    }
}

impl<M> fmt::Display for PostError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PostError::Full(_) => "the worker's mailbox is full",
            PostError::Stopped(_) => "the worker has stopped",
        })
    }
}

/// Without the message, which need not be `Debug`.
impl<M> fmt::Debug for PostError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "Full(..)" } else { "Stopped(..)" })
    }
}

impl<M> std::error::Error for PostError<M> {}

/// What a handle asks of a session.
pub(crate) enum SessionCommand {
    Send(PostedPayload),
    /// For this reason.
    Close(CloseReason),
    /// For this reason.
    Abort(CloseReason),
    /// A thread waits until there is room.
    AnswerWhenRoom(RoomRequest),
    /// A handle was made by the session's id.
    Attach,
    /// What its worker waited for is over: it owes nothing, and nothing is posted to it.
    Answered,
}

/// A payload on its way to another thread: any but a lease, which stays on its worker's thread.
pub(crate) enum PostedPayload {
    Shared(Bytes),
    Owned(Vec<u8>),
    Aligned(AlignedBuf),
}

impl PostedPayload {
    /// Of a payload that was made of something `Send`, and so is no lease.
    pub(crate) fn new(payload: Payload) -> PostedPayload {
        match payload {
            Payload::Shared(bytes) => PostedPayload::Shared(bytes),
            Payload::Owned(bytes) => PostedPayload::Owned(bytes),
            Payload::Aligned(bytes) => PostedPayload::Aligned(bytes),
            // A user's own type that makes a lease out of nothing.
            other => PostedPayload::Shared(Bytes::copy_from_slice(other.as_slice())),
        }
    }
}

impl From<PostedPayload> for Payload {
    fn from(posted: PostedPayload) -> Payload {
        match posted {
            PostedPayload::Shared(bytes) => Payload::Shared(bytes),
            PostedPayload::Owned(bytes) => Payload::Owned(bytes),
            PostedPayload::Aligned(bytes) => Payload::Aligned(bytes),
        }
    }
}

/// Posting to a session's worker without knowing its handler: what session handles are made of.
pub(crate) trait PostToSession: Send + Sync {
    /// A command that is refused is returned.
    fn post_to_session(
        &self,
        session: ConnectionKey,
        command: SessionCommand,
    ) -> Result<(), PostError<SessionCommand>>;

    /// The same for the engine's own commands: no limit refuses them, and a worker that has ended needs none.
    fn post_to_engine(&self, session: ConnectionKey, command: SessionCommand);
    /// Whether the mailbox would take a command now.
    fn has_room(&self) -> bool;
}
