//! A wrapper around a backend: it checks the rules in the head of `backend/mod.rs`, counts sockets, and injects the
//! faults that a case requests.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use proactor::backend::names::CallNames;
use proactor::backend::{Abilities, Backend, BackendKind, Wait};
use proactor::operation::{Close, Completion, Harvested, Operation, Outcome, Submitted};
use proactor::{Gather, InFlight, OpKey, Pool, Time, Waker};

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Open,
    Adopt,
    Accept,
    Connect,
    Receive,
    Send,
    Watch,
}

/// A backend under observation.
pub struct Watched<B: Backend> {
    inner: B,
    pending: HashMap<OpKey, Pending>,
    faults: Vec<(Call, io::Error)>,
    submitted: Vec<Call>,
    /// True exactly when completions are withheld, as by a kernel that does not answer.
    silent: bool,
    /// How far a silent kernel's clock is ahead.
    ahead: Duration,
    open: Rc<Cell<i64>>,
    /// Called with the next socket that is opened.
    prepare: Option<Prepare<B::Socket>>,
}

type Prepare<S> = Box<dyn FnOnce(&S)>;

/// What was recorded of an operation in flight.
struct Pending {
    /// Handles have no equality; their debug text has.
    socket: String,
    /// For a send: a hash of its pieces' addresses, its length, and a hash of its bytes.
    payload: Option<(usize, usize, u64)>,
}

impl<B: Backend> Watched<B> {
    pub fn new(inner: B) -> Watched<B> {
        let open = Rc::new(Cell::new(0));
        let (pending, faults, submitted) = (HashMap::new(), Vec::new(), Vec::new());
        Watched {
            inner,
            pending,
            faults,
            submitted,
            silent: false,
            ahead: Duration::ZERO,
            open,
            prepare: None,
        }
    }

    /// The next `call` fails with `error`. Several are met in order.
    pub fn fail(&mut self, call: Call, error: io::ErrorKind) {
        self.faults.push((call, error.into()));
    }

    /// The same with an error by the system's number.
    pub fn fail_with(&mut self, call: Call, code: i32) {
        self.faults.push((call, io::Error::from_raw_os_error(code)));
    }

    /// Calls `prepare` with the next socket that is opened, before it is used.
    pub fn prepare_next(&mut self, prepare: Prepare<B::Socket>) {
        self.prepare = Some(prepare);
    }

    pub fn forget_faults(&mut self) {
        self.faults.clear();
    }

    /// Faults that were not met yet.
    pub fn faults_left(&self) -> usize {
        self.faults.len()
    }

    /// How often `call` was submitted so far.
    pub fn submitted(&self, call: Call) -> usize {
        self.submitted.iter().filter(|submitted| **submitted == call).count()
    }

    /// From now on nothing completes, not even cancelled operations. Only the clock advances.
    pub fn fall_silent(&mut self) {
        self.silent = true;
    }

    /// Sockets opened, accepted or listening, less those that were closed.
    pub fn open_sockets(&self) -> Rc<Cell<i64>> {
        Rc::clone(&self.open)
    }

    fn count(&self, by: i64) {
        self.open.set(self.open.get() + by);
    }

    fn fault(&mut self, call: Call) -> Option<io::Error> {
        let at = self.faults.iter().position(|(failing, _)| *failing == call)?;
        Some(self.faults.remove(at).1)
    }

    fn observe(operation: &Operation<B::Handle>) -> (Call, Pending) {
        let (call, socket, payload) = match operation {
            Operation::Accept { listener } => (Call::Accept, listener, None),
            Operation::Connect { socket, .. } => (Call::Connect, socket, None),
            Operation::Receive { socket, .. } => (Call::Receive, socket, None),
            Operation::Watch { socket } => (Call::Watch, socket, None),
            Operation::Send { socket, payload, sent } => {
                let mut pieces = [&[][..]; Gather::MOST];
                let count = payload.pieces(*sent, usize::MAX, &mut pieces);
                let rest = &pieces[..count];
                assert!(!rest.is_empty() && !rest[0].is_empty(), "INV-4: a send has something to send");
                let places =
                    rest.iter().fold(0, |sum: usize, piece| sum.wrapping_mul(31) ^ piece.as_ptr() as usize);
                let said = rest.iter().fold(0, |sum: u64, piece| sum.wrapping_mul(31) ^ hash(piece));
                (Call::Send, socket, Some((places, payload.len() - sent, said)))
            }
        };
        (call, Pending { socket: format!("{socket:?}"), payload })
    }

    fn check(&mut self, completion: &Completion<B::Socket>, ops: &mut InFlight<Self>) {
        let key = completion.key;
        let pending = self.pending.get(&key);
        let pending = pending.unwrap_or_else(|| panic!("{key:?} completed, and was not pending"));
        let entry = ops.get_mut(key).expect("INV-1: an operation stays in the table until it completes");
        let (_, now) = Self::observe(entry.operation);
        assert_eq!(now.payload, pending.payload, "INV-1: a payload in flight neither moves nor changes");
        check_outcome(entry.operation, &completion.outcome, completion.more);
        if !completion.more {
            self.pending.remove(&key);
        }
    }
}

