//! Listeners, and the accepts that are in flight for them.

use std::io;
use std::net::SocketAddr;

use crate::backend::Backend;
use crate::operation::{Close, OpKey, Operation, Outcome, Submitted};

use super::keys::Key;
use super::{Driver, Event, ListenerKey, Ready};
use crate::os::{ACCEPT_FAILURES, concerns_the_listener};
use crate::socket::SocketCalls;

/// A listening socket and the accepts in flight for it.
pub(super) struct Listener<B: Backend> {
    pub(super) socket: B::Socket,
    pub(super) handle: B::Handle,
    /// Bounded by the backend's `accepts`.
    armed: Vec<Armed>,
    life: ListenerLife,
    /// Accepts that failed since the last connection or pause. Bounded by [`ACCEPT_FAILURES`].
    failures: u32,
    /// True exactly when its backlog may hold connections that arrived before the two socket options were set, and so
    /// have not inherited them.
    foreign: bool,
}

/// An accept in the table.
#[derive(Clone, Copy)]
struct Armed {
    op: OpKey,
    /// True exactly when it failed in the call that submitted it, and waits in the ready list.
    failed_at_once: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ListenerLife {
    Accepting,
    Paused,
    Closing,
}

impl<B: Backend> Driver<B> {
    /// Takes over a listening socket and accepts on it. Accepted connections deliver urgent data in line (RFC 6093)
    /// and send small segments at once (`TCP_NODELAY`), also if the listener was made elsewhere.
    ///
    /// # Errors
    /// If the backend cannot register it; the socket is closed then.
    pub fn listen(&mut self, socket: B::Socket) -> io::Result<ListenerKey> {
        let handle = match self.backend.adopt(&socket, self.listeners.next_index()) {
            Ok(handle) => handle,
            Err(error) => {
                self.backend.close(socket, None, Close::Listener);
                return Err(error);
            }
        };
        // If they cannot be set, urgent bytes are missing from the stream, or small answers are late; nothing else
        // changes.
        let inline = self.backend.calls().inline_urgent(&socket).unwrap_or(true);
        let foreign = !(self.backend.calls().nodelay(&socket).unwrap_or(true) && inline);
        let (armed, life) = (Vec::new(), ListenerLife::Accepting);
        let listener = Listener { socket, handle, armed, life, failures: 0, foreign };
        let key = self.listeners.insert(listener);
        self.arm_accept(key);
        Ok(ListenerKey(key))
    }

    /// Stops accepting. Connections already taken by the kernel may still be delivered.
    pub fn pause_accept(&mut self, listener: ListenerKey) {
        if let Some(state) = self.listeners.get_mut(listener.0)
            && state.life == ListenerLife::Accepting
        {
            state.life = ListenerLife::Paused;
            self.cancel_accepts(listener.0);
        }
    }

    /// Resumes accepting after a [failure](super::Event::AcceptFailed) or a [pause](Self::pause_accept).
    pub fn resume_accept(&mut self, listener: ListenerKey) {
        if let Some(state) = self.listeners.get_mut(listener.0)
            && state.life == ListenerLife::Paused
        {
            state.life = ListenerLife::Accepting;
            self.arm_accept(listener.0);
        }
    }

    /// Closes a listener: cancel, join, close, then [`Event::ListenerReleased`]. An armed multishot accept would
    /// keep the port open, so the socket is closed only when nothing is in flight for it.
    pub fn close_listener(&mut self, listener: ListenerKey) {
        if let Some(state) = self.listeners.get_mut(listener.0)
            && state.life != ListenerLife::Closing
        {
            state.life = ListenerLife::Closing;
            self.cancel_accepts(listener.0);
            self.release_listener_if_idle(listener.0);
        }
    }

    /// The address of a listener, with the port that the system chose if it was bound to port 0.
    ///
    /// # Errors
    /// If the listener is gone.
    pub fn listener_addr(&self, listener: ListenerKey) -> io::Result<SocketAddr> {
        let state = self.listeners.get(listener.0).ok_or(io::ErrorKind::NotFound)?;
        self.backend.calls().local_addr(&state.socket)
    }

