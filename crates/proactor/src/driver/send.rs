//! The sending half: one payload at a time, continued until all of it is sent (INV-4).

use crate::backend::Backend;
use crate::buffer::{Gather, Outgoing, Payload};
use crate::operation::{Call, Close, Completion, MOST_AT_ONCE, OpKey, Operation, Outcome, Submitted};

use super::connection::Life;
use super::keys::Key;
use super::{ConnectionKey, Driver, Event, Moment, TraceResult, Verb};
use crate::os::is_shortage;

/// What became of a payload handed to [`Driver::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sending {
    /// The kernel has all of it; the next may follow. There is no event.
    Done,
    /// [`Event::Sent`] or [`Event::Failed`] follows.
    InFlight,
    /// The connection is gone or closing; the payload was dropped.
    Closed,
}

impl<B: Backend> Driver<B> {
    /// Sends a payload. The driver keeps it until the kernel has its last byte (INV-1).
    ///
    /// # Panics
    /// If a send is in flight for this connection (INV-4): the caller keeps the queue.
    pub fn send(&mut self, connection: ConnectionKey, payload: impl Into<Payload>) -> Sending {
        let payload = payload.into();
        let Some(state) = self.connections.get_mut(connection.0) else { return Sending::Closed };
        if !state.is_open() {
            return Sending::Closed;
        }
        assert!(state.send.is_none(), "INV-4: one send at a time");
        if payload.is_empty() {
            return Sending::Done;
        }
        debug_assert!(payload.is_well_placed(), "what we allocate for a kernel starts on a cache line");
        // SAFETY: the connection is open, and with it its socket (INV-2).
        let at_once = unsafe { self.backend.send_now(state.handle, payload.as_slice()) };
        if self.tracer.is_some()
            && let Some(Ok(sent)) = &at_once
        {
            self.trace_call(Some(connection.0), Call::Send, Moment::Returned(TraceResult::Bytes(*sent)));
        }
        match at_once {
            Some(Ok(sent)) if sent == payload.len() => Sending::Done,
            Some(Ok(sent)) => self.start_send(connection, Outgoing::One(payload), sent),
            None => self.start_send(connection, Outgoing::One(payload), 0),
            Some(Err(error)) => {
                let op = self.insert_send(connection, Outgoing::One(payload), 0);
                self.end_later(op, Outcome::Failed(error));
                Sending::InFlight
            }
        }
    }

