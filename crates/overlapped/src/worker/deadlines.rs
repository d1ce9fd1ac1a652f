//! Deadlines of sessions: idle, first byte, write, linger and connect. Per message they cost a store and a test of a
//! flag: the session notes when something last happened, and a timer looks at that note when the deadline would have passed
//! otherwise.
//!
//! A deadline is judged only after everything that had arrived was received, and after the system was asked: a process that
//! was stopped, or a callback that blocked, must not close the sessions whose bytes wait in a socket, in a completion
//! queue, or for a free block.
//!
//! A worker wakes for a deadline only if one can have passed: with no send in flight it does not wake for the write
//! deadline. Memory is bounded by the sessions that were open at one time, however many come and go: a timer belongs to
//! a slot, and looks at the session that lives there when it fires.

use std::collections::VecDeque;
use std::time::Duration;

use proactor::backend::Backend;
use proactor::{ConnectionKey, Delivery, Time};

use super::{Layer, Worker};
use crate::config::Config;
use crate::connect::ConnectId;
use crate::handler::Handler;
use crate::session::{CloseReason, Deadline, Idle, Origin, Pending, Phase, SessionState};
use crate::timers::Wheel;

/// A deadline is noticed late by at most this part of itself, so that many sessions are looked at together.
const PARTS: u32 = 32;
const LATEST: Duration = Duration::from_secs(1);
/// Looks at a send in flight per write timeout: the system reports its progress only when it is asked, so a stalled peer is
/// noticed late by up to one such part.
const WRITE_LOOKS: u32 = 4;
/// A judgement is delayed by one turn for this number of sessions, until everything that had arrived was received; even
/// from a kernel that always has more, what is older has been received by then.
const SESSIONS_PER_TURN: usize = 16;

impl Deadline {
    /// The session's own limit, or the server's.
    fn limit(self, state: &SessionState, config: &Config) -> Option<Duration> {
        if let Some(own) = state.limits.as_ref().and_then(|limits| limits.time(self)) {
            return own;
        }
        match self {
            Deadline::Idle(Idle::Both) => config.idle_timeout,
            Deadline::Idle(Idle::Read) => config.read_idle_timeout,
            Deadline::Idle(Idle::Write) => config.write_idle_timeout,
            Deadline::FirstByte => config.first_byte_timeout,
            Deadline::Write => config.write_timeout,
            Deadline::Session | Deadline::Item => None,
        }
    }

    /// What it counts from in a session; `None` if it does not apply, and will not before something else happens.
    fn since(self, state: &SessionState) -> Option<Time> {
        let reported = |idle: Idle| state.reported_idle[idle as usize];
        // A session that is kept from receiving is not silent by its peer's doing.
        let receives = state.is_live() && !state.is_paused() && !state.is_held_by_another();
        match self {
            Deadline::Idle(idle @ Idle::Both) => receives
                .then(|| state.received_at.max(state.send_since).max(state.moved_at).max(reported(idle))),
            Deadline::Idle(idle @ Idle::Read) => {
                (receives && !state.peer_finished()).then(|| state.received_at.max(reported(idle)))
            }
            Deadline::Idle(idle @ Idle::Write) => (state.phase() == Phase::Open)
                .then(|| state.send_since.max(state.moved_at).max(reported(idle))),
            // The peer of an outbound session may wait for the first request.
            Deadline::FirstByte => {
                let accepted = matches!(state.origin, Origin::Accepted { .. });
                (state.is_live() && !state.has_spoken() && accepted).then_some(state.opened_at)
            }
            // In these phases, queued bytes may wait for a peer that does not read.
            Deadline::Write => (state.phase().is_sending() && state.queue.is_in_flight())
                .then_some(state.send_since.max(state.moved_at)),
            Deadline::Session => {
                state.limits.as_ref().filter(|_| state.is_live()).map(|limits| limits.deadline_from)
            }
            // A session that is kept from receiving is not slow by its peer's doing.
            Deadline::Item => state
                .limits
                .as_ref()
                .filter(|_| state.is_live() && state.may_go_on())
                .map(|limits| limits.item_from),
        }
    }

    /// Whether bytes of the peer that were not received yet would end the silence.
    fn is_about_receiving(self) -> bool {
        matches!(self, Deadline::Idle(Idle::Both | Idle::Read) | Deadline::FirstByte)
    }

