//! Echoes that come late, or not at all: stalls and lateness are reported, and only what is later than the reply timeout
//! is an error.

use std::ops::RangeInclusive;
use std::time::Duration;

use overlapped_testing::{Fault, FaultyServer, Place, Which};
use serde_json::Value;

use super::{
    BAD, CONNECTIONS, Errors, Report, Shape, in_each_shape, in_shapes, measure, opened_again, shape,
};

const FIRST: Which = Which::First(BAD);
const STALL: Duration = Duration::from_millis(700);

/// Later than the reply timeout.
pub(crate) fn beyond_the_timeout(backend: &str) {
    let rule =
        |shape: Shape| vec![(Place::Offset(FIRST, shape.message(3)), Fault::Pause(Duration::from_secs(3)))];
    in_each_shape(backend, &["--reply-timeout", "1s"], rule, opened_again, |_, report, record| {
        assert_eq!(record.done.len() as u64, BAD);
        report.has(Errors { timeouts: BAD, ..Errors::default() });
    });
}

/// No connection gets anything from the start.
#[test]
fn never_answered() {
    for rate in [&[][..], &["--rate", "1000"]] {
        let server = FaultyServer::start(&[(Place::Accept(Which::All), Fault::Mute)]);
        let args =
            ["--connections", "4", "--duration", "500ms", "--warmup", "0s", "--reply-timeout", "200ms"];
        let report = measure("auto", server.address(), &[&args[..], rate].concat());
        let Errors { failed, reset, timeouts, mismatches } = report.errors();
        assert_eq!((failed, reset, mismatches, report.count("messages")), (0, 0, 0, 0), "{report:?}");
        // Each connection of each 200 ms, and those that were open at the end.
        assert!((CONNECTIONS..=4 * CONNECTIONS).contains(&timeouts), "{report:?}");
        assert_eq!((report.count("errors"), report.status), (timeouts, Some(1)), "{report:?}");
    }
}

/// Slow all the time, and correct: no error.
#[test]
fn merely_slow() {
    let rule = |_| vec![(Place::EachRead(Which::All), Fault::Pause(Duration::from_millis(5)))];
    let is_enough = |shape: Shape, server: &FaultyServer| server.echoed() >= shape.message(10);
    in_each_shape("auto", &[], rule, is_enough, |_, report, _| {
        report.is_clean();
        assert!(report.number("latency_ns/min") >= 5e6, "{report:?}");
    });
}

/// A stall of such a length. On a busy machine others may stand still for a moment while one does.
#[track_caller]
fn has_stall(report: &Report, length: Duration, connections: RangeInclusive<u64>) {
    let most = if report.is_of_a_quiet_machine() { *connections.end() } else { CONNECTIONS };
    let connections = *connections.start()..=most;
    let is = |stall: &&Value| {
        let (at, long) = (stall["at_seconds"].as_f64().unwrap(), stall["length_seconds"].as_f64().unwrap());
        let wanted = length.as_secs_f64();
        let inside = at >= 0.0 && at + long <= report.number("duration_seconds") + 1e-6;
        // Nothing bounds how long a busy machine takes to go on.
        inside
            && (wanted * 0.7..wanted + 1.0).contains(&long)
            && stall["connections"].as_u64().is_some_and(|count| connections.contains(&count))
    };
    let found = report.list("stalls").iter().filter(is).count();
    assert!(
        found >= 1 && (found == 1 || !report.is_of_a_quiet_machine()),
        "{found} stalls of {length:?} of {connections:?} connections: {report:?}"
    );
}

/// Everything stands still: one stall of all connections, and no error.
pub(crate) fn everything_stalls(backend: &str) {
    let rule = |shape: Shape| (Place::Once(shape.message(60)), Fault::PauseAll(STALL));
    let is_enough = |shape: Shape, server: &FaultyServer| server.echoed() >= shape.message(120);
    stalls(backend, rule, is_enough, CONNECTIONS..=CONNECTIONS);
}

