//! What a run is to do: the options, checked, and the target's addresses.

use std::net::SocketAddr;
use std::time::Duration;

use overlapped::Choice;

pub(crate) use crate::args::Behaviour;

/// One run. A search for the highest rate makes several, which differ in `rate` and in their durations.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The target as it was given.
    pub(crate) target: String,
    /// What it resolved to, in the resolver's order; never empty. A connection that is refused tries the next one.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Connections in all, over all threads; at least 1.
    pub(crate) connections: u32,
    /// Bytes of a message; at least 1.
    pub(crate) size: usize,
    /// Messages in flight per connection at most; at least 1.
    pub(crate) pipeline: u32,
    /// Messages per second in all, on a fixed schedule. `None`: a closed loop.
    pub(crate) rate: Option<f64>,
    /// Of the measured part, which follows the warm-up.
    pub(crate) duration: Duration,
    /// May be zero.
    pub(crate) warmup: Duration,
    /// An echo later than this is an error.
    pub(crate) reply_timeout: Duration,
    /// At least 1.
    pub(crate) threads: u32,
    /// Each thread on a processor of its own.
    pub(crate) pin: bool,
    pub(crate) backend: Choice,
    /// Never empty. Connection `i` behaves as `behaviours[i % len]` says.
    pub(crate) behaviours: Vec<Behaviour>,
    /// Whether echoed bytes are compared with what was sent.
    pub(crate) check: bool,
    /// The server's process, of which CPU time, memory and context switches are reported.
    pub(crate) server_pid: Option<u32>,
}
