//! The other end of a connection, as a test plays it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use super::received::Received;
use super::simulated_server::End;

/// The other end of one connection of the handler's: a client that [connected](super::World::connect), or a program that
/// the handler has connected to ([`Listener::accept`]).
///
/// Its methods say what it does; it happens, in the order of the calls, while the world
/// [settles](super::World::settle). As most programs do, a peer closes its side when it has read the end of the
/// handler's stream, unless it is to [stay open](Self::stay_open). Dropping it changes nothing in the world.
pub struct Peer {
    pub(super) link: Rc<RefCell<Link>>,
}

/// What a peer is to do, and what it has seen.
pub(super) struct Link {
    pub(super) steps: VecDeque<Step>,
    /// A reset was asked for.
    pub(super) reset: bool,
    pub(super) reads: bool,
    pub(super) stays: bool,
    pub(super) received: Vec<u8>,
    pub(super) end: End,
    /// True once the peer itself has reset the connection.
    pub(super) gone: bool,
    /// Its own address and that of its other end, once it is connected.
    pub(super) addresses: Option<(SocketAddr, SocketAddr)>,
    /// Bytes that the kernel has not taken yet, beside those in `steps`.
    pub(super) in_flight: usize,
    /// Length of what was given to the kernel last.
    pub(super) last_sent: usize,
    /// True once its stream has ended.
    pub(super) finished: bool,
}

pub(super) enum Step {
    Send(Vec<u8>),
    /// Goes out when the handler's side has received everything before it.
    Piece(Vec<u8>),
    Finish,
}

impl Link {
    fn is_over(&self) -> bool {
        self.gone || self.finished || self.steps.iter().any(|step| matches!(step, Step::Finish))
    }
}

impl Peer {
    pub(super) fn new() -> Peer {
        let link = Link {
            steps: VecDeque::new(),
            reset: false,
            reads: true,
            stays: false,
            received: Vec::new(),
            end: End::Open,
            gone: false,
            addresses: None,
            in_flight: 0,
            last_sent: 0,
            finished: false,
        };
        Peer { link: Rc::new(RefCell::new(link)) }
    }

    /// Sends bytes. Those that the handler's side has no room for wait here ([`unsent`](Self::unsent)).
    ///
    /// # Panics
    /// After [`finish`](Self::finish) or [`reset`](Self::reset), and when the peer has closed its side.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.step(Step::Send(bytes.as_ref().to_vec()));
    }

    /// Sends bytes in pieces of `len` bytes, each after the handler's side has received the one before: the handler gets
    /// every piece by itself, unless it has paused the session. A kernel that [cuts](super::Behaviour::cuts) may cut a
    /// piece further.
    ///
    /// # Panics
    /// If `len` is 0; and as [`send`](Self::send) does.
    #[track_caller]
    pub fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, len: usize) {
        assert!(len > 0, "a piece has at least 1 byte");
        for piece in bytes.as_ref().chunks(len) {
            self.step(Step::Piece(piece.to_vec()));
        }
    }

    /// Ends its stream (FIN), behind everything sent. It still receives.
    ///
    /// # Panics
    /// As [`send`](Self::send) does.
    #[track_caller]
    pub fn finish(&mut self) {
        self.step(Step::Finish);
    }

    /// Breaks the connection off, at once: what the kernel has not taken yet is lost. To reset behind bytes that were
    /// sent, [settle](super::World::settle) in between.
    pub fn reset(&mut self) {
        let mut link = self.link.borrow_mut();
        link.steps.clear();
        (link.reset, link.gone) = (true, true);
    }

    /// Stops receiving. When the kernel's buffers are full, the handler's bytes wait in its session.
    pub fn stop_reading(&mut self) {
        self.link.borrow_mut().reads = false;
    }

    /// Receives again.
    pub fn resume_reading(&mut self) {
        self.link.borrow_mut().reads = true;
    }

    /// From now on it keeps its side open when the handler's side ends.
    pub fn stay_open(&mut self) {
        self.link.borrow_mut().stays = true;
    }

    /// Takes what it has received since the last call.
    #[must_use]
    pub fn received(&mut self) -> Received {
        Received::new(std::mem::take(&mut self.link.borrow_mut().received))
    }

    /// Bytes that it still has to send, because the handler's side takes no more.
    #[must_use]
    pub fn unsent(&self) -> usize {
        let link = self.link.borrow();
        let waiting = link.steps.iter().map(|step| match step {
            Step::Send(bytes) | Step::Piece(bytes) => bytes.len(),
            Step::Finish => 0,
        });
        link.in_flight + waiting.sum::<usize>()
    }

    /// Whether it is connected, and has neither seen an end nor reset the connection.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let link = self.link.borrow();
        link.addresses.is_some() && link.end == End::Open && !link.gone
    }

    /// Whether it has read the end of the handler's stream: the handler has closed or finished the session, or turned the
    /// connection away.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.link.borrow().end == End::Finished
    }

    /// Whether the handler's side has reset the connection.
    #[must_use]
    pub fn was_reset(&self) -> bool {
        self.link.borrow().end == End::Reset
    }

    /// Whether nothing listened where it wanted to connect to.
    #[must_use]
    pub fn was_refused(&self) -> bool {
        self.link.borrow().end == End::Refused
    }

    /// Its own address: what the handler sees as the session's peer.
    ///
    /// # Panics
    /// If it is not connected yet.
    #[must_use]
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.link.borrow().addresses.expect("the peer is connected: let the world settle first").0
    }

    #[track_caller]
    fn step(&mut self, step: Step) {
        let mut link = self.link.borrow_mut();
        let has_closed = link.end != End::Open && !link.stays;
        assert!(
            !has_closed,
            "this peer has closed its side, because the handler's side has ended: let it `stay_open` to send on"
        );
        assert!(
            !link.is_over(),
            "this peer has finished its stream, or reset the connection: it sends no more"
        );
        link.steps.push_back(step);
    }

    /// The same peer, for the world.
    pub(super) fn share(&self) -> Peer {
        Peer { link: Rc::clone(&self.link) }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = self.link.borrow();
        f.debug_struct("Peer")
            .field("addresses", &link.addresses)
            .field("end", &link.end)
            .field("received", &link.received.len())
            .finish_non_exhaustive()
    }
}

/// A program outside that accepts what the handler connects to it. Made by [`World::listen`](super::World::listen).
#[derive(Debug)]
pub struct Listener {
    pub(super) address: SocketAddr,
    pub(super) accepted: Rc<RefCell<VecDeque<Peer>>>,
}

impl Listener {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection that the handler has made, in order. `None`: no further one yet.
    pub fn try_accept(&mut self) -> Option<Peer> {
        self.accepted.borrow_mut().pop_front()
    }

    /// The next connection that the handler has made.
    ///
    /// # Panics
    /// If it has made no further one; the world has to [settle](super::World::settle) first.
    #[track_caller]
    pub fn accept(&mut self) -> Peer {
        let address = self.address;
        self.try_accept().unwrap_or_else(|| panic!("nothing has connected to {address} (yet)"))
    }
}
