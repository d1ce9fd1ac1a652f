//! What handles of other threads post to a worker (INV-5, INV-6).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proactor::ConnectionKey;

use crate::session::{PostError, PostToSession, SessionCommand};
use crate::shared::{Queue, WorkerShared};

/// What waits in a worker's mailbox.
pub(crate) enum Mail<M> {
    Message(M),
    Session(ConnectionKey, SessionCommand),
    /// One shared buffer to many sessions of this worker.
    Broadcast(Vec<ConnectionKey>, Bytes),
    Drain(Duration),
    /// Abort everything and end.
    Stop,
}

/// One worker's mailbox.
pub(crate) struct Mailbox<M> {
    pub(crate) index: usize,
    pub(crate) shared: Arc<WorkerShared>,
    pub(crate) mail: Queue<Mail<M>>,
}

impl<M> Mailbox<M> {
    pub(crate) fn new(index: usize, shared: Arc<WorkerShared>, limit: usize) -> Mailbox<M> {
        Mailbox { index, shared, mail: Queue::new(limit) }
    }

    /// `limited` is false for the engine's own mail, which is bounded by other means.
    pub(crate) fn post(&self, mail: Mail<M>, limited: bool) -> Result<(), PostError> {
        match self.mail.push(mail, limited) {
            Ok(()) => {
                self.shared.doorbell.ring();
                Ok(())
            }
            Err((_, error)) => {
                self.shared.published.count_refused_post();
                Err(error)
            }
        }
    }
}

impl<M: Send> PostToSession for Mailbox<M> {
    fn post_to_session(&self, session: ConnectionKey, command: SessionCommand) -> Result<(), PostError> {
        self.post(Mail::Session(session, command), true)
    }
}
