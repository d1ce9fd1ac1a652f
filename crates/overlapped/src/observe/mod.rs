//! Watching a server: the events that happen in it, and the numbers counted from them.

mod events;
mod report;
mod stats;

pub use events::{Event, Rejection};
pub(crate) use report::{Observe, Observer, Report};
pub use stats::Stats;
pub(crate) use stats::{Gauges, Published};
