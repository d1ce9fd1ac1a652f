//! Building a server, starting it, and ending it.

mod binding;
mod builder;
mod control;
mod descriptors;
mod handle;
mod monitor;
mod start;
#[cfg(all(test, not(loom)))]
mod tests;
mod worker_threads;

use proactor::backend::Backend;

pub use binding::SkippedAddress;
pub use builder::Server;
pub use descriptors::raise_descriptor_limit;
pub use handle::{DrainReport, ServerHandle};

/// The socket type of every real backend.
type RealSocket = <Real as Backend>::Socket;
#[cfg(unix)]
type Real = proactor::backend::readiness::Readiness;
#[cfg(windows)]
type Real = proactor::backend::iocp::Iocp;
