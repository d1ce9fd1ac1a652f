//! The results of workloads a to h as Markdown.

use std::collections::BTreeSet;

use overlapped_measure::number;
use overlapped_measure::stats::Estimate;

use super::jobs::{Job, Measure};
use super::results::Results;
use super::servers::Server;
use super::summary::{self, Ratio, Row, Verdict};

/// Rounds from which on a comparison counts.
const CLAIM: u32 = 21;

/// All of it: the machine, the verdicts, a table for each workload, and how the servers are started.
pub(super) fn markdown(results: &Results) -> String {
    let mut text = format!("### {}\n\n{}", results.machine.processor_in_full(), origin(results));
    text.push_str(&verdicts(results));
    for job in &results.jobs {
        text.push_str(&workload(results, job));
    }
    text.push_str(&servers(results));
    text
}

/// Where, when and by what the figures were made.
pub(super) fn origin(results: &Results) -> String {
    let commit = results.commit.as_ref().map_or(String::new(), |commit| format!(" at commit {commit}"));
    let mut text = format!(
        "{}: `{}`{commit}, on {}. Server on processor {}, generator on processor {}. The fastest empty system call took \
         {:.0} ns.\n",
        results.machine.date,
        results.command,
        results.machine.described(),
        numbers(&results.places.server),
        numbers(&results.places.generator),
        results.best_probe_ns
    );
    if let Some(why) = results.cut {
        text.push_str(&format!("\n**Not all rounds were measured: {}.**\n", why.in_words()));
    }
    text + "\n"
}

fn numbers(all: &[usize]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// One of ours with another server in a workload.
struct Comparison {
    workload: String,
    other: String,
    ratio: Ratio,
}

/// Each of ours against every other server: the ratios side by side, and the losses by name.
fn verdicts(results: &Results) -> String {
    let rows: Vec<(&Job, Vec<Row>)> =
        results.jobs.iter().map(|job| (job, summary::rows(results, job))).collect();
    let of_ours = |name: &str| {
        let all: Vec<Comparison> = rows.iter().flat_map(|(job, rows)| comparisons(job, rows, name)).collect();
        if all.is_empty() { String::new() } else { compared(name, &all) + &matrix(&all) }
    };
    let ours = distinct(results.jobs.iter().flat_map(summary::ours).map(|server| server.name.as_str()));
    ours.into_iter().map(of_ours).collect()
}

/// Those of a workload, in the order of the list of servers.
fn comparisons(job: &Job, rows: &[Row], ours: &str) -> Vec<Comparison> {
    let Some(at) = summary::ours(job).position(|server| server.name == ours) else { return Vec::new() };
    let comparison = |server: &Server| {
        let row = rows.iter().find(|row| row.server.name == server.name)?;
        Some(Comparison {
            workload: job.workload.key.clone(),
            other: server.name.clone(),
            ratio: row.ratios[at],
        })
    };
    job.servers.iter().filter(|server| !server.ours).filter_map(comparison).collect()
}

fn compared(ours: &str, all: &[Comparison]) -> String {
    let with = |wanted: Verdict| all.iter().filter(move |one| one.ratio.verdict() == Some(wanted));
    let mut text = format!(
        "**{ours}** against the others, workload by workload: ahead {}, level {}, behind {}",
        with(Verdict::Ahead).count(),
        with(Verdict::Level).count(),
        with(Verdict::Behind).count()
    );
    let without = all.iter().filter(|one| one.ratio.verdict().is_none());
    let (failed, unjudged): (Vec<&Comparison>, Vec<&Comparison>) =
        without.partition(|one| one.ratio == Ratio::Missing);
    if !unjudged.is_empty() {
        text.push_str(&format!(", not judged {}", unjudged.len()));
    }
    if !failed.is_empty() {
        text.push_str(&format!(", without figures {}", failed.len()));
    }
    text.push('.');
    let losses = with(Verdict::Behind).filter_map(|one| {
        Some(format!("{} against {}: {}", one.workload, one.other, interval(one.ratio.estimate()?)))
    });
    let losses: Vec<String> = losses.collect();
    if !losses.is_empty() {
        text.push_str(&format!(" Behind in {}.", losses.join("; ")));
    }
    text + "\n\n"
}

/// A row for each other server, a column for each workload.
fn matrix(all: &[Comparison]) -> String {
    let keys = distinct(all.iter().map(|one| one.workload.as_str()));
    let mut lines = vec![head(&[&["ours ÷"], &keys[..]].concat())];
    for other in distinct(all.iter().map(|one| one.other.as_str())) {
        let cell = |key: &&str| {
            let found = all.iter().find(|one| one.other == other && one.workload == *key);
            let ratio = found.map_or(Ratio::Missing, |one| one.ratio);
            match (ratio, ratio.verdict()) {
                (Ratio::Missing, _) => "none".to_owned(),
                (Ratio::NearZero, _) => "–".to_owned(),
                (Ratio::Estimated { estimate, .. }, Some(Verdict::Behind)) => {
                    format!("**{:.2}**", estimate.value)
                }
                (Ratio::Estimated { estimate, .. }, Some(Verdict::Level)) => format!("{:.2}", estimate.value),
                (Ratio::Estimated { estimate, .. }, Some(Verdict::Ahead)) => {
                    format!("*{:.2}*", estimate.value)
                }
                (Ratio::Estimated { estimate, .. }, None) => format!("{:.2}?", estimate.value),
            }
        };
        lines.push(line(std::iter::once(other.to_owned()).chain(keys.iter().map(cell))));
    }
    let mut text = format!("{}\n\nItalic: ahead. Bold: behind. Others: level.", lines.join("\n"));
    let has = |wanted: fn(&Comparison) -> bool| all.iter().any(wanted);
    if has(|one| one.ratio.estimate().is_some() && one.ratio.verdict().is_none()) {
        text.push_str(" With a question mark: from a single round, so not judged.");
    }
    if has(|one| one.ratio == Ratio::NearZero) {
        text.push_str(" –: the other needs less than 64 bytes, so a ratio says nothing.");
    }
    text + " None: one of both has no figures.\n\n"
}

/// Each once, in the order in which they come first.
fn distinct<'t>(all: impl Iterator<Item = &'t str>) -> Vec<&'t str> {
    let mut seen = BTreeSet::new();
    all.filter(|one| seen.insert(*one)).collect()
}

