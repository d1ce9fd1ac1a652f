//! A server before it starts: what it listens on, and every setting.

use std::fmt;
use std::net::SocketAddr;
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
use crate::error::{Error, Result};
#[cfg(doc)]
use crate::handler::Handler;
use crate::observe::{Event, Observe};

use super::binding::{self, SkippedAddress};
use super::descriptors;

/// A server that is bound and not started yet.
///
/// The defaults of all settings are suitable for production; each method documents its default. A child process that is
/// made by `fork(2)` while a server runs, and that does not call `exec`, keeps the server's connections and ports open:
/// see [the crate's page](crate#other-processes).
///
/// Settings that can be off take `impl Into<Option<_>>`: a value turns the setting on, `None` turns it off.
///
/// ```no_run
/// # use std::time::Duration;
/// # fn main() -> overlapped::Result<()> {
/// let server = overlapped::Server::bind("127.0.0.1:9999")?
///     .idle_timeout(Duration::from_secs(300)) // on; it is off by default
///     .write_timeout(None); // off; it is 60 s by default
/// # Ok(())
/// # }
/// ```
///
/// [`linger_timeout`](Server::linger_timeout) cannot be off: each close ends after a bounded time. Settings that cannot
/// work are refused by [`start`](Server::start) and [`run`](Server::run) with [`Error::Config`].
pub struct Server {
    pub(super) sockets: Vec<Socket>,
    /// Of each listener: of the addresses without a socket, which a [`World`](crate::testing::World) has, then of the
    /// sockets.
    pub(super) tokens: Vec<u64>,
    /// How many of the listeners were there before the last call that added some.
    pub(super) before_last: usize,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) skipped: Vec<SkippedAddress>,
    /// For how much longer addresses in use are retried.
    pub(super) retry_left: Duration,
    pub(super) workers: Option<usize>,
    pub(super) choice: Choice,
    pub(super) config: Config,
    hard_limit: Option<usize>,
    low_water: Option<usize>,
    pub(super) observer: Option<Observe>,
}

impl Server {
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
    pub fn max_per_address(mut self, sessions: impl Into<Option<usize>>) -> Server {
        self.config.max_per_address = sessions.into();
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

    /// How long [`WorkerContext::connect`](crate::WorkerContext::connect) may take before it fails with
    /// [`TimedOut`](std::io::ErrorKind::TimedOut), unless the connect has a [deadline of its
    /// own](crate::Connect::deadline). Less than 1 ms is an error at the start. Default: 10 s. The system's own limit
    /// holds too.
    #[must_use]
    pub fn connect_timeout(mut self, after: impl Into<Option<Duration>>) -> Server {
        self.config.connect_timeout = after.into();
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
    pub fn keepalive(mut self, idle: impl Into<Option<Duration>>) -> Server {
        self.config.options.keepalive = idle.into();
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
    pub fn user_timeout(mut self, limit: impl Into<Option<Duration>>) -> Server {
        self.config.options.user_timeout = limit.into();
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
    pub fn tick(mut self, every: impl Into<Option<Duration>>) -> Server {
        self.config.tick = every.into();
        self
    }

    /// How long after its last completion a worker polls for more without sleeping. This lowers latency and uses a
    /// whole core per worker. Default: off.
    #[must_use]
    pub fn busy_poll(mut self, spin: impl Into<Option<Duration>>) -> Server {
        self.config.busy_poll = spin.into();
        self
    }

    /// Pins each worker's thread to a processor of its own: worker 0 to the first of those that the process may use
    /// (`taskset`, cpusets), worker 1 to the second, and so on; the next worker after the last processor gets the first one
    /// again. Default: off; the system moves threads between processors.
    ///
    /// A pinned worker keeps its caches, and measurements vary less. It also waits when another thread uses its processor
    /// although others are free. On Linux, threads that a handler starts inherit the pinning. On systems other than
    /// Linux and Windows it is an error at the start.
    #[must_use]
    pub fn pin_workers(mut self, on: bool) -> Server {
        self.config.pin_workers = on;
        self
    }

    /// What a panic in a handler ends. Default: the session it happened in.
    #[must_use]
    pub fn on_panic(mut self, policy: OnPanic) -> Server {
        self.config.on_panic = policy;
        self
    }

    /// [`Closed::tcp`](crate::Closed::tcp) and [`Event::Closed`] say what the system has measured of the connection: round-trip
    /// time, retransmissions. Costs one or two system calls for each session that ends. Default: off.
    #[must_use]
    pub fn tcp_info_at_close(mut self, on: bool) -> Server {
        self.config.tcp_info_at_close = on;
        self
    }

    /// A callback that takes at least this long is counted, and reported as [`Event::SlowCallback`]: all other sessions of
    /// its worker wait meanwhile. Default: 25 ms. It is measured with a clock that ticks every 1 to 10 ms on Linux, 16 ms on
    /// Windows; one read of it for each callback costs a few nanoseconds, and `None` saves that. A stopped process, or
    /// one that gets no processor, looks like a slow callback.
    #[must_use]
    pub fn slow_callback(mut self, limit: impl Into<Option<Duration>>) -> Server {
        self.config.slow_callback = limit.into();
        self
    }

    /// The observer gets [`Event::Operation`], too: every submission and every completion. Default: off, at no cost. On
    /// without an [observer](Self::observer) is an error at the start.
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

    /// The same as [`descriptors_needed`](Self::descriptors_needed) for a server
    /// [without listeners](Self::without_listeners), which keeps none for connections that it turns away.
    #[must_use]
    pub fn descriptors_needed_to_connect(connections: u64, workers: usize) -> u64 {
        descriptors::needed_to_connect(connections, workers)
    }

    /// Connections that a server [without listeners](Self::without_listeners) and with `workers` has room for: the
    /// descriptor limit minus the descriptors that are open and
    /// [what it needs itself](Self::descriptors_needed_to_connect). `None`: there is no limit.
    #[must_use]
    pub fn room_to_connect(workers: usize) -> Option<u64> {
        descriptors::room_to_connect(workers)
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
    pub(super) fn listening(sockets: Vec<Socket>, addresses: Vec<SocketAddr>) -> Server {
        Server {
            tokens: vec![0; sockets.len().max(addresses.len())],
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
        if config.trace_operations && self.observer.is_none() {
            let problem = "has no observer to report to; set one, or leave it off".to_owned();
            return Err(Error::Config { setting: "the trace of operations", problem });
        }
        Ok(workers)
    }
}

/// Where it listens; not every setting.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .field("backend", &self.choice)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
