//! The receiving half: arm, pause, resume, and wait for a block.

use std::io;

use crate::backend::Backend;
use crate::buffer::Block;
use crate::operation::{OpKey, Operation, Outcome};
use crate::socket::SocketCalls;

use super::connection::{Receive, Watch};
use super::keys::Key;
use super::{ConnectionKey, Driver, Event, Ready, Verb};
use crate::os::is_shortage;

impl<B: Backend> Driver<B> {
    /// Receives from now on, until it is paused or the stream ends. Ends a [`watch`](Self::watch). Idempotent.
    pub fn receive(&mut self, connection: ConnectionKey) {
        let Some(state) = self.connections.get_mut(connection.0) else { return };
        if !state.is_open() {
            return;
        }
        let receive = state.receive;
        if state.watch != Watch::Off {
            self.end_watch(connection.0);
        }
        match receive {
            Receive::Idle => self.arm_receive(connection.0),
            Receive::Cancelling { op, .. } => {
                self.connection(connection.0).receive = Receive::Cancelling { op, resume: true };
            }
            Receive::Wanted | Receive::Armed(_) | Receive::Starved | Receive::Delayed | Receive::Ended => {}
        }
    }

    /// Stops receiving. Pausing is asynchronous: bytes that are already received may still be delivered; then
    /// [`Event::Paused`] follows. Idempotent; nothing follows if nothing was armed.
    pub fn pause_receive(&mut self, connection: ConnectionKey) {
        let Some(state) = self.connections.get_mut(connection.0) else { return };
        match state.receive {
            Receive::Armed(op) => {
                state.receive = Receive::Cancelling { op, resume: false };
                self.cancel(op);
            }
            Receive::Cancelling { op, .. } => state.receive = Receive::Cancelling { op, resume: false },
            waiting @ (Receive::Wanted | Receive::Starved | Receive::Delayed) => {
                state.receive = Receive::Idle;
                self.leave_queue(connection.0, waiting);
                self.pause_took_effect(connection.0);
            }
            Receive::Idle | Receive::Ended => {}
        }
    }

    /// Whether a receive is wanted or not yet over.
    #[must_use]
    pub fn is_receiving(&self, connection: ConnectionKey) -> bool {
        let state = self.connections.get(connection.0).map(|state| state.receive);
        !matches!(state, None | Some(Receive::Idle | Receive::Ended))
    }

    /// Whether the peer has ended its stream, or the connection broke.
    #[must_use]
    pub fn receive_ended(&self, connection: ConnectionKey) -> bool {
        self.connections.get(connection.0).is_none_or(|state| state.receive == Receive::Ended)
    }

    fn pause_took_effect(&mut self, key: Key) {
        self.arm_watch(key);
        let state = self.connection(key);
        if !state.pause_queued {
            state.pause_queued = true;
            self.ready.push_back(Ready::Paused(ConnectionKey(key)));
        }
    }

    /// Reports a pause, unless the connection receives again or is closing by now: the report would be wrong.
    pub(super) fn still_paused(&mut self, key: Key) -> Option<Event<B::Socket>> {
        let state = self.connections.get_mut(key)?;
        state.pause_queued = false;
        let paused = state.is_open() && state.receive == Receive::Idle;
        paused.then_some(Event::Paused { connection: ConnectionKey(key) })
    }

    pub(super) fn arm_receive(&mut self, key: Key) {
        self.arm_receive_into(None, key);
    }

    fn arm_receive_into(&mut self, block: Option<Block>, key: Key) {
        let state = self.connection(key);
        debug_assert!(matches!(state.receive, Receive::Idle | Receive::Wanted | Receive::Starved));
        state.hold();
        let socket = state.handle;
        let op = self.start(key, Operation::Receive { socket, block });
        self.connection(key).receive = Receive::Armed(op);
    }

    /// Arms the receive of the connection whose event was just handled. Only now, so that what the handler sent goes
    /// out first, and a pause that it asked for needs no cancel.
    pub(super) fn arm_wanted(&mut self) {
        let Some(key) = self.rearm.take() else { return };
        let wanted = |receive| receive == Receive::Wanted;
        if self.connections.get(key).is_some_and(|state| state.is_open() && wanted(state.receive)) {
            self.arm_receive(key);
        }
    }

    /// A connection that no longer wants to receive leaves its queue: else it would take the place of one that does.
    pub(super) fn leave_queue(&mut self, key: Key, was: Receive) {
        match was {
            Receive::Starved => {
                self.starved.remove(key);
                self.reserve_for_starved();
            }
            Receive::Delayed => self.retries.forget_receive(key),
            _ => {}
        }
    }

