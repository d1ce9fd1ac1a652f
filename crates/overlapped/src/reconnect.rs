//! A connection that is made again whenever it is lost.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use proactor::Time;

use crate::backoff::Backoff;
use crate::connect::Connect;
use crate::context::{Session, WorkerContext};

/// How long a connection has to live until the back-off begins again.
const STABLE: Duration = Duration::from_secs(10);

/// Keeps one connection to an endpoint: connects again, with growing delays, when a connect fails or the connection ends.
/// A plain value for a field of the handler, or for many in a `Vec`, by token: it uses a few hundred bytes, no thread,
/// and a timer only while it waits. Each callback has one line for it:
///
/// ```
/// use std::io;
/// use overlapped::{Closed, Handler, Lease, Reconnect, Session, WorkerContext};
///
/// struct Client {
///     upstream: Reconnect, // Reconnect::new("upstream.example:9999", 0)
/// }
///
/// impl Handler for Client {
///     type State = ();
///     type Message = ();
///
///     fn on_start(&mut self, worker: &mut WorkerContext<'_, Self::State>) {
///         self.upstream.start(worker);
///     }
///
///     fn on_open(&mut self, session: &mut Session<'_, Self::State>) {
///         self.upstream.opened(session);
///     }
///
///     fn on_data(&mut self, _session: &mut Session<'_, Self::State>, _state: &mut (), _data: Lease) {}
///
///     fn on_connect_failed(&mut self, worker: &mut WorkerContext<'_, Self::State>, _token: u64, _error: &io::Error) {
///         self.upstream.lost(worker);
///     }
///
///     fn on_close(&mut self, worker: &mut WorkerContext<'_, Self::State>, _closed: Closed, _state: ()) {
///         self.upstream.lost(worker);
///     }
/// }
/// ```
///
/// The delays are random within bounds ([`Backoff`]), different for each token and in each process, so that clients which
/// lose the same server do not come back at the same moment. After a connection that lived for 10 s, or
/// [longer](Self::stable_after), the delays begin again with the shortest.
///
/// A server that drains connects no more: [`lost`](Self::lost) does nothing then.
#[derive(Clone, Debug)]
pub struct Reconnect {
    connect: Connect,
    token: u64,
    backoff: Backoff,
    stable_after: Duration,
    state: State,
    /// Answers to come that are for cancelled connects.
    cancelled: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not started, stopped, or lost in a drain.
    Idle,
    /// A connect is asked for, and not answered yet.
    Connecting,
    /// A connection lives since then.
    Open(Time),
}

impl Reconnect {
    /// For connections to `target`, whose sessions have this [token](Session::token). Nothing happens before
    /// [`start`](Self::start).
    #[must_use]
    pub fn new(target: impl Into<Connect>, token: u64) -> Reconnect {
        let (connect, backoff) = (target.into(), Backoff::new(RandomState::new().hash_one(token)));
        Reconnect { connect, token, backoff, stable_after: STABLE, state: State::Idle, cancelled: 0 }
    }

    /// The shortest and the longest delay between attempts, before jitter. Default: those of [`Backoff::new`].
    #[must_use]
    pub fn delays(mut self, first: Duration, most: Duration) -> Reconnect {
        self.backoff = self.backoff.first(first).most(most);
        self
    }

    /// The delays between attempts in every detail. Default: [`Backoff::new`] with a random seed. Values that are used together need
    /// different seeds.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Reconnect {
        self.backoff = backoff;
        self
    }

    /// How long a connection has to live until the delays begin again with the shortest. Default: 10 s. A server that
    /// accepts and closes at once is thus not connected to in a loop.
    #[must_use]
    pub fn stable_after(mut self, time: Duration) -> Reconnect {
        self.stable_after = time;
        self
    }

    /// The token that its sessions have.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether the connection lives.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Connects, without a delay (other than [`Connect::after`], which is added to each later delay, too). Does nothing if it
    /// is started already.
    pub fn start<S>(&mut self, worker: &mut WorkerContext<'_, S>) {
        if self.state == State::Idle {
            self.state = State::Connecting;
            worker.connect(self.connect.clone(), self.token);
        }
    }

    /// Call it in [`on_open`](crate::Handler::on_open) of the session with its token.
    pub fn opened<S>(&mut self, session: &Session<'_, S>) {
        if self.state == State::Connecting {
            self.state = State::Open(session.endpoints.now());
        }
    }

    /// Call it in [`on_connect_failed`](crate::Handler::on_connect_failed) and in [`on_close`](crate::Handler::on_close) of the session
    /// with its token, and in [`on_panic`](crate::Handler::on_panic) if that names the session: connects again after a delay. Returns the delay; `None` if it does not connect again, because it is
    /// stopped or the server drains.
    pub fn lost<S>(&mut self, worker: &mut WorkerContext<'_, S>) -> Option<Duration> {
        // Cancelled connects are answered before all later ones.
        if self.cancelled > 0 {
            self.cancelled -= 1;
            return None;
        }
        let before = std::mem::replace(&mut self.state, State::Idle);
        if before == State::Idle || worker.is_draining() {
            return None;
        }
        if let State::Open(since) = before
            && worker.endpoints.now().since(since) >= self.stable_after
        {
            self.backoff.reset();
        }
        self.state = State::Connecting;
        let delay = self.backoff.next_delay();
        worker.connect(self.connect.clone().after(delay), self.token);
        Some(delay)
    }

    /// Connects no more, until [`start`](Self::start). A connect that is not complete is cancelled:
    /// [`on_connect_failed`](crate::Handler::on_connect_failed) follows. A connection that lives is not closed.
    pub fn stop<S>(&mut self, worker: &mut WorkerContext<'_, S>) {
        if std::mem::replace(&mut self.state, State::Idle) == State::Connecting {
            self.cancelled += worker.cancel_connect(self.token);
        }
        self.backoff.reset();
    }
}
