//! `serve --admin`: what operators and load balancers ask, while the server serves and while it ends.

use std::io::{Read, Write};
use std::net::SocketAddr;

use serde_json::Value;

use crate::peer::{dial, eventually, exchange, noise, read_to_end};
use crate::server::{Server, Summary};

/// A server with `--admin`, and where that is.
struct Watched {
    server: Server,
    admin: SocketAddr,
}

impl Watched {
    fn start(backend: &str, args: &[&str]) -> Watched {
        let server = Server::start(backend, &[&["--admin", "127.0.0.1:0"], args].concat());
        let line = server.line().expect("a line after the addresses");
        let admin = line.strip_prefix("admin on http://").and_then(|rest| rest.strip_suffix('/'));
        let admin = admin.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        Watched { server, admin }
    }

    /// Status and body.
    fn get(&self, path: &str) -> (u16, String) {
        get(self.admin, path).expect("it answers")
    }
}

/// `None` if nothing listens there any more, the connection ends early, or something else has got the port.
fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(crate::peer::PATIENCE)).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.strip_prefix("HTTP/1.1 ")?.split_once("\r\n\r\n")?;
    Some((head.split(' ').next()?.parse().expect("a status"), body.to_owned()))
}

/// The sum of a metric over the workers.
fn sum(text: &str, name: &str) -> f64 {
    let samples =
        text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
    let values: Vec<f64> = samples.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
    assert!(!values.is_empty(), "no {name}: {text}");
    values.iter().sum()
}

/// The numbers are the server's, and each session is listed with its client's address.
pub(crate) fn numbers_and_sessions(backend: &str) {
    let watched = Watched::start(backend, &["--workers", "2"]);
    let mut clients: Vec<_> = (0..20).map(|_| dial(watched.server.address())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        exchange(client, noise(number, 1_000));
    }
    // Workers publish their numbers at the end of a turn.
    eventually("all is counted", || {
        let (status, text) = watched.get("/metrics");
        assert_eq!(status, 200, "{text}");
        sum(&text, "overlapped_sent_bytes_total") == 20_000.0 && sum(&text, "overlapped_sessions") == 20.0
    });
    let (mut peers, mut path) = (Vec::new(), "/sessions?limit=7".to_owned());
    for _ in 0..10 {
        let (status, text) = watched.get(&path);
        assert_eq!(status, 200, "{text}");
        let page: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(page["open"], 20, "{page}");
        for session in page["sessions"].as_array().expect("a list") {
            assert_eq!(
                (&session["received_bytes"], &session["activity"]),
                (&1_000.into(), &"open".into()),
                "{page}"
            );
            peers.push(session["peer"].as_str().expect("an address").to_owned());
        }
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/sessions?limit=7&from={next}");
    }
    let mut wanted: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap().to_string()).collect();
    wanted.sort();
    peers.sort();
    assert_eq!(peers, wanted);
    drop(clients);
    watched.server.end_well();
}

/// `/ready` fails at once, and for as long as the delay takes, connections are accepted and served; then comes the drain.
pub(crate) fn a_delay_before_the_drain(backend: &str) {
    let watched = Watched::start(backend, &["--drain-delay", "6s"]);
    assert_eq!(watched.get("/ready"), (200, "ready\n".to_owned()));
    let mut early = dial(watched.server.address());
    exchange(&mut early, b"early");
    watched.server.terminate();
    eventually("it says that it is not ready", || watched.get("/ready") == (503, "not ready\n".to_owned()));
    let mut late = dial(watched.server.address());
    exchange(&mut late, b"late, and served");
    exchange(&mut early, b"as before");
    // The drain ends both.
    assert_eq!((read_to_end(&mut early), read_to_end(&mut late)), (Vec::new(), Vec::new()));
    let ended = watched.server.wait_for_all();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let wanted = Summary { sessions: 2, bytes: 30, drained: 2, cut: 0, lost: 0 };
    assert_eq!(Summary::of(&ended), wanted, "{ended:?}");
    let notice = "not ready any more; draining in 6 s, up to 10 s; a second signal ends at once\n";
    assert_eq!(ended.stderr, notice);
}

/// Until the last session has ended, it answers: not ready, but alive.
pub(crate) fn ready_says_no_to_the_end(backend: &str) {
    let watched = Watched::start(backend, &["--drain-timeout", "1m"]);
    let mut held = crate::drain::hold_up(watched.server.address());
    watched.server.terminate();
    eventually("a drain is asked for", || watched.get("/ready") == (503, "draining\n".to_owned()));
    assert_eq!(watched.get("/live"), (200, "ok\n".to_owned()));
    held.set_nonblocking(false).unwrap();
    std::io::copy(&mut held, &mut std::io::sink()).expect("an end of stream");
    drop(held);
    let (server, admin) = (watched.server, watched.admin);
    let ended = server.wait();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(get(admin, "/live"), None, "it ends with the program");
}
