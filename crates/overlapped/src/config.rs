//! Every limit and deadline of a server, in one place.

use std::io;
use std::time::Duration;

use proactor::{Pool, PoolConfig, SocketOptions};

use crate::error::{Error, Result};
use crate::session::MOST;

/// Connections that a worker turns away at a time, because there is no room for them: each keeps its descriptor for up to
/// 100 ms.
pub(crate) const TURNED_AWAY: usize = 128;

/// What happens to a session when more is queued for it than the hard limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It is closed with a reset: a peer that does not read is not waited for.
    #[default]
    Close,
    /// The send is refused; the handler decides.
    Refuse,
}

/// What a panic in a handler ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPanic {
    /// The session it happened in is aborted; the worker goes on. The handler's own fields are as the panic left them,
    /// and [`on_panic`](crate::Handler::on_panic) lets it put them right.
    #[default]
    AbortSession,
    /// The whole server: [`ServerHandle::wait`](crate::ServerHandle::wait) returns the panic as an error, and no
    /// callback follows on that worker. For handlers whose fields must not be trusted after one.
    StopServer,
}

/// The limits of a server. Memory per worker is bounded by `pool` + sessions × `hard_limit`.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Over the whole server; beyond it connections are turned away.
    pub(crate) max_sessions: usize,
    /// Sessions from one peer address.
    pub(crate) max_per_address: Option<usize>,
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
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    /// After FIN was sent: how long the peer's FIN is waited for.
    pub(crate) linger_timeout: Duration,
    /// How peers that are gone without a word are noticed.
    pub(crate) options: SocketOptions,
    /// Connections that each worker may turn away at a time.
    pub(crate) turned_away: usize,
    pub(crate) tick: Option<Duration>,
    /// How long a worker spins before it sleeps.
    pub(crate) busy_poll: Option<Duration>,
    pub(crate) on_panic: OnPanic,
    pub(crate) trace_operations: bool,
}

impl Default for Config {
    fn default() -> Self {
        let high_water = 64 * 1024;
        Config {
            max_sessions: usize::MAX,
            max_per_address: None,
            high_water,
            low_water: high_water / 2,
            hard_limit: hard_limit_for(high_water, PoolConfig::default().block_len),
            overflow: Overflow::Close,
            pool: PoolConfig::default(),
            mailbox: 16 * 1024,
            idle_timeout: None,
            first_byte_timeout: None,
            write_timeout: Some(Duration::from_secs(60)),
            connect_timeout: Some(Duration::from_secs(10)),
            linger_timeout: Duration::from_secs(2),
            options: SocketOptions::default(),
            turned_away: TURNED_AWAY,
            tick: None,
            busy_poll: None,
            on_panic: OnPanic::AbortSession,
            trace_operations: false,
        }
    }
}

/// Pausing a receive is asynchronous, and a ring may bring in up to 32 blocks of one session at a time before
/// the pause is seen; a handler that answers byte for byte must find room for that much above high water.
pub(crate) fn hard_limit_for(high_water: usize, block_len: u32) -> usize {
    let on_its_way = (block_len as usize).saturating_mul(64).max(2 * 1024 * 1024);
    high_water.saturating_add(on_its_way).min(MOST.max(high_water))
}

/// A setting that makes no sense, and what would.
fn wrong(setting: &'static str, problem: impl Into<String>) -> Result<()> {
    Err(Error::Config { setting, problem: problem.into() })
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

fn unusable(setting: &'static str, error: &io::Error) -> Result<()> {
    wrong(setting, format!("cannot be used: {error}"))
}
