//! I/O completion ports: an operation is one call, and its completion is a packet in the worker's port.
//!
//! Immediate success posts no packet (`FILE_SKIP_COMPLETION_PORT_ON_SUCCESS`), immediate failure has none, and only
//! "pending" means that one will come: `errors::decide`. The in-flight entry is the extended `OVERLAPPED`: a
//! packet's address leads to its [`Header`], and that to its key. Several accepts are kept in flight per listener. A
//! receive is armed with a block while the pool has plenty. Else it is armed with no memory and takes a block when
//! bytes have arrived, so that idle connections hold none.

mod calls;
mod errors;
#[cfg(test)]
mod faults;
mod header;
mod names;
mod options;
mod port;
mod table;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use windows_sys::Win32::Networking::WinSock::{SOCKET, WSAENOBUFS};

use super::choice::Refusal;
use super::names::CallNames;
use super::{Abilities, Backend, BackendKind, Create, InFlight, Wait};
use crate::buffer::{Block, Gather, Pool};
use crate::operation::{Close, Completion, Harvested, MOST_AT_ONCE, OpKey, Operation, Outcome, Submitted};
use crate::socket::Socket;
use crate::time::Time;
use crate::waker::Waker;

pub use calls::Calls;
use errors::Started;
use header::Accepting;
pub use header::Header;
use port::{Packet, Packets, Port};
use table::{SYSTEM, Table};

/// Accepts in flight per listener: a burst of this many connections is accepted without a call in between.
const ACCEPTS: u16 = 16;
/// A receive takes a block at submission only while more than one in this many blocks is available. The other half of
/// the pool is for bytes that arrive on connections without a block; in a pool of one block, all of it.
const RESERVE: u32 = 2;
/// The pause between two tries of a cancel that the system refused.
const CANCEL_PAUSE_MS: u32 = 10;

/// One worker's port.
pub struct Iocp {
    port: Arc<Port>,
    packets: Packets,
    calls: Calls,
    /// Operations whose cancel the system refused. They may wait forever, so they are cancelled again.
    uncancelled: Vec<OpKey>,
    /// True exactly when the last harvest took all packets.
    looked: bool,
    pool: Pool,
    epoch: Instant,
}

/// A socket that belongs to a port, as operations name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(SOCKET);

impl Create for Iocp {
    fn create(pool: Pool) -> Result<Iocp, Refusal> {
        Iocp::over(&SYSTEM, pool)
    }
}

impl Iocp {
    fn over(table: &'static Table, pool: Pool) -> Result<Iocp, Refusal> {
        let refusal = |what: &str, error: &io::Error| Refusal {
            backend: BackendKind::Iocp,
            reason: format!("{what}: {error}"),
            remedy: "repair Winsock (`netsh winsock reset`, then restart the machine)".into(),
        };
        let calls = Calls::load(table).map_err(|error| {
            refusal("Winsock does not offer what this needs, AcceptEx first of all", &error)
        })?;
        match calls.layer() {
            Ok(None) => {}
            Ok(Some(name)) => {
                return Err(Refusal {
                    backend: BackendKind::Iocp,
                    reason: format!("a layered service provider stands in front of TCP: {name}"),
                    remedy: "remove the program that installed it, or all of them \
                             (`netsh winsock reset`, then restart the machine); \
                             `netsh winsock show catalog` lists them"
                        .into(),
                });
            }
            Err(error) => return Err(refusal("Winsock does not tell who provides TCP", &error)),
        }
        let port =
            Port::new(table).map_err(|error| refusal("a completion port could not be made", &error))?;
        let (packets, epoch) = (Packets::new(), Instant::now());
        let (port, uncancelled) = (Arc::new(port), Vec::new());
        Ok(Iocp { port, packets, calls, uncancelled, looked: false, pool, epoch })
    }

    /// Cancels again what could not be cancelled. Returns how long the wait may be if some are still left.
    #[cold]
    fn cancel_again(&mut self, millis: u32, ops: &mut InFlight<Iocp>) -> u32 {
        for key in std::mem::take(&mut self.uncancelled) {
            self.cancel(key, ops);
        }
        if self.uncancelled.is_empty() { millis } else { millis.min(CANCEL_PAUSE_MS) }
    }

    /// A block for a receive that is being submitted, while the pool has plenty.
    fn block_to_spare(&self) -> Option<Block> {
        let plenty = self.pool.available().saturating_sub(1) * RESERVE >= self.pool.blocks();
        if plenty { self.pool.take_unreserved() } else { None }
    }

    /// Makes the calls of an operation until one of them waits, or the operation is over. A receive that failed still
    /// has its block.
    ///
    /// # Safety
    /// As for [`Backend::submit`].
    unsafe fn carry_on(
        &mut self,
        key: OpKey,
        operation: &mut Operation<Handle>,
        header: &Header,
    ) -> Submitted<Socket> {
        loop {
            header.prepare(key);
            // SAFETY: what the caller promised.
            let result = match unsafe { self.call(operation, header) } {
                Ok(Started::Pending) => {
                    header.begin();
                    return Submitted::Pending;
                }
                // Repeating it would never end.
                Ok(Started::Complete(0)) if matches!(operation, Operation::Send { .. }) => {
                    return Submitted::Done(Outcome::Failed(io::ErrorKind::WriteZero.into()));
                }
                Ok(Started::Complete(bytes)) => Ok(bytes),
                Ok(Started::Failed(code)) => Err(code),
                Err(error) => return Submitted::Done(Outcome::Failed(error)),
            };
            if let Some(outcome) = self.conclude(operation, header, result) {
                return Submitted::Done(outcome);
            }
        }
    }

