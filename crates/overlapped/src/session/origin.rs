//! Where a session came from.

/// Where a session came from: a listener accepted it, or the program connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// It was accepted.
    Accepted {
        /// The token of its listener: see [`Server::listener_token`](crate::Server::listener_token). 0 by default.
        listener: u64,
    },
    /// It is outbound.
    Connected {
        /// The token that was given to [`connect`](crate::WorkerContext::connect).
        token: u64,
    },
}

impl Origin {
    /// The token of an outbound session. `None` for an accepted one.
    #[must_use]
    pub fn token(self) -> Option<u64> {
        match self {
            Origin::Connected { token } => Some(token),
            Origin::Accepted { .. } => None,
        }
    }

    /// The token of the listener that accepted the session. `None` for an outbound one.
    #[must_use]
    pub fn listener(self) -> Option<u64> {
        match self {
            Origin::Accepted { listener } => Some(listener),
            Origin::Connected { .. } => None,
        }
    }
}
