//! A kernel in memory: streams are queues of bytes and the clock is a number. A seed decides what completes next, how
//! much of a send is taken and where a stream is cut. The same seed gives the same run.
//!
//! It replaces the kernel below the driver, so the in-flight table, the pool, cancelling and joining run as they do
//! over a real kernel. It reads a payload and writes a block when the operation completes: as late as a real kernel
//! may.

mod calls;
mod network;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::names::CallNames;
use super::{Abilities, Backend, BackendKind, InFlight, Wait};
use crate::buffer::{Gather, Outgoing, Pool};
use crate::operation::{Close, Completion, Harvested, OpKey, Operation, Outcome, Submitted};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::time::Time;
use crate::waker::{Wake, Waker};

pub use calls::SharedNetwork;
pub use network::SimSocket;

/// How the simulated kernel behaves.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Decides every choice.
    pub seed: u64,
    /// Bytes that a stream holds in one direction before its sender must wait.
    pub capacity: usize,
    /// Whether a send may take only a part, and a receive may return fewer bytes than there are.
    pub cuts: bool,
    /// Whether accepts and receives stay armed, as on io_uring, or complete once, as on IOCP.
    pub multishot: bool,
    /// Whether a submission may be done at once.
    pub inline: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour { seed: 1, capacity: 64 * 1024, cuts: true, multishot: true, inline: false }
    }
}

/// A simulated network and its clock. Backends made from it can reach each other. Lives on one thread.
#[derive(Clone)]
pub struct Simulation {
    net: SharedNetwork,
    behaviour: Behaviour,
}

impl Simulation {
    /// An empty network at time zero.
    #[must_use]
    pub fn new(behaviour: Behaviour) -> Simulation {
        Simulation { net: SharedNetwork::new(behaviour), behaviour }
    }

    /// A backend in this network, receiving into blocks of `pool`.
    #[must_use]
    pub fn backend(&self, pool: Pool) -> Simulated {
        Simulated {
            net: self.net.clone(),
            behaviour: self.behaviour,
            pool,
            pending: Vec::new(),
            waiting: 0,
            immediate: VecDeque::new(),
            budget: 0,
            interrupts: self.net.borrow().interrupts,
            interrupted: false,
            timed_out: false,
            unlooked: false,
            woken: Arc::new(Woken(AtomicBool::new(false))),
        }
    }

    /// A listening socket. Port 0 picks a free one.
    ///
    /// # Errors
    /// `AddrInUse` if the address has a listener already.
    pub fn listen(&self, address: SocketAddr) -> io::Result<SimSocket> {
        self.net.borrow_mut().listen(address)
    }

    /// A connection to a listener, established at once, from an address of the caller's choice. The listener has it in
    /// its backlog.
    ///
    /// # Errors
    /// `ConnectionRefused` if nothing listens on `to`.
    pub fn dial(&self, from: SocketAddr, to: SocketAddr) -> io::Result<SimSocket> {
        let mut net = self.net.borrow_mut();
        let socket = net.open(None)?;
        if let Err(error) = net.connect_from(socket.id(), from, to) {
            net.close(socket.id(), Close::Graceful);
            return Err(error);
        }
        Ok(socket)
    }

    /// From now on nobody answers at `address`: a connect to it waits until it is cancelled.
    pub fn silence(&self, address: SocketAddr) {
        self.net.borrow_mut().silence(address);
    }

    /// `address` answers again: connects that wait there go on.
    pub fn end_silence(&self, address: SocketAddr) {
        self.net.borrow_mut().end_silence(address);
    }

    /// From now on connects to `address` fail with `error`. `None`: they no longer do.
    pub fn fail_connects(&self, address: SocketAddr, error: Option<io::ErrorKind>) {
        let failing = &mut self.net.borrow_mut().failing;
        match error {
            Some(error) => failing.insert(address, error),
            None => failing.remove(&address),
        };
    }

    /// While it is short of memory, accepts, receives and sends that have something to do fail with
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory), and do nothing.
    pub fn set_short_of_memory(&self, short: bool) {
        self.net.borrow_mut().short_of_memory = short;
    }

    /// How long the kernel works on each operation that is handed to it, as io_uring does on a send. Nothing at first.
    pub fn set_submission_time(&self, each: Duration) {
        self.net.borrow_mut().submission_time = each;
    }

    /// The time of this network's clock.
    #[must_use]
    pub fn now(&self) -> Time {
        self.net.borrow().now
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut net = self.net.borrow_mut();
        net.now = net.now + by;
    }

    /// The next harvest of each backend returns at once and brings nothing, not even a wake, as if a signal had
    /// interrupted the wait. This also happens to a process that was stopped and continues.
    pub fn interrupt(&self) {
        self.net.borrow_mut().interrupts += 1;
    }

    /// Sockets that are open.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.net.borrow().open_sockets()
    }
}

