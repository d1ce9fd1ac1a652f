//! Wrong options and targets: one line, and nothing is measured.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use overlapped_testing::FaultyServer;

use crate::process::run;
use crate::server::binary;

#[track_caller]
fn one_line(args: &[&str], status: i32, wanted: &[&str]) {
    let args = [&["load"], args].concat();
    let start = Instant::now();
    let ended = run(binary(&args), b"");
    assert!(start.elapsed() < Duration::from_secs(30), "{args:?} takes its time");
    assert_eq!((ended.status, ended.text().as_str()), (Some(status), ""), "{args:?}: {ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{args:?}: {ended:?}");
    assert!(ended.stderr.starts_with("error: "), "{args:?}: {ended:?}");
    for wanted in wanted {
        assert!(ended.stderr.contains(wanted), "{args:?}: {wanted:?} is missing: {ended:?}");
    }
    for never in ["panicked", "backtrace", ".rs:"] {
        assert!(!ended.stderr.contains(never), "{args:?}: {ended:?}");
    }
}

#[test]
fn values_that_make_no_sense() {
    let numbers = ["0", "-1", "+2", "many", "", "1.5", "99999999999999999999"];
    for flag in ["--connections", "--pipeline", "--threads"] {
        for none in numbers {
            one_line(&[&format!("{flag}={none}")], 2, &[flag]);
        }
    }
    for none in ["0", "-1", "nan", "inf", "NaN", "", "fast", "1e400", "-0"] {
        one_line(&[&format!("--rate={none}")], 2, &["--rate"]);
    }
    for none in ["0", "abc", "", "-1", "5s", "1.5MiB", "99999999999999999999"] {
        one_line(&[&format!("--size={none}")], 2, &["--size", "give"]);
    }
    for flag in ["--duration", "--reply-timeout"] {
        for none in ["0s", "5", "abc", "", "-1s", "1.5s", "5MiB", "99999999999999999999s"] {
            one_line(&[&format!("{flag}={none}")], 2, &[flag, "give"]);
        }
    }
    one_line(&["--size=257MiB"], 2, &["--size", "at most 256MiB"]);
    one_line(&["--warmup=1"], 2, &["--warmup", "unit"]);
    for none in ["", "nice", "reset=0", "reset=101", "reset=-1", "reset=x", "reset=nan", "churn=5", "reset="]
    {
        one_line(&[&format!("--behave={none}")], 2, &["--behave"]);
    }
    one_line(&["--behave=nice"], 2, &["half-close", "slow-reader"]);
    one_line(&["--behave=reset=100"], 2, &["--behave reset=100", "no echo to measure", "less than 100"]);
    one_line(&["--backend=epoll"], 2, &["`readiness`"]);
    one_line(&["--nonsense"], 2, &["--nonsense"]);
    one_line(&["--connection", "5"], 2, &["did you mean --connections"]);
}

/// What nothing could hold.
#[test]
fn loads_that_do_not_fit() {
    for args in [
        &["--size", "1GiB", "--pipeline", "1000000"][..],
        &["--connections", "4294967295"],
        &["--size", "17179869183GiB"],
        &["--threads", "100000"],
        &["--connections", "2", "--threads", "3"],
    ] {
        let server = FaultyServer::correct();
        let address = server.address().to_string();
        let ended =
            run(binary(["load", &address, "--duration", "100ms", "--warmup", "0s"].iter().chain(args)), b"");
        // More threads than connections may be taken as fewer threads.
        let fits = args.contains(&"3") && ended.status == Some(0);
        assert!(fits || matches!(ended.status, Some(1 | 2)), "{args:?}: {ended:?}");
        assert!(fits || ended.stderr.starts_with("error: "), "{args:?}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{args:?}: {ended:?}");
    }
}

