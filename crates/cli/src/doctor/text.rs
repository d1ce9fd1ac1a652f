//! The report for a person: plain text, aligned, 80 columns wide, or as wide as a terminal that has less.

use std::fmt::Write;

use proactor::backend::feature::Finding;

use super::limits::{Advice, Amount, Row, TARGETS};
use super::machine::Answer;
use super::{Permissions, Report};
use crate::output::wrapped;
use crate::units::{bytes, count};

const WIDTH: usize = 80;
/// A feature and what was found of it.
const FEATURE: usize = 26;
/// Under this width the text is as on a terminal that has it.
const NARROWEST: usize = 40;

pub(super) fn of(report: &Report) -> String {
    let terminal = terminal_size::terminal_size_of(std::io::stdout());
    with_width(report, terminal.map_or(WIDTH, |(width, _)| width.0.into()).clamp(NARROWEST, WIDTH))
}

fn with_width(report: &Report, width: usize) -> String {
    let mut out = String::new();
    head(&mut out, report);
    backends(&mut out, report, width);
    if report.permissions.known() {
        rings(&mut out, report, width);
    }
    limits(&mut out, report, width);
    out.push('\n');
    for target in 0..TARGETS.len() {
        settings(&mut out, &report.limits, target, width);
    }
    if out.contains("sysctl -w") {
        let lasts = "What sysctl sets lasts until the next boot; a file in /etc/sysctl.d keeps it.";
        wrapped(&mut out, "", lasts, width);
    }
    out
}

fn head(out: &mut String, report: &Report) {
    let version = env!("CARGO_PKG_VERSION");
    let release = report.release.as_deref().map_or(String::new(), |release| format!(" {release}"));
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let _ = writeln!(
        out,
        "overlapped {version} on {os}{release}, {arch}, {}\n",
        count(report.workers as u64, "worker")
    );
}