    /// Whether the system knows more about what was sent.
    fn is_about_sending(self) -> bool {
        matches!(self, Deadline::Idle(Idle::Both | Idle::Write) | Deadline::Write)
    }

    /// When it is looked at next, if it counts from `since`.
    fn look_at(self, now: Time, since: Time, limit: Duration) -> Time {
        let over = coarse(since, limit);
        if self == Deadline::Write { over.min(coarse(now, limit / WRITE_LOOKS)) } else { over }
    }
}

/// A deadline that may have passed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Overdue {
    /// One of the session that lives in a slot.
    Slot(usize, Deadline),
    /// One for which this session has a limit of its own.
    Own(ConnectionKey, Deadline),
    /// A lingering session has waited for its peer's FIN.
    Linger(ConnectionKey),
    /// A connect has taken its time.
    Connect(ConnectId),
}

/// When which slot is to be looked at.
#[derive(Default)]
pub(super) struct Deadlines {
    silence: Wheel<Overdue>,
    /// Apart, because the worker does not wake for it while no send is in flight.
    writes: Wheel<Overdue>,
    /// For each slot the deadlines that have a timer for it. With one limit for all, a timer that was set for an
    /// earlier session of the slot is never too late for a later one.
    watched: Vec<u8>,
    /// Noticed in this turn.
    passed: VecDeque<Overdue>,
    /// Noticed in an earlier turn, and not judged yet.
    overdue: VecDeque<Overdue>,
    /// When those were noticed. Judged by this time and not by the present one: the process may have been stopped since.
    noticed_at: Time,
    /// For how many turns judging was delayed.
    put_off: usize,
}

impl Deadlines {
    /// When a slot must be looked at next; `can_stall` says whether any send is in flight.
    pub(super) fn next(&self, can_stall: bool) -> Option<Time> {
        let writes = self.writes.next().filter(|_| can_stall);
        self.silence.next().into_iter().chain(writes).min()
    }

    /// Whether a deadline has passed and was not judged yet: the worker must not sleep.
    pub(super) fn has_overdue(&self) -> bool {
        !self.overdue.is_empty() || !self.passed.is_empty()
    }

    /// A linger or connect deadline has passed: it is judged with the others.
    pub(super) fn has_passed(&mut self, overdue: Overdue) {
        self.passed.push_back(overdue);
    }

    /// A session begins.
    pub(super) fn begin(&mut self, state: &mut SessionState, config: &Config) {
        let slot = state.key.index();
        if self.watched.len() <= slot {
            self.watched.resize(slot + 1, 0);
        }
        if config.write_timeout.is_some() && self.watched[slot] & Deadline::Write.bit() == 0 {
            state.pending.add(Pending::WRITE_TIMER);
        }
        let now = state.opened_at;
        for deadline in Deadline::ALL {
            if deadline != Deadline::Write {
                self.watch(deadline, state, config, now);
            }
        }
    }

    /// Sets a timer for a slot, to look at its session when its deadline may have passed.
    pub(super) fn watch(&mut self, deadline: Deadline, state: &mut SessionState, config: &Config, now: Time) {
        let slot = state.key.index();
        let is_own = has_own(state, deadline);
        if !is_own && self.watched[slot] & deadline.bit() != 0 {
            return;
        }
        let Some((since, limit)) = deadline.since(state).zip(deadline.limit(state, config)) else { return };
        let at = deadline.look_at(now, since, limit);
        if deadline == Deadline::Write {
            state.pending.remove(Pending::WRITE_TIMER);
        }
        if is_own {
            self.forget_own(deadline, state);
            let id = self.wheel(deadline).set(at, Overdue::Own(state.key, deadline));
            *state.limits.get_or_insert_default().timer(deadline) = Some(id);
        } else {
            self.watched[slot] |= deadline.bit();
            self.wheel(deadline).set(at, Overdue::Slot(slot, deadline));
        }
    }

    fn wheel(&mut self, deadline: Deadline) -> &mut Wheel<Overdue> {
        if deadline == Deadline::Write { &mut self.writes } else { &mut self.silence }
    }

