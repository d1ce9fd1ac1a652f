//! What a session and a worker print of themselves: which one, and not what the engine keeps for it.

use std::fmt;

use super::{Session, WorkerContext};

impl<S> fmt::Debug for Session<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &format_args!("{}", self.id()))
            .field("token", &self.token())
            .field("unsent", &self.unsent())
            .field("is_closing", &self.is_closing())
            .finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for WorkerContext<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerContext")
            .field("index", &self.index())
            .field("sessions", &self.core.sessions.len())
            .field("is_draining", &self.is_draining())
            .finish_non_exhaustive()
    }
}
