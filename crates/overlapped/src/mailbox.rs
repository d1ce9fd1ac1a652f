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
    Broadcast(Audience, Bytes),
    Drain(Duration),
    /// Abort everything and end.
    Stop,
}

/// The sessions of one worker that a broadcast is for.
pub(crate) enum Audience {
    All,
    These(Vec<ConnectionKey>),
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
    pub(crate) fn post(&self, mail: Mail<M>, limited: bool) -> Result<(), PostError<Mail<M>>> {
        let posted = self.mail.push(mail, limited);
        match posted {
            Ok(()) => self.shared.doorbell.ring(),
            Err(_) => self.shared.published.count_refused_post(),
        }
        posted
    }
}

impl<M> Mailbox<M> {
    /// Posts a message to the worker's handler.
    pub(crate) fn post_message(&self, message: M) -> Result<(), PostError<M>> {
        self.post(Mail::Message(message), true).map_err(|error| {
            error.map(|mail| match mail {
                Mail::Message(message) => message,
                _ => unreachable!("what was posted is returned"),
            })
        })
    }
}

impl<M: Send> PostToSession for Mailbox<M> {
    fn post_to_session(&self, session: ConnectionKey, command: SessionCommand) -> Result<(), PostError> {
        // There are at most a few such requests per session, and they are made when the mailbox is full.
        let limited = !matches!(command, SessionCommand::AnswerWhenRoom(_));
        self.post(Mail::Session(session, command), limited).map_err(|error| error.map(drop))
    }

    fn has_room(&self) -> bool {
        self.mail.has_room()
    }
}
