//! The table on stdout.

use std::fmt::Write;

use overlapped_measure::number::{bytes, count, nanoseconds, short};

use super::report::{Difference, Latency, Report, Stall, WrongByte};
use crate::output::wrapped;
use crate::units;

/// Left of the values.
const NAMES: usize = 15;
/// Stalls and mismatches that are listed; the JSON has all.
const LISTED: usize = 5;
/// Of a terminal.
const WIDTH: usize = 80;

/// Everything that a person wants to know, in lines of at most 80 columns unless a single word is longer.
pub(super) fn table(report: &Report) -> String {
    let mut out = head(report);
    out.push('\n');
    row(&mut out, "messages", &count(report.messages));
    if report.unsent > 0 {
        row(&mut out, "", &unsent(report));
    }
    row(&mut out, "messages/s", &count(report.messages_per_second.round() as u64));
    row(&mut out, "MB/s", &format!("{} each way", megabytes(report.bytes_per_second)));
    out.push('\n');
    latencies(&mut out, report);
    out.push('\n');
    let connections = &report.connections;
    let counts =
        [(connections.opened, "opened"), (connections.failed, "failed"), (connections.reset, "reset")];
    let mut text = counts.map(|(number, what)| format!("{} {what}", count(number))).join(", ");
    if connections.ended_early > 0 {
        let _ = write!(text, " ({} of them by an end of stream)", count(connections.ended_early));
    }
    row(&mut out, "connections", &text);
    for reason in &report.failures {
        row(&mut out, "", &format!("{} × {}", count(reason.count), reason.reason));
    }
    mismatches(&mut out, report);
    row(&mut out, "timeouts", &count(report.timeouts));
    stalls(&mut out, &report.stalls);
    out.push('\n');
    costs(&mut out, report);
    remarks(&mut out, report);
    search(&mut out, report);
    comparison(&mut out, report);
    assertions(&mut out, report);
    out
}

fn row(out: &mut String, name: &str, value: &str) {
    wrapped(out, &format!("{name:NAMES$}"), value, WIDTH);
}

/// Three digits; all of them from 1,000 on.
fn megabytes(bytes_per_second: f64) -> String {
    let megabytes = bytes_per_second / 1e6;
    if megabytes < 999.0 { short(megabytes) } else { count(megabytes.round() as u64) }
}

/// What was done, in two lines or a few.
fn head(report: &Report) -> String {
    let config = &report.config;
    let connections = units::count(config.connections.into(), "connection");
    let mut parts = vec![
        format!("{}: {connections}", config.target),
        format!("messages of {}", bytes(config.size as f64)),
    ];
    if config.pipeline > 1 {
        parts.push(format!("{} in flight each", config.pipeline));
    }
    parts.push(match config.rate {
        Some(rate) => format!("{} messages/s on a schedule", number(rate)),
        None => "closed loop".to_owned(),
    });
    if config.behave != ["normal"] {
        parts.push(config.behave.join(" and "));
    }
    let mut out = listed(&parts);
    let measured = if report.interrupted { "interrupted after" } else { "measured for" };
    let _ = write!(out, "\n{measured} {} s", number(round(report.duration_seconds)));
    if config.warmup_seconds > 0.0 {
        let _ = write!(out, " after {} s of warm-up", number(config.warmup_seconds));
    }
    let threads = units::count(config.threads.into(), "thread");
    let _ =
        writeln!(out, " ({}, {threads}{})", report.system.backend, if config.pin { ", pinned" } else { "" });
    out
}

/// With commas between them. A part that does not fit begins the next line.
fn listed(parts: &[String]) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for (index, part) in parts.iter().enumerate() {
        let comma = usize::from(index + 1 < parts.len());
        let len = part.chars().count();
        if index > 0 {
            // The comma after this part belongs to its line.
            let fits = column + 1 + len + comma <= WIDTH;
            out.push_str(if fits { " " } else { "\n  " });
            column = if fits { column + 1 } else { 2 };
        }
        out.push_str(part);
        out.push_str(if comma == 1 { "," } else { "" });
        column += len + comma;
    }
    out
}

/// With as many decimals as it has.
pub(super) fn number(number: f64) -> String {
    if number.fract() == 0.0 && (0.0..1e15).contains(&number) {
        count(number as u64)
    } else {
        number.to_string()
    }
}

