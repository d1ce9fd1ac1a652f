//! `--html`: the report on one page that needs nothing but itself: no script, no font, no picture from elsewhere. The
//! charts are in [`charts`] and [`timeline`], the tables in [`tables`], the styles in `page.css`.

mod charts;
mod tables;
mod timeline;

use std::fmt::Write;

use overlapped_measure::chart::{self, escaped};
use overlapped_measure::number::{bytes, count, nanoseconds, percent, short};

use super::report::Report;
use super::{errors, text};
use crate::units;

const STYLES: &str = include_str!("page.css");

pub(super) fn of(report: &Report) -> String {
    let target = escaped(&report.config.target);
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Load on {target}</title>\n\
         <style>\n{}{STYLES}</style>\n</head>\n<body>\n<div class=\"page\">\n",
        chart::STYLES
    );
    head(&mut out, report);
    out.push_str("<main>\n");
    figures(&mut out, report);
    charts::percentiles(&mut out, report);
    timeline::timeline(&mut out, report);
    tables::problems(&mut out, report);
    tables::search(&mut out, report);
    tables::comparison(&mut out, report);
    tables::configuration(&mut out, report);
    out.push_str("</main>\n");
    let _ = writeln!(
        out,
        "<footer class=\"small\"><p>Made by <code>overlapped load</code> {}. The same as data: <code>--json</code>.</p>\
         </footer>\n</div>\n</body>\n</html>",
        escaped(&report.version)
    );
    out
}

fn head(out: &mut String, report: &Report) {
    let config = &report.config;
    let schedule = match config.rate {
        Some(rate) => format!("{} messages per second on a fixed schedule", text::number(rate)),
        None => "a closed loop".to_owned(),
    };
    let pipeline = match config.pipeline {
        1 => String::new(),
        pipeline => format!(", up to {pipeline} in flight on each"),
    };
    let began = escaped(&report.started_at);
    let _ = write!(
        out,
        "<header>\n<p class=\"kicker\"><code>overlapped load</code></p>\n<h1>{}</h1>\n\
         <p class=\"lead\">{}, messages of {}{pipeline}, {schedule}; {} for {} s.</p>\n\
         <p class=\"small\"><time datetime=\"{began}\">{began}</time></p>\n",
        escaped(&config.target),
        units::count(config.connections.into(), "connection"),
        bytes(config.size as f64),
        if report.interrupted { "interrupted, measured" } else { "measured" },
        text::number(text::round(report.duration_seconds)),
    );
    verdicts(out, report);
    out.push_str("</header>\n");
}

/// What is right, wrong, or to be known.
enum Sign {
    Good,
    Bad,
    Note,
}

fn verdicts(out: &mut String, report: &Report) {
    out.push_str("<ul class=\"verdicts\">\n");
    let mut say = |sign: &Sign, text: &str| {
        let (class, sign, name) = match sign {
            Sign::Good => ("good", "✓", "good:"),
            Sign::Bad => ("bad", "✗", "bad:"),
            Sign::Note => ("note", "!", "note:"),
        };
        let _ = writeln!(
            out,
            "<li><span class=\"sign {class}\" role=\"img\" aria-label=\"{name}\">{sign}</span><span>{}</span></li>",
            escaped(text)
        );
    };
    if let Some((sign, text)) = echoes(report) {
        say(&sign, text);
    }
    if report.errors > 0 {
        say(&Sign::Bad, &format!("Errors: {}", errors(report)));
    }
    for assertion in &report.assertions {
        let shown = assertion.shown();
        if assertion.holds {
            say(&Sign::Good, &format!("{} holds: {shown}", assertion.expression));
        } else {
            say(&Sign::Bad, &format!("{} does not hold: {shown}", assertion.expression));
        }
    }
    if let Some(highest) = report.highest_rate {
        match highest {
            Some(rate) => say(&Sign::Good, &format!("Highest rate found: {} messages/s", text::number(rate))),
            None => say(&Sign::Bad, "No rate was found at which the expression holds"),
        }
    }
    for text in left_out(report) {
        say(&Sign::Note, &text);
    }
    if !report.stalls.is_empty() {
        let stalls = units::count(report.stalls.len() as u64, "stall");
        say(&Sign::Note, &format!("{stalls}: times in which connections waited and no echo came"));
    }
    match &report.generator.bottleneck {
        Some(why) => say(&Sign::Bad, &format!("The generator was the bottleneck: {why}")),
        // Without a message there is nothing that it could have limited.
        None if report.messages == 0 => {}
        None => say(&Sign::Good, &late(report)),
    }
    if let Some(text) = text::unknown_server(report) {
        say(&Sign::Note, &format!("Server: {text}"));
    }
    if report.closed_loop {
        let text = "Closed loop: latencies do not include the time that messages waited to be sent (coordinated \
                    omission); --rate measures that";
        say(&Sign::Note, text);
    }
    out.push_str("</ul>\n");
}

/// What the figures do not count.
fn left_out(report: &Report) -> Vec<String> {
    let unsent = (report.unsent > 0).then(|| format!("Messages: {}", text::unsent(report)));
    let given_up = (report.given_up > 0).then(|| format!("Messages: {}", text::given_up(report)));
    let slow = text::left_out(report).map(|text| format!("Slow readers: {text}"));
    [unsent, given_up, slow].into_iter().flatten().collect()
}

/// Whether there were echoes, and the right ones.
fn echoes(report: &Report) -> Option<(Sign, &'static str)> {
    match report.errors {
        _ if report.messages == 0 && report.interrupted => {
            Some((Sign::Bad, "It was interrupted before an echo was measured"))
        }
        _ if report.messages == 0 => Some((Sign::Bad, "No echo was complete while it was measured")),
        0 if report.config.check => Some((Sign::Good, "No errors; every echoed byte was the right one")),
        0 => Some((Sign::Good, "No errors; bytes were not compared")),
        _ => None,
    }
}

fn late(report: &Report) -> String {
    let late = report.generator.late_ns_p99;
    let late = late.map_or(String::new(), |ns| format!("; it was late by {} (p99)", nanoseconds(ns as f64)));
    format!("The generator was not the bottleneck{late}")
}

/// The figures that are looked for first.
fn figures(out: &mut String, report: &Report) {
    let time = |ns: Option<u64>| ns.map_or("–".to_owned(), |ns| nanoseconds(ns as f64));
    let latency = &report.latency_ns;
    let mut figures = vec![
        ("messages per second", count(report.messages_per_second.round() as u64)),
        ("median latency", time(latency.p50)),
        ("p99", time(latency.p99)),
        ("p99.9", time(latency.p999)),
        ("longest", time(latency.max)),
        ("each way", format!("{}B/s", spaced(&short(report.bytes_per_second)))),
    ];
    if let Some(ns) = report.server.as_ref().and_then(|server| server.cpu_ns_per_message) {
        figures.push(("server CPU per message", nanoseconds(ns)));
    }
    if let Some(server) = &report.server {
        figures.push(("memory of the server", bytes(server.rss_bytes as f64)));
    }
    figures
        .push(("CPU of the generator", percent((report.generator.cpu_percent / 100.0 * 1e3).round() / 1e3)));
    out.push_str("<dl class=\"figures\">\n");
    for (name, value) in figures {
        let _ = writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escaped(&value));
    }
    out.push_str("</dl>\n");
}

/// With a space before the unit, also where there is no prefix.
fn spaced(number: &str) -> String {
    if number.contains(' ') { number.to_owned() } else { format!("{number} ") }
}

#[cfg(test)]
mod tests;
