//! Draining: accept what is in the backlog, answer what was received, close each session gracefully, count.
//!
//! A session is done when everything it received is answered and nothing more has arrived. To see that, its receive is
//! paused: bytes that the kernel has already received for it are delivered; then the kernel is asked how many bytes are
//! unread. None: FIN. Some: they are received and answered, and the kernel is asked again. It is asked before the answer
//! goes out, where possible: a quick peer has sent the next request by the time the answer is out.
//!
//! Two kinds of sessions are not done although they are silent. One that owes an answer (`session/owed.rs`) waits until it
//! was sent or given up. One that is fed by another waits until that one has begun to close, or until the peers of both
//! have ended their streams. So a chain of sessions drains from its source, and a relay, whose two sides feed each other,
//! lasts until its peers end it. Both kinds receive meanwhile, and the deadline cuts both.
//!
//! The drain waits for connections that are turned away, too, for at most 100 ms each; the deadline closes them.
//!
//! Sessions may open others until the deadline; no other session begins once the backlog is empty. At the deadline all
//! sessions are cut, and `LAST_WAIT` later the worker ends, whatever the kernel still has in flight. Before that, each
//! session whose `on_open` returned gets its `on_close`, and each connect its answer.

use std::time::Duration;

use proactor::backend::Backend;
use proactor::{ConnectionKey, Time};

use super::{Layer, Worker};
use crate::context::{End, Stage};
use crate::handler::Handler;
use crate::observe::Event;
use crate::session::{CloseReason, Phase, PhaseAction, PhaseEvent};

/// Rounds without an arrival after which the backlog counts as empty.
const QUIET_ROUNDS: u32 = 2;
/// After the deadline: how long aborted sessions may take to be joined.
const LAST_WAIT: Duration = Duration::from_secs(2);

pub(super) struct Drain {
    deadline: Time,
    quiet_rounds: u32,
    listening: bool,
    cut: bool,
}

impl Drain {
    pub(super) fn saw_arrival(&mut self) {
        self.quiet_rounds = 0;
    }

