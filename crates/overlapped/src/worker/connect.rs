//! Outbound connections: begun, and answered exactly once, with a session or with a failure.
//!
//! A connect may begin later; its name is resolved on another thread; then its addresses are tried one after the other,
//! staggered (RFC 8305). One seat and one deadline are for all of this. The first attempt that is established becomes the
//! session, and the others are closed.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use proactor::ConnectionKey;
use proactor::backend::Backend;

use super::{Layer, Worker};
use crate::connect::ConnectId;
use crate::context::{AskedConnect, ConnectRequest, CurrentCallback, End, PendingConnect, Stage};
use crate::handler::Handler;
use crate::mailbox::Mail;
use crate::observe::Event;
use crate::resolver::interleave;
use crate::session::Origin;
use crate::timers::Due;

/// Attempts that one turn begins, of all connects together: other work waits meanwhile, and the system may take
/// milliseconds for one when few local ports are free.
pub(super) const ATTEMPTS_PER_TURN: usize = 64;

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    pub(super) fn start_connects(&mut self) {
        // Connects that these callbacks ask for start in the next turn, after other work.
        for _ in 0..self.core.connects.len() {
            if self.attempts_left == 0 {
                return;
            }
            match self.core.connects.pop_front() {
                Some(ConnectRequest::Begin(asked)) => self.begin_connect(asked),
                Some(ConnectRequest::GoOn(id)) => self.go_on_connecting(id),
                Some(ConnectRequest::End(id, end)) => self.fail_connect(id, &end.error()),
                None => return,
            }
        }
    }

    fn begin_connect(&mut self, asked: AskedConnect) {
        let AskedConnect { connect, token, at, refusals, cancelled } = asked;
        if cancelled {
            return self.answer_failed_connect(token, 0, &End::Cancelled.error());
        }
        // A drain would have to wait for one that begins later.
        let refusals = if self.core.draining && at.is_some() { refusals.max(1) } else { refusals };
        if refusals > 0 || self.is_cut() {
            return self.answer_failed_connect(token, refusals, &End::Draining.error());
        }
        let id = self.core.pending_connects.insert(connect, token);
        match at {
            Some(at) => {
                let next = self.core.timers.set(at, Due::Connect(id));
                self.pending_connect(id).next = Some(next);
            }
            None => self.admit_connect(id),
        }
    }

    /// One that was just looked up.
    fn pending_connect(&mut self, id: ConnectId) -> &mut PendingConnect {
        self.core.pending_connects.get_mut(id).expect("a connect is pending until it is answered")
    }

    /// The timer of a connect is due, or there is time for it again: it begins, or its next address is tried.
    pub(super) fn go_on_connecting(&mut self, id: ConnectId) {
        let Some(pending) = self.core.pending_connects.get_mut(id) else { return };
        pending.next = None;
        match pending.stage {
            // The request to end it is queued.
            _ if pending.ending => {}
            Stage::Delayed => self.admit_connect(id),
            Stage::Resolving => {
                unreachable!("a connect has no timer but its deadline while its name is resolved")
            }
            Stage::Trying => self.try_next_address(id),
        }
    }

    /// A connect begins: it takes a seat, and its addresses are found.
    fn admit_connect(&mut self, id: ConnectId) {
        let Ok(mut seat) = self.placement.admit(None) else {
            return self.fail_connect(id, &io::Error::other("the session limit is reached"));
        };
        seat.place_on(self.core.worker as usize);
        let now = self.driver.now();
        let core = &mut self.core;
        let pending = core.pending_connects.get_mut(id).expect("it begins");
        pending.seat = Some(seat);
        let limit = pending.connect.deadline.unwrap_or(core.config.connect_timeout);
        pending.deadline = limit.map(|after| core.timers.set(now + after, Due::ConnectDeadline(id)));
        if pending.connect.endpoint.is_name() {
            pending.stage = Stage::Resolving;
            let mailbox = Arc::clone(&self.mailbox);
            // A worker that has ended needs no answer.
            let answer = move |found| drop(mailbox.post(Mail::Resolved(id, found), false));
            return self.resolver.ask(&pending.connect.endpoint, Box::new(answer));
        }
        match pending.connect.endpoint.addresses() {
            Ok(addresses) => self.try_addresses(id, addresses.into()),
            Err(error) => self.fail_connect(id, &error),
        }
    }

    /// The name of a connect was resolved.
    pub(super) fn resolved(&mut self, id: ConnectId, found: io::Result<Vec<SocketAddr>>) {
        match (self.core.pending_connects.get_mut(id), found) {
            // It has ended meanwhile, or is about to.
            (None, _) | (Some(PendingConnect { ending: true, .. }), _) => {}
            (Some(_), Ok(addresses)) => self.try_addresses(id, interleave(addresses)),
            (Some(_), Err(error)) => self.fail_connect(id, &error),
        }
    }

    fn try_addresses(&mut self, id: ConnectId, mut addresses: VecDeque<SocketAddr>) {
        let pending = self.pending_connect(id);
        if let Some(from) = pending.connect.from {
            addresses.retain(|address| address.is_ipv4() == from.is_ipv4());
            let problem = format!("{} has no address of the family of {from}", pending.connect.endpoint);
            pending.error = Some(io::Error::new(io::ErrorKind::AddrNotAvailable, problem));
        }
        pending.stage = Stage::Trying;
        pending.left = addresses;
        self.try_next_address(id);
    }

    /// Begins the next attempt. If none is left, and none is in flight, the connect has failed.
    fn try_next_address(&mut self, id: ConnectId) {
        let now = self.driver.now();
        let core = &mut self.core;
        let Some(pending) = core.pending_connects.get_mut(id) else { return };
        if let Some(timer) = pending.next.take() {
            core.timers.cancel(timer);
        }
        let options = pending.connect.options.unwrap_or(core.config.options);
        while !pending.left.is_empty() {
            if self.attempts_left == 0 {
                return core.connects.push_back(ConnectRequest::GoOn(id));
            }
            self.attempts_left -= 1;
            let Some(address) = pending.left.pop_front() else { break };
            match self.driver.connect_with(address, pending.connect.from, options) {
                Ok(key) => {
                    pending.attempts.push(key);
                    self.connecting.insert(key, id);
                    if !pending.left.is_empty() {
                        let at = now + pending.connect.stagger;
                        pending.next = Some(core.timers.set(at, Due::Connect(id)));
                    }
                    return;
                }
                Err(error) => pending.error = Some(error),
            }
        }
        if pending.attempts.is_empty() {
            let error = pending.error.take().unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
            self.fail_connect(id, &error);
        }
    }

    /// An attempt is established.
    pub(super) fn connected(&mut self, key: ConnectionKey) {
        let Some(id) = self.connecting.remove(&key) else { return };
        if self.pending_connect(id).ending {
            self.pending_connect(id).attempts.retain(|attempt| *attempt != key);
            return self.driver.close(key);
        }
        let Some(pending) = self.take_pending(id) else { return };
        for other in pending.attempts.into_iter().filter(|attempt| *attempt != key) {
            self.connecting.remove(&other);
            // Gracefully: if it was established in this turn, its peer reads an end of stream.
            self.driver.close(other);
        }
        let seat = pending.seat.expect("a connect that has begun has a seat");
        let peer = self.driver.peer_addr(key).ok();
        self.begin(key, Origin::Connected { token: pending.token }, peer, seat);
    }

    /// An attempt has failed: the next one begins at once.
    pub(super) fn attempt_failed(&mut self, key: ConnectionKey, error: io::Error) {
        let Some(id) = self.connecting.remove(&key) else { return };
        self.driver.abort(key);
        let pending = self.pending_connect(id);
        pending.attempts.retain(|attempt| *attempt != key);
        pending.error = Some(error);
        if !pending.ending {
            self.try_next_address(id);
        }
    }

    /// The deadline of a connect has passed.
    pub(super) fn connect_took_too_long(&mut self, id: ConnectId) {
        let Some(pending) = self.core.pending_connects.get_mut(id) else { return };
        let error = match pending.stage {
            Stage::Resolving => {
                let problem = format!("{} was not resolved in time", pending.connect.endpoint);
                io::Error::new(io::ErrorKind::TimedOut, problem)
            }
            Stage::Delayed | Stage::Trying => io::ErrorKind::TimedOut.into(),
        };
        self.fail_connect(id, &error);
    }

    /// Answers a connect with a failure, unless it was answered before.
    fn fail_connect(&mut self, id: ConnectId, error: &io::Error) {
        let Some(pending) = self.take_pending(id) else { return };
        for key in pending.attempts {
            self.connecting.remove(&key);
            self.driver.abort(key);
        }
        drop(pending.seat);
        self.answer_failed_connect(pending.token, 0, error);
    }

    /// Takes out a connect that is about to be answered. Its timers are cancelled.
    fn take_pending(&mut self, id: ConnectId) -> Option<PendingConnect> {
        let mut pending = self.core.pending_connects.remove(id)?;
        for timer in [pending.deadline.take(), pending.next.take()].into_iter().flatten() {
            self.core.timers.cancel(timer);
        }
        Some(pending)
    }

    /// `refusals`: how many connects in a row a drain refused, with this one; 0 if it did not.
    fn answer_failed_connect(&mut self, token: u64, refusals: u8, error: &io::Error) {
        self.core.report.emit(&Event::ConnectFailed { error });
        let callback = CurrentCallback::Answer { refusals };
        self.callback_as(callback, |handler, worker| handler.on_connect_failed(worker, token, error));
    }
}
