//! Sessions in a list, as another thread asks a worker for them: page by page, so that one request costs the worker little
//! (INV-6).

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use proactor::{TcpInfo, Time};

use super::{Origin, SessionId, SessionState, Table};

/// Slots that one request looks at: empty ones cost time, too.
const SLOTS: usize = 4096;
/// Sessions of one page: each costs the worker two system calls, so a page takes less than a millisecond.
const MOST_SESSIONS: usize = 128;

/// A session that was open when its worker was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Which.
    pub id: SessionId,
    /// The address at the other end. `None` only if the connection was already gone when the session began.
    pub peer: Option<SocketAddr>,
    /// Where it came from.
    pub origin: Origin,
    /// What it does.
    pub activity: Activity,
    /// Since it began.
    pub age: Duration,
    /// Since bytes were last received, or since it began.
    pub silent: Duration,
    /// Bytes received in all.
    pub received: u64,
    /// Bytes of payloads that the kernel has accepted completely.
    pub sent: u64,
    /// Bytes that are queued or being sent.
    pub unsent: u64,
    /// Received bytes that wait until its handler is called again.
    pub waiting: u64,
    /// What the system has measured; `None` where it does not report it.
    pub tcp: Option<TcpInfo>,
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activity {
    /// It receives.
    Open,
    /// Its handler has [paused](crate::Session::pause) it.
    Paused,
    /// Its receive waits, because too much is unsent in it or in a session that it feeds.
    Held,
    /// It is ending.
    Closing,
}

/// Where a list of sessions goes on. The default is its beginning. As text, for example in a URL: `0.4096`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionCursor {
    pub(crate) worker: usize,
    pub(crate) slot: usize,
}

impl SessionCursor {
    /// The first session of the worker with this index.
    #[must_use]
    pub fn of_worker(worker: usize) -> SessionCursor {
        SessionCursor { worker, slot: 0 }
    }
}

/// Worker and slot.
impl fmt::Display for SessionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.worker, self.slot)
    }
}

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCursor;

impl fmt::Display for BadCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a place in a list of sessions; take it from the page before")
    }
}

impl std::error::Error for BadCursor {}

impl FromStr for SessionCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<SessionCursor, BadCursor> {
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().map_err(|_| BadCursor),
            false => Err(BadCursor),
        };
        let (worker, slot) = text.split_once('.').ok_or(BadCursor)?;
        Ok(SessionCursor { worker: number(worker)?, slot: number(slot)? })
    }
}

/// A part of the list of all sessions, from one worker and one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionPage {
    /// Some of the worker's sessions. There may be none although the list goes on.
    pub sessions: Vec<SessionInfo>,
    /// Where the list goes on; `None` at its end.
    pub next: Option<SessionCursor>,
}

/// What is done with a page, on the worker's thread.
pub(crate) type UsePage = Box<dyn FnOnce(SessionPage) + Send>;

/// A request for a page, on its way to a worker.
pub(crate) struct Listing {
    pub(crate) cursor: SessionCursor,
    pub(crate) limit: usize,
    /// How many workers there are.
    pub(crate) workers: usize,
    pub(crate) answer: UsePage,
}

impl Listing {
    /// Answers it. `tcp` asks the system about a session.
    pub(crate) fn answer(self, table: &Table, now: Time, tcp: impl Fn(&SessionState) -> Option<TcpInfo>) {
        let limit = self.limit.clamp(1, MOST_SESSIONS);
        let mut sessions = Vec::new();
        let (from, slots) = (self.cursor.slot, table.slots());
        let mut slot = from;
        while slot < slots && slot - from < SLOTS && sessions.len() < limit {
            if let Some(state) = table.get_at(slot) {
                let id = SessionId { worker: self.cursor.worker as u32, key: state.key };
                sessions.push(SessionInfo::of(id, state, now, tcp(state)));
            }
            slot += 1;
        }
        let next = match slot < slots {
            true => Some(SessionCursor { slot, ..self.cursor }),
            false => Some(SessionCursor::of_worker(self.cursor.worker + 1)),
        };
        let next = next.filter(|next| next.worker < self.workers);
        (self.answer)(SessionPage { sessions, next });
    }
}

impl SessionInfo {
    fn of(id: SessionId, state: &SessionState, now: Time, tcp: Option<TcpInfo>) -> SessionInfo {
        let activity = match state.is_live() {
            false => Activity::Closing,
            true if state.is_paused() => Activity::Paused,
            true if !state.may_go_on() => Activity::Held,
            true => Activity::Open,
        };
        SessionInfo {
            id,
            peer: state.peer,
            origin: state.origin,
            activity,
            age: now.since(state.opened_at),
            silent: now.since(state.received_at),
            received: state.received,
            sent: state.sent,
            unsent: state.queue.bytes() as u64,
            waiting: state.kept_bytes() as u64,
            tcp,
        }
    }
}
