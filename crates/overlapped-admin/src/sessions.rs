//! `/sessions`: the open sessions, gathered from one worker after the other.

use overlapped::handles::{Activity, SessionCursor, SessionInfo, SessionPage};
use overlapped::{Origin, Stats};
use serde::Serialize;

use crate::http::{Request, Response};

/// Sessions of a page unless the client asks for another number.
const DEFAULT: usize = 100;
/// The most that it may ask for.
const MOST_LISTED: usize = 1000;

/// How often workers are asked for one page: when many slots are empty, it ends early.
const MOST_ASKED: usize = 64;

/// A page that is being gathered.
pub(crate) struct Gathering {
    request: Request,
    limit: usize,
    /// Where to ask next, and in the end where the next page begins.
    next: Option<SessionCursor>,
    sessions: Vec<SessionInfo>,
    asked: usize,
}

impl Gathering {
    /// # Errors
    /// With a text for the client if a parameter is wrong.
    pub(crate) fn new(request: &Request) -> Result<Gathering, String> {
        let limit = match request.parameter("limit") {
            None => DEFAULT,
            // Rust takes a sign, too.
            Some(text) => {
                match text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())) {
                    Some(limit) if (1..=MOST_LISTED).contains(&limit) => limit,
                    _ => return Err(format!("limit={text}: give a number from 1 to {MOST_LISTED}\n")),
                }
            }
        };
        let from = match request.parameter("from") {
            None => SessionCursor::default(),
            Some(text) => text.parse().map_err(|problem| format!("from={text}: {problem}\n"))?,
        };
        Ok(Gathering { request: request.clone(), limit, next: Some(from), sessions: Vec::new(), asked: 0 })
    }

    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    /// Where to ask.
    pub(crate) fn from(&self) -> SessionCursor {
        self.next.unwrap_or_default()
    }

    /// How many are missing.
    pub(crate) fn limit(&self) -> usize {
        self.limit - self.sessions.len()
    }

    /// Adds what a worker gave. Returns whether to ask again.
    pub(crate) fn add(&mut self, page: SessionPage) -> bool {
        self.sessions.extend(page.sessions);
        self.next = page.next;
        self.asked += 1;
        self.limit() > 0 && self.next.is_some() && self.asked < MOST_ASKED
    }

    /// `stats` are those of the workers.
    pub(crate) fn response(&self, stats: &[Stats]) -> Response {
        let document = Document {
            open: stats.iter().map(|stats| stats.sessions).sum(),
            sessions: self.sessions.iter().map(Row::of).collect(),
            next: self.next.map(|next| next.to_string()),
        };
        let mut text = serde_json::to_vec(&document).expect("no map with other keys than strings");
        text.push(b'\n');
        Response::new("application/json", text)
    }
}

#[derive(Serialize)]
struct Document {
    /// Of all workers.
    open: u64,
    sessions: Vec<Row>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Row {
    id: String,
    worker: usize,
    peer: Option<String>,
    direction: &'static str,
    /// Of an accepted session.
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<u64>,
    activity: &'static str,
    age_seconds: f64,
    silent_seconds: f64,
    received_bytes: u64,
    sent_bytes: u64,
    unsent_bytes: u64,
    waiting_bytes: u64,
    tcp: Option<Tcp>,
}

#[derive(Serialize)]
struct Tcp {
    rtt_us: u64,
    retransmitted_bytes: u64,
    unacknowledged_bytes: u64,
    congestion_window_bytes: u64,
}

impl Row {
    fn of(info: &SessionInfo) -> Row {
        let tcp = info.tcp.map(|tcp| Tcp {
            rtt_us: tcp.rtt.as_micros() as u64,
            retransmitted_bytes: tcp.retransmitted,
            unacknowledged_bytes: tcp.unacknowledged,
            congestion_window_bytes: tcp.congestion_window,
        });
        Row {
            id: info.id.to_string(),
            worker: info.id.worker(),
            peer: info.peer.map(|peer| peer.to_string()),
            direction: if matches!(info.origin, Origin::Connected { .. }) { "outbound" } else { "accepted" },
            listener: info.origin.listener(),
            activity: match info.activity {
                Activity::Open => "open",
                Activity::Paused => "paused",
                Activity::Held => "held",
                _ => "closing",
            },
            age_seconds: info.age.as_secs_f64(),
            silent_seconds: info.silent.as_secs_f64(),
            received_bytes: info.received,
            sent_bytes: info.sent,
            unsent_bytes: info.unsent,
            waiting_bytes: info.waiting,
            tcp,
        }
    }
}
