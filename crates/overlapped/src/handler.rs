//! What a user of the engine writes.

use std::io;

use proactor::Lease;

use crate::context::{Session, WorkerContext};
use crate::session::{CloseReason, SessionId};

/// What happens in sessions. One handler is made per worker, on its thread, and its callbacks never overlap: its
/// fields need no lock, and need not be `Send`.
///
/// A callback must not block: every session of its worker waits for it. Do long work on another thread, and bring the
/// result back with [`WorkerHandle::post`](crate::WorkerHandle::post).
///
/// While a callback blocks, the sessions of its worker, their timers, deadlines, ticks and messages wait until it
/// returns. After 100 to 150 ms in one turn a worker counts as blocked. Until it turns again, new connections go to
/// workers that turn, those that were placed on it and not yet opened are placed on others, and others accept from the
/// listeners that it owns. With one worker, or with all of them blocked, new connections wait in the backlog. They
/// also wait on Windows if the blocked worker owns the listener, because the accepts in flight belong to its port, and on
/// Linux 6.0, where io_uring accepts for a worker that does not ask. Completions that the worker had harvested before the
/// callback, accepted connections among them, wait with it.
///
/// If a callback panics, its session is aborted and its state dropped, the panic is reported and counted
/// ([`Stats::panics`](crate::Stats::panics)), and the worker goes on. The handler's own fields are then as the panic
/// left them: [`on_panic`](Self::on_panic) is called to repair them. No other callback of that session follows.
pub trait Handler: Sized + 'static {
    /// What is kept for each session.
    type State: 'static;
    /// What other threads may post to this worker.
    type Message: Send + 'static;

    /// A session began, accepted or outbound. Returns its state.
    fn on_open(&mut self, session: &mut Session<'_>) -> Self::State;

    /// At least one byte arrived. TCP keeps no message boundaries: a message may come in parts, or several at once. To
    /// answer with the bytes as they are, send the lease itself; to keep them, copy them. Urgent bytes (RFC 6093) are
    /// among them, in order, and look like any other.
    fn on_data(&mut self, session: &mut Session<'_>, state: &mut Self::State, data: Lease);

    /// The peer sends no more; it may still read. By default the session is closed gracefully: everything queued
    /// goes out first. Called once; not for a session that is closing already.
    fn on_half_close(&mut self, session: &mut Session<'_>, state: &mut Self::State) {
        let _ = state;
        session.close();
    }

    /// What is unsent fell to the low-water mark, after it had been above the high-water mark or a send had been
    /// refused.
    fn on_writable(&mut self, session: &mut Session<'_>, state: &mut Self::State) {
        let _ = (session, state);
    }

    /// Nothing was received or sent for the idle timeout. By default the session is closed gracefully; to keep
    /// it, do not close it: if it stays silent, this is called again after another such time.
    fn on_idle(&mut self, session: &mut Session<'_>, state: &mut Self::State) {
        let _ = state;
        session.close();
    }

    /// A timer set with [`Session::set_timer`] is due. It is no longer set, and may be set again here.
    fn on_timer(&mut self, session: &mut Session<'_>, state: &mut Self::State, token: u64) {
        let _ = (session, state, token);
    }

    /// The server's [`tick`](crate::Server::tick) is due.
    fn on_tick(&mut self, worker: &mut WorkerContext<'_>) {
        let _ = worker;
    }

    /// A message was posted to this worker.
    fn on_message(&mut self, worker: &mut WorkerContext<'_>, message: Self::Message) {
        let _ = (worker, message);
    }

    /// A connect asked for with [`WorkerContext::connect`] failed. In a drain, connecting again fails too.
    fn on_connect_failed(&mut self, worker: &mut WorkerContext<'_>, token: u64, error: &io::Error) {
        let _ = (worker, token, error);
    }

    /// A callback panicked: the one of `session`, if it was for a session, with `message`. That session has no
    /// [`on_close`](Self::on_close); its state is dropped already. Remove it from the handler's own tables here. After a panic in `on_open`, the session never had a state; after one in `on_close`, it ended
    /// otherwise. Not called for a panic in here, nor if the server stops for the panic
    /// ([`OnPanic::StopServer`](crate::OnPanic::StopServer)).
    fn on_panic(&mut self, worker: &mut WorkerContext<'_>, session: Option<SessionId>, message: &str) {
        let _ = (worker, session, message);
    }

    /// A session ended: nothing is in flight for it, and its id finds nothing any more. Called exactly once for each
    /// session whose `on_open` returned, except after a panic ([`on_panic`](Self::on_panic) is called instead), and if
    /// the whole server broke down.
    fn on_close(
        &mut self,
        worker: &mut WorkerContext<'_>,
        session: SessionId,
        state: Self::State,
        reason: CloseReason,
    ) {
        let _ = (worker, session, state, reason);
    }
}
