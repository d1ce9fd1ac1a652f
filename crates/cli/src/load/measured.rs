//! What a run has measured: what the generator gives, and what the reports are made of.

use std::time::Duration;

use hdrhistogram::Histogram;

/// One run, or the part of it until it was interrupted. Times count from the end of the warm-up, unless stated otherwise.
#[derive(Clone)]
pub(crate) struct Measured {
    /// When the measured part began, as time since 1970-01-01 UTC.
    pub(crate) began: Duration,
    /// How long the measured part took: as planned, or less if it was interrupted.
    pub(crate) elapsed: Duration,
    /// Ended early by Ctrl-C.
    pub(crate) interrupted: bool,
    /// The backend that the generator used: `io_uring`, `iocp`, `readiness`.
    pub(crate) backend: String,
    /// Latencies in ns of messages whose echo was complete in the measured part: from the scheduled time of sending, if
    /// there is a schedule, else from the time of sending.
    pub(crate) latency: Histogram<u64>,
    /// With a schedule: the same messages from the time of sending.
    pub(crate) latency_actual: Option<Histogram<u64>>,
    /// How late the generator was, in ns: with a schedule, from the moment a message was due *and could be sent*
    /// (`pipeline` allowed it) to the moment it was sent; in a closed loop, what is known of how long completions waited for
    /// the generator (the time a turn took, from its harvest to its end).
    pub(crate) late: Histogram<u64>,
    /// In order, without gaps, from 0 to `elapsed`; each 100 ms long, the last one shorter.
    pub(crate) intervals: Vec<Interval>,
    /// Over the whole run, warm-up included, except where stated otherwise.
    pub(crate) counts: Counts,
    /// The first few, at most 8.
    pub(crate) first_mismatches: Vec<Mismatch>,
    /// By their beginning.
    pub(crate) stalls: Vec<Stall>,
    /// Resets, timeouts, mismatches and failed connects of the measured part, those of one kind within one interval as one.
    /// At most 1,000.
    pub(crate) events: Vec<Event>,
    pub(crate) generator: Generator,
    /// With `--server-pid`.
    pub(crate) server: Option<ServerUse>,
}

/// A part of the run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interval {
    pub(crate) at: Duration,
    pub(crate) length: Duration,
    /// Echoes that were complete.
    pub(crate) messages: u64,
    /// Of `Measured::latency`, in ns; 0 if there were no messages.
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
    /// CPU time of the generator's threads, where it is known.
    pub(crate) generator_cpu: Option<Duration>,
    /// CPU time of the server, with `--server-pid`.
    pub(crate) server_cpu: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Echoes that were complete in the measured part.
    pub(crate) messages: u64,
    /// With a schedule: messages that were due in the measured part and had not been sent at its end, because their
    /// connections were waiting for echoes or had failed. Their latency is what they had waited by then, unless that is less
    /// than a usual time from sending to the echo.
    pub(crate) unsent: u64,
    /// Messages of the measured part whose echo was not awaited: their connections were reset on purpose.
    pub(crate) given_up: u64,
    /// Connections that were opened.
    pub(crate) opened: u64,
    /// Connects that failed.
    pub(crate) failed: u64,
    /// Connections that the peer reset or ended early, without being asked to.
    pub(crate) reset: u64,
    /// Of those: ended by an end of stream rather than by a reset.
    pub(crate) ended_early: u64,
    /// Echoes that came later than the reply timeout or not at all; each closes its connection.
    pub(crate) timeouts: u64,
    /// Messages with a wrong, missing or extra byte; each closes its connection.
    pub(crate) mismatches: u64,
    /// Why connects failed: the system's words, and how often. At most 8.
    pub(crate) failures: Vec<(String, u64)>,
}

/// The first wrong byte of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Mismatch {
    /// Its number, counted from 0.
    pub(crate) connection: u64,
    /// Of the byte in the connection's stream of echoes.
    pub(crate) offset: u64,
    /// `None`: nothing was expected (an extra byte).
    pub(crate) expected: Option<u8>,
    /// `None`: the byte is missing (the stream ended).
    pub(crate) got: Option<u8>,
}

/// An interval in which some connections that waited for an echo got none: longer than ten times the median latency, and
/// 100 ms at least. Intervals that overlap are one.
#[derive(Clone, Debug)]
pub(crate) struct Stall {
    pub(crate) at: Duration,
    pub(crate) length: Duration,
    /// How many.
    pub(crate) connections: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) kind: EventKind,
    pub(crate) count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Reset,
    Timeout,
    Mismatch,
    ConnectFailed,
}

/// The generator's own cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Generator {
    /// CPU time of its threads in the measured part.
    pub(crate) cpu: Duration,
    /// Share of its busiest thread: 1.0 is a whole processor.
    pub(crate) busiest_thread: f64,
    /// Time that its threads were ready to run and had no processor, where the system says.
    pub(crate) waited_for_processor: Option<Duration>,
    /// Why its figures are limited by itself rather than by the server; `None` if they are not.
    pub(crate) bottleneck: Option<String>,
}

/// The server's process over the measured part.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerUse {
    pub(crate) cpu: Duration,
    /// At the end.
    pub(crate) rss_bytes: u64,
    /// Where the system counts them.
    pub(crate) voluntary_switches: Option<u64>,
    pub(crate) involuntary_switches: Option<u64>,
}
