//! The admin server's handler: reads requests, and answers each in its turn (RFC 9112, 9.3.2).
//!
//! Memory is bounded: a connection keeps one head that is not complete, its receive is paused while an answer waits, and no
//! request is answered while more than the high-water mark is unsent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use overlapped::handles::SessionPage;
use overlapped::{Lease, Owed, Session, SessionId, Time, WorkerContext, WorkerHandle};

use crate::history::History;
use crate::http::{Body, HEAD_TIMEOUT, MOST_HEAD, Parsed, Request, Response, Status, parse};
use crate::sessions::Gathering;
use crate::watched::{Progress, Standing, Target};
use crate::{live, metrics};

/// The timer of a connection.
const HEAD: u64 = 0;
/// The worker's own timer.
const SAMPLE: u64 = 0;

/// How often the numbers are looked at, for the live page.
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);
/// For the answer of a worker. One that takes longer is blocked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Live pages at a time: what is left of the connections is for scrapers and probes.
const VIEWERS: usize = 32;

/// What the workers of the watched server answer.
pub(crate) struct Message {
    /// Of the connection that waits for it.
    owed: Owed,
    /// Which request it is for: the connection may have given up waiting.
    ticket: u64,
    page: SessionPage,
}

/// One connection.
#[derive(Default)]
pub(crate) struct Connection {
    /// What arrived and is not answered.
    bytes: Vec<u8>,
    phase: Phase,
    /// True exactly when the client has ended its stream.
    ended: bool,
}

impl Connection {
    /// Whether it still waits for the request with this ticket.
    fn is_gathering(&self, ticket: u64) -> bool {
        matches!(self.phase, Phase::Gathering(its, _) if its == ticket)
    }
}

#[derive(Default)]
enum Phase {
    /// The next request is awaited.
    #[default]
    Idle,
    /// A part of its head is there.
    Head,
    /// The client reads too slowly.
    Full,
    /// Workers are asked for their sessions, for the request with this ticket.
    Gathering(u64, Box<Gathering>),
    /// It is a live page.
    Streaming,
}

/// The handler.
pub(crate) struct Admins {
    target: Arc<Target>,
    here: WorkerHandle<Message>,
    history: History,
    progress: Progress,
    viewers: Vec<SessionId>,
    /// The last one that was given out.
    ticket: u64,
    /// For whom a worker is being asked, and since when. One at a time, so that however many clients ask, a watched worker
    /// answers one page of sessions per turn at most.
    asking: Option<(Asker, Time)>,
    /// Whose turn comes then.
    waiting: VecDeque<Asker>,
}

/// A connection, and the ticket of its request.
type Asker = (SessionId, u64);

impl Admins {
    pub(crate) fn new(target: Arc<Target>, here: WorkerHandle<Message>) -> Admins {
        Admins {
            progress: Progress::new(&target),
            target,
            here,
            history: History::default(),
            viewers: Vec::new(),
            ticket: 0,
            asking: None,
            waiting: VecDeque::new(),
        }
    }