    /// Whether the deadline has passed: from then on nothing begins.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn wake_at(&self) -> Time {
        if self.listening { Time::ZERO } else { self.deadline }
    }
}

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    pub(super) fn begin_drain(&mut self, limit: Duration) {
        let deadline = self.core.now + limit;
        if let Some(drain) = &mut self.drain {
            drain.deadline = drain.deadline.min(deadline);
            return;
        }
        self.core.draining = true;
        self.drain = Some(Drain { deadline, quiet_rounds: 0, listening: true, cut: false });
        // The drain does not wait for what begins later.
        self.core.end_connects(End::Draining, |pending| pending.stage == Stage::Delayed);
        let sessions = self.core.sessions.len();
        self.core.report.emit(&Event::Draining { sessions });
        for key in self.core.sessions.keys() {
            self.core.touch(key);
        }
    }

    /// Takes a session of a draining worker as far as it goes now. Called whenever its queue is empty or its
    /// receive has come to rest.
    pub(super) fn drain_session(&mut self, key: ConnectionKey) {
        if !self.core.draining || !self.is_open(key) {
            return;
        }
        self.say_goodbye(key);
        let Some(state) = self.core.sessions.get(key).filter(|state| state.is_live()) else { return };
        // A session that is held has more to receive; the drain looks at it again when it is released.
        if !state.queue.is_empty() || state.held_back {
            return;
        }
        let taken_in = state.taken_in;
        if self.core.is_awaited(key) {
            self.receive_further(key);
        } else if self.driver.receive_ended(key) {
            // The handler kept the session open after the peer's FIN, and has nothing queued.
            self.core.close(key, CloseReason::Drained);
        } else if self.driver.is_receiving(key) {
            self.driver.pause_receive(key);
        } else if !taken_in && self.driver.unread(key) > 0 {
            self.driver.receive(key);
        } else {
            self.core.close(key, CloseReason::Drained);
        }
    }

    /// Calls `on_drain` for a session, once.
    fn say_goodbye(&mut self, key: ConnectionKey) {
        if let Some(state) = self.core.sessions.get_mut(key)
            && !std::mem::replace(&mut state.knows_of_drain, true)
        {
            self.call(key, H::on_drain);
        }
    }

    /// A session is silent, and waits for answers from elsewhere. Meanwhile it receives: its answer may need more of what
    /// the peer sends.
    fn receive_further(&mut self, key: ConnectionKey) {
        if let Some(state) = self.core.sessions.get_mut(key) {
            state.taken_in = false;
            self.driver.receive(key);
        }
    }

    /// Bytes of a session are about to be answered: if nothing more had arrived until now, they are its last.
    #[cold]
    pub(super) fn note_taken_in(&mut self, key: ConnectionKey) {
        if !self.is_open(key) || self.core.is_awaited(key) {
            return;
        }
        self.driver.pause_receive(key);
        if !self.driver.is_receiving(key)
            && self.driver.unread(key) == 0
            && let Some(state) = self.core.sessions.get_mut(key)
        {
            state.taken_in = true;
        }
    }

    /// Whether the deadline of a drain has passed.
    pub(super) fn is_cut(&self) -> bool {
        self.drain.as_ref().is_some_and(Drain::is_cut)
    }

    /// One step of a drain, at the end of each turn.
    pub(super) fn step_drain(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        if drain.listening {
            drain.quiet_rounds += 1;
            if drain.quiet_rounds > QUIET_ROUNDS {
                drain.listening = false;
                self.close_listeners();
            }
        }
        let Some(drain) = &mut self.drain else { return };
        if self.core.now >= drain.deadline {
            if drain.cut {
                // Even aborting did not join in time: the driver reaps or leaks the rest (INV-10).
                self.catching_panics(Self::end_sessions);
                self.ended = true;
                return;
            }
            drain.cut = true;
            drain.listening = false;
            drain.deadline = self.core.now + LAST_WAIT;
            self.cut_all();
        }
        self.ended = self.has_nothing_left();
    }

    /// Whether a drain has come to its end, before its deadline or after it.
    pub(super) fn has_nothing_left(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| !drain.listening)
            && self.core.sessions.len() == 0
            && self.listeners.is_empty()
            && self.core.pending_connects.is_empty()
            && self.core.connects.is_empty()
            && self.arrivals.queue.len() == 0
            && self.driver_has_nothing_left()
    }

    fn driver_has_nothing_left(&self) -> bool {
        let driver = self.driver.snapshot();
        driver.connections == 0 && (driver.turned_away == 0 || self.is_cut())
    }

    /// Ends the sessions whose connections are not joined, as if they were.
    fn end_sessions(&mut self) {
        for key in self.core.sessions.keys() {
            self.released(key);
        }
    }

    /// The monitor's duplicates are closed first: they would keep the ports in use.
    fn close_listeners(&mut self) {
        self.shared.spare_listeners().clear();
        for (listener, _) in self.listeners.clone() {
            self.driver.close_listener(listener);
        }
    }

    fn cut_all(&mut self) {
        self.close_listeners();
        for key in self.core.sessions.keys() {
            let Some(state) = self.core.sessions.get_mut(key) else { continue };
            let answers_owed = if state.phase() == Phase::Open { state.answers_owed() } else { 0 };
            match state.apply(PhaseEvent::Cut) {
                PhaseAction::StopHearing => {
                    let leftovers = state.stop_hearing(self.core.now);
                    let kept = self.core.stop_hearing(key, leftovers);
                    let (session, bytes) = (self.core.id(key), kept + self.driver.unread(key));
                    let reason = CloseReason::Cut;
                    self.core.report.emit(&Event::Lost { session, bytes, answers_owed, reason });
                }
                // Everything queued for it is out; only the peer's FIN is missing.
                PhaseAction::CloseConnection => self.close_connection(key),
                PhaseAction::Nothing
                | PhaseAction::TakeNoSend
                | PhaseAction::HalfClose
                | PhaseAction::HalfCloseThenClose
                | PhaseAction::Linger => {}
            }
        }
        // The flush at the end of this turn answers them.
        self.core.end_connects(End::Draining, |_| true);
    }
}
