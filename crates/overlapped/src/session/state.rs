//! The engine's state of one session: small, because ten thousand of them sit idle.
//!
//! Its phase, and the reason for its end, change in this file alone, in [`SessionState::apply`], by this table: the next
//! phase, and what the caller has to do. Where a cell is empty, nothing changes.
//!
//! | phase \ event | Finish | Close | PeerFin | FinSent | BothEnded | LingerOver | Abort | Cut |
//! | --- | --- | --- | --- | --- | --- | --- | --- | --- |
//! | Open | HalfClosedLocal, TakeNoSend | AwaitSent, StopHearing | Open, HalfClose | | | | Aborted, StopHearing | Aborted, StopHearing |
//! | HalfClosedLocal | | AwaitSent, StopHearing | HalfClosedLocal, HalfCloseThenClose | | | | Aborted, StopHearing | Aborted, StopHearing |
//! | AwaitSent | | | | AwaitFin, Linger | AwaitRelease, CloseConnection | | Aborted, StopHearing | Aborted, StopHearing |
//! | AwaitFin | | | AwaitRelease, CloseConnection | | | AwaitRelease, CloseConnection | Aborted, StopHearing | AwaitRelease, CloseConnection |
//! | AwaitRelease | | | | | | | | |
//! | Aborted | | | | | | | | |

use std::net::SocketAddr;
use std::sync::Arc;

use proactor::{ConnectionKey, Lease, Time};

use super::{
    Asked, CloseReason, Directory, HandleState, Kept, Limits, Origin, Pending, SendQueue, SessionTimers,
};

/// Where a session is in its life. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Both streams are open, or only the peer's has ended.
    Open,
    /// This side ends its stream: FIN goes out after what is queued. The peer may go on sending, and the handler gets it.
    HalfClosedLocal,
    /// Closing gracefully: what is queued is being sent; then FIN.
    AwaitSent,
    /// FIN is out, the peer's is awaited; what arrives until then is discarded.
    AwaitFin,
    /// The driver closes the connection; its release is awaited.
    AwaitRelease,
    /// The next flush aborts the connection; then its release is awaited.
    Aborted,
}

/// What changes a session's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PhaseEvent {
    /// The handler ends this side's stream.
    Finish,
    /// The session is closed gracefully.
    Close(CloseReason),
    /// The peer's FIN has arrived.
    PeerFin,
    /// Everything queued is out, and FIN after it; the peer has not ended its stream.
    FinSent,
    /// Everything queued is out, and the peer has ended its stream, or the connection is gone.
    BothEnded,
    /// The peer's FIN was awaited for long enough.
    LingerOver,
    /// The session is aborted.
    Abort(CloseReason),
    /// The deadline of a drain has passed.
    Cut,
}

/// What follows from a change of phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum PhaseAction {
    Nothing,
    /// This side's stream ends after what is queued.
    TakeNoSend,
    /// The handler is not called any more before `on_close`: see [`SessionState::stop_hearing`].
    StopHearing,
    /// `on_half_close` is called.
    HalfClose,
    /// The same; then the session closes, because both streams end.
    HalfCloseThenClose,
    /// The peer's FIN is awaited, for the linger timeout.
    Linger,
    /// The driver closes the connection.
    CloseConnection,
}

impl Phase {
    /// Whether a session in this phase has not begun to close: its handler is still called.
    #[inline(always)]
    pub(crate) fn is_live(self) -> bool {
        self <= Phase::HalfClosedLocal
    }

    /// Whether queued bytes are still being sent in this phase.
    pub(crate) fn is_sending(self) -> bool {
        self <= Phase::AwaitSent
    }