    /// A limit of a session's own was changed: its timer is set anew.
    fn watch_again(&mut self, deadline: Deadline, state: &mut SessionState, config: &Config, now: Time) {
        self.forget_own(deadline, state);
        if deadline == Deadline::Write {
            state.pending.remove(Pending::WRITE_TIMER);
            if deadline.limit(state, config).is_some() {
                state.pending.add(Pending::WRITE_TIMER);
            }
        }
        self.watch(deadline, state, config, now);
    }

    /// Cancels the timer of a session's own limit.
    fn forget_own(&mut self, deadline: Deadline, state: &mut SessionState) {
        if let Some(id) = state.limits.as_mut().and_then(|limits| limits.timer(deadline).take()) {
            self.wheel(deadline).cancel(id);
        }
    }

    /// How many timers are set.
    #[cfg(test)]
    pub(super) fn timers(&self) -> usize {
        self.silence.len() + self.writes.len()
    }

    /// A session has ended: the timers of its own limits are cancelled.
    pub(super) fn forget(&mut self, state: &mut SessionState) {
        if state.limits.is_some() {
            Deadline::ALL.into_iter().for_each(|deadline| self.forget_own(deadline, state));
        }
    }
}

/// Whether a session has a limit of its own. Then only the timer of that limit counts, and not its slot's: it may be due
/// earlier, and it is gone with the session.
fn has_own(state: &SessionState, deadline: Deadline) -> bool {
    state.limits.as_ref().is_some_and(|limits| limits.time(deadline).is_some())
}

