//! What handles ask of a session, and how it reaches the session's worker.

use bytes::Bytes;
use proactor::{AlignedBuf, ConnectionKey, Payload};

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
    Send(PostedPayload),
    Close,
    Abort,
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
    fn post_to_session(&self, session: ConnectionKey, command: SessionCommand) -> Result<(), PostError>;
}
