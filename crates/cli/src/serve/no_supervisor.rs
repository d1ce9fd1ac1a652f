//! Windows has neither of what `supervisor.rs` is about: services are told by their control manager.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use overlapped::ServerHandle;

use crate::failure::Failure;
use crate::log::Log;

/// A listening socket, opened by the service manager. There is none.
pub(super) struct GivenSocket {
    pub(super) name: String,
    pub(super) listener: TcpListener,
}

pub(super) fn given_sockets() -> Result<Vec<GivenSocket>, Failure> {
    Ok(Vec::new())
}

/// There is nothing to notify.
#[derive(Clone)]
pub(super) struct Supervisor;

impl Supervisor {
    pub(super) fn start(_handle: &ServerHandle, _log: &Log) -> Supervisor {
        Supervisor
    }

    pub(super) fn ready(&self) {}

    pub(super) fn stopping(&self, _delay: Duration, _limit: Duration) {}

    pub(super) fn end(self, _until: Instant) {}
}