    /// Submits accepts until as many are in flight as the backend wants, or one fails at once. What that failure
    /// means is decided when it is handed out; another accept would fail too.
    fn arm_accept(&mut self, key: Key) {
        let abilities = self.backend.abilities();
        let wanted = if abilities.multishot_accept { 1 } else { usize::from(abilities.accepts.max(1)) };
        while let Some(state) = self.listeners.get(key) {
            let accepting = state.life == ListenerLife::Accepting && state.armed.len() < wanted;
            if !accepting || state.armed.iter().any(|armed| armed.failed_at_once) {
                return;
            }
            let listener = state.handle;
            let op = self.ops.insert(key.index(), Operation::Accept { listener });
            let mut failed_at_once = false;
            if let Submitted::Done(outcome) = self.submit(op) {
                failed_at_once = matches!(outcome, Outcome::Failed(_));
                self.end_later(op, outcome);
            }
            let state = self.listeners.get_mut(key).expect("looked up above");
            state.armed.push(Armed { op, failed_at_once });
        }
    }

    fn cancel_accepts(&mut self, key: Key) {
        let in_flight = |state: &Listener<B>| state.armed.iter().map(|armed| armed.op).collect::<Vec<_>>();
        for op in self.listeners.get(key).map(in_flight).unwrap_or_default() {
            self.cancel(op);
        }
    }

    pub(super) fn complete_accept(
        &mut self,
        op: OpKey,
        owner: u32,
        outcome: Outcome<B::Socket>,
        more: bool,
    ) -> Option<Event<B::Socket>> {
        let key = self.listeners.key_of(owner).expect("INV-2: a listener outlives its accepts");
        let state = self.listeners.get_mut(key).expect("just found");
        let at_once = state.armed.iter().any(|armed| armed.op == op && armed.failed_at_once);
        if !more {
            state.armed.retain(|armed| armed.op != op);
            drop(self.ops.remove(op));
        }
        let listener = ListenerKey(key);
        let event = match outcome {
            Outcome::Accepted(socket, peer) => {
                state.failures = 0;
                if state.foreign {
                    let _ = self.backend.calls().inline_urgent(&socket);
                    let _ = self.backend.calls().nodelay(&socket);
                }
                Some(Event::Accepted { listener, socket, peer })
            }
            // Sockets that are turned away used up the descriptors, and some were closed just now: accepting need not
            // pause.
            Outcome::Failed(error) if self.has_made_room(&error) => None,
            Outcome::Failed(error) => self.accept_failed(key, error, at_once),
            _ => None,
        };
        if !more {
            self.arm_accept(key);
            self.release_listener_if_idle(key);
        }
        event
    }

    /// Stops accepting until it is resumed, if the error concerns the listener or too many accepts have failed in a row.
    fn accept_failed(&mut self, key: Key, error: io::Error, at_once: bool) -> Option<Event<B::Socket>> {
        let state = self.listeners.get_mut(key)?;
        if state.life != ListenerLife::Accepting {
            return None;
        }
        state.failures += 1;
        if !concerns_the_listener(&error, at_once) && state.failures < ACCEPT_FAILURES {
            // One connection was gone before it was accepted. The next one is unaffected.
            return None;
        }
        (state.life, state.failures) = (ListenerLife::Paused, 0);
        self.cancel_accepts(key);
        Some(Event::AcceptFailed { listener: ListenerKey(key), error })
    }

    fn release_listener_if_idle(&mut self, key: Key) {
        let idle = |state: &Listener<B>| state.life == ListenerLife::Closing && state.armed.is_empty();
        if self.listeners.get(key).is_some_and(idle) {
            let state = self.listeners.remove(key).expect("looked up above");
            self.backend.close(state.socket, Some(state.handle), Close::Listener);
            self.ready.push_back(Ready::ListenerReleased(ListenerKey(key)));
        }
    }
}
