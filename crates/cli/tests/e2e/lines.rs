//! The lines of `serve -v` and its warnings: time stamps, and JSON.

use std::io::Write;

use serde_json::Value;

use crate::peer::{dial, exchange};
use crate::process::{Keep, Process, stamp_len};
use crate::server::{Server, serve};

/// Whether a line begins with a time stamp, as read from a pipe.
pub(crate) fn text_has_time_stamps(backend: &str) {
    let process = Process::start_raw(serve(backend, &["-v", "--workers", "1"]), Keep::All);
    let first = process.stdout.line().expect("a first line");
    assert!(first.starts_with("listening on 127.0.0.1:"), "as it is: {first}");
    let server = Server::of(process, &first);
    exchange(&mut dial(server.address()), b"hello");
    for wanted in [" opened by 127.0.0.1:", " closed: "] {
        let line = server.line().expect("a line");
        assert!(stamp_len(line.as_bytes()) > 0 && line.contains(wanted), "{line}");
    }
    server.terminate();
    let ended = server.wait_for_all();
    assert!(ended.text().starts_with("served 1 session, "), "as it is: {ended:?}");
    assert!(stamp_len(ended.stderr.as_bytes()) > 0 && ended.stderr.contains(" draining, "), "{ended:?}");
}

/// One object per line, on both streams.
pub(crate) fn json(backend: &str) {
    let server =
        Server::start(backend, &["-v", "--workers", "1", "--log-format", "json", "--max-sessions", "1"]);
    let mut client = dial(server.address());
    exchange(&mut client, b"hello");
    let parsed = |line: Option<String>| -> Value {
        let line = line.expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let opened = parsed(server.line());
    assert_eq!((&opened["level"], &opened["event"]), (&"info".into(), &"opened".into()), "{opened}");
    assert_eq!(opened["peer"], client.local_addr().unwrap().to_string(), "{opened}");
    let time = opened["time"].as_str().expect("a time");
    assert_eq!(stamp_len(format!("{time} ").as_bytes()), time.len() + 1, "{time}");
    // One too many.
    let _ = dial(server.address()).write(b"hello");
    let rejected = parsed(server.line());
    assert_eq!(
        (&rejected["event"], &rejected["reason"]),
        (&"rejected".into(), &"session_limit".into()),
        "{rejected}"
    );
    let warning = parsed(server.error_line());
    assert_eq!((&warning["level"], &warning["event"]), (&"warning".into(), &"rejected".into()), "{warning}");
    assert!(warning["message"].as_str().is_some_and(|text| text.contains("--max-sessions")), "{warning}");
    drop(client);
    let closed = parsed(server.line());
    assert_eq!(closed["event"], "closed", "{closed}");
    assert_eq!((&closed["received_bytes"], &closed["sent_bytes"]), (&5.into(), &5.into()), "{closed}");
    assert_eq!(closed["session"], opened["session"]);
    server.terminate();
    let draining = parsed(server.error_line());
    assert_eq!(draining["level"], "info", "{draining}");
    let ended = server.wait();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.text().starts_with("served 1 session (and rejected 1), "), "as it is: {ended:?}");
}