    /// Sends several payloads with one call. What the kernel does not take at once is continued. One event follows
    /// for all of them.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    pub fn send_gathered(&mut self, connection: ConnectionKey, payloads: Gather) -> Sending {
        let Some(state) = self.connections.get(connection.0) else { return Sending::Closed };
        if !state.is_open() {
            return Sending::Closed;
        }
        assert!(state.send.is_none(), "INV-4: one send at a time");
        let payloads = Outgoing::Many(Box::new(payloads));
        if payloads.is_empty() {
            return Sending::Done;
        }
        debug_assert!(payloads.is_well_placed(), "what we allocate for a kernel starts on a cache line");
        self.start_send(connection, payloads, 0)
    }

    fn insert_send(&mut self, connection: ConnectionKey, payload: Outgoing, sent: usize) -> OpKey {
        assert!(sent <= payload.len(), "INV-4: a send of {} bytes went to {sent}", payload.len());
        let state = self.connections.get_mut(connection.0).expect("looked up by the caller");
        state.hold();
        let socket = state.handle;
        let op = self.ops.insert(connection.0.index(), Operation::Send { socket, payload, sent });
        state.send = Some(op);
        self.sends += 1;
        op
    }

    fn start_send(&mut self, connection: ConnectionKey, payload: Outgoing, sent: usize) -> Sending {
        let op = self.insert_send(connection, payload, sent);
        match self.push_send(op) {
            Some(_) => {
                self.end_send(connection, op);
                Sending::Done
            }
            None => Sending::InFlight,
        }
    }

    /// How many bytes of the payload in flight were sent already; 0 without one.
    #[must_use]
    pub fn send_progress(&self, connection: ConnectionKey) -> usize {
        let op = self.connections.get(connection.0).and_then(|state| state.send);
        match op.and_then(|op| self.ops.get(op)).map(|entry| entry.operation) {
            Some(Operation::Send { sent, .. }) => *sent,
            _ => 0,
        }
    }

    /// Whether a send is in flight.
    #[must_use]
    pub fn is_sending(&self, connection: ConnectionKey) -> bool {
        self.connections.get(connection.0).is_some_and(|state| state.send.is_some())
    }

    /// Submits the rest of a payload until a submission is pending, or the kernel has taken [`MOST_AT_ONCE`] bytes.
    /// Returns the payload's length when all of it was sent. The rest is continued in the next turn, so that other
    /// connections are served in between, however large the payload and however fast its reader.
    fn push_send(&mut self, op: OpKey) -> Option<usize> {
        let mut taken = 0;
        loop {
            let outcome = match self.submit(op) {
                Submitted::Pending => return None,
                Submitted::Done(outcome) => outcome,
            };
            let Outcome::Sent(bytes) = outcome else {
                self.end_later(op, outcome);
                return None;
            };
            taken += bytes;
            if taken >= MOST_AT_ONCE && bytes < self.left_to_send(op) {
                self.next_turn.push(Completion { key: op, outcome, more: false });
                return None;
            }
            if self.tracer.is_some() {
                self.trace_operation(
                    op,
                    Moment::Completed { result: TraceResult::Bytes(bytes), more: false },
                );
            }
            let done = self.advance_send(op, bytes);
            if done.is_some() {
                return done;
            }
        }
    }

    fn left_to_send(&self, op: OpKey) -> usize {
        match self.ops.get(op).map(|entry| entry.operation) {
            Some(Operation::Send { payload, sent, .. }) => payload.len() - sent,
            _ => unreachable!("INV-1: a send stays in the table until it is over"),
        }
    }

    /// Counts `bytes` as sent. Returns the payload's length when that was the rest of it.
    fn advance_send(&mut self, op: OpKey, bytes: usize) -> Option<usize> {
        let entry = self.ops.get_mut(op).expect("INV-1: a send stays in the table until it is over");
        let Operation::Send { payload, sent, .. } = entry.operation else {
            unreachable!("only sends are advanced")
        };
        *sent += bytes;
        assert!(
            bytes > 0 && *sent <= payload.len(),
            "INV-4: a send of {} bytes went to {sent}",
            payload.len()
        );
        (*sent == payload.len()).then_some(*sent)
    }

    fn end_send(&mut self, connection: ConnectionKey, op: OpKey) {
        drop(self.ops.remove(op));
        self.sends -= 1;
        let state = self.connection(connection.0);
        state.send = None;
        state.let_go();
    }

    fn is_aborting(&mut self, key: Key) -> bool {
        self.connection(key).life == Life::Closing(Close::Reset)
    }

    pub(super) fn complete_send(
        &mut self,
        op: OpKey,
        owner: u32,
        outcome: Outcome<B::Socket>,
    ) -> Option<Event<B::Socket>> {
        let key = self.owner(owner);
        let connection = ConnectionKey(key);
        let result = match outcome {
            Outcome::Sent(bytes) => match self.advance_send(op, bytes) {
                Some(total) => Ok(total),
                None if self.is_aborting(key) => Err(None),
                // A graceful close waits for all bytes that were handed over.
                None => Ok(self.push_send(op)?),
            },
            // The rest stays in the table and is retried; the connection is unaffected.
            Outcome::Failed(error) if is_shortage(&error) && !self.is_aborting(key) => {
                self.delay_send(op);
                let event = Event::Delayed { connection, verb: Verb::Send, error };
                return self.connection(key).is_open().then_some(event);
            }
            Outcome::Failed(error) => Err(Some(error)),
            Outcome::Cancelled => Err(None),
            other => unreachable!("a send ended with {other:?}"),
        };
        self.end_send(connection, op);
        if self.ends_a_closing(key) {
            return None;
        }
        match result {
            Ok(bytes) => Some(Event::Sent { connection, bytes }),
            Err(Some(error)) => {
                self.connection(key).error_met = true;
                Some(Event::Failed { connection, verb: Verb::Send, error })
            }
            Err(None) => None,
        }
    }
}
