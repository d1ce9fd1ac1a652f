//! Requests of handlers and other threads for a notice when a session's bytes are sent. Kept apart from the session's
//! state, because few sessions have any.

use std::collections::VecDeque;

use super::{RoomLevel, RoomRequest};

/// Requests of one session.
#[derive(Default)]
pub(crate) struct Asked {
    /// Of threads that wait for room, by level.
    room: [Option<RoomRequest>; RoomLevel::ALL],
    /// Calls of `on_sent` that are to come, in order: the number of the session's bytes that have to be sent in all, and
    /// the token.
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
