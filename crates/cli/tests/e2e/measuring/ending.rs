//! The end of a run that does not come by itself, and outputs that cannot be written.

use std::fs::File;
use std::io::pipe;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use overlapped_testing::{Fault, FaultyServer, Place, Which, eventually};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::{Report, load};
use crate::process::{Ended, Keep, Process, run};
use crate::readers::{fill, rest};
#[cfg(target_os = "linux")]
use crate::server::after;

/// A run that would last an hour.
const LONG: [&str; 6] = ["--duration", "1h", "--warmup", "0s", "--connections", "4"];
/// A short one.
const SHORT: [&str; 6] = ["--duration", "1s", "--warmup", "0s", "--connections", "4"];

/// Ctrl-C: what was measured so far is reported.
pub(crate) fn interrupted(backend: &str) {
    for rate in [&["--rate", "2000"][..], &[]] {
        let server = FaultyServer::correct();
        let args = [&LONG[..], &["--json", "-"], rate].concat();
        let mut process = Process::start(load(backend, server.address(), &args), Keep::All);
        eventually("it is served", || server.echoed() > 64 * 200);
        process.signal(rustix::process::Signal::INT);
        let report = Report::of(process.wait());
        report.is_clean();
        assert!(report.number("duration_seconds") < 60.0, "{report:?}");
    }
}

/// A second Ctrl-C does not wait for what is still on its way.
pub(crate) fn interrupted_twice(backend: &str) {
    let server = FaultyServer::start(&[(Place::Offset(Which::All, 6400), Fault::Mute)]);
    let args = [&LONG[..], &["--reply-timeout", "1h"]].concat();
    let mut process = Process::start(load(backend, server.address(), &args), Keep::All);
    eventually("nothing comes any more", || server.record().done.len() == 4);
    process.signal(rustix::process::Signal::INT);
    // The time between the two is what makes them two.
    std::thread::sleep(Duration::from_millis(600));
    // It may have ended by then.
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_raw(process.pid() as i32).expect("a number"),
        rustix::process::Signal::INT,
    );
    let ended = process.wait();
    assert!(ended.status.is_some(), "an exit status, not a signal: {ended:?}");
}

/// Neither leaves an empty file behind, nor removes or changes one that was there before.
#[test]
fn interrupted_twice_leaves_no_empty_file() {
    let at = std::env::temp_dir().join(format!("overlapped-ended-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&at);
    std::fs::create_dir(&at).unwrap();
    let path = |name: &str| at.join(name).to_str().unwrap().to_owned();
    let (json, html, hdr) = (path("new.json"), path("link.html"), path("earlier.hdr"));
    std::fs::write(&hdr, "earlier").unwrap();
    std::os::unix::fs::symlink("new.html", &html).unwrap();
    let server = FaultyServer::start(&[(Place::Offset(Which::All, 6400), Fault::Mute)]);
    let args =
        [&LONG[..], &["--reply-timeout", "1h", "--json", &json, "--html", &html, "--hdr", &hdr]].concat();
    // What is owed is waited for, for a second; then the table waits for its reader, and the files for the table.
    let (reader, writer) = pipe().unwrap();
    fill(&writer);
    let command = load("auto", server.address(), &args);
    let mut process = Process::start_into(command, Keep::Nothing, writer, Stdio::piped());
    eventually("nothing comes any more", || server.record().done.len() == 4);
    assert!(std::fs::metadata(&json).is_ok_and(|file| file.len() == 0), "it is open");
    process.signal(rustix::process::Signal::INT);
    let first = process.stderr.line().expect("an answer");
    assert_eq!(first, "ending early; a second Ctrl-C ends at once");
    // The time between the two is what makes them two.
    std::thread::sleep(Duration::from_millis(600));
    process.signal(rustix::process::Signal::INT);
    let ended = process.wait();
    let says = "error: ended at once; nothing is reported\n";
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(1), says), "{ended:?}");
    assert_eq!(rest(reader), "", "no table");
    let left = std::fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name());
    let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["earlier.hdr", "link.html"]);
    assert_eq!(std::fs::read_to_string(&hdr).unwrap(), "earlier");
    std::fs::remove_dir_all(at).unwrap();
}