fn workload(results: &Results, job: &Job) -> String {
    let rows = summary::rows(results, job);
    let mut text = format!("#### {}: {}\n\n", job.workload.key, job.workload.what);
    let columns = columns(job.workload.measure);
    let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let ratios: Vec<String> = summary::ours(job).map(ratio_title).collect();
    let ratios: Vec<&str> = ratios.iter().map(String::as_str).collect();
    let mut lines = vec![head(&[&["server"], &titles[..], &ratios[..], &["rounds"]].concat())];
    for row in &rows {
        let mut cells = vec![name(row)];
        if row.decisive.is_some() {
            cells.extend(columns.iter().map(|(_, cell)| cell(row)));
        } else {
            cells.push(format!("failed: {}", row.failure.unwrap_or("it was not measured")));
            cells.extend(columns.iter().skip(1).map(|_| String::new()));
        }
        cells.extend(row.ratios.iter().map(|ratio| ratio_cell(row, *ratio)));
        cells.push(rounds(row));
        lines.push(line(cells));
    }
    text.push_str(&lines.join("\n"));
    text.push('\n');
    let fewest = rows.iter().filter(|row| row.rounds > 0).map(|row| row.rounds).min().unwrap_or(0);
    if fewest < CLAIM {
        text.push_str(&format!("\nFewer than {CLAIM} rounds: the ratios are a hint, not a claim.\n"));
    }
    for failure in failures(&rows) {
        text.push_str(&format!("\n{failure}\n"));
    }
    text + "\n"
}

fn name(row: &Row) -> String {
    if row.server.ours { format!("**{}**", row.server.name) } else { row.server.name.clone() }
}

