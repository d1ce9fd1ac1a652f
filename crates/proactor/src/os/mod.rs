//! Information from the operating system about itself and the process: descriptors, open handles, errors, interfaces,
//! signals. Also a way to halt the main thread for a moment, and [`prefetch`], a hint to the processor.

mod descriptors;
mod errors;
#[cfg(unix)]
mod halt;
mod handles;
mod interface;
mod prefetch;
#[cfg(unix)]
mod signals;

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
#[cfg(unix)]
pub use signals::{SignalAction, ignores_signal};
