//! What handles ask of a session, and how it reaches the session's worker.

use bytes::Bytes;
use proactor::ConnectionKey;

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

/// Posting to a session's worker without knowing its handler: what session handles are made of.
pub(crate) trait PostToSession: Send + Sync {
    fn post_to_session(&self, session: ConnectionKey, command: SessionCommand) -> Result<(), PostError>;
}
