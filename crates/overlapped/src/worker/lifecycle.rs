//! The beginning and the end of a session, and what happens when accepting falls short of resources.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proactor::backend::Backend;
use proactor::{ConnectionKey, ListenerKey, Time};

use super::core::CurrentCallback;
use super::{Arrival, Connect, Connecting, Layer, Worker};
use crate::acceptor::Delivery;
use crate::events::{Event, Rejection};
use crate::handler::Handler;
use crate::session::{CloseReason, Session, SessionState};
use crate::timers::Due;

/// How long accepting pauses when the system is short of something (INV-9).
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often a pause is told. Counted is every one.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Resource shortages are reported at most once per interval (INV-9); they are always counted.
#[derive(Default)]
pub(super) struct ReportInterval {
    at: Option<Time>,
}

impl ReportInterval {
    /// Whether a report is due now; if so, the interval begins anew.
    fn is_due(&mut self, now: Time) -> bool {
        let due = self.at.is_none_or(|at| now.since(at) >= REPORT_EVERY);
        if due {
            self.at = Some(now);
        }
        due
    }
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// A connection arrived on one of this worker's listeners.
    pub(super) fn accepted(&mut self, socket: B::Socket, told: Option<Box<SocketAddr>>) {
        if let Some(drain) = &mut self.drain {
            drain.saw_arrival();
        }
        let peer = self.peer_if_wanted(&socket, told);
        let address = peer.as_ref().filter(|_| self.addresses.is_some()).map(|peer| peer.ip());
        if let (Some(addresses), Some(address)) = (&self.addresses, address)
            && !addresses.admit(address)
        {
            return self.reject(socket, Rejection::AddressLimit);
        }
        if !self.acceptor.reserve() {
            self.leave_address(peer.as_deref());
            return self.reject(socket, Rejection::SessionLimit);
        }
        let arrival = Arrival { socket, peer };
        let here = self.core.worker as usize;
        // A draining worker keeps what it accepted: others may have ended.
        let chosen =
            if self.core.draining { self.acceptor.place_at(here) } else { self.acceptor.place(here) };
        if chosen == here {
            self.open_soon(arrival);
        } else if let Err(arrival) = self.acceptor.send(chosen, arrival) {
            // That worker has just ended; this one has not.
            self.acceptor.release(chosen);
            if self.acceptor.reserve() {
                self.acceptor.place_at(here);
                self.open(arrival);
            } else {
                self.leave_address(arrival.peer.as_deref());
                self.reject(arrival.socket, Rejection::SessionLimit);
            }
        }
    }

    /// Opens a connection placed on this worker, after what else was accepted in this turn is placed: should `on_open`
    /// block, others have theirs, and the monitor can take back what is still to be opened here.
    fn open_soon(&mut self, arrival: Arrival<B::Socket>) {
        if !self.acceptor.has_choice() {
            return self.open(arrival);
        }
        match self.arrivals.queue.push(Delivery::Placed(arrival), false) {
            Ok(()) => self.arriving += 1,
            Err((Delivery::Placed(arrival), _)) => self.open(arrival),
            Err(_) => unreachable!("a socket was queued"),
        }
    }

    fn reject(&mut self, socket: B::Socket, reason: Rejection) {
        self.core.report.emit(&Event::Rejected { reason });
        self.driver.refuse(socket);
    }

    /// The address of a connection's peer, if somebody observes events or addresses are counted.
    fn peer_if_wanted(&self, socket: &B::Socket, told: Option<Box<SocketAddr>>) -> Option<Box<SocketAddr>> {
        let wanted = self.core.report.observer.is_some() || self.addresses.is_some();
        if wanted { told.or_else(|| self.driver.peer_of(socket).ok().map(Box::new)) } else { None }
    }

    fn leave_address(&self, peer: Option<&SocketAddr>) {
        if let (Some(addresses), Some(peer)) = (&self.addresses, peer) {
            addresses.leave(peer.ip());
        }
    }

    /// A connection placed on this worker becomes a session.
    pub(super) fn open(&mut self, arrival: Arrival<B::Socket>) {
        if self.is_cut() {
            return self.turn_away(arrival);
        }
        match self.driver.adopt(arrival.socket) {
            Ok(key) => self.begin(key, None, arrival.peer),
            Err(_) => {
                self.acceptor.release(self.core.worker as usize);
                self.leave_address(arrival.peer.as_deref());
                self.core.report.emit(&Event::Rejected { reason: Rejection::System });
            }
        }
    }

    /// Connections that wait for this worker are counted out and handed to one that has not ended, which may still serve
    /// them: what was in the backlog is served in a drain, wherever it was placed. If all have ended, they are closed.
    pub(super) fn turn_arrivals_away(&mut self) {
        // In this order: whoever finds the queue closed finds that the worker has ended.
        self.shared.heartbeat.end();
        for mut delivery in self.arrivals.queue.close() {
            if let Delivery::Placed(arrival) = delivery {
                self.acceptor.release(self.core.worker as usize);
                self.leave_address(arrival.peer.as_deref());
                delivery = Delivery::Accepted(arrival);
            }
            if let Err(Delivery::Accepted(arrival)) = self.acceptor.hand(delivery) {
                self.driver.refuse(arrival.socket);
            }
        }
    }

    fn turn_away(&mut self, arrival: Arrival<B::Socket>) {
        self.acceptor.release(self.core.worker as usize);
        self.leave_address(arrival.peer.as_deref());
        self.driver.refuse(arrival.socket);
    }

