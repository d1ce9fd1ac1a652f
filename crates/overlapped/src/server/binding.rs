//! Listening on every address of an endpoint, before a worker runs.
//!
//! Two rules keep a start from failing for a passing or irrelevant reason:
//!
//! * An address of a *name* that this machine does not have is skipped and reported, if another one of the name can be
//!   listened on: a hosts file may name `::1` in a container without IPv6. A literal address is an error.
//! * An address in use is retried, for at most [`RETRY_LIMIT`] over a whole server: the ports of a killed process stay in use
//!   for some time after its end if it had a ring (on Linux 6.18 usually 4 to 40 ms, of 3,600 ends on a busy machine one
//!   265 ms), and a supervisor starts the next process at once.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use proactor::{ListenOptions, Socket, address_unavailable, listen};

use crate::error::{Error, Result};

/// For how long addresses in use are retried, all addresses of a server together. nginx tries five times, half a
/// second apart.
pub(super) const RETRY_LIMIT: Duration = Duration::from_secs(2);
/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// How often another free port is chosen, because the last one is in use on another address of the same name.
const CHOICES: usize = 32;

/// An address of a name that is not listened on, because this machine does not have it.
#[derive(Debug)]
#[non_exhaustive]
pub struct SkippedAddress {
    /// The name with its port, as it was given.
    pub name: String,
    /// The address that is left out.
    pub address: SocketAddr,
    /// The system's error.
    pub error: io::Error,
}

impl fmt::Display for SkippedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SkippedAddress { name, address, error } = self;
        let ip = address.ip();
        write!(f, "{name} is also {ip}, which this machine does not have: {error}; it is not listened on")
    }
}

/// What is needed of the system here. Tests have their own.
pub(super) trait Listen {
    type Socket;
    /// A socket that listens, and on which address.
    fn listen(&mut self, address: SocketAddr) -> io::Result<(Self::Socket, SocketAddr)>;
    /// The time since an arbitrary start.
    fn now(&self) -> Duration;
    fn pause(&mut self, time: Duration);
}

/// The real system.
pub(super) struct System {
    began: Instant,
}

impl System {
    pub(super) fn new() -> System {
        System { began: Instant::now() }
    }
}

impl Listen for System {
    type Socket = Socket;

    fn listen(&mut self, address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
        let socket = listen(address, ListenOptions::default())?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((socket, bound))
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn pause(&mut self, time: Duration) {
        thread::sleep(time);
    }
}

/// What an endpoint has become.
pub(super) struct Bound<S> {
    pub(super) sockets: Vec<(S, SocketAddr)>,
    pub(super) skipped: Vec<SkippedAddress>,
}

/// Where to listen.
pub(super) struct Wanted<'a> {
    /// Each once, at least one.
    pub(super) addresses: &'a [SocketAddr],
    /// The name that has these addresses, if they come from a name.
    pub(super) name: Option<&'a str>,
    /// What the server listens on already.
    pub(super) taken: &'a [SocketAddr],
}

/// Why one attempt failed.
enum Failure {
    /// The port that the system chose for the first address of a name is in use on a later one.
    PortTaken(Error),
    Failed(Error),
}

/// Listens on all of `wanted`. `retry_left` is what is left of [`RETRY_LIMIT`]; retries shorten it. With port 0 all addresses of a name get the same port, so that a client finds the server at each of them.
///
/// # Errors
/// [`Error::Bind`] for the first address that cannot be listened on; for a skipped one, if the name has no other.
pub(super) fn bind<L: Listen>(
    net: &mut L,
    wanted: &Wanted<'_>,
    retry_left: &mut Duration,
) -> Result<Bound<L::Socket>> {
    for choice in 1.. {
        match attempt(net, wanted, retry_left) {
            Ok(bound) => return Ok(bound),
            Err(Failure::PortTaken(_)) if choice < CHOICES => {}
            Err(Failure::PortTaken(error) | Failure::Failed(error)) => return Err(error),
        }
    }
    unreachable!("the last choice returns")
}

fn attempt<L: Listen>(
    net: &mut L,
    wanted: &Wanted<'_>,
    retry_left: &mut Duration,
) -> std::result::Result<Bound<L::Socket>, Failure> {
    let mut bound = Bound { sockets: Vec::new(), skipped: Vec::new() };
    let mut chosen = None;
    for given in wanted.addresses {
        let mut address = *given;
        if let Some(port) = chosen.filter(|_| given.port() == 0) {
            address.set_port(port);
        }
        let listening = match net.listen(address) {
            Err(error) if is_in_use(&error) && given.port() != 0 => {
                match wanted
                    .taken
                    .iter()
                    .chain(bound.sockets.iter().map(|(_, at)| at))
                    .find(|at| clash(at, &address))
                {
                    Some(own) => Err(io::Error::new(error.kind(), Own(*own))),
                    None => try_again(net, address, error, retry_left),
                }
            }
            other => other,
        };
        let failed = |source| Error::Bind { address: address.to_string(), source };
        match (listening, wanted.name) {
            (Ok(socket), name) => {
                chosen = chosen.or(name.map(|_| socket.1.port()));
                bound.sockets.push(socket);
            }
            (Err(error), Some(name)) if address_unavailable(&error) => {
                bound.skipped.push(SkippedAddress { name: name.to_owned(), address, error });
            }
            (Err(error), _) if is_in_use(&error) && address.port() != given.port() => {
                return Err(Failure::PortTaken(failed(error)));
            }
            (Err(error), _) => return Err(Failure::Failed(failed(error))),
        }
    }
    if bound.sockets.is_empty() {
        let SkippedAddress { address, error, .. } = bound.skipped.swap_remove(0);
        return Err(Failure::Failed(Error::Bind { address: address.to_string(), source: error }));
    }
    Ok(bound)
}

/// Retries an address that is in use until it is free or `retry_left`, which this shortens, is over.
fn try_again<L: Listen>(
    net: &mut L,
    address: SocketAddr,
    mut error: io::Error,
    retry_left: &mut Duration,
) -> io::Result<(L::Socket, SocketAddr)> {
    let began = net.now();
    let left = |net: &L| retry_left.saturating_sub(net.now().saturating_sub(began));
    let result = loop {
        let left = left(net);
        if left.is_zero() {
            break Err(error);
        }
        net.pause(left.min(PAUSE));
        match net.listen(address) {
            Err(again) if is_in_use(&again) => error = again,
            other => break other,
        }
    };
    *retry_left = left(net);
    result
}

fn is_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// Whether a system may refuse to listen on both addresses.
fn clash(one: &SocketAddr, other: &SocketAddr) -> bool {
    let either_is_all = one.ip().is_unspecified() || other.ip().is_unspecified();
    let same_family = one.is_ipv4() == other.is_ipv4();
    one == other || (one.port() == other.port() && same_family && either_is_all)
}

/// The address is in use by the server itself.
#[derive(Debug)]
struct Own(SocketAddr);

impl std::error::Error for Own {}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this server listens on {} already; leave one of the two out", self.0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
