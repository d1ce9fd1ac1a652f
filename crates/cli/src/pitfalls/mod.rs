//! `overlapped pitfalls`: each exhibit is run, broken and repaired, and what was observed is written for a person
//! ([`text`]), for a program ([`json`]) or as a page ([`page`]). The verdict is the crate's; nothing is judged here.

mod chart;
mod escaped;
mod figure;
mod json;
mod medium;
mod page;
mod progress;
mod screen;
mod text;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use overlapped::settings::{BackendKind, Refusal};
use overlapped_pitfalls::{ALL, CHILD, Crash, Exhibit, KernelName, Report, available, choose, watch};
use proactor::backend::probe;

use crate::args::{KernelChoice, PitfallsArgs};
use crate::failure::Failure;
use crate::output::{note, remedy, say, say_json};
use progress::Progress;
use screen::Screen;

/// Everything that was run, and on what.
struct Results {
    kernel: Kernel,
    without_repair: bool,
    exhibits: Vec<Shown>,
}

/// What the exhibits ran on.
struct Kernel {
    name: KernelName,
    /// Why it is the stand-in.
    instead: Option<Reason>,
}

/// Why a kernel may not be used, and what would change that.
struct Reason {
    reason: String,
    remedy: Option<String>,
}

/// One exhibit, and what came of it: nothing where it was not run, an error where it could not be.
struct Shown {
    exhibit: &'static Exhibit,
    outcome: Option<Result<Outcome, String>>,
}

struct Outcome {
    report: Report,
    /// Of the exhibit that also crashes.
    crash: Option<Crash>,
}

impl Results {
    fn as_expected(&self) -> bool {
        self.exhibits.iter().all(|shown| shown.fault().is_none())
    }
}

impl Shown {
    /// Why it is not as expected, as a sentence without its end.
    fn fault(&self) -> Option<String> {
        match self.outcome.as_ref()? {
            Err(error) => Some(format!("it could not be run: {error}")),
            Ok(outcome) => outcome.fault().map(str::to_owned),
        }
    }
}

impl Outcome {
    fn fault(&self) -> Option<&'static str> {
        let Outcome { report, crash } = self;
        match (report.broken.held, report.repaired.held) {
            (true, _) => Some("the broken version did not break"),
            (_, false) => Some("the repaired version did not hold"),
            _ if crash.as_ref().is_some_and(|crash| !crash.crashed) => {
                Some("the child process did not crash")
            }
            _ => None,
        }
    }
}

/// Whether this process was started to crash, by [`run_one`].
pub(crate) fn is_crash_child() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == CHILD)
}

/// Crashes, where memory protection works.
pub(crate) fn crash_child() -> ExitCode {
    overlapped_pitfalls::child();
    ExitCode::FAILURE
}

pub(crate) fn run(args: &PitfallsArgs) -> Result<ExitCode, Failure> {
    let exhibits = chosen(args)?;
    let to_stdout = args.html.as_deref() == Some(Path::new("-"));
    if to_stdout && args.json {
        return Err(Failure::usage("--json and --html - both write to stdout; give --html a file"));
    }
    if exhibits.is_empty() {
        return list(args);
    }
    // The exhibit with the most connections needs some 300 descriptors.
    let _ = overlapped::raise_descriptor_limit();
    let needed = exhibits.iter().copied().any(medium::needs_a_kernel);
    let kernel = kernel(args.kernel, needed)?;
    let screen = (!args.json && !to_stdout).then(Screen::of_stdout);
    let mut results = Results { kernel, without_repair: args.without_repair, exhibits: Vec::new() };
    let mut progress = Progress::new(exhibits.len());
    for exhibit in exhibits {
        progress.begin(exhibit.name);
        let shown = Shown { exhibit, outcome: Some(run_one(exhibit, &results)) };
        progress.end();
        if let Some(screen) = &screen {
            screen.print(&text::exhibit(screen, &shown, &results))?;
        }
        results.exhibits.push(shown);
    }
    finish(args, &results, screen.as_ref(), to_stdout)
}

