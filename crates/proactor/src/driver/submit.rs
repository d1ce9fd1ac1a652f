//! How every operation is submitted and cancelled.

use crate::backend::Backend;
use crate::operation::{Completion, OpKey, Operation, Outcome, Submitted};

use super::keys::Key;
use super::{Driver, Moment, Ready};

impl<B: Backend> Driver<B> {
    /// Puts an operation into the table and submits it. An immediate result goes to the ready list, so that it is
    /// handled like any other, in order.
    pub(super) fn start(&mut self, owner: Key, operation: Operation<B::Handle>) -> OpKey {
        let op = self.ops.insert(owner.index(), operation);
        self.restart(op);
        op
    }

    pub(super) fn restart(&mut self, op: OpKey) {
        if let Submitted::Done(outcome) = self.submit(op) {
            self.end_later(op, outcome);
        }
    }

    /// Queues the outcome of an operation that gets no completion, to be handled like one, in order.
    pub(super) fn end_later(&mut self, op: OpKey, outcome: Outcome<B::Socket>) {
        self.ready.push_back(Ready::Completion(Completion { key: op, outcome, more: false }));
    }

    pub(super) fn submit(&mut self, op: OpKey) -> Submitted<B::Socket> {
        let entry = self.ops.get_mut(op).expect("an operation is submitted while it is in the table");
        // SAFETY: the entry lies in a chunk of the table that never moves, and is removed only when the last
        // completion was taken (INV-1), or leaked with the table (INV-10). Its sockets are closed only by
        // `release_if_joined`, when nothing is in flight for their connection (INV-2).
        let submitted = unsafe { self.backend.submit(op, entry.operation, entry.header) };
        if self.tracer.is_some() {
            self.trace_submission(op, matches!(submitted, Submitted::Pending));
        }
        submitted
    }

    /// Cancels an operation.
    pub(super) fn cancel(&mut self, op: OpKey) {
        if self.tracer.is_some() {
            self.trace_operation(op, Moment::Cancelling);
        }
        if !self.retries.is_empty() && self.retries.take_send(op) {
            return self.end_later(op, Outcome::Cancelled);
        }
        self.backend.cancel(op, &mut self.ops);
    }
}
