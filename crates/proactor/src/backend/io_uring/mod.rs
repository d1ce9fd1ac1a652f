//! io_uring: operations go into a submission ring, completions come out of a completion ring; one system call submits
//! and waits.
//!
//! Accepts and receives are multishot; when bytes arrive, the kernel takes a block from a buffer ring, so an idle
//! connection holds none. See `io_uring(7)`, `io_uring_enter(2)`, `io_uring_setup_buf_ring(3)`. Needs Linux 6.0.

mod buffers;
mod features;
mod names;
mod refusal;
mod urgent;
mod waiting;
mod wake;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::io_uring::types::{Fd, SubmitArgs, Timespec};
use ::io_uring::{IoUring as Ring, cqueue, opcode, squeue};

use super::choice::Refusal;
use super::feature::{Feature, RingSize};
use super::names::CallNames;
use super::{Abilities, Backend, BackendKind, Create, InFlight, Wait};
use crate::buffer::{Block, Outgoing, Pool};
use crate::operation::{Close, Completion, Harvested, MOST_AT_ONCE, OpKey, Operation, Outcome, Submitted};
use crate::os::CountedPort;
use crate::socket::{self, Socket, UnixCalls};
use crate::time::Time;
use crate::waker::Waker;

use buffers::Buffers;
use refusal::Part;
use urgent::Urgent;
use wake::WakeEvent;

const SQ_ENTRIES: u32 = 1024;
const CQ_ENTRIES: u32 = 8192;
/// The smallest ring: with fewer entries, a few messages would cost a system call.
const SQ_ENTRIES_MIN: u32 = 64;
/// `WAITALL`: the kernel continues a short send itself, which makes short sends rare, not impossible.
const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// Completions of the wake-up event. Keys never reach this value.
const WAKE: u64 = u64::MAX;
/// The bit that distinguishes the completion of a cancel from that of the operation. No key has it.
const CANCEL: u64 = 1 << 63;

/// One worker's ring.
pub struct IoUring {
    // The ring is dropped first. The kernel tears it down only some time after the close. Until then it may write
    // blocks: so a driver takes every completion before it drops its backend, or leaks the blocks (INV-10).
    ring: Ring,
    buffers: Buffers,
    wake: Arc<WakeEvent>,
    epoch: Instant,
    /// Submissions that found the ring full, in order. They go out with the next harvest.
    overflow: VecDeque<squeue::Entry>,
    /// Whether completions appear only inside `enter` (deferred task run).
    deferred: bool,
    urgent: Urgent,
    block_len: u32,
    /// True exactly when the last `enter` left nothing to submit or to complete, and no receive was submitted since.
    looked: bool,
    _counted: CountedPort,
}

impl Create for IoUring {
    fn create(pool: Pool) -> Result<IoUring, Refusal> {
        let (ring, deferred) = refusal::build_ring(SQ_ENTRIES, CQ_ENTRIES, SQ_ENTRIES_MIN)?;
        refusal::check_operations(&ring)?;
        let block_len = pool.block_len();
        let buffers = Buffers::register(&ring, pool).map_err(|(part, error)| refusal::of(part, &error))?;
        let wake = WakeEvent::new().map_err(|error| refusal::of(Part::Wake, &error))?;
        let wake = Arc::new(wake);
        let epoch = Instant::now();
        let overflow = VecDeque::new();
        let (urgent, looked, _counted) = (Urgent::default(), false, CountedPort::new());
        let mut this =
            IoUring { ring, buffers, wake, epoch, overflow, deferred, urgent, block_len, looked, _counted };
        this.arm_wake();
        // A seccomp profile may allow making a ring and forbid using it: found out here, before the server says that
        // it listens.
        match this.enter(Some(Duration::ZERO)) {
            Err(error) if !is_passing(&error) => Err(refusal::of(Part::Submission, &error)),
            _ => Ok(this),
        }
    }

    fn ring_size(&self) -> Option<RingSize> {
        Some(RingSize { least: self.ring.params().sq_entries(), wanted: SQ_ENTRIES })
    }

    fn features() -> Vec<Feature> {
        features::try_all()
    }
}

