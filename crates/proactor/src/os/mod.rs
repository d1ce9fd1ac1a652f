//! Information from the operating system about itself and the process: descriptors, open handles, errors, interfaces,
//! signals, processors, a cheap clock, and what a thread or a process has used. Also ways to pin a thread to a processor and to halt the
//! main thread for a moment, and [`prefetch`], a hint to the processor.

mod coarse;
mod descriptors;
mod errors;
#[cfg(unix)]
mod halt;
mod handles;
mod interface;
mod prefetch;
mod processors;
#[cfg(unix)]
mod signals;
mod usage;

pub use coarse::coarse_time_ns;
pub use descriptors::{Limit, descriptor_limit, descriptor_limits, open_descriptors, raise_descriptor_limit};
pub use errors::address_unavailable;
#[cfg(unix)]
pub(crate) use errors::is_about_the_peer;
pub(crate) use errors::{ACCEPT_FAILURES, concerns_the_listener, is_out_of_descriptors, is_shortage};
#[cfg(unix)]
pub use halt::{Halted, halt};
pub(crate) use handles::{CountedPort, CountedSocket};
pub use handles::{Handles, handles};
pub use interface::interface_index;
pub use prefetch::prefetch;
pub use processors::{pin_thread, processors};
#[cfg(unix)]
pub use signals::{SignalAction, ignores_signal};
pub use usage::{ProcessUsage, process_usage, thread_cpu_time, thread_run_delay};