type Column = (&'static str, fn(&Row) -> String);

fn columns(measure: Measure) -> Vec<Column> {
    let median: fn(&Row) -> String = |row| row.decisive.map_or(String::new(), |middle| plain(middle.median));
    let spread: fn(&Row) -> String = |row| {
        row.decisive.map_or(String::new(), |middle| {
            let [low, high, least, most] = [middle.low, middle.high, middle.least, middle.most].map(plain);
            format!("{low} … {high} [{least} … {most}]")
        })
    };
    const SPREAD: &str = "middle half [least … most]";
    let per_second: fn(&Row) -> String = |row| cell(row.median(|figures| figures.per_second), plain);
    let p50: Column = ("p50", |row| cell(row.median(|figures| figures.p50_ns), number::nanoseconds));
    let p99: Column = ("p99", |row| cell(row.median(|figures| figures.p99_ns), number::nanoseconds));
    let p999: Column = ("p99.9", |row| cell(row.median(|figures| figures.p999_ns), number::nanoseconds));
    let cpu: Column = ("server CPU, ns", |row| cell(row.median(|figures| figures.cpu_ns), plain));
    match measure {
        Measure::CpuPerMessage => vec![
            ("server CPU per message, ns", median),
            (SPREAD, spread),
            ("messages/s", per_second),
            p50,
            p99,
            p999,
        ],
        Measure::CpuPerConnection => {
            vec![("server CPU per connection, ns", median), (SPREAD, spread), ("connections/s", per_second)]
        }
        Measure::RoundTrip => {
            vec![("p50, ns", median), (SPREAD, spread), ("messages/s", per_second), p99, p999, cpu]
        }
        Measure::IdleMemory => vec![
            ("bytes per session after one echo", median),
            (SPREAD, spread),
            ("silent", |row| cell(row.median(|figures| figures.silent_bytes), plain)),
            ("resident in all", |row| cell(row.median(|figures| figures.resident_bytes), number::bytes)),
        ],
    }
}

/// `io_uring ÷ it`
fn ratio_title(ours: &Server) -> String {
    format!("{} ÷ it", ours.name.trim_start_matches("overlapped, "))
}

/// With a verdict, unless both are ours or there was a single round, which has no interval either.
fn ratio_cell(row: &Row, ratio: Ratio) -> String {
    let estimate = match ratio {
        Ratio::Missing => return String::new(),
        Ratio::NearZero => return "–".to_owned(),
        Ratio::Estimated { estimate, rounds: 1 } => return format!("{:.2}", estimate.value),
        Ratio::Estimated { estimate, .. } => interval(estimate),
    };
    match ratio.verdict().filter(|_| !row.server.ours) {
        Some(Verdict::Behind) => format!("{estimate} **behind**"),
        Some(verdict) => format!("{estimate} {}", verdict.name()),
        None => estimate,
    }
}

/// `0.95 [0.93 … 0.97]`
pub(super) fn interval(ratio: Estimate) -> String {
    format!("{:.2} [{:.2} … {:.2}]", ratio.value, ratio.low, ratio.high)
}

/// `21; 3 noisy, 5 again`
fn rounds(row: &Row) -> String {
    let mut notes = Vec::new();
    let limited = row.generator_limited() as u32;
    let counted = [
        (row.noisy, "noisy"),
        (row.repeated, "again"),
        (row.failed, "failed"),
        (limited, "by the generator"),
    ];
    for (count, word) in counted {
        if count > 0 {
            notes.push(format!("{count} {word}"));
        }
    }
    let notes = if notes.is_empty() { String::new() } else { format!("; {}", notes.join(", ")) };
    format!("{}{notes}", row.rounds)
}

/// Of servers that failed in some rounds alone: why.
fn failures(rows: &[Row]) -> Vec<String> {
    let some = rows.iter().filter(|row| row.failed > 0 && row.rounds > 0);
    some.map(|row| {
        let why = row.failure.unwrap_or_default();
        format!("{} failed in {} of {} rounds: {why}.", row.server.name, row.failed, row.failed + row.rounds)
    })
    .collect()
}

/// How each was started, and its version.
pub(super) fn servers(results: &Results) -> String {
    let mut lines = vec![head(&["server", "version", "what it is", "command"])];
    let mut seen = BTreeSet::new();
    for server in results.jobs.iter().flat_map(|job| &job.servers) {
        if seen.insert(&server.name) {
            lines.push(line([
                server.name.clone(),
                server.version.clone(),
                server.notes.clone(),
                format!("`{}`", typed(server)),
            ]));
        }
    }
    format!("#### The servers\n\n{}\n", lines.join("\n"))
}

/// Its command without the directories of the program.
fn typed(server: &Server) -> String {
    let mut words = server.command.clone();
    if let Some(program) = words.first_mut() {
        *program = program.rsplit('/').next().unwrap_or_default().to_owned();
    }
    words.join(" ")
}

/// A whole number with separators.
pub(super) fn plain(value: f64) -> String {
    number::count(value.round().max(0.0) as u64)
}

fn cell(value: Option<f64>, written: fn(f64) -> String) -> String {
    value.map_or(String::new(), written)
}

pub(super) fn head(titles: &[&str]) -> String {
    let titles: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
    let under = "| --- ".repeat(titles.len());
    format!("{}\n{under}|", line(titles))
}

/// A row of a table. A bar within a cell would begin another one.
pub(super) fn line(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<String> =
        cells.into_iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
    format!("| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::super::results::Cut;
    use super::super::summary::tests::sample_results;
    use super::*;

    #[test]
    fn the_page_names_the_machine_the_losses_and_the_failures() {
        let text = markdown(&sample_results());
        for wanted in [
            "### AMD EPYC, family 25 model 1\n",
            "2026-11-26: `cargo xtask bench`, on a virtual machine on AMD EPYC",
            "**overlapped, io_uring** against the others, workload by workload: ahead 2, level 0, behind 0, without figures 1.\n",
            "ahead 0, level 1, behind 1, without figures 1. Behind in b against mio: 1.11 [",
            "| mio | *0.89* |",
            "| mio | **1.11** |",
            "#### b: 50 sessions × 64 B\n",
            "| **overlapped, io_uring** | 4,003 |",
            " **behind** | 19; ",
            " 2 failed |",
            "| gone | failed: gone was not built |",
            "mio failed in 2 of 21 rounds: 3 errors.",
            "Fewer than 21 rounds: the ratios are a hint",
            "| tokio | tokio 1.2.3 | one worker | `overlapped serve",
        ] {
            assert!(text.contains(wanted), "`{wanted}` is not in:\n{text}");
        }
        assert!(!text.contains("/x/"), "{text}");
    }

    #[test]
    fn one_round_is_not_judged() {
        let mut results = sample_results();
        results.samples.retain(|sample| sample.round == 2);
        let text = markdown(&results);
        for wanted in [
            "ahead 0, level 0, behind 0, not judged 2, without figures 1.\n",
            "| mio | 0.89? |",
            "from a single round, so not judged",
        ] {
            assert!(text.contains(wanted), "`{wanted}` is not in:\n{text}");
        }
        assert!(!text.contains("**behind**") && !text.contains("Behind in"), "{text}");
    }

    /// Every row of a table has as many cells as its head.
    #[test]
    fn tables_are_rectangles() {
        let text = markdown(&sample_results());
        let mut width = None;
        for line in text.lines() {
            let bars = line.matches('|').count();
            match width {
                _ if bars == 0 => width = None,
                None => width = Some(bars),
                Some(before) => assert_eq!(bars, before, "{line}"),
            }
        }
    }

    #[test]
    fn a_cut_run_says_so() {
        let mut results = sample_results();
        results.cut = Some(Cut::Interrupted);
        assert!(markdown(&results).contains("**Not all rounds were measured: it was interrupted.**"));
        assert_eq!(line(["a|b\nc".to_owned()]), "| a\\|b c |");
    }
}