struct Pending {
    key: OpKey,
    cancelled: bool,
}

/// One worker's backend in a [`Simulation`].
pub struct Simulated {
    net: SharedNetwork,
    behaviour: Behaviour,
    pool: Pool,
    pending: Vec<Pending>,
    /// Operations that wait for a harvest, which hands them to the kernel.
    waiting: u32,
    immediate: VecDeque<Harvested<SimSocket>>,
    budget: usize,
    /// Interrupts so far, as of the last harvest.
    interrupts: u64,
    /// True exactly when the last harvest was interrupted.
    interrupted: bool,
    /// True exactly when the last harvest timed out.
    timed_out: bool,
    /// True exactly when a receive was submitted since the last harvest.
    unlooked: bool,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(&self) {
        // Not a store: `loom` treats a store as unordered with the swap that takes wakes.
        self.0.swap(true, Ordering::AcqRel);
    }
}

impl Simulated {
    /// Whether a wake is pending: a real kernel's harvest would return at once.
    #[must_use]
    pub fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::Acquire)
    }

    fn hand_over(&mut self, count: u32) {
        self.waiting -= count;
        let mut net = self.net.borrow_mut();
        net.now = net.now + net.submission_time * count;
    }

    /// Tries one pending operation. `None`: it has to wait.
    fn attempt(&mut self, operation: &mut Operation<u32>) -> Option<Outcome<SimSocket>> {
        let mut net = self.net.borrow_mut();
        match operation {
            Operation::Accept { listener } if net.short_of_memory => {
                net.has_backlog(*listener).then(no_memory)
            }
            Operation::Accept { listener } => {
                net.accept(*listener).map(|socket| Outcome::Accepted(socket, None))
            }
            Operation::Connect { socket, address } => {
                let address = address.as_socket().expect("the driver makes IP addresses");
                if net.is_silent(address) {
                    return None;
                }
                if let Some(error) = net.failing.get(&address) {
                    return Some(Outcome::Failed((*error).into()));
                }
                Some(match net.connect(*socket, address) {
                    Ok(()) => Outcome::Connected,
                    Err(error) => Outcome::Failed(error),
                })
            }
            Operation::Receive { socket, block } => {
                if !net.has_bytes(*socket) {
                    return net.end_of(*socket).map(|end| match end {
                        Ok(()) => Outcome::EndOfStream,
                        Err(error) => Outcome::Failed(error),
                    });
                }
                if net.short_of_memory {
                    return Some(no_memory());
                }
                let Some(mut block) = block.take().or_else(|| self.pool.take_unreserved()) else {
                    return Some(Outcome::NoBlocks);
                };
                let len = net.receive(*socket, block.bytes_mut());
                Some(Outcome::Received(block, len))
            }
            Operation::Watch { socket } if net.was_reset(*socket) => {
                Some(Outcome::Failed(io::ErrorKind::ConnectionReset.into()))
            }
            Operation::Watch { socket } => net.has_ended(*socket).then_some(Outcome::EndOfStream),
            Operation::Send { .. } if net.short_of_memory => Some(no_memory()),
            Operation::Send { socket, payload, sent } => {
                match net.send(*socket, &all_from(payload, *sent))? {
                    Ok(len) => Some(Outcome::Sent(len)),
                    Err(error) => Some(Outcome::Failed(error)),
                }
            }
        }
    }

    fn complete(&mut self, at: usize, ops: &mut InFlight<Simulated>) -> Option<Harvested<SimSocket>> {
        let Pending { key, cancelled } = self.pending[at];
        let operation = ops.get_mut(key).expect("INV-1: a pending operation is in the table").operation;
        // A cancel may lose the race against a completion that is possible anyway.
        let outcome = if cancelled && self.net.borrow_mut().flip() {
            Outcome::Cancelled
        } else {
            match self.attempt(operation) {
                Some(outcome) => outcome,
                None if cancelled => Outcome::Cancelled,
                None => return None,
            }
        };
        let stays = matches!(outcome, Outcome::Accepted(..) | Outcome::Received(..));
        let more = stays && self.behaviour.multishot;
        if !more {
            self.pending.swap_remove(at);
        }
        Some(Harvested::Completed(Completion { key, outcome, more }))
    }
}

fn no_memory() -> Outcome<SimSocket> {
    Outcome::Failed(io::ErrorKind::OutOfMemory.into())
}

