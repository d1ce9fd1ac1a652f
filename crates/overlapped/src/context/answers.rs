//! Sessions that owe answers, and sessions that are fed: what a close or a drain waits for.

use proactor::ConnectionKey;

use super::{Core, Session};
use crate::session::{CloseReason, Owed, Phase, SessionState};

impl<S> Session<'_, S> {
    /// Declares that this session owes its peer an answer, until the guard that this returns is dropped: an answer that
    /// another thread works on, or that another session receives. See [`Owed`] for what waits for it. A session may owe
    /// several answers; one guard costs two atomic additions.
    ///
    /// ```
    /// use overlapped::{Handler, Lease, Owed, Session, WorkerContext, WorkerHandle};
    ///
    /// struct Lookup {
    ///     here: WorkerHandle<(Owed, String)>,
    /// }
    ///
    /// impl Handler for Lookup {
    ///     type State = ();
    ///     type Message = (Owed, String);
    ///
    ///     fn on_open(&mut self, _session: &mut Session<'_, Self::State>) {}
    ///
    ///     fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), data: Lease) {
    ///         let (here, owed, key) = (self.here.clone(), session.owe(), data.to_vec());
    ///         std::thread::spawn(move || {
    ///             let value = format!("the value of {key:?}"); // the slow work
    ///             let _ = here.post((owed, value));
    ///         });
    ///     }
    ///
    ///     fn on_message(&mut self, worker: &mut WorkerContext<'_, Self::State>, (owed, value): (Owed, String)) {
    ///         worker.send(owed.id(), value); // the session may be gone: then this does nothing
    ///     }
    /// }
    /// ```
    pub fn owe(&mut self) -> Owed {
        Owed::new(self.handle())
    }

    /// How many answers this session owes: guards that [`owe`](Self::owe) has returned and that are not dropped.
    #[must_use]
    pub fn answers_owed(&self) -> usize {
        self.core.sessions.get(self.key).map_or(0, SessionState::answers_owed)
    }

    /// Closes gracefully, as [`close`](Self::close) does, but not before every answer that the session
    /// [owes](Self::owe) was sent or given up, and not before the sends that handles have posted are queued. Until then
    /// its handler is still called. Closes at once if nothing is owed.
    pub fn close_when_answered(&mut self) {
        self.core.close_when_answered(self.key);
    }

    pub(crate) fn closes_when_answered(&self) -> bool {
        self.core.sessions.get(self.key).is_some_and(|state| state.closes_when_answered)
    }
}

impl Core {
    fn close_when_answered(&mut self, key: ConnectionKey) {
        let Some(state) = self.sessions.get_mut(key) else { return };
        if state.waits_for_answers() {
            state.closes_when_answered = true;
        } else {
            self.close(key, CloseReason::Local);
        }
    }

    /// A session may owe nothing any more: it closes, if it waited for that; and a drain looks at it again.
    pub(crate) fn answered(&mut self, key: ConnectionKey) {
        let Some(state) = self.sessions.get_mut(key) else { return };
        if state.closes_when_answered {
            self.close_when_answered(key);
        }
        if self.draining {
            self.touch(key);
        }
    }

    /// Whether a drain must not close a session yet, although it is silent: it owes an answer, or the session that feeds
    /// it may still receive what is to be sent here. When that changes, the drain looks at it again.
    pub(crate) fn is_awaited(&mut self, key: ConnectionKey) -> bool {
        let Some(state) = self.sessions.get(key) else { return false };
        if state.waits_for_answers() {
            return true;
        }
        let (source, finished) = (state.source, state.peer_finished());
        let feeds = |from: &SessionState| from.is_live() && !(finished && from.peer_finished());
        if source == key || !self.sessions.get(source).is_some_and(feeds) {
            return false;
        }
        self.awaiting_source.entry(source).or_default().insert(key);
        true
    }

    /// A session has begun to close, or its peer has ended its stream: a drain looks again at those that it feeds.
    pub(crate) fn source_ended(&mut self, source: ConnectionKey) {
        for fed in self.awaiting_source.remove(&source).into_iter().flatten() {
            self.touch(fed);
        }
    }
}

impl SessionState {
    /// How many answers it owes.
    pub(crate) fn answers_owed(&self) -> usize {
        self.handle.as_ref().map_or(0, |handle| handle.owed.get())
    }

    /// Whether it can send, and answers are to come from other threads: owed, or posted and not taken. If so, the worker
    /// gets mail when that is over.
    fn waits_for_answers(&self) -> bool {
        self.phase() == Phase::Open && self.handle.as_ref().is_some_and(|handle| handle.awaits_answers())
    }
}
