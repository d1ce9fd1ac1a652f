//! What can go wrong in starting and running a server.

use std::io;

use proactor::Name as Backend;
use proactor::backend::detect::Refusal;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a server did not start, or ended. Each message says what, why, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address does not parse or resolve.
    #[error("cannot resolve {address}: {source}; give it as IP:PORT, such as 127.0.0.1:9999")]
    Resolve {
        /// What was given.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {}", explain_bind(source))]
    Bind {
        /// Which.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// No backend could be made.
    #[error("{}", list(.0))]
    NoBackend(Vec<Refusal>),
    /// A setting makes no sense.
    #[error("{setting} {problem}")]
    Config {
        /// Which.
        setting: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The descriptor limit leaves no room for a session.
    #[error(
        "the descriptor limit of {limit} is too low: the server itself needs {taken}, and each session one more; \
         raise it with `ulimit -n`, or use fewer workers"
    )]
    NoRoom {
        /// Descriptors the process may have open.
        limit: u64,
        /// Those that are open, that the workers will open, and a reserve.
        taken: u64,
    },
    /// A worker could not be started or broke down.
    #[error("worker {worker} stopped: {source}")]
    Worker {
        /// Which.
        worker: usize,
        /// Why.
        source: io::Error,
    },
    /// A worker's own thread asked to wait for the end of its server.
    #[error(
        "drain() and wait() would never return here: they wait for the worker whose callback this is; call \
         begin_drain(), or drain() from another thread"
    )]
    OnWorker,
    /// The thread that watches over several workers could not be started.
    #[error("the workers' monitor could not be started: {source}; raise the limits, or use 1 worker")]
    Monitor {
        /// Why.
        source: io::Error,
    },
    /// A worker's backend broke while it ran.
    #[error("the {backend} backend broke down: {source}; restart the server, or choose another backend")]
    Backend {
        /// Which.
        backend: Backend,
        /// Why.
        source: io::Error,
    },
}

fn explain_bind(error: &io::Error) -> String {
    let next = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "somebody listens there already; choose another port, or 0 for a free one"
        }
        io::ErrorKind::PermissionDenied => "this port wants privileges; choose one above 1023",
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        _ => "choose another address",
    };
    format!("{error}; {next}")
}

fn list(refusals: &[Refusal]) -> String {
    let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
