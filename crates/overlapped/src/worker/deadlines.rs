//! Idle, first-byte and write deadlines. Per message they cost a store and a look at a flag: what a deadline counts
//! from is noted in the session, and looked at when it would have been over, had nothing happened since.
//!
//! A worker is woken for a deadline only where one can be over: with no send in flight nobody wakes for the write
//! deadline. And what is kept is bounded by the sessions there were at a time, however many come and go: a timer
//! belongs to a slot, and looks at whoever lives there by then.

use std::collections::VecDeque;
use std::time::Duration;

use proactor::backend::Backend;
use proactor::{ConnectionKey, Time};

use super::{Layer, Worker};
use crate::config::Config;
use crate::handler::Handler;
use crate::session::{CloseReason, Phase, SessionState};
use crate::timers::Wheel;

/// A deadline is noticed at most this part of itself late, so that many sessions are looked at together.
const PARTS: u32 = 32;
const LATEST: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    Idle,
    FirstByte,
    Write,
}

impl Deadline {
    fn bit(self) -> u8 {
        1 << self as u8
    }

    fn limit(self, config: &Config) -> Option<Duration> {
        match self {
            Deadline::Idle => config.idle_timeout,
            Deadline::FirstByte => config.first_byte_timeout,
            Deadline::Write => config.write_timeout,
        }
    }

    /// What it counts from in a session; `None` if it does not apply, and will not before something else happens.
    fn since(self, state: &SessionState) -> Option<Time> {
        match self {
            Deadline::Idle => state.is_live().then_some(state.active_at),
            Deadline::FirstByte => (state.is_live() && state.received == 0).then_some(state.opened_at),
            // In these phases, bytes wait for a peer that does not read them.
            Deadline::Write => {
                (state.phase <= Phase::Finishing && state.queue.is_in_flight()).then_some(state.send_since)
            }
        }
    }
}

/// When which slot is to be looked at.
#[derive(Default)]
pub(super) struct Deadlines {
    silence: Wheel<(usize, Deadline)>,
    /// Apart, because it wakes nobody while no send is in flight.
    writes: Wheel<(usize, Deadline)>,
    /// For each slot the deadlines that have a timer for it. With one limit for all, a timer that was set for an
    /// earlier session of the slot is never too late for a later one.
    watched: Vec<u8>,
    /// Taken and not looked at yet.
    due: VecDeque<(usize, Deadline)>,
}

impl Deadlines {
    /// When a slot must be looked at next; `can_stall` says whether any send is in flight.
    pub(super) fn next(&self, can_stall: bool) -> Option<Time> {
        let writes = self.writes.next().filter(|_| can_stall);
        self.silence.next().into_iter().chain(writes).min()
    }

    /// A session begins.
    pub(super) fn begin(&mut self, state: &mut SessionState, config: &Config) {
        let slot = state.key.index();
        if self.watched.len() <= slot {
            self.watched.resize(slot + 1, 0);
        }
        state.watched = config.write_timeout.is_none() || self.watched[slot] & Deadline::Write.bit() != 0;
        self.watch(Deadline::Idle, state, config);
        self.watch(Deadline::FirstByte, state, config);
    }

    /// Sees to it that a slot is looked at when the deadline of its session may be over.
    pub(super) fn watch(&mut self, deadline: Deadline, state: &mut SessionState, config: &Config) {
        let slot = state.key.index();
        let at = deadline.since(state).zip(deadline.limit(config)).map(|(since, limit)| coarse(since, limit));
        let Some(at) = at.filter(|_| self.watched[slot] & deadline.bit() == 0) else { return };
        self.watched[slot] |= deadline.bit();
        match deadline {
            Deadline::Idle | Deadline::FirstByte => {
                self.silence.set(at, (slot, deadline));
            }
            Deadline::Write => {
                state.watched = true;
                self.writes.set(at, (slot, deadline));
            }
        }
    }
}

/// A moment at or after `since` + `limit`, the same one for sessions whose deadlines are close together.
fn coarse(since: Time, limit: Duration) -> Time {
    let step = (limit / PARTS).clamp(Duration::from_millis(1), LATEST).as_nanos() as u64;
    Time::from_nanos((since + limit).as_nanos().div_ceil(step).saturating_mul(step))
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    pub(super) fn look_at_deadlines(&mut self) {
        let Deadlines { silence, writes, due, .. } = &mut self.deadlines;
        silence.take_due(self.core.now, due);
        writes.take_due(self.core.now, due);
        while let Some((slot, deadline)) = self.deadlines.due.pop_front() {
            self.deadlines.watched[slot] &= !deadline.bit();
            if let Some(key) = self.look_at(slot, deadline) {
                self.over(key, deadline);
            }
        }
    }

    /// The session of a slot, if its deadline is over. If it is not, the slot is looked at again.
    fn look_at(&mut self, slot: usize, deadline: Deadline) -> Option<ConnectionKey> {
        let config = &self.core.config;
        let state = self.core.sessions.at(slot)?;
        if deadline == Deadline::Write {
            state.watched = false;
        }
        let (since, limit) = deadline.since(state).zip(deadline.limit(config))?;
        if self.core.now.since(since) >= limit {
            // A large payload may take longer than that. What counts is whether any of it went out since the last look.
            let progress = self.driver.send_progress(state.key);
            // What was noted of an earlier payload says nothing of this one.
            let before = if state.send_since == state.progress_at { state.send_progress } else { 0 };
            if deadline != Deadline::Write || progress == before {
                return Some(state.key);
            }
            (state.send_progress, state.progress_at) = (progress, self.core.now);
            state.send_since = self.core.now;
        }
        self.deadlines.watch(deadline, state, config);
        None
    }

    fn over(&mut self, key: ConnectionKey, deadline: Deadline) {
        match deadline {
            Deadline::FirstByte => self.core.close(key, CloseReason::FirstByteTimeout),
            Deadline::Write => self.core.abort(key, CloseReason::WriteTimeout),
            Deadline::Idle => {
                if let Some(state) = self.core.sessions.get_mut(key) {
                    // Who is kept, and stays silent, is asked again after another such time.
                    state.active_at = self.core.now;
                    self.deadlines.watch(deadline, state, &self.core.config);
                }
                self.callback(key, H::on_idle);
                // It was open until now, so its handler closed it just there: for being silent.
                if let Some(state) = self.core.sessions.get_mut(key)
                    && state.reason == Some(CloseReason::Local)
                {
                    state.reason = Some(CloseReason::IdleTimeout);
                }
            }
        }
    }
}
