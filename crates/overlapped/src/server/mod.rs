//! Building a server, starting it, and ending it.

mod binding;
mod builder;
mod check;
mod descriptors;
mod handle;
mod listeners;
mod monitor;
mod simulated;
mod start;
#[cfg(all(test, not(loom)))]
mod tests;
mod timeouts;
mod worker_threads;
mod worker_watch;

pub use binding::SkippedAddress;
pub use builder::Server;
pub use descriptors::raise_descriptor_limit;
pub use handle::{DrainReport, ServerHandle};
pub(crate) use simulated::Settings;
pub use worker_threads::ServerState;
pub use worker_watch::WorkerWatch;