/// Writes what is written when everything has been run. The exit status says whether all is as expected.
fn finish(
    args: &PitfallsArgs,
    results: &Results,
    screen: Option<&Screen>,
    to_stdout: bool,
) -> Result<ExitCode, Failure> {
    if let Some(screen) = screen {
        screen.print(&text::summary(screen, results))?;
    }
    if args.json {
        say_json(&json::of(results))?;
    }
    match &args.html {
        Some(_) if to_stdout => say(page::of(results).trim_end())?,
        Some(file) => fs::write(file, page::of(results)).map_err(|error| {
            let next = remedy(&error);
            Failure::failed(format_args!("cannot write {}: {error}; {next}", file.display()))
        })?,
        None => {}
    }
    for shown in &results.exhibits {
        if let Some(fault) = shown.fault() {
            note(format_args!("error: {}: {fault}", shown.exhibit.name));
        }
    }
    Ok(if results.as_expected() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_one(exhibit: &'static Exhibit, results: &Results) -> Result<Outcome, String> {
    let kernel = results.kernel.name;
    let report =
        if results.without_repair { exhibit.run_without_repair(kernel) } else { exhibit.run(kernel) };
    let report = report.map_err(|error| error.to_string())?;
    let crash = if exhibit.also_crashes() { Some(crash(kernel)?) } else { None };
    Ok(Outcome { report, crash })
}

fn crash(kernel: KernelName) -> Result<Crash, String> {
    let this = std::env::current_exe().map_err(|error| format!("this program's file: {error}"))?;
    watch(&mut Command::new(this), kernel).map_err(|error| format!("its crash in a child process: {error}"))
}

/// The exhibits that are asked for, each once. Empty: none is, and they are to be listed.
fn chosen(args: &PitfallsArgs) -> Result<Vec<&'static Exhibit>, Failure> {
    if args.all {
        return Ok(ALL.to_vec());
    }
    let mut chosen: Vec<&'static Exhibit> = Vec::new();
    for name in &args.names {
        let exhibit = Exhibit::find(name).ok_or_else(|| unknown(name))?;
        if !chosen.iter().any(|other| other.name == exhibit.name) {
            chosen.push(exhibit);
        }
    }
    if chosen.is_empty() && args.html.is_some() {
        return Err(Failure::usage("--html draws what was run; name an exhibit, or give --all"));
    }
    Ok(chosen)
}

fn list(args: &PitfallsArgs) -> Result<ExitCode, Failure> {
    if args.json {
        let exhibits = ALL.iter().map(|exhibit| Shown { exhibit, outcome: None }).collect();
        let kernel = kernel(args.kernel, false)?;
        say_json(&json::of(&Results { kernel, without_repair: args.without_repair, exhibits }))?;
    } else {
        let screen = Screen::of_stdout();
        screen.print(&text::list(&screen))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(name: &str) -> Failure {
    let names =
        ALL.iter().flat_map(|exhibit| [exhibit.name].into_iter().chain(exhibit.aliases.iter().copied()));
    let lower = name.to_lowercase();
    let begun = names.clone().find(|known| lower.len() > 2 && known.starts_with(&lower));
    let similar = || {
        let (distance, known) = names.map(|known| (distance(&lower, known), known)).min()?;
        (distance <= lower.chars().count().max(known.len()) / 3).then_some(known)
    };
    let hint = match begun.or_else(similar) {
        Some(known) => format!("did you mean {known}?"),
        None => "`overlapped pitfalls` lists them".to_owned(),
    };
    Failure::usage(format_args!("there is no exhibit {name:?}; {hint}"))
}

/// How many letters have to be added, left out or changed to make the one of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (at, letter) in one.chars().enumerate() {
        let (mut left, mut above_left) = (at + 1, at);
        row[0] = left;
        for (place, known) in row[1..].iter_mut().zip(other.chars()) {
            let changed = above_left + usize::from(letter != known);
            above_left = *place;
            left = changed.min(above_left + 1).min(left + 1);
            *place = left;
        }
    }
    row[row.len() - 1]
}

/// Chooses the completion kernel. A stand-in is said on stderr if an exhibit needs one; a kernel that was named has no
/// stand-in.
fn kernel(choice: KernelChoice, needed: bool) -> Result<Kernel, Failure> {
    let name = match choice {
        KernelChoice::Auto => {
            let (name, why) = choose();
            let instead = why
                .map(|why| Reason::of(BackendKind::IoUring).unwrap_or(Reason { reason: why, remedy: None }));
            if let Some(reason) = &instead {
                note_if(
                    needed,
                    format_args!(
                        "note: no real kernel can be used: {reason}; running on a small kernel of this program ({name})"
                    ),
                );
            }
            return Ok(Kernel { name, instead });
        }
        KernelChoice::IoUring => KernelName::IoUring,
        KernelChoice::Iocp => KernelName::Iocp,
        KernelChoice::Own => KernelName::Own,
    };
    let Err(error) = available(name) else { return Ok(Kernel { name, instead: None }) };
    let reason = match name {
        KernelName::IoUring => Reason::of(BackendKind::IoUring),
        KernelName::Iocp => Reason::of(BackendKind::Iocp),
        KernelName::Own => None,
    };
    let reason = reason.unwrap_or(Reason { reason: error.to_string(), remedy: None });
    // What is left: a kernel without a remedy is another system's.
    let next = match &reason.remedy {
        Some(_) => "or choose --kernel auto or --kernel own",
        None => "choose --kernel auto or --kernel own",
    };
    Err(Failure::failed(format_args!("{name} is not available: {reason}; {next}")))
}

fn note_if(needed: bool, text: std::fmt::Arguments<'_>) {
    if needed {
        note(text);
    }
}

impl Reason {
    /// What stands in the way of a backend on this system, if anything does.
    fn of(backend: BackendKind) -> Option<Reason> {
        let Refusal { reason, remedy, .. } = probe::probe(backend, 1).err()?;
        // A backend of another system: what there is instead are kernels, not backends.
        let remedy = of_this_system().contains(&backend).then_some(remedy);
        Some(Reason { reason, remedy })
    }
}

fn of_this_system() -> &'static [BackendKind] {
    proactor::backend::PREFERENCE
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)?;
        self.remedy.iter().try_for_each(|remedy| write!(f, "; {remedy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, letters) in
            [("", "abc", 3), ("short-sent", "short-send", 1), ("shrot-send", "short-send", 2), ("a", "a", 0)]
        {
            assert_eq!((distance(one, other), distance(other, one)), (letters, letters), "{one} {other}");
        }
    }

    #[test]
    fn a_mistyped_name_finds_its_neighbour() {
        for (typed, meant) in [
            ("use-after-fre", "use-after-free"),
            ("use_after_release", "use-after-release"),
            ("short-sends", "short-send"),
            ("handel-reuse", "handle-reuse"),
            ("unchecked", "unchecked-result"),
            ("USE-AFTER-RELEASE", "use-after-release"),
            ("Short", "short-send"),
        ] {
            assert!(unknown(typed).line().contains(&format!("did you mean {meant}?")), "{typed}");
        }
        assert!(unknown("엉뚱한 이름").line().contains("lists them"));
    }
}