    /// The table at the head of this file.
    fn after(self, event: PhaseEvent) -> (Phase, PhaseAction) {
        use Phase::{Aborted, AwaitFin, AwaitRelease, AwaitSent, HalfClosedLocal, Open};
        use PhaseEvent::{Abort, BothEnded, Close, Cut, FinSent, Finish, LingerOver, PeerFin};
        match (self, event) {
            (Open, Finish) => (HalfClosedLocal, PhaseAction::TakeNoSend),
            (Open | HalfClosedLocal, Close(_)) => (AwaitSent, PhaseAction::StopHearing),
            (Open, PeerFin) => (Open, PhaseAction::HalfClose),
            (HalfClosedLocal, PeerFin) => (HalfClosedLocal, PhaseAction::HalfCloseThenClose),
            (AwaitSent, FinSent) => (AwaitFin, PhaseAction::Linger),
            (AwaitSent, BothEnded) | (AwaitFin, PeerFin | LingerOver | Cut) => {
                (AwaitRelease, PhaseAction::CloseConnection)
            }
            (Open | HalfClosedLocal | AwaitSent, Abort(_) | Cut) | (AwaitFin, Abort(_)) => {
                (Aborted, PhaseAction::StopHearing)
            }
            (phase, _) => (phase, PhaseAction::Nothing),
        }
    }
}

/// What a session that stops hearing has held of others.
#[must_use]
pub(crate) struct Leftovers {
    /// Received bytes that its handler will not get.
    pub(crate) kept: usize,
    /// Its timers, to be cancelled.
    pub(crate) timers: Option<Box<SessionTimers>>,
    /// The session whose receive it has held because it was full, to be released.
    pub(crate) source: Option<ConnectionKey>,
}

/// In the order of use: what a message touches is on the first two cache lines.
#[repr(C, align(64))]
pub(crate) struct SessionState {
    pub(crate) key: ConnectionKey,
    phase: Phase,
    /// What is left to do for it.
    pub(crate) pending: Pending,
    /// True exactly when what arrives has to wait: the receive is paused or held, or earlier bytes wait.
    pub(crate) held_back: bool,
    /// True exactly when the peer has sent FIN.
    peer_finished: bool,
    /// True exactly when our FIN is out.
    fin_sent: bool,
    /// In a drain: everything that had arrived was received; what comes after that comes too late.
    pub(crate) taken_in: bool,
    /// Whether its handler wants its receive paused.
    wants_pause: bool,
    /// When bytes were last received: the time of that turn.
    pub(crate) received_at: Time,
    /// When the send in flight was submitted; if there is none, when the last one was out.
    pub(crate) send_since: Time,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Made when a handle is asked for.
    pub(crate) handle: Option<Arc<HandleState>>,
    pub(crate) queue: SendQueue,
    pub(crate) opened_at: Time,
    reason: Option<CloseReason>,
    /// The address at the other end, if the system still knew it when the session began.
    pub(crate) peer: Option<SocketAddr>,
    /// Whose receive is held while too much is unsent here: its own, or that of the session that feeds it.
    pub(crate) source: ConnectionKey,
    /// How many sessions hold its receive because they are full: those that it feeds, or itself.
    holds: u32,
    /// True exactly when bytes of the peer were seen in the socket that were not received yet.
    spoke_unheard: bool,
    /// What arrived and waits until the session may go on; allocated when there is some.
    kept: Option<Box<Kept>>,
    /// The system's progress when a deadline last asked for it: bytes sent of the payload in flight, plus bytes that the
    /// peer's system has acknowledged. Only a change of this number means something.
    pub(crate) moved: u64,
    /// When a deadline last asked and saw that change.
    pub(crate) moved_at: Time,
    /// True exactly when it closes as soon as it owes no answer.
    pub(crate) closes_when_answered: bool,
    /// True exactly when `on_drain` was called for it.
    pub(crate) knows_of_drain: bool,
    pub(crate) origin: Origin,
    /// Made when something is asked for.
    pub(super) asked: Option<Box<Asked>>,
    /// Made when the first timer is set.
    pub(crate) timers: Option<Box<SessionTimers>>,
    /// Made when the first limit of its own is set.
    pub(crate) limits: Option<Box<Limits>>,
    /// When each kind of silence was last reported, by [`Idle`]: it counts from then.
    pub(crate) reported_idle: [Time; 3],
}

