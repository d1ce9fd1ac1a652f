//! What a worker that is turned by hand offers to a test, beside [`Worker::turn`].

use std::net::SocketAddr;

use proactor::backend::{Backend, Wait};
use proactor::{ConnectionKey, Time};

use super::{Layer, Worker};
use crate::context::WorkerContext;
use crate::handler::Handler;
use crate::session::SessionId;

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    pub(crate) fn handler(&self) -> &H {
        &self.handler
    }

    pub(crate) fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The handler's state of a session that lives on this worker.
    pub(crate) fn state(&self, session: SessionId) -> Option<&H::State> {
        self.core.sessions.get(session.key)?;
        self.states.get(session.key.index())?.as_ref()
    }

    /// When the worker ends its wait if nothing happens.
    pub(crate) fn next_due(&self) -> Option<Time> {
        let due = match self.wait() {
            Wait::Forever => None,
            Wait::Until(at) => Some(at),
            Wait::Poll => Some(self.core.now),
        };
        due.into_iter().chain(self.driver.next_due()).min()
    }

    /// The session between two addresses, the worker's own first.
    pub(crate) fn session_between(&self, local: SocketAddr, peer: SocketAddr) -> Option<SessionId> {
        let is_it = |key: &ConnectionKey| {
            let addresses = (self.driver.local_addr(*key).ok(), self.driver.peer_addr(*key).ok());
            addresses == (Some(local), Some(peer))
        };
        self.core.sessions.keys().into_iter().find(is_it).map(|key| self.core.id(key))
    }

    /// Calls the handler as for a message. What it asks for is submitted in the next turn.
    pub(crate) fn call_by_hand<R>(
        &mut self,
        call: impl FnOnce(&mut H, &mut WorkerContext<'_, H::State>) -> R,
    ) -> R {
        let mut returned = None;
        self.worker_callback(|handler, worker| returned = Some(call(handler, worker)));
        returned.expect("it was called")
    }
}
