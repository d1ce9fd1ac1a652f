//! Waiting until a session has room again, on another thread than its worker's.
//!
//! A thread that has to wait asks the worker through its mailbox, and sleeps until its request is answered. So a message
//! costs its worker neither a lock nor a look at a flag for this. A request is answered by dropping it, so it is answered
//! however its session or its worker ends; the thread then looks at the session's counts itself. At most one request per
//! level is on its way or kept for a session.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex, MutexGuard};

/// How long a thread sleeps until it looks itself: the request that it waits for may be of a handle with a lower mark, which
/// is answered later.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How much room is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomLevel {
    /// Less is queued than the high-water mark.
    Writable = 0,
    /// Nothing is queued: for payloads that do not fit on top of the high-water mark.
    Empty = 1,
}

impl RoomLevel {
    /// How many there are.
    pub(crate) const ALL: usize = 2;

    /// The level at which a payload that is charged with `charge` is certain to fit.
    pub(crate) fn for_payload(charge: usize, high_water: usize, hard_limit: usize) -> RoomLevel {
        let fits = charge.saturating_add(high_water).saturating_sub(1) <= hard_limit;
        if fits { RoomLevel::Writable } else { RoomLevel::Empty }
    }

    /// Whether a session with `charge` queued has that much room.
    pub(crate) fn has_room(self, charge: usize, high_water: usize) -> bool {
        match self {
            RoomLevel::Writable => charge < high_water,
            RoomLevel::Empty => charge == 0,
        }
    }
}

/// The requests of one session's handles.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// By level: true exactly while a request was made and not answered.
    asked: Mutex<[bool; RoomLevel::ALL]>,
    answered: Condvar,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, [bool; RoomLevel::ALL]> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller is the one to make the request.
    pub(super) fn begin(&self, level: RoomLevel) -> bool {
        !std::mem::replace(&mut self.lock()[level as usize], true)
    }

    fn answer(&self, level: RoomLevel) {
        self.lock()[level as usize] = false;
        self.answered.notify_all();
    }

    /// Sleeps until the request for `level` is answered, at most until `deadline` and for [`LOOK_AGAIN`].
    pub(super) fn wait(&self, level: RoomLevel, deadline: Option<Instant>) {
        let mut asked = self.lock();
        while asked[level as usize] {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // Models have no time, and no handles with different marks.
            if left.is_none() && cfg!(all(loom, test)) {
                asked = self.answered.wait(asked).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let slice = left.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN);
            let waited = self.answered.wait_timeout(asked, slice).unwrap_or_else(PoisonError::into_inner);
            if waited.1.timed_out() {
                return;
            }
            asked = waited.0;
        }
    }
}

/// A thread waits for room in a session. Dropping this wakes it.
pub(crate) struct RoomRequest {
    room: Arc<Room>,
    level: RoomLevel,
    /// The mark of the handle that asks. The session may have got another one since that handle was made: a request that is
    /// answered by the other mark could be made again at once, for ever.
    high_water: usize,
}

impl RoomRequest {
    pub(super) fn new(room: &Arc<Room>, level: RoomLevel, high_water: usize) -> RoomRequest {
        RoomRequest { room: Arc::clone(room), level, high_water }
    }

    pub(crate) fn level(&self) -> RoomLevel {
        self.level
    }

    /// Whether a session with `charge` queued has the room that is waited for.
    pub(crate) fn has_room(&self, charge: usize) -> bool {
        self.level.has_room(charge, self.high_water)
    }
}

impl Drop for RoomRequest {
    fn drop(&mut self) {
        self.room.answer(self.level);
    }
}
