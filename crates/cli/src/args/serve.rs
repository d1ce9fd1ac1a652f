//! The options of `overlapped serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};

use super::BackendName;
use crate::units::{Limit, duration, limit, listen_address, size, up_to};

/// Where `serve` listens unless told otherwise.
pub(crate) const DEFAULT_BIND: &str = "127.0.0.1:9999";

/// How a line is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A time stamp, unless a terminal or the journal of systemd reads it, and the message
    Text,
    /// One JSON object per line: time (RFC 3339, UTC), level, message, and fields
    Json,
}

#[derive(ClapArgs)]
pub(crate) struct ServeArgs {
    /// Listen here (repeatable); port 0 picks a free one
    ///
    /// ADDR is HOST:PORT. 0.0.0.0:9999 is every IPv4 address of this machine. [::]:9999 is every IPv6 address and no
    /// IPv4 one, on every system; for both, give both. An IPv4-mapped address is that IPv4 address:
    /// [::ffff:127.0.0.1]:9999 is 127.0.0.1:9999. A link-local address needs its interface: [fe80::1%eth0]:9999.
    ///
    /// A name is all of its addresses, with one port. One that this machine does not have is skipped with a note. An
    /// address in use is tried again for up to 2s: a process that was killed may give its port back late.
    ///
    /// Sockets of a service manager (LISTEN_FDS, as systemd sets it) are used in place of it, and one with the name admin
    /// in place of --admin.
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_BIND, value_parser = listen_address)]
    pub(crate) bind: Vec<String>,

    /// Worker threads, each with a ring or port of its own [default: number of cores]
    #[arg(long, value_name = "N", value_parser = up_to::<1024>)]
    pub(crate) workers: Option<u32>,

    /// How to talk to the kernel
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) backend: BackendName,

    /// Sessions at most; clients beyond read an end of stream, and are closed within 100ms [default: what the
    /// descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = up_to::<{ u32::MAX }>)]
    pub(crate) max_sessions: Option<u32>,

    /// Sessions from one peer address at most; clients beyond are turned away likewise [default: off]
    #[arg(long, value_name = "N", value_parser = up_to::<{ u32::MAX }>)]
    pub(crate) max_per_address: Option<u32>,

    /// Close sessions that are silent for this long
    #[arg(long, value_name = "DURATION", default_value = "off", value_parser = limit)]
    pub(crate) idle_timeout: Limit,

    /// Close sessions that never send a byte
    #[arg(long, value_name = "DURATION", default_value = "off", value_parser = limit)]
    pub(crate) first_byte_timeout: Limit,

    /// Cut sessions whose peer does not read
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = limit)]
    pub(crate) write_timeout: Limit,

    /// How long a drain may take before what is left is cut. With 0s nothing is waited for: sessions with nothing left
    /// to send are closed, all others are cut at once
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,

    /// On the first signal: /ready of --admin fails at once, and connections are accepted for this time before the drain
    /// begins, so that load balancers send new clients elsewhere first
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub(crate) drain_delay: Duration,

    /// HTTP for operators [default: off]
    ///
    /// / is a live page, /metrics all counters as OpenMetrics or Prometheus text, /live and /ready are health checks (200;
    /// /live 503 when a worker hangs, /ready 503 from the moment that a drain is asked for), /sessions lists the open sessions
    /// as JSON. Nothing can be changed there, and there is no password: give a loopback address, or one that only operators
    /// reach. Prints `admin on http://ADDR/` after the addresses listened on. ADDR as for --bind.
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub(crate) admin: Option<String>,

    /// Ask whether the peers of silent sessions are still there: when nothing has come for this long, up to four TCP
    /// keep-alive probes go out, a quarter of that time apart (whole seconds); without an answer the session ends, after about twice
    /// the time. At most 9h
    #[arg(long, value_name = "DURATION", default_value = "off", value_parser = limit)]
    pub(crate) keepalive: Limit,

    /// End sessions whose peer's system does not acknowledge what was sent for this long (TCP_USER_TIMEOUT; refused on
    /// systems without it). At most 596h
    #[arg(long, value_name = "DURATION", default_value = "off", value_parser = limit)]
    pub(crate) user_timeout: Limit,

    /// Unsent bytes at which a session's receive pauses
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = size)]
    pub(crate) high_water: usize,

    /// Unsent bytes at which it resumes [default: half of the high-water mark]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) low_water: Option<usize>,

    /// Spin for this long before sleeping: lower latency for a whole core
    #[arg(long, value_name = "DURATION", default_value = "off", value_parser = limit)]
    pub(crate) busy_poll: Limit,

    /// Pin each worker to a processor of its own, in order; with more workers than processors, from the first one again
    /// (refused on systems other than Linux and Windows)
    #[arg(long)]
    pub(crate) pin: bool,

    /// Write every submission and completion to a file that Perfetto opens (ui.perfetto.dev); it grows fast.
    /// Events are buffered, and written 16 KiB at a time; the file is complete when the server has ended.
    /// Events that a slow disk leaves no room for (16 MiB may wait) are dropped and counted, in the file and on stderr
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// Print a line per submission and completion to stderr, in the system's own words. Its columns: seconds since the
    /// start; the session, WORKER/SLOT.GENERATION, or WORKER/- where there is none; `op` and the number of the
    /// operation, the same from its submission to its last completion; the call; and after a colon, what became of it.
    /// Lines that come faster than they are read are dropped and counted
    #[arg(long)]
    pub(crate) log_ops: bool,

    /// How the lines of -v and warnings are written; the addresses listened on, the summary, and the lines of --log-ops
    /// stay as they are
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// Print only the addresses listened on; warnings still go to stderr
    #[arg(long, conflicts_with_all = ["verbose", "log_ops"])]
    pub(crate) quiet: bool,

    /// Print a line per session as it opens and as it closes, by its name: WORKER/SLOT.GENERATION
    #[arg(short, long)]
    pub(crate) verbose: bool,
}
