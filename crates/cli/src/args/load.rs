//! The options of `overlapped load`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::{BackendName, Expression};
use crate::units::{duration, server_address, size, up_to};

/// What follows the options in `--help`.
pub(super) const JSON: &str = "\
The JSON is one object; docs/load.schema.json in the repository describes every key. Times in ns or seconds, as their \
names say; null is what was not measured:
  messages, messages_per_second, bytes_per_second: echoes that were complete in the measured part (bytes: each way)
  latency_ns: min, p50, p90, p99, p999, max, mean; with --rate from the scheduled time of sending. latency_actual_ns: \
with --rate, from the actual time of sending
  percentiles[]: the curve: quantile, latency_ns, latency_actual_ns
  connections: opened, failed, reset, ended_early (those of `reset` that the peer ended rather than reset)
  unsent, given_up: messages that were due and not sent; whose connections were reset on purpose
  timeouts, mismatches, errors: errors are connections failed + reset + timeouts + mismatches
  failures[]: why connects failed: reason, count
  first_mismatches[]: connection, offset, expected, got (null: no byte was expected, or the stream ended)
  stalls[]: at_seconds, length_seconds, connections
  events[]: at_seconds, kind (reset, timeout, mismatch, connect_failed), count
  intervals[]: of 100 ms: at_seconds, length_seconds, messages, p50_ns, p90_ns, p99_ns, max_ns, generator_cpu_ns, \
server_cpu_ns
  generator: cpu_percent, cpu_ns_per_message, busiest_thread_percent, waited_for_processor_ns, late_ns_p50, late_ns_p99, \
late_ns_max, bottleneck (null, or why the figures are limited by the generator)
  server: with --server-pid: cpu_percent, cpu_ns_per_message, rss_bytes, voluntary_switches, involuntary_switches
  assertions[]: expression, key, value, holds
  search[], highest_rate: with --find-rate: rate, holds, value, tries, held
  comparison[]: with --compare: key, before, after, ratio, low, high, judged, differs
  duration_seconds, started_at, interrupted, closed_loop, version, config, system: of the run";

#[derive(ClapArgs)]
pub(crate) struct LoadArgs {
    /// The server: HOST:PORT
    ///
    /// A name is resolved once, before the run. An IPv4-mapped address ([::ffff:127.0.0.1]:9999) is that IPv4 address.
    /// 0.0.0.0 and [::] are this machine. A link-local address needs its interface: [fe80::1%eth0]:9999.
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:9999", value_parser = server_address)]
    pub(crate) address: String,

    /// Connections, over all threads
    #[arg(long, value_name = "N", default_value = "50", value_parser = up_to::<{ u32::MAX }>)]
    pub(crate) connections: u32,

    /// Bytes of a message, at most 256MiB; --size times --pipeline too
    #[arg(long, value_name = "SIZE", default_value = "64", value_parser = message_size)]
    pub(crate) size: usize,

    /// Messages in flight per connection, at most 65536; --size times --pipeline at most 256MiB
    #[arg(long, value_name = "N", default_value = "1", value_parser = up_to::<65_536>)]
    pub(crate) pipeline: u32,