    /// Answers what can be answered now.
    fn serve(&mut self, session: &mut Session<'_, Connection>, connection: &mut Connection) {
        while matches!(connection.phase, Phase::Idle | Phase::Head) && !session.is_closing() {
            if !session.is_writable() {
                connection.phase = Phase::Full;
                session.pause();
                return;
            }
            match parse(&connection.bytes) {
                Parsed::Partial => {
                    // RFC 9112, 2.2: empty lines before a request are not part of it, so none has begun.
                    if connection.bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                        connection.bytes.clear();
                    }
                    break;
                }
                Parsed::Refused { status, head_only } => {
                    session.send(Response::plain(status).to_bytes(SystemTime::now(), head_only, false));
                    connection.bytes = Vec::new();
                    return session.close();
                }
                Parsed::Request(request, len) => {
                    connection.bytes.drain(..len);
                    if matches!(connection.phase, Phase::Head) {
                        session.cancel_timer(HEAD);
                    }
                    connection.phase = Phase::Idle;
                    self.answer(session, connection, &request);
                }
            }
        }
        match connection.phase {
            Phase::Idle | Phase::Head if connection.ended => session.close(),
            Phase::Idle if !connection.bytes.is_empty() => {
                connection.phase = Phase::Head;
                session.set_timer(HEAD_TIMEOUT, HEAD);
            }
            _ => {}
        }
    }

    fn answer(
        &mut self,
        session: &mut Session<'_, Connection>,
        connection: &mut Connection,
        request: &Request,
    ) {
        let response = match request.path.as_str() {
            "/" => live::page(),
            "/metrics" => metrics::response(&self.target, request.wants_open_metrics),
            "/live" => live(self.progress.stuck()),
            "/ready" => ready(self.target.standing()),
            "/sessions" => return self.list(session, connection, request),
            "/events" => return self.stream(session, connection, request),
            _ => Response::plain(Status::NotFound),
        };
        send(session, request, &response);
    }

    /// Begins to ask the workers.
    fn list(
        &mut self,
        session: &mut Session<'_, Connection>,
        connection: &mut Connection,
        request: &Request,
    ) {
        match Gathering::new(request) {
            Err(problem) => send(session, request, &Response::text(Status::BadRequest, problem)),
            Ok(gathering) => {
                session.pause();
                self.ticket += 1;
                connection.phase = Phase::Gathering(self.ticket, Box::new(gathering));
                self.ask(session, connection);
            }
        }
    }

    /// Asks the next worker, now or when it is this connection's turn.
    fn ask(&mut self, session: &mut Session<'_, Connection>, connection: &mut Connection) {
        let Phase::Gathering(ticket, gathering) = &connection.phase else { return };
        let ticket = *ticket;
        if self.asking.is_some() {
            return self.waiting.push_back((session.id(), ticket));
        }
        let (here, owed) = (self.here.clone(), session.owe());
        self.asking = Some(((session.id(), ticket), session.now()));
        let answer = Box::new(move |page| {
            // If this worker has ended, nobody waits for it.
            let _ = here.post(Message { owed, ticket, page });
        });
        if self.target.sessions(gathering.from(), gathering.limit(), answer).is_err() {
            self.asking = None;
            self.gathered(session, connection, Some("a worker's mailbox is full; try again\n"));
        }
    }

    /// The worker that was asked is free: the next one's turn.
    fn ask_next(&mut self, worker: &mut WorkerContext<'_, Connection>) {
        while self.asking.is_none()
            && let Some((id, waits_for)) = self.waiting.pop_front()
        {
            if let Some((mut session, connection)) = worker.session(id)
                && connection.is_gathering(waits_for)
            {
                self.ask(&mut session, connection);
            }
        }
    }

    /// Answers a connection that gathers with what was gathered, or with a problem, and goes on.
    fn gathered(
        &mut self,
        session: &mut Session<'_, Connection>,
        connection: &mut Connection,
        problem: Option<&'static str>,
    ) {
        let Phase::Gathering(_, gathering) = std::mem::take(&mut connection.phase) else { return };
        let response = match problem {
            Some(problem) => Response::text(Status::Unavailable, problem),
            None => gathering.response(&self.target.stats()),
        };
        send(session, gathering.request(), &response);
        session.resume();
        self.serve(session, connection);
    }

    /// Makes the connection a live page.
    fn stream(
        &mut self,
        session: &mut Session<'_, Connection>,
        connection: &mut Connection,
        request: &Request,
    ) {
        let request = Request { keep_alive: false, ..request.clone() };
        if request.head_only {
            return send(session, &request, &live::stream());
        }
        if self.viewers.len() == VIEWERS {
            let problem = "too many live pages are open; close one\n";
            return send(session, &request, &Response::text(Status::Unavailable, problem));
        }
        session.send(live::stream().to_bytes(SystemTime::now(), false, false));
        session.send(live::first_event(&self.target, &self.history));
        connection.phase = Phase::Streaming;
        connection.bytes = Vec::new();
        self.viewers.push(session.id());
    }

    /// Looks at the watched server: for `/live`, for the history, and for the live pages.
    fn sample(&mut self, worker: &mut WorkerContext<'_, Connection>) {
        let stats = self.target.stats();
        self.history.add(&stats);
        self.progress.look();
        if self.viewers.is_empty() {
            return;
        }
        let event = live::event(&self.target, &stats);
        for viewer in &self.viewers {
            // One that reads too slowly misses some; the next one says all that it says.
            if let Some((mut session, _)) = worker.session(*viewer)
                && session.is_writable()
            {
                session.send(event.clone());
            }
        }
    }
}