#[test]
fn assertions_that_make_no_sense() {
    for none in [
        "",
        "p99",
        "p99<",
        "<5ms",
        "p99<5",
        "p99<5KiB",
        "errors==",
        "errors=0",
        "p99<<5ms",
        "p99<5ms and more",
        "errors==x",
    ] {
        one_line(&[&format!("--assert={none}")], 2, &["--assert"]);
        one_line(&[&format!("--find-rate={none}")], 2, &["--find-rate"]);
    }
    for flag in ["--assert", "--find-rate"] {
        one_line(&[flag, "nonsense>5"], 2, &["no key nonsense", "--help"]);
    }
    // What a search has at its end cannot be what it searches for.
    for after in ["highest_rate>5", "search==0", "search.0.rate>5", "comparison==0"] {
        one_line(&["--find-rate", after], 2, &[after, "known after all of them", "name a key of a run"]);
    }
    one_line(&["--assert", "highest_rate>5"], 2, &["with --find-rate alone"]);
    one_line(&["--assert", "search==0"], 2, &["with --find-rate alone"]);
    one_line(&["--assert", "comparison.0.ratio>0.9"], 2, &["with --compare alone"]);
    one_line(&["--find-rate", "p99<2ms", "--rate", "100"], 2, &["--find-rate", "--rate"]);
}

#[test]
fn targets_that_are_none() {
    one_line(&["nonsense"], 2, &["nonsense", "HOST:PORT"]);
    one_line(&[""], 2, &["HOST:PORT"]);
    one_line(&["127.0.0.1:65536"], 2, &["65536", "65535"]);
    one_line(&["127.0.0.1:0"], 1, &["cannot connect to 127.0.0.1:0"]);
    one_line(&["127.0.0.1:1", "127.0.0.1:2"], 2, &["127.0.0.1:2"]);
    one_line(&["no-such-host.invalid:80"], 1, &["cannot resolve", "no-such-host.invalid:80"]);
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    one_line(&[&nowhere], 1, &["cannot connect to", &nowhere, "overlapped serve"]);
}

/// From 240.0.0.0/4, which is reserved: no route leads there.
#[cfg(target_os = "linux")]
#[test]
fn a_target_without_a_route() {
    let Some(namespace) = crate::namespace::Namespace::allowed() else { return };
    let ended = run(namespace.after("", &binary(["load", "192.0.2.1:9999", "--duration", "1h"])), b"");
    assert_eq!(
        (ended.status, ended.stderr.lines().count(), ended.text().as_str()),
        (Some(1), 1, ""),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("cannot connect to 192.0.2.1:9999"), "{ended:?}");
}

/// Two outputs in one file, by two names: nothing is written.
#[test]
fn one_file_for_two_outputs() {
    let name = format!("overlapped-twice-{}", std::process::id());
    let path = std::env::temp_dir().join(&name);
    let other = std::env::temp_dir().join(".").join(&name);
    let (one, other) = (path.to_str().unwrap(), other.to_str().unwrap());
    for other in [one, other] {
        one_line(
            &["--json", one, "--hdr", other],
            2,
            &["--json and --hdr both write to", "give --hdr another"],
        );
        assert!(!path.exists(), "it is removed again");
    }
    one_line(&["--json", "-", "--html", "-"], 2, &["--json and --html both write to stdout", "a file"]);
}

/// Each command is helped with its options.
#[test]
fn help() {
    let ended = run(binary(["load", "--help"]), b"");
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let text = ended.text();
    for flag in [
        "--connections",
        "--size",
        "--pipeline",
        "--rate",
        "--duration",
        "--warmup",
        "--reply-timeout",
        "--threads",
        "--backend",
        "--behave",
        "--no-check",
        "--json",
        "--html",
        "--hdr",
        "--find-rate",
        "--compare",
        "--server-pid",
        "--assert",
        "--pin",
    ] {
        assert!(text.contains(flag), "{flag}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

/// The default target, and a name.
#[test]
fn a_name_is_resolved() {
    let server = FaultyServer::correct();
    let address = format!("localhost:{}", server.address().port());
    let args = ["load", &address, "--duration", "200ms", "--warmup", "0s", "--json", "-"];
    let report = super::Report::of(run(binary(args), b""));
    report.is_clean();
}

/// A backend that is named is the one that is used.
#[cfg(target_os = "linux")]
#[test]
fn the_backend_is_reported() {
    let server = FaultyServer::correct();
    let args = ["--duration", "100ms", "--warmup", "0s", "--connections", "2"];
    let report = super::measure("readiness", server.address(), &args);
    assert_eq!(report.json["system"]["backend"], "readiness", "{report:?}");
}
