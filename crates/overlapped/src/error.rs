//! What can go wrong in starting and running a server.

use std::fmt;
use std::io;

use proactor::BackendKind;
use proactor::backend::choice::Refusal;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a server did not start, or why it ended. Each message says what failed, why, and what to do next.
///
/// The message contains the text of the system's error, which is in the field `source`. So
/// [`Error::source`](std::error::Error::source) returns what lies *behind* that error, usually nothing: a reporter that
/// prints the whole chain prints no text twice.
///
/// `Debug` prints the same message: a `main` that returns this error, and `unwrap`, print what a user can read.
#[non_exhaustive]
pub enum Error {
    /// The text is not an address, or the name has no address.
    Resolve {
        /// What was given.
        address: String,
        /// The resolver's error; [`InvalidInput`](io::ErrorKind::InvalidInput) for text that is neither an address nor a name.
        source: io::Error,
    },
    /// An address cannot be listened on. An address in use was retried for up to 2 s.
    Bind {
        /// Which.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// No backend could be made.
    NoBackend(Vec<Refusal>),
    /// A setting is invalid.
    Config {
        /// Which.
        setting: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The descriptor limit leaves no room for a session.
    NoRoom {
        /// Descriptors the process may have open.
        limit: u64,
        /// Those that are open, that the workers will open, and a reserve.
        taken: u64,
    },
    /// A worker could not be started or broke down.
    Worker {
        /// Which.
        worker: usize,
        /// Why.
        source: io::Error,
    },
    /// `wait` or `drain` was called on a thread of the server's own workers: this thread would wait for itself.
    OnWorker,
    /// A wait for room in a session was begun on a thread that is a worker: it would block the worker's sessions.
    WaitInCallback,
    /// The thread that monitors several workers could not be started.
    Monitor {
        /// Why.
        source: io::Error,
    },
    /// A worker's backend broke while it ran.
    Backend {
        /// Which.
        backend: BackendKind,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Resolve { address, source } => {
                write!(f, "cannot resolve {address}: {}", explain_resolve(source))
            }
            Error::Bind { address, source } => {
                write!(f, "cannot listen on {address}: {}", explain_bind(address, source))
            }
            Error::NoBackend(refusals) => f.write_str(&list(refusals)),
            Error::Config { setting, problem } => write!(f, "{setting} {problem}"),
            Error::NoRoom { limit, taken } => write!(
                f,
                "the descriptor limit of {limit} is too low: the server itself needs {taken}, and each session one \
                 more; raise it with `ulimit -n`, or use fewer workers"
            ),
            // What the system answers when it has no thread for it.
            Error::Worker { worker, source } if source.kind() == io::ErrorKind::WouldBlock => write!(
                f,
                "worker {worker} could not be started: {source}; use fewer workers, or raise the limit of threads \
                 (`ulimit -u`)"
            ),
            Error::Worker { worker, source } => write!(f, "worker {worker} stopped: {source}"),
            Error::OnWorker => f.write_str(
                "drain() and wait() would never return here: they wait for the worker whose callback this is; call \
                 begin_drain(), or drain() from another thread",
            ),
            Error::WaitInCallback => f.write_str(
                "a callback must not wait for room in a session: it would block its worker; send more in on_writable, \
                 or wait on another thread",
            ),
            Error::Monitor { source } => write!(
                f,
                "the workers' monitor could not be started: {source}; raise the limits, or use 1 worker"
            ),
            Error::Backend { backend, source } => write!(
                f,
                "the {backend} backend broke down: {source}; restart the server, or choose another backend"
            ),
        }
    }
}

/// The message, as `Display` writes it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    /// What lies behind the system's error, whose own text is in the message.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Resolve { source, .. }
            | Error::Bind { source, .. }
            | Error::Worker { source, .. }
            | Error::Monitor { source }
            | Error::Backend { source, .. } => source.source(),
            Error::NoBackend(_)
            | Error::Config { .. }
            | Error::NoRoom { .. }
            | Error::OnWorker
            | Error::WaitInCallback => None,
        }
    }
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

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    /// An error of a user's or of the system's, with another one behind it.
    #[derive(Debug, thiserror::Error)]
    #[error("the middle")]
    struct Middle(#[source] io::Error);

    fn sources() -> [io::Error; 3] {
        let behind = io::Error::other("the last");
        [io::ErrorKind::AddrInUse.into(), io::Error::other("the first"), io::Error::other(Middle(behind))]
    }

    fn of(source: io::Error, variant: usize) -> Option<Error> {
        Some(match variant {
            0 => Error::Resolve { address: "host:1".into(), source },
            1 => Error::Bind { address: "127.0.0.1:1".into(), source },
            2 => Error::NoBackend(vec![Refusal::not_here(BackendKind::Iocp)]),
            3 => Error::Config { setting: "the pool", problem: "is too small".into() },
            4 => Error::NoRoom { limit: 1, taken: 2 },
            5 => Error::Worker { worker: 0, source },
            6 => Error::OnWorker,
            7 => Error::Monitor { source },
            8 => Error::Backend { backend: BackendKind::IoUring, source },
            9 => Error::WaitInCallback,
            _ => return None,
        })
    }

    /// As reporters print it: the message, and that of each source behind it.
    fn chain(error: &Error) -> Vec<String> {
        let mut texts = vec![error.to_string()];
        let mut next = error.source();
        while let Some(error) = next {
            texts.push(error.to_string());
            next = error.source();
        }
        texts
    }

    #[test]
    fn a_reporter_that_walks_the_chain_prints_nothing_twice_and_leaves_nothing_out() {
        for source in 0..sources().len() {
            let all = (0..).map_while(|variant| of(sources().into_iter().nth(source)?, variant));
            let mut seen = 0;
            for error in all {
                let texts = chain(&error);
                for (at, text) in texts.iter().enumerate() {
                    let before = &texts[..at];
                    assert!(before.iter().all(|earlier| !earlier.contains(text)), "twice: {texts:?}");
                }
                let has_source = texts.concat().contains(&sources()[source].to_string());
                let kept = !matches!(
                    error,
                    Error::NoBackend(_)
                        | Error::Config { .. }
                        | Error::NoRoom { .. }
                        | Error::OnWorker
                        | Error::WaitInCallback
                );
                assert_eq!(has_source, kept, "{texts:?}");
                assert_eq!(texts.len() > 1, kept && source == 2, "what is behind is reached: {texts:?}");
                assert_eq!(format!("{error:?}"), error.to_string(), "`main` prints it with Debug");
                seen += 1;
            }
            assert_eq!(seen, 10);
        }
    }
}