fn backends(out: &mut String, report: &Report, width: usize) {
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
                wrapped(out, &format!("  {word:<9}  "), &format!("refused: {}", refusal.reason), width);
                wrapped(out, "             ", &format!("remedy: {}", refusal.remedy), width);
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
        let settings = [&self.io_uring_disabled, &self.io_uring_group];
        settings.iter().any(|answer| **answer != Answer::Absent) || self.seccomp_filtered != Answer::Absent
    }

    fn in_words(&self) -> String {
        let disabled = self.io_uring_disabled.as_ref().map(|value| {
            let meaning = match value.as_str() {
                "1" => " (one group may)",
                "2" => " (nobody may)",
                _ => "",
            };
            format!("kernel.io_uring_disabled {value}{meaning}")
        });
        let group = self.io_uring_group.as_ref().map(|group| format!("io_uring_group {group}"));
        let filtered = self.seccomp_filtered.map(|filtered| {
            if filtered { "a seccomp filter is active" } else { "no seccomp filter" }.to_owned()
        });
        let answers = [
            ("kernel.io_uring_disabled", disabled),
            ("io_uring_group", group),
            ("whether a seccomp filter is active", filtered),
        ];
        let words = answers.into_iter().filter_map(|(name, answer)| match answer {
            Answer::Is(words) => Some(words),
            Answer::Absent => None,
            Answer::NotReadable => Some(format!("{name}: not readable")),
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

fn rings(out: &mut String, report: &Report, width: usize) {
    out.push_str("Rings of this kernel, each feature tried\n");
    if report.features.is_empty() {
        out.push_str("  not tried: no ring can be made\n");
    }
    for line in report.features.chunks(width.saturating_sub(2) / FEATURE) {
        let cell = |feature: &proactor::backend::feature::Feature| {
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
            wrapped(out, "  ", &format!("{} could not be tried: {why}", feature.name), width);
        }
    }
    for size in report.backends.iter().filter_map(|(_, tried)| tried.as_ref().ok()?.ring) {
        if size.least < size.wanted {
            let halved = format!(
                "the rings have room for {} instead of {}: more system calls; see memory lock",
                count(size.least.into(), "submission"),
                size.wanted
            );
            wrapped(out, "  ", &halved, width);
        }
    }
    wrapped(out, "  ", &report.permissions.in_words(), width);
    out.push('\n');
}

fn limits(out: &mut String, report: &Report, width: usize) {
    let table = width >= WIDTH;
    if !report.limits.is_empty() {
        let targets = if table { "  10,000 sessions  100,000 sessions" } else { "" };
        let _ = writeln!(out, "{:<32} {:>12}{targets}", "Limits", "now");
    }
    for row in &report.limits {
        let [ten, hundred] = row.advice.each_ref().map(in_a_word);
        let _ = write!(out, "  {:<30} {:>12}", row.name, amount(&row.now));
        if table {
            let _ = writeln!(out, "  {ten:<15}  {hundred}");
        } else {
            let _ = writeln!(out, "\n    10,000: {ten}; 100,000: {hundred}");
        }
    }
    let room = match report.room {
        Some(0) => "The descriptor limit leaves no room for a session: serve will not start.".to_owned(),
        Some(room) => format!("The descriptor limit leaves room for {}.", count(room, "session")),
        None => "No descriptor limit is known; sessions are bounded by memory.".to_owned(),
    };
    wrapped(out, "", &room, width);
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
        Amount::NotReadable => "not readable".to_owned(),
    }
}

/// What to run for one of the targets; each step once, though two limits may ask for the same.
fn settings(out: &mut String, rows: &[Row], target: usize, width: usize) {
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
    let unknown = rows.iter().filter(|row| row.advice[target] == Advice::Unknown).map(|row| row.name);
    let unknown: Vec<&str> = unknown.collect();
    match steps.as_slice() {
        _ if rows.is_empty() => {}
        [] if unknown.is_empty() => {
            let _ = writeln!(out, "For {sessions} sessions: nothing to set.");
        }
        [] => {
            let _ = writeln!(out, "For {sessions} sessions: what is known is enough.");
        }
        steps => {
            let _ = writeln!(out, "For {sessions} sessions, as root:");
            for step in steps {
                // What is to be copied in one piece is left to the terminal.
                let step_width = if step.contains('"') { usize::MAX } else { width };
                wrapped(out, "  ", step, step_width);
            }
        }
    }
    if !unknown.is_empty() {
        wrapped(out, "  not known here: ", &unknown.join(", "), width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_printed_once() {
        let set = Advice::Set { to: "8".into(), how: vec!["do this".into()] };
        let row = |name| Row { name, now: Amount::Count(1), advice: [Advice::Fine, set.clone()] };
        let rows = [row("soft"), row("hard")];
        let mut out = String::new();
        settings(&mut out, &rows, 0, WIDTH);
        assert!(out.contains("10,000 sessions: nothing"), "{out}");
        out.clear();
        settings(&mut out, &rows, 1, WIDTH);
        assert_eq!(out.matches("do this").count(), 1, "{out}");
    }

    /// What could not be read is not fine for that.
    #[test]
    fn what_is_not_readable_is_never_nothing_to_set() {
        let unknown = [Advice::Unknown, Advice::Unknown];
        let row = |name, now, advice| Row { name, now, advice };
        let fine = || row("descriptors, soft", Amount::Unlimited, [Advice::Fine, Advice::Fine]);
        let hidden = || row("net.core.somaxconn", Amount::NotReadable, unknown.clone());
        let mut out = String::new();
        settings(&mut out, &[fine(), hidden()], 0, WIDTH);
        assert_eq!(
            out,
            "For 10,000 sessions: what is known is enough.\n  not known here: net.core.somaxconn\n"
        );
        out.clear();
        let set = Advice::Set { to: "8".into(), how: vec!["do this".into()] };
        settings(&mut out, &[row("memory lock", Amount::Count(1), [set.clone(), set]), hidden()], 1, WIDTH);
        assert!(out.ends_with("  do this\n  not known here: net.core.somaxconn\n"), "{out}");
    }

    #[test]
    fn what_is_hidden_of_the_permissions_is_said() {
        let hidden = Permissions {
            io_uring_disabled: Answer::NotReadable,
            io_uring_group: Answer::Absent,
            seccomp_filtered: Answer::NotReadable,
        };
        assert!(hidden.known());
        let wanted =
            "kernel.io_uring_disabled: not readable, whether a seccomp filter is active: not readable";
        assert_eq!(hidden.in_words(), wanted);
    }
}