#[cfg(target_pointer_width = "64")]
const _: () =
    assert!(std::mem::offset_of!(SessionState, opened_at) == 128, "the rest begins on the third line");

impl SessionState {
    pub(crate) fn new(key: ConnectionKey, origin: Origin, now: Time) -> SessionState {
        SessionState {
            key,
            phase: Phase::Open,
            pending: Pending::default(),
            held_back: false,
            peer_finished: false,
            fin_sent: false,
            taken_in: false,
            wants_pause: false,
            received_at: now,
            send_since: now,
            received: 0,
            sent: 0,
            handle: None,
            queue: SendQueue::default(),
            opened_at: now,
            reason: None,
            peer: None,
            source: key,
            holds: 0,
            spoke_unheard: false,
            kept: None,
            moved: 0,
            moved_at: Time::ZERO,
            closes_when_answered: false,
            knows_of_drain: false,
            origin,
            asked: None,
            timers: None,
            limits: None,
            reported_idle: [Time::ZERO; 3],
        }
    }

    #[inline(always)]
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Why it ends; `None` before its end has begun.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        self.reason
    }

    /// Whether it has not begun to close.
    #[inline(always)]
    pub(crate) fn is_live(&self) -> bool {
        self.phase.is_live()
    }

    /// Whether the peer has ended its stream, and everything before that was received.
    pub(crate) fn peer_finished(&self) -> bool {
        self.peer_finished
    }

    /// Changes the phase as the table says. The first reason given stays, except that a drain's deadline replaces it.
    pub(crate) fn apply(&mut self, event: PhaseEvent) -> PhaseAction {
        let event = match event {
            // Both streams end.
            PhaseEvent::Finish if self.peer_finished => PhaseEvent::Close(CloseReason::Local),
            event => event,
        };
        let before = self.phase;
        let (phase, action) = before.after(event);
        debug_assert!(phase >= before, "a session's phase only moves forward");
        self.phase = phase;
        if phase != Phase::Open {
            self.pending.add(Pending::GUARDED);
        }
        self.peer_finished |= event == PhaseEvent::PeerFin;
        match event {
            _ if phase == before => {}
            // The peer ended its stream first: that ended the session, whichever side closes it.
            PhaseEvent::Close(CloseReason::Local) if self.peer_finished && before == Phase::Open => {
                self.reason.get_or_insert(CloseReason::EndOfStream);
            }
            PhaseEvent::Close(reason) | PhaseEvent::Abort(reason) => {
                self.reason.get_or_insert(reason);
            }
            PhaseEvent::Cut if phase == Phase::Aborted => self.reason = Some(CloseReason::Cut),
            _ => {}
        }
        if matches!(action, PhaseAction::TakeNoSend | PhaseAction::StopHearing) {
            self.close_handle();
        }
        action
    }

    /// The session's part of [`PhaseAction::StopHearing`]: it keeps nothing for its handler from now on. What it held of
    /// others is returned, for [`Core::stop_hearing`](crate::context::Core::stop_hearing).
    pub(crate) fn stop_hearing(&mut self, now: Time) -> Leftovers {
        self.send_since = now;
        self.asked = None;
        let kept = self.drop_kept();
        let source = self.pending.remove(Pending::SOURCE).then_some(self.source);
        Leftovers { kept, timers: self.timers.take(), source }
    }

    /// Its handler closed it in `on_idle`: for its silence.
    pub(crate) fn was_closed_when_idle(&mut self) {
        if self.reason == Some(CloseReason::Local) {
            self.reason = Some(CloseReason::IdleTimeout);
        }
    }

    /// Our FIN goes out now. Returns whether it is the first.
    pub(crate) fn sends_fin(&mut self) -> bool {
        !std::mem::replace(&mut self.fin_sent, true)
    }

    /// What its handles share with it. `directory`: where another thread may have made it already.
    pub(crate) fn handle(&mut self, directory: &Directory) -> &Arc<HandleState> {
        let (queued, phase) = (self.queue.charge(), self.phase);
        // The first handle may be asked for late: it starts with the present state.
        self.handle.get_or_insert_with(|| {
            let (handle, _) = directory.find(self.key);
            handle.attach(queued, phase != Phase::Open, !phase.is_live());
            handle
        })
    }

    /// Handles answer "closed" from now on: to sends, and once the session closes, to `is_closed`.
    fn close_handle(&mut self) {
        if let Some(handle) = &self.handle {
            handle.close(!self.phase.is_live());
        }
        self.answer_room();
    }

    /// Whether the handler may be called with bytes: no full session holds this one, and its handler has not paused it.
    pub(crate) fn may_go_on(&self) -> bool {
        self.holds == 0 && !self.wants_pause
    }

    /// Whether the peer has sent anything, received or not.
    pub(crate) fn has_spoken(&self) -> bool {
        self.received > 0 || self.spoke_unheard
    }

    /// Bytes of the peer wait in the socket; they count as arrived at `at`.
    pub(crate) fn peer_has_spoken(&mut self, at: Time) {
        self.spoke_unheard = true;
        self.received_at = at;
    }

    /// Whether its handler has paused it.
    pub(crate) fn is_paused(&self) -> bool {
        self.wants_pause
    }

    /// Changes whether its handler wants it paused. True if that is a change.
    pub(crate) fn set_paused(&mut self, paused: bool) -> bool {
        let before = std::mem::replace(&mut self.wants_pause, paused);
        self.update_held_back();
        before != paused
    }

    /// Adds `by` to the number of full sessions that hold this one.
    pub(crate) fn hold(&mut self, by: i32) {
        self.holds = self.holds.checked_add_signed(by).expect("a session is released by those who held it");
        self.update_held_back();
    }

    /// Whether another session than itself holds its receive.
    pub(crate) fn is_held_by_another(&self) -> bool {
        self.holds > u32::from(self.pending.has(Pending::SOURCE) && self.source == self.key)
    }

    /// Keeps what arrived until the session may go on: behind what waits already, or before it if the handler was called
    /// with it and could not take it.
    pub(crate) fn keep(&mut self, data: Lease, handler_had_it: bool) {
        let kept = self.kept.get_or_insert_default();
        if handler_had_it {
            kept.push_front(data);
        } else {
            kept.push_back(data);
        }
        self.update_held_back();
    }

    /// The peer's end of stream waits behind kept bytes. False if there are none.
    pub(crate) fn keep_end(&mut self) -> bool {
        self.kept.as_mut().map(|kept| kept.ended = true).is_some()
    }

    /// Takes out the first piece of what waits, and whether the peer's end of stream came behind it.
    pub(crate) fn take_kept(&mut self) -> Option<(Lease, bool)> {
        let kept = self.kept.as_mut()?;
        let data = kept.pop()?;
        let ended = kept.ended && kept.is_empty();
        if kept.is_empty() {
            self.kept = None;
        }
        self.update_held_back();
        Some((data, ended))
    }

    /// Drops what waits. Returns how many bytes that were.
    fn drop_kept(&mut self) -> usize {
        let kept = self.kept.take();
        self.update_held_back();
        kept.map_or(0, |kept| kept.bytes())
    }

    /// Bytes that wait.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.bytes())
    }

    fn update_held_back(&mut self) {
        self.held_back = !self.may_go_on() || self.kept.is_some();
    }

    /// The payload in flight is out. Returns its length.
    #[inline]
    pub(crate) fn sent_one(&mut self, now: Time) -> usize {
        let bytes = self.queue.sent();
        self.sent += bytes as u64;
        self.send_since = now;
        bytes
    }
}

#[cfg(test)]
mod tests;
