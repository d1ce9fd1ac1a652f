//! The server that is watched, whatever its handler.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use overlapped::handles::{SessionCursor, SessionPage, WorkerWatch};
use overlapped::{BackendKind, PostError, ServerHandle, ServerState, Stats};

/// What is done with a page of sessions.
pub(crate) type UsePage = Box<dyn FnOnce(SessionPage) + Send>;

/// What is asked of a server.
trait Watched: Send + Sync {
    fn addresses(&self) -> &[SocketAddr];
    fn backend(&self) -> BackendKind;
    fn state(&self) -> ServerState;
    fn stats(&self) -> Vec<Stats>;
    fn watch_workers(&self) -> WorkerWatch;
    fn sessions(&self, from: SessionCursor, limit: usize, answer: UsePage) -> Result<(), PostError>;
}

impl<M: Send + 'static> Watched for ServerHandle<M> {
    fn addresses(&self) -> &[SocketAddr] {
        self.local_addrs()
    }

    fn backend(&self) -> BackendKind {
        ServerHandle::backend(self)
    }

    fn state(&self) -> ServerState {
        ServerHandle::state(self)
    }

    fn stats(&self) -> Vec<Stats> {
        self.worker_stats().collect()
    }

    fn watch_workers(&self) -> WorkerWatch {
        ServerHandle::watch_workers(self)
    }

    fn sessions(&self, from: SessionCursor, limit: usize, answer: UsePage) -> Result<(), PostError> {
        self.list_sessions(from, limit, answer)
    }
}

/// The watched server, and what its operator says about it.
pub(crate) struct Target {
    server: Box<dyn Watched>,
    ready: AtomicBool,
}

/// How the watched server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Ready,
    /// It serves, and new clients should go elsewhere.
    Unready,
    Draining,
    Ended,
}

impl Standing {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Standing::Ready => "ready",
            Standing::Unready => "not ready",
            Standing::Draining => "draining",
            Standing::Ended => "ended",
        }
    }
}

impl Target {
    pub(crate) fn new<M: Send + 'static>(server: ServerHandle<M>) -> Target {
        Target { server: Box::new(server), ready: AtomicBool::new(true) }
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    pub(crate) fn standing(&self) -> Standing {
        match self.server.state() {
            ServerState::Serving if self.ready.load(Ordering::Acquire) => Standing::Ready,
            ServerState::Serving => Standing::Unready,
            ServerState::Ended => Standing::Ended,
            _ => Standing::Draining,
        }
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    pub(crate) fn backend(&self) -> BackendKind {
        self.server.backend()
    }

    /// By worker.
    pub(crate) fn stats(&self) -> Vec<Stats> {
        self.server.stats()
    }

    pub(crate) fn watch_workers(&self) -> WorkerWatch {
        self.server.watch_workers()
    }

    pub(crate) fn sessions(
        &self,
        from: SessionCursor,
        limit: usize,
        answer: UsePage,
    ) -> Result<(), PostError> {
        self.server.sessions(from, limit, answer)
    }
}

/// Whether the watched server's workers make progress: what `/live` is about.
pub(crate) struct Progress {
    watch: WorkerWatch,
    /// Workers that made none at the last looks, and at how many.
    stuck: Vec<(usize, u32)>,
}

impl Progress {
    /// Looks after which a worker that was in the same turn at all of them counts as stuck.
    const LOOKS: u32 = 10;

    pub(crate) fn new(target: &Target) -> Progress {
        Progress { watch: target.watch_workers(), stuck: Vec::new() }
    }

    /// To be called once a second.
    pub(crate) fn look(&mut self) {
        let now = self.watch.stuck();
        self.stuck.retain(|(worker, _)| now.contains(worker));
        for worker in now {
            match self.stuck.iter_mut().find(|(known, _)| *known == worker) {
                Some((_, looks)) => *looks += 1,
                None => self.stuck.push((worker, 1)),
            }
        }
    }

    /// A worker that has been in one turn for about ten seconds.
    pub(crate) fn stuck(&self) -> Option<usize> {
        self.stuck.iter().find(|(_, looks)| *looks >= Self::LOOKS).map(|(worker, _)| *worker)
    }
}
