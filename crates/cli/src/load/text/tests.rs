use super::*;
use crate::load::{build, samples, system};

fn shown(measured: &crate::load::measured::Measured, change: impl FnOnce(&mut Report)) -> String {
    let mut report = build::report(&samples::plan(), measured, system::this("io_uring"));
    change(&mut report);
    table(&report)
}

#[test]
fn a_calm_run_fits_on_a_terminal() {
    let text = shown(&samples::calm(), |_| {});
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for part in
        ["127.0.0.1:9999: 50 connections, messages of 64 B, closed loop\n", "coordinated omission", "p99.9"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("messages/s     10,000\n") && text.contains("late by 4 µs (p99)"), "{text}");
    assert!(!text.contains("bottleneck"), "{text}");
}

#[test]
fn everything_that_went_wrong_is_said() {
    let text = shown(&samples::eventful(), |report| {
        report.closed_loop = false;
        report.config.rate = Some(50_000.0);
    });
    for part in [
        "50,000 messages/s on a schedule",
        "from schedule",
        "from sending",
        "450 opened, 3 failed, 210 reset (10 of them by an end of stream)",
        "3 × Connection refused",
        "connection 7, byte 4194300: expected 0x5a, got 0x5b",
        "at 4.0 s for 990 ms: 50 connections",
        "the generator was the bottleneck: its busiest thread",
        "12,345 voluntary and 67 involuntary context switches",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("coordinated omission"), "{text}");
}

#[test]
fn long_heads_and_rows_are_broken() {
    let text = shown(&samples::eventful(), |report| {
        report.config.target = "load-generator.example.internal:9999".to_owned();
        report.config.pipeline = 64;
        report.config.rate = Some(1_250_000.0);
        report.config.behave = ["normal", "churn", "half-close"].map(str::to_owned).to_vec();
        let connections = &mut report.connections;
        (connections.opened, connections.failed) = (12_345_678, 1_234_567);
        (connections.reset, connections.ended_early) = (1_234_567, 1_234_567);
    });
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let head = "load-generator.example.internal:9999: 50 connections, messages of 64 B,\n  \
                64 in flight each, 1,250,000 messages/s on a schedule,\n  \
                normal and churn and half-close\nmeasured for";
    assert!(text.starts_with(head), "{text}");
}

#[test]
fn megabytes_have_three_digits() {
    let shown = [0.0, 128_000.0, 64.0, 12_345_678.0, 999_600_000.0, 4_321_000_000.0].map(megabytes);
    assert_eq!(shown, ["0", "0.128", "0.000064", "12.3", "1,000", "4,321"]);
}

#[test]
fn mismatches_that_are_not_listed_are_counted() {
    let text = shown(&samples::eventful(), |_| {});
    assert!(text.contains("mismatches     97\n") && text.contains("  and 94 more\n"), "{text}");
    let text = shown(&samples::calm(), |_| {});
    assert!(text.contains("mismatches     0\n") && !text.contains(" more\n"), "{text}");
    let text = shown(&samples::calm(), |report| report.config.check = false);
    assert!(text.contains("mismatches     not compared (--no-check)\ntimeouts"), "{text}");
}

#[test]
fn without_a_latency_no_remark_about_it() {
    let text = shown(&samples::run(0.0, 1.0, 1), |_| {});
    assert!(!text.contains("coordinated omission"), "{text}");
}

#[test]
fn only_the_longest_stalls_are_listed() {
    let stall = |at: u64| Stall { at_seconds: at as f64, length_seconds: 0.1 * at as f64, connections: 1 };
    let text = shown(&samples::calm(), |report| report.stalls = (1..=9).map(stall).collect());
    assert!(text.contains("stalls         9\n"), "{text}");
    assert!(
        text.contains("at 5.0 s") && !text.contains("at 4.0 s") && text.contains("and 4 shorter ones"),
        "{text}"
    );
}

#[test]
fn a_server_that_ended_is_said() {
    let text = shown(&samples::calm(), |report| report.config.server_pid = Some(123));
    let line = "server         process 123 ended before the run did; its use is not known\n";
    assert!(text.contains(line), "{text}");
    let text = shown(&samples::run(0.0, 1.0, 1), |report| report.config.server_pid = Some(123));
    assert!(text.contains("process 123: nothing was measured; its use is not known"), "{text}");
    let text = shown(&samples::calm(), |_| {});
    assert!(!text.contains("its use is not known"), "{text}");
}

#[test]
fn what_a_search_has_found() {
    let step = |rate, holds| crate::load::report::Step { rate, holds, value: None, tries: 2, held: 2 };
    let line = |steps: Vec<_>, highest, interrupted| {
        let text = shown(&samples::calm(), |report| {
            (report.search, report.highest_rate) = (Some(steps.clone()), Some(highest));
            report.interrupted = interrupted;
        });
        text.lines().find_map(|line| line.strip_prefix("highest rate   ")).expect("a line").to_owned()
    };
    assert_eq!(line(vec![step(83.7, true)], Some(83.7), false), "83.7 messages/s");
    let cut = "0.25 messages/s (the search was interrupted)";
    assert_eq!(line(vec![step(0.25, true)], Some(0.25), true), cut);
    assert_eq!(
        line(vec![step(104.0, false)], None, false),
        "none: it does not hold at 104 messages/s either"
    );
    assert_eq!(line(Vec::new(), None, true), "none was tried");
}

#[test]
fn how_long_a_run_was_measured() {
    let line = |measured: f64, interrupted| {
        let text = shown(&samples::calm(), |report| {
            report.duration_seconds = measured;
            report.interrupted = interrupted;
            (report.config.duration_seconds, report.config.warmup_seconds) = (10.0, 30.0);
        });
        let line = text.lines().nth(1).expect("a second line").to_owned();
        line.split_once(" (").expect("a backend").0.to_owned()
    };
    assert_eq!(line(10.0, false), "measured for 10 s after 30 s of warm-up");
    assert_eq!(line(2.5, true), "interrupted 2.5 s after 30 s of warm-up");
    assert_eq!(line(0.0, true), "interrupted before anything was measured");
    assert_eq!(line(10.0, true), "measured for 10 s after 30 s of warm-up, then not waited for");
}

#[test]
fn differences_that_are_not_judged_have_no_interval() {
    let difference = |judged, differs| Difference {
        key: "generator.cpu_ns_per_message".to_owned(),
        before: 123_456.0,
        after: 9_999_999.0,
        ratio: 81.0,
        low: 1.0,
        high: 2.0,
        judged,
        differs,
    };
    let text = shown(&samples::calm(), |report| {
        let all = [difference(true, true), difference(true, false), difference(false, false)];
        report.comparison = Some(all.to_vec());
    });
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for line in ["1.00 to 2.00  differs\n", "1.00 to 2.00  noise\n", "–             not judged\n"] {
        assert_eq!(text.matches(line).count(), 1, "{line}: {text}");
    }
}

/// What is left out of the figures on purpose is said.
#[test]
fn what_is_left_out_is_said() {
    let text = shown(&samples::calm(), |_| {});
    assert!(!text.contains("given up") && !text.contains("slow readers"), "{text}");
    let text = shown(&samples::calm(), |report| {
        report.given_up = 1_500;
        report.config.behave = ["reset=5", "slow-reader"].map(str::to_owned).to_vec();
    });
    assert!(text.contains("1,500 more were given up: their connections were reset on purpose\n"), "{text}");
    assert!(text.contains("latencies of slow readers are left out: they wait on purpose\n"), "{text}");
}
