//! What handlers and other threads have asked to be told when a session's bytes go out. Kept apart from the session's
//! state, because few sessions have any.

use std::collections::VecDeque;

use super::{Pending, Phase, RoomLevel, RoomRequest, SessionState};

/// Requests of one session.
#[derive(Default)]
pub(crate) struct Asked {
    /// Of threads that wait for room, by level.
    room: [Option<RoomRequest>; RoomLevel::ALL],
    /// Calls of `on_sent` that are to come, in order: when so many bytes of the session were sent in all, with this
    /// token.
    marks: VecDeque<(u64, u64)>,
}

impl Asked {
    /// Keeps a request until there is room.
    pub(crate) fn keep(&mut self, request: RoomRequest) {
        let level = request.level() as usize;
        self.room[level] = Some(request);
    }

    /// Answers the requests for which a session with `charge` queued has room. One that takes no send answers all.
    pub(crate) fn answer(&mut self, charge: usize, takes_sends: bool) {
        for slot in &mut self.room {
            // Dropping a request answers it.
            drop(slot.take_if(|request| !takes_sends || request.has_room(charge)));
        }
    }

    /// `on_sent` is to be called with `token` when `position` bytes were sent in all.
    pub(crate) fn mark(&mut self, position: u64, token: u64) {
        self.marks.push_back((position, token));
    }

    /// How many calls of `on_sent` are due when `sent` bytes were sent.
    pub(crate) fn due(&self, sent: u64) -> usize {
        self.marks.iter().take_while(|(position, _)| *position <= sent).count()
    }

    /// Takes out the token of the next call that is due.
    pub(crate) fn next_due(&mut self, sent: u64) -> Option<u64> {
        let (_, token) = self.marks.front().copied().filter(|(position, _)| *position <= sent)?;
        self.marks.pop_front();
        Some(token)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.room.iter().all(Option::is_none)
    }
}

impl SessionState {
    /// A thread waits for room. If the session takes no send, that is answered at once.
    pub(crate) fn keep_request(&mut self, request: RoomRequest) {
        if self.phase() == Phase::Open {
            self.asked.get_or_insert_default().keep(request);
            self.pending.add(Pending::ASKED);
        }
    }

    /// Answers the threads for which there is room.
    pub(crate) fn answer_room(&mut self) {
        let (charge, takes_sends) = (self.queue.charge(), self.phase() == Phase::Open);
        if let Some(asked) = &mut self.asked {
            asked.answer(charge, takes_sends);
        }
    }

    /// `on_sent` is to be called with `token` when everything is out that is unsent now.
    pub(crate) fn mark_unsent(&mut self, token: u64) {
        let position = self.sent + self.queue.bytes() as u64;
        self.asked.get_or_insert_default().mark(position, token);
        self.pending.add(Pending::ASKED);
    }

    /// How many calls of `on_sent` are due.
    pub(crate) fn sent_calls_due(&self) -> usize {
        self.asked.as_ref().map_or(0, |asked| asked.due(self.sent))
    }

    /// The token of the next call of `on_sent` that is due.
    pub(crate) fn next_sent_call(&mut self) -> Option<u64> {
        self.asked.as_mut()?.next_due(self.sent)
    }

    /// A session for which nothing is asked any more keeps no memory for it.
    pub(crate) fn settle_asked(&mut self) {
        if self.asked.as_ref().is_none_or(|asked| asked.is_empty()) {
            self.asked = None;
            self.pending.remove(Pending::ASKED);
        }
    }
}
