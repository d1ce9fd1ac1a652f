//! What operators ask a running server: how it stands, its numbers by worker, its sessions, and which callbacks are slow.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use overlapped::events::MetricKind;
use overlapped::handles::{Activity, SessionCursor, SessionInfo};
use overlapped::{
    Choice, Closed, Event, Handler, Lease, Server, ServerHandle, ServerState, Session, Stats, WorkerContext,
};
use overlapped_testing::{PATIENCE, dial, eventually, exchange, expect_end};

use common::backends;

/// Echoes. Sleeps on `S`; sleeps and panics on `P`; pauses on `Z`; says on `R` whether the system has a round-trip time.
#[derive(Clone, Default)]
struct Watched {
    closed: Arc<Mutex<Vec<Closed>>>,
}

const SLOW: Duration = Duration::from_millis(600);
/// A callback that the machine holds up takes less.
const LIMIT: Duration = Duration::from_millis(500);

impl Handler for Watched {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_>) {}

    fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) {
        match data[0] {
            b'S' => thread::sleep(SLOW),
            b'P' => {
                thread::sleep(SLOW);
                panic!("it was asked for");
            }
            b'Z' => session.pause(),
            b'R' => {
                let measured = session.tcp_info().is_some_and(|info| info.congestion_window > 0);
                session.send(if measured { "y" } else { "n" });
                return;
            }
            _ => {}
        }
        session.send(data);
    }

    fn on_close(&mut self, _worker: &mut WorkerContext<'_>, closed: Closed, _state: ()) {
        self.closed.lock().unwrap().push(closed);
    }
}

fn server(choice: Choice) -> Server {
    Server::bind("127.0.0.1:0").unwrap().backend(choice).workers(2)
}

fn start(choice: Choice) -> ServerHandle {
    server(choice).start(|_worker| Watched::default()).unwrap()
}

/// All pages, `limit` sessions at a time.
fn list(handle: &ServerHandle, limit: usize) -> Vec<SessionInfo> {
    let (mut all, mut cursor) = (Vec::new(), SessionCursor::default());
    for _ in 0..1000 {
        let (tell, page) = channel();
        handle.list_sessions(cursor, limit, move |page| tell.send(page).unwrap()).unwrap();
        let page = page.recv_timeout(PATIENCE).expect("the worker answers");
        assert!(page.sessions.len() <= limit);
        all.extend(page.sessions);
        match page.next {
            Some(next) => {
                assert!(next > cursor, "it goes on");
                cursor = next;
            }
            None => return all,
        }
    }
    panic!("a list without end");
}

#[test]
fn sessions_are_listed_page_by_page() {
    for choice in backends() {
        let handle = start(choice);
        let mut clients: Vec<_> = (0..25).map(|_| dial(handle.local_addr())).collect();
        for client in &mut clients {
            exchange(client, b"hello");
        }
        exchange(&mut clients[0], b"Z");
        let mut wanted: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        wanted.sort();
        for limit in [1, 4, 1000] {
            let sessions = list(&handle, limit);
            let mut peers: Vec<_> = sessions.iter().filter_map(|session| session.peer).collect();
            peers.sort();
            assert_eq!(peers, wanted, "{choice:?}");
            for session in &sessions {
                let first = session.peer == clients[0].local_addr().ok();
                let activity = if first { Activity::Paused } else { Activity::Open };
                assert_eq!(session.activity, activity, "{session:?}");
                assert_eq!((session.received, session.unsent), (if first { 6 } else { 5 }, 0), "{session:?}");
                assert!(session.age >= session.silent, "{session:?}");
                if cfg!(target_os = "linux") {
                    assert!(session.tcp.is_some_and(|tcp| tcp.congestion_window > 0), "{session:?}");
                }
            }
        }
        drop(clients);
        handle.drain(PATIENCE).unwrap();
        // Nobody is left to ask: the caller answers, with an empty page.
        assert!(list(&handle, 10).is_empty());
    }
}

