//! What the simulated network consists of: listeners, streams, a clock and a source of choices.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Behaviour;
use crate::operation::Close;
use crate::socket::{Delivery, Discarded};
use crate::time::Time;

/// The ports of connecting sockets, from here on.
const FIRST_PORT: u16 = 20_001;
/// Bytes that one call discards.
const DISCARDED: usize = 4096;

/// A socket of a simulated network. Unlike a real one it is not closed by dropping it: a socket that was never closed
/// is counted by [`Simulation::open_sockets`](super::Simulation::open_sockets).
#[derive(Debug)]
pub struct SimSocket {
    id: u32,
}

impl SimSocket {
    pub(super) fn id(&self) -> u32 {
        self.id
    }
}

enum Node {
    /// A socket that is not connected, bound to this address.
    Fresh(Option<SocketAddr>),
    Listener {
        address: SocketAddr,
        backlog: VecDeque<u32>,
    },
    Stream(Stream),
}

struct Stream {
    local: SocketAddr,
    remote: SocketAddr,
    /// `None` once the other end is closed.
    peer: Option<u32>,
    inbound: VecDeque<u8>,
    /// The peer sent FIN behind what is in `inbound`.
    fin: bool,
    reset: bool,
    /// FIN was sent.
    finished: bool,
    /// Bytes of ours that the peer has received.
    delivered: u64,
    /// When it last did.
    delivered_at: Time,
}

pub(super) struct Network {
    pub(super) now: Time,
    /// How often an interrupt was requested.
    pub(super) interrupts: u64,
    state: u64,
    behaviour: Behaviour,
    nodes: BTreeMap<u32, Node>,
    next_id: u32,
    next_port: u16,
    /// True once every port was given out.
    wrapped: bool,
    /// Where no connect is answered.
    silent: Vec<SocketAddr>,
    /// Where connects fail.
    pub(super) failing: BTreeMap<SocketAddr, io::ErrorKind>,
    /// Whether accepts, receives and sends fail for want of memory.
    pub(super) short_of_memory: bool,
    /// For each operation that is handed over.
    pub(super) submission_time: Duration,
}

impl Network {
    pub(super) fn new(behaviour: Behaviour) -> Network {
        Network {
            now: Time::ZERO,
            interrupts: 0,
            state: behaviour.seed,
            behaviour,
            nodes: BTreeMap::new(),
            next_id: 1,
            next_port: FIRST_PORT,
            wrapped: false,
            silent: Vec::new(),
            failing: BTreeMap::new(),
            short_of_memory: false,
            submission_time: Duration::ZERO,
        }
    }