/// A time at or after `since` + `limit`: the same for sessions whose deadlines are close together.
fn coarse(since: Time, limit: Duration) -> Time {
    let step = (limit / PARTS).clamp(Duration::from_millis(1), LATEST).as_nanos() as u64;
    Time::from_nanos((since + limit).as_nanos().div_ceil(step).saturating_mul(step))
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    pub(super) fn look_at_deadlines(&mut self) {
        if !self.deadlines.overdue.is_empty() && self.may_judge() {
            self.judge_overdue();
        }
        let now = self.core.now;
        let Deadlines { silence, writes, passed, overdue, noticed_at, .. } = &mut self.deadlines;
        silence.take_due(now, passed);
        writes.take_due(now, passed);
        if overdue.is_empty() {
            *noticed_at = now;
            overdue.append(passed);
        }
    }

    fn judge_overdue(&mut self) {
        while let Some(overdue) = self.deadlines.overdue.pop_front() {
            match overdue {
                Overdue::Slot(slot, deadline) => {
                    self.deadlines.watched[slot] &= !deadline.bit();
                    let state = self.core.sessions.at(slot).filter(|state| !has_own(state, deadline));
                    if let Some(key) = state.map(|state| state.key) {
                        self.judge(key, deadline);
                    }
                }
                Overdue::Own(key, deadline) => self.judge(key, deadline),
                Overdue::Linger(key) => self.linger_is_over(key),
                Overdue::Connect(id) => self.connect_took_too_long(id),
            }
            self.flush();
        }
    }

    /// Whether everything that had arrived was taken in. If not, another turn takes more, without sleeping.
    fn may_judge(&mut self) -> bool {
        let enough = 2 + self.core.sessions.len() / SESSIONS_PER_TURN;
        let may = self.driver.caught_up() || self.deadlines.put_off >= enough;
        self.deadlines.put_off = if may { 0 } else { self.deadlines.put_off + 1 };
        may
    }

    /// Ends a session, or reports it, if its deadline has passed. If it has not, the session is looked at again.
    fn judge(&mut self, key: ConnectionKey, deadline: Deadline) {
        if self.has_passed(key, deadline) == Some(true) {
            self.over(key, deadline);
        } else if let Some(state) = self.core.sessions.get_mut(key) {
            self.deadlines.watch(deadline, state, &self.core.config, self.core.now);
        }
    }

    /// Whether a deadline has passed; `None` if it does not apply.
    fn has_passed(&mut self, key: ConnectionKey, deadline: Deadline) -> Option<bool> {
        let now = self.deadlines.noticed_at;
        let state = self.core.sessions.get_mut(key)?;
        let limit = deadline.limit(state, &self.core.config)?;
        if deadline == Deadline::Write {
            state.pending.add(Pending::WRITE_TIMER);
        }
        let since = deadline.since(state)?;
        let asks_early = deadline == Deadline::Write && now.since(since) >= limit / (2 * WRITE_LOOKS);
        if now.since(since) >= limit || asks_early {
            self.ask_the_system(key, deadline);
        }
        let since = deadline.since(self.core.sessions.get(key)?)?;
        Some(now.since(since) >= limit)
    }

    /// Watches the limits of their own that sessions were given since the last turn.
    pub(super) fn watch_own_limits(&mut self) {
        while let Some(key) = self.core.relimited.pop() {
            let Some(state) = self.core.sessions.get_mut(key) else { continue };
            let Some(changed) = state.limits.as_mut().map(|limits| limits.take_changed()) else { continue };
            for deadline in changed {
                self.deadlines.watch_again(deadline, state, &self.core.config, self.core.now);
            }
        }
    }

    /// Asks the system about a session: bytes that wait to be received, and bytes that the peer's system has acknowledged.
    fn ask_the_system(&mut self, key: ConnectionKey, deadline: Deadline) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        if matches!(deadline, Deadline::Idle(Idle::Both | Idle::Read)) && state.answers_owed() > 0 {
            // Its peer waits for us.
            state.received_at = self.core.now;
            return;
        }
        if deadline == Deadline::Item && self.driver.unread(key) > 0 {
            // More of it has arrived, and waits for a block, or for this session's turn.
            if let Some(limits) = &mut state.limits {
                limits.item_from = self.core.now;
            }
            return;
        }
        if deadline.is_about_receiving() && !state.held_back && self.driver.unread(key) > 0 {
            // They wait for a block, or for this session's turn.
            state.peer_has_spoken(self.core.now);
            return;
        }
        if deadline == Deadline::FirstByte && self.driver.unread(key) > 0 {
            // The session is paused, so they were not received.
            state.peer_has_spoken(state.received_at);
        }
        if !deadline.is_about_sending() {
            return;
        }
        let Delivery { unacknowledged, acknowledged, last } =
            self.driver.delivery(key).unwrap_or(Delivery { unacknowledged: 0, acknowledged: 0, last: None });
        let moved = self.driver.send_progress(key) as u64 + acknowledged;
        let has_moved = std::mem::replace(&mut state.moved, moved) != moved;
        if state.queue.is_in_flight() || unacknowledged > 0 {
            // The time of the progress is unknown: at the latest now.
            state.moved_at = if has_moved { self.core.now } else { state.moved_at };
        } else if let Some(last) = last {
            // Everything was acknowledged at that time.
            state.moved_at = state.moved_at.max(self.core.now.before(last));
        }
    }

    fn over(&mut self, key: ConnectionKey, deadline: Deadline) {
        match deadline {
            Deadline::FirstByte => self.core.close(key, CloseReason::FirstByteTimeout),
            Deadline::Write => self.core.abort(key, CloseReason::WriteTimeout),
            Deadline::Session => self.core.close(key, CloseReason::Deadline),
            Deadline::Item => self.core.close(key, CloseReason::ItemTimeout),
            Deadline::Idle(idle) => {
                let now = self.core.now;
                if let Some(state) = self.core.sessions.get_mut(key) {
                    // A session that its handler keeps, and that stays silent, is reported again after the same time.
                    state.reported_idle[idle as usize] = now;
                    self.deadlines.watch(deadline, state, &self.core.config, now);
                }
                self.callback(key, |handler, session, state| handler.on_idle(session, state, idle));
                // It was open until now, so only this callback can have closed it.
                if let Some(state) = self.core.sessions.get_mut(key) {
                    state.was_closed_when_idle();
                }
            }
        }
    }

    /// The linger timeout of a session is over. Unread bytes would turn the close into a reset (INV-8): they are received
    /// first, for at most the same time again, because a peer may go on sending for ever.
    fn linger_is_over(&mut self, key: ConnectionKey) {
        let core = &mut self.core;
        let (now, limit) = (core.now, core.config.linger_timeout);
        let Some(state) = core.sessions.get_mut(key) else { return };
        if state.phase() == Phase::AwaitFin && self.driver.unread(key) > 0 {
            if state.moved_at < state.send_since {
                state.moved_at = now;
            }
            if now.since(state.moved_at) < limit {
                let soon = now + limit / PARTS;
                return state.timers.get_or_insert_default().set_linger(&mut core.timers, key, soon);
            }
        }
        self.end_linger(key);
    }
}
