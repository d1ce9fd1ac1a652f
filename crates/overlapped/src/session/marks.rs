//! Which marks of unsent bytes hold for a session.

use super::limits::SendLimits;
use super::state::{Phase, SessionState};

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

    /// Unsent bytes at which it is low: its own mark, or the server's.
    pub(crate) fn low_water(&self, of_server: usize) -> usize {
        self.own_marks().map_or(of_server, |own| own.low_water)
    }
}
