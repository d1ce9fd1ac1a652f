//! The end of a session that closes: what is queued goes out, FIN, the peer's FIN, and the connection is closed (INV-8).
//! Each step follows from the session's phase, see the table in `session/state.rs`.

use std::io;

use proactor::ConnectionKey;
use proactor::backend::Backend;

use super::{Layer, Worker};
use crate::handler::Handler;
use crate::session::{CloseReason, Phase, PhaseAction, PhaseEvent, SessionState};

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// The next step of a session that is not `Open`, after what could be sent was sent.
    pub(super) fn step_close(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get(key) else { return };
        let unsent = state.queue.bytes();
        match state.phase() {
            Phase::Open => {}
            Phase::HalfClosedLocal => {
                if unsent <= self.core.config.low_water {
                    self.core.no_longer_full(key);
                }
                // This fails only if the connection is gone, which a receive that is paused does not report.
                if unsent == 0 && self.send_fin(key).is_err() {
                    self.core.abort(key, CloseReason::Reset);
                }
            }
            Phase::AwaitSent => {
                self.core.no_longer_full(key);
                if unsent == 0 {
                    self.end_own_stream(key);
                }
            }
            Phase::AwaitFin | Phase::AwaitRelease => self.core.no_longer_full(key),
            Phase::Aborted => {
                self.driver.abort(key);
                self.core.no_longer_full(key);
            }
        }
    }

    /// Everything queued is out: FIN, then the peer's is awaited.
    fn end_own_stream(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get(key) else { return };
        // Closing the connection sends FIN, too. If the peer's FIN is here, nothing can be unread.
        let both = state.peer_finished() || self.driver.receive_ended(key) || self.send_fin(key).is_err();
        let event = if both { PhaseEvent::BothEnded } else { PhaseEvent::FinSent };
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        match state.apply(event) {
            PhaseAction::CloseConnection => self.close_connection(key),
            PhaseAction::Linger => {
                state.send_since = self.core.now;
                let until = self.driver.now() + self.core.config.linger_timeout;
                state.timers.get_or_insert_default().set_linger(&mut self.core.timers, key, until);
                self.driver.receive(key);
            }
            action => unreachable!("{event:?} leads to {action:?}"),
        }
    }

    /// Ends our stream, once.
    fn send_fin(&mut self, key: ConnectionKey) -> io::Result<()> {
        let first = self.core.sessions.get_mut(key).is_some_and(SessionState::sends_fin);
        if first { self.driver.finish(key) } else { Ok(()) }
    }

    /// The peer's FIN was awaited for long enough.
    pub(super) fn end_linger(&mut self, key: ConnectionKey) {
        if let Some(state) = self.core.sessions.get_mut(key)
            && state.apply(PhaseEvent::LingerOver) == PhaseAction::CloseConnection
        {
            self.close_connection(key);
        }
    }

    /// The last step of a graceful close. The driver reports the connection's release.
    pub(super) fn close_connection(&mut self, key: ConnectionKey) {
        self.core.cancel_timers(key);
        self.driver.close(key);
    }
}
