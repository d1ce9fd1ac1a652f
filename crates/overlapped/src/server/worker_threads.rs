//! The threads of a server's workers: made, started, running, ended; and waiting for each of these.
//!
//! A worker is counted out however it ends, also by a panic: a wait for it always ends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::{io, result};

use proactor::BackendKind;
use proactor::backend::choice::Refusal;

use crate::error::{Error, Result};
use crate::worker_thread::{self, SIMULATED};

static SERVERS: AtomicU64 = AtomicU64::new(0);

/// Shared by a server's threads and its handles.
pub(super) struct WorkerThreads {
    /// Which server of this process.
    server: u64,
    state: Mutex<RunState>,
    changed: Condvar,
    /// True exactly when a drain was asked for.
    draining: AtomicBool,
}

struct RunState {
    /// Workers without a driver yet.
    without_driver: usize,
    /// Workers without a handler yet.
    without_handler: usize,
    running: usize,
    /// Why none of them runs.
    refused: Option<StartError>,
    broken: Option<Breakdown>,
    /// Joined by the first who waits for the end: then nothing of a server is left.
    threads: Vec<JoinHandle<()>>,
    /// True exactly while a thread joins them.
    joining: bool,
}

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerState {
    /// It accepts connections, unless a limit or a shortage prevents it.
    Serving,
    /// It ends: a drain was asked for, or one of its workers broke.
    Draining,
    /// Its last worker has ended.
    Ended,
}

/// Why a server did not start.
pub(super) enum StartError {
    /// This backend does not work here; another one may.
    Refused(Refusal),
    /// No other backend would help.
    Failed(Error),
}

/// What ended a server before it was asked to end. Kept, because every thread that waits gets it.
pub(super) enum Breakdown {
    Panicked { worker: usize, message: String },
    Backend { backend: BackendKind, source: io::Error },
}

impl Breakdown {
    pub(super) fn error(&self) -> Error {
        match self {
            Breakdown::Panicked { worker, message } => {
                Error::Worker { worker: *worker, source: io::Error::other(format!("it panicked: {message}")) }
            }
            Breakdown::Backend { backend, source } => {
                // `io::Error` is not `Clone`: an error of the system is its number, any other its kind and its text.
                let source = match source.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(source.kind(), source.to_string()),
                };
                Error::Backend { backend: *backend, source }
            }
        }
    }
}

impl WorkerThreads {
    pub(super) fn new(workers: usize) -> WorkerThreads {
        let state = RunState {
            without_driver: workers,
            without_handler: workers,
            running: workers,
            refused: None,
            broken: None,
            threads: Vec::new(),
            joining: false,
        };
        let server = SERVERS.fetch_add(1, Ordering::Relaxed) + 1;
        WorkerThreads {
            server,
            state: Mutex::new(state),
            changed: Condvar::new(),
            draining: AtomicBool::new(false),
        }
    }

    /// Of workers that are turned by hand: every wait for their end is refused.
    pub(super) fn simulated() -> WorkerThreads {
        WorkerThreads { server: SIMULATED, ..WorkerThreads::new(0) }
    }

    /// The calling thread is a worker of this server, to its end.
    pub(super) fn enter(&self) {
        worker_thread::begin(self.server);
    }

    /// Refuses to wait on one of the server's own workers.
    ///
    /// # Errors
    /// [`Error::OnWorker`] on a worker of this server. Another server's may wait.
    pub(super) fn check_not_inside(&self) -> Result<()> {
        let inside = self.server == SIMULATED || worker_thread::server() == self.server;
        if inside { Err(Error::OnWorker) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, RunState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl Fn(&RunState) -> bool) -> MutexGuard<'_, RunState> {
        let waited = self.changed.wait_while(self.lock(), |state| condition(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spawned(&self, thread: JoinHandle<()>) {
        self.lock().threads.push(thread);
    }

    /// A worker cannot be made: none of them runs.
    pub(super) fn refuse(&self, why: StartError) {
        self.lock().refused.get_or_insert(why);
        self.changed.notify_all();
    }

    /// A worker's driver is made. Waits for the others'; false if one of them cannot be made.
    pub(super) fn drivers_are_made(&self) -> bool {
        self.lock().without_driver -= 1;
        self.changed.notify_all();
        self.wait_while(|state| state.without_driver > 0 && state.refused.is_none()).refused.is_none()
    }

    /// A worker is ready. Waits for the others; false if one of them cannot be made.
    pub(super) fn handlers_are_made(&self) -> bool {
        self.lock().without_handler -= 1;
        self.changed.notify_all();
        self.has_started()
    }

    /// Waits until every worker is ready; false if one of them cannot be made.
    pub(super) fn has_started(&self) -> bool {
        self.wait_while(|state| state.without_handler > 0 && state.refused.is_none()).refused.is_none()
    }

    /// Waits until every worker is ready, or, if one cannot be made, until nothing is left of the others.
    pub(super) fn wait_started(&self) -> result::Result<(), StartError> {
        let state = self.wait_while(|state| state.without_handler > 0 && state.refused.is_none());
        if state.refused.is_none() {
            return Ok(());
        }
        // Taken out only now: the workers that wait for the others have to find it.
        self.join(state).refused.take().map_or(Ok(()), Err)
    }

    /// A worker has ended. True if it broke, so that the others should end too.
    pub(super) fn ended(&self, result: result::Result<(), Breakdown>) -> bool {
        let mut state = self.lock();
        state.running -= 1;
        self.changed.notify_all();
        match result {
            Ok(()) => false,
            Err(breakdown) => {
                state.broken.get_or_insert(breakdown);
                true
            }
        }
    }

    /// A drain is asked for.
    pub(super) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(super) fn state(&self) -> ServerState {
        let state = self.lock();
        match state.running {
            // Workers that are turned by hand are not counted.
            0 if self.server != SIMULATED => ServerState::Ended,
            _ if state.broken.is_some() || self.draining.load(Ordering::Acquire) => ServerState::Draining,
            _ => ServerState::Serving,
        }
    }

    /// Waits until every worker has ended, and its thread with it. Returns each time what broke.
    pub(super) fn wait_ended(&self) -> Result<()> {
        self.check_not_inside()?;
        let mut state = self.wait_while(|state| state.running > 0 || state.joining);
        state = self.join(state);
        state.broken.as_ref().map_or(Ok(()), |breakdown| Err(breakdown.error()))
    }

    /// Joins the threads, which are about to end. Their panics were caught: a join reports nothing new.
    fn join<'a>(&'a self, mut state: MutexGuard<'a, RunState>) -> MutexGuard<'a, RunState> {
        let threads = std::mem::take(&mut state.threads);
        if threads.is_empty() {
            return state;
        }
        state.joining = true;
        drop(state);
        for thread in threads {
            let _ = thread.join();
        }
        let mut state = self.lock();
        state.joining = false;
        self.changed.notify_all();
        state
    }
}
