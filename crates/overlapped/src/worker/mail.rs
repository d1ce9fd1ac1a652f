//! Mail: what other threads have posted to this worker.

use std::time::Duration;

use proactor::backend::Backend;
use proactor::{ConnectionKey, Payload};

use super::{Layer, Worker};
use crate::catch_panic::contain;
use crate::handler::Handler;
use crate::mailbox::{Audience, Mail};
use crate::observe::Event;
use crate::session::{Listing, Sent, SessionCommand};

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    pub(super) fn take_mail(&mut self) {
        // Mail that was taken before a panic goes first: the doorbell rings once for what is posted after that.
        self.serve_mail();
        if self.shared.doorbell.take() {
            self.arriving = self.arrivals.queue.len();
            self.mailbox.mail.take_all(&mut self.mail);
            self.serve_mail();
        }
    }

    fn serve_mail(&mut self) {
        self.serve_arrivals();
        while let Some(mail) = self.mail.pop_front() {
            match mail {
                Mail::Message(message) => {
                    self.worker_callback(|handler, worker| handler.on_message(worker, message));
                }
                Mail::Session(key, command) => self.obey(key, command),
                Mail::Broadcast(audience, bytes) => {
                    let keys = match audience {
                        Audience::All => self.core.sessions.keys(),
                        Audience::These(keys) => keys,
                    };
                    for key in keys {
                        self.core.send(key, Payload::Shared(bytes.clone()));
                    }
                    self.start_callback_clock();
                }
                Mail::Resolved(id, found) => self.resolved(id, found),
                Mail::List(listing) => self.list(listing),
                Mail::Drain(limit) => self.begin_drain(limit),
                Mail::Stop => self.begin_drain(Duration::ZERO),
            }
            self.flush();
        }
    }

    /// Everything has ended: the mailbox closes. Mail that was accepted before is still delivered. Connects that it asks
    /// for are refused, and answered.
    #[cold]
    pub(super) fn close_mailbox(&mut self) {
        self.turn_arrivals_away();
        self.mail.extend(self.mailbox.mail.close());
        self.catching_panics(Self::take_mail);
        // Bounded: no session is left to ask, and at most `MOST_REFUSALS` refusals in a row are answered.
        self.attempts_left = usize::MAX;
        while !self.core.connects.is_empty() {
            self.catching_panics(Self::flush);
        }
    }

    #[cold]
    fn list(&mut self, listing: Listing) {
        let (driver, core) = (&self.driver, &self.core);
        let answered =
            contain(|| listing.answer(&core.sessions, core.now, |state| driver.tcp_info(state.key)));
        if let Err(message) = answered {
            self.report_panic(None, &message);
        }
        // It was no callback's time.
        self.start_callback_clock();
    }

    fn obey(&mut self, key: ConnectionKey, command: SessionCommand) {
        match command {
            SessionCommand::Close(reason) => self.core.close(key, reason),
            SessionCommand::Abort(reason) => self.core.abort(key, reason),
            SessionCommand::AnswerWhenRoom(request) => self.core.keep_request(key, request),
            SessionCommand::Answered => self.core.answered(key),
            SessionCommand::Attach => match self.core.sessions.get_mut(key) {
                Some(state) => _ = state.handle(&self.core.directory),
                None => {
                    if let Some(handle) = self.core.directory.remove(key) {
                        handle.close(true);
                    }
                }
            },
            SessionCommand::Send(posted) => {
                let payload = Payload::from(posted);
                let posted = payload.charge();
                let sent = self.core.send(key, payload);
                if let Some(state) = self.core.sessions.get_mut(key) {
                    let charge = state.queue.charge();
                    state.handle(&self.core.directory).taken(posted, charge);
                }
                if sent != Sent::Ok {
                    self.core.report.emit(&Event::PostRefused);
                }
                self.core.answered(key);
            }
        }
    }
}
