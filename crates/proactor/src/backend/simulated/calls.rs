//! The calls on sockets of the simulated network, which its backends share.

use std::cell::{Ref, RefCell, RefMut};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::Behaviour;
use super::network::{Network, SimSocket};
use crate::socket::{Delivery, Discarded, SocketCalls, SocketOptions, TcpInfo};

/// A simulated network. Lives on one thread.
#[derive(Clone)]
pub struct SharedNetwork(Rc<RefCell<Network>>);

impl SharedNetwork {
    pub(super) fn new(behaviour: Behaviour) -> SharedNetwork {
        SharedNetwork(Rc::new(RefCell::new(Network::new(behaviour))))
    }

    pub(super) fn borrow(&self) -> Ref<'_, Network> {
        self.0.borrow()
    }

    pub(super) fn borrow_mut(&self) -> RefMut<'_, Network> {
        self.0.borrow_mut()
    }
}

impl SocketCalls<SimSocket> for SharedNetwork {
    fn peer_addr(&self, socket: &SimSocket) -> io::Result<SocketAddr> {
        self.borrow().peer_addr(socket.id())
    }

    fn local_addr(&self, socket: &SimSocket) -> io::Result<SocketAddr> {
        self.borrow().local_addr(socket.id())
    }

    fn unread(&self, socket: &SimSocket) -> io::Result<usize> {
        Ok(self.borrow().unread(socket.id()))
    }

    fn shutdown_write(&self, socket: &SimSocket) -> io::Result<()> {
        self.borrow_mut().shutdown_write(socket.id())
    }

    fn send(&self, socket: &SimSocket, bytes: &[u8]) -> io::Result<usize> {
        self.borrow_mut().send(socket.id(), bytes).unwrap_or(Ok(0))
    }

    fn discard(&self, socket: &SimSocket) -> io::Result<Discarded> {
        self.borrow_mut().discard(socket.id())
    }

    fn delivery(&self, socket: &SimSocket) -> Option<Delivery> {
        self.borrow().delivery(socket.id())
    }

    /// Nothing takes time, and nothing is lost on the way.
    fn tcp_info(&self, socket: &SimSocket) -> Option<TcpInfo> {
        let unacknowledged = self.borrow().delivery(socket.id())?.unacknowledged as u64;
        Some(TcpInfo { rtt: Duration::ZERO, retransmitted: 0, unacknowledged, congestion_window: u64::MAX })
    }

    /// There is no urgent data in the simulation.
    fn inline_urgent(&self, _socket: &SimSocket) -> io::Result<bool> {
        Ok(true)
    }

    /// Every segment is sent at once in the simulation.
    fn nodelay(&self, _socket: &SimSocket) -> io::Result<bool> {
        Ok(true)
    }

    /// Every peer answers in the simulation.
    fn set_options(&self, _socket: &SimSocket, _options: &SocketOptions) -> io::Result<()> {
        Ok(())
    }
}
