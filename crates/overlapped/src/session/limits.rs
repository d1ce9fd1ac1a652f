//! The limits of what may wait for a session.

/// The limits of a session's unsent bytes, as the server was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendLimits {
    /// Unsent bytes at which the session's receive pauses, and from which on it is not writable: see
    /// [`Server::high_water`](crate::Server::high_water).
    pub high_water: usize,
    /// Unsent bytes at which the receive resumes, and `on_writable` is called: see
    /// [`Server::low_water`](crate::Server::low_water).
    pub low_water: usize,
    /// Bytes that may be queued: see [`Server::hard_limit`](crate::Server::hard_limit).
    pub hard_limit: usize,
}
