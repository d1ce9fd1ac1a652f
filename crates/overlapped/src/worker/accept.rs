//! Accepted connections: admitted or turned away, placed, and opened.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use proactor::ListenerKey;
use proactor::backend::Backend;

use super::{Layer, Worker};
use crate::admission::{Admission, Delivery, Incoming, Seat};
use crate::context::{CurrentCallback, Others, WorkerContext};
use crate::handler::Handler;
use crate::observe::{Event, Rejection};
use crate::session::{Origin, PostError};
use crate::timers::Due;

/// How long accepting pauses when the system is short of a resource (INV-9).
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A worker's listeners, with their tokens.
pub(crate) type Listeners = Vec<(ListenerKey, u64)>;

/// A connection on its way from the worker that accepted it to the worker it was placed on.
pub(crate) struct Arrival<S> {
    socket: S,
    /// `None` if it is not known yet, or the peer is already gone.
    peer: Option<SocketAddr>,
    /// The token of its listener.
    listener: u64,
    /// True exactly when a handler was asked about it, and admitted it.
    admitted: bool,
}

/// A connection that the handler is asked about, and its seat, or the limit that is reached.
pub(super) type Undecided<S> = (Arrival<S>, Result<Seat, Rejection>);

impl<S> Arrival<S> {
    /// A connection that was accepted on the listener with this token, and that no handler was asked about.
    pub(crate) fn accepted(socket: S, peer: Option<SocketAddr>, listener: u64) -> Arrival<S> {
        Arrival { socket, peer, listener, admitted: false }
    }

    pub(crate) fn into_socket(self) -> S {
        self.socket
    }
}

/// A connection that becomes a session.
type Admitted<S> = (Arrival<S>, Seat);

/// A connection that is turned away.
struct Refusal<S> {
    arrival: Arrival<S>,
    reason: Rejection,
    last_word: Bytes,
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// A connection arrived on one of this worker's listeners.
    pub(super) fn accepted(
        &mut self,
        listener: ListenerKey,
        socket: B::Socket,
        peer: Option<Box<SocketAddr>>,
    ) {
        let token = self.listeners.iter().find(|(open, _)| *open == listener).map_or(0, |(_, token)| *token);
        self.arrived(Arrival::accepted(socket, peer.map(|peer| *peer), token));
    }

    /// A connection arrived here, or on a listener of another worker. Admits it and places it.
    fn arrived(&mut self, mut arrival: Arrival<B::Socket>) {
        if let Some(drain) = &mut self.drain {
            drain.saw_arrival();
        }
        // Where an accept does not report it, this is one system call per connection.
        arrival.peer = arrival.peer.or_else(|| self.driver.peer_of(&arrival.socket).ok());
        let seat = self.placement.admit(arrival.peer.map(|peer| peer.ip()));
        let (arrival, mut seat) = match self.ask_handler(arrival, seat) {
            Ok((arrival, seat)) => (arrival, seat),
            Err(Refusal { arrival, reason, last_word }) => {
                return self.reject(arrival, reason, &last_word);
            }
        };
        let here = self.core.worker as usize;
        // A draining worker keeps what it accepted: others may have ended.
        let chosen = if self.core.draining { here } else { self.placement.choose(here) };
        seat.place_on(chosen);
        if chosen == here {
            self.open_soon(arrival, seat);
        } else if let Err((arrival, mut seat)) = self.placement.send(chosen, arrival, seat) {
            // That worker has just ended; this one has not.
            seat.place_on(here);
            self.open(arrival, seat);
        }
    }

    /// Opens a connection placed on this worker, after the others that were accepted in this turn are placed: if `on_open`
    /// blocks, other workers have theirs, and the monitor can take back those that are still to be opened here.
    fn open_soon(&mut self, arrival: Arrival<B::Socket>, seat: Seat) {
        if !self.placement.has_choice() {
            return self.open(arrival, seat);
        }
        let queued = self.arrivals.queue.push(Delivery::Placed(arrival, seat), false);
        match queued.map_err(PostError::into_message) {
            Ok(()) => self.arriving += 1,
            Err(Delivery::Placed(arrival, seat)) => self.open(arrival, seat),
            Err(_) => unreachable!("a socket was queued"),
        }
    }