/// What is done with a page may panic: that is reported, and the worker goes on.
#[test]
fn a_panic_in_an_answer_breaks_nothing() {
    for choice in backends() {
        let handle = start(choice);
        let mut client = dial(handle.local_addr());
        exchange(&mut client, b"hello");
        for worker in 0..2 {
            handle.list_sessions(SessionCursor::of_worker(worker), 1, |_page| panic!("with intent")).unwrap();
        }
        eventually("both are counted", || handle.stats().panics == 2);
        exchange(&mut client, b"still served");
        drop(client);
        handle.drain(PATIENCE).unwrap();
    }
}

#[test]
fn how_it_stands_and_its_numbers_by_worker() {
    for choice in backends() {
        let handle = start(choice);
        assert_eq!(handle.state(), ServerState::Serving);
        let by_worker = || handle.worker_stats().collect::<Vec<Stats>>();
        let mut clients = Vec::new();
        // A worker that is held up is passed over for a while.
        while clients.len() < 10 || by_worker().iter().any(|stats| stats.sessions == 0) {
            assert!(clients.len() < 1000, "both workers have some: {:?}", by_worker());
            let mut client = dial(handle.local_addr());
            exchange(&mut client, b"hello");
            clients.push(client);
        }
        let echoed = 5 * clients.len() as u64;
        eventually("all is counted", || {
            by_worker().iter().map(|stats| stats.bytes_sent).sum::<u64>() == echoed
        });
        assert_eq!(by_worker().len(), 2);
        let (turns, ns) = (handle.stats().turns, handle.stats().turn_ns);
        assert!(turns > 0 && ns > 0);
        // The pause keeps the drain waiting for what its session has not received.
        handle.begin_drain(PATIENCE);
        assert_ne!(handle.state(), ServerState::Serving, "from the moment that it is asked for");
        for client in &mut clients {
            expect_end(client);
        }
        drop(clients);
        handle.wait().unwrap();
        assert_eq!(handle.state(), ServerState::Ended);
    }
}

/// A peer that does not read makes its session full, until it does.
#[test]
fn full_sessions_are_counted() {
    for choice in backends() {
        let handle = server(choice).workers(1).start(|_worker| Watched::default()).unwrap();
        let mut client = dial(handle.local_addr());
        client.set_nonblocking(true).unwrap();
        let mut sent = 0;
        eventually("it is full", || {
            while let Ok(count @ 1..) = client.write(&[b'x'; 65_536]) {
                sent += count as u64;
            }
            handle.stats().full == 1
        });
        client.set_nonblocking(false).unwrap();
        let echoed = std::io::copy(&mut (&client).take(sent), &mut std::io::sink()).unwrap();
        assert_eq!(echoed, sent);
        eventually("it has room", || handle.stats().full == 0);
        drop(client);
        handle.drain(PATIENCE).unwrap();
    }
}

#[test]
fn a_slow_callback_is_counted_and_reported_with_its_session() {
    for choice in backends() {
        let (tell, events) = channel();
        let tell = Mutex::new(tell);
        let server = server(choice).workers(1).slow_callback(LIMIT).observer(move |event| {
            if let Event::SlowCallback { worker, session, took, .. } = event {
                tell.lock().unwrap().send((*worker, *session, *took)).unwrap();
            }
        });
        let handle = server.start(|_worker| Watched::default()).unwrap();
        let mut client = dial(handle.local_addr());
        exchange(&mut client, b"S");
        let (worker, session, took) = events.recv_timeout(PATIENCE).expect("it is reported");
        let listed = list(&handle, 1);
        assert_eq!((worker, session), (0, Some(listed[0].id)), "{choice:?}");
        // The clock ticks every 16 ms at worst.
        assert!(took + Duration::from_millis(17) >= SLOW, "{took:?}");
        eventually("it is counted", || handle.stats().slow_callbacks >= 1);
        let stats = handle.stats();
        assert_eq!(Duration::from_nanos(stats.longest_callback_ns), took);
        assert!(stats.longest_turn_ns >= stats.longest_callback_ns);
        // Reported once in ten seconds, counted each time.
        exchange(&mut client, b"S");
        eventually("it is counted", || handle.stats().slow_callbacks >= 2);
        drop(client);
        handle.drain(PATIENCE).unwrap();
        assert_eq!(events.try_iter().count(), 0, "{choice:?}");
    }
}