/// A pipe that nothing reads yet is waited for. That is said, and a Ctrl-C ends it.
#[test]
fn a_pipe_without_a_reader() {
    let pipe = std::env::temp_dir().join(format!("overlapped-pipe-{}", std::process::id()));
    let _ = std::fs::remove_file(&pipe);
    let name = pipe.to_str().unwrap();
    let made = run(
        {
            let mut command = std::process::Command::new("mkfifo");
            command.arg(name);
            command
        },
        b"",
    );
    assert_eq!(made.status, Some(0), "{made:?}");
    let server = FaultyServer::correct();
    let start = || {
        let args = [&SHORT[..], &["--json", name]].concat();
        let process = Process::start(load("auto", server.address(), &args), Keep::All);
        let line = process.stderr.line().expect("a line");
        assert_eq!(line, format!("waiting until something reads {name}; Ctrl-C ends this"));
        process
    };
    let mut process = start();
    process.signal(rustix::process::Signal::INT);
    let ended = process.wait();
    assert_eq!(ended.status, Some(1), "the arguments are right: {ended:?}");
    assert!(ended.stderr.contains("nothing reads it"), "{ended:?}");
    assert_eq!(server.echoed(), 0, "nothing was measured");
    let mut process = start();
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&pipe).unwrap()).expect("whole");
    assert!(report["messages"].as_u64().is_some_and(|messages| messages > 0), "{report:#}");
    let ended = process.wait();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    std::fs::remove_file(pipe).unwrap();
}

