//! Assertions, searches, comparisons, and what is reported of the server's process.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use overlapped_testing::{Fault, FaultyServer, Place, Which};
use serde_json::Value;

use super::{Report, load, measure};
use crate::process::run;
#[cfg(target_os = "linux")]
use crate::server::Server;

const SHORT: [&str; 6] = ["--duration", "300ms", "--warmup", "0s", "--connections", "4"];

fn short(server: &FaultyServer, more: &[&str]) -> Report {
    measure("auto", server.address(), &[&SHORT[..], more].concat())
}

#[test]
fn assertions_decide_the_status() {
    let server = FaultyServer::correct();
    let holds: &[&str] =
        &["errors==0", "p50<10s", "messages>1", "messages_per_second>=0.5", "mismatches<=0", "max < 1m"];
    let all: Vec<&str> = holds.iter().flat_map(|holds| ["--assert", holds]).collect();
    let report = short(&server, &all);
    assert_eq!((report.status, report.stderr.as_str()), (Some(0), ""), "{report:?}");
    for fails in ["p99<1ns", "messages_per_second>1000000000", "errors>0", "connections.opened==3", "min>1h"]
    {
        let report = short(&server, &["--assert", "errors==0", "--assert", fails]);
        assert_eq!(report.status, Some(1), "{fails}: {report:?}");
        assert!(report.stderr.contains(fails), "it says which one: {report:?}");
        assert!(!report.stderr.contains("errors==0"), "{report:?}");
    }
    // A wrong byte is an error, whatever holds.
    let server = FaultyServer::start(&[(Place::Offset(Which::Number(0), 64), Fault::Flip)]);
    assert_eq!(short(&server, &["--assert", "mismatches==1"]).status, Some(1));
}

#[test]
fn a_search_finds_a_rate() {
    // Three milliseconds for each of what is read: four connections take at most 1,333 messages a second.
    let slow = [(Place::EachRead(Which::All), Fault::Pause(Duration::from_millis(3)))];
    let server = FaultyServer::start(&slow);
    let start = Instant::now();
    let report = short(&server, &["--find-rate", "p99<100ms"]);
    eprintln!(
        "{:?}, {} steps, {}",
        start.elapsed(),
        report.list("search").len(),
        report.number("highest_rate")
    );
    assert_eq!(report.status, Some(0), "{report:?}");
    let steps: Vec<(f64, bool)> = report
        .list("search")
        .iter()
        .map(|step| (step["rate"].as_f64().expect("a rate"), step["holds"].as_bool().expect("a verdict")))
        .collect();
    let highest = report.number("highest_rate");
    assert!(steps.contains(&(highest, true)), "{report:?}");
    assert!(steps.iter().any(|(rate, holds)| !holds && *rate > highest), "{report:?}");
    assert!((50.0..1_600.0).contains(&highest), "{report:?}");
}

#[test]
fn a_search_that_finds_none() {
    let server = FaultyServer::correct();
    let report = short(&server, &["--find-rate", "p99<1ns"]);
    assert_eq!(report.status, Some(1), "{report:?}");
    assert!(report.list("search").iter().all(|step| step["holds"] == false), "{report:?}");
    assert!(report.json["highest_rate"].as_f64().unwrap_or(0.0) == 0.0, "{report:?}");
}

/// Wrong bytes end a search: no rate is good.
#[test]
fn a_search_against_a_faulty_server() {
    let server = FaultyServer::start(&[(Place::OneIn(10_007), Fault::Flip)]);
    let report = short(&server, &["--find-rate", "p99<10s"]);
    assert_eq!(report.status, Some(1), "{report:?}");
    assert!(report.count("mismatches") > 0, "{report:?}");
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("overlapped-{name}-{}.json", std::process::id()))
}

/// The report of a run, in a file too; and what it said.
fn to_file(server: &FaultyServer, path: &Path, duration: &str, more: &[&str]) -> String {
    let args =
        ["--connections", "4", "--duration", duration, "--warmup", "0s", "--json", path.to_str().unwrap()];
    let ended = run(load("auto", server.address(), &[&args[..], more].concat()), b"");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    ended.stderr
}