#[test]
fn a_panic_is_no_slow_callback_of_the_next() {
    for choice in backends() {
        let server = server(choice).workers(1).slow_callback(LIMIT);
        let handle = server.start(|_worker| Watched::default()).unwrap();
        let (mut panics, mut next) = (dial(handle.local_addr()), dial(handle.local_addr()));
        exchange(&mut next, b"before");
        panics.write_all(b"P").unwrap();
        eventually("it has panicked", || handle.stats().panics == 1);
        exchange(&mut next, b"after");
        drop((panics, next));
        handle.drain(PATIENCE).unwrap();
        assert_eq!(handle.stats().slow_callbacks, 0, "{choice:?}");
    }
}

#[test]
fn a_longer_limit_allows_more() {
    for choice in backends() {
        let server = server(choice).workers(1).slow_callback(SLOW * 100);
        let handle = server.start(|_worker| Watched::default()).unwrap();
        let mut client = dial(handle.local_addr());
        exchange(&mut client, b"S");
        drop(client);
        handle.drain(PATIENCE).unwrap();
        assert_eq!((handle.stats().slow_callbacks, handle.stats().longest_callback_ns), (0, 0), "{choice:?}");
    }
}

#[test]
fn tcp_info_on_request_and_at_the_end() {
    for choice in backends() {
        for wanted in [false, true] {
            let watched = Watched::default();
            let closed = Arc::clone(&watched.closed);
            let handle =
                server(choice).tcp_info_at_close(wanted).start(move |_worker| watched.clone()).unwrap();
            let mut client = dial(handle.local_addr());
            exchange(&mut client, &[b'x'; 1000]);
            let known = ask(&mut client);
            if cfg!(target_os = "linux") {
                assert!(known, "{choice:?}");
            }
            drop(client);
            eventually("it has closed", || !closed.lock().unwrap().is_empty());
            let closed = closed.lock().unwrap()[0];
            assert_eq!(closed.tcp.is_some(), wanted && known, "{closed:?}");
            if let Some(tcp) = closed.tcp {
                assert!(
                    tcp.rtt < PATIENCE && tcp.retransmitted < 1000 && tcp.congestion_window > 0,
                    "{tcp:?}"
                );
            }
            handle.drain(PATIENCE).unwrap();
        }
    }
}

/// Whether the system knows the connection's measurements.
fn ask(client: &mut TcpStream) -> bool {
    let mut answer = [0];
    client.write_all(b"R").unwrap();
    client.read_exact(&mut answer).unwrap();
    answer == *b"y"
}

/// Exported names are part of the interface: Prometheus' rules, and no name twice.
#[test]
fn metrics_have_valid_names_and_texts() {
    let mut names = std::collections::BTreeSet::new();
    for metric in Stats::METRICS {
        assert!(names.insert(metric.name), "{metric:?}");
        assert!(metric.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{metric:?}");
        assert!(!metric.name.ends_with("_total"), "a suffix of the format: {metric:?}");
        if let Some(unit) = metric.unit {
            assert!(metric.name.ends_with(&format!("_{unit}")), "{metric:?}");
        }
        assert_eq!(metric.per_unit == 1, metric.unit != Some("seconds"), "{metric:?}");
        assert!(metric.help.ends_with('.') && !metric.help.contains(['[', '\n', '\\', '`']), "{metric:?}");
    }
    let gauges = Stats::METRICS.iter().filter(|metric| metric.kind == MetricKind::Gauge);
    assert_eq!(gauges.map(|metric| metric.name).next(), Some("sessions"));
}
