//! A server before it starts: what it listens on, and every setting.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

#[cfg(doc)]
use proactor::SocketOptions;
use proactor::backend::choice::Choice;
use proactor::{PoolConfig, Socket};

#[cfg(doc)]
use crate::admission::Incoming;
use crate::config::{Config, OnPanic, Overflow, hard_limit_for};
#[cfg(doc)]
use crate::context::Session;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
#[cfg(doc)]
use crate::handler::Handler;
use crate::observe::{Event, Observe};
use crate::session::MOST;

use super::binding::{self, SkippedAddress};
use super::descriptors;

/// A server that is bound and not started yet.
///
/// The defaults of all settings are suitable for production; each method documents its default. A child process that is
/// made by `fork(2)` while a server runs, and that does not call `exec`, keeps the server's connections and ports open:
/// see [the crate's page](crate#other-processes).
pub struct Server {
    pub(super) sockets: Vec<Socket>,
    /// Of each socket.
    pub(super) tokens: Vec<u64>,
    /// How many of the sockets were there before the last call that added some.
    pub(super) before_last: usize,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) skipped: Vec<SkippedAddress>,
    /// For how much longer addresses in use are retried.
    retry_left: Duration,
    workers: Option<usize>,
    pub(super) choice: Choice,
    pub(super) config: Config,
    hard_limit: Option<usize>,
    low_water: Option<usize>,
    pub(super) observer: Option<Observe>,
}

impl Server {
    /// Binds an address and listens on it. Nothing is accepted before [`start`](Self::start) or [`run`](Self::run). To
    /// take over a listener made elsewhere, for instance by a service manager, use `Server::from(TcpListener)`.
    ///
    /// * A *name* means all addresses that it resolves to, each once. One that this machine does not have (`::1`
    ///   without IPv6) is skipped and [reported](Self::skipped_addresses), if the name has another one; any other failure
    ///   is an error, as is every failure of a literal address.
    /// * `0.0.0.0` means every IPv4 address of this machine, and `[::]` every IPv6 address: an IPv6 socket takes no IPv4
    ///   connections (`IPV6_V6ONLY` is set), whatever the system's default. For both, bind both.
    /// * Port 0 picks a free port. All addresses of a name get the same one.
    /// * Accepted connections send small segments at once (`TCP_NODELAY`). This is so for every session, however its
    ///   listener was made, and for outbound ones.
    /// * An address in use is retried for at most 250 ms, over all addresses of a server: the address of a killed process
    ///   may stay in use for some time after its end (4 to 105 ms on Linux, if it had a ring). The calling thread sleeps
    ///   meanwhile.
    ///
    /// # Errors
    /// [`Error::Resolve`] or [`Error::Bind`].
    pub fn bind(endpoint: impl Into<Endpoint>) -> Result<Server> {
        Server::listening(Vec::new(), Vec::new()).also_bind(endpoint)
    }

    /// Listens on one more address, or on those of one more name, as [`bind`](Self::bind) does.
    ///
    /// # Errors
    /// [`Error::Resolve`] or [`Error::Bind`].
    pub fn also_bind(mut self, endpoint: impl Into<Endpoint>) -> Result<Server> {
        let endpoint = endpoint.into();
        let (addresses, name) = (endpoint.resolve()?, endpoint.is_name().then(|| endpoint.to_string()));
        let wanted = binding::Wanted { addresses: &addresses, name: name.as_deref(), taken: &self.addresses };
        let bound = binding::bind(&mut binding::System::new(), &wanted, &mut self.retry_left)?;
        self.before_last = self.sockets.len();
        for (socket, address) in bound.sockets {
            self.add(socket, Some(address));
        }
        self.skipped.extend(bound.skipped);
        Ok(self)
    }

