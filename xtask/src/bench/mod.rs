//! The benchmarks: this project's server and its peers, measured in turns by `overlapped load`.
//!
//! What is measured, and how, is in `docs/benchmarks.md`. A run writes all of its figures to `target/bench` as JSON and as
//! Markdown; a whole run also writes its part of that page.

mod charts;
mod generator;
mod growth;
mod guest;
mod idle;
mod interrupt;
mod jobs;
mod json;
mod machine;
mod noise;
mod options;
mod page;
mod peers;
mod placed;
mod results;
mod rounds;
mod running;
mod servers;
mod summary;
mod system;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bounded::{self, Failure};
use crate::place;
use jobs::{Extent, Job};
use machine::Machine;
use options::{Options, Task};
use results::{Cut, Results};
use rounds::{Patience, Rounds};
use servers::Server;

const BUILD: Duration = Duration::from_secs(1800);
/// Workload d, and what this process and a server hold besides.
const DESCRIPTORS: u64 = 11_000;

pub(crate) fn run(words: &[&str]) -> Result<(), Failure> {
    let options = Options::parse(words)?;
    let out = options.out.clone().unwrap_or_else(|| place::target("bench"));
    std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let out = out.canonicalize().map_err(|error| format!("{}: {error}", out.display()))?;
    match options.task {
        Task::Table => table(&options, &out, if options.quick { Extent::Quick } else { Extent::Full }),
        Task::Smoke => smoke(&options, &out),
        Task::Growth => growth::run(&options, &out),
        Task::Guest => guest::run(&options, &out),
    }
}

fn table(options: &Options, out: &Path, extent: Extent) -> Result<(), Failure> {
    let program = program()?;
    let servers = all_servers(&program, options)?;
    let mut jobs = jobs::table(extent, &servers, &servers::ours_busy(&program));
    choose(&mut jobs, options)?;
    let patience = match extent {
        Extent::Full => Patience { repeats: 2, waits: 5, time: Duration::from_secs(6 * 3600) },
        Extent::Quick | Extent::Smoke => Patience { repeats: 1, waits: 1, time: Duration::from_secs(540) },
    };
    let results = measure(&program, out, options, &jobs, patience, "table")?;
    let markdown = table::markdown(&results);
    publish(&results, out, "table", &markdown, options)
}

/// One moment of each workload, with ours and one peer: whether this chore works, not how fast anything is.
fn smoke(options: &Options, out: &Path) -> Result<(), Failure> {
    const PEER: &str = "epoll";
    let program = program()?;
    let options = Options { servers: vec![PEER.to_owned()], ..options.clone() };
    let servers = all_servers(&program, &options)?;
    let jobs = jobs::table(Extent::Smoke, &servers, &servers::ours_busy(&program));
    let patience = Patience { repeats: 0, waits: 0, time: Duration::from_secs(300) };
    let results = measure(&program, out, &options, &jobs, patience, "smoke")?;
    let markdown = table::markdown(&results);
    write(&out.join("smoke.md"), &markdown)?;
    let failed: Vec<String> = results
        .samples
        .iter()
        .filter_map(|sample| match &sample.outcome {
            results::Outcome::Failed(why) => Some(format!("{}, {}: {why}", sample.workload, sample.server)),
            results::Outcome::Measured(_) => None,
        })
        .collect();
    if !failed.is_empty() {
        return Err(format!("{} measurements failed:\n{}", failed.len(), failed.join("\n")));
    }
    println!("bench: {} measurements worked", results.samples.len());
    println!("all figures: {}", out.join("smoke.json").display());
    println!("tables: {}", out.join("smoke.md").display());
    let cut = results.cut.map(|why| Err(format!("not all rounds were measured: {}", why.in_words())));
    cut.unwrap_or(Ok(()))
}

/// Keeps the workloads that were asked for, with as many rounds as were asked for.
fn choose(jobs: &mut Vec<Job>, options: &Options) -> Result<(), Failure> {
    let keys: Vec<String> = jobs.iter().map(|job| job.workload.key.clone()).collect();
    if let Some(key) = options.workloads.iter().find(|key| !keys.contains(key)) {
        return Err(format!("there is no workload `{key}`; there are: {}", keys.join(", ")));
    }
    jobs.retain(|job| options.workloads.is_empty() || options.workloads.contains(&job.workload.key));
    for job in jobs {
        job.rounds = options.rounds.unwrap_or(job.rounds);
    }
    Ok(())
}

/// Measures, and writes the figures after each round, so that what was measured is there however it ends.
fn measure(
    program: &Path,
    out: &Path,
    options: &Options,
    jobs: &[Job],
    patience: Patience,
    name: &str,
) -> Result<Results, Failure> {
    interrupt::watch()?;
    let limit = placed::raise_descriptor_limit();
    if limit < DESCRIPTORS {
        eprintln!(
            "note: only {limit} descriptors are permitted, and 10,000 sessions need {DESCRIPTORS}: raise `ulimit -Hn`"
        );
    }
    let mut results = rounds::results(Machine::this(), options.command(), jobs.to_vec());
    results.commit = commit();
    let file = out.join(format!("{name}.json"));
    json::write(&results, &file)?;
    let written = |results: &Results| {
        if let Err(failure) = json::write(results, &file) {
            eprintln!("note: {failure}");
        }
    };
    Rounds::new(program, out, patience, &mut results).run(jobs, written);
    json::write(&results, &file)?;
    Ok(results)
}

/// Prints and writes the Markdown; into the page too, if this was a whole run.
fn publish(
    results: &Results,
    out: &Path,
    kind: &str,
    markdown: &str,
    options: &Options,
) -> Result<(), Failure> {
    println!("{markdown}");
    write(&out.join(format!("{kind}.md")), markdown)?;
    println!("all figures: {}", out.join(format!("{kind}.json")).display());
    if options.is_whole() && results.cut.is_none() {
        let processor = results.machine.processor_in_full();
        page::write(&place::workspace(), kind, &processor, markdown)?;
        println!("written to {}", page::PAGE);
    } else {
        println!("{} is as it was: this was not a whole run", page::PAGE);
    }
    match results.cut {
        // It is cut so that it is quick.
        None => Ok(()),
        Some(Cut::TimeOver) if options.quick => Ok(()),
        Some(why) => Err(format!("not all rounds were measured: {}", why.in_words())),
    }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Ours and the peers, built.
fn all_servers(program: &Path, options: &Options) -> Result<Vec<Server>, Failure> {
    let listed = peers::listed()?;
    let mut servers = servers::ours(program);
    servers.extend(peers::build(&peers::chosen(listed, &options.servers), options.install)?);
    servers::chosen(servers, &options.servers)
}

/// `overlapped`, as a release has it.
fn program() -> Result<PathBuf, Failure> {
    eprintln!("building overlapped ...");
    let mut build = place::cargo();
    build.args(["build", "--release", "--locked", "--package", "overlapped-cli", "--bin", "overlapped"]);
    build.arg("--message-format=json-render-diagnostics");
    let (lines, _) = bounded::lines_of(&mut build, BUILD, |_| false)?;
    lines.iter().find_map(|line| place::program_in(line)).ok_or_else(|| "no program was built".to_owned())
}

/// The commit that is measured.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--exclude", "*"]).current_dir(place::workspace());
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
