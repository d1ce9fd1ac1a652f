//! Every limit and deadline of a server, as its workers read them. `server/builder.rs` sets and checks them.

use std::time::Duration;

use proactor::{Pool, PoolConfig, SocketOptions};

use crate::admission::AddressLimit;
use crate::error::{Error, Result};
use crate::session::{MOST, SendLimits};

/// Connections that a worker turns away at a time, because there is no room for them: each keeps its descriptor for up to
/// 100 ms.
pub(crate) const TURNED_AWAY: usize = 128;

/// What happens to a session when more is queued for it than the hard limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// The session is closed with a reset: the server does not wait for a peer that does not read.
    #[default]
    Close,
    /// The send is refused with [`Sent::Full`](crate::Sent::Full); the handler decides what to do with the session.
    Refuse,
}

/// The policy for a panic in a handler: what it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnPanic {
    /// The session it happened in is aborted; the worker goes on. The handler's own fields are as the panic left them,
    /// and [`on_panic`](crate::Handler::on_panic) lets it repair them.
    #[default]
    AbortSession,
    /// The whole server ends: [`ServerHandle::wait`](crate::ServerHandle::wait) returns the panic as an error, and no
    /// callback follows on that worker. For handlers whose fields cannot be trusted after a panic.
    StopServer,
}

/// The limits of a server. Memory per worker is bounded by `pool` + sessions × `hard_limit`.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Over the whole server; beyond it connections are turned away.
    pub(crate) max_sessions: usize,
    /// Sessions from one peer address.
    pub(crate) max_per_address: Option<usize>,
    /// Bits of an IPv6 address that count for that.
    pub(crate) ipv6_prefix: u8,
    /// Unsent bytes of a session at which its receive pauses.
    pub(crate) high_water: usize,
    /// Unsent bytes at which it resumes.
    pub(crate) low_water: usize,
    /// Bytes that may be queued for a session, blocks charged in full.
    pub(crate) hard_limit: usize,
    pub(crate) overflow: Overflow,
    pub(crate) pool: PoolConfig,
    /// Messages and commands that may wait in a worker's mailbox.
    pub(crate) mailbox: usize,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) read_idle_timeout: Option<Duration>,
    pub(crate) write_idle_timeout: Option<Duration>,
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    /// After FIN was sent: how long the peer's FIN is waited for.
    pub(crate) linger_timeout: Duration,
    /// Keep-alive and user timeout.
    pub(crate) options: SocketOptions,
    /// Connections that each worker may turn away at a time.
    pub(crate) turned_away: usize,
    pub(crate) tick: Option<Duration>,
    /// How long a worker spins before it sleeps.
    pub(crate) busy_poll: Option<Duration>,
    /// True exactly when each worker's thread is pinned to a processor.
    pub(crate) pin_workers: bool,
    pub(crate) on_panic: OnPanic,
    pub(crate) trace_operations: bool,
    /// True exactly when the system is asked about each connection before it is closed.
    pub(crate) tcp_info_at_close: bool,
    /// A callback that takes longer is reported.
    pub(crate) slow_callback: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        let high_water = 64 * 1024;
        Config {
            max_sessions: usize::MAX,
            max_per_address: None,
            ipv6_prefix: 64,
            high_water,
            low_water: high_water / 2,
            hard_limit: hard_limit_for(high_water, PoolConfig::default().block_len),
            overflow: Overflow::Close,
            pool: PoolConfig::default(),
            mailbox: 16 * 1024,
            idle_timeout: None,
            read_idle_timeout: None,
            write_idle_timeout: None,
            first_byte_timeout: None,
            write_timeout: Some(Duration::from_secs(60)),
            connect_timeout: Some(Duration::from_secs(10)),
            linger_timeout: Duration::from_secs(2),
            options: SocketOptions::default(),
            turned_away: TURNED_AWAY,
            tick: None,
            busy_poll: None,
            pin_workers: false,
            on_panic: OnPanic::AbortSession,
            trace_operations: false,
            tcp_info_at_close: false,
            slow_callback: Some(Duration::from_millis(25)),
        }
    }
}

/// Pausing a receive is asynchronous, and a ring may bring in up to 32 blocks of one session at a time before
/// the pause is seen; a handler that answers byte for byte must find room for that much above high water.
pub(crate) fn hard_limit_for(high_water: usize, block_len: u32) -> usize {
    let on_its_way = (block_len as usize).saturating_mul(64).max(2 * 1024 * 1024);
    high_water.saturating_add(on_its_way).min(MOST.max(high_water))
}

impl Config {
    /// The marks that hold for sessions without their own.
    pub(crate) fn send_limits(&self) -> SendLimits {
        let Config { high_water, low_water, hard_limit, .. } = *self;
        SendLimits { high_water, low_water, hard_limit }
    }

    /// The limit of sessions per address, if there is one.
    pub(crate) fn address_limit(&self) -> Option<AddressLimit> {
        self.max_per_address.map(|most| AddressLimit::new(most, self.ipv6_prefix))
    }

    /// A pool of the configured shape.
    ///
    /// # Errors
    /// [`Error::Config`] if the system has no room for it.
    pub(crate) fn make_pool(&self) -> Result<Pool> {
        Pool::try_new(self.pool).map_err(|error| {
            let PoolConfig { blocks, block_len } = self.pool;
            let problem = format!(
                "of {blocks} blocks of {block_len} bytes cannot be had: {error}; each worker has one; give fewer or \
                 smaller blocks"
            );
            Error::Config { setting: "the pool", problem }
        })
    }
}
