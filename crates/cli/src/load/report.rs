//! The result of a run, as `--json` writes it and `--compare` reads it: `docs/load.schema.json` describes every key, and
//! a test compares both. What a person reads is made from it too.

use serde::{Deserialize, Serialize};

/// Everything. `null` is what was not measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) version: String,
    pub(crate) started_at: String,
    pub(crate) duration_seconds: f64,
    pub(crate) interrupted: bool,
    pub(crate) closed_loop: bool,
    pub(crate) messages: u64,
    pub(crate) messages_per_second: f64,
    pub(crate) bytes_per_second: f64,
    #[serde(default)]
    pub(crate) unsent: u64,
    /// Messages whose echo was not awaited, because their connections were reset on purpose.
    #[serde(default)]
    pub(crate) given_up: u64,
    pub(crate) latency_ns: Latency,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency_actual_ns: Option<Latency>,
    pub(crate) percentiles: Vec<Point>,
    pub(crate) connections: Connections,
    pub(crate) timeouts: u64,
    pub(crate) mismatches: u64,
    pub(crate) errors: u64,
    pub(crate) failures: Vec<Reason>,
    pub(crate) first_mismatches: Vec<WrongByte>,
    pub(crate) stalls: Vec<Stall>,
    pub(crate) events: Vec<Event>,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) generator: Generator,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<Server>,
    pub(crate) assertions: Vec<Assertion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) search: Option<Vec<Step>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// With a search alone; `Some(None)`: no rate was found.
    pub(crate) highest_rate: Option<Option<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comparison: Option<Vec<Difference>>,
    pub(crate) config: Config,
    pub(crate) system: System,
}

/// In ns; `null` where there was no message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) min: Option<u64>,
    pub(crate) p50: Option<u64>,
    pub(crate) p90: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) p999: Option<u64>,
    pub(crate) max: Option<u64>,
    pub(crate) mean: Option<f64>,
}

/// Of the percentile curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) quantile: f64,
    pub(crate) latency_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency_actual_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Connections {
    pub(crate) opened: u64,
    pub(crate) failed: u64,
    pub(crate) reset: u64,
    pub(crate) ended_early: u64,
}

/// Why connects failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reason {
    pub(crate) reason: String,
    pub(crate) count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WrongByte {
    pub(crate) connection: u64,
    pub(crate) offset: u64,
    pub(crate) expected: Option<u8>,
    pub(crate) got: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stall {
    pub(crate) at_seconds: f64,
    pub(crate) length_seconds: f64,
    pub(crate) connections: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) at_seconds: f64,
    pub(crate) kind: Kind,
    pub(crate) count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Reset,
    Timeout,
    Mismatch,
    ConnectFailed,
}

/// `null` where there was no message, or no `--server-pid`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval {
    pub(crate) at_seconds: f64,
    pub(crate) length_seconds: f64,
    pub(crate) messages: u64,
    pub(crate) p50_ns: Option<u64>,
    pub(crate) p90_ns: Option<u64>,
    pub(crate) p99_ns: Option<u64>,
    pub(crate) max_ns: Option<u64>,
    #[serde(default)]
    pub(crate) generator_cpu_ns: Option<u64>,
    pub(crate) server_cpu_ns: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Generator {
    pub(crate) cpu_percent: f64,
    pub(crate) cpu_ns_per_message: Option<f64>,
    pub(crate) busiest_thread_percent: f64,
    pub(crate) waited_for_processor_ns: Option<u64>,
    pub(crate) late_ns_p50: Option<u64>,
    pub(crate) late_ns_p99: Option<u64>,
    pub(crate) late_ns_max: Option<u64>,
    pub(crate) bottleneck: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) cpu_percent: f64,
    pub(crate) cpu_ns_per_message: Option<f64>,
    pub(crate) rss_bytes: u64,
    pub(crate) voluntary_switches: Option<u64>,
    pub(crate) involuntary_switches: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Assertion {
    pub(crate) expression: String,
    pub(crate) key: String,
    pub(crate) value: Option<f64>,
    pub(crate) holds: bool,
}

/// Of the search for the highest rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) rate: f64,
    pub(crate) holds: bool,
    /// What the expression's key was, the median of the tries.
    pub(crate) value: Option<f64>,
    pub(crate) tries: u32,
    /// Of the tries, those in which it held.
    pub(crate) held: u32,
}

/// Between earlier runs and this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Difference {
    pub(crate) key: String,
    pub(crate) before: f64,
    pub(crate) after: f64,
    pub(crate) ratio: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// `false`: the runs do not tell, so `differs` is `false` too.
    #[serde(default = "yes")]
    pub(crate) judged: bool,
    pub(crate) differs: bool,
}

/// What earlier versions wrote was judged.
fn yes() -> bool {
    true
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) target: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) connections: u32,
    pub(crate) size: usize,
    pub(crate) pipeline: u32,
    pub(crate) rate: Option<f64>,
    pub(crate) duration_seconds: f64,
    pub(crate) warmup_seconds: f64,
    pub(crate) reply_timeout_seconds: f64,
    pub(crate) threads: u32,
    pub(crate) pin: bool,
    pub(crate) backend: String,
    pub(crate) behave: Vec<String>,
    pub(crate) check: bool,
    pub(crate) server_pid: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct System {
    pub(crate) os: String,
    pub(crate) kernel: Option<String>,
    pub(crate) processor: Option<String>,
    pub(crate) processors: usize,
    /// Of x86 processors: whether they have fast short copies (`rep movsb`), which decide how much it costs to copy bytes
    /// that are not aligned.
    pub(crate) fsrm: Option<bool>,
    pub(crate) backend: String,
}
