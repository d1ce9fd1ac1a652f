//! Signals that a wrapper, a terminal or a limit of the system sends.

use std::io::{Read, Write};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::drain::{ONE_REQUEST, hold_up};
use crate::peer::{dial, eventually_refused, exchange, noise};
use crate::process::{Keep, Process};
use crate::server::{Server, Summary, after, binary, serve};

/// `timeout` signals its child and then the child's group; a terminal that is closed sends SIGHUP, and its shell more.
/// Whoever is owed something still gets it.
pub(crate) fn several_at_once_are_one(backend: &str) {
    let server = Server::start(backend, &["--drain-timeout", "1m"]);
    let mut held = hold_up(server.address());
    // Stopped, it meets them all at once, however busy this machine is.
    server.signal(Signal::STOP);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        server.signal(signal);
    }
    server.signal(Signal::CONT);
    held.set_nonblocking(false).unwrap();
    let read = std::io::copy(&mut held, &mut std::io::sink()).expect("an end of stream, not a reset");
    let ended = server.wait();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let wanted = Summary { sessions: 1, bytes: read, drained: 1, cut: 0, lost: 0 };
    assert_eq!(Summary::of(&ended), wanted, "{ended:?}");
}

/// SIGHUP drains as SIGTERM does.
pub(crate) fn hangup_drains(backend: &str) {
    let server = Server::start(backend, &[]);
    let mut client = dial(server.address());
    exchange(&mut client, b"served");
    server.signal(Signal::HUP);
    assert_eq!(client.read(&mut [0]).expect("a graceful close"), 0);
    let ended = server.wait();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let wanted = Summary { sessions: 1, bytes: 6, drained: 1, cut: 0, lost: 0 };
    assert_eq!(Summary::of(&ended), wanted, "{ended:?}");
}

/// As under `nohup`: neither a drain nor an end, and no first request either.
pub(crate) fn ignored_hangup_stays_ignored(backend: &str) {
    let server = Server::launch(after("trap '' HUP", &serve(backend, &[]))).expect("it starts");
    let mut client = dial(server.address());
    for _ in 0..3 {
        server.signal(Signal::HUP);
        // The answer comes after whatever SIGHUP would have done.
        server.now();
        exchange(&mut client, b"still served");
        exchange(&mut dial(server.address()), b"and others");
    }
    drop(client);
    let ended = server.end();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(Summary::of(&ended).sessions, 4);
}

/// A file that may not grow any more ends neither the server nor the client, and the trace is whole as far as it goes.
pub(crate) fn file_size_limit(backend: &str) {
    let mut path = std::env::temp_dir();
    path.push(format!("overlapped-limited-{}-{backend}.json", std::process::id()));
    let trace = path.to_str().unwrap();
    let command = after("ulimit -f 16", &serve(backend, &["--trace", trace]));
    let server = Server::launch(command).expect("it starts");
    let mut client = dial(server.address());
    exchange(&mut client, noise(0, 1_000_000));
    let warning = server.error_line().expect("it says so");
    assert!(warning.starts_with("warning: the trace ends here: "), "{warning}");
    exchange(&mut client, noise(1, 1_000_000));

    let echo = std::fs::File::create(path.with_extension("echo")).unwrap();
    let limited = after("ulimit -f 16", &binary(["client".to_owned(), server.address().to_string()]));
    let mut process = Process::start_into(limited, Keep::All, echo, std::process::Stdio::piped());
    process.feed(b"a line\n".repeat(10_000));
    let ended = process.wait();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.starts_with("error: cannot write the echo to stdout: "), "{ended:?}");
    assert!(ended.stderr.contains("`ulimit -f`"), "it says what to do: {ended:?}");

    client.write_all(b"the end").unwrap();
    drop(client);
    let ended = server.end();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(1), ""), "said once: {ended:?}");
    let text = std::fs::read_to_string(&path).expect("a trace");
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(path.with_extension("echo")).unwrap();
    let trace: Vec<Value> = serde_json::from_str(&text).expect("a whole array");
    assert!(trace.len() > 10, "{} events", trace.len());
}

/// Ended at once, a server leaves a trace that is a whole array all the same.
pub(crate) fn trace_when_ended_at_once(backend: &str) {
    let mut path = std::env::temp_dir();
    path.push(format!("overlapped-ended-{}-{backend}.json", std::process::id()));
    let server = Server::start(backend, &["--drain-timeout", "10m", "--trace", path.to_str().unwrap()]);
    let address = server.address();
    let held = hold_up(address);
    server.terminate();
    eventually_refused(address);
    // Not a wait: the time between the two is what makes them two.
    thread::sleep(ONE_REQUEST);
    server.terminate();
    let ended = server.wait();
    assert_eq!(
        (ended.status, ended.stderr.as_str()),
        (Some(1), "ended at once: 1 session cut\n"),
        "{ended:?}"
    );
    let text = std::fs::read_to_string(&path).expect("a trace");
    std::fs::remove_file(&path).unwrap();
    let trace: Vec<Value> = serde_json::from_str(&text).expect("a whole array");
    assert!(trace.iter().any(|event| event["name"] == "session" && event["ph"] == "b"));
    drop(held);
}