    /// The number of workers; each is a thread with its own ring, completion port or poller. Default: one per core. A
    /// server with several workers has one more thread, the monitor. It sleeps while the workers wait, and moves new
    /// connections away from a worker whose [`Handler`](crate::Handler) blocks.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Server {
        self.workers = Some(workers);
        self
    }

    /// Which backend. Default: the best one that works here; [`ServerHandle::refusals`](crate::ServerHandle::refusals) says
    /// which were refused, and why.
    #[must_use]
    pub fn backend(mut self, choice: Choice) -> Server {
        self.choice = choice;
        self
    }

    /// The maximum number of sessions of all workers together. Further connections are turned away and counted.
    /// Default: the number that the descriptor limit allows (see
    /// [`raise_descriptor_limit`](crate::raise_descriptor_limit)). [`Handler::on_accept`] may give them a last word.
    ///
    /// A client that is turned away reads an end of stream and not a reset, even if it has already sent bytes: FIN is
    /// sent at once, received bytes are discarded, and the connection is closed when the client ends its stream, at the
    /// latest after 100 ms. Only a client that still sends after that time is reset. In addition to the sessions, each
    /// worker may be turning away up to 128 connections at a time (under a small descriptor limit, all workers together
    /// up to a sixteenth of the limit); when one more arrives, the oldest is closed. A drain waits for these
    /// connections until its deadline.
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Server {
        self.config.max_sessions = sessions;
        self
    }

    /// The maximum number of sessions from one peer address. Further connections are turned away and counted, as above
    /// the [session limit](Self::max_sessions). Default: no limit.
    ///
    /// All addresses of an IPv6 /64 network count as one: see [`ipv6_prefix`](Self::ipv6_prefix). An IPv4 address counts
    /// as itself, also on an IPv6 socket (`::ffff:192.0.2.1`).
    #[must_use]
    pub fn max_per_address(mut self, sessions: Option<usize>) -> Server {
        self.config.max_per_address = sessions;
        self
    }

    /// How many bits of an IPv6 address [`max_per_address`](Self::max_per_address) looks at, 1 to 128: addresses with the
    /// same prefix count as one. Default: 64, because one customer usually has a whole /64 (RFC 6177), and each of its
    /// machines may change its address at will (RFC 8981). With 128 each address counts by itself, as `limit_conn
    /// $binary_remote_addr` of nginx and `src` of HAProxy do; the default corresponds to HAProxy's `src,ipmask(32,64)`.
    /// Link-local addresses (`fe80::/10`) always count by themselves, because all machines of a link share that prefix.
    #[must_use]
    pub fn ipv6_prefix(mut self, bits: u8) -> Server {
        self.config.ipv6_prefix = bits;
        self
    }

    /// Unsent bytes of a session at which its receive pauses. Default: 64 KiB.
    #[must_use]
    pub fn high_water(mut self, bytes: usize) -> Server {
        self.config.high_water = bytes;
        self
    }

    /// Unsent bytes at which a paused receive resumes. Default: half of the high-water mark.
    #[must_use]
    pub fn low_water(mut self, bytes: usize) -> Server {
        self.low_water = Some(bytes);
        self
    }

    /// Bytes that may be queued for a session, at most 1 GiB. A queued block counts with its full size. Default: the
    /// high-water mark plus 2 MiB, or plus 64 blocks if that is more: room for the bytes that one turn may still
    /// receive above the mark.
    #[must_use]
    pub fn hard_limit(mut self, bytes: usize) -> Server {
        self.hard_limit = Some(bytes);
        self
    }

    /// What happens over the hard limit. Default: the session is closed.
    #[must_use]
    pub fn overflow(mut self, policy: Overflow) -> Server {
        self.config.overflow = policy;
        self
    }

    /// Shape of each worker's pool: how many blocks, of how many bytes. Default: 256 of 16 KiB.
    #[must_use]
    pub fn pool(mut self, blocks: u16, block_len: u32) -> Server {
        self.config.pool = PoolConfig { blocks, block_len };
        self
    }

    /// Messages and commands that may wait in a worker's mailbox. Default: 16,384.
    #[must_use]
    pub fn mailbox(mut self, messages: usize) -> Server {
        self.config.mailbox = messages;
        self
    }

    /// Calls [`Handler::on_idle`] for sessions that have received and sent nothing for this long. Zero is an error at the start.
    /// Default: off.
    #[must_use]
    pub fn idle_timeout(mut self, after: Option<Duration>) -> Server {
        self.config.idle_timeout = after;
        self
    }

    /// Closes accepted sessions whose peer sends no byte within this time after the session began. Zero is an error at
    /// the start. Default: off.
    #[must_use]
    pub fn first_byte_timeout(mut self, after: Option<Duration>) -> Server {
        self.config.first_byte_timeout = after;
        self
    }

    /// Aborts sessions whose peer has read nothing for this long while bytes for it were in flight. Zero is an error at
    /// the start. Default: 60 s.
    #[must_use]
    pub fn write_timeout(mut self, after: Option<Duration>) -> Server {
        self.config.write_timeout = after;
        self
    }

    /// How long [`WorkerContext::connect`](crate::WorkerContext::connect) may take before it fails with
    /// [`TimedOut`](std::io::ErrorKind::TimedOut). Zero is an error at the start. Default: 10 s. The system's own limit
    /// holds too.
    #[must_use]
    pub fn connect_timeout(mut self, after: Option<Duration>) -> Server {
        self.config.connect_timeout = after;
        self
    }

    /// After a graceful close: how long the peer's FIN is waited for. Default: 2 s.
    #[must_use]
    pub fn linger_timeout(mut self, after: Duration) -> Server {
        self.config.linger_timeout = after;
        self
    }

    /// TCP keep-alive, for accepted and outbound sessions. When nothing has arrived for `idle`, the system sends up to
    /// four keep-alive probes, a quarter of `idle` apart. If the peer answers none, the session ends with
    /// [`CloseReason::PeerLost`](crate::CloseReason::PeerLost), about `2 * idle` after the last byte or answer. Times
    /// are rounded up to whole seconds, with at least one second between two probes; the maximum is 32,767 s. A larger
    /// value, or zero, is an error at the start. Default: off. [`SocketOptions::keepalive`] names the system's options.
    ///
    /// Keep-alive detects machines that no longer answer. It does not detect programs that hang, because their systems
    /// still answer: use the [idle timeout](Self::idle_timeout) for these.
    #[must_use]
    pub fn keepalive(mut self, idle: Option<Duration>) -> Server {
        self.config.options.keepalive = idle;
        self
    }

    /// Ends sessions of both directions with [`CloseReason::PeerLost`](crate::CloseReason::PeerLost) when what was sent
    /// stays unacknowledged by the peer's system for this long (`TCP_USER_TIMEOUT`, RFC 793). It also limits how long a
    /// [`connect`](crate::WorkerContext::connect) may take. If [keep-alive](Self::keepalive) is on, too, this limit is
    /// used instead of the number of probes. The value is rounded up to milliseconds, at most 2,147,483,647 ms. A
    /// larger value, zero, or a system without this option (macOS, the BSDs, older Windows) is an error at the start.
    /// Default: off; the system's own limit is about 15 minutes.
    ///
    /// For a peer that acknowledges but does not read, use the [write timeout](Self::write_timeout).
    #[must_use]
    pub fn user_timeout(mut self, limit: Option<Duration>) -> Server {
        self.config.options.user_timeout = limit;
        self
    }

    /// Calls [`Handler::on_tick`] on every worker this often, at most 250 times a second. Default: off.
    ///
    /// Each tick is due one period after the previous tick was due, so a late call does not delay later calls, and the
    /// average rate is exact. A single call may be late by the granularity of the system's waits: 1 ms on readiness, 16
    /// ms on Windows. After a long callback, or after the process was stopped, a worker makes up to 8 overdue calls,
    /// one per turn, so that other work runs in between; older overdue ticks are skipped. With a period below 4 ms
    /// there is one call every 4 ms; the other ticks that are due by then are skipped.
    /// [`Stats::ticks_skipped`](crate::Stats::ticks_skipped) counts what is skipped. A period of zero is an error at
    /// the start.
    #[must_use]
    pub fn tick(mut self, every: Option<Duration>) -> Server {
        self.config.tick = every;
        self
    }

    /// How long after its last completion a worker polls for more without sleeping. This lowers latency and uses a
    /// whole core per worker. Default: off.
    #[must_use]
    pub fn busy_poll(mut self, spin: Option<Duration>) -> Server {
        self.config.busy_poll = spin;
        self
    }

    /// What a panic in a handler ends. Default: the session it happened in.
    #[must_use]
    pub fn on_panic(mut self, policy: OnPanic) -> Server {
        self.config.on_panic = policy;
        self
    }

    /// The observer gets [`Event::Operation`], too: every submission and every completion. Default: off, at no cost.
    #[must_use]
    pub fn trace_operations(mut self, on: bool) -> Server {
        self.config.trace_operations = on;
        self
    }

    /// Calls `observer` with every event, on the worker's thread, between two operations: it must be quick. A panic in it is
    /// counted ([`Stats::observer_panics`](crate::Stats::observer_panics)) and affects nothing else: it gets the next event
    /// as before. State that the panic left half updated, such as a poisoned mutex, is not repaired.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Server {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Descriptors that a server with `sessions` and `workers` needs, beside those that the process has open before it
    /// starts.
    #[must_use]
    pub fn descriptors_needed(sessions: u64, workers: usize) -> u64 {
        descriptors::descriptors_needed(sessions, workers)
    }

    /// Sessions that a server with `workers` has room for, if nothing else limits them: the descriptor limit minus the
    /// descriptors that are open, those that the workers need, and a reserve. `None`: there is no limit.
    #[must_use]
    pub fn room_for_sessions(workers: usize) -> Option<u64> {
        descriptors::room_for_sessions(workers)
    }

    /// The addresses listened on, with the ports the system chose.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses of names that are not listened on, because this machine does not have them. An
    /// [observer](Self::observer) gets an [`Event::AddressSkipped`] for each at the start.
    #[must_use]
    pub fn skipped_addresses(&self) -> &[SkippedAddress] {
        &self.skipped
    }

    /// With every setting at its default.
    fn listening(sockets: Vec<Socket>, addresses: Vec<SocketAddr>) -> Server {
        Server {
            tokens: vec![0; sockets.len()],
            before_last: 0,
            sockets,
            addresses,
            skipped: Vec::new(),
            retry_left: binding::RETRY_LIMIT,
            workers: None,
            choice: Choice::Auto,
            config: Config::default(),
            hard_limit: None,
            low_water: None,
            observer: None,
        }
    }

    /// Fills in the defaults that depend on other settings, and checks all of them. Returns how many workers to start.
    ///
    /// # Errors
    /// [`Error::Config`] for the first setting that makes no sense, [`Error::NoRoom`] if the descriptor limit leaves none
    /// for a session.
    pub(super) fn settle(&mut self) -> Result<usize> {
        let workers = self.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        if !(1..=1024).contains(&workers) {
            let problem = format!("is {workers}; give 1 to 1024, or leave it out for one per core");
            return Err(Error::Config { setting: "the number of workers", problem });
        }
        let config = &mut self.config;
        config.low_water = self.low_water.unwrap_or(config.high_water / 2);
        config.hard_limit =
            self.hard_limit.unwrap_or(hard_limit_for(config.high_water, config.pool.block_len));
        if config.max_sessions == usize::MAX {
            config.max_sessions = descriptors::default_max_sessions(workers)?;
        }
        config.turned_away = descriptors::turned_away(workers);
        config.check()?;
        Ok(workers)
    }
}