pub(super) fn round(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

/// What was due and not sent, in words.
pub(super) fn unsent(report: &Report) -> String {
    format!("{} more were due and not sent by the end: their connections waited", count(report.unsent))
}

fn latencies(out: &mut String, report: &Report) {
    let names = ["min", "p50", "p90", "p99", "p99.9", "max"];
    let line = |out: &mut String, name: &str, cells: &[String]| {
        let _ = write!(out, "{name:NAMES$}");
        let text: String = cells.iter().map(|cell| format!("{cell:<11}")).collect();
        let _ = writeln!(out, "{}", text.trim_end());
    };
    line(out, "latency", &names.map(str::to_owned));
    match &report.latency_actual_ns {
        None => line(out, "", &cells(&report.latency_ns)),
        Some(actual) => {
            line(out, "from schedule", &cells(&report.latency_ns));
            line(out, "from sending", &cells(actual));
        }
    }
}

fn cells(latency: &Latency) -> Vec<String> {
    let Latency { min, p50, p90, p99, p999, max, .. } = latency;
    let cell = |ns: &Option<u64>| ns.map_or("–".to_owned(), |ns| nanoseconds(ns as f64));
    [min, p50, p90, p99, p999, max].map(cell).to_vec()
}

fn mismatches(out: &mut String, report: &Report) {
    if !report.config.check {
        row(out, "mismatches", "not compared (--no-check)");
        if report.mismatches == 0 {
            return;
        }
    }
    if report.config.check {
        row(out, "mismatches", &count(report.mismatches));
    } else {
        row(out, "", &format!("{} with a missing or extra byte", count(report.mismatches)));
    }
    let listed = report.first_mismatches.len().min(LISTED);
    for wrong in &report.first_mismatches[..listed] {
        row(out, "", &mismatch(wrong));
    }
    match report.mismatches.saturating_sub(listed as u64) {
        more if more > 0 && listed > 0 => row(out, "", &format!("and {} more", count(more))),
        _ => {}
    }
}

/// One byte that was wrong, in words.
pub(super) fn mismatch(wrong: &WrongByte) -> String {
    let WrongByte { connection, offset, expected, got } = wrong;
    let what = match (expected, got) {
        (Some(expected), Some(got)) => format!("expected 0x{expected:02x}, got 0x{got:02x}"),
        (Some(expected), None) => format!("expected 0x{expected:02x}, got the end of the stream"),
        (None, Some(got)) => format!("expected nothing, got 0x{got:02x}"),
        (None, None) => "one byte is wrong".to_owned(),
    };
    format!("connection {connection}, byte {offset}: {what}")
}

fn stalls(out: &mut String, stalls: &[Stall]) {
    row(out, "stalls", &count(stalls.len() as u64));
    // The longest ones.
    let mut longest: Vec<_> = stalls.iter().collect();
    longest.sort_by(|one, other| other.length_seconds.total_cmp(&one.length_seconds));
    let listed = &mut longest[..stalls.len().min(LISTED)];
    listed.sort_by(|one, other| one.at_seconds.total_cmp(&other.at_seconds));
    for stall in listed.iter() {
        row(out, "", &stall_line(stall));
    }
    if stalls.len() > LISTED {
        row(out, "", &format!("and {} shorter ones", count((stalls.len() - LISTED) as u64)));
    }
}

/// One stall, in words.
pub(super) fn stall_line(stall: &Stall) -> String {
    let connections = units::count(stall.connections, "connection");
    let length = nanoseconds(stall.length_seconds * 1e9);
    format!("at {:.1} s for {length}: {connections}", stall.at_seconds)
}

/// CPU time, memory, and how late the generator was.
fn costs(out: &mut String, report: &Report) {
    let generator = &report.generator;
    let mut text = cpu(generator.cpu_percent, generator.cpu_ns_per_message);
    if let Some(late) = generator.late_ns_p99 {
        let _ = write!(text, "; late by {} (p99)", nanoseconds(late as f64));
    }
    row(out, "generator", &text);
    if let Some(waited) = generator.waited_for_processor_ns.filter(|ns| *ns > 0) {
        let share = waited as f64 / 1e7 / report.duration_seconds / f64::from(report.config.threads);
        if share >= 5.0 {
            row(out, "", &format!("waited for a processor {share:.0} % of the time"));
        }
    }
    if let Some(server) = &report.server {
        row(out, "server", &cpu(server.cpu_percent, server.cpu_ns_per_message));
        row(out, "", &format!("{} of memory", units::bytes(server.rss_bytes)));
        if let Some(switches) = server.voluntary_switches {
            let mut text = format!("{} voluntary", count(switches));
            if let Some(switches) = server.involuntary_switches {
                let _ = write!(text, " and {} involuntary", count(switches));
            }
            row(out, "", &(text + " context switches"));
        }
    } else if let Some(text) = unknown_server(report) {
        row(out, "server", &text);
    }
}

/// Why there are no figures of the server's process, if they were asked for.
pub(super) fn unknown_server(report: &Report) -> Option<String> {
    let pid = report.config.server_pid.filter(|_| report.server.is_none())?;
    // The process could be read before the run began, and the figures need it at both ends of the measured part.
    let why = if report.duration_seconds > 0.0 {
        format!("process {pid} ended before the run did")
    } else {
        format!("process {pid}: nothing was measured")
    };
    Some(format!("{why}; its use is not known"))
}

fn cpu(percent: f64, per_message: Option<f64>) -> String {
    let per_message = per_message.map_or(String::new(), |ns| format!(", {} per message", nanoseconds(ns)));
    format!("{percent:.0} % of a processor{per_message}")
}

/// What has to be known to read the figures.
fn remarks(out: &mut String, report: &Report) {
    // Where there is no latency, nothing has to be known to read it.
    if report.closed_loop && report.latency_ns.p50.is_some() {
        out.push_str(
            "\nclosed loop: latencies do not include the time that messages waited to be sent\n\
             (coordinated omission); give --rate\n",
        );
    }
    if let Some(bottleneck) = &report.generator.bottleneck {
        out.push('\n');
        wrapped(out, "", &format!("the generator was the bottleneck: {bottleneck}"), WIDTH);
    }
}

fn search(out: &mut String, report: &Report) {
    let Some(steps) = &report.search else { return };
    match report.highest_rate.flatten() {
        Some(rate) => {
            let _ = writeln!(out, "\nhighest rate   {} messages/s", count(rate.round() as u64));
        }
        None => {
            let lowest = steps.iter().map(|step| step.rate).fold(f64::INFINITY, f64::min);
            let _ = writeln!(
                out,
                "\nhighest rate   none: it does not hold at {} messages/s either",
                number(lowest)
            );
        }
    }
}

fn comparison(out: &mut String, report: &Report) {
    let Some(differences) = &report.comparison else { return };
    let _ = writeln!(
        out,
        "\n{:28}{:>9}{:>10}{:>7}  {:13}",
        "compared", "before", "after", "ratio", "95 % interval"
    );
    for difference in differences {
        let [before, after] = [difference.before, difference.after].map(|value| {
            if difference.key.contains("_ns") { nanoseconds(value) } else { count(value.round() as u64) }
        });
        let (interval, verdict) = judgement(difference);
        let _ = writeln!(
            out,
            "{:28}{before:>9}{after:>10}{:>7.2}  {interval:12}  {verdict}",
            difference.key, difference.ratio
        );
    }
}

/// The interval, and what it says.
pub(super) fn judgement(difference: &Difference) -> (String, &'static str) {
    let interval = format!("{:.2} to {:.2}", difference.low, difference.high);
    match difference {
        Difference { judged: false, .. } => ("–".to_owned(), "not judged"),
        Difference { differs: true, .. } => (interval, "differs"),
        Difference { differs: false, .. } => (interval, "noise"),
    }
}

fn assertions(out: &mut String, report: &Report) {
    if report.assertions.is_empty() {
        return;
    }
    out.push('\n');
    for assertion in &report.assertions {
        let verdict = if assertion.holds { "holds" } else { "does not hold" };
        wrapped(out, "", &format!("{}: {verdict} ({})", assertion.expression, assertion.shown()), WIDTH);
    }
}

#[cfg(test)]
mod tests {
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
        for part in [
            "127.0.0.1:9999: 50 connections, messages of 64 B, closed loop\n",
            "coordinated omission",
            "p99.9",
        ] {
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
        let stall =
            |at: u64| Stall { at_seconds: at as f64, length_seconds: 0.1 * at as f64, connections: 1 };
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
}
