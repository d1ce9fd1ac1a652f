//! Outbound connections: started, and answered exactly once, with a session or with a failure.

use std::io;

use proactor::ConnectionKey;
use proactor::backend::Backend;

use super::{Layer, Worker};
use crate::admission::Seat;
use crate::context::{Connect, CurrentCallback};
use crate::handler::Handler;
use crate::observe::Event;
use crate::session::Origin;
use crate::timers::{Due, TimerId};

/// An outbound connection that is not established yet.
pub(super) struct Connecting {
    token: u64,
    /// Its timer, if it has a deadline. Cancelled as soon as the connect has succeeded or failed.
    deadline: Option<TimerId>,
    seat: Seat,
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    pub(super) fn start_connects(&mut self) {
        // Connects that these callbacks ask for start in the next turn, after other work.
        for _ in 0..self.core.connects.len() {
            let Some(Connect { address, token, refusals, options }) = self.core.connects.pop_front() else {
                return;
            };
            if refusals > 0 || self.is_cut() {
                let error = io::Error::new(io::ErrorKind::ConnectionAborted, "the server is draining");
                self.answer_refused_connect(token, refusals, &error);
                continue;
            }
            let Ok(mut seat) = self.placement.admit(None) else {
                let error = io::Error::other("the session limit is reached");
                self.answer_failed_connect(token, &error);
                continue;
            };
            seat.place_on(self.core.worker as usize);
            let options = options.unwrap_or(self.core.config.options);
            match self.driver.connect_with(address, options) {
                Ok(key) => {
                    let limit = self.core.config.connect_timeout;
                    let deadline =
                        limit.map(|after| self.core.timers.set(self.driver.now() + after, Due::Connect(key)));
                    self.connecting.insert(key, Connecting { token, deadline, seat });
                }
                Err(error) => {
                    drop(seat);
                    self.answer_failed_connect(token, &error);
                }
            }
        }
    }

    pub(super) fn connected(&mut self, key: ConnectionKey) {
        let Some(Connecting { token, seat, .. }) = self.take_connecting(key) else { return };
        let peer = self.driver.peer_addr(key).ok();
        self.begin(key, Origin::Connected { token }, peer, seat);
    }

    /// Reported by the system or by our deadline; the second of the two finds nothing.
    pub(super) fn connect_failed(&mut self, key: ConnectionKey, error: &io::Error) {
        if let Some(Connecting { token, seat, .. }) = self.take_connecting(key) {
            self.driver.abort(key);
            drop(seat);
            self.answer_failed_connect(token, error);
        }
    }

    /// A connect has succeeded or failed: its deadline is cancelled. `None` after the first time.
    fn take_connecting(&mut self, key: ConnectionKey) -> Option<Connecting> {
        let connecting = self.connecting.remove(&key)?;
        if let Some(id) = connecting.deadline {
            self.core.timers.cancel(id);
        }
        Some(connecting)
    }

    fn answer_failed_connect(&mut self, token: u64, error: &io::Error) {
        self.answer_refused_connect(token, 0, error);
    }

    /// The same for a connect that a drain refused: the `refusals`th in a row.
    fn answer_refused_connect(&mut self, token: u64, refusals: u8, error: &io::Error) {
        self.core.report.emit(&Event::ConnectFailed { error });
        let callback = CurrentCallback::Answer { refusals };
        self.callback_as(callback, |handler, worker| handler.on_connect_failed(worker, token, error));
    }
}
