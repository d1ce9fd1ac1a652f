//! What a session does about what it was [asked](super::Asked) for.

use super::{Pending, Phase, RoomRequest, SessionState};

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