    /// Asks the handler about a connection, once, also if a limit is reached: it may have a last word for the peer.
    fn ask_handler(
        &mut self,
        arrival: Arrival<B::Socket>,
        seat: Result<Seat, Rejection>,
    ) -> Result<Admitted<B::Socket>, Refusal<B::Socket>> {
        let admission = if arrival.admitted || self.is_cut() {
            (Admission::Admit, (arrival, seat))
        } else {
            self.call_on_accept(arrival, seat)
        };
        match admission {
            (Admission::Admit, (mut arrival, Ok(seat))) => {
                arrival.admitted = true;
                Ok((arrival, seat))
            }
            (admission, (arrival, seat)) => {
                let reason = seat.err().unwrap_or(Rejection::Handler);
                let last_word = match admission {
                    Admission::Admit => Bytes::new(),
                    Admission::Refuse(last_word) => last_word,
                };
                Err(Refusal { arrival, reason, last_word })
            }
        }
    }

    fn call_on_accept(
        &mut self,
        arrival: Arrival<B::Socket>,
        seat: Result<Seat, Rejection>,
    ) -> (Admission, Undecided<B::Socket>) {
        // If the handler panics, it is found there.
        let (arrival, seat) = self.undecided.insert((arrival, seat));
        let incoming = Incoming {
            peer: arrival.peer,
            local: &|| self.driver.local_of(&arrival.socket),
            listener: arrival.listener,
            sessions: self.placement.limits().sessions() - usize::from(seat.is_ok()),
            limit_reached: seat.as_ref().err().copied(),
        };
        self.core.callback = CurrentCallback::Worker;
        let states = Others::all(&mut self.states);
        let mut worker = WorkerContext { core: &mut self.core, endpoints: &self.driver, states };
        let admission = self.handler.on_accept(&mut worker, &incoming);
        self.core.callback = CurrentCallback::None;
        (admission, self.undecided.take().expect("it was put there above"))
    }

    /// The handler has panicked: if it was asked about a connection, that one is turned away.
    pub(super) fn refuse_undecided(&mut self) {
        if let Some((arrival, seat)) = self.undecided.take() {
            let reason = seat.err().unwrap_or(Rejection::Handler);
            self.reject(arrival, reason, &[]);
        }
    }

    fn reject(&mut self, arrival: Arrival<B::Socket>, reason: Rejection, last_word: &[u8]) {
        let Arrival { socket, peer, listener, .. } = arrival;
        self.core.report.emit(&Event::Rejected { reason, peer, listener });
        self.driver.refuse_with(socket, last_word);
    }

    /// A connection placed on this worker becomes a session.
    pub(super) fn open(&mut self, arrival: Arrival<B::Socket>, seat: Seat) {
        if self.is_cut() {
            drop(seat);
            return self.driver.refuse(arrival.socket);
        }
        let Arrival { socket, peer, listener, .. } = arrival;
        match self.driver.adopt(socket) {
            Ok(key) => self.begin(key, Origin::Accepted { listener }, peer, seat),
            Err(_) => {
                drop(seat);
                let reason = Rejection::System;
                self.core.report.emit(&Event::Rejected { reason, peer, listener });
            }
        }
    }

    /// Connections that wait for this worker are counted out and handed to one that has not ended, which may still serve
    /// them: a drain serves the whole backlog, wherever it was placed. If all workers have ended, they are closed.
    pub(super) fn turn_arrivals_away(&mut self) {
        // End before close: a thread that finds the queue closed finds that the worker has ended.
        self.shared.heartbeat.end();
        for delivery in self.arrivals.queue.close() {
            let delivery = match delivery {
                Delivery::Placed(arrival, _seat) => Delivery::Accepted(arrival),
                other => other,
            };
            if let Err(Delivery::Accepted(arrival)) = self.placement.hand(delivery) {
                self.driver.refuse(arrival.socket);
            }
        }
    }

    /// Arrivals are taken one at a time: while a callback blocks, the monitor places the rest on other workers.
    pub(super) fn serve_arrivals(&mut self) {
        while self.arriving > 0 {
            self.arriving -= 1;
            match self.arrivals.queue.pop() {
                Some(Delivery::Placed(arrival, seat)) => self.open(arrival, seat),
                Some(Delivery::Accepted(arrival)) => self.arrived(arrival),
                Some(Delivery::AcceptFailed(error)) => self.report_accept_pause(&error),
                None => self.arriving = 0,
            }
        }
    }

    /// The system is short of a resource: accepting pauses, and is retried (INV-9).
    pub(super) fn accept_failed(&mut self, listener: ListenerKey, error: &io::Error) {
        self.core.timers.set(self.driver.now() + ACCEPT_PAUSE, Due::Accept(listener));
        self.report_accept_pause(error);
    }

    /// The same for an accept of the monitor, which retries it.
    pub(super) fn report_accept_pause(&mut self, error: &io::Error) {
        self.core.report.accept_paused(self.core.now, error, ACCEPT_PAUSE);
    }

    pub(super) fn accept_again(&mut self, listener: ListenerKey) {
        self.driver.resume_accept(listener);
    }
}
