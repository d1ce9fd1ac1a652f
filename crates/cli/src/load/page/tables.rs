//! What is read rather than seen: errors, steps of a search, differences, and how it was measured.

use std::fmt::Write;

use overlapped_measure::chart::escaped;
use overlapped_measure::number::{bytes, count, nanoseconds, short};

use crate::load::report::{Difference, Report, Step};
use crate::load::text;
use crate::units;

/// Rows of a table at most: the JSON has the others.
const ROWS: usize = 20;

fn open(out: &mut String, heading: &str, about: &str) {
    let _ = write!(out, "<section class=\"card\">\n<header><h2>{heading}</h2>");
    if !about.is_empty() {
        let _ = write!(out, "<p class=\"small\">{about}</p>");
    }
    out.push_str("</header>\n");
}

fn table(out: &mut String, class: &str, columns: &[&str], rows: &[Vec<String>]) {
    let _ = write!(out, "<div class=\"scroll\"><table class=\"{class}\">\n<thead><tr>");
    for column in columns {
        let _ = write!(out, "<th scope=\"col\">{column}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows.iter().take(ROWS) {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{cell}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
    if rows.len() > ROWS {
        let more = count((rows.len() - ROWS) as u64);
        let _ = writeln!(out, "<p class=\"small\">And {more} more, which the JSON has.</p>");
    }
}

/// Stalls and errors, if there were any.
pub(super) fn problems(out: &mut String, report: &Report) {
    if !report.stalls.is_empty() {
        open(out, "Stalls", "Connections waited for an echo, and none came.");
        let row = |stall: &crate::load::report::Stall| {
            let length = nanoseconds(stall.length_seconds * 1e9);
            vec![format!("{:.1} s", stall.at_seconds), length, count(stall.connections)]
        };
        let rows: Vec<_> = report.stalls.iter().map(row).collect();
        table(out, "numbers", &["at", "for", "connections"], &rows);
        out.push_str("</section>\n");
    }
    if report.errors == 0 {
        return;
    }
    open(out, "Errors", "Over the whole run, warm-up included. Each one closes its connection.");
    let connections = &report.connections;
    let rows = [
        ("connections that failed", connections.failed),
        (
            "connections that the server reset",
            connections.reset - connections.ended_early.min(connections.reset),
        ),
        ("connections that the server ended early", connections.ended_early),
        ("echoes later than the reply timeout", report.timeouts),
        ("messages with a wrong, missing or extra byte", report.mismatches),
    ];
    let rows = rows.iter().filter(|(_, number)| *number > 0);
    let rows: Vec<_> = rows.map(|(what, number)| vec![(*what).to_owned(), count(*number)]).collect();
    table(out, "pairs", &["what", "how often"], &rows);
    if !report.failures.is_empty() {
        out.push_str("<h3>Why connections failed</h3>\n");
        let row = |reason: &crate::load::report::Reason| vec![escaped(&reason.reason), count(reason.count)];
        table(out, "pairs", &["reason", "how often"], &report.failures.iter().map(row).collect::<Vec<_>>());
    }
    if !report.first_mismatches.is_empty() {
        out.push_str("<h3>First wrong bytes</h3>\n<ul class=\"list\">\n");
        for wrong in &report.first_mismatches {
            let _ = writeln!(out, "<li>{}</li>", escaped(&text::mismatch(wrong)));
        }
        match report.mismatches.saturating_sub(report.first_mismatches.len() as u64) {
            0 => {}
            more => {
                let _ = writeln!(out, "<li>and {} more</li>", count(more));
            }
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</section>\n");
}

pub(super) fn search(out: &mut String, report: &Report) {
    let Some(steps) = &report.search else { return };
    open(
        out,
        "Search for the highest rate",
        "Each rate was tried several times; slow phases of a machine only make runs worse.",
    );
    let mut steps: Vec<&Step> = steps.iter().collect();
    steps.sort_by(|one, other| other.rate.total_cmp(&one.rate));
    let row = |step: &&Step| {
        let sign = if step.holds {
            "<span class=\"good\">✓ holds</span>"
        } else {
            "<span class=\"bad\">✗ does not</span>"
        };
        vec![text::number(step.rate), sign.to_owned(), format!("{} of {}", step.held, step.tries)]
    };
    table(out, "numbers", &["messages/s", "", "runs that held"], &steps.iter().map(row).collect::<Vec<_>>());
    out.push_str("</section>\n");
}

pub(super) fn comparison(out: &mut String, report: &Report) {
    let Some(differences) = &report.comparison else { return };
    let about = "The ratio is after by before; its interval holds the true ratio in 95 of 100 cases, as far as these runs \
                 can tell. What differs is further from 1 than noise explains.";
    open(out, "Compared with earlier", about);
    let row = |difference: &Difference| {
        let number = |value: f64| {
            if difference.key.contains("_ns") { nanoseconds(value) } else { short(value) }
        };
        let (interval, verdict) = text::judgement(difference);
        let verdict = match difference.differs {
            true => format!("<span class=\"bad\">{verdict}</span>"),
            false => verdict.to_owned(),
        };
        vec![
            format!("<code>{}</code>", escaped(&difference.key)),
            number(difference.before),
            number(difference.after),
            format!("{:.2}", difference.ratio),
            interval,
            verdict,
        ]
    };
    let columns = ["", "before", "after", "ratio", "95 % interval", ""];
    table(out, "numbers", &columns, &differences.iter().map(row).collect::<Vec<_>>());
    out.push_str("</section>\n");
}

pub(super) fn configuration(out: &mut String, report: &Report) {
    let (config, system) = (&report.config, &report.system);
    let seconds = |seconds: f64| format!("{} s", text::number(seconds));
    let mut rows = vec![
        ("target", config.target.clone()),
        ("addresses", config.addresses.join(", ")),
        ("connections", count(config.connections.into())),
        ("message", bytes(config.size as f64)),
        ("in flight", format!("{} per connection", count(config.pipeline.into()))),
        (
            "rate",
            config.rate.map_or("closed loop".to_owned(), |rate| format!("{} messages/s", text::number(rate))),
        ),
        ("warm-up", seconds(config.warmup_seconds)),
        ("duration", seconds(config.duration_seconds)),
        ("reply timeout", seconds(config.reply_timeout_seconds)),
        ("behaviour", config.behave.join(", ")),
        ("bytes compared", yes(config.check)),
        ("threads", format!("{}{}", config.threads, if config.pin { ", pinned" } else { "" })),
        ("backend", format!("{} (asked for: {})", system.backend, config.backend)),
    ];
    rows.extend(used(report));
    rows.extend(machine(report));
    open(out, "How it was measured", "");
    out.push_str("<dl class=\"config\">\n");
    for (name, value) in rows {
        let _ = writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escaped(&value));
    }
    out.push_str("</dl>\n</section>\n");
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// What the generator and the server used.
fn used(report: &Report) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let connections = &report.connections;
    rows.push(("connections opened", count(connections.opened)));
    let generator = &report.generator;
    let waited = generator.waited_for_processor_ns;
    rows.push((
        "generator's busiest thread",
        format!("{:.0} % of a processor", generator.busiest_thread_percent),
    ));
    if let Some(ns) = waited {
        rows.push(("generator waited for a processor", nanoseconds(ns as f64)));
    }
    if let Some(server) = &report.server {
        let pid = report.config.server_pid.map_or_else(unknown, |pid| pid.to_string());
        rows.push(("server", format!("process {pid}, {:.0} % of a processor", server.cpu_percent)));
        rows.push(("server's memory", units::bytes(server.rss_bytes)));
        let switches =
            [(server.voluntary_switches, "voluntary"), (server.involuntary_switches, "involuntary")];
        let switches: Vec<_> = switches
            .iter()
            .filter_map(|(number, kind)| Some(format!("{} {kind}", count((*number)?))))
            .collect();
        if !switches.is_empty() {
            rows.push(("server's context switches", switches.join(", ")));
        }
    } else if let Some(text) = text::unknown_server(report) {
        rows.push(("server", text));
    }
    rows
}

fn machine(report: &Report) -> Vec<(&'static str, String)> {
    let system = &report.system;
    let mut rows = Vec::new();
    rows.push(("processor", system.processor.clone().unwrap_or_else(unknown)));
    rows.push(("processors", system.processors.to_string()));
    if let Some(fsrm) = system.fsrm {
        rows.push(("fast short copies (fsrm)", yes(fsrm)));
    }
    rows.push(("kernel", system.kernel.clone().unwrap_or_else(|| system.os.clone())));
    rows
}