fn check_outcome<H, S: std::fmt::Debug>(operation: &Operation<H>, outcome: &Outcome<S>, more: bool) {
    let fits = match operation {
        Operation::Accept { .. } => {
            matches!(outcome, Outcome::Accepted(..) | Outcome::Cancelled | Outcome::Failed(_))
        }
        Operation::Connect { .. } => {
            matches!(outcome, Outcome::Connected | Outcome::Cancelled | Outcome::Failed(_))
        }
        Operation::Receive { .. } => match outcome {
            Outcome::Received(block, len) => *len > 0 && *len <= block.capacity() as usize,
            Outcome::EndOfStream | Outcome::NoBlocks | Outcome::Cancelled | Outcome::Failed(_) => true,
            _ => false,
        },
        Operation::Watch { .. } => {
            matches!(outcome, Outcome::EndOfStream | Outcome::Cancelled | Outcome::Failed(_))
        }
        Operation::Send { payload, sent, .. } => match outcome {
            Outcome::Sent(bytes) => *bytes > 0 && sent + bytes <= payload.len(),
            Outcome::Cancelled | Outcome::Failed(_) => true,
            _ => false,
        },
    };
    assert!(fits, "an operation ended with {outcome:?}");
    let stays = match operation {
        Operation::Watch { .. } => !matches!(outcome, Outcome::Cancelled),
        _ => matches!(outcome, Outcome::Accepted(..) | Outcome::Received(..)),
    };
    assert!(stays || !more, "{outcome:?} is a last completion");
}

/// FNV-1a, over a sample of long payloads: every byte of them at every completion would take too long.
fn hash(bytes: &[u8]) -> u64 {
    let step = 1 + bytes.len() / 1024;
    bytes
        .iter()
        .step_by(step)
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

impl<B: Backend> Backend for Watched<B> {
    type Socket = B::Socket;
    type Handle = B::Handle;
    type Header = B::Header;
    type Calls = B::Calls;

    const KIND: BackendKind = B::KIND;
    const CALL_NAMES: CallNames = B::CALL_NAMES;
    const WAIT_ROUNDING: Duration = B::WAIT_ROUNDING;

    fn pool(&self) -> &Pool {
        self.inner.pool()
    }

    fn calls(&self) -> &B::Calls {
        self.inner.calls()
    }

    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    fn now(&self) -> Time {
        self.inner.now() + self.ahead
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }

    fn open(&mut self, address: SocketAddr, from: Option<SocketAddr>) -> io::Result<B::Socket> {
        if let Some(error) = self.fault(Call::Open) {
            return Err(error);
        }
        let socket = self.inner.open(address, from)?;
        if let Some(prepare) = self.prepare.take() {
            prepare(&socket);
        }
        self.count(1);
        Ok(socket)
    }

    fn adopt(&mut self, socket: &B::Socket, owner: u32) -> io::Result<B::Handle> {
        self.fault(Call::Adopt).map_or_else(|| self.inner.adopt(socket, owner), Err)
    }

    unsafe fn submit(
        &mut self,
        key: OpKey,
        operation: &mut Operation<B::Handle>,
        header: &B::Header,
    ) -> Submitted<B::Socket> {
        let (call, pending) = Self::observe(operation);
        assert!(!self.pending.contains_key(&key), "INV-3: {key:?} is in flight already");
        self.submitted.push(call);
        if let Some(error) = self.fault(call) {
            return Submitted::Done(Outcome::Failed(error));
        }
        if self.silent {
            return Submitted::Pending;
        }
        // SAFETY: what the caller promised of the operation and its header holds for the backend within.
        let submitted = unsafe { self.inner.submit(key, operation, header) };
        match &submitted {
            Submitted::Pending => drop(self.pending.insert(key, pending)),
            Submitted::Done(outcome) => {
                check_outcome(operation, outcome, false);
                self.count(i64::from(matches!(outcome, Outcome::Accepted(..))));
            }
        }
        submitted
    }

    unsafe fn send_now(&mut self, socket: B::Handle, bytes: &[u8]) -> Option<io::Result<usize>> {
        if self.silent {
            return None;
        }
        let name = format!("{socket:?}");
        let sending = |pending: &Pending| pending.socket == name && pending.payload.is_some();
        assert!(!self.pending.values().any(sending), "INV-4: at most one send is in flight");
        if let Some(error) = self.fault(Call::Send) {
            return Some(Err(error));
        }
        // SAFETY: what the caller promised of the socket holds for the backend within.
        let result = unsafe { self.inner.send_now(socket, bytes) };
        if let Some(Ok(sent)) = result {
            assert!(sent > 0 && sent <= bytes.len(), "INV-4: {sent} of {} bytes were sent", bytes.len());
        }
        result
    }

    fn cancel(&mut self, key: OpKey, ops: &mut InFlight<Self>) {
        assert!(ops.get_mut(key).is_some(), "INV-3: what is cancelled is in flight");
        self.inner.cancel(key, ops);
    }

    fn submit_some(&mut self, most: u32) -> io::Result<bool> {
        if self.silent { Ok(false) } else { self.inner.submit_some(most) }
    }

    fn harvest(&mut self, wait: Wait, ops: &mut InFlight<Self>) -> io::Result<()> {
        if !self.silent {
            return self.inner.harvest(wait, ops);
        }
        if let Wait::Until(at) = wait {
            self.ahead += at.since(self.now());
        }
        Ok(())
    }

    fn next(&mut self, ops: &mut InFlight<Self>) -> Option<Harvested<B::Socket>> {
        if self.silent {
            return None;
        }
        let harvested = self.inner.next(ops)?;
        if let Harvested::Completed(completion) = &harvested {
            self.check(completion, ops);
            self.count(i64::from(matches!(completion.outcome, Outcome::Accepted(..))));
        }
        Some(harvested)
    }

    fn looked(&self) -> bool {
        !self.silent && self.inner.looked()
    }

    fn close(&mut self, socket: B::Socket, handle: Option<B::Handle>, how: Close) {
        let name = handle.map(|handle| format!("{handle:?}"));
        let busy = self.pending.values().any(|pending| Some(&pending.socket) == name.as_ref());
        assert!(self.silent || !busy, "INV-2: a socket is closed when nothing is in flight for it");
        self.count(-1);
        self.inner.close(socket, handle, how);
    }
}
