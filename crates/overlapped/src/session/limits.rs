//! Limits of one session, where they differ from the server's. Few sessions have some, so they are kept in a box beside
//! the session: `worker/deadlines.rs` watches the times, `context/core.rs` reads the marks.

use std::fmt;
use std::time::Duration;

use proactor::Time;

use crate::timers::TimerId;

/// Which silence [`Handler::on_idle`](crate::Handler::on_idle) reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Idle {
    /// Nothing was received and nothing was sent: the [idle timeout](crate::Server::idle_timeout).
    Both,
    /// Nothing was received: the [read-idle timeout](crate::Server::read_idle_timeout).
    Read,
    /// Nothing was sent: the [write-idle timeout](crate::Server::write_idle_timeout).
    Write,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Idle::Both => "nothing received and nothing sent",
            Idle::Read => "nothing received",
            Idle::Write => "nothing sent",
        })
    }
}

/// What a session may run out of time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    Idle(Idle),
    FirstByte,
    Write,
    /// The end of the session itself, however busy it is. Only sessions have it, no server.
    Session,
    /// The end of an item that has begun to arrive. Only sessions have it, no server.
    Item,
}

impl Deadline {
    pub(crate) const ALL: [Deadline; 7] = [
        Deadline::Idle(Idle::Both),
        Deadline::Idle(Idle::Read),
        Deadline::Idle(Idle::Write),
        Deadline::FirstByte,
        Deadline::Write,
        Deadline::Session,
        Deadline::Item,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub(crate) const fn index(self) -> usize {
        match self {
            Deadline::Idle(idle) => idle as usize,
            Deadline::FirstByte => 3,
            Deadline::Write => 4,
            Deadline::Session => 5,
            Deadline::Item => 6,
        }
    }

    /// As a member of a set.
    pub(crate) const fn bit(self) -> u8 {
        1 << self.index()
    }
}

/// How many bytes may wait to be sent in a session: see [`Session::set_send_limits`](crate::Session::set_send_limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SendLimits {
    /// Unsent bytes at which its receive pauses: [`Server::high_water`](crate::Server::high_water).
    pub high_water: usize,
    /// Unsent bytes at which a paused receive resumes, below `high_water`:
    /// [`Server::low_water`](crate::Server::low_water).
    pub low_water: usize,
    /// Bytes that may be queued, at least `high_water` and a block of the pool, at most 1 GiB:
    /// [`Server::hard_limit`](crate::Server::hard_limit).
    pub hard_limit: usize,
}

/// The limits that were set for one session.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    times: [OwnTime; Deadline::ALL.len()],
    /// Times that were changed and not yet watched, as a set of [bits](Deadline::bit).
    changed: u8,
    /// When the session's deadline was set: it counts from then.
    pub(crate) deadline_from: Time,
    /// When the item began to arrive.
    pub(crate) item_from: Time,
    /// Instead of the server's.
    pub(crate) marks: Option<SendLimits>,
}

#[derive(Debug, Default)]
struct OwnTime {
    /// `None`: as the server has it. `Some(None)`: off.
    limit: Option<Option<Duration>>,
    /// The timer that looks at it.
    timer: Option<TimerId>,
}

impl Limits {
    /// The session's own limit: `Some(None)` if it is off, `None` if the server's counts.
    pub(crate) fn time(&self, deadline: Deadline) -> Option<Option<Duration>> {
        self.times[deadline.index()].limit
    }

    pub(crate) fn set_time(&mut self, deadline: Deadline, limit: Option<Duration>) {
        self.times[deadline.index()].limit = Some(limit);
        self.changed |= deadline.bit();
    }

    /// The limits changed since the last call.
    pub(crate) fn take_changed(&mut self) -> impl Iterator<Item = Deadline> + use<> {
        let changed = std::mem::take(&mut self.changed);
        Deadline::ALL.into_iter().filter(move |deadline| changed & deadline.bit() != 0)
    }

    pub(crate) fn timer(&mut self, deadline: Deadline) -> &mut Option<TimerId> {
        &mut self.times[deadline.index()].timer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_deadline_has_a_place_of_its_own() {
        for (at, deadline) in Deadline::ALL.into_iter().enumerate() {
            assert_eq!((deadline.index(), deadline.bit()), (at, 1 << at));
        }
    }

    #[test]
    fn only_what_was_changed_is_watched_again() {
        let mut limits = Limits::default();
        assert_eq!(limits.time(Deadline::Write), None);
        limits.set_time(Deadline::Write, None);
        limits.set_time(Deadline::Session, Some(Duration::from_secs(1)));
        assert_eq!(limits.time(Deadline::Write), Some(None));
        assert_eq!(limits.take_changed().collect::<Vec<_>>(), [Deadline::Write, Deadline::Session]);
        assert_eq!(limits.take_changed().count(), 0);
    }
}