    /// Makes one call.
    ///
    /// # Safety
    /// As for [`Backend::submit`].
    unsafe fn call(&mut self, operation: &mut Operation<Handle>, header: &Header) -> io::Result<Started> {
        Ok(match operation {
            Operation::Accept { listener } => {
                let socket = self.calls.socket_for(listener.0)?;
                let (into, addresses) = header.keep_accept(socket);
                // SAFETY: the header owns the socket and the addresses, and the caller keeps it (INV-1).
                unsafe { self.calls.accept(listener.0, into, addresses, header) }
            }
            // SAFETY: the operation owns the address, and the caller keeps it (INV-1).
            Operation::Connect { socket, address } => unsafe {
                self.calls.connect(socket.0, address, header)
            },
            Operation::Receive { socket, .. } => {
                let (to, len) = match header.block() {
                    Some(block) => (self.pool.address(block), self.pool.block_len()),
                    None => (std::ptr::null_mut(), 0),
                };
                // SAFETY: the header has the block, and the caller keeps it (INV-1).
                unsafe { self.calls.receive(socket.0, to, len, header) }
            }
            // A receive of no bytes: it completes when there is something to receive, or fails when there never will
            // be. SAFETY: the caller keeps the header (INV-1).
            Operation::Watch { socket } => unsafe {
                self.calls.receive(socket.0, std::ptr::null_mut(), 0, header)
            },
            Operation::Send { socket, payload, sent } => {
                let mut pieces = [&[][..]; Gather::MOST];
                let count = payload.pieces(*sent, MOST_AT_ONCE, &mut pieces);
                // SAFETY: the operation owns the payload, and the caller keeps it (INV-1).
                unsafe { self.calls.send(socket.0, &pieces[..count], header) }
            }
        })
    }

    /// The outcome of an operation after a call; `None` if it continues with another call.
    fn conclude(
        &mut self,
        operation: &mut Operation<Handle>,
        header: &Header,
        result: Result<usize, i32>,
    ) -> Option<Outcome<Socket>> {
        let accepted = header.take_accept();
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(code) => return Some(errors::ended(operation, code, header.asked_to_end.get())),
        };
        Some(match operation {
            Operation::Accept { listener } => {
                let Accepting { socket, addresses } = *accepted.expect("INV-1: an accept keeps its socket");
                match self.calls.update_accepted(&socket, listener.0) {
                    Ok(()) => Outcome::Accepted(socket, self.calls.peer_in(&addresses).map(Box::new)),
                    // Whatever the error, it concerns only this connection.
                    Err(_) => Outcome::Failed(io::ErrorKind::ConnectionAborted.into()),
                }
            }
            Operation::Connect { socket, .. } => match self.calls.update_connected(socket.0) {
                Ok(()) => Outcome::Connected,
                Err(error) => Outcome::Failed(error),
            },
            Operation::Receive { .. } => match header.take_block(&self.pool) {
                Some(block) if bytes > 0 => Outcome::Received(block, bytes),
                Some(_) => Outcome::EndOfStream,
                // There are bytes to receive, or the end: the next call gets them, unless the receive was cancelled.
                None if header.asked_to_end.get() => Outcome::Cancelled,
                None => {
                    header.keep_block(match self.pool.take_unreserved() {
                        Some(block) => block,
                        None => return Some(Outcome::NoBlocks),
                    });
                    return None;
                }
            },
            Operation::Watch { .. } if header.asked_to_end.get() => Outcome::Cancelled,
            // Bytes or the end wait to be received: what comes behind them cannot be detected.
            Operation::Watch { .. } => Outcome::EndOfStream,
            Operation::Send { .. } if bytes > 0 => Outcome::Sent(bytes),
            Operation::Send { .. } if header.asked_to_end.get() => Outcome::Cancelled,
            // It neither failed nor sent anything. Wine completes a send like this when the peer ends *its* stream.
            Operation::Send { .. } => return None,
        })
    }
}

impl Backend for Iocp {
    type Socket = Socket;
    type Handle = Handle;
    type Header = Header;
    type Calls = Calls;

    const KIND: BackendKind = BackendKind::Iocp;
    const CALL_NAMES: CallNames = names::NAMES;
    /// Rounded up to milliseconds, and the system's clock ticks every 15.6 ms.
    const WAIT_ROUNDING: Duration = Duration::from_millis(17);

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn calls(&self) -> &Calls {
        &self.calls
    }

    fn abilities(&self) -> Abilities {
        Abilities { multishot_accept: false, multishot_receive: false, accepts: ACCEPTS }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.epoch.elapsed()
    }

