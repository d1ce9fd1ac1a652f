//! The driver: what is the same on every kernel, written once.
//!
//! It owns the in-flight table, the connections and listeners, and decides when an operation is submitted, continued,
//! armed again or cancelled, and when a socket may be closed. The caller runs [`Driver::turn`], takes the events with
//! [`Driver::next_event`], and calls methods such as [`Driver::send`]. Calls with a stale key are no-ops; a reused
//! slot is never affected (INV-3).

mod accept;
mod close;
mod connect;
mod connection;
mod dropping;
mod event;
mod keys;
mod progress;
mod queue;
mod receive;
mod send;
mod shortage;
mod submit;
#[cfg(test)]
mod tests;
mod trace;
mod turn_away;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use crate::backend::{Abilities, Backend, BackendKind, InFlight, Wait};
use crate::buffer::Pool;
use crate::inflight::Table;
use crate::operation::{Call, Completion, Harvested, OpKey, Operation, Outcome};
use crate::socket::{SocketCalls, SocketOptions};
use crate::time::Time;
use crate::waker::Waker;

use accept::Listener;
use connection::Connection;
pub use event::{Event, Verb};
pub use keys::{ConnectionKey, ListenerKey};
use keys::{Key, Slots};
use queue::SlotQueue;
pub use send::Sending;
use shortage::Retries;
pub use trace::{Moment, Step, TraceResult, Tracer};
use turn_away::TurnedAway;

/// How many immediate results one turn handles before the kernel is asked again, in order. It bounds the share of a
/// turn that a peer without pauses can take. Asking costs about as much as a message.
const READY_BUDGET: usize = 64;
/// The number of connections for which tables reserve address space: up to this number, a growing table does not move.
pub const CONNECTIONS: usize = 16 * 1024;
/// How much a driver holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Connections, including those that are closing.
    pub connections: usize,
    /// Operations in flight.
    pub in_flight: usize,
    /// Blocks held by operations and leases.
    pub blocks_in_use: usize,
    /// Connections whose receive waits for a block.
    pub starved: usize,
    /// Receives, sends and watches that are retried because the system was out of memory.
    pub delayed: usize,
    /// Sockets that are being [turned away](Driver::refuse).
    pub turned_away: usize,
}

enum Ready<S> {
    Completion(Completion<S>),
    Released(ConnectionKey),
    Paused(ConnectionKey),
    ListenerReleased(ListenerKey),
}

/// Drives the sockets of one worker over one backend. Lives on one thread (INV-5).
pub struct Driver<B: Backend> {
    backend: B,
    ops: InFlight<B>,
    connections: Slots<Connection<B>>,
    listeners: Slots<Listener<B>>,
    /// Immediate results, and releases and pauses, which have no completion of their own.
    ready: VecDeque<Ready<B::Socket>>,
    ready_left: usize,
    /// Results of sends that continue in the next turn, so that other connections are served first.
    next_turn: Vec<Completion<B::Socket>>,
    /// The connection whose one-shot receive is armed again after the current event was handled.
    rearm: Option<Key>,
    /// Watches in flight, by the index of their connections.
    watches: Vec<Option<OpKey>>,
    starved: SlotQueue<Key>,
    sends: usize,
    retries: Retries,
    turned_away: TurnedAway<B::Socket>,
    options: SocketOptions,
    tracer: Option<Tracer>,
}

impl<B: Backend> Driver<B> {
    /// A driver over `backend`, which receives into the backend's pool.
    #[must_use]
    pub fn new(backend: B) -> Driver<B> {
        Driver {
            backend,
            ops: Table::new(),
            connections: Slots::with_room_for(CONNECTIONS),
            listeners: Slots::new(),
            ready: VecDeque::new(),
            ready_left: 0,
            next_turn: Vec::new(),
            rearm: None,
            watches: Vec::new(),
            starved: SlotQueue::new(),
            sends: 0,
            retries: Retries::new(),
            turned_away: TurnedAway::new(),
            options: SocketOptions::default(),
            tracer: None,
        }
    }

    /// Which backend this is.
    #[must_use]
    pub fn kind(&self) -> BackendKind {
        B::KIND
    }

