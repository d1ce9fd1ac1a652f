//! Watching a server: the events that happen in it, and the numbers counted from them.

mod events;
mod longest;
mod report;
mod stats;

pub use events::{Event, Rejection};
pub(crate) use longest::Longest;
pub(crate) use report::{Observe, Observer, Report};
pub(crate) use stats::{Gauges, Published};
pub use stats::{Metric, MetricKind, Stats};