/// The answer of `/live`.
fn live(stuck: Option<usize>) -> Response {
    match stuck {
        None => Response::plain(Status::Ok),
        Some(worker) => Response::text(
            Status::Unavailable,
            format!("worker {worker} has made no progress for ten seconds: a callback does not return\n"),
        ),
    }
}

/// The answer of `/ready`.
fn ready(standing: Standing) -> Response {
    let status = if standing == Standing::Ready { Status::Ok } else { Status::Unavailable };
    Response::text(status, format!("{}\n", standing.word()))
}

fn send(session: &mut Session<'_, Connection>, request: &Request, response: &Response) {
    debug_assert!(request.head_only || matches!(response.body, Body::Whole(_)), "a stream has no end");
    session.send(response.to_bytes(SystemTime::now(), request.head_only, request.keep_alive));
    if !request.keep_alive {
        session.close();
    }
}

impl overlapped::Handler for Admins {
    type State = Connection;
    type Message = Message;

    fn on_start(&mut self, worker: &mut WorkerContext<'_, Connection>) {
        self.sample(worker);
        worker.set_timer(SAMPLE_PERIOD, SAMPLE);
    }

    fn on_open(&mut self, _session: &mut Session<'_, Connection>) -> Connection {
        Connection::default()
    }

    fn on_data(&mut self, session: &mut Session<'_, Connection>, connection: &mut Connection, data: Lease) {
        if matches!(connection.phase, Phase::Streaming) {
            return;
        }
        debug_assert!(
            connection.bytes.len() < MOST_HEAD || matches!(connection.phase, Phase::Idle | Phase::Head)
        );
        connection.bytes.extend_from_slice(&data);
        self.serve(session, connection);
    }

    fn on_half_close(&mut self, session: &mut Session<'_, Connection>, connection: &mut Connection) {
        connection.ended = true;
        match connection.phase {
            Phase::Streaming => session.close(),
            _ => self.serve(session, connection),
        }
    }

    fn on_writable(&mut self, session: &mut Session<'_, Connection>, connection: &mut Connection) {
        if matches!(connection.phase, Phase::Full) {
            connection.phase = Phase::Idle;
            session.resume();
            self.serve(session, connection);
        }
    }

    fn on_timer(&mut self, session: &mut Session<'_, Connection>, _connection: &mut Connection, _token: u64) {
        session.send(Response::plain(Status::RequestTimeout).to_bytes(SystemTime::now(), false, false));
        session.close();
    }

    fn on_worker_timer(&mut self, worker: &mut WorkerContext<'_, Connection>, _token: u64) {
        self.sample(worker);
        worker.set_timer(SAMPLE_PERIOD, SAMPLE);
        if let Some((asker, _)) =
            self.asking.take_if(|(_, since)| worker.now().since(*since) >= ANSWER_TIMEOUT)
        {
            // All that wait would wait as long for nothing.
            for asker in std::iter::once(asker).chain(std::mem::take(&mut self.waiting)) {
                if let Some((mut session, connection)) = worker.session(asker.0)
                    && connection.is_gathering(asker.1)
                {
                    let problem = "a worker of the server does not answer\n";
                    self.gathered(&mut session, connection, Some(problem));
                }
            }
        }
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Connection>, message: Message) {
        self.asking.take_if(|((_, ticket), _)| *ticket == message.ticket);
        if let Some((mut session, connection)) = worker.session(message.owed.id())
            && let Phase::Gathering(ticket, gathering) = &mut connection.phase
            && *ticket == message.ticket
        {
            if gathering.add(message.page) {
                self.waiting.push_back((session.id(), message.ticket));
            } else {
                self.gathered(&mut session, connection, None);
            }
        }
        self.ask_next(worker);
    }

    fn on_drain(&mut self, session: &mut Session<'_, Connection>, connection: &mut Connection) {
        if matches!(connection.phase, Phase::Streaming) {
            session.send(live::event(&self.target, &self.target.stats()));
        }
    }

    fn on_close(
        &mut self,
        _worker: &mut WorkerContext<'_, Connection>,
        closed: overlapped::Closed,
        connection: Connection,
    ) {
        if matches!(connection.phase, Phase::Streaming) {
            self.viewers.retain(|viewer| *viewer != closed.id);
        }
    }
}
