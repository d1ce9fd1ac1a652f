//! The report for a person: plain text, aligned, as wide as a terminal usually is.

use std::fmt::Write;

use proactor::backend::probe::Finding;

use super::limits::{Advice, Amount, Row, TARGETS};
use super::{Permissions, Report};
use crate::units::bytes;

const WIDTH: usize = 80;
const FEATURES_A_LINE: usize = 3;

pub(super) fn of(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, report);
    backends(&mut out, report);
    if report.permissions.known() {
        rings(&mut out, report);
    }
    limits(&mut out, report);
    out.push('\n');
    for target in 0..TARGETS.len() {
        settings(&mut out, &report.limits, target);
    }
    if out.contains("sysctl -w") {
        out.push_str("What sysctl sets lasts until the next boot; a file in /etc/sysctl.d keeps it.\n");
    }
    out
}

fn head(out: &mut String, report: &Report) {
    let version = env!("CARGO_PKG_VERSION");
    let release = report.release.as_deref().map_or(String::new(), |release| format!(" {release}"));
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let _ = writeln!(out, "overlapped {version} on {os}{release}, {arch}, {}\n", workers(report.workers));
}

fn workers(count: usize) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}

fn backends(out: &mut String, report: &Report) {
    out.push_str("Backends, each made once for every worker\n");
    let auto = report.auto();
    for (name, tried) in &report.backends {
        let word = name.as_str();
        match tried {
            Ok(_) if auto == Some(*name) => {
                let _ = writeln!(out, "  {word:<9}  works; auto takes it");
            }
            Ok(_) => {
                let _ = writeln!(out, "  {word:<9}  works");
            }
            Err(refusal) => {
                wrapped(out, &format!("  {word:<9}  "), &format!("refused: {}", refusal.reason));
                wrapped(out, "             ", &format!("remedy: {}", refusal.remedy));
            }
        }
    }
    if auto.is_none() {
        out.push_str("  None works: `serve` cannot start here.\n");
    }
    out.push('\n');
}

impl Permissions {
    fn known(&self) -> bool {
        self.io_uring_disabled.is_some() || self.io_uring_group.is_some() || self.seccomp_filtered.is_some()
    }

    fn in_words(&self) -> String {
        let mut words = Vec::new();
        if let Some(value) = &self.io_uring_disabled {
            let meaning = match value.as_str() {
                "1" => " (one group may)",
                "2" => " (nobody may)",
                _ => "",
            };
            words.push(format!("kernel.io_uring_disabled {value}{meaning}"));
        }
        words.extend(self.io_uring_group.as_ref().map(|group| format!("io_uring_group {group}")));
        words.extend(self.seccomp_filtered.map(|filtered| {
            if filtered { "a seccomp filter is active" } else { "no seccomp filter" }.to_owned()
        }));
        words.join(", ")
    }
}

fn rings(out: &mut String, report: &Report) {
    out.push_str("Rings of this kernel, each feature tried\n");
    if report.features.is_empty() {
        out.push_str("  not tried: no ring can be made\n");
    }
    for line in report.features.chunks(FEATURES_A_LINE) {
        let cell = |feature: &proactor::backend::probe::Feature| {
            let found = match feature.finding {
                Finding::Present => "yes",
                Finding::Absent => "no",
                Finding::Untried(_) => "unknown",
            };
            format!("{:<17} {found:<7}", feature.name)
        };
        let line: Vec<String> = line.iter().map(cell).collect();
        let _ = writeln!(out, "  {}", line.join(" ").trim_end());
    }
    for feature in &report.features {
        if let Finding::Untried(why) = &feature.finding {
            wrapped(out, "  ", &format!("{} could not be tried: {why}", feature.name));
        }
    }
    for size in report.backends.iter().filter_map(|(_, tried)| tried.as_ref().ok()?.ring) {
        if size.least < size.wanted {
            let halved = format!(
                "the rings have room for {} submissions instead of {}: more system calls; see memory lock",
                size.least, size.wanted
            );
            wrapped(out, "  ", &halved);
        }
    }
    wrapped(out, "  ", &report.permissions.in_words());
    out.push('\n');
}

fn limits(out: &mut String, report: &Report) {
    if !report.limits.is_empty() {
        let _ = writeln!(out, "{:<32} {:>11}   {:<15}  100,000 sessions", "Limits", "now", "10,000 sessions");
    }
    for row in &report.limits {
        let [ten, hundred] = row.advice.each_ref().map(in_a_word);
        let _ = writeln!(out, "  {:<30} {:>11}   {ten:<15}  {hundred}", row.name, amount(&row.now));
    }
    match report.room {
        Some(0) => out.push_str("The descriptor limit leaves no room for a session: serve will not start.\n"),
        Some(room) => {
            let _ = writeln!(out, "The descriptor limit leaves room for {room} sessions.");
        }
        None => out.push_str("No descriptor limit is known; sessions are bounded by memory.\n"),
    }
}

fn in_a_word(advice: &Advice) -> String {
    match advice {
        Advice::Fine => "fine".to_owned(),
        Advice::RaisedByServe => "serve raises it".to_owned(),
        Advice::Set { to, .. } => to.clone(),
        Advice::Unknown => "unknown".to_owned(),
    }
}

fn amount(amount: &Amount) -> String {
    match amount {
        Amount::Count(count) => count.to_string(),
        Amount::Bytes(count) => bytes(*count),
        Amount::Ports(first, last) => format!("{first}-{last}"),
        Amount::Unlimited => "unlimited".to_owned(),
    }
}

/// What to run for one of the targets; each step once, though two limits may ask for the same.
fn settings(out: &mut String, rows: &[Row], target: usize) {
    let mut steps: Vec<&str> = Vec::new();
    for row in rows {
        let Advice::Set { how, .. } = &row.advice[target] else { continue };
        for step in how {
            if !steps.contains(&step.as_str()) {
                steps.push(step);
            }
        }
    }
    let sessions = ["10,000", "100,000"][target];
    match steps.as_slice() {
        _ if rows.is_empty() => {}
        [] => {
            let _ = writeln!(out, "For {sessions} sessions: nothing to set.");
        }
        steps => {
            let _ = writeln!(out, "For {sessions} sessions, as root:");
            for step in steps {
                wrapped(out, "  ", step);
            }
        }
    }
}

/// Text after a first column; what does not fit goes under its beginning.
fn wrapped(out: &mut String, first: &str, text: &str) {
    let indent = first.chars().count();
    let mut column = indent;
    out.push_str(first);
    for (index, word) in text.split(' ').enumerate() {
        let len = word.chars().count();
        if index > 0 && column + 1 + len > WIDTH {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += len;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_goes_on_under_its_beginning() {
        let mut out = String::new();
        wrapped(&mut out, "ab  ", &["word"; 20].join(" "));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("ab  word") && lines[0].len() <= WIDTH);
        assert!(lines[1].starts_with("    word"));
        assert_eq!(out.split_whitespace().count(), 21);
    }

    #[test]
    fn a_remedy_is_printed_once() {
        let set = Advice::Set { to: "8".into(), how: vec!["do this".into()] };
        let row = |name| Row { name, now: Amount::Count(1), advice: [Advice::Fine, set.clone()] };
        let rows = [row("soft"), row("hard")];
        let mut out = String::new();
        settings(&mut out, &rows, 0);
        assert!(out.contains("10,000 sessions: nothing"), "{out}");
        out.clear();
        settings(&mut out, &rows, 1);
        assert_eq!(out.matches("do this").count(), 1, "{out}");
    }
}
