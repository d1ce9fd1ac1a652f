//! The settings of a server that end or report sessions for their silence. `worker/deadlines.rs` watches them.

use std::time::Duration;

use super::Server;
#[cfg(doc)]
use crate::{handler::Handler, session::Idle};

/// # Timeouts of sessions
///
/// [`Session::set_idle_timeout`](crate::Session::set_idle_timeout) and its neighbours change them for one session.
impl Server {
    /// Calls [`Handler::on_idle`] with [`Idle::Both`] for sessions that have received and sent nothing for this long. Less
    /// than 1 ms is an error at the start. Default: off.
    #[must_use]
    pub fn idle_timeout(mut self, after: impl Into<Option<Duration>>) -> Server {
        self.config.idle_timeout = after.into();
        self
    }

    /// Calls [`Handler::on_idle`] with [`Idle::Read`] for sessions that have received nothing for this long, whatever they
    /// have sent: the peer is gone, or has nothing to say. A paused session, and one whose peer has ended its stream, is
    /// not read-idle. Less than 1 ms is an error at the start. Default: off.
    #[must_use]
    pub fn read_idle_timeout(mut self, after: impl Into<Option<Duration>>) -> Server {
        self.config.read_idle_timeout = after.into();
        self
    }

    /// Calls [`Handler::on_idle`] with [`Idle::Write`] for sessions that have sent nothing for this long, whatever they
    /// have received: time for a heartbeat. Less than 1 ms is an error at the start. Default: off.
    #[must_use]
    pub fn write_idle_timeout(mut self, after: impl Into<Option<Duration>>) -> Server {
        self.config.write_idle_timeout = after.into();
        self
    }

    /// Closes accepted sessions whose peer sends no byte within this time after the session began. Less than 1 ms is
    /// an error at the start. Default: off.
    #[must_use]
    pub fn first_byte_timeout(mut self, after: impl Into<Option<Duration>>) -> Server {
        self.config.first_byte_timeout = after.into();
        self
    }

    /// Aborts sessions whose peer has read nothing for this long while bytes for it were in flight. Less than 1 ms
    /// is an error at the start. Default: 60 s.
    #[must_use]
    pub fn write_timeout(mut self, after: impl Into<Option<Duration>>) -> Server {
        self.config.write_timeout = after.into();
        self
    }
}