    fn waker(&self) -> Waker {
        Waker::new(Arc::clone(&self.port) as Arc<_>)
    }

    fn open(&mut self, address: SocketAddr, from: Option<SocketAddr>) -> io::Result<Socket> {
        self.calls.socket_towards(address, from)
    }

    fn adopt(&mut self, socket: &Socket, owner: u32) -> io::Result<Handle> {
        self.calls.skip_on_success(socket)?;
        self.port.associate(socket, owner)?;
        Ok(Handle(table::raw(socket)))
    }

    unsafe fn submit(
        &mut self,
        key: OpKey,
        operation: &mut Operation<Handle>,
        header: &Header,
    ) -> Submitted<Socket> {
        header.asked_to_end.set(false);
        if let Operation::Receive { block, .. } = operation
            && let Some(block) = block.take().or_else(|| self.block_to_spare())
        {
            header.keep_block(block);
        }
        // SAFETY: what the caller promised.
        let mut submitted = unsafe { self.carry_on(key, operation, header) };
        if let Submitted::Done(Outcome::Failed(error)) = &submitted
            && error.raw_os_error() == Some(WSAENOBUFS)
            && header.take_block(&self.pool).is_some()
        {
            // There is no memory to lock for a block; a receive without a block needs none (INV-9).
            // SAFETY: what the caller promised.
            submitted = unsafe { self.carry_on(key, operation, header) };
        }
        if matches!(submitted, Submitted::Done(_)) {
            drop(header.take_block(&self.pool));
        }
        submitted
    }

    fn cancel(&mut self, key: OpKey, ops: &mut InFlight<Iocp>) {
        let Some(entry) = ops.get(key) else { return };
        entry.header.asked_to_end.set(true);
        // An operation that is over, or was never submitted, is queued to be handed out already.
        if entry.header.is_pending() && !self.calls.cancel(socket_of(entry.operation), entry.header) {
            self.uncancelled.push(key);
        }
    }

    fn harvest(&mut self, wait: Wait, ops: &mut InFlight<Iocp>) -> io::Result<()> {
        self.looked = false;
        if !self.packets.is_empty() {
            return Ok(());
        }
        let millis = match wait {
            Wait::Poll => 0,
            Wait::Until(at) => millis(at.since(self.now())),
            Wait::Forever => u32::MAX,
        };
        let millis = if self.uncancelled.is_empty() { millis } else { self.cancel_again(millis, ops) };
        self.packets.wait(&self.port, millis)?;
        self.looked = if self.packets.is_empty() { millis == 0 } else { !self.packets.is_full() };
        Ok(())
    }

    fn next(&mut self, ops: &mut InFlight<Iocp>) -> Option<Harvested<Socket>> {
        loop {
            let packet = self.packets.next().or_else(|| self.port.owes_wake().then_some(Packet::Wake))?;
            let Packet::End { overlapped, owner } = packet else {
                self.port.woken();
                return Some(Harvested::Woken);
            };
            // SAFETY: all packets but wake-ups are of operations that were submitted with a header of this table.
            let key = unsafe { Header::taken(overlapped) };
            let entry = ops.get_mut(key).expect("INV-1: an operation stays in the table until it completes");
            assert_eq!(entry.owner, owner, "INV-3: a packet comes from the socket of its operation's owner");
            let (operation, header) = (entry.operation, entry.header);
            debug_assert_eq!(header.overlapped(), overlapped, "INV-1: entries do not move");
            let result = match header.moved() {
                Some(bytes) => Ok(bytes),
                None => Err(self.calls.failure(socket_of(operation), header)),
            };
            let outcome = match self.conclude(operation, header, result) {
                Some(outcome) => outcome,
                // SAFETY: the entry stays in the table: its last completion was not handed out yet (INV-1).
                None => match unsafe { self.carry_on(key, operation, header) } {
                    Submitted::Done(outcome) => outcome,
                    Submitted::Pending => continue,
                },
            };
            drop(header.take_block(&self.pool));
            return Some(Harvested::Completed(Completion { key, outcome, more: false }));
        }
    }

    fn looked(&self) -> bool {
        self.looked && self.packets.is_empty()
    }

    fn close(&mut self, socket: Socket, _handle: Option<Handle>, how: Close) {
        if how == Close::Reset {
            // If this fails, the close is an orderly one.
            let _ = self.calls.linger_not(&socket);
        }
        // The port holds no reference of its own: an associated socket is closed like any other.
        drop(socket);
    }
}

/// The socket that an operation in flight is on.
fn socket_of(operation: &Operation<Handle>) -> SOCKET {
    match operation {
        Operation::Accept { listener: socket }
        | Operation::Connect { socket, .. }
        | Operation::Receive { socket, .. }
        | Operation::Watch { socket }
        | Operation::Send { socket, .. } => socket.0,
    }
}

/// A span in milliseconds, rounded up so that no deadline is met early; never the value that means "forever".
fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX).min(u32::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_and_end() {
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_millis(7)), 7);
        assert_eq!(millis(Duration::MAX), u32::MAX - 1, "u32::MAX would be for ever");
    }
}