    fn begin(&mut self, key: ConnectionKey, token: Option<u64>, peer: Option<Box<SocketAddr>>) {
        let mut state = SessionState::new(key, token, self.core.now);
        let address = peer.as_deref().copied();
        state.peer = peer;
        self.deadlines.begin(&mut state, &self.core.config);
        self.core.sessions.insert(state);
        let session = self.core.id(key);
        self.core.report.emit(&Event::Opened { session, peer: address });
        if self.states.len() <= key.index() {
            self.states.resize_with(key.index() + 1, || None);
        }
        self.core.callback = CurrentCallback::Session(key);
        let state = self.handler.on_open(&mut Session::new(&mut self.core, &self.driver, key));
        self.core.callback = CurrentCallback::None;
        self.states[key.index()] = Some(state);
        // Only now: a session that begins paused has received nothing.
        self.core.look_at_receive(key);
    }

    /// A connection is gone: its session ends, exactly once (INV-2).
    pub(super) fn released(&mut self, key: ConnectionKey) {
        let Some(mut state) = self.core.sessions.remove(key) else { return };
        debug_assert!(state.timers.is_none(), "what closes or aborts a session cancels its timers");
        self.acceptor.release(self.core.worker as usize);
        let session = self.core.id(key);
        let reason = state.reason.unwrap_or(CloseReason::Local);
        let bytes = state.queue.clear();
        if bytes > 0 {
            self.core.report.emit(&Event::Lost { session, bytes, reason });
        }
        let (received, sent) = (state.received, state.sent);
        let peer = state.peer.map(|peer| *peer);
        if state.token.is_none() {
            self.leave_address(peer.as_ref());
        }
        self.core.report.emit(&Event::Closed { session, peer, reason, received, sent });
        if let Some(state) = self.states[key.index()].take() {
            let callback = CurrentCallback::Session(key);
            self.callback_as(callback, |handler, worker| handler.on_close(worker, session, state, reason));
        }
    }

    /// The system is short of something: stop accepting for a moment, say so once per interval (INV-9).
    pub(super) fn accept_failed(&mut self, listener: ListenerKey, error: &io::Error) {
        self.core.timers.set(self.driver.now() + ACCEPT_PAUSE, Due::Accept(listener));
        self.report_accept_pause(error);
    }

    pub(super) fn report_accept_pause(&mut self, error: &io::Error) {
        if self.pause_reports.is_due(self.core.now) {
            self.core.report.emit(&Event::AcceptPaused { error, retry_after: ACCEPT_PAUSE });
        } else {
            self.core.report.stats.accept_pauses += 1;
        }
    }

    /// The system had no memory for a receive or a send (INV-9).
    pub(super) fn delayed(&mut self, error: &io::Error) {
        if self.delay_reports.is_due(self.core.now) {
            self.core.report.emit(&Event::Delayed { error });
        } else {
            self.core.report.stats.delays += 1;
        }
    }

    pub(super) fn accept_again(&mut self, listener: ListenerKey) {
        self.driver.resume_accept(listener);
    }

    pub(super) fn start_connects(&mut self) {
        // Those asked for meanwhile have to wait for the next turn, and others their turn with it.
        for _ in 0..self.core.connects.len() {
            let Some(Connect { address, token, refusals, options }) = self.core.connects.pop_front() else {
                return;
            };
            if refusals > 0 || self.is_cut() {
                let error = io::Error::new(io::ErrorKind::ConnectionAborted, "the server is draining");
                self.tell_refused(token, refusals, &error);
                continue;
            }
            if !self.acceptor.reserve() {
                let error = io::Error::other("the session limit is reached");
                self.tell_connect_failed(token, &error);
                continue;
            }
            self.acceptor.place_at(self.core.worker as usize);
            let options = options.unwrap_or(self.core.config.options);
            match self.driver.connect_with(address, options) {
                Ok(key) => {
                    let limit = self.core.config.connect_timeout;
                    let deadline =
                        limit.map(|after| self.core.timers.set(self.driver.now() + after, Due::Connect(key)));
                    self.connecting.insert(key, Connecting { token, deadline });
                }
                Err(error) => {
                    self.acceptor.release(self.core.worker as usize);
                    self.tell_connect_failed(token, &error);
                }
            }
        }
    }

    pub(super) fn connected(&mut self, key: ConnectionKey) {
        let token = self.decided(key);
        let peer =
            self.core.report.observer.as_ref().and_then(|_| self.driver.peer_addr(key).ok().map(Box::new));
        self.begin(key, token, peer);
    }

    /// The system, or our deadline, says so; whichever comes second finds nothing.
    pub(super) fn connect_failed(&mut self, key: ConnectionKey, error: &io::Error) {
        if let Some(token) = self.decided(key) {
            self.driver.abort(key);
            self.acceptor.release(self.core.worker as usize);
            self.tell_connect_failed(token, error);
        }
    }

    /// A connect is over, either way: its deadline is cancelled. Returns its token, the first time.
    fn decided(&mut self, key: ConnectionKey) -> Option<u64> {
        let Connecting { token, deadline } = self.connecting.remove(&key)?;
        if let Some(id) = deadline {
            self.core.timers.cancel(id);
        }
        Some(token)
    }

    fn tell_connect_failed(&mut self, token: u64, error: &io::Error) {
        self.tell_refused(token, 0, error);
    }

    /// The same for a connect that a drain refused, as so many in a row.
    fn tell_refused(&mut self, token: u64, refusals: u8, error: &io::Error) {
        self.core.report.emit(&Event::ConnectFailed { error });
        let callback = CurrentCallback::Answer { refusals };
        self.callback_as(callback, |handler, worker| handler.on_connect_failed(worker, token, error));
    }

    /// Whether a session's handler still hears of it, for those who walk over all of them.
    pub(super) fn is_open(&self, key: ConnectionKey) -> bool {
        self.core.sessions.get(key).is_some_and(SessionState::is_live)
    }
}