    /// Arms the connections that found the pool empty, in order, as many as blocks came back. Each takes its block
    /// along, so no other receive can take it. Where the kernel holds blocks ready, a connection may be armed without
    /// one. It may lose those to others and queue again, but at most as often as there are such blocks: the kernel
    /// gets no new ones while connections wait.
    pub(super) fn feed_starved(&mut self) {
        if self.starved.is_empty() {
            return;
        }
        for _ in 0..self.backend.pool().available().min(self.starved.len() as u32) {
            let Some(key) = self.starved.pop_front() else { break };
            let starved = |receive| receive == Receive::Starved;
            if self.connections.get(key).is_some_and(|state| state.is_open() && starved(state.receive)) {
                let block = self.backend.pool().take();
                self.arm_receive_into(block, key);
            }
        }
        self.reserve_for_starved();
    }

    /// While connections wait, blocks that come back before the next turn are reserved for them.
    pub(super) fn reserve_for_starved(&self) {
        self.backend.pool().reserve(!self.starved.is_empty());
    }

    /// The open connection that a receive in flight belongs to.
    #[inline]
    pub(super) fn receiving(&self, op: OpKey) -> Option<ConnectionKey> {
        let entry = self.ops.get(op)?;
        debug_assert!(matches!(entry.operation, Operation::Receive { .. }), "only a receive brings bytes");
        let (key, state) = self.connections.at(entry.owner)?;
        state.is_open().then_some(ConnectionKey(key))
    }

    pub(super) fn complete_receive(
        &mut self,
        op: OpKey,
        owner: u32,
        outcome: Outcome<B::Socket>,
        more: bool,
    ) -> Option<Event<B::Socket>> {
        let key = self.owner(owner);
        let resume = self.note_completion(op, key, more);
        if self.ends_a_closing(key) {
            return None;
        }
        let connection = ConnectionKey(key);
        let event = match outcome {
            Outcome::Received(block, len) => {
                Some(Event::Received { connection, data: block.into_lease(len) })
            }
            Outcome::EndOfStream if self.broke(key) => {
                self.end_receive(key, more);
                let error = io::ErrorKind::ConnectionReset.into();
                return Some(Event::Failed { connection, verb: Verb::Receive, error });
            }
            Outcome::EndOfStream => {
                self.end_receive(key, more);
                return Some(Event::EndOfStream { connection });
            }
            Outcome::Failed(error) if is_shortage(&error) => {
                if resume {
                    self.delay_receive(key);
                    return Some(Event::Delayed { connection, verb: Verb::Receive, error });
                }
                None
            }
            Outcome::Failed(error) => {
                self.end_receive(key, more);
                return Some(Event::Failed { connection, verb: Verb::Receive, error });
            }
            Outcome::NoBlocks if !more && resume => {
                self.connection(key).receive = Receive::Starved;
                self.starved.push_back(key);
                self.reserve_for_starved();
                return None;
            }
            Outcome::NoBlocks | Outcome::Cancelled => None,
            other => unreachable!("a receive ended with {other:?}"),
        };
        if !more && resume {
            self.want_receive(key);
        } else if !more {
            // A pause took effect, possibly with a last block of data before it.
            self.pause_took_effect(key);
        }
        event
    }

    /// Removes the operation after its last completion. Returns whether the connection still wants to receive.
    #[inline]
    fn note_completion(&mut self, op: OpKey, key: Key, more: bool) -> bool {
        let state = self.connection(key);
        let resume = match state.receive {
            Receive::Armed(armed) => armed == op,
            Receive::Cancelling { resume, .. } => resume,
            _ => false,
        };
        if !more {
            state.let_go();
            state.receive = Receive::Idle;
            drop(self.ops.remove(op));
        }
        resume
    }

    fn want_receive(&mut self, key: Key) {
        self.arm_wanted();
        self.connection(key).receive = Receive::Wanted;
        self.rearm = Some(key);
    }

    /// Whether an apparent end of stream is a reset (INV-7). A kernel reports an error once. If a send gets it, even
    /// one that then reports bytes it took before, or a watch, the receive sees an end of stream. The difference:
    /// after an end of stream the peer's address is still known, after a reset it is not.
    pub(super) fn broke(&mut self, key: Key) -> bool {
        let state = self.connection(key);
        (state.send.is_some() || state.error_met)
            && self
                .connections
                .get(key)
                .is_some_and(|state| self.backend.calls().peer_addr(&state.socket).is_err())
    }

    fn end_receive(&mut self, key: Key, more: bool) {
        debug_assert!(!more, "the last completion of a receive says so");
        self.connection(key).receive = Receive::Ended;
    }
}
