//! Reports every submission and every completion to a tracer. Without one, a step costs the check of a pointer.

use std::fmt;
use std::io;

use crate::backend::Backend;
use crate::operation::{Call, OpKey, Operation, Outcome};

use super::keys::Key;
use super::{ConnectionKey, Driver};

/// Receives all steps. Called between two operations, on the driver's thread: it must be quick.
pub type Tracer = Box<dyn FnMut(&Step)>;

/// One step of a call: submitted, completed, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Step {
    /// The operation in flight; `None` for calls that are over when they return.
    pub operation: Option<OpKey>,
    /// The connection; `None` for a listener, or the driver itself.
    pub connection: Option<ConnectionKey>,
    /// Which call.
    pub call: Call,
    /// Which step.
    pub moment: Moment,
}

/// A step of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Moment {
    /// It was submitted.
    #[non_exhaustive]
    Submitted {
        /// Bytes to send; 0 for everything else.
        bytes: usize,
        /// False if its result is immediate; on IOCP, without a packet. `Completed` follows all the same.
        pending: bool,
    },
    /// Its result was taken.
    #[non_exhaustive]
    Completed {
        /// The result.
        result: TraceResult,
        /// Whether it stays in flight and completes again.
        more: bool,
    },
    /// It is being cancelled.
    Cancelling,
    /// A call that was never in flight returned.
    Returned(TraceResult),
    /// A wait began.
    Began,
    /// A wait is over.
    Ended,
}

/// A result, without its block or socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TraceResult {
    /// It was done.
    Done,
    /// How many bytes were received or sent.
    Bytes(usize),
    /// The peer sends no more.
    EndOfStream,
    /// A receive found no free block.
    NoBlocks,
    /// It was cancelled.
    Cancelled,
    /// It failed.
    Failed(io::ErrorKind),
}

/// As a clause: `done`, `12 bytes`, `end of stream`, `failed: connection reset`.
impl fmt::Display for TraceResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TraceResult::Done => "done",
            TraceResult::Bytes(1) => "1 byte",
            TraceResult::Bytes(bytes) => return write!(f, "{bytes} bytes"),
            TraceResult::EndOfStream => "end of stream",
            TraceResult::NoBlocks => "no free block",
            TraceResult::Cancelled => "cancelled",
            TraceResult::Failed(kind) => return write!(f, "failed: {kind}"),
        })
    }
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
    /// Reports every submission and every completion to `tracer` from now on; `None` ends that.
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

    /// A step of a call that has no operation in the table.
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