    /// What the backend can do.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        self.backend.abilities()
    }

    /// The time of this backend's clock.
    #[must_use]
    pub fn now(&self) -> Time {
        self.backend.now()
    }

    /// The time of a clock that is cheaper to read, and up to 16 ms behind; only the difference of two such times means
    /// something. See [`os::coarse_time_ns`](crate::os::coarse_time_ns).
    #[must_use]
    pub fn coarse_now(&self) -> Time {
        self.backend.coarse_now()
    }

    /// A handle with which any thread can end a wait in [`turn`](Self::turn).
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.backend.waker()
    }

    /// The blocks that this driver receives into.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        self.backend.pool()
    }

    /// The backend, for calls that only this backend has.
    #[must_use]
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The backend, for settings of its own.
    ///
    /// # Safety
    /// It must not be replaced or swapped with another: operations in flight belong to this backend *and* to this
    /// driver's in-flight table (INV-1).
    pub unsafe fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// How much is held now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            connections: self.connections.len(),
            in_flight: self.ops.len(),
            blocks_in_use: self.backend.pool().in_use() as usize,
            starved: self.starved.len(),
            delayed: self.retries.len(),
            turned_away: self.turned_away.len(),
        }
    }

    /// All operations in flight, as text, for reports on operations that are stuck.
    #[must_use]
    pub fn in_flight_report(&self) -> String {
        format!("{:?}", self.ops)
    }

    /// Sends in flight.
    #[must_use]
    pub fn sends_in_flight(&self) -> usize {
        self.sends
    }

    /// The peer's address of an accepted socket that was not adopted yet.
    ///
    /// # Errors
    /// If the peer is already gone.
    pub fn peer_of(&self, socket: &B::Socket) -> io::Result<SocketAddr> {
        self.backend.calls().peer_addr(socket)
    }

    /// The local address of an accepted socket that was not adopted yet.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_of(&self, socket: &B::Socket) -> io::Result<SocketAddr> {
        self.backend.calls().local_addr(socket)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// If the connection is already gone.
    pub fn peer_addr(&self, connection: ConnectionKey) -> io::Result<SocketAddr> {
        let connection = self.connections.get(connection.0).ok_or(io::ErrorKind::NotConnected)?;
        self.backend.calls().peer_addr(&connection.socket)
    }

    /// The local address.
    ///
    /// # Errors
    /// If the connection is already gone.
    pub fn local_addr(&self, connection: ConnectionKey) -> io::Result<SocketAddr> {
        let connection = self.connections.get(connection.0).ok_or(io::ErrorKind::NotConnected)?;
        self.backend.calls().local_addr(&connection.socket)
    }

    /// Bytes that arrived and were not received yet; 0 for a connection that is gone.
    #[must_use]
    pub fn unread(&self, connection: ConnectionKey) -> usize {
        let connection = self.connections.get(connection.0);
        connection.and_then(|connection| self.backend.calls().unread(&connection.socket).ok()).unwrap_or(0)
    }

    /// When the next [`turn`](Self::turn) is due although nothing completes: to retry what a shortage delayed, or to look
    /// at sockets that are turned away. A turn that waits ends its wait in time by itself; this is for callers that
    /// move a virtual clock.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.retries.due().into_iter().chain(self.turned_away.due()).min()
    }

    /// Submits what is batched and waits for completions as `wait` says. After it, call
    /// [`next_event`](Self::next_event) until that returns `None`.
    ///
    /// # Errors
    /// Only if the ring, port or poller itself is broken; the driver cannot be used any more.
    pub fn turn(&mut self, wait: Wait) -> io::Result<()> {
        self.arm_wanted();
        self.feed_starved();
        let wait = if self.retries.is_empty() { wait } else { self.retry_delayed(wait) };
        let wait = if self.turned_away.is_empty() { wait } else { self.look_at_turned_away(wait) };
        self.ready.extend(self.next_turn.drain(..).map(Ready::Completion));
        let wait = if self.ready.is_empty() { wait } else { Wait::Poll };
        if self.tracer.is_some() {
            self.trace_call(None, Call::Wait, Moment::Began);
        }
        self.backend.harvest(wait, &mut self.ops)?;
        if self.tracer.is_some() {
            self.trace_call(None, Call::Wait, Moment::Ended);
        }
        // At least as many as are waiting now: each of those is handled in this turn.
        self.ready_left = self.ready.len().max(READY_BUDGET);
        Ok(())
    }

    /// Hands `most` operations to the kernel, if more than that are waiting for the next [`turn`](Self::turn). Returns
    /// whether it tried: a kernel that is short of something takes fewer. It brings no event. With io_uring one system call submits everything, which takes some microseconds
    /// for each send: a caller that has something to do in between submits in parts. With the other backends nothing waits.
    ///
    /// # Errors
    /// As for [`turn`](Self::turn).
    pub fn submit_some(&mut self, most: u32) -> io::Result<bool> {
        self.backend.submit_some(most)
    }

    /// The next event of this turn; `None` when it is time for the next [`turn`](Self::turn).
    #[inline]
    pub fn next_event(&mut self) -> Option<Event<B::Socket>> {
        loop {
            self.arm_wanted();
            let event = match self.backend.next(&mut self.ops) {
                // By far the most frequent case: an arrival on a multishot receive. Handled here, so that it stays in
                // registers. A late or unwanted block is dropped, and so recycled (INV-3).
                Some(Harvested::Completed(Completion {
                    key: op,
                    outcome: Outcome::Received(block, len),
                    more: true,
                })) => {
                    if self.tracer.is_some() {
                        self.trace_operation(
                            op,
                            Moment::Completed { result: TraceResult::Bytes(len), more: true },
                        );
                    }
                    self.receiving(op)
                        .map(|connection| Event::Received { connection, data: block.into_lease(len) })
                }
                Some(Harvested::Completed(completion)) => self.complete(completion),
                Some(Harvested::Woken) => Some(Event::Woken),
                None => match self.next_ready()? {
                    Ready::Completion(completion) => self.complete(completion),
                    other => self.ended(other),
                },
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// The index of the connection that the next event is likely to be about: a hint for tables kept in parallel, to
    /// [prefetch](crate::prefetch) from. The driver's own entry is prefetched too.
    #[inline]
    #[must_use]
    pub fn upcoming(&self) -> Option<usize> {
        let index = self.ops.owner_of(self.backend.upcoming()?)?;
        self.connections.prefetch(index);
        Some(index as usize)
    }

    fn next_ready(&mut self) -> Option<Ready<B::Socket>> {
        if self.ready_left == 0 {
            return None;
        }
        let ready = self.ready.pop_front()?;
        self.ready_left -= 1;
        Some(ready)
    }

    /// The event for an item of the ready list, if there is one.
    #[cold]
    fn ended(&mut self, ready: Ready<B::Socket>) -> Option<Event<B::Socket>> {
        match ready {
            Ready::Completion(completion) => self.complete(completion),
            Ready::Released(connection) => {
                self.connections.vacate(connection.0);
                Some(Event::Released { connection })
            }
            Ready::Paused(connection) => self.still_paused(connection.0),
            Ready::ListenerReleased(listener) => Some(Event::ListenerReleased { listener }),
        }
    }

    /// The event for a completion, if there is one.
    fn complete(&mut self, completion: Completion<B::Socket>) -> Option<Event<B::Socket>> {
        let Completion { key: op, outcome, more } = completion;
        if self.tracer.is_some() {
            self.trace_operation(op, Moment::Completed { result: TraceResult::of(&outcome), more });
        }
        // A late completion finds no operation; its block or socket is dropped (INV-3).
        let entry = self.ops.get(op)?;
        let owner = entry.owner;
        match entry.operation {
            Operation::Accept { .. } => self.complete_accept(op, owner, outcome, more),
            Operation::Connect { .. } => self.complete_connect(op, owner, outcome),
            Operation::Receive { .. } => self.complete_receive(op, owner, outcome, more),
            Operation::Send { .. } => self.complete_send(op, owner, outcome),
            Operation::Watch { .. } => self.complete_watch(op, owner, outcome, more),
        }
    }

    /// The connection that an operation belongs to. It exists, because the operation is counted (INV-2).
    fn owner(&self, index: u32) -> Key {
        self.connections.key_of(index).expect("INV-2: a connection outlives its operations")
    }

    fn connection(&mut self, key: Key) -> &mut Connection<B> {
        self.connections.get_mut(key).expect("INV-2: a connection outlives its operations")
    }
}
