//! The one event enum: counters, logs and traces are fed by it and by nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proactor::{BackendKind, Step};

use crate::mailbox::WorkerShared;
use crate::panics::contain;
use crate::session::{CloseReason, SessionId};
use crate::stats::Stats;
use crate::sync::atomic::Ordering;

/// Why a connection was turned away as soon as it had arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The server has as many sessions as it may have.
    SessionLimit,
    /// Its peer's address has as many sessions as it may have.
    AddressLimit,
    /// The system could not take it: out of descriptors or memory.
    System,
}

/// Something that happened in a worker.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A session began.
    Opened {
        /// Which.
        session: SessionId,
        /// The other end, where the system still knew it.
        peer: Option<SocketAddr>,
    },
    /// A session ended.
    Closed {
        /// Which.
        session: SessionId,
        /// The other end, where the system still knew it when the session began.
        peer: Option<SocketAddr>,
        /// Why.
        reason: CloseReason,
        /// Bytes received in all.
        received: u64,
        /// Bytes sent in all.
        sent: u64,
    },
    /// A connection was turned away (see [`Server::max_sessions`](crate::Server::max_sessions)).
    Rejected {
        /// Why.
        reason: Rejection,
    },
    /// Bytes arrived for a session.
    Received {
        /// Which.
        session: SessionId,
        /// How many.
        bytes: usize,
    },
    /// Bytes of a session went out.
    Sent {
        /// Which.
        session: SessionId,
        /// How many.
        bytes: usize,
    },
    /// Bytes arrived for a session that has begun to close, and were discarded.
    Discarded {
        /// Which.
        session: SessionId,
        /// How many.
        bytes: usize,
    },
    /// Bytes were queued, or received by the kernel, and not sent when their session ended.
    Lost {
        /// Which.
        session: SessionId,
        /// How many.
        bytes: usize,
        /// Why it ended.
        reason: CloseReason,
    },
    /// Accepting pauses: the system is short of something. Told at most once per interval, counted every time.
    AcceptPaused {
        /// What the system said.
        error: &'a io::Error,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// The system had no memory for a receive or a send; both are tried again by themselves. Told at most once per
    /// interval, counted every time.
    Delayed {
        /// What the system said.
        error: &'a io::Error,
    },
    /// An outbound connection failed.
    ConnectFailed {
        /// Why.
        error: &'a io::Error,
    },
    /// A message or command found its mailbox or queue full.
    PostRefused,
    /// A handler panicked, in a callback or in a destructor of what it keeps. If it was in a callback for a session that
    /// still lives, that one is aborted.
    Panicked {
        /// In a callback for which session, if for one.
        session: Option<SessionId>,
        /// The panic's message.
        message: &'a str,
    },
    /// One step of a worker's dealings with its system: something was submitted, or has completed. Told only with
    /// [`Server::trace_operations`](crate::Server::trace_operations).
    Operation {
        /// The worker's index.
        worker: usize,
        /// Its backend: [`call_names`](crate::BackendKind::call_names) has its kernel's names of calls.
        backend: BackendKind,
        /// The session it is for, if for one; while it is being connected it is no session yet.
        session: Option<SessionId>,
        /// What is asked of the system, and how far it is.
        step: &'a Step,
    },
    /// A worker began to drain.
    Draining {
        /// Sessions it has.
        sessions: usize,
    },
    /// An address of a name is not listened on, because this machine does not have it. Told once, by the thread that
    /// starts the server. See [`Server::bind`](crate::Server::bind).
    AddressSkipped {
        /// The name with its port, as it was given.
        name: &'a str,
        /// The address that is left out.
        address: SocketAddr,
        /// What the system said.
        error: &'a io::Error,
    },
}

/// What a user observes events with. Called on workers' threads, between two operations: it must be quick.
pub(crate) type Observe = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// Who else is told of one worker's events.
#[derive(Clone)]
pub(crate) struct Observer {
    observe: Observe,
    shared: Arc<WorkerShared>,
}

impl Observer {
    pub(crate) fn new(observe: Observe, shared: Arc<WorkerShared>) -> Observer {
        Observer { observe, shared }
    }

    /// A panic of the observer is counted and ends here: it concerns neither the session nor the handler whose event
    /// this is, and the next event is told as before.
    pub(crate) fn tell(&self, event: &Event<'_>) {
        if contain(|| (self.observe)(event)).is_err() {
            self.shared.observer_panics.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where a worker's events go: its counters, and whoever observes.
pub(crate) struct Report {
    pub(crate) stats: Stats,
    pub(crate) observer: Option<Observer>,
}

impl Report {
    /// The one way an event is told. Inlined, so that of the choice by kind only the one counter is left.
    #[inline(always)]
    pub(crate) fn emit(&mut self, event: &Event<'_>) {
        self.stats.count(event);
        if let Some(observer) = &self.observer {
            observer.tell(event);
        }
    }
}

impl Stats {
    /// Counts an event.
    #[inline(always)]
    pub(crate) fn count(&mut self, event: &Event<'_>) {
        match event {
            Event::Opened { .. } => self.sessions_opened += 1,
            Event::Closed { reason, .. } => {
                self.sessions_closed += 1;
                match reason {
                    CloseReason::Reset => self.sessions_reset += 1,
                    CloseReason::Panicked => self.sessions_panicked += 1,
                    CloseReason::Overflow => self.sessions_overflowed += 1,
                    CloseReason::BadFrame => self.sessions_misframed += 1,
                    CloseReason::Drained => self.drained += 1,
                    CloseReason::Cut => self.cut += 1,
                    CloseReason::IdleTimeout
                    | CloseReason::FirstByteTimeout
                    | CloseReason::WriteTimeout
                    | CloseReason::PeerLost => {
                        self.sessions_timed_out += 1;
                    }
                    CloseReason::EndOfStream
                    | CloseReason::Local
                    | CloseReason::Aborted
                    | CloseReason::Failed(_) => {}
                }
            }
            Event::Rejected { .. } => self.sessions_rejected += 1,
            Event::Received { bytes, .. } => self.bytes_received += *bytes as u64,
            Event::Sent { bytes, .. } => self.bytes_sent += *bytes as u64,
            Event::Discarded { bytes, .. } => self.bytes_discarded += *bytes as u64,
            Event::Lost { bytes, reason: CloseReason::Cut, .. } => self.bytes_lost += *bytes as u64,
            Event::Lost { bytes, .. } => self.bytes_dropped += *bytes as u64,
            Event::AcceptPaused { .. } => self.accept_pauses += 1,
            Event::Delayed { .. } => self.delays += 1,
            Event::ConnectFailed { .. } => self.connects_failed += 1,
            Event::PostRefused => self.posts_refused += 1,
            Event::Panicked { .. } => self.panics += 1,
            Event::Draining { .. } | Event::AddressSkipped { .. } | Event::Operation { .. } => {}
        }
    }
}
