//! The end of a session that closes: what is queued goes out, FIN, the peer's FIN, and the connection is closed (INV-8).
//! Each step follows from the session's phase, see the table in `session/state.rs`.

use std::io;

use proactor::backend::Backend;
use proactor::{ConnectionKey, Driver};

use super::{Layer, Worker};
use crate::handler::Handler;
use crate::session::{CloseReason, Phase, PhaseAction, PhaseEvent, SessionState};

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// The next step of a session that is not `Open`, after what could be sent was sent; of one that awaits that, after all
    /// of it was.
    pub(super) fn step_close(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        let (unsent, low_water) = (state.queue.bytes(), state.low_water(self.core.config.low_water));
        match state.phase() {
            Phase::HalfClosedLocal => {
                // This fails only if the connection is gone, which a receive that is paused does not report.
                let gone = unsent == 0 && send_fin(&mut self.driver, state).is_err();
                if unsent <= low_water {
                    self.core.no_longer_full(key);
                }
                if gone {
                    self.core.abort(key, CloseReason::Reset);
                }
            }
            Phase::AwaitSent => {
                debug_assert!(unsent == 0, "INV-8: FIN goes out after the last byte");
                self.end_own_stream(key);
            }
            Phase::Aborted => {
                self.keep_tcp_info(key);
                self.driver.abort(key);
            }
            // Nothing to do now: it is open, or an event takes the next step.
            Phase::Open | Phase::AwaitFin | Phase::AwaitRelease => {}
        }
    }

    /// Everything queued is out: FIN, then the peer's is awaited.
    fn end_own_stream(&mut self, key: ConnectionKey) {
        let Some(state) = self.core.sessions.get_mut(key) else { return };
        // Closing the connection sends FIN, too. If the peer's FIN is here, nothing can be unread.
        let both = state.peer_finished()
            || self.driver.receive_ended(key)
            || send_fin(&mut self.driver, state).is_err();
        let event = if both { PhaseEvent::BothEnded } else { PhaseEvent::FinSent };
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
        self.keep_tcp_info(key);
        self.driver.close(key);
    }

    /// Asks the system about a connection before it is closed, if its `on_close` is to know.
    fn keep_tcp_info(&mut self, key: ConnectionKey) {
        if self.core.config.tcp_info_at_close
            && let Some(info) = self.driver.tcp_info(key)
        {
            self.last_tcp_infos.insert(key, info);
        }
    }
}

/// Ends our stream, once.
fn send_fin<B: Backend>(driver: &mut Driver<B>, state: &mut SessionState) -> io::Result<()> {
    if state.sends_fin() { driver.finish(state.key) } else { Ok(()) }
}
