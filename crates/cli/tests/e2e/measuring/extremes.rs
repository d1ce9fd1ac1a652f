//! Correct servers and unusual loads: no error, and the counts agree with the server's.

use std::thread;

use overlapped_testing::FaultyServer;

use super::{Report, measure};
#[cfg(unix)]
use crate::server::Server;

/// A load that a correct server takes: connections, size, pipeline, and more.
type Load = (u64, u64, u64, &'static [&'static str]);

const LOADS: [Load; 12] = [
    (2, 64, 1, &["--duration", "300ms", "--warmup", "0s"]),
    (50, 64, 16, &["--duration", "300ms", "--warmup", "100ms"]),
    (1, 1, 1, &["--duration", "300ms", "--warmup", "0s"]),
    (1, 1, 100, &["--duration", "300ms", "--warmup", "0s"]),
    (2, 1 << 20, 16, &["--duration", "300ms", "--warmup", "0s"]),
    (1, 8 << 20, 1, &["--duration", "300ms", "--warmup", "0s"]),
    (3, 65_537, 3, &["--duration", "300ms", "--warmup", "0s"]),
    (4, 64, 1, &["--duration", "100ms", "--warmup", "0s"]),
    (4, 64, 1, &["--duration", "1ms", "--warmup", "0s"]),
    (4, 64, 4, &["--duration", "1s", "--warmup", "0s", "--rate", "0.5"]),
    (4, 64, 1, &["--duration", "300ms", "--warmup", "0s", "--rate", "1000000"]),
    (4, 64, 4, &["--duration", "300ms", "--warmup", "0s", "--threads", "2"]),
];

/// As many as the server has echoed, except for those that were on their way at the end.
#[track_caller]
fn agrees(report: &Report, echoed: u64, (connections, size, pipeline, args): Load) {
    let messages = report.count("messages");
    let nothing = (report.errors(), report.count("errors"));
    assert_eq!(nothing, (super::Errors::default(), 0), "{report:?}");
    // A run in which no message came back is no success.
    assert_eq!(report.status, Some(i32::from(messages == 0)), "{report:?}");
    let warmed_up = !args.contains(&"0s");
    let most = messages + connections * pipeline;
    let served = echoed / size;
    assert!(messages <= served && (served <= most || warmed_up), "{served}: {report:?}");
    assert_eq!(echoed % size, 0, "every message was echoed to its end: {report:?}");
    let seconds = report.number("duration_seconds");
    let per_second = report.number("messages_per_second");
    assert!((per_second * seconds - messages as f64).abs() <= 1.0 + messages as f64 / 1000.0, "{report:?}");
    if messages > 0 {
        let quantiles = ["min", "p50", "p90", "p99", "p999", "max"]
            .map(|name| report.number(&format!("latency_ns/{name}")));
        assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{report:?}");
    }
}

fn arguments((connections, size, pipeline, more): Load) -> Vec<String> {
    let (connections, size, pipeline) = (connections.to_string(), size.to_string(), pipeline.to_string());
    let args = ["--connections", &connections, "--size", &size, "--pipeline", &pipeline];
    args.iter().chain(more).map(|arg| (*arg).to_owned()).collect()
}

/// A plain server.
pub(crate) fn unusual_loads(backend: &str) {
    let loads = if backend == "iocp" { &LOADS[..3] } else { &LOADS };
    thread::scope(|scope| {
        for load in loads {
            scope.spawn(move || {
                let server = FaultyServer::correct();
                let args = arguments(*load);
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let report = measure(backend, server.address(), &args);
                let has_time = load.3.contains(&"300ms") && report.is_of_a_quiet_machine();
                assert!(!has_time || report.count("messages") > 0, "{report:?}");
                agrees(&report, server.echoed(), *load);
            });
        }
    });
}

/// The real server, through this backend; the generator through any.
#[cfg(unix)]
pub(crate) fn the_real_server(backend: &str) {
    const REAL: [Load; 4] = [
        (50, 64, 1, &["--duration", "300ms", "--warmup", "0s"]),
        (4, 64, 16, &["--duration", "300ms", "--warmup", "0s", "--rate", "2000"]),
        (2, 1 << 20, 16, &["--duration", "300ms", "--warmup", "0s"]),
        (1, 1, 1, &["--duration", "300ms", "--warmup", "0s"]),
    ];
    let loads = if backend == "iocp" { &REAL[..2] } else { &REAL };
    for load in loads {
        let server = Server::start(backend, &[]);
        let args = arguments(*load);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let report = measure("auto", server.address(), &args);
        let summary = server.end_well();
        assert_eq!(summary.sessions, load.0, "{report:?}");
        agrees(&report, summary.bytes, *load);
    }
}

pub(crate) fn a_thousand_connections(backend: &str) {
    let _ = overlapped::raise_descriptor_limit();
    for rate in [&[][..], &["--rate", "2000"]] {
        let server = FaultyServer::correct();
        let args = [&["--connections", "1000", "--duration", "500ms", "--warmup", "0s"][..], rate].concat();
        let report = measure(backend, server.address(), &args);
        agrees(&report, server.echoed(), (1000, 64, 1, &["0s"]));
        assert_eq!(
            (report.count("connections/opened"), server.record().accepted),
            (1000, 1000),
            "{report:?}"
        );
    }
}

/// More than can be sent: what is due and not sent is counted, and waits no less than the time until the end.
#[test]
fn rates_beyond_everything_end() {
    for rate in ["1000000", "1000000000"] {
        let server = FaultyServer::correct();
        let args = ["--rate", rate, "--duration", "500ms", "--warmup", "0s", "--connections", "4"];
        let report = measure("auto", server.address(), &args);
        report.is_clean();
        let unsent = report.count("unsent");
        let due = rate.parse::<u64>().expect("a number") / 2;
        let sent = report.count("messages");
        assert!(unsent + sent <= due && unsent + sent + 4 >= due, "{report:?}");
        assert!(report.count("latency_ns/max") > 400_000_000, "{report:?}");
    }
}

/// As many as are due in the time, whatever the rate is.
#[test]
fn a_schedule_is_kept() {
    let rates = [("100", "500ms", 50), ("3", "1s", 3), ("2000", "500ms", 1000)];
    // The last one is too much for some machines under Wine.
    for (rate, duration, messages) in if cfg!(windows) { &rates[..2] } else { &rates } {
        let server = FaultyServer::correct();
        let args = ["--rate", rate, "--duration", duration, "--warmup", "0s", "--connections", "4"];
        let report = measure("auto", server.address(), &args);
        report.is_clean();
        let messages = *messages;
        // The echoes of the last ones may come after the end, on a busy machine more of them.
        let counted = report.count("messages");
        assert!((messages - messages / 4 - 1..=messages).contains(&counted), "{messages}: {report:?}");
    }
}
