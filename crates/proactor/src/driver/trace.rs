//! Every submission and every completion, told to whoever asked for it. Where nobody did, a step costs a look at a
//! pointer.

use std::io;

use crate::backend::{Backend, BackendKind};
use crate::operation::{OpKey, Operation, Outcome};

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

/// What a system is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Take a connection from the backlog.
    Accept,
    /// Connect.
    Connect,
    /// Take what arrives.
    Receive,
    /// Send.
    Send,
    /// Hear of a reset while nothing is received.
    Watch,
    /// Send FIN.
    Finish,
    /// Close a socket.
    Close,
    /// Wait for completions, after handing over what is batched.
    Wait,
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

impl Call {
    /// The system's own word for it.
    #[must_use]
    pub const fn word(self, backend: BackendKind) -> &'static str {
        match (backend, self) {
            (BackendKind::IoUring, Call::Accept) => "ACCEPT sqe",
            (BackendKind::IoUring, Call::Connect) => "CONNECT sqe",
            (BackendKind::IoUring, Call::Receive) => "RECV sqe",
            (BackendKind::IoUring, Call::Send) => "SEND sqe",
            (BackendKind::IoUring, Call::Watch) => "POLL_ADD sqe",
            (BackendKind::IoUring, Call::Wait) => "io_uring_enter",
            (BackendKind::Iocp, Call::Accept) => "AcceptEx",
            (BackendKind::Iocp, Call::Connect) => "ConnectEx",
            (BackendKind::Iocp, Call::Receive | Call::Watch) => "WSARecv",
            (BackendKind::Iocp, Call::Send) => "WSASend",
            (BackendKind::Iocp, Call::Close) => "closesocket",
            (BackendKind::Iocp, Call::Wait) => "GetQueuedCompletionStatusEx",
            (BackendKind::Readiness, Call::Wait) if cfg!(target_os = "linux") => "epoll_wait",
            (BackendKind::Readiness, Call::Wait) => "kevent",
            (_, Call::Accept) => "accept",
            (_, Call::Connect) => "connect",
            (_, Call::Receive) => "recv",
            (_, Call::Send) => "send",
            (_, Call::Watch) => "watch",
            (_, Call::Finish) => "shutdown",
            (_, Call::Close) => "close",
            (_, Call::Wait) => "wait",
        }
    }

    /// The system's own word for the moment when its result is taken.
    #[must_use]
    pub const fn completion_word(self, backend: BackendKind) -> &'static str {
        match (backend, self) {
            (BackendKind::IoUring, Call::Accept) => "ACCEPT cqe",
            (BackendKind::IoUring, Call::Connect) => "CONNECT cqe",
            (BackendKind::IoUring, Call::Receive) => "RECV cqe",
            (BackendKind::IoUring, Call::Send) => "SEND cqe",
            (BackendKind::IoUring, Call::Watch) => "POLL_ADD cqe",
            _ => self.word(backend),
        }
    }

    /// The system's own word for cancelling it.
    #[must_use]
    pub const fn cancel_word(backend: BackendKind) -> &'static str {
        match backend {
            BackendKind::IoUring => "ASYNC_CANCEL sqe",
            BackendKind::Iocp => "CancelIoEx",
            BackendKind::Readiness | BackendKind::Simulated => "forget",
        }
    }

    const fn of<H>(operation: &Operation<H>) -> Call {
        match operation {
            Operation::Accept { .. } => Call::Accept,
            Operation::Connect { .. } => Call::Connect,
            Operation::Receive { .. } => Call::Receive,
            Operation::Send { .. } => Call::Send,
            Operation::Watch { .. } => Call::Watch,
        }
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

    /// Asks for an operation to end early.
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