fn entry<'r>(report: &'r Value, key: &str) -> &'r Value {
    let entries = report["comparison"].as_array().unwrap_or_else(|| panic!("no comparison: {report:#}"));
    entries.iter().find(|entry| entry["key"] == key).unwrap_or_else(|| panic!("no {key}: {report:#}"))
}

/// Compares a run with an equal one against a server that takes a third of the time: what is said, and the JSON.
fn three_times_as_slow(duration: &str) -> (String, Value) {
    let each = |millis| [(Place::EachRead(Which::All), Fault::Pause(Duration::from_millis(millis)))];
    let (before, after) = (file(&format!("before-{duration}")), file(&format!("after-{duration}")));
    to_file(&FaultyServer::start(&each(2)), &before, duration, &[]);
    let compare = ["--compare", before.to_str().unwrap()];
    let said = to_file(&FaultyServer::start(&each(6)), &after, duration, &compare);
    let report = serde_json::from_str(&std::fs::read_to_string(&after).unwrap()).unwrap();
    std::fs::remove_file(before).unwrap();
    std::fs::remove_file(after).unwrap();
    (said, report)
}

/// A third as fast is a difference.
#[test]
fn a_slower_server_differs() {
    let (said, report) = three_times_as_slow("5s");
    assert!(!said.contains("too short"), "{said}");
    let rate = entry(&report, "messages_per_second");
    assert_eq!(rate["differs"], true, "{rate}");
    let [ratio, low, high] = ["ratio", "low", "high"].map(|key| rate[key].as_f64().expect("a number"));
    assert!(low <= ratio && ratio <= high && high < 1.0, "{rate}");
    let [before_rate, after_rate] = ["before", "after"].map(|key| rate[key].as_f64().expect("a number"));
    assert!((after_rate / before_rate - ratio).abs() < 0.01, "{rate}");
}

/// Three times as slow, for less time than a slow phase of the machine takes: no verdict, and why.
#[test]
fn a_run_that_is_too_short_has_no_verdict() {
    let (said, report) = three_times_as_slow("1s");
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("too short to compare")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].starts_with("warning: ") && lines[0].contains("; measure for at least "), "{said}");
    let rate = entry(&report, "messages_per_second");
    assert_eq!((&rate["judged"], &rate["differs"]), (&Value::Bool(false), &Value::Bool(false)), "{rate}");
}

#[test]
fn reports_that_cannot_be_compared() {
    let server = FaultyServer::correct();
    let no_json = file("no-json");
    let missing = file("missing");
    for text in ["", "{}", "[]", "not JSON", "{\"messages\":1}", "{\"messages_per_second\":\"fast\"}"] {
        std::fs::write(&no_json, text).unwrap();
        let start = Instant::now();
        let args = ["--duration", "1h", "--compare", no_json.to_str().unwrap()];
        let ended = run(load("auto", server.address(), &args), b"");
        assert!(start.elapsed() < Duration::from_secs(20), "before the run");
        assert_eq!((ended.status, ended.stderr.lines().count()), (Some(2), 1), "{text:?}: {ended:?}");
        assert!(ended.stderr.contains(no_json.to_str().unwrap()), "{ended:?}");
    }
    let args = ["--duration", "1h", "--compare", missing.to_str().unwrap()];
    let ended = run(load("auto", server.address(), &args), b"");
    assert_eq!((ended.status, ended.stderr.lines().count()), (Some(2), 1), "{ended:?}");
    assert!(ended.stderr.contains(missing.to_str().unwrap()), "{ended:?}");
    std::fs::remove_file(no_json).unwrap();
}