    /// Messages per second in all, on a fixed schedule; latencies count from the scheduled time. Without it: a closed
    /// loop, as fast as it goes
    ///
    /// On a schedule, a server that is too slow shows in the latencies: they include how long messages waited to be sent. In
    /// a closed loop a message is sent when an echo has come back, so that time is missing (coordinated omission).
    ///
    /// Before a message is due its thread stays awake for a moment (about 0.2 ms with io_uring, 1.2 ms with readiness, 17 ms
    /// with IOCP), so that the message is on time. That uses CPU time, so on a schedule the CPU time per message of the
    /// generator means little.
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// How long is measured
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = some_time)]
    pub(crate) duration: Duration,

    /// What goes before it: errors count, rates and latencies do not
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) warmup: Duration,

    /// An echo later than this is an error (`timeouts`), and its connection is closed and opened again
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = some_time)]
    pub(crate) reply_timeout: Duration,

    /// Threads of the generator, each with a ring or port of its own
    ///
    /// Connections are dealt out to them in turns. Threads beyond the number of processors share processors, with each
    /// other and with a server on this machine; that makes latencies longer.
    #[arg(long, value_name = "N", default_value = "1", value_parser = up_to::<1024>)]
    pub(crate) threads: u32,

    /// Each thread on a processor of its own, the last ones first: servers that are pinned begin with the first
    ///
    /// With more threads than processors, the threads that are left begin again with the last processor and share it.
    #[arg(long)]
    pub(crate) pin: bool,

    /// How to talk to the kernel
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) backend: BackendName,

    /// How connections behave (repeatable: they take turns) [default: normal]
    ///
    /// normal: sends, and reads each echo. churn: connects, one echo, closes, and again; in a closed loop its latencies
    /// count from the connect, on a schedule from the time at which the message was due. half-close: ends its stream
    /// after 8 messages, reads what is left and the server's end of stream, and connects again. slow-reader: reads
    /// nothing for 500 ms, then everything; up to 4 MiB are unread by then, and it ignores --pipeline if that is less;
    /// its latencies are left out. reset=PERCENT: aborts this share of its messages in the middle, and
    /// connects again; 1 if it is left out. 100 needs another behaviour besides: it completes no echo.
    ///
    /// A connection that has failed is opened again at once. After a connect that failed, or a second failure without an
    /// echo in between, it waits 20 ms first, and twice as long each further time, up to 1 s.
    #[arg(long, value_name = "HOW", value_parser = behaviour)]
    pub(crate) behave: Vec<Behaviour>,

    /// Do not compare bytes: to measure what checking costs
    #[arg(long)]
    pub(crate) no_check: bool,

    /// Write the whole result as JSON (`-` is stdout, in place of the table)
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with the percentile curve and the timeline, which needs nothing but itself (`-` is stdout)
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write the histogram of latencies as a log of the HdrHistogram tools, encoded in version 2 (`-` is stdout)
    #[arg(long, value_name = "FILE")]
    pub(crate) hdr: Option<PathBuf>,

    /// Search for the highest rate at which EXPR holds, such as 'p99<2ms'
    ///
    /// A closed loop finds out what the server can do. Then rates are tried in short runs, each of a fifth of --duration,
    /// until one that holds and one that does not are within 5 %. A rate holds when EXPR does in two of up to four runs that
    /// had no error and kept up with the schedule (at least 97 % of the messages came back): slow phases of a machine only
    /// ever make a run worse. What is reported is a run at the highest rate that holds; exit status 1 if none does. Each
    /// rate is one line on stderr.
    #[arg(long, value_name = "EXPR", conflicts_with = "rate", value_parser = Expression::parse)]
    pub(crate) find_rate: Option<Expression>,

    /// Compare with the result of an earlier --json, and say which differences are more than noise (repeatable: earlier
    /// runs of the same kind)
    ///
    /// Compared are messages_per_second, latency_ns.p50 and .p99, and the CPU time per message of the generator and, with
    /// --server-pid, of the server. `ratio` is this run by the earlier one, or by the median of several. `low` and `high` are
    /// a 95 % interval: it also holds the ratio of the faster quarters of the intervals of 100 ms, drawn in blocks of 1 s,
    /// because a slow phase of the machine, of seconds, looks like a slower server. A difference counts where those
    /// quarters surely differ by more than 12 % (p50 and the generator 15 %, p99 40 %) and the whole runs agree. Fewer than
    /// 45 such intervals with messages, in this run or in the earlier ones together, are not judged.
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Vec<PathBuf>,

    /// Also report the CPU time per message, the memory and the context switches of the server's process, on this machine
    #[arg(long, value_name = "PID", value_parser = up_to::<{ u32::MAX }>)]
    pub(crate) server_pid: Option<u32>,

    /// Exit with status 1 unless EXPR holds (repeatable), such as 'p99<5ms' or 'messages_per_second>100000'
    ///
    /// EXPR is KEY, one of < <= > >= == !=, and a number. KEY is a number in the JSON, such as errors, connections.failed
    /// or server.rss_bytes; min, p50, p90, p99, p999, max and mean are those of latency_ns. Times may have a unit: ns, us,
    /// ms, s, m, h; sizes too: KiB, MiB, GiB. What was not measured, such as the latency of no message, never holds.
    #[arg(long, value_name = "EXPR", value_parser = Expression::parse)]
    pub(crate) assert: Vec<Expression>,
}