impl IoUring {
    /// What a completion entry of an operation says. `None` if the operation goes on, or is over already.
    #[inline]
    fn completed(
        &mut self,
        data: u64,
        result: i32,
        flags: u32,
        ops: &mut InFlight<IoUring>,
    ) -> Option<Harvested<Socket>> {
        let more = cqueue::more(flags);
        // The block id means something only when the completion says that it carries one. Then it is of a receive, which
        // the driver looks up: if that is over, it recycles the block (INV-3).
        let block = cqueue::buffer_select(flags).map(|id| self.buffers.reclaim(id));
        let key = OpKey::from_u64(data)?;
        if let Some(block) = block
            && result > 0
        {
            return Some(Harvested::Completed(self.received(key, block, result as u32, flags)));
        }
        let entry = ops.get(key)?;
        if let Operation::Watch { socket } = *entry.operation {
            // SAFETY: the operation is in flight, and the socket open for as long (INV-2).
            match unsafe { watch::outcome(socket, result) } {
                Some(outcome) => return Some(Harvested::Completed(Completion { key, outcome, more })),
                None if more => {}
                // The kernel ends a multishot poll when the completion ring is full.
                None => self.push(watch::entry(socket).user_data(data)),
            }
            return None;
        }
        if let Operation::Receive { socket, block } = entry.operation
            && cqueue::buffer_select(flags).is_none()
        {
            let socket = *socket;
            if block.is_some() {
                return Some(Harvested::Completed(Self::received_into_own_block(key, result, ops)));
            }
            // SAFETY: the operation is in flight, and the socket open for as long (INV-2).
            match unsafe { waiting::next(socket, result) } {
                None => {}
                Some(waiting::Next::Poll) => {
                    self.push(waiting::poll(socket).user_data(data));
                    return None;
                }
                Some(waiting::Next::Receive) => {
                    // The bytes were not handed out yet.
                    self.looked = false;
                    self.push(waiting::receive(socket).user_data(data));
                    return None;
                }
            }
        }
        if self.urgent.concerns(false) {
            self.urgent.note(key, false);
        }
        let outcome = outcome(entry.operation, result);
        Some(Harvested::Completed(Completion { key, outcome, more }))
    }

    /// A completion of a receive with bytes in a block of the ring.
    #[inline(always)]
    fn received(&mut self, key: OpKey, block: Block, bytes: u32, flags: u32) -> Completion<Socket> {
        let behind = cqueue::sock_nonempty(flags) && bytes < self.block_len;
        if self.urgent.concerns(behind) {
            self.urgent.note(key, behind);
        }
        Completion { key, outcome: Outcome::Received(block, bytes as usize), more: cqueue::more(flags) }
    }

    #[inline]
    fn push(&mut self, entry: squeue::Entry) {
        if !self.overflow.is_empty() || !self.try_push(&entry) {
            self.overflow.push_back(entry);
            self.flush_overflow();
        }
    }

    #[inline]
    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: every address in an entry points into an operation of the in-flight table, a block of the pool
        // or an address boxed in such an operation; none of them is freed, moved or reused before the last
        // completion was taken (INV-1), and a driver that is dropped early reaps or leaks them (INV-10).
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    fn flush_overflow(&mut self) {
        while let Some(entry) = self.overflow.front() {
            let entry = entry.clone();
            // A failure here is a shortage (EAGAIN, EBUSY): the entries stay queued for the next harvest.
            if !self.try_push(&entry) && (self.ring.submit().is_err() || !self.try_push(&entry)) {
                return;
            }
            self.overflow.pop_front();
        }
    }

    fn cancel_operation(&mut self, key: OpKey) {
        let cancel = opcode::AsyncCancel::new(key.to_u64()).build();
        self.push(cancel.flags(squeue::Flags::SKIP_SUCCESS).user_data(key.to_u64() | CANCEL));
    }

    fn arm_wake(&mut self) {
        let poll = opcode::PollAdd::new(Fd(self.wake.as_raw_fd()), libc::POLLIN as u32).multi(true);
        self.push(poll.build().user_data(WAKE));
    }

    /// How long an `enter` may wait; `None`: without a limit.
    fn limit(&self, wait: Wait) -> Option<Duration> {
        match wait {
            Wait::Poll => Some(Duration::ZERO),
            Wait::Until(at) => Some(at.since(self.now())),
            Wait::Forever => None,
        }
    }