/// Files that were asked for are whole when it was interrupted, by any signal that asks for an end.
#[test]
fn files_of_an_interrupted_run_are_whole() {
    use rustix::process::Signal;
    for signal in [Signal::INT, Signal::TERM] {
        let server = FaultyServer::correct();
        let path = |kind: &str| {
            let name = format!("overlapped-interrupted-{}-{}.{kind}", std::process::id(), signal.as_raw());
            std::env::temp_dir().join(name)
        };
        let (json, html, hdr) = (path("json"), path("html"), path("hdr"));
        let files = [("--json", &json), ("--html", &html), ("--hdr", &hdr)];
        let files: Vec<&str> =
            files.iter().flat_map(|(flag, path)| [*flag, path.to_str().unwrap()]).collect();
        let args = [&LONG[..], &files].concat();
        let mut process = Process::start(load("auto", server.address(), &args), Keep::All);
        eventually("it is served", || server.echoed() > 64 * 200);
        process.signal(signal);
        let ended = process.wait();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert!(ended.text().contains("messages"), "a table: {ended:?}");
        let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).expect("whole");
        assert!(report["messages"].as_u64().is_some_and(|messages| messages > 0), "{report:#}");
        let page = std::fs::read_to_string(&html).unwrap();
        assert!(
            page.to_lowercase().starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"),
            "{page}"
        );
        let histogram = std::fs::read_to_string(&hdr).unwrap();
        assert!(histogram.starts_with("#[") && histogram.ends_with('\n'), "{histogram}");
        for path in [json, html, hdr] {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// Nobody reads it: no error. What is wrong with the server still is.
#[test]
fn stdout_without_a_reader() {
    for (rules, status) in [(&[][..], 0), (&[(Place::Offset(Which::Number(0), 64), Fault::Flip)], 1)] {
        let server = FaultyServer::start(rules);
        let command = || load("auto", server.address(), &SHORT);
        let ended = Process::start(command(), Keep::Nothing).wait();
        assert_eq!(ended.status, Some(status), "{ended:?}");
        assert!(!ended.stderr.contains("cannot write"), "{ended:?}");
        let server = FaultyServer::start(rules);
        #[cfg(target_os = "linux")]
        for closed in ["exec >&-", "exec >&- 2>&-"] {
            let ended = run(after(closed, &load("auto", server.address(), &SHORT)), b"");
            assert!(ended.status.is_some_and(|status| status <= 1), "{ended:?}");
            assert!(!ended.stderr.contains("cannot write"), "{ended:?}");
        }
    }
}

/// An address that refuses connections. The socket reserves its port.
fn nowhere() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[track_caller]
fn cannot_write(ended: &Ended, what: &str) {
    assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    let wanted = format!("error: cannot write {what}: ");
    assert!(ended.stderr.starts_with(&wanted), "{wanted}: {ended:?}");
}

/// A full disk.
#[cfg(target_os = "linux")]
#[test]
fn outputs_do_not_fit() {
    let server = FaultyServer::correct();
    let full = || File::options().write(true).open("/dev/full").expect("full(4)");
    for more in [&[][..], &["--json", "-"], &["--html", "-"], &["--hdr", "-"]] {
        let command = load("auto", server.address(), &[&SHORT[..], more].concat());
        let ended = Process::start_into(command, Keep::All, full(), Stdio::piped()).wait();
        assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{more:?}: {ended:?}");
        assert!(ended.stderr.contains("to stdout: No space left on device"), "{more:?}: {ended:?}");
    }
    for flag in ["--json", "--html", "--hdr"] {
        let ended = run(load("auto", server.address(), &[&SHORT[..], &[flag, "/dev/full"]].concat()), b"");
        cannot_write(&ended, "/dev/full");
        assert!(ended.text().contains("messages"), "the table is there all the same: {ended:?}");
        assert!(ended.stderr.contains("make room"), "{ended:?}");
    }
    let path = std::env::temp_dir().join(format!("overlapped-limited-{}.html", std::process::id()));
    let name = path.to_str().unwrap();
    let page = load("auto", server.address(), &[&SHORT[..], &["--html", name]].concat());
    cannot_write(&run(after("ulimit -f 1", &page), b""), name);
    let _ = std::fs::remove_file(path);
}

/// One output that fails loses no other, and no verdict.
#[cfg(target_os = "linux")]
#[test]
fn an_output_that_fails_loses_no_other() {
    let server = FaultyServer::correct();
    let path =
        |kind: &str| std::env::temp_dir().join(format!("overlapped-others-{}.{kind}", std::process::id()));
    let (json, html) = (path("json"), path("html"));
    let full = || File::options().write(true).open("/dev/full").expect("full(4)");
    let command = load("auto", server.address(), &[&SHORT[..], &["--json", json.to_str().unwrap()]].concat());
    let ended = Process::start_into(command, Keep::All, full(), Stdio::piped()).wait();
    assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(ended.stderr.contains("to stdout: No space left on device"), "{ended:?}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).expect("whole");
    assert_eq!(report["errors"], 0, "{report:#}");
    let more = ["--json", "/dev/full", "--html", html.to_str().unwrap(), "--assert", "errors==1"];
    let ended = run(load("auto", server.address(), &[&SHORT[..], &more].concat()), b"");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!((ended.status, lines.len()), (Some(1), 2), "{ended:?}");
    assert!(
        lines[0].starts_with("error: cannot write /dev/full: ") && lines[0].contains("make room"),
        "{ended:?}"
    );
    assert_eq!(lines[1], "error: errors==1 does not hold: 0", "{ended:?}");
    assert!(std::fs::read_to_string(&html).unwrap().trim_end().ends_with("</html>"));
    for path in [json, html] {
        std::fs::remove_file(path).unwrap();
    }
}

/// In the warm-up: it says what happened, and does not blame the server.
#[test]
fn interrupted_before_an_echo_was_measured() {
    let server = FaultyServer::correct();
    let args = ["--duration", "1h", "--warmup", "1h", "--connections", "4"];
    let mut process = Process::start(load("auto", server.address(), &args), Keep::All);
    eventually("it is served", || server.echoed() > 64 * 200);
    process.signal(rustix::process::Signal::INT);
    let ended = process.wait();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("error: it was interrupted before an echo was measured"), "{ended:?}");
    assert!(!ended.stderr.contains("--duration"), "{ended:?}");
}

/// A link to a file that does not exist yet is the user's, whatever comes of the run.
#[test]
fn a_run_that_fails_keeps_a_link() {
    let link = std::env::temp_dir().join(format!("overlapped-link-{}.json", std::process::id()));
    let file = link.with_extension("target");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let (_refuses, nowhere) = nowhere();
    let ended = run(load("auto", nowhere, &["--json", link.to_str().unwrap()]), b"");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(link.is_symlink() && !file.exists(), "{ended:?}");
    std::fs::remove_file(link).unwrap();
}

/// A file that cannot be made is an error before the run, not after it.
#[test]
fn files_that_cannot_be_made() {
    let server = FaultyServer::correct();
    let missing = std::env::temp_dir().join("no-such-directory").join("report");
    for flag in ["--json", "--html", "--hdr"] {
        for path in [missing.to_str().unwrap(), std::env::temp_dir().to_str().unwrap()] {
            let start = Instant::now();
            let ended = run(load("auto", server.address(), &[&LONG[..], &[flag, path]].concat()), b"");
            assert!(start.elapsed() < Duration::from_secs(20), "{ended:?}");
            assert_eq!(
                (ended.status, ended.stderr.lines().count(), ended.text().as_str()),
                (Some(2), 1, ""),
                "{ended:?}"
            );
            let wanted = format!("error: cannot write {path} ({flag}): ");
            assert!(ended.stderr.starts_with(&wanted), "{wanted}: {ended:?}");
        }
    }
    assert_eq!(server.echoed(), 0, "nothing was measured");
}

/// An earlier report is not lost when a run does not begin.
#[test]
fn a_run_that_fails_keeps_the_earlier_report() {
    let path = std::env::temp_dir().join(format!("overlapped-kept-{}.json", std::process::id()));
    std::fs::write(&path, "{}").unwrap();
    let (_refuses, nowhere) = nowhere();
    let ended = run(load("auto", nowhere, &["--json", path.to_str().unwrap()]), b"");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}");
    std::fs::remove_file(path).unwrap();
}