/// Takes over a listener made elsewhere, for instance by a service manager. `TCP_NODELAY` and `SO_OOBINLINE` (urgent
/// data in line) are set on the listener and on the connections that it accepts, as with [`Server::bind`]. The backlog
/// of the listener is not changed.
///
/// The listener's `FD_CLOEXEC` flag, which decides whether programs that the process executes inherit it, is not
/// changed. The server's own duplicates of the listener are never inherited.
impl From<TcpListener> for Server {
    fn from(listener: TcpListener) -> Server {
        let addresses = listener.local_addr().into_iter().collect();
        Server::listening(vec![listener.into()], addresses)
    }
}

impl Config {
    /// # Errors
    /// [`Error::Config`] for the first setting that makes no sense.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_counts()?;
        self.check_pool()?;
        self.check_times()?;
        self.check_marks()
    }

    fn check_counts(&self) -> Result<()> {
        if self.max_sessions == 0 {
            return wrong("the session limit", "is 0: a server needs room for at least 1 session");
        }
        if self.max_per_address == Some(0) {
            return wrong("the limit per address", "is 0: nobody could connect");
        }
        if !(1..=128).contains(&self.ipv6_prefix) {
            let problem = format!("is {}: an IPv6 address has 128 bits; give 1 to 128", self.ipv6_prefix);
            return wrong("the IPv6 prefix", problem);
        }
        if self.mailbox == 0 {
            return wrong("the mailbox", "has room for 0 messages; give it at least 1");
        }
        Ok(())
    }

    fn check_pool(&self) -> Result<()> {
        let PoolConfig { blocks, block_len } = self.pool;
        if !(1..=32_768).contains(&blocks) || block_len == 0 {
            let problem = format!(
                "of {blocks} blocks of {block_len} bytes is no pool; give 1 to 32768 blocks of at least 1 byte"
            );
            return wrong("the pool", problem);
        }
        if block_len as usize > MOST {
            let problem = format!(
                "has blocks of {block_len} bytes; give at most {MOST}, the most that may wait for a session"
            );
            return wrong("the pool", problem);
        }
        Ok(())
    }

    fn check_times(&self) -> Result<()> {
        let times = [
            ("the idle timeout", self.idle_timeout, "every session would be idle"),
            ("the first-byte timeout", self.first_byte_timeout, "no session could speak in time"),
            ("the write timeout", self.write_timeout, "no peer could read in time"),
            ("the connect timeout", self.connect_timeout, "no connection could be made in time"),
        ];
        for (setting, time, consequence) in times {
            if time == Some(Duration::ZERO) {
                return wrong(setting, format!("is 0: {consequence}; give more, or none"));
            }
        }
        if self.tick == Some(Duration::ZERO) {
            let problem =
                "has a period of 0; give at least 4 ms (a shorter tick is called every 4 ms), or none";
            return wrong("the tick", problem);
        }
        self.options.check_keepalive().or_else(|error| unusable("the keep-alive", &error))?;
        self.options.check_user_timeout().or_else(|error| unusable("the user timeout", &error))
    }

    fn check_marks(&self) -> Result<()> {
        let Config { high_water, low_water, hard_limit, .. } = *self;
        if low_water >= high_water {
            let problem = format!("of {low_water} bytes is not under the high-water mark of {high_water}");
            return wrong("the low-water mark", problem);
        }
        if hard_limit < high_water {
            let problem = format!("of {hard_limit} bytes is under the high-water mark of {high_water}");
            return wrong("the hard limit", problem);
        }
        if hard_limit > MOST {
            let problem = format!(
                "of {hard_limit} bytes is over {MOST}, the most that may wait for a session (without a limit of yours \
                 it is the high-water mark and 2 MiB)"
            );
            return wrong("the hard limit", problem);
        }
        let block_len = self.pool.block_len as usize;
        if hard_limit < block_len {
            let problem = format!(
                "of {hard_limit} bytes is under a block of the pool, of {block_len}, which is charged in full: a session \
                 could not send on one byte; give at least {block_len}, or a pool of smaller blocks"
            );
            return wrong("the hard limit", problem);
        }
        Ok(())
    }
}

/// What is wrong with a setting, and what would be right.
fn wrong(setting: &'static str, problem: impl Into<String>) -> Result<()> {
    Err(Error::Config { setting, problem: problem.into() })
}

fn unusable(setting: &'static str, error: &io::Error) -> Result<()> {
    wrong(setting, format!("cannot be used: {error}"))
}
