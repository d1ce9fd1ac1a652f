//! Idle, first-byte and write deadlines. Per message they cost a store; a sweep over all sessions, a few times
//! per deadline, finds those that are over. Without such a deadline, or a send that waits, nothing is swept and
//! nobody is woken.

use std::time::Duration;

use proactor::backend::Backend;
use proactor::{ConnectionKey, Time};

use super::Worker;
use crate::config::Config;
use crate::handler::Handler;
use crate::session::{CloseReason, Phase, SessionState};

/// A deadline is noticed at most this part of itself late.
const SWEEPS_PER_DEADLINE: u32 = 8;
const SHORTEST: Duration = Duration::from_millis(10);

/// What a sweep finds over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Idle,
    FirstByte,
    Write,
}

impl Config {
    /// How often sessions are looked at. `None`: no deadline is set.
    pub(super) fn sweep_every(&self) -> Option<Duration> {
        let deadlines = [self.idle_timeout, self.first_byte_timeout, self.write_timeout];
        let shortest = deadlines.into_iter().flatten().min()?;
        Some((shortest / SWEEPS_PER_DEADLINE).max(SHORTEST))
    }

    /// Which deadline of a session is over.
    pub(super) fn overdue(&self, state: &SessionState, now: Time) -> Option<Overdue> {
        let over =
            |since: Time, limit: Option<Duration>| limit.is_some_and(|limit| now.since(since) >= limit);
        match state.phase {
            // In both, bytes wait for a peer that does not read them.
            Phase::Open | Phase::Ending | Phase::Finishing
                if state.queue.is_in_flight() && over(state.send_since, self.write_timeout) =>
            {
                Some(Overdue::Write)
            }
            Phase::Open | Phase::Ending
                if state.received == 0 && over(state.opened_at, self.first_byte_timeout) =>
            {
                Some(Overdue::FirstByte)
            }
            Phase::Open | Phase::Ending if over(state.active_at, self.idle_timeout) => Some(Overdue::Idle),
            _ => None,
        }
    }
}

impl<B: Backend, H: Handler> Worker<B, H> {
    /// When sessions must be looked at next, if anything can be over by then.
    pub(super) fn sweep_at(&self) -> Option<Time> {
        let config = &self.core.config;
        let every = config.sweep_every()?;
        let silent = config.idle_timeout.is_some() || config.first_byte_timeout.is_some();
        let possible = if silent { self.core.sessions.len() > 0 } else { self.driver.sends_in_flight() > 0 };
        possible.then(|| self.next_sweep.unwrap_or(self.core.now + every))
    }

    pub(super) fn sweep_if_due(&mut self) {
        let Some(every) = self.core.config.sweep_every() else { return };
        let now = self.core.now;
        match self.next_sweep {
            Some(at) if at > now => {}
            Some(_) => {
                self.next_sweep = Some(now + every);
                self.sweep(now);
            }
            None => self.next_sweep = Some(now + every),
        }
    }

    fn sweep(&mut self, now: Time) {
        let core = &self.core;
        let overdue =
            |(key, state): (ConnectionKey, &SessionState)| Some((key, core.config.overdue(state, now)?));
        let found: Vec<(ConnectionKey, Overdue)> = core.sessions.iter().filter_map(overdue).collect();
        for (key, overdue) in found {
            match overdue {
                Overdue::Idle => {
                    self.callback(key, H::on_idle);
                    // It was open until now, so its handler closed it just there: for being silent.
                    if let Some(state) = self.core.sessions.get_mut(key)
                        && state.reason == Some(CloseReason::Local)
                    {
                        state.reason = Some(CloseReason::IdleTimeout);
                    }
                }
                Overdue::FirstByte => self.core.close(key, CloseReason::FirstByteTimeout),
                Overdue::Write => self.core.abort(key, CloseReason::WriteTimeout),
            }
        }
    }
}
