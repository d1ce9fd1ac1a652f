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
    if report.given_up > 0 {
        row(&mut out, "", &given_up(report));
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
        Some(rate) => {
            let noun = if rate == 1.0 { "message/s" } else { "messages/s" };
            format!("{} {noun} on a schedule", number(rate))
        }
        None => "closed loop".to_owned(),
    });
    if config.behave != ["normal"] {
        parts.push(config.behave.join(" and "));
    }
    let mut out = listed(&parts);
    out.push('\n');
    out.push_str(&how_long(report));
    let threads = units::count(config.threads.into(), "thread");
    let _ =
        writeln!(out, " ({}, {threads}{})", report.system.backend, if config.pin { ", pinned" } else { "" });
    out
}

/// What was measured of the run.
fn how_long(report: &Report) -> String {
    let (measured, planned) = (report.duration_seconds, report.config.duration_seconds);
    if report.interrupted && measured == 0.0 {
        return "interrupted before anything was measured".to_owned();
    }
    // All of it was sent, and the last echoes were not awaited; or a search, which has several runs, was interrupted later.
    let is_whole = measured >= planned;
    let seconds = number(round(measured));
    let mut text = match report.interrupted && !is_whole {
        true if report.config.warmup_seconds > 0.0 => format!("interrupted {seconds} s"),
        true => format!("interrupted after {seconds} s"),
        false => format!("measured for {seconds} s"),
    };
    if report.config.warmup_seconds > 0.0 {
        let _ = write!(text, " after {} s of warm-up", number(report.config.warmup_seconds));
    }
    if report.interrupted && is_whole {
        text.push_str(if report.search.is_some() { ", then interrupted" } else { ", then not waited for" });
    }
    text
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

/// What was not awaited, in words.
pub(super) fn given_up(report: &Report) -> String {
    format!("{} more were given up: their connections were reset on purpose", count(report.given_up))
}

/// What the latencies leave out, in words.
pub(super) fn left_out(report: &Report) -> Option<&'static str> {
    let has_slow_readers = report.config.behave.iter().any(|how| how == "slow-reader");
    has_slow_readers.then_some("latencies of slow readers are left out: they wait on purpose")
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
    if let Some(text) = left_out(report) {
        let _ = writeln!(out, "\n{text}");
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
            let so_far = if report.interrupted { " (the search was interrupted)" } else { "" };
            let _ = writeln!(out, "\nhighest rate   {} messages/s{so_far}", number(rate));
        }
        None if steps.is_empty() => out.push_str("\nhighest rate   none was tried\n"),
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
            "{:28}{before:>9} {after:>9}{:>7.2}  {interval:12}  {verdict}",
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
mod tests;
