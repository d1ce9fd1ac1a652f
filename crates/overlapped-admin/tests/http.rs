//! The admin server from outside: an echo server, its admin server, and plain sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use overlapped::{Handler, Lease, Server, ServerHandle, Session};
use overlapped_admin::{Admin, AdminHandle};
use overlapped_testing::{dial, eventually, exchange, expect_end, read_to_end};
use serde_json::Value;

struct Echo;

impl Handler for Echo {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_>) {}

    fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) {
        session.send(data);
    }
}

/// A server with two workers, watched.
struct Fixture {
    server: ServerHandle,
    admin: AdminHandle,
}

impl Fixture {
    fn start() -> Fixture {
        let server = Server::bind("127.0.0.1:0").unwrap().workers(2).start(|_worker| Echo).unwrap();
        let admin = Admin::bind("127.0.0.1:0").unwrap().start(&server).unwrap();
        Fixture { server, admin }
    }

    fn address(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    fn get(&self, target: &str) -> Answer {
        self.get_with(target, "")
    }

    fn get_with(&self, target: &str, fields: &str) -> Answer {
        Answer::of(
            self.ask(&format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n")),
        )
    }

    /// Sends bytes on a connection of their own, and reads what comes until its end.
    fn ask(&self, text: &str) -> Vec<u8> {
        let mut stream = dial(self.address());
        // The server may have refused it before all was sent.
        let _ = stream.write_all(text.as_bytes());
        read_to_end(stream)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.server.drain(Duration::from_secs(5)).unwrap();
        self.admin.end();
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    fields: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn of(bytes: Vec<u8>) -> Answer {
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        let (line, fields) = head.split_once("\r\n").expect("fields");
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a field");
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Answer { status, fields: fields.lines().map(field).collect(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A sample of the metrics.
    fn sample(&self, name: &str) -> f64 {
        let line =
            self.body.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        let line = line.unwrap_or_else(|| panic!("no {name}: {}", self.body));
        line.rsplit_once(' ').unwrap().1.parse().expect("a number")
    }
}

#[test]
fn health() {
    let fixture = Fixture::start();
    let is = |path: &str| {
        let answer = fixture.get(path);
        (answer.status, answer.body)
    };
    assert_eq!(is("/live"), (200, "ok\n".to_owned()));
    assert_eq!(is("/ready"), (200, "ready\n".to_owned()));
    fixture.admin.set_ready(false);
    assert_eq!(is("/ready"), (503, "not ready\n".to_owned()));
    fixture.admin.set_ready(true);
    assert_eq!(is("/ready"), (200, "ready\n".to_owned()));
    // A session that still receives keeps the drain going.
    let mut client = dial(fixture.server.local_addr());
    exchange(&mut client, b"hello");
    fixture.server.begin_drain(Duration::from_secs(5));
    assert_eq!(is("/ready").0, 503, "from the moment that it is asked for");
    assert_eq!(is("/live").0, 200);
    drop(client);
    fixture.server.wait().unwrap();
    assert_eq!(is("/ready"), (503, "ended\n".to_owned()));
    assert_eq!(is("/live").0, 200);
}

#[test]
fn metrics_in_both_formats() {
    let fixture = Fixture::start();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(fixture.get("/metrics").sample("process_start_time_seconds") <= now, "not the first scrape's");
    let mut clients: Vec<TcpStream> = (0..4).map(|_| dial(fixture.server.local_addr())).collect();
    for client in &mut clients {
        exchange(client, &[7; 1000]);
    }
    let total = |answer: &Answer, name: &str| -> f64 {
        (0..2).map(|worker| answer.sample(&format!("{name}{{worker=\"{worker}\"}}"))).sum()
    };
    // Counters are published once per turn: the turn of the last echo may not be over.
    eventually("the counters say it", || {
        total(&fixture.get("/metrics"), "overlapped_sent_bytes_total") >= 4000.0
    });
    let prometheus = fixture.get("/metrics");
    let open = fixture.get_with("/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n");
    for (answer, content_type, family) in [
        (&prometheus, "text/plain; version=0.0.4; charset=utf-8", "overlapped_sent_bytes_total"),
        (&open, "application/openmetrics-text; version=1.0.0; charset=utf-8", "overlapped_sent_bytes"),
    ] {
        assert_eq!((answer.status, answer.fields["content-type"].as_str()), (200, content_type));
        assert_eq!(total(answer, "overlapped_sent_bytes_total"), 4000.0);
        assert_eq!(total(answer, "overlapped_sessions"), 4.0);
        assert_eq!(answer.sample("overlapped_ready"), 1.0);
        assert_eq!(answer.sample("overlapped_workers"), 2.0);
        assert!(answer.sample("process_start_time_seconds") > 1.7e9);
        assert!(answer.body.contains(&format!("# TYPE {family} counter\n")), "{}", answer.body);
        assert!(answer.body.ends_with("# EOF\n"));
        // Every family is typed and described once, and none is repeated.
        let families: Vec<&str> =
            answer.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let helps = answer.body.lines().filter(|line| line.starts_with("# HELP ")).count();
        let different: BTreeSet<&&str> = families.iter().collect();
        assert_eq!((families.len(), different.len()), (helps, helps));
    }
    assert!(open.body.contains("# UNIT overlapped_sent_bytes bytes\n"), "{}", open.body);
    assert!(!open.body.contains("In ns"), "the unit of the number in `Stats` is not the exported one");
}

#[test]
fn sessions_page_by_page() {
    let fixture = Fixture::start();
    let clients: Vec<TcpStream> = (0..7)
        .map(|_| {
            let mut client = dial(fixture.server.local_addr());
            exchange(&mut client, b"hello");
            client
        })
        .collect();
    let all = fixture.get("/sessions").json();
    assert_eq!((all["open"].as_u64(), all["next"].is_null()), (Some(7), true), "{all}");
    let peers = |document: &Value| -> Vec<String> {
        let rows = document["sessions"].as_array().expect("a list");
        rows.iter().map(|row| row["peer"].as_str().expect("a peer").to_owned()).collect()
    };
    let mut wanted: Vec<String> =
        clients.iter().map(|client| client.local_addr().unwrap().to_string()).collect();
    wanted.sort();
    let mut got = peers(&all);
    got.sort();
    assert_eq!(got, wanted);
    for row in all["sessions"].as_array().unwrap() {
        assert_eq!(
            (row["received_bytes"].as_u64(), row["activity"].as_str()),
            (Some(5), Some("open")),
            "{row}"
        );
        assert!(row["age_seconds"].as_f64().unwrap() < 60.0, "{row}");
        if cfg!(target_os = "linux") {
            assert!(row["tcp"]["congestion_window_bytes"].as_u64() > Some(0), "{row}");
        }
    }
    let (mut from, mut paged, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let document = fixture.get(&format!("/sessions?limit=2{from}")).json();
        paged.extend(peers(&document));
        pages += 1;
        match document["next"].as_str() {
            Some(next) => from = format!("&from={next}"),
            None => break,
        }
        assert!(pages < 20, "an end");
    }
    paged.sort();
    assert_eq!(paged, wanted, "each once, over all pages");
    assert!(pages >= 4, "{pages}");
    for wrong in
        ["limit=0", "limit=1001", "limit=x", "from=x", "from=1", "from=-1.0", "from=99999999999999999999.0"]
    {
        let answer = fixture.get(&format!("/sessions?{wrong}"));
        assert!(answer.status == 400 && answer.body.contains(wrong), "{wrong}: {answer:?}");
    }
    // Beyond the last worker there is nothing.
    assert_eq!(fixture.get("/sessions?from=9.0").json()["sessions"].as_array().map(Vec::len), Some(0));
}

/// However many ask at the same time, each gets all of it, from several pages of each worker.
#[test]
fn sessions_for_many_clients() {
    const SESSIONS: usize = 300;
    const ASKING: usize = 20;
    let fixture = Fixture::start();
    let mut clients: Vec<TcpStream> = (0..SESSIONS).map(|_| dial(fixture.server.local_addr())).collect();
    clients.iter_mut().for_each(|client| exchange(client, b"hello"));
    let request = "GET /sessions?limit=1000 HTTP/1.1\r\nHost: a\r\n";
    let mut asking: Vec<TcpStream> = (0..ASKING).map(|_| dial(fixture.address())).collect();
    for stream in &mut asking {
        write!(stream, "{request}\r\n{request}Connection: close\r\n\r\n").unwrap();
    }
    // One that does not wait for its answer holds nothing up.
    drop(asking.pop());
    for stream in asking {
        let text = String::from_utf8(read_to_end(stream)).unwrap();
        let documents: Vec<Value> = text
            .split("\r\n\r\n")
            .skip(1)
            .map(|part| serde_json::from_str(part.lines().next().unwrap()).expect("a document"))
            .collect();
        assert_eq!(documents.len(), 2, "{text}");
        for document in documents {
            let ids: BTreeSet<&str> = document["sessions"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|row| row["id"].as_str())
                .collect();
            assert_eq!((ids.len(), document["next"].is_null()), (SESSIONS, true));
        }
    }
}

/// `/live` is about the workers, too: an operator restarts what hangs.
#[test]
fn a_worker_that_hangs() {
    struct Blocks(Arc<Mutex<()>>);
    impl Handler for Blocks {
        type State = ();
        type Message = ();

        fn on_open(&mut self, _session: &mut Session<'_>) {}

        fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) {
            drop(self.0.lock().unwrap());
            session.send(data);
        }
    }
    let lock = Arc::new(Mutex::new(()));
    let blocks = Arc::clone(&lock);
    let server = Server::bind("127.0.0.1:0").unwrap().workers(1);
    let server = server.start(move |_| Blocks(Arc::clone(&blocks))).unwrap();
    let admin = Admin::bind("127.0.0.1:0").unwrap().start(&server).unwrap();
    let fixture = Fixture { server, admin };
    let guard = lock.lock().unwrap();
    let mut client = dial(fixture.server.local_addr());
    client.write_all(b"x").unwrap();
    assert_eq!(fixture.get("/live").status, 200, "not yet");
    eventually("it is noticed", || fixture.get("/live").status == 503);
    assert!(fixture.get("/live").body.contains("worker 0"));
    assert_eq!(fixture.get("/sessions").status, 503, "it is not waited for");
    drop(guard);
    client.read_exact(&mut [0]).unwrap();
    eventually("it is well again", || fixture.get("/live").status == 200);
    assert_eq!(fixture.get("/sessions").json()["open"], 1);
}

/// Live pages leave connections for probes.
#[test]
fn many_live_pages() {
    const VIEWERS: usize = 32;
    let fixture = Fixture::start();
    let view = || {
        let mut stream = dial(fixture.address());
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8_lossy(&status).into_owned())
    };
    let mut open: Vec<_> = (0..VIEWERS).map(|_| view()).collect();
    assert!(open.iter().all(|(_, status)| status == "HTTP/1.1 200"), "{open:?}");
    assert_eq!(view().1, "HTTP/1.1 503");
    assert_eq!(fixture.get("/live").status, 200);
    drop(open.pop());
    eventually("there is room for another", || view().1 == "HTTP/1.1 200");
}

#[test]
fn what_is_refused() {
    let fixture = Fixture::start();
    let status = |text: &str| Answer::of(fixture.ask(text)).status;
    assert_eq!(fixture.get("/nothing").status, 404);
    assert_eq!(status("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), 405);
    assert_eq!(status("GET /live HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(status("\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03\r\n\r\n"), 400);
    assert_eq!(status("GET /live HTTP/3.7\r\nHost: a\r\n\r\n"), 505);
    assert_eq!(status("GET /live nonsense\r\nHost: a\r\n\r\n"), 400);
    assert_eq!(status(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(100_000))), 414);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\na: {}\r\n", "a".repeat(100_000))), 431);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(100))), 431);
    assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"), 413);
    // Whatever came before, it goes on.
    assert_eq!(fixture.get("/live").status, 200);
}

#[test]
fn head_and_pipelined_requests() {
    let fixture = Fixture::start();
    let head = Answer::of(fixture.ask("HEAD /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let refused = Answer::of(fixture.ask("HEAD /metrics HTTP/1.1\r\n\r\n"));
    assert_eq!((refused.status, refused.body.as_str()), (400, ""), "no content here either");
    assert!(head.fields["content-length"].parse::<usize>().unwrap() > 1000);
    // Answers come in the order of the requests, whatever each has to wait for; and all of them, although the client has
    // ended its stream.
    let paths = ["/live", "/sessions", "/ready", "/sessions", "/nothing", "/live"];
    let mut stream = dial(fixture.address());
    let requests: String =
        paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n\r\n")).collect();
    // With an empty line behind each (RFC 9112, 2.2), and in pieces that end anywhere.
    for piece in requests.as_bytes().chunks(7) {
        stream.write_all(piece).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let text = String::from_utf8(read_to_end(stream)).unwrap();
    let statuses: Vec<&str> = text.matches("HTTP/1.1 ").collect();
    assert_eq!(statuses.len(), paths.len(), "{text}");
    let order: Vec<usize> = ["ok\n", "\"open\"", "ready\n", "404 Not Found"]
        .iter()
        .map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}")))
        .collect();
    assert!(order.is_sorted(), "{order:?}: {text}");
}

/// A client that sends requests and reads no answer is bounded: the server stops reading.
#[test]
fn a_client_that_does_not_read() {
    let fixture = Fixture::start();
    let mut stream = dial(fixture.address());
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let requests = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let mut sent = 0_usize;
    // Until nothing is taken any more.
    while sent < 1 << 30 {
        match stream.write(requests.as_bytes()) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    assert!(sent < 64 << 20, "{sent} bytes of requests");
    assert_eq!(fixture.get("/live").status, 200, "others are served");
    // It may go on, and gets whole answers.
    let mut first = [0; 15];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
}

/// Asks for `/live` on a connection that stays open.
fn exchange_status(stream: &mut TcpStream) {
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\nok\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        text.push(byte[0]);
    }
    assert!(text.starts_with(b"HTTP/1.1 200 OK"));
}

#[test]
fn a_head_that_does_not_end() {
    let fixture = Fixture::start();
    // Line ends alone, in two pieces, do not begin one.
    let mut idle = dial(fixture.address());
    exchange_status(&mut idle);
    for piece in [b"\r", b"\n"] {
        idle.write_all(piece).unwrap();
        fixture.get("/live");
    }
    let mut stream = dial(fixture.address());
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: a\r\n").unwrap();
    let answer = Answer::of(read_to_end(&mut stream));
    assert_eq!(answer.status, 408);
    exchange_status(&mut idle);
    // Nothing at all: an end of stream.
    expect_end(dial(fixture.address()));
}

#[test]
fn the_live_page_and_its_events() {
    let fixture = Fixture::start();
    let page = fixture.get("/");
    assert_eq!(page.fields["content-type"], "text/html; charset=utf-8");
    for foreign in ["http://", "https://", "//cdn"] {
        let outside = page.body.matches(foreign).count()
            - page.body.matches("http://www.w3.org/2000/svg").count() * usize::from(foreign == "http://");
        assert_eq!(outside, 0, "{foreign}: the page needs nothing but this server");
    }
    let mut stream = dial(fixture.address());
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut text = String::new();
    let mut read_until = |wanted: &str| {
        let mut piece = [0; 4096];
        while !text.contains(wanted) {
            let count = stream.read(&mut piece).expect("in time");
            assert!(count > 0, "{wanted}: {text}");
            text.push_str(std::str::from_utf8(&piece[..count]).expect("ASCII"));
        }
    };
    read_until("event: start\ndata: ");
    read_until("event: now\ndata: ");
    read_until("\"standing\":\"ready\"");
    fixture.server.begin_drain(Duration::ZERO);
    fixture.server.wait().unwrap();
    read_until("\"standing\":\"ended\"");
    fixture.admin.end();
    // The last word, and the end.
    text.push_str(std::str::from_utf8(&read_to_end(stream)).expect("ASCII"));
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    for (index, data) in data.enumerate() {
        let json: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
        let now = if index == 0 { &json["now"] } else { &json };
        assert_eq!(now["workers"].as_array().map(Vec::len), Some(2), "{json}");
    }
}
