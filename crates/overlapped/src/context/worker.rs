//! A worker as its handler sees it, for the time of a callback.

use bytes::Bytes;
use proactor::{ConnectionKey, Payload};

use super::core::MOST_REFUSALS;
use super::{AskedConnect, ConnectRequest, Core, Endpoints, Others, Session};
use crate::connect::Connect;
use crate::session::{Sent, SessionId};

/// A worker, within one of its callbacks: all sessions that live on it. `S` is
/// [`Handler::State`](crate::Handler::State): what the handler keeps for each session.
pub struct WorkerContext<'a, S = ()> {
    pub(crate) core: &'a mut Core,
    pub(crate) endpoints: &'a dyn Endpoints,
    pub(crate) states: Others<'a, S>,
}

impl<S> WorkerContext<'_, S> {
    /// This worker's index, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.core.worker as usize
    }

    /// A session of this worker, and its state. `None` if it has ended or lives on another worker: reach a session of
    /// another worker through a [`SessionHandle`](crate::SessionHandle) or a message.
    ///
    /// Also `None` for the session whose callback is running, because the callback's own parameter borrows that state,
    /// and for a session that has no state: its `on_open` has not returned, or a callback for it panicked.
    /// [`send`](Self::send) and [`Session::sibling`] need no state, and find these sessions, too.
    pub fn session(&mut self, id: SessionId) -> Option<(Session<'_, S>, &mut S)> {
        if !self.core.lives_here(id) {
            return None;
        }
        let (state, others) = self.states.borrow(id.key.index())?;
        Some((Session::new(self.core, self.endpoints, others, id.key), state))
    }

    /// Queues bytes for a session of this worker, as [`Session::send`] does. [`Sent::Closed`] if it has ended or lives on
    /// another worker.
    pub fn send(&mut self, id: SessionId, bytes: impl Into<Payload>) -> Sent {
        if self.core.lives_here(id) { self.core.send(id.key, bytes.into()) } else { Sent::Closed }
    }

    /// The sessions of this worker that are not closing.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionId> {
        let open = self.core.sessions.iter().filter(|(_, state)| state.is_live());
        open.map(|(key, _)| self.core.id(key)).collect()
    }

    /// Sends one buffer to every session of this worker, except `but`. Returns how many sessions queued it.
    pub fn broadcast(&mut self, bytes: &Bytes, but: Option<SessionId>) -> usize {
        let mut taken = 0;
        for id in self.sessions() {
            if Some(id) != but {
                let sent = self.core.send(id.key, Payload::Shared(bytes.clone()));
                taken += usize::from(sent == Sent::Ok);
            }
        }
        taken
    }

    /// Opens an outbound connection: a session of this worker, with the same handler. It begins with
    /// [`on_open`](crate::Handler::on_open), where [`Session::token`] is `token`. If the connect fails,
    /// [`on_connect_failed`](crate::Handler::on_connect_failed) is called with `token` instead. Exactly one of the two
    /// follows, after this callback has returned.
    ///
    /// `target` is an address, a name with a port, or a [`Connect`] with more settings: a deadline, the local address, a
    /// delay.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use overlapped::{Connect, Handler, WorkerContext};
    /// # fn connect<S>(worker: &mut WorkerContext<'_, S>, address: std::net::SocketAddr) {
    /// worker.connect(address, 1);
    /// worker.connect("db.example:5432", 2); // resolved on another thread
    /// worker.connect(Connect::to("db.example:5432").deadline(Duration::from_secs(3)), 3);
    /// # }
    /// ```
    ///
    /// The session sends small segments at once (`TCP_NODELAY`), like accepted ones.
    ///
    /// While the server [drains](Self::is_draining), only the callbacks of a session that is not closing may connect: a
    /// relay needs this for connections from the backlog. Connects that are not complete at the drain's deadline fail
    /// with [`ConnectionAborted`](std::io::ErrorKind::ConnectionAborted), whether a name is being resolved or an
    /// address is being tried. Connects that [begin later](Connect::after) fail like this when the drain begins, and
    /// whenever they are requested during the drain. In all other callbacks (`on_tick`,
    /// `on_message`, `on_close`, `on_connect_failed`, those of a closing session) no connection is made, and
    /// `on_connect_failed` follows with the same kind of error. If `on_connect_failed` requests a new connect each
    /// time, only the first 16 refusals in a row are reported. During a drain a connect in
    /// [`on_panic`](crate::Handler::on_panic) is not reported at all.
    ///
    /// If no socket listens on a port of this machine, the system may give that port to the socket that connects to it;
    /// the socket is then connected to itself. Such a connect fails as if it had been refused.
    pub fn connect(&mut self, target: impl Into<Connect>, token: u64) {
        let refusals = self.core.refusals();
        if refusals <= MOST_REFUSALS {
            let connect = target.into();
            let at = (!connect.after.is_zero()).then(|| self.endpoints.now() + connect.after);
            let asked = AskedConnect { connect, token, at, refusals, cancelled: false };
            self.core.connects.push_back(ConnectRequest::Begin(asked));
        }
    }

    /// Cancels all connects of this worker that were requested with `token` and are not answered yet. Each is answered,
    /// after this callback has returned: [`on_connect_failed`](crate::Handler::on_connect_failed) is called with
    /// [`Interrupted`](std::io::ErrorKind::Interrupted). No session begins, even if the connection has just been
    /// established. Returns how many connects are cancelled. Takes time in proportion to the connects that are not
    /// answered.
    pub fn cancel_connect(&mut self, token: u64) -> usize {
        self.core.cancel_connects(token)
    }

    /// The id of the session of this worker that [`SessionId::to_token`] was called on. The session may have ended. Of
    /// any other token: an id that probably finds no session.
    #[must_use]
    pub fn id_from_token(&self, token: u64) -> SessionId {
        self.core.id(ConnectionKey::from_u64(token))
    }

    /// Whether the server is draining: each session ends when everything that it received is answered, and only
    /// callbacks of sessions may [connect](Self::connect).
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.core.draining
    }
}

impl<S> Session<'_, S> {
    /// The worker that this session lives on, with its other sessions and their states.
    #[must_use]
    pub fn worker(&mut self) -> WorkerContext<'_, S> {
        WorkerContext { core: self.core, endpoints: self.endpoints, states: self.others.reborrow() }
    }
}
