//! What a user of the engine writes.

use std::io;

use proactor::Lease;

use crate::admission::{Admission, Incoming};
use crate::context::{Session, WorkerContext};
use crate::session::{Closed, Idle, SessionId};

/// The callbacks for the sessions of one worker. Each worker creates its own handler on its own thread, and its
/// callbacks never overlap, so the handler's fields need no lock and need not be `Send`.
///
/// A callback must not block: every session of its worker waits for it. Do long work on another thread, and bring the
/// result back with [`WorkerHandle::post`](crate::WorkerHandle::post) or [`Owed::send`](crate::Owed::send):
/// [`Session::owe`] says how a drain waits for it.
///
/// While a callback blocks, everything else on its worker waits: sessions, timers, deadlines, ticks, messages, and
/// completions that the worker has already taken from the kernel (accepted connections, too).
///
/// A worker that has been in one turn of its loop for 100 to 150 ms counts as blocked. Until its callback returns, new
/// connections are placed on other workers, accepted connections that the blocked worker has not opened yet move to
/// other workers, and another thread accepts from the listeners that it owns. New connections wait in the backlog:
///
/// * if the server has only one worker, or all workers are blocked;
/// * on Windows, if the blocked worker owns the listener: the accepts in flight belong to its completion port;
/// * on Linux 6.0, where io_uring accepts connections for the blocked worker, too.
///
/// If a callback panics, its session is aborted and its state dropped, the panic is reported and counted
/// ([`Stats::panics`](crate::Stats::panics)), and the worker continues. The handler's own fields may be half updated:
/// [`on_panic`](Self::on_panic) is called so that the handler can repair them. No other callback for that session
/// follows.
pub trait Handler: Sized + 'static {
    /// What is kept for each session.
    type State: 'static;
    /// What other threads may post to this worker.
    type Message: Send + 'static;

    /// The worker begins to run: called once, before every other callback. Connect from here, or keep what the worker
    /// needs. The server may not be complete yet: other workers may not have begun to run.
    fn on_start(&mut self, worker: &mut WorkerContext<'_, Self::State>) {
        let _ = worker;
    }

    /// A connection has arrived; the answer decides whether it becomes a session. By default it does, unless a limit is
    /// reached: then [`Incoming::limit_reached`] names the limit, the connection is turned away whatever the answer, and
    /// an answer that [refuses](Admission::Refuse) gives it a last word.
    ///
    /// Called once per accepted connection, by the worker that accepts it, which is the one that has the listener:
    /// [`on_open`](Self::on_open) may follow on another worker. While a callback blocks that worker, another worker
    /// takes its connections over, and is asked instead. Not called for outbound connections. If it panics, the
    /// connection is turned away.
    fn on_accept(
        &mut self,
        worker: &mut WorkerContext<'_, Self::State>,
        incoming: &Incoming<'_>,
    ) -> Admission {
        let _ = (worker, incoming);
        Admission::Admit
    }

    /// A session began, accepted or outbound. Returns its state.
    fn on_open(&mut self, session: &mut Session<'_, Self::State>) -> Self::State;

    /// At least one byte arrived. TCP keeps no message boundaries: `data` may hold a part of a message, or several
    /// messages. To send the same bytes back, send the lease itself; to keep them, copy them. Urgent bytes (RFC 6093)
    /// are delivered in order like all other bytes, and are not marked.
    fn on_data(&mut self, session: &mut Session<'_, Self::State>, state: &mut Self::State, data: Lease);

    /// The peer sends no more; it may still read. By default the session is closed gracefully
    /// ([`Session::close_when_answered`]): everything that is queued, and every answer that it owes, goes out first.
    /// Called once; not for a session that is closing already.
    fn on_half_close(&mut self, session: &mut Session<'_, Self::State>, state: &mut Self::State) {
        let _ = state;
        session.close_when_answered();
    }

    /// The number of unsent bytes has fallen to the low-water mark, after it was above the high-water mark or a send
    /// was refused.
    fn on_writable(&mut self, session: &mut Session<'_, Self::State>, state: &mut Self::State) {
        let _ = (session, state);
    }

    /// The kernel has accepted the last byte that was unsent when [`Session::notify_when_sent`] was called with `token`.
    /// The peer may not have read it yet. Not called once the session has begun to close.
    fn on_sent(&mut self, session: &mut Session<'_, Self::State>, state: &mut Self::State, token: u64) {
        let _ = (session, state, token);
    }

    /// The session was silent for the duration of an idle timeout; `idle` says which: nothing received, nothing sent, or
    /// neither. Its peer is not silent while the session [owes](Session::owe) it an answer. By default the session is
    /// closed gracefully, except for [`Idle::Write`]: only the handler knows what to send as a heartbeat. An
    /// implementation that does not close the session keeps it; this is called again after each further timeout.
    fn on_idle(&mut self, session: &mut Session<'_, Self::State>, state: &mut Self::State, idle: Idle) {
        let _ = state;
        if idle != Idle::Write {
            session.close();
        }
    }

    /// A timer set with [`Session::set_timer`] is due. It is no longer set, and may be set again here.
    fn on_timer(&mut self, session: &mut Session<'_, Self::State>, state: &mut Self::State, token: u64) {
        let _ = (session, state, token);
    }

    /// A timer set with [`WorkerContext::set_timer`] is due. It is no longer set, and may be set again here.
    fn on_worker_timer(&mut self, worker: &mut WorkerContext<'_, Self::State>, token: u64) {
        let _ = (worker, token);
    }

    /// The timer set with [`WorkerContext::set_precise_timer`] is due: [`WorkerContext::now`] is at or after its time. It is
    /// no longer set, and may be set again here. If it is set to a time that has passed, it is due
    /// when the worker next returns from the kernel, so other work goes on meanwhile.
    fn on_precise_timer(&mut self, worker: &mut WorkerContext<'_, Self::State>) {
        let _ = worker;
    }

    /// The server [drains](crate::ServerHandle::begin_drain). Called once for each session that is open when the drain
    /// begins, and for each that opens during the drain, after its `on_open`. The session still answers what it has
    /// received, and is closed then; what is sent here goes out before FIN, and before the answers that follow. A session
    /// that is closed here discards requests that have arrived but were not received yet.
    fn on_drain(&mut self, session: &mut Session<'_, Self::State>, state: &mut Self::State) {
        let _ = (session, state);
    }

    /// The server's [`tick`](crate::Server::tick) is due.
    fn on_tick(&mut self, worker: &mut WorkerContext<'_, Self::State>) {
        let _ = worker;
    }

    /// A message was posted to this worker.
    fn on_message(&mut self, worker: &mut WorkerContext<'_, Self::State>, message: Self::Message) {
        let _ = (worker, message);
    }

    /// A connect requested with [`WorkerContext::connect`] failed. The `error` is the system's; if the name could not be
    /// resolved, its message has the name. [`TimedOut`](io::ErrorKind::TimedOut): the deadline has passed;
    /// [`Interrupted`](io::ErrorKind::Interrupted): it was [cancelled](WorkerContext::cancel_connect);
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted): the server drains. During a drain, a new connect from here fails, too.
    fn on_connect_failed(
        &mut self,
        worker: &mut WorkerContext<'_, Self::State>,
        token: u64,
        error: &io::Error,
    ) {
        let _ = (worker, token, error);
    }

    /// A callback panicked with `message`. `session` is the session that the callback was for, if it was for one. That
    /// session gets no [`on_close`](Self::on_close), and its state is already dropped: remove the session from the
    /// handler's own tables here. After a panic in `on_open`, the session never had a state; after a panic in
    /// `on_close`, it had already ended. Not called after a panic in `on_panic` itself, nor if the server stops because
    /// of the panic ([`OnPanic::StopServer`](crate::OnPanic::StopServer)).
    fn on_panic(
        &mut self,
        worker: &mut WorkerContext<'_, Self::State>,
        session: Option<SessionId>,
        message: &str,
    ) {
        let _ = (worker, session, message);
    }

    /// A session ended: nothing is in flight for it, and its id is no longer valid. Called exactly once for each
    /// session whose `on_open` returned. Exceptions: after a panic [`on_panic`](Self::on_panic) is called instead, and
    /// nothing is called if the whole server fails.
    fn on_close(&mut self, worker: &mut WorkerContext<'_, Self::State>, closed: Closed, state: Self::State) {
        let _ = (worker, closed, state);
    }
}
