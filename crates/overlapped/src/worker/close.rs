//! The end of a session that closes gracefully: its FIN, the wait for the peer's, and the close of its connection.

use std::io;

use proactor::ConnectionKey;
use proactor::backend::Backend;

use super::{Layer, Worker};
use crate::handler::Handler;
use crate::session::{CloseReason, Phase};

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// Everything queued is out: FIN, then wait for the peer's (INV-8).
    pub(super) fn finish(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        // Closing sends the FIN. With the peer's already here, nothing can be unread.
        if state.peer_finished || self.driver.receive_ended(key) || self.send_fin(key).is_err() {
            return self.begin_close(key);
        }
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        state.advance(Phase::Lingering, CloseReason::Local);
        state.send_since = self.core.now;
        let until = self.driver.now() + self.core.config.linger_timeout;
        state.timers.get_or_insert_default().set_linger(&mut self.core.timers, key, until);
        self.driver.receive(key);
    }

    /// Ends our stream, once.
    pub(super) fn send_fin(&mut self, key: ConnectionKey) -> io::Result<()> {
        let Some(state) = self.core.sessions.get_mut(key) else { return Ok(()) };
        if std::mem::replace(&mut state.finished, true) { Ok(()) } else { self.driver.finish(key) }
    }

    fn begin_close(&mut self, key: ConnectionKey) {
        if let Some(state) = self.core.sessions.get_mut(key) {
            state.advance(Phase::Closing, CloseReason::Local);
            self.core.cancel_timers(key);
            self.driver.close(key);
        }
    }

    /// The peer's FIN has come, or was waited for long enough.
    pub(super) fn end_linger(&mut self, key: ConnectionKey) {
        if self.core.sessions.get(key).is_some_and(|state| state.phase == Phase::Lingering) {
            self.begin_close(key);
        }
    }
}
