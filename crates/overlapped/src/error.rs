//! What can go wrong in starting and running a server.

use std::io;

use proactor::BackendKind;
use proactor::backend::choice::Refusal;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a server did not start, or why it ended. Each message says what failed, why, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not an address, or the name has no address.
    #[error("cannot resolve {address}: {}", explain_resolve(source))]
    Resolve {
        /// What was given.
        address: String,
        /// The resolver's error; [`InvalidInput`](io::ErrorKind::InvalidInput) for text that is neither an address nor a name.
        source: io::Error,
    },
    /// An address cannot be listened on. An address in use was retried for up to 250 ms.
    #[error("cannot listen on {address}: {}", explain_bind(address, source))]
    Bind {
        /// Which.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// No backend could be made.
    #[error("{}", list(.0))]
    NoBackend(Vec<Refusal>),
    /// A setting is invalid.
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
    /// `wait` or `drain` was called on a thread of the server's own workers: this thread would wait for itself.
    #[error(
        "drain() and wait() would never return here: they wait for the worker whose callback this is; call \
         begin_drain(), or drain() from another thread"
    )]
    OnWorker,
    /// A wait for room in a session was begun on a thread that is a worker: it would block the worker's sessions.
    #[error(
        "a callback must not wait for room in a session: it would block its worker; send more in on_writable, or wait on \
         another thread"
    )]
    WaitInCallback,
    /// The thread that monitors several workers could not be started.
    #[error("the workers' monitor could not be started: {source}; raise the limits, or use 1 worker")]
    Monitor {
        /// Why.
        source: io::Error,
    },
    /// A worker's backend broke while it ran.
    #[error("the {backend} backend broke down: {source}; restart the server, or choose another backend")]
    Backend {
        /// Which.
        backend: BackendKind,
        /// Why.
        source: io::Error,
    },
}

fn explain_resolve(error: &io::Error) -> String {
    match error.kind() {
        // Ours, which already have what to do; see `Endpoint`.
        io::ErrorKind::InvalidInput | io::ErrorKind::NotFound => error.to_string(),
        _ => format!("{error}; check the name, or give an address, such as 127.0.0.1:9999"),
    }
}

fn explain_bind(address: &str, error: &io::Error) -> String {
    let port = address.rsplit_once(':').map_or(address, |(_, port)| port);
    let next = match error.kind() {
        // Ours, which already has what to do.
        _ if error.raw_os_error().is_none() => return error.to_string(),
        io::ErrorKind::AddrInUse if port == "0" => "no port is free; end what takes them".to_owned(),
        io::ErrorKind::AddrInUse => format!(
            "another process listens there or uses that port, {} shows which; choose another port, or 0 for a free one",
            who_has(port)
        ),
        io::ErrorKind::PermissionDenied if cfg!(windows) => {
            "another program has that port for itself, or Windows reserves it \
             (`netsh interface ipv4 show excludedportrange tcp`); choose another port"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => "this port wants privileges; choose one above 1023".to_owned(),
        _ if proactor::address_unavailable(error) => {
            "no interface of this machine has that address".to_owned()
        }
        _ => "choose another address".to_owned(),
    };
    format!("{error}; {next}")
}

/// The command that names the process behind a port.
fn who_has(port: &str) -> String {
    if cfg!(windows) {
        format!("`netstat -ano | findstr :{port}`")
    } else if cfg!(target_os = "linux") {
        format!("`ss -tanp 'sport = :{port}'`")
    } else {
        format!("`lsof -nP -iTCP:{port}`")
    }
}

fn list(refusals: &[Refusal]) -> String {
    let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
