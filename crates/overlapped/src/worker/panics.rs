//! Panics of a handler: each is caught, counted and reported, ends the session it happened in, and is passed to the
//! handler's `on_panic`, so that its own tables do not keep what is gone.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use proactor::ConnectionKey;
use proactor::backend::Backend;

use super::{Layer, Worker};
use crate::catch_panic::{contain, into_message};
use crate::config::OnPanic;
use crate::context::{CurrentCallback, MOST_REFUSALS, Others, WorkerContext};
use crate::handler::Handler;
use crate::observe::Event;
use crate::session::CloseReason;

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// Runs a part of the turn that calls the handler. A panic of the handler ends its session, not the worker, and the
    /// part is run again: what it had taken out of its queues is done, the rest is still in them.
    pub(super) fn catching_panics(&mut self, part: fn(&mut Self)) {
        // The worker's own state is consistent at every callback; the handler has to repair its own.
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| part(self))) {
            let session = match std::mem::replace(&mut self.core.callback, CurrentCallback::None) {
                CurrentCallback::None => resume_unwind(payload),
                CurrentCallback::Worker | CurrentCallback::Answer { .. } => None,
                CurrentCallback::Session(key) => Some(key),
            };
            let message = into_message(payload);
            self.start_callback_clock();
            self.report_panic(session, &message);
            self.refuse_undecided();
            if self.core.config.on_panic == OnPanic::StopServer {
                resume_unwind(Box::new(message));
            }
            self.recover(session, &message);
        }
    }

    pub(super) fn report_panic(&mut self, session: Option<ConnectionKey>, message: &str) {
        let session = session.map(|key| self.core.id(key));
        self.core.report.emit(&Event::Panicked { session, message });
    }

    /// Ends the session of a callback that panicked, and calls `on_panic`. A panic in here is reported, too, and has no
    /// other effect.
    #[cold]
    fn recover(&mut self, session: Option<ConnectionKey>, message: &str) {
        if let Some(key) = session {
            self.core.abort(key, CloseReason::Panicked);
            // Its state may be half-updated: no callback sees it again. After a panic in `on_close` it is gone already.
            self.drop_state(key.index(), session);
        }
        let id = session.map(|key| self.core.id(key));
        self.core.callback = CurrentCallback::Answer { refusals: MOST_REFUSALS };
        let states = Others::all(&mut self.states);
        let mut worker = WorkerContext { core: &mut self.core, endpoints: &self.driver, states };
        let told = contain(|| self.handler.on_panic(&mut worker, id, message));
        self.core.callback = CurrentCallback::None;
        if let Err(message) = told {
            self.report_panic(session, &message);
        }
    }

    /// Drops the handler's state of a session. A panic in its destructor is reported.
    fn drop_state(&mut self, slot: usize, session: Option<ConnectionKey>) {
        let state = self.states.get_mut(slot).and_then(Option::take);
        if let Err(message) = contain(|| drop(state)) {
            self.report_panic(session, &message);
        }
    }

    /// Drops the sessions' states and the mail that are left when a worker ends, one by one: if they were dropped together,
    /// a second panic in a destructor would abort the process.
    pub(super) fn drop_what_is_left(&mut self) {
        for slot in 0..self.states.len() {
            self.drop_state(slot, None);
        }
        let mut mail = std::mem::take(&mut self.mail);
        mail.extend(self.mailbox.mail.close());
        for mail in mail {
            if let Err(message) = contain(|| drop(mail)) {
                self.report_panic(None, &message);
            }
        }
        self.publish();
    }
}
