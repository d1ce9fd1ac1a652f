//! Limits: of sessions, of descriptors; and a stdout that nobody reads.

use std::io::Read;
use std::net::TcpStream;
#[cfg(target_os = "linux")]
use std::thread;
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use crate::peer::PATIENCE;
use crate::peer::{dial, eventually, exchange, noise};
use crate::server::Server;
#[cfg(target_os = "linux")]
use crate::server::{after, serve, serves_ten_and_ends};
#[cfg(target_os = "linux")]
use crate::system;

/// Beyond the limit a connection is closed at once and told; when one leaves, the next is served.
pub(crate) fn session_limit(backend: &str) {
    let server = Server::start(backend, &["--max-sessions", "5", "--workers", "2", "-v"]);
    let mut clients: Vec<TcpStream> = Vec::new();
    for number in 0..5 {
        let mut client = dial(server.address());
        exchange(&mut client, noise(number, 1000));
        clients.push(client);
    }
    let mut sixth = dial(server.address());
    assert!(!matches!(sixth.read(&mut [0]), Ok(1..)), "closed at once");
    let mut line = String::new();
    while !line.contains("rejected") {
        line = server.line().expect("the rejection is told");
    }
    clients.iter_mut().for_each(|client| exchange(client, b"untouched"));
    drop(clients.pop());
    let mut served = None;
    eventually("the place that became free is given away", || {
        let mut client = dial(server.address());
        served = std::io::Write::write_all(&mut client, b"x")
            .and_then(|()| client.read_exact(&mut [0]))
            .is_ok()
            .then_some(client);
        served.is_some()
    });
    clients.extend(served);
    clients.iter_mut().for_each(|client| exchange(client, b"untouched"));
    let summary = server.end_well();
    assert_eq!(summary.sessions, 6, "rejected connections are no sessions");
}

/// A limit that leaves hardly any room: it serves a few, or says in one line what to do.
#[cfg(target_os = "linux")]
pub(crate) fn sixteen_descriptors(backend: &str) {
    for workers in ["1", "2", "8"] {
        let command = after("ulimit -n 16", &serve(backend, &["--workers", workers]));
        match Server::launch(command) {
            Ok(server) => {
                exchange(&mut dial(server.address()), noise(0, 100_000));
                server.end_well();
            }
            Err(ended) => {
                assert_eq!((ended.status, ended.text().as_str()), (Some(1), ""), "{ended:?}");
                assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
                assert!(ended.stderr.contains("ulimit -n"), "{ended:?}");
            }
        }
    }
}

/// More connections than descriptors: the rest waits in the backlog, nothing spins, and as sessions leave, others
/// are served.
#[cfg(target_os = "linux")]
pub(crate) fn thirty_two_descriptors(backend: &str) {
    const CLIENTS: usize = 60;
    // A session limit far above what the descriptors allow, so that they do run out.
    let command = after("ulimit -n 32", &serve(backend, &["--workers", "1", "--max-sessions", "1000"]));
    let server = Server::launch(command).unwrap_or_else(|ended| panic!("{ended:?}"));
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| dial(server.address())).collect();
    for client in &mut clients {
        std::io::Write::write_all(client, b"here").expect("the backlog takes it");
    }
    let warning = server.error_line().expect("it says that these are too many");
    assert!(warning.starts_with("warning: --max-sessions 1000 needs 1"), "{warning:?}");
    for wanted in
        ["and the limit is 32: accepting will pause at about ", "`ulimit -n 1", "or lower --max-sessions"]
    {
        assert!(warning.contains(wanted), "{wanted}: {warning:?}");
    }
    let warning = server.error_line().expect("it says that accepting pauses");
    assert!(
        warning.contains("accepting pauses") && warning.contains("or lower --max-sessions"),
        "{warning:?}"
    );
    let served = |client: &mut TcpStream, wait: Duration| {
        client.set_read_timeout(Some(wait)).unwrap();
        client.read_exact(&mut [0; 4]).is_ok()
    };
    let mut inside = Vec::new();
    for index in (0..clients.len()).rev() {
        if served(&mut clients[index], Duration::from_millis(20)) {
            inside.push(clients.swap_remove(index));
        }
    }
    assert!(inside.len() >= 10, "only {} of {CLIENTS} are served", inside.len());
    assert!(!clients.is_empty(), "more are served than there are descriptors");
    // Not a wait: processor time over an interval is what is measured. A spin would take all of it.
    let (before, began) = (system::ticks(server.pid()), Instant::now());
    thread::sleep(Duration::from_millis(1000));
    let (used, took) = (system::ticks(server.pid()) - before, began.elapsed());
    assert!(used <= 20, "{used} ticks of 10 ms in {took:?}: it spins");
    inside.iter_mut().for_each(|client| exchange(client, b"still served"));
    // As some leave, others come in, until all were served.
    while let Some(client) = inside.pop() {
        drop(client);
        if !clients.is_empty() {
            let mut next = None;
            let deadline = Instant::now() + PATIENCE;
            while next.is_none() {
                assert!(Instant::now() < deadline, "{} are never served", clients.len());
                next = (0..clients.len()).find(|at| served(&mut clients[*at], Duration::from_millis(5)));
            }
            let mut client = clients.swap_remove(next.expect("found"));
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            exchange(&mut client, b"hello");
            inside.insert(0, client);
        }
    }
    assert!(clients.is_empty());
    let summary = server.end_well();
    assert_eq!(summary.sessions, CLIENTS as u64);
}

/// The reader of its stdout goes away after the first line: the server serves on, says nothing about it, and ends
/// well. With `-v` there is something to print all the time.
pub(crate) fn stdout_without_reader(backend: &str) {
    let server = Server::start_unread(backend, &["-v"]);
    for number in 0..10 {
        exchange(&mut dial(server.address()), noise(number, 10_000));
    }
    let ended = server.end();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
}

/// The same without any stdout.
#[cfg(target_os = "linux")]
pub(crate) fn stdout_closed(backend: &str) {
    use crate::process::{Keep, Process};
    let process = Process::start(after("exec >&-", &serve(backend, &["-v"])), Keep::All);
    let ended = serves_ten_and_ends(process);
    let wanted = (Some(0), "", "");
    assert_eq!((ended.status, ended.text().as_str(), ended.stderr.as_str()), wanted, "{ended:?}");
}
