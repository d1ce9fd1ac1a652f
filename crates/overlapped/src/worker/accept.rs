//! Accepted connections: admitted or turned away, placed, and opened.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proactor::ListenerKey;
use proactor::backend::Backend;

use super::{Layer, Worker};
use crate::admission::{Delivery, Seat};
use crate::handler::Handler;
use crate::observe::{Event, Rejection};
use crate::session::PostError;
use crate::timers::Due;

/// How long accepting pauses when the system is short of a resource (INV-9).
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection on its way from the worker that accepted it to the worker it was placed on.
pub(crate) struct Arrival<S> {
    socket: S,
    /// Known only if events are observed or addresses are limited.
    peer: Option<Box<SocketAddr>>,
}

impl<S> Arrival<S> {
    /// A connection that the monitor accepted.
    pub(crate) fn accepted(socket: S) -> Arrival<S> {
        Arrival { socket, peer: None }
    }

    pub(crate) fn into_socket(self) -> S {
        self.socket
    }
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// A connection arrived on one of this worker's listeners.
    pub(super) fn accepted(&mut self, socket: B::Socket, known: Option<Box<SocketAddr>>) {
        if let Some(drain) = &mut self.drain {
            drain.saw_arrival();
        }
        let peer = self.peer_if_wanted(&socket, known);
        let mut seat = match self.placement.admit(peer.as_ref().map(|peer| peer.ip())) {
            Ok(seat) => seat,
            Err(reason) => return self.reject(socket, reason),
        };
        let arrival = Arrival { socket, peer };
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

    fn reject(&mut self, socket: B::Socket, reason: Rejection) {
        self.core.report.emit(&Event::Rejected { reason });
        self.driver.refuse(socket);
    }

    /// The address of a connection's peer, if events are observed or addresses are limited.
    fn peer_if_wanted(&self, socket: &B::Socket, known: Option<Box<SocketAddr>>) -> Option<Box<SocketAddr>> {
        let wanted = self.core.report.is_observed() || self.placement.limits().count_addresses();
        if wanted { known.or_else(|| self.driver.peer_of(socket).ok().map(Box::new)) } else { None }
    }

    /// A connection placed on this worker becomes a session.
    pub(super) fn open(&mut self, arrival: Arrival<B::Socket>, seat: Seat) {
        if self.is_cut() {
            drop(seat);
            return self.driver.refuse(arrival.socket);
        }
        match self.driver.adopt(arrival.socket) {
            Ok(key) => self.begin(key, None, arrival.peer, seat),
            Err(_) => {
                drop(seat);
                self.core.report.emit(&Event::Rejected { reason: Rejection::System });
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
                Some(Delivery::Accepted(arrival)) => self.accepted(arrival.socket, arrival.peer),
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