    /// Submits, and waits up to `limit` for a completion.
    fn enter(&mut self, limit: Option<Duration>) -> io::Result<usize> {
        match limit {
            None => self.ring.submit_and_wait(1),
            Some(Duration::ZERO) => {
                let pending = self.ring.submission().len() as u32;
                let flags = 1; // IORING_ENTER_GETEVENTS: runs deferred work even when it waits for nothing
                // SAFETY: no argument is passed; the entries were pushed under the rule of `try_push`.
                unsafe { self.ring.submitter().enter::<libc::sigset_t>(pending, 0, flags, None) }
            }
            Some(left) => {
                let left = Timespec::from(left);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&left))
            }
        }
    }

    /// Whether an `enter` with this limit left nothing to do.
    ///
    /// With deferred task run the kernel completes what arrived inside `enter`, and not all of it: as many as are waited
    /// for after it slept, else up to twice 20 (`__io_run_local_work`, `IO_LOCAL_TW_DEFAULT_MAX`), which need not be as
    /// many completions. What is left over shows in the flag that the ring asks for, `IORING_SQ_TASKRUN`, and what found
    /// the completion ring full in `IORING_SQ_CQ_OVERFLOW`. A wait that brought nothing was interrupted or ran out of
    /// time, whatever it returned: the number of submissions hides the error.
    fn left_nothing(&mut self, limit: Option<Duration>) -> bool {
        let submissions = self.ring.submission();
        let over = submissions.taskrun() || submissions.cq_overflow() || !submissions.is_empty();
        drop(submissions);
        let looked = limit == Some(Duration::ZERO) || !self.ring.completion().is_empty();
        !over && self.overflow.is_empty() && looked
    }

    /// The only completion of a receive that brought its own block.
    #[cold]
    fn received_into_own_block(key: OpKey, result: i32, ops: &mut InFlight<IoUring>) -> Completion<Socket> {
        let operation = ops.get_mut(key).expect("looked up by the caller").operation;
        let outcome = match operation {
            Operation::Receive { block, .. } if result > 0 => {
                Outcome::Received(block.take().expect("it has one"), result as usize)
            }
            operation => outcome(operation, result),
        };
        Completion { key, outcome, more: false }
    }
}

impl Backend for IoUring {
    type Socket = Socket;
    type Handle = RawFd;
    type Header = ();
    type Calls = UnixCalls;

    const KIND: BackendKind = BackendKind::IoUring;
    const CALL_NAMES: CallNames = names::NAMES;
    /// The time has nanoseconds. The rest is timer slack (50 µs) and the time to wake up.
    const WAIT_ROUNDING: Duration = Duration::from_micros(200);

    fn pool(&self) -> &Pool {
        self.buffers.pool()
    }

    fn calls(&self) -> &UnixCalls {
        &UnixCalls
    }

    fn abilities(&self) -> Abilities {
        Abilities { multishot_accept: true, multishot_receive: true, accepts: 1 }
    }

    fn now(&self) -> Time {
        let now = Time::ZERO + self.epoch.elapsed();
        self.urgent.clocked(now);
        now
    }

    fn waker(&self) -> Waker {
        Waker::new(Arc::clone(&self.wake) as Arc<_>)
    }

    fn open(&mut self, address: SocketAddr, from: Option<SocketAddr>) -> io::Result<Socket> {
        // Blocking on purpose: on a non-blocking socket the ring reports `EAGAIN` instead of waiting.
        socket::towards(address, from)
    }

    fn adopt(&mut self, socket: &Socket, _owner: u32) -> io::Result<RawFd> {
        Ok(socket.as_raw_fd())
    }

    #[inline]
    unsafe fn submit(&mut self, key: OpKey, operation: &mut Operation<RawFd>, (): &()) -> Submitted<Socket> {
        let entry = match operation {
            Operation::Accept { listener } => {
                opcode::AcceptMulti::new(Fd(*listener)).flags(libc::SOCK_CLOEXEC).build()
            }
            Operation::Connect { socket, address } => {
                opcode::Connect::new(Fd(*socket), address.as_ptr().cast(), address.len()).build()
            }
            Operation::Receive { socket, block } => {
                // Bytes may be waiting for it; the next harvest finds out.
                self.looked = false;
                match block {
                    None => waiting::receive(*socket),
                    Some(block) => waiting::receive_into(block, *socket),
                }
            }
            Operation::Watch { socket } => watch::entry(*socket),
            Operation::Send { socket, payload: Outgoing::Many(gather), sent } => {
                let message = gather.message(*sent, MOST_AT_ONCE);
                opcode::SendMsg::new(Fd(*socket), message).flags(SEND_FLAGS as u32).build()
            }
            Operation::Send { socket, payload: Outgoing::One(payload), sent } => {
                let rest = &payload.as_slice()[*sent..];
                // The driver continues it in steps, and so sees whether the peer reads.
                let len = rest.len().min(MOST_AT_ONCE) as u32;
                opcode::Send::new(Fd(*socket), rest.as_ptr(), len).flags(SEND_FLAGS).build()
            }
        };
        self.push(entry.user_data(key.to_u64()));
        Submitted::Pending
    }

    fn cancel(&mut self, key: OpKey, _ops: &mut InFlight<IoUring>) {
        self.cancel_operation(key);
    }

