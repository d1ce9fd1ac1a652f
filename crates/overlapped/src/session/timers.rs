//! The timers of one session: those its handler set, by token, and the engine's own.
//!
//! Only the ids are kept here; the timers are in the worker's wheel. Each id listed here is set there: a timer that fires
//! is removed from this list, and a session that ends cancels the rest.

use std::collections::BTreeMap;

use proactor::{ConnectionKey, Time};

use crate::timers::{Due, TimerId, Wheel};

#[derive(Default)]
pub(crate) struct SessionTimers {
    /// A tree, because a session may have thousands, under tokens that its peer has chosen.
    tokens: BTreeMap<u64, TimerId>,
    linger: Option<TimerId>,
}

impl SessionTimers {
    /// Sets the handler's timer for `token`, or moves it.
    pub(crate) fn set(&mut self, wheel: &mut Wheel<Due>, session: ConnectionKey, token: u64, at: Time) {
        if !self.tokens.get(&token).is_some_and(|id| wheel.move_to(*id, at)) {
            self.tokens.insert(token, wheel.set(at, Due::Handler { session, token }));
        }
    }

    /// Cancels the handler's timer for `token`. False if none is set.
    pub(crate) fn cancel(&mut self, wheel: &mut Wheel<Due>, token: u64) -> bool {
        self.tokens.remove(&token).is_some_and(|id| wheel.cancel(id))
    }

    /// The handler's timer for `token` fires.
    pub(crate) fn fired(&mut self, token: u64) {
        self.tokens.remove(&token);
    }

    /// Sets the end of lingering.
    pub(crate) fn set_linger(&mut self, wheel: &mut Wheel<Due>, session: ConnectionKey, at: Time) {
        self.linger = Some(wheel.set(at, Due::Linger(session)));
    }

    /// Cancels all of them.
    pub(crate) fn cancel_all(self, wheel: &mut Wheel<Due>) {
        for id in self.tokens.into_values().chain(self.linger) {
            wheel.cancel(id);
        }
    }
}
