//! The exhibits for a person at a terminal: as wide as that is.

use std::fmt::Write;

use overlapped_pitfalls::{ALL, Crash, Evidence, Exhibit, Report, Run};

use super::chart;
use super::screen::{Ink, Screen};
use super::{Outcome, Results, Shown};

pub(super) fn list(screen: &Screen) -> String {
    let mut out = String::new();
    let names = ALL.iter().map(|exhibit| exhibit.name.len()).max().unwrap_or(0) + 2;
    for exhibit in ALL {
        screen.wrapped(&mut out, &format!("{:names$}", exhibit.name), Ink::Plain, exhibit.title);
    }
    out += "\n`overlapped pitfalls NAME` runs one, `--all` every one.\n";
    out
}

pub(super) fn exhibit(screen: &Screen, shown: &Shown, results: &Results) -> String {
    let mut out = String::from("\n");
    let exhibit = shown.exhibit;
    let line = if screen.boxes { "━" } else { "=" };
    let rule = line.repeat(screen.width.saturating_sub(exhibit.name.len() + 4));
    let _ =
        writeln!(out, "{} {}", screen.paint(Ink::Strong, &format!("{line}{line} {}", exhibit.name)), rule);
    screen.wrapped(&mut out, "", Ink::Strong, exhibit.title);
    screen.wrapped(&mut out, "", Ink::Faint, &results.runs_on(exhibit));
    match &shown.outcome {
        Some(Ok(outcome)) => {
            versions(&mut out, screen, exhibit, outcome, results.without_repair);
            why(&mut out, screen, exhibit);
        }
        Some(Err(error)) => {
            screen.wrapped(&mut out, "", Ink::Wrong, &format!("It could not be run: {error}"));
        }
        None => {}
    }
    out
}

fn versions(out: &mut String, screen: &Screen, exhibit: &Exhibit, outcome: &Outcome, without_repair: bool) {
    let Report { broken, repaired, .. } = &outcome.report;
    out.push('\n');
    screen.wrapped(out, "BROKEN    ", Ink::Plain, exhibit.mistake);
    run(out, screen, broken);
    out.push('\n');
    let text = if without_repair { "Not repaired: the broken version once more." } else { exhibit.repair };
    screen.wrapped(out, "REPAIRED  ", Ink::Plain, text);
    run(out, screen, repaired);
    evidence(out, screen, [&broken.evidence, &repaired.evidence]);
    if let Some(seen) = &outcome.crash {
        crash(out, screen, seen);
    }
    let (ink, verdict) = match outcome.fault() {
        None => {
            (Ink::Held, "The broken version broke; the repaired one held, on the same schedule.".to_owned())
        }
        Some(fault) => (Ink::Wrong, format!("Not as expected: {fault}.")),
    };
    out.push('\n');
    screen.wrapped(out, "", ink, &verdict);
}

fn run(out: &mut String, screen: &Screen, run: &Run) {
    out.push('\n');
    let chart = chart::of(screen, &run.timeline);
    if !chart.is_empty() {
        *out += &chart;
        out.push('\n');
    }
    for (at, moment) in run.timeline.moments.iter().enumerate() {
        let (mark, ink) = if moment.wrong { ('!', Ink::Wrong) } else { (' ', Ink::Plain) };
        screen.wrapped(out, &format!("{:>4}{mark} ", at + 1), ink, &moment.text);
    }
}

/// Each fact once where both versions agree, else as the one and the other found it.
fn evidence(out: &mut String, screen: &Screen, [broken, repaired]: [&Evidence; 2]) {
    let _ = writeln!(out, "\n{}", screen.paint(Ink::Strong, "Evidence"));
    let only_repaired = repaired.iter().filter(|(name, _)| broken.get(name).is_none());
    for (name, _) in broken.iter().chain(only_repaired) {
        match [broken.get(name), repaired.get(name)] {
            [Some(one), Some(other)] if one == other => {
                screen.wrapped(out, &format!("  {name}: "), Ink::Plain, &one.to_string());
            }
            both => {
                let _ = writeln!(out, "  {name}:");
                for (version, value) in ["broken", "repaired"].into_iter().zip(both) {
                    let value = value.map_or("-".to_owned(), ToString::to_string);
                    screen.wrapped(out, &format!("    {version:<9}"), Ink::Plain, &value);
                }
            }
        }
    }
}

fn crash(out: &mut String, screen: &Screen, seen: &Crash) {
    out.push('\n');
    screen.wrapped(out, "", Ink::Strong, "When the memory is given back to the system");
    let touched = format!("its own code touches it: {}", seen.child_ended);
    screen.wrapped(out, "  program: ", Ink::Plain, &touched);
    let given = format!("it is given the address: {}", seen.kernel_answered);
    screen.wrapped(out, "  kernel:  ", Ink::Plain, &given);
}

fn why(out: &mut String, screen: &Screen, exhibit: &Exhibit) {
    out.push('\n');
    screen.wrapped(out, "invariant   ", Ink::Plain, exhibit.invariant);
    screen.wrapped(out, "upheld by   ", Ink::Plain, exhibit.upheld_by);
    screen.wrapped(out, "on Windows  ", Ink::Plain, exhibit.on_windows);
    screen.wrapped(out, "on Linux    ", Ink::Plain, exhibit.on_linux);
    for seen in exhibit.seen_in {
        screen.wrapped(
            out,
            "seen in     ",
            Ink::Plain,
            &format!("{}: {} {}", seen.name, seen.what, seen.url),
        );
    }
}

pub(super) fn summary(screen: &Screen, results: &Results) -> String {
    let all = results.exhibits.len();
    if all < 2 {
        return String::new();
    }
    let good = results.exhibits.iter().filter(|shown| shown.fault().is_none()).count();
    let ink = if good == all { Ink::Held } else { Ink::Wrong };
    let text = format!("{good} of {all}: the broken version broke, and the repaired one held.");
    let mut out = String::from("\n");
    screen.wrapped(&mut out, "", ink, &text);
    out
}
