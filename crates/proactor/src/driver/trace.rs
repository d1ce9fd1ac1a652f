//! Every submission and every completion, told to whoever asked for it. Where nobody did, a step costs a look at a
//! pointer.

use std::io;

use crate::backend::Backend;
use crate::operation::{Call, OpKey, Operation, Outcome};

use super::keys::Key;
use super::{ConnectionKey, Driver};

/// Who is told of steps. Called between two operations, on the driver's thread: it must be quick.
pub type Tracer = Box<dyn FnMut(&Step)>;

/// One step of a driver's dealings with its system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The operation in flight, for calls that stay in flight.
    pub operation: Option<OpKey>,
    /// The connection it is about; `None` for a listener, or the driver itself.
    pub connection: Option<ConnectionKey>,
    /// What is asked of the system.
    pub call: Call,
    /// How far it is.
    pub moment: Moment,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It was handed to the system.
    Submitted {
        /// Bytes to send; 0 for everything else.
        bytes: usize,
        /// False if its result is there at once, on IOCP without a packet. Its completion is told all the same.
        pending: bool,
    },
    /// Its result was taken.
    Completed {
        /// What it was.
        result: TraceResult,
        /// Whether it stays in flight and completes again.
        more: bool,
    },
    /// It was asked to end early.
    Cancelling,
    /// A call that never was in flight returned.
    Returned(TraceResult),
    /// A wait began.
    Began,
    /// A wait is over.
    Ended,
}

/// A result, without what it brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceResult {
    /// It was done.
    Done,
    /// So many bytes were moved.
    Bytes(usize),
    /// The peer sends no more.
    EndOfStream,
    /// A receive found no free block.
    NoBlocks,
    /// It ended early, as it was asked to.
    Cancelled,
    /// It failed.
    Failed(io::ErrorKind),
}

impl TraceResult {
    pub(super) fn of<S>(outcome: &Outcome<S>) -> TraceResult {
        match outcome {
            Outcome::Accepted(..) | Outcome::Connected => TraceResult::Done,
            Outcome::Received(_, bytes) | Outcome::Sent(bytes) => TraceResult::Bytes(*bytes),
            Outcome::EndOfStream => TraceResult::EndOfStream,
            Outcome::NoBlocks => TraceResult::NoBlocks,
            Outcome::Cancelled => TraceResult::Cancelled,
            Outcome::Failed(error) => TraceResult::Failed(error.kind()),
        }
    }

    pub(super) fn of_result<T>(result: &io::Result<T>) -> TraceResult {
        match result {
            Ok(_) => TraceResult::Done,
            Err(error) => TraceResult::Failed(error.kind()),
        }
    }
}

impl<B: Backend> Driver<B> {
    /// Has every submission and every completion told to `tracer` from now on, or nothing any more.
    pub fn set_tracer(&mut self, tracer: Option<Tracer>) {
        self.tracer = tracer;
    }

    /// A step of an operation that is in the table.
    #[cold]
    pub(super) fn trace_operation(&mut self, op: OpKey, moment: Moment) {
        let Some(entry) = self.ops.get(op) else { return };
        let (owner, call) = (entry.owner, Call::of(entry.operation));
        let connection = self.connections.key_of(owner).filter(|_| call != Call::Accept).map(ConnectionKey);
        self.tell(&Step { operation: Some(op), connection, call, moment });
    }

    #[cold]
    pub(super) fn trace_submission(&mut self, op: OpKey, pending: bool) {
        let Some(entry) = self.ops.get(op) else { return };
        let bytes = match entry.operation {
            Operation::Send { payload, sent, .. } => payload.len() - sent,
            _ => 0,
        };
        self.trace_operation(op, Moment::Submitted { bytes, pending });
    }

    /// A step that no operation in flight stands for.
    #[cold]
    pub(super) fn trace_call(&mut self, connection: Option<Key>, call: Call, moment: Moment) {
        let connection = connection.map(ConnectionKey);
        self.tell(&Step { operation: None, connection, call, moment });
    }

    fn tell(&mut self, step: &Step) {
        if let Some(tracer) = &mut self.tracer {
            tracer(step);
        }
    }
}
