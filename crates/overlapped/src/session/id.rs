//! Naming a session.

use std::fmt;

use proactor::ConnectionKey;

/// Identifies one session of a server while that session lives. After that, a lookup by this id finds no session; it
/// never finds another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    pub(crate) worker: u32,
    pub(crate) key: ConnectionKey,
}

impl SessionId {
    /// The index of the worker that the session lives on.
    #[must_use]
    pub fn worker(self) -> usize {
        self.worker as usize
    }

    /// This id as a token, for a connect that the session asks for: [`WorkerContext::id_from_token`] gives the id back,
    /// on the same worker, when the connect is answered. So a relay needs no table of who asked for which connect.
    ///
    /// [`WorkerContext::id_from_token`]: crate::WorkerContext::id_from_token
    #[must_use]
    pub fn to_token(self) -> u64 {
        self.key.to_u64()
    }
}

impl fmt::Display for SessionId {
    /// Worker, slot and the slot's generation: `0/17.3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.worker, self.key.index(), self.key.generation())
    }
}
