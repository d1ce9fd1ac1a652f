//! Connections that are reset, ended or refused: each is counted, and opened again.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use overlapped_testing::{Fault, FaultyServer, Place, Which, eventually};

use super::{BAD, CONNECTIONS, Errors, Report, Run, Shape, in_each_shape, load, measure_until, opened_again};
use crate::process::run;

const FIRST: Which = Which::First(BAD);

/// In the middle of a message.
pub(crate) fn reset_in_the_middle(backend: &str) {
    let rule = |shape: Shape| vec![(Place::Offset(FIRST, shape.message(3) + shape.size / 2), Fault::Reset)];
    in_each_shape(backend, &[], rule, opened_again, |_, report, record| {
        assert_eq!(record.broken, BAD, "{record:?}");
        report.has_resets(BAD);
        assert_eq!(report.count("connections/opened"), CONNECTIONS + BAD, "{report:?}");
    });
}

/// One connection in a hundred.
pub(crate) fn one_connection_in_a_hundred(backend: &str) {
    let server = FaultyServer::start(&[(Place::Offset(Which::OneIn(100), 160), Fault::Reset)]);
    let args = ["--connections", "250", "--size", "64"];
    for rate in [&["--rate", "20000"][..], &[]] {
        let before = server.record();
        // The connections that take the place of broken ones are counted, too.
        let is_enough = || {
            let record = server.record();
            record.broken >= before.broken + 2
                && record.accepted - before.accepted >= 250 + record.broken - before.broken
        };
        let report = measure_until(backend, server.address(), &[&args[..], rate].concat(), is_enough);
        let record = server.record();
        report.has_resets(record.broken - before.broken);
        assert_eq!(report.count("connections/opened"), record.accepted - before.accepted, "{report:?}");
    }
}

/// The same, where each message has a connection of its own.
#[test]
fn one_message_in_a_hundred() {
    let server = FaultyServer::start(&[(Place::Offset(Which::OneIn(100), 32), Fault::Reset)]);
    let args = ["--behave", "churn", "--connections", "8"];
    let report = measure_until("auto", server.address(), &args, || server.record().broken >= 5);
    report.has_resets(server.record().broken);
}

/// An orderly end of the stream, between two messages of which the second is awaited.
#[test]
fn ended_between_messages() {
    let rule = |shape: Shape| vec![(Place::Offset(FIRST, shape.message(3)), Fault::End)];
    in_each_shape("auto", &[], rule, opened_again, |_, report, record| {
        assert_eq!(record.broken, BAD, "{record:?}");
        report.has(Errors { reset: BAD, ..Errors::default() });
        assert_eq!(report.count("connections/opened"), CONNECTIONS + BAD, "{report:?}");
    });
}

/// Within a message: bytes are missing, and the first of them is named.
pub(crate) fn ended_within_a_message(backend: &str) {
    let rule = |shape: Shape| vec![(Place::Offset(FIRST, shape.message(3) + shape.size / 2), Fault::End)];
    in_each_shape(backend, &[], rule, opened_again, |shape, report, record| {
        assert_eq!(record.broken, BAD, "{record:?}");
        // A message of one byte has no middle.
        let (reset, mismatches) = if shape.size == 1 { (BAD, 0) } else { (0, BAD) };
        report.has(Errors { reset, mismatches, ..Errors::default() });
        if mismatches > 0 {
            report.confirmed_by(record);
        }
    });
}

/// Connections that are closed as soon as they are accepted are no failed ones.
#[test]
fn closed_at_accept() {
    for fault in [Fault::End, Fault::Reset] {
        let server = FaultyServer::start(&[(Place::Accept(FIRST), fault)]);
        let is_enough = || server.record().accepted >= CONNECTIONS + BAD && server.echoed() > 6_400;
        let report = measure_until("auto", server.address(), &["--connections", "4"], is_enough);
        let Errors { failed, reset, timeouts, mismatches } = report.errors();
        // A reset may come before the client has seen that it is connected.
        assert_eq!((failed + reset, timeouts, mismatches), (BAD, 0, 0), "{fault:?}: {report:?}");
        assert!(fault == Fault::Reset || failed == 0, "{report:?}");
        assert_eq!((report.count("errors"), report.status), (BAD, Some(1)), "{report:?}");
        assert!(report.count("messages") > 0, "{report:?}");
    }
}

