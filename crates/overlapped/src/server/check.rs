//! Settings that cannot work: each is refused at the start, with what would work.

use std::io;
use std::time::Duration;

use proactor::{PoolConfig, os};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::session::{MOST, SendLimits};

/// The shortest timeout: even a peer on the same machine needs some time.
const SHORTEST: Duration = Duration::from_millis(1);

impl Config {
    /// # Errors
    /// [`Error::Config`] for the first setting that makes no sense.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_counts()?;
        self.check_pool()?;
        self.check_times()?;
        self.check_marks()?;
        self.check_pinning()
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
            ("the read-idle timeout", self.read_idle_timeout, "every session would be idle"),
            ("the write-idle timeout", self.write_idle_timeout, "every session would be idle"),
            ("the first-byte timeout", self.first_byte_timeout, "no session could speak in time"),
            ("the write timeout", self.write_timeout, "no peer could read in time"),
            ("the connect timeout", self.connect_timeout, "no connection could be made in time"),
        ];
        for (setting, time, consequence) in times {
            match time {
                Some(Duration::ZERO) => {
                    return wrong(setting, format!("is 0: {consequence}; give more, or none"));
                }
                Some(time) if time < SHORTEST => {
                    return wrong(
                        setting,
                        format!("is {time:?}: {consequence}; give at least 1 ms, or none"),
                    );
                }
                _ => {}
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
        self.send_limits().check(self.pool.block_len as usize)
    }

    fn check_pinning(&self) -> Result<()> {
        let processors = if self.pin_workers { os::processors().map(drop) } else { Ok(()) };
        processors.or_else(|error| unusable("the pinning of workers", &error))
    }
}

impl SendLimits {
    /// `block_len`: bytes of a block of the pool.
    ///
    /// # Errors
    /// [`Error::Config`] for the first value that makes no sense.
    pub(crate) fn check(&self, block_len: usize) -> Result<()> {
        let SendLimits { high_water, low_water, hard_limit } = *self;
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
