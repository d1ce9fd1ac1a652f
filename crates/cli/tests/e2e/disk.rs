//! A disk that is full, or a file that may not grow: the program says that its output is incomplete.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::peer::{dial, exchange, noise};
use crate::process::{Ended, Keep, Process, run};
use crate::server::{Server, after, binary, serve};

/// Runs a command to its end with such a stdout.
fn run_into(command: Command, out: File, input: &[u8]) -> Ended {
    let mut process = Process::start_into(command, Keep::All, out, Stdio::piped());
    process.feed(input.to_vec());
    process.wait()
}

fn full() -> File {
    File::options().write(true).open("/dev/full").expect("full(4)")
}

/// One line: what failed, why, and what to do.
fn is_told(ended: &Ended, what: &str, why: &str, next: &str) {
    assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(ended.stderr.starts_with(&format!("error: cannot write {what} to stdout: {why} ")), "{ended:?}");
    assert!(ended.stderr.contains(next), "{ended:?}");
}

const COMMANDS: [&[&str]; 12] = [
    &["--help"],
    &["--version"],
    &["serve", "--help"],
    &["client", "--help"],
    &["doctor", "--help"],
    &["doctor"],
    &["doctor", "--json"],
    &["pitfalls"],
    &["pitfalls", "--help"],
    &["pitfalls", "--all", "--kernel", "own"],
    &["pitfalls", "--all", "--kernel", "own", "--json"],
    &["pitfalls", "--all", "--kernel", "own", "--html", "-"],
];

#[test]
fn what_is_asked_for_does_not_fit() {
    for args in COMMANDS {
        let ended = run_into(binary(args), full(), b"");
        is_told(&ended, "the output", "No space left on device", "make room");
    }
}

/// Of a page that is asked for as a file, too.
#[test]
fn a_page_does_not_fit() {
    let ended = run(binary(["pitfalls", "parse-loop", "--kernel", "own", "--html", "/dev/full"]), b"");
    assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(ended.stderr.starts_with("error: cannot write /dev/full: No space left on device "), "{ended:?}");
    assert!(ended.stderr.contains("make room"), "{ended:?}");
}

/// The first block fits.
#[test]
fn what_is_asked_for_fits_in_part() {
    let path = std::env::temp_dir().join(format!("overlapped-part-{}", std::process::id()));
    let mut cut = 0;
    for args in COMMANDS.iter().filter(|args| !args.contains(&"--version")) {
        let limited = after("ulimit -f 1", &binary(*args));
        let ended = run_into(limited, File::create(&path).unwrap(), b"");
        let len = fs::metadata(&path).unwrap().len();
        // POSIX has it in units of 512 bytes, some shells in KiB. Some help is shorter.
        if len < 512 || !len.is_multiple_of(512) {
            assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{args:?}, {len}: {ended:?}");
            continue;
        }
        is_told(&ended, "the output", "File too large", "`ulimit -f`");
        cut += 1;
    }
    assert!(cut >= 2, "the help of `serve`, and `doctor --json`, are longer");
    fs::remove_file(&path).unwrap();
}

/// Nobody is there to read it: as ever, no error.
#[test]
fn streams_that_are_closed_from_the_start() {
    let server = Server::start("auto", &[]);
    let client = ["client".to_owned(), server.address().to_string()];
    for closed in ["exec >&-", "exec >&- 2>&-"] {
        for args in COMMANDS {
            let ended = run(after(closed, &binary(args)), b"");
            assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{args:?}: {ended:?}");
        }
        let ended = run(after(closed, &binary(&client)), b"a line\n");
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    }
    let ended = run(after("exec <&-", &binary(&client)), b"");
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
}

#[test]
fn echoes_do_not_fit() {
    let server = Server::start("auto", &[]);
    let client = || binary(["client".to_owned(), server.address().to_string()]);
    let lines: String = (0..1000).map(|number| format!("line {number}\n")).collect();
    for input in [lines.as_bytes(), b"no end", noise(3, 100_000)] {
        let ended = run_into(client(), full(), input);
        is_told(&ended, "the echo", "No space left on device", "make room");
    }
}

/// The little that there is to write is written at the end only. The process does not end before the file is in order
/// and the loss reported.
pub(crate) fn trace_that_fills_at_the_end(backend: &str) {
    let path = std::env::temp_dir().join(format!("overlapped-end-{}-{backend}.json", std::process::id()));
    for _ in 0..10 {
        let traced = serve(backend, &["--workers", "1", "--trace", path.to_str().unwrap()]);
        let server = Server::launch(after("ulimit -f 1", &traced)).expect("it starts");
        let mut client = dial(server.address());
        (0..10).for_each(|number| exchange(&mut client, noise(number, 10)));
        drop(client);
        let ended = server.end();
        assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
        assert!(ended.stderr.starts_with("warning: the trace ends here: "), "{ended:?}");
        let text = fs::read_to_string(&path).expect("a trace");
        let trace: Vec<Value> = serde_json::from_str(&text).expect("a whole array");
        assert!(trace.len() > 1, "{text}");
    }
    fs::remove_file(&path).unwrap();
}
