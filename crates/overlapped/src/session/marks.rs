//! How many unsent bytes are many, in one session: as it says itself, or as its server says.

use super::{Phase, SendLimits, SessionState};

impl SessionState {
    /// Its own marks of unsent bytes, if it has some.
    pub(crate) fn own_marks(&self) -> Option<SendLimits> {
        self.limits.as_ref()?.marks
    }

    /// The same, if it still takes sends.
    #[cold]
    #[inline(never)]
    pub(crate) fn marks_if_open(&self) -> Option<SendLimits> {
        self.own_marks().filter(|_| self.phase() == Phase::Open)
    }

    /// Unsent bytes at which it is full, its own or `servers`.
    pub(crate) fn high_water(&self, servers: usize) -> usize {
        self.own_marks().map_or(servers, |own| own.high_water)
    }

    /// Unsent bytes at which it is low, its own or `servers`.
    pub(crate) fn low_water(&self, servers: usize) -> usize {
        self.own_marks().map_or(servers, |own| own.low_water)
    }
}