    fn submit_some(&mut self, most: u32) -> io::Result<bool> {
        let pending = self.ring.submission().len() as u32;
        if pending <= most {
            return Ok(false);
        }
        self.buffers.provide();
        // SAFETY: no argument is passed; the entries were pushed under the rule of `try_push`.
        match unsafe { self.ring.submitter().enter::<libc::sigset_t>(most, 0, 0, None) } {
            Ok(_) => Ok(true),
            // What was not submitted stays in the ring for the next harvest (INV-9).
            Err(error) if is_passing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn harvest(&mut self, wait: Wait, ops: &mut InFlight<IoUring>) -> io::Result<()> {
        self.looked = false;
        let wait = if self.urgent.is_quiet() { wait } else { self.rouse_receives(wait, ops) };
        self.buffers.provide();
        self.flush_overflow();
        let wait = if self.overflow.is_empty() { wait } else { Wait::Poll };
        if !self.deferred && !self.ring.completion().is_empty() && self.ring.submission().is_empty() {
            self.urgent.waited(true);
            return Ok(());
        }
        // A time in the past is no wait: it is not interrupted, and everything is looked at.
        let limit = self.limit(wait);
        let entered = self.enter(limit);
        let brought = !self.ring.completion().is_empty();
        self.urgent.waited(brought);
        // `enter` reports an interrupted wait only if it submitted nothing.
        let interrupted = match &entered {
            Ok(_) => limit != Some(Duration::ZERO) && !brought,
            Err(error) => error.raw_os_error() == Some(libc::EINTR),
        };
        if interrupted {
            self.urgent.interrupted(self.now());
        }
        match entered {
            Ok(_) => {
                self.looked = self.left_nothing(limit);
                Ok(())
            }
            // What was not submitted stays in the ring for the next harvest (INV-9).
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    #[inline]
    fn next(&mut self, ops: &mut InFlight<IoUring>) -> Option<Harvested<Socket>> {
        loop {
            let entry = self.ring.completion().next()?;
            let (data, result, flags) = (entry.user_data(), entry.result(), entry.flags());
            let more = cqueue::more(flags);
            match data {
                WAKE => {
                    self.wake.reset();
                    if !more {
                        self.arm_wake();
                    }
                    return Some(Harvested::Woken);
                }
                // A cancel that failed: the operation is over, or was between two attempts, where the kernel does not
                // find it. In the second case it may wait forever, so it is cancelled again.
                data if data & CANCEL != 0 => {
                    if let Some(key) = OpKey::from_u64(data & !CANCEL)
                        && ops.get(key).is_some()
                    {
                        self.cancel(key, ops);
                    }
                }
                data => {
                    if let Some(completed) = self.completed(data, result, flags, ops) {
                        return Some(completed);
                    }
                }
            }
        }
    }

    fn looked(&self) -> bool {
        self.looked
    }

    fn close(&mut self, socket: Socket, _handle: Option<RawFd>, how: Close) {
        if how == Close::Reset {
            // Failing to set it leaves an orderly close.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        // Not through the ring: a queued close would delay freeing the descriptor and the port, and the peer's end of
        // stream, until the next harvest, and would cost more.
        drop(socket);
    }
}

/// The outcome of an operation whose completion brought no bytes in a block of the ring.
#[inline]
fn outcome(operation: &Operation<RawFd>, result: i32) -> Outcome<Socket> {
    if result < 0 {
        return match -result {
            libc::ECANCELED => Outcome::Cancelled,
            libc::ENOBUFS if matches!(operation, Operation::Receive { block: None, .. }) => Outcome::NoBlocks,
            code => Outcome::Failed(io::Error::from_raw_os_error(code)),
        };
    }
    match operation {
        Operation::Accept { .. } => Outcome::Accepted(wake::socket_of(result), None),
        Operation::Connect { .. } => Outcome::Connected,
        Operation::Receive { .. } => Outcome::EndOfStream,
        // A stream socket never takes 0 of more than 0 bytes: io_uring would wait instead.
        Operation::Send { .. } if result == 0 => Outcome::Failed(io::ErrorKind::WriteZero.into()),
        Operation::Send { .. } => Outcome::Sent(result as usize),
        Operation::Watch { .. } => unreachable!("`watch::outcome` tells of it"),
    }
}

/// Errors that pass: a signal, a deadline, a lack of memory, or a full completion ring.
fn is_passing(error: &io::Error) -> bool {
    const PASSING: [i32; 5] = [libc::EINTR, libc::ETIME, libc::EAGAIN, libc::EBUSY, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| PASSING.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::PoolConfig;

    /// A deadline in the past is a look like any other, not a wait that was interrupted: that has all sockets asked for
    /// urgent data.
    #[test]
    fn a_moment_that_has_passed_interrupts_nothing() {
        let Ok(mut ring) = IoUring::create(Pool::new(PoolConfig { blocks: 4, block_len: 64 })) else {
            return eprintln!("skipped: no ring can be made here");
        };
        let mut ops = InFlight::<IoUring>::new();
        ring.harvest(Wait::Until(Time::ZERO), &mut ops).unwrap();
        assert!(ring.next(&mut ops).is_none());
        assert!(ring.looked());
        assert!(!ring.urgent.is_owed());
    }
}
