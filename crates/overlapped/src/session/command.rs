//! What handles ask of a session, and how it reaches the session's worker.

use std::fmt;

use bytes::Bytes;
use proactor::ConnectionKey;

use super::{CloseReason, RoomRequest};

/// A message was not taken. It is returned, as `std::sync::mpsc::TrySendError` does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PostError<M = ()> {
    /// The worker's mailbox is full; try again later, or drop the message.
    Full(M),
    /// The worker has stopped.
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
    Send(Bytes),
    /// For this reason.
    Close(CloseReason),
    /// For this reason.
    Abort(CloseReason),
    /// A thread waits until there is room.
    AnswerWhenRoom(RoomRequest),
}

/// Posting to a session's worker without knowing its handler: what session handles are made of.
pub(crate) trait PostToSession: Send + Sync {
    fn post_to_session(&self, session: ConnectionKey, command: SessionCommand) -> Result<(), PostError>;

    /// Whether the mailbox would take a command now.
    fn has_room(&self) -> bool;
}