/// What is left of a send, from `sent` on.
fn all_from(outgoing: &Outgoing, sent: usize) -> Vec<u8> {
    let mut pieces = [&[][..]; Gather::MOST];
    let count = outgoing.pieces(sent, usize::MAX, &mut pieces);
    pieces[..count].concat()
}

impl Backend for Simulated {
    type Socket = SimSocket;
    type Handle = u32;
    type Header = ();
    type Calls = SharedNetwork;

    const KIND: BackendKind = BackendKind::Simulated;
    const CALL_NAMES: CallNames = CallNames::SOCKETS;
    /// The clock stops at exactly the time asked for.
    const WAIT_ROUNDING: Duration = Duration::ZERO;

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn calls(&self) -> &SharedNetwork {
        &self.net
    }

    fn abilities(&self) -> Abilities {
        let multishot = self.behaviour.multishot;
        Abilities { multishot_accept: multishot, multishot_receive: multishot, accepts: 4 }
    }

    fn now(&self) -> Time {
        self.net.borrow().now
    }

    fn coarse_now(&self) -> Time {
        self.net.borrow().now
    }

    fn waker(&self) -> Waker {
        Waker::new(Arc::clone(&self.woken) as Arc<_>)
    }

    fn open(&mut self, _address: SocketAddr, from: Option<SocketAddr>) -> io::Result<SimSocket> {
        self.net.borrow_mut().open(from)
    }

    fn adopt(&mut self, socket: &SimSocket, _owner: u32) -> io::Result<u32> {
        Ok(socket.id())
    }

    unsafe fn submit(&mut self, key: OpKey, operation: &mut Operation<u32>, (): &()) -> Submitted<SimSocket> {
        // A multishot operation is never over at once: it stays in flight.
        let multishot = matches!(operation, Operation::Accept { .. } | Operation::Receive { .. });
        let at_once = self.behaviour.inline && !(multishot && self.behaviour.multishot);
        if at_once
            && self.net.borrow_mut().flip()
            && let Some(outcome) = self.attempt(operation)
        {
            return Submitted::Done(outcome);
        }
        self.unlooked |= matches!(operation, Operation::Receive { .. });
        self.pending.push(Pending { key, cancelled: false });
        self.waiting += 1;
        Submitted::Pending
    }

    unsafe fn send_now(&mut self, socket: u32, bytes: &[u8]) -> Option<io::Result<usize>> {
        let mut net = self.net.borrow_mut();
        if self.behaviour.inline && !net.short_of_memory && net.flip() {
            net.send(socket, bytes)
        } else {
            None
        }
    }

    fn cancel(&mut self, key: OpKey, _ops: &mut InFlight<Simulated>) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.key == key) {
            pending.cancelled = true;
        }
    }

    fn submit_some(&mut self, most: u32) -> io::Result<bool> {
        let some = self.waiting > most;
        if some {
            self.hand_over(most);
        }
        Ok(some)
    }

    fn harvest(&mut self, wait: Wait, ops: &mut InFlight<Simulated>) -> io::Result<()> {
        self.hand_over(self.waiting);
        (self.budget, self.timed_out, self.unlooked) = (64, false, false);
        let interrupts = self.net.borrow().interrupts;
        self.interrupted = self.interrupts != interrupts;
        if self.interrupted {
            self.interrupts = interrupts;
        } else if let Some(harvested) = self.next(ops) {
            self.immediate.push_back(harvested);
        } else if let Wait::Until(at) = wait {
            // Nothing can happen before the deadline: time jumps to it.
            let mut net = self.net.borrow_mut();
            self.timed_out = at > net.now;
            net.now = net.now.max(at);
        }
        Ok(())
    }

    fn next(&mut self, ops: &mut InFlight<Simulated>) -> Option<Harvested<SimSocket>> {
        if self.interrupted {
            return None;
        }
        if let Some(harvested) = self.immediate.pop_front() {
            return Some(harvested);
        }
        if self.woken.0.swap(false, Ordering::AcqRel) {
            return Some(Harvested::Woken);
        }
        if self.budget == 0 || self.pending.is_empty() {
            return None;
        }
        self.budget -= 1;
        let start = self.net.borrow_mut().below(self.pending.len());
        (0..self.pending.len()).find_map(|step| {
            let at = (start + step) % self.pending.len().max(1);
            self.complete(at, ops)
        })
    }

    fn looked(&self) -> bool {
        let left = self.budget == 0 || !self.immediate.is_empty();
        !self.interrupted && !self.timed_out && !self.unlooked && !left
    }

    fn close(&mut self, socket: SimSocket, _handle: Option<u32>, how: Close) {
        self.net.borrow_mut().close(socket.id(), how);
    }
}
