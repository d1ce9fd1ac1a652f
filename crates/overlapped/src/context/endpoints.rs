//! What callbacks ask of a driver.

use std::io;
use std::net::SocketAddr;

use proactor::backend::Backend;
use proactor::{ConnectionKey, Driver, TcpInfo, Time};

/// What callbacks ask of a driver without knowing its backend: addresses, what the system
/// has measured, and its clock. Off the hot path.
pub(crate) trait Endpoints {
    fn peer(&self, key: ConnectionKey) -> io::Result<SocketAddr>;
    fn local(&self, key: ConnectionKey) -> io::Result<SocketAddr>;
    fn tcp_info(&self, key: ConnectionKey) -> Option<TcpInfo>;
    /// The time now, however long the turn has been running.
    fn now(&self) -> Time;
}

impl<B: Backend> Endpoints for Driver<B> {
    fn peer(&self, key: ConnectionKey) -> io::Result<SocketAddr> {
        self.peer_addr(key)
    }

    fn local(&self, key: ConnectionKey) -> io::Result<SocketAddr> {
        self.local_addr(key)
    }

    fn tcp_info(&self, key: ConnectionKey) -> Option<TcpInfo> {
        Driver::tcp_info(self, key)
    }

    fn now(&self) -> Time {
        Driver::now(self)
    }
}