/// The log that the tools of HdrHistogram read: comments, column names, intervals.
#[test]
fn a_histogram_log() {
    let server = FaultyServer::correct();
    let path = file("histogram");
    let ended =
        run(load("auto", server.address(), &[&SHORT[..], &["--hdr", path.to_str().unwrap()]].concat()), b"");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let log = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(log.starts_with("#["), "{log}");
    assert!(
        log.contains(
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        ),
        "{log}"
    );
    let lines: Vec<Vec<&str>> = log
        .lines()
        .filter(|line| !line.starts_with(['#', '"']))
        .map(|line| line.split(',').filter(|field| !field.starts_with("Tag=")).collect())
        .collect();
    assert!(!lines.is_empty(), "{log}");
    for fields in lines {
        assert_eq!(fields.len(), 4, "{log}");
        assert!(fields[..3].iter().all(|number| number.parse::<f64>().is_ok()), "{log}");
        // Base64 of the cookie of version 2, compressed or not.
        assert!(fields[3].starts_with("HIST"), "{log}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_server_is_measured_too() {
    let server = Server::start("auto", &["--workers", "1"]);
    let pid = server.pid().to_string();
    let args = [&SHORT[..], &["--server-pid", &pid]].concat();
    let report = measure("auto", server.address(), &args);
    report.has(super::Errors::default());
    let cpu = report.number("server/cpu_ns_per_message");
    assert!((100.0..10_000_000.0).contains(&cpu), "{report:?}");
    let resident = report.count("server/rss_bytes");
    assert!(((1 << 20)..(1 << 30)).contains(&resident), "{report:?}");
    assert!(report.count("server/voluntary_switches") > 0, "{report:?}");
    server.end_well();
}

/// Of a process that has ended there is nothing to report: an error before the run.
#[cfg(target_os = "linux")]
#[test]
fn a_process_that_is_not_there() {
    let server = FaultyServer::correct();
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    for pid in [&ended.id().to_string(), "4194305"] {
        let start = Instant::now();
        let run = run(load("auto", server.address(), &["--duration", "1h", "--server-pid", pid]), b"");
        assert!(start.elapsed() < Duration::from_secs(20), "before the run");
        assert_eq!((run.status, run.stderr.lines().count()), (Some(1), 1), "{pid}: {run:?}");
        assert!(run.stderr.contains(pid), "{run:?}");
    }
    // It has ended as well, and its number is still taken.
    let mut zombie = std::process::Command::new("true").spawn().unwrap();
    let pid = zombie.id().to_string();
    let state = || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    overlapped_testing::eventually("it has ended", || state().contains("State:\tZ"));
    let run = run(load("auto", server.address(), &["--duration", "1h", "--server-pid", &pid]), b"");
    assert_eq!((run.status, run.stderr.lines().count()), (Some(1), 1), "{run:?}");
    assert!(run.stderr.contains(&format!("process {pid} has ended")), "{run:?}");
    zombie.wait().unwrap();
}

/// One that ends in mid-run has no figures, and why is said; one that its parent has not waited for is no other case.
#[cfg(target_os = "linux")]
#[test]
fn a_process_that_ends_meanwhile() {
    use crate::process::{Keep, Process};
    for is_waited_for in [true, false] {
        let server = FaultyServer::correct();
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = other.id().to_string();
        let json = file(&format!("ended-{is_waited_for}"));
        let args = [&SHORT[..], &["--json", json.to_str().unwrap(), "--server-pid", &pid]].concat();
        let mut process = Process::start(load("auto", server.address(), &args), Keep::All);
        overlapped_testing::eventually("it is served", || server.echoed() > 0);
        other.kill().unwrap();
        if is_waited_for {
            other.wait().unwrap();
        }
        let ended = process.wait();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let line = format!("process {pid} ended before the run did; its use is not known");
        assert!(ended.text().contains(&line), "{ended:?}");
        let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!(report.get("server"), None, "{report:#}");
        std::fs::remove_file(json).unwrap();
        let _ = other.wait();
    }
}

/// A process of another user: what the system shows of it, or a clear error.
#[cfg(target_os = "linux")]
#[test]
fn a_process_of_another_user() {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root()
        || crate::server::binary(["--version"]).uid(NOBODY).output().is_err()
    {
        eprintln!("left out: only root can run the binary as another user");
        return;
    }
    let server = Server::start("auto", &[]);
    let pid = server.pid().to_string();
    let args = [&SHORT[..], &["--json", "-", "--server-pid", &pid]].concat();
    let mut command = load("auto", server.address(), &args);
    command.uid(NOBODY);
    let ended = run(command, b"");
    if ended.status == Some(0) {
        assert!(Report::of(ended).number("server/cpu_ns_per_message") > 0.0);
    } else {
        assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    }
}