    /// SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.random() % bound as u64) as usize
    }

    pub(super) fn flip(&mut self) -> bool {
        self.random() & 1 == 1
    }

    /// How much of `most` a call moves: at least one byte.
    fn cut(&mut self, most: usize) -> usize {
        if self.behaviour.cuts && self.flip() { 1 + self.below(most) } else { most }
    }

    fn add(&mut self, node: Node) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        self.nodes.insert(id, node);
        id
    }

    /// An address that no connection has. The ports are given out in turn.
    ///
    /// # Panics
    /// If all of them are in use.
    fn fresh_address(&mut self) -> SocketAddr {
        for _ in FIRST_PORT..=u16::MAX {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.next_port));
            if self.next_port == u16::MAX {
                (self.next_port, self.wrapped) = (FIRST_PORT, true);
            } else {
                self.next_port += 1;
            }
            // In the first round none can be in use by a connection.
            if !self.wrapped || !self.has_stream_at(address) {
                return address;
            }
        }
        panic!("every port of the simulated network is in use");
    }

    fn has_stream_at(&self, address: SocketAddr) -> bool {
        self.nodes.values().any(|node| matches!(node, Node::Stream(stream) if stream.local == address))
    }

    fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        match self.nodes.get_mut(&id) {
            Some(Node::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    fn listener_at(&self, wanted: SocketAddr) -> Option<u32> {
        self.nodes.iter().find_map(|(id, node)| match node {
            Node::Listener { address, .. } if *address == wanted => Some(*id),
            _ => None,
        })
    }

    pub(super) fn open_sockets(&self) -> usize {
        self.nodes.len()
    }

    /// A socket, bound to `from`. This machine has all addresses of 127.0.0.0/8.
    pub(super) fn open(&mut self, from: Option<SocketAddr>) -> io::Result<SimSocket> {
        if from.is_some_and(|from| !from.ip().is_loopback()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if from.is_some_and(|from| self.listener_at(from).is_some()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(SimSocket { id: self.add(Node::Fresh(from)) })
    }

    pub(super) fn silence(&mut self, address: SocketAddr) {
        self.silent.push(address);
    }

    pub(super) fn end_silence(&mut self, address: SocketAddr) {
        self.silent.retain(|silent| *silent != address);
    }

    pub(super) fn is_silent(&self, address: SocketAddr) -> bool {
        self.silent.contains(&address)
    }

    /// The local address of a socket that connects: what it was bound to, with a port.
    fn local_of(&mut self, id: u32) -> SocketAddr {
        let fresh = self.fresh_address();
        match self.nodes.get(&id) {
            Some(Node::Fresh(Some(bound))) if bound.port() == 0 => (bound.ip(), fresh.port()).into(),
            Some(Node::Fresh(Some(bound))) => *bound,
            _ => fresh,
        }
    }

    pub(super) fn listen(&mut self, mut address: SocketAddr) -> io::Result<SimSocket> {
        if address.port() == 0 {
            address.set_port(self.fresh_address().port());
        }
        if self.listener_at(address).is_some() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(SimSocket { id: self.add(Node::Listener { address, backlog: VecDeque::new() }) })
    }

    pub(super) fn has_backlog(&self, listener: u32) -> bool {
        matches!(self.nodes.get(&listener), Some(Node::Listener { backlog, .. }) if !backlog.is_empty())
    }

    pub(super) fn accept(&mut self, listener: u32) -> Option<SimSocket> {
        match self.nodes.get_mut(&listener) {
            Some(Node::Listener { backlog, .. }) => backlog.pop_front().map(|id| SimSocket { id }),
            _ => None,
        }
    }

    pub(super) fn connect(&mut self, id: u32, to: SocketAddr) -> io::Result<()> {
        let from = self.local_of(id);
        self.connect_from(id, from, to)
    }

    pub(super) fn connect_from(&mut self, id: u32, from: SocketAddr, to: SocketAddr) -> io::Result<()> {
        let listener = self.listener_at(to);
        // As in a real kernel, a port without a listener may be the next that is given out: a simultaneous open with
        // itself (RFC 9293, 3.5).
        if listener.is_none() && from != to {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let stream = |local, remote, peer| Stream {
            local,
            remote,
            peer: Some(peer),
            inbound: VecDeque::new(),
            fin: false,
            reset: false,
            finished: false,
            delivered: 0,
            delivered_at: Time::ZERO,
        };
        let Some(listener) = listener else {
            self.nodes.insert(id, Node::Stream(stream(from, to, id)));
            return Ok(());
        };
        let accepted = self.add(Node::Stream(stream(to, from, id)));
        self.nodes.insert(id, Node::Stream(stream(from, to, accepted)));
        if let Some(Node::Listener { backlog, .. }) = self.nodes.get_mut(&listener) {
            backlog.push_back(accepted);
        }
        Ok(())
    }

    pub(super) fn has_bytes(&mut self, id: u32) -> bool {
        self.stream(id).is_some_and(|stream| !stream.inbound.is_empty())
    }

    /// What a receive finds behind the last byte: the end, a reset, or nothing yet.
    pub(super) fn end_of(&mut self, id: u32) -> Option<io::Result<()>> {
        match self.stream(id) {
            Some(stream) if stream.reset => Some(Err(io::ErrorKind::ConnectionReset.into())),
            Some(stream) if stream.fin => Some(Ok(())),
            Some(_) => None,
            None => Some(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    pub(super) fn receive(&mut self, id: u32, into: &mut [u8]) -> usize {
        let now = self.now;
        let there = self.unread(id).min(into.len());
        let len = self.cut(there);
        let stream = self.stream(id).expect("it has bytes");
        for (to, from) in into.iter_mut().zip(stream.inbound.drain(..len)) {
            *to = from;
        }
        if let Some(peer) = stream.peer.and_then(|peer| self.stream(peer)) {
            peer.delivered += len as u64;
            peer.delivered_at = now;
        }
        len
    }

    /// Discards what has arrived, up to [`DISCARDED`] bytes.
    pub(super) fn discard(&mut self, id: u32) -> io::Result<Discarded> {
        let now = self.now;
        let stream = self.stream(id).ok_or(io::ErrorKind::NotConnected)?;
        let len = stream.inbound.len().min(DISCARDED);
        let left = stream.inbound.len() - len;
        drop(stream.inbound.drain(..len));
        if let Some(peer) = stream.peer.and_then(|peer| self.stream(peer)) {
            peer.delivered += len as u64;
            peer.delivered_at = now;
        }
        if left > 0 {
            return Ok(Discarded::More);
        }
        let end = self.end_of(id).transpose()?;
        Ok(if end.is_some() { Discarded::Ended } else { Discarded::Nothing })
    }

    pub(super) fn was_reset(&mut self, id: u32) -> bool {
        self.stream(id).is_none_or(|stream| stream.reset)
    }

    /// Whether a receive would find the peer's FIN next.
    pub(super) fn has_ended(&self, id: u32) -> bool {
        matches!(self.nodes.get(&id), Some(Node::Stream(stream)) if stream.fin && stream.inbound.is_empty())
    }

    /// The bytes that a closed peer did not receive are lost.
    pub(super) fn delivery(&self, id: u32) -> Option<Delivery> {
        let Some(Node::Stream(stream)) = self.nodes.get(&id) else { return None };
        let unacknowledged = stream.peer.map_or(0, |peer| self.unread(peer));
        let last = Some(self.now.since(stream.delivered_at));
        Some(Delivery { unacknowledged, acknowledged: stream.delivered, last })
    }

    /// Takes what fits of `bytes`. `None`: nothing fits now.
    pub(super) fn send(&mut self, id: u32, bytes: &[u8]) -> Option<io::Result<usize>> {
        let Some(stream) = self.stream(id) else { return Some(Err(io::ErrorKind::NotConnected.into())) };
        if stream.reset {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if stream.finished {
            return Some(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let Some(peer) = stream.peer else {
            // Bytes to a closed socket are accepted and answered with a reset: RFC 9293, 3.10.7.1.
            stream.reset = true;
            return Some(Ok(bytes.len()));
        };
        let room = self.behaviour.capacity.saturating_sub(self.unread(peer));
        if room == 0 {
            return None;
        }
        let len = self.cut(room.min(bytes.len()));
        let stream = self.stream(peer).expect("a peer is a stream until it is closed");
        stream.inbound.extend(&bytes[..len]);
        Some(Ok(len))
    }

    pub(super) fn shutdown_write(&mut self, id: u32) -> io::Result<()> {
        let stream = self.stream(id).ok_or(io::ErrorKind::NotConnected)?;
        stream.finished = true;
        if let Some(peer) = stream.peer.and_then(|peer| self.stream(peer)) {
            peer.fin = true;
        }
        Ok(())
    }

    pub(super) fn close(&mut self, id: u32, how: Close) {
        match self.nodes.remove(&id) {
            Some(Node::Stream(stream)) => {
                // Closing with bytes unread resets the connection: RFC 2525, 2.17.
                let reset = how == Close::Reset || !stream.inbound.is_empty();
                if let Some(peer) = stream.peer.and_then(|peer| self.stream(peer)) {
                    peer.peer = None;
                    peer.reset |= reset;
                    peer.fin |= !reset;
                }
            }
            Some(Node::Listener { backlog, .. }) => {
                for waiting in backlog {
                    self.close(waiting, Close::Reset);
                }
            }
            Some(Node::Fresh(_)) | None => {}
        }
    }

    pub(super) fn unread(&self, id: u32) -> usize {
        match self.nodes.get(&id) {
            Some(Node::Stream(stream)) => stream.inbound.len(),
            _ => 0,
        }
    }

    pub(super) fn peer_addr(&self, id: u32) -> io::Result<SocketAddr> {
        match self.nodes.get(&id) {
            Some(Node::Stream(stream)) => Ok(stream.remote),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) fn local_addr(&self, id: u32) -> io::Result<SocketAddr> {
        match self.nodes.get(&id) {
            Some(Node::Stream(stream)) => Ok(stream.local),
            Some(Node::Listener { address, .. }) => Ok(*address),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
