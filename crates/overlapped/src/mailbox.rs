//! What handles of other threads post to a worker (INV-5, INV-6).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proactor::ConnectionKey;

use crate::connect::ConnectId;
use crate::session::{
    Listing, PostError, PostToSession, SendLimits, SessionCommand, SessionCursor, SessionHandle, SessionId,
    SessionPage, UsePage,
};
use crate::shared::{Queue, WorkerShared};

/// What waits in a worker's mailbox.
pub(crate) enum Mail<M> {
    Message(M),
    Session(ConnectionKey, SessionCommand),
    /// One shared buffer to many sessions of this worker.
    Broadcast(Audience, Bytes),
    /// The addresses of a connect's name.
    Resolved(ConnectId, io::Result<Vec<SocketAddr>>),
    List(Listing),
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
            Err(PostError::Full(_)) => self.shared.published.count_refused_post(),
            Err(PostError::Stopped(_)) => {}
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

/// Asks the worker of `cursor` for a page of its sessions, or the next worker that has not ended. If all have, the answer is
/// an empty page.
pub(crate) fn list_sessions<M>(
    mailboxes: &[Arc<Mailbox<M>>],
    mut cursor: SessionCursor,
    limit: usize,
    mut answer: UsePage,
) -> Result<(), PostError> {
    while let Some(mailbox) = mailboxes.get(cursor.worker) {
        let listing = Listing { cursor, limit, workers: mailboxes.len(), answer };
        answer = match mailbox.post(Mail::List(listing), true) {
            Ok(()) => return Ok(()),
            Err(PostError::Full(_)) => return Err(PostError::Full(())),
            Err(PostError::Stopped(Mail::List(listing))) => listing.answer,
            Err(PostError::Stopped(_)) => unreachable!("what was posted is returned"),
        };
        cursor = SessionCursor::of_worker(cursor.worker + 1);
    }
    answer(SessionPage::default());
    Ok(())
}

/// Posts a clone of `message` to each worker. Returns how many mailboxes refused it.
pub(crate) fn post_to_all<M: Clone>(mailboxes: &[Arc<Mailbox<M>>], message: &M) -> usize {
    mailboxes.iter().filter(|mailbox| mailbox.post_message(message.clone()).is_err()).count()
}

impl<M: Send + 'static> Mailbox<M> {
    /// A handle on a session of this worker, by its id, with these limits.
    pub(crate) fn session(self: &Arc<Self>, id: SessionId, limits: SendLimits) -> SessionHandle {
        let (state, is_new) = self.shared.directory.find(id.key);
        // Not limited: it is posted once for each id.
        if is_new && self.post(Mail::Session(id.key, SessionCommand::Attach), false).is_err() {
            state.close(true);
            self.shared.directory.remove(id.key);
        }
        SessionHandle { id, state, mailbox: Arc::clone(self) as Arc<dyn PostToSession>, limits }
    }
}

impl<M: Send> PostToSession for Mailbox<M> {
    fn post_to_session(
        &self,
        session: ConnectionKey,
        command: SessionCommand,
    ) -> Result<(), PostError<SessionCommand>> {
        // There are at most a few such requests per session, and they are made when the mailbox is full.
        let limited = !matches!(command, SessionCommand::AnswerWhenRoom(_));
        self.post(Mail::Session(session, command), limited).map_err(|error| {
            error.map(|mail| match mail {
                Mail::Session(_, command) => command,
                _ => unreachable!("what was posted is returned"),
            })
        })
    }

    fn has_room(&self) -> bool {
        self.mail.has_room()
    }

    fn post_to_engine(&self, session: ConnectionKey, command: SessionCommand) {
        if self.mail.push(Mail::Session(session, command), false).is_ok() {
            self.shared.doorbell.ring();
        }
    }
}