/// How a connection behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Behaviour {
    /// Sends, and reads each echo.
    Normal,
    /// One message for each connection: connect, echo, close gracefully, and again.
    Churn,
    /// Ends its stream (FIN) after some messages, reads what is left, expects the server's end of stream, and connects again.
    HalfClose,
    /// Reads nothing for some time, then everything. Its latencies are left out.
    SlowReader,
    /// Aborts (RST) the given percentage of its messages' connections in the middle of an echo, and connects again.
    Reset {
        /// More than 0, at most 100.
        percent: f64,
    },
}

/// What may be in flight on a connection, so a message is not larger either.
fn message_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        size if size <= 256 << 20 => Ok(size),
        _ => Err("that is too much for a message; give at most 256MiB".into()),
    }
}

fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("that is no time; give 1ms or more".into()),
        duration => Ok(duration),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    const MOST: f64 = 1e9;
    match decimal(text) {
        Some(rate) if rate > 0.0 && rate <= MOST => Ok(rate),
        Some(rate) if rate > MOST => {
            Err("that is too fast; give at most 1000000000 messages per second".into())
        }
        _ => Err("give messages per second, a number above 0 such as 50000 or 0.5".into()),
    }
}

/// Digits with at most one dot between them: Rust's own parser takes `inf`, `NaN`, signs and exponents too.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let ends = text.bytes().next().zip(text.bytes().last());
    let between_digits = ends.is_some_and(|(first, last)| first != b'.' && last != b'.');
    text.parse().ok().filter(|_| plain && between_digits)
}

fn behaviour(text: &str) -> Result<Behaviour, String> {
    const CHOICES: &str = "choose one of: normal, churn, half-close, slow-reader, reset, reset=PERCENT";
    match text.split_once('=') {
        None => match text {
            "normal" => Ok(Behaviour::Normal),
            "churn" => Ok(Behaviour::Churn),
            "half-close" => Ok(Behaviour::HalfClose),
            "slow-reader" => Ok(Behaviour::SlowReader),
            "reset" => Ok(Behaviour::Reset { percent: 1.0 }),
            _ => Err(CHOICES.into()),
        },
        Some(("reset", percent)) => match decimal(percent.strip_suffix('%').unwrap_or(percent)) {
            Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(Behaviour::Reset { percent }),
            _ => Err("give a percentage above 0 and up to 100, such as reset=5 or reset=0.1".into()),
        },
        Some(("normal" | "churn" | "half-close" | "slow-reader", _)) => {
            Err("only reset has a number, as in reset=5".into())
        }
        Some(_) => Err(CHOICES.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_plain_numbers_above_zero() {
        assert_eq!(rate("50000"), Ok(50_000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in
            ["", "0", "0.0", "-1", "+1", "NaN", "inf", "1e5", "1k", ".5", "5.", "1.2.3", "1000000001"]
        {
            assert!(rate(wrong).expect_err(wrong).contains("give"), "{wrong}");
        }
    }

    #[test]
    fn behaviours_are_named() {
        assert_eq!(behaviour("churn"), Ok(Behaviour::Churn));
        assert_eq!(behaviour("reset"), Ok(Behaviour::Reset { percent: 1.0 }));
        assert_eq!(behaviour("reset=0.1"), Ok(Behaviour::Reset { percent: 0.1 }));
        assert_eq!(behaviour("reset=100%"), Ok(Behaviour::Reset { percent: 100.0 }));
        for wrong in ["reset=0", "reset=101", "reset=", "reset=x", "reset=-1", "churn=5", "Churn", "", "=5"] {
            let problem = behaviour(wrong).expect_err(wrong);
            assert!(problem.contains("reset"), "{wrong}: {problem}");
        }
    }

    #[test]
    fn nothing_is_refused() {
        assert!(message_size("0").is_err() && message_size("268435457").is_err());
        assert_eq!(message_size("256MiB"), Ok(256 << 20));
        assert!(some_time("0s").is_err());
        assert_eq!(some_time("1ms"), Ok(Duration::from_millis(1)));
    }
}