/// One connection stands still.
#[test]
fn one_connection_stalls() {
    let rule = |shape: Shape| (Place::Offset(Which::Number(2), shape.message(3)), Fault::Pause(STALL));
    let is_enough = |shape: Shape, server: &FaultyServer| {
        server.record().resumed > 0 && server.echoed() >= shape.message(60)
    };
    stalls("auto", rule, is_enough, 1..=1);
}

fn stalls(
    backend: &str,
    rule: impl Fn(Shape) -> (Place, Fault) + Sync,
    is_enough: impl Fn(Shape, &FaultyServer) -> bool + Sync,
    connections: RangeInclusive<u64>,
) {
    const SHAPES: [Shape; 4] = [
        shape(None, 64, 16),
        shape(Some(200), 16 << 10, 1),
        shape(Some(200), 200_000, 4),
        shape(Some(20_000), 64, 1),
    ];
    let shapes = if backend == "iocp" { &SHAPES[..2] } else { &SHAPES };
    let judge = |shape: Shape, report: &Report, _: &_| {
        report.is_clean();
        let from_sending = if shape.rate.is_some() { "latency_actual_ns" } else { "latency_ns" };
        let [median, longest] = ["p50", "max"].map(|name| report.number(&format!("{from_sending}/{name}")));
        // By its definition: on a machine that is busy all the time, nothing stands out.
        if 10.0 * median < 0.7 * STALL.as_nanos() as f64 {
            has_stall(report, STALL, connections.clone());
        }
        assert!(longest >= STALL.as_nanos() as f64 * 0.7, "{report:?}");
    };
    in_shapes(shapes, backend, &[], |shape| vec![rule(shape)], is_enough, judge);
}

/// On a schedule, what was due while the server stood still is late, although it was sent afterwards.
pub(crate) fn lateness_counts_from_the_schedule(backend: &str) {
    let server = FaultyServer::start(&[(Place::Once(64 * 20), Fault::PauseAll(STALL))]);
    let args = ["--rate", "200", "--connections", "4", "--duration", "1500ms", "--warmup", "0s"];
    let report = measure(backend, server.address(), &args);
    report.is_clean();
    has_stall(&report, STALL, 4..=4);
    if !report.is_of_a_quiet_machine() {
        eprintln!("the rest is left out: this machine is too busy");
        return;
    }
    // Of three hundred messages 140 are late, and four are on their way in the meantime.
    let (p90, actual) = (report.number("latency_ns/p90"), report.number("latency_actual_ns/p90"));
    assert!(p90 > 0.5 * STALL.as_nanos() as f64, "{report:?}");
    assert!(actual < 0.5 * p90, "{report:?}");
    assert!((270..=300).contains(&report.count("messages")), "all that were due were sent: {report:?}");
}

/// The real server is stopped for a second, and goes on.
#[cfg(target_os = "linux")]
pub(crate) fn a_stopped_server(backend: &str) {
    use rustix::process::Signal;
    const STOPPED: Duration = Duration::from_secs(1);
    let server = crate::server::Server::start("auto", &["--workers", "1"]);
    let mut run = super::Run::start(backend, server.address(), &["--rate", "1000", "--connections", "4"]);
    crate::peer::eventually("it is served", || server.now().echoed > 64 * 100);
    server.signal(Signal::STOP);
    // Not a wait: the length of the stop is what is measured.
    std::thread::sleep(STOPPED);
    server.signal(Signal::CONT);
    // As long before as after it.
    crate::peer::eventually("it has caught up", || server.now().echoed > 64 * 1500);
    let report = run.end();
    report.is_clean();
    has_stall(&report, STOPPED, 4..=4);
    let (p99, actual) = (report.number("latency_ns/p99"), report.number("latency_actual_ns/p90"));
    assert!(p99 > 0.8e9 && actual < 0.4e9, "{report:?}");
    server.end_well();
}
