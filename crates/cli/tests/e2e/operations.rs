//! What passes between a worker and its system, seen by who asked for it; and spinning instead of sleeping.

use std::collections::HashMap;

use serde_json::Value;

use crate::peer::{dial, exchange, noise};
use crate::server::{Server, serve};
#[cfg(target_os = "linux")]
use crate::system;

/// A line for each step, in the system's own words, on stderr: stdout begins with the addresses.
pub(crate) fn log_ops(backend: &str) {
    let server = Server::start(backend, &["--log-ops", "--workers", "1"]);
    let mut client = dial(server.address());
    exchange(&mut client, b"hello");
    drop(client);
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let words: &[&str] = match backend {
        "io_uring" => &[
            "ACCEPT sqe: submitted",
            "RECV sqe: submitted",
            "RECV cqe: 5 bytes, stays in flight",
            "SEND sqe: submitted, 5 bytes",
            "SEND cqe: 5 bytes",
            "RECV cqe: end of stream",
            "close: done",
            "ASYNC_CANCEL sqe: asked to end",
            "ACCEPT cqe: cancelled",
        ],
        "iocp" => &[
            "AcceptEx: submitted",
            "AcceptEx: done",
            "WSARecv: ",
            "WSARecv: 5 bytes",
            "WSASend: ",
            "WSASend: 5 bytes",
            "WSARecv: end of stream",
            "closesocket: done",
            "CancelIoEx: asked to end",
            "AcceptEx: cancelled",
        ],
        _ => &[
            "accept: submitted",
            "recv: submitted",
            "recv: 5 bytes",
            "send: 5 bytes",
            "recv: end of stream",
            "close: done",
            "accept: cancelled",
        ],
    };
    let mut from = 0;
    for word in words {
        let at = ended.stderr[from..].find(word);
        from += at.unwrap_or_else(|| panic!("no {word:?}, or not in this order, in {}", ended.stderr));
    }
}

/// JSON as Perfetto reads it: every slice that begins also ends, on its own track.
pub(crate) fn trace_file(backend: &str) {
    let path = std::env::temp_dir().join(format!("overlapped-trace-{}-{backend}.json", std::process::id()));
    let server = Server::start(backend, &["--quiet", "--trace", path.to_str().unwrap()]);
    for number in 0..10 {
        let mut client = dial(server.address());
        exchange(&mut client, noise(number, 50_000));
    }
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let text = std::fs::read_to_string(&path).expect("a trace");
    std::fs::remove_file(&path).unwrap();
    let trace: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let mut open: HashMap<(String, String, String), i64> = HashMap::new();
    let mut begun = 0;
    for event in &trace {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let by = match text("ph").as_str() {
            "b" | "B" => 1,
            "e" | "E" => -1,
            _ => 0,
        };
        begun += i64::from(by == 1 && text("cat") == "session");
        let track = if text("cat").is_empty() { event["tid"].to_string() } else { text("id") };
        let depth = open.entry((track, text("cat"), text("name"))).or_default();
        *depth += by;
        assert!((0..=1).contains(depth), "it ends after it began: {event}");
    }
    assert!(open.values().all(|depth| *depth == 0), "{open:?}");
    assert_eq!(begun, 10, "a slice for each session");
}

/// Nothing that the server opens goes to a program that somebody in its process executes: listeners and their
/// duplicates, rings or pollers, what wakes them, sessions, the trace. Only the three standard streams do.
#[cfg(target_os = "linux")]
pub(crate) fn nothing_is_inherited(backend: &str) {
    let path = std::env::temp_dir().join(format!("overlapped-inherited-{}-{backend}", std::process::id()));
    let more = ["--bind", "127.0.0.1:0", "--workers", "2", "--trace", path.to_str().unwrap()];
    let server = Server::launch_on(serve(backend, &more), 2).unwrap_or_else(|ended| panic!("{ended:?}"));
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(dial(server.addresses[number % 2]));
        exchange(&mut clients[number], noise(number, 5000));
    }
    assert!(server.descriptors() > clients.len() + 2 + 2 + 2, "sessions, listeners, duplicates, rings");
    // What this process itself was given without the flag, it hands on.
    let given: Vec<u32> = system::inheritable(std::process::id()).into_iter().map(|(fd, _)| fd).collect();
    let mut inheritable = system::inheritable(server.pid());
    let standard = inheritable.iter().filter(|(fd, _)| *fd < 3).count();
    assert_eq!(standard, 3, "this looks at what it should: {inheritable:?}");
    inheritable.retain(|(fd, _)| *fd >= 3 && !given.contains(fd));
    assert_eq!(inheritable, [], "each of them would hold a connection or a port open");
    drop(clients);
    server.end_well();
    std::fs::remove_file(&path).unwrap();
}

/// A trace that cannot be made is told before anything listens; one that cannot be written does not end the server.
pub(crate) fn trace_without_room(backend: &str) {
    let ended = match Server::launch(serve(backend, &["--trace", "/no/such/directory/t.json"])) {
        Err(ended) => ended,
        Ok(_) => panic!("it has no trace"),
    };
    assert_eq!(ended.status, Some(1));
    assert!(
        ended.stderr.starts_with("error: cannot write the trace /no/such/directory/t.json: "),
        "{ended:?}"
    );
    let server = Server::start(backend, &["--trace", "/dev/full"]);
    exchange(&mut dial(server.address()), noise(0, 1_000_000));
    let ended = server.end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert_eq!(ended.stderr.matches("warning: the trace ends here").count(), 1, "{ended:?}");
}

/// It spins while there is something to do and for a while after, then sleeps like any other.
#[cfg(target_os = "linux")]
pub(crate) fn busy_poll(backend: &str) {
    use crate::peer::eventually;
    use crate::system;
    let server = Server::start(backend, &["--busy-poll", "50ms", "--workers", "1"]);
    let mut client = dial(server.address());
    exchange(&mut client, noise(0, 100_000));
    let (mut seen, mut quiet) = (system::switches(server.pid()), 0);
    eventually("it sleeps in the end", || {
        let now = system::switches(server.pid());
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
        quiet > 40
    });
    exchange(&mut client, b"and wakes up again");
    drop(client);
    server.end_well();
    // With a longer time it does not sleep at all between two messages.
    let server = Server::start(backend, &["--busy-poll", "1h", "--workers", "1"]);
    let mut client = dial(server.address());
    exchange(&mut client, b"hello");
    let used = system::ticks(server.pid());
    eventually("it spins", || system::ticks(server.pid()) > used + 10);
    drop(client);
    server.end_well();
}

/// Each worker on a processor of its own, in order, and from the first one again; no other thread, and without the flag
/// none.
#[cfg(target_os = "linux")]
pub(crate) fn pinned_workers(backend: &str) {
    use crate::system::{processors, processors_of_threads};
    let all = processors(std::process::id());
    let workers = (all.len() + 2).to_string();
    for (flags, pinned) in [(&["--pin", "--workers", &workers][..], true), (&["--workers", &workers], false)]
    {
        let server = Server::start(backend, flags);
        let mut seen = 0;
        for (name, allowed) in processors_of_threads(server.pid()) {
            let index = name.strip_prefix("worker-").map(|index| index.parse::<usize>().unwrap());
            let wanted = match index.filter(|_| pinned) {
                Some(index) => vec![all[index % all.len()]],
                None => all.clone(),
            };
            assert_eq!(allowed, wanted, "{name}, {flags:?}");
            seen += usize::from(index.is_some());
        }
        assert_eq!(seen, all.len() + 2, "every worker is looked at");
        exchange(&mut dial(server.address()), noise(0, 10_000));
        server.end_well();
    }
}
