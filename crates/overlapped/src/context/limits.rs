//! Limits of one session: set in its callbacks, instead of the server's.

use std::time::Duration;

use proactor::{ConnectionKey, Time};

use super::{Core, Session};
use crate::error::Result;
use crate::session::{Deadline, Idle, Limits, Pending, SendLimits, SessionState};

/// Shorter times of a session count as this.
const SHORTEST: Duration = Duration::from_millis(1);

/// # Limits of one session
///
/// They are used instead of the server's, from now on until the session ends. `None` turns a timeout off; a value below
/// 1 ms counts as 1 ms. A timeout counts from the last activity, not from this call. It is noticed late by at most one
/// part in 32, and by at most 1 s.
impl<S> Session<'_, S> {
    /// Sets the session's [idle timeout](crate::Server::idle_timeout).
    pub fn set_idle_timeout(&mut self, after: impl Into<Option<Duration>>) {
        self.set_time(Deadline::Idle(Idle::Both), after.into());
    }

    /// Sets the session's [read-idle timeout](crate::Server::read_idle_timeout).
    pub fn set_read_idle_timeout(&mut self, after: impl Into<Option<Duration>>) {
        self.set_time(Deadline::Idle(Idle::Read), after.into());
    }

    /// Sets the session's [write-idle timeout](crate::Server::write_idle_timeout).
    pub fn set_write_idle_timeout(&mut self, after: impl Into<Option<Duration>>) {
        self.set_time(Deadline::Idle(Idle::Write), after.into());
    }

    /// Sets the session's [write timeout](crate::Server::write_timeout).
    pub fn set_write_timeout(&mut self, after: impl Into<Option<Duration>>) {
        self.set_time(Deadline::Write, after.into());
    }

    /// Closes the session gracefully when `after` has passed since this call, however busy it is, with
    /// [`CloseReason::Deadline`](crate::CloseReason::Deadline): for instance if a client has not logged in by then. A
    /// later call replaces the deadline; `None` removes it. Bytes that arrived before the deadline are handled first.
    pub fn set_deadline(&mut self, after: impl Into<Option<Duration>>) {
        let now = self.endpoints.now();
        if let Some(limits) = self.core.limits(self.key) {
            limits.deadline_from = now;
        }
        self.set_time(Deadline::Session, after.into());
    }

    /// How many unsent bytes pause this session's receive, resume it, and are the most.
    #[must_use]
    pub fn send_limits(&self) -> SendLimits {
        let own = self.core.sessions.get(self.key).and_then(SessionState::own_marks);
        own.unwrap_or_else(|| self.core.config.send_limits())
    }

    /// Changes how many unsent bytes pause this session's receive, resume it, and are the most. A
    /// [handle](Self::handle) that was made before keeps the earlier hard limit for its own check.
    ///
    /// ```
    /// # use overlapped::Session;
    /// # fn subscribed<S>(session: &mut Session<'_, S>) -> overlapped::Result<()> {
    /// let mut limits = session.send_limits();
    /// limits.high_water = 1 << 20;
    /// limits.hard_limit = 8 << 20;
    /// session.set_send_limits(limits)
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for values that make no sense, as at the start of a server; then nothing
    /// is changed.
    pub fn set_send_limits(&mut self, limits: SendLimits) -> Result<()> {
        limits.check(self.core.config.pool.block_len as usize)?;
        self.core.set_marks(self.key, limits);
        Ok(())
    }

    /// From `from` on, an item may take this long to arrive; from the end of the session's last pause on, if that was later.
    pub(crate) fn limit_item(&mut self, from: Time, limit: Option<Duration>) {
        if let Some(limits) = self.core.limits(self.key) {
            let is_running = limits.time(Deadline::Item).flatten().is_some();
            limits.item_from = if is_running { limits.item_from.max(from) } else { from };
        }
        self.set_time(Deadline::Item, limit);
    }

    fn set_time(&mut self, deadline: Deadline, limit: Option<Duration>) {
        let key = self.key;
        if let Some(limits) = self.core.limits(key) {
            limits.set_time(deadline, limit.map(|limit| limit.max(SHORTEST)));
            self.core.relimited.push(key);
        }
    }
}

impl Core {
    /// The own limits of a session, if it has not begun to close.
    fn limits(&mut self, key: ConnectionKey) -> Option<&mut Limits> {
        let state = self.sessions.get_mut(key).filter(|state| state.is_live())?;
        Some(state.limits.get_or_insert_default())
    }

    fn set_marks(&mut self, key: ConnectionKey, marks: SendLimits) {
        let Some(limits) = self.limits(key) else { return };
        limits.marks = Some(marks);
        let Some(state) = self.sessions.get_mut(key) else { return };
        state.pending.add(Pending::GUARDED);
        if state.queue.bytes() >= marks.high_water {
            state.pending.add(Pending::WRITABLE);
            self.now_full(key);
        }
        // It may be low now.
        self.touch(key);
    }
}