/// A server that closes everything at once is not flooded with connections.
#[test]
fn always_closed_at_accept() {
    let server = FaultyServer::start(&[(Place::Accept(Which::All), Fault::End)]);
    let args = ["--connections", "4", "--duration", "500ms", "--warmup", "0s", "--json", "-"];
    let ended = run(load("auto", server.address(), &args), b"");
    let accepted = server.record().accepted;
    assert!((CONNECTIONS..2_000).contains(&accepted), "{accepted} connections: {ended:?}");
    if ended.stdout.is_empty() {
        // No connection stayed open until the run began.
        assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
        return;
    }
    let report = Report::of(ended);
    assert_eq!((report.status, report.count("messages")), (Some(1), 0), "{report:?}");
    assert!(report.count("errors") >= CONNECTIONS, "{report:?}");
}

/// Where nothing listens, it says so at once, in one line.
pub(crate) fn refused(backend: &str) {
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let start = Instant::now();
    let ended = run(load(backend, nowhere, &["--duration", "1m"]), b"");
    assert!(start.elapsed() < Duration::from_secs(30), "long before the end of the run");
    assert_eq!(
        (ended.status, ended.text().as_str(), ended.stderr.lines().count()),
        (Some(1), "", 1),
        "{ended:?}"
    );
    for wanted in ["error: cannot connect to", &nowhere.to_string(), "refused", "overlapped serve"] {
        assert!(ended.stderr.contains(wanted), "{wanted}: {ended:?}");
    }
}

/// The run goes on, and what was measured before is reported.
pub(crate) fn dies_in_mid_run(backend: &str) {
    thread::scope(|scope| {
        for rate in [&[][..], &["--rate", "1000"]] {
            scope.spawn(move || {
                let mut server = FaultyServer::correct();
                let mut run = start(backend, &server, rate);
                eventually("it is served", || server.echoed() > 10_000);
                server.die();
                // Not a wait: how often it tries again in this time is what is looked at.
                thread::sleep(Duration::from_secs(1));
                let report = run.end();
                let Errors { failed, reset, timeouts, mismatches } = report.errors();
                assert_eq!((reset, timeouts, mismatches), (CONNECTIONS, 0, 0), "{report:?}");
                assert!((1..10_000).contains(&failed), "it tries again, but not all the time: {report:?}");
                assert_eq!((report.count("errors"), report.status), (failed + reset, Some(1)), "{report:?}");
                assert!(report.count("messages") > 0, "{report:?}");
            });
        }
    });
}

/// Each connection is opened again, and messages go on.
pub(crate) fn dies_and_comes_back(backend: &str) {
    thread::scope(|scope| {
        for rate in [&[][..], &["--rate", "1000"]] {
            scope.spawn(move || {
                let mut server = FaultyServer::correct();
                let mut run = start(backend, &server, rate);
                eventually("it is served", || server.echoed() > 10_000);
                server.die();
                let before = server.echoed();
                server.come_back();
                let all_again = || server.record().accepted == 2 * CONNECTIONS;
                eventually("all are served again", || all_again() && server.echoed() > before + 10_000);
                let report = run.end();
                let Errors { reset, timeouts, mismatches, .. } = report.errors();
                assert_eq!((reset, timeouts, mismatches), (CONNECTIONS, 0, 0), "{report:?}");
                let opened = report.count("connections/opened");
                assert_eq!((opened, server.record().accepted), (8, 8), "{report:?}");
            });
        }
    });
}

fn start(backend: &str, server: &FaultyServer, more: &[&str]) -> Run {
    Run::start(backend, server.address(), &[&["--connections", "4"][..], more].concat())
}

/// The real server is killed.
#[cfg(target_os = "linux")]
pub(crate) fn server_is_killed(backend: &str) {
    // Without a ring: the kernel closes the listener of a ring some time after its process has ended.
    let server = crate::server::Server::start("readiness", &[]);
    let mut run = Run::start(backend, server.address(), &["--connections", "4"]);
    crate::peer::eventually("it is served", || server.now().echoed > 10_000);
    server.signal(rustix::process::Signal::KILL);
    let _ = server.wait();
    // As above.
    thread::sleep(Duration::from_secs(1));
    let report = run.end();
    let errors = report.errors();
    assert_eq!((errors.timeouts, errors.mismatches), (0, 0), "{report:?}");
    assert!(errors.reset >= CONNECTIONS && errors.failed > 0 && report.status == Some(1), "{report:?}");
}
