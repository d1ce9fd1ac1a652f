//! The kernels that users have, on this machine: Debian's 6.1 and 6.12, started by qemu in software.
//!
//! On each of them, with this workspace's programs and nothing else in the machine: `doctor` must find that rings work,
//! the conformance suite runs on both backends, 2,000 clients vanish, and a short chaos goes through the real binary.
//! Each machine has its time, and each program in it. Kernels, the image and what the machines printed lie in
//! `target/kernels`.

mod console;
pub(crate) mod image;
pub(crate) mod machine;
pub(crate) mod needs;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::bounded::{self, Failure};
use crate::place;
use console::Run;
use image::{Image, Program};
use machine::Machine;
use needs::Kernel;

/// Debian 12's own kernel, and the newer one that it offers, which is also Debian 13's series.
const SERIES: [&str; 2] = ["6.1", "6.12"];
const BUILD: Duration = Duration::from_secs(1800);
/// From start to power-off. About three minutes on two busy cores.
const MACHINE: Duration = Duration::from_secs(1500);

pub(crate) fn run(install: bool) -> Result<(), Failure> {
    let start = Instant::now();
    let step = |what: &str| println!("== {what} ({} s)", start.elapsed().as_secs());
    let place = place::target("kernels");
    std::fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;

    step("packages");
    needs::require(install, "kernels")?;
    let kernels = SERIES.map(|series| needs::kernel(series, &place)).into_iter();
    let kernels = kernels.collect::<Result<Vec<Kernel>, _>>()?;
    step("build");
    let programs = programs()?;
    step("image");
    let image = Image::of(&place, &programs)?;
    let mut rows = Vec::new();
    for kernel in &kernels {
        step(&format!("Linux {}", kernel.version));
        rows.push(boot(kernel, &image, &place, &programs)?);
    }
    step("over");
    report(&rows)
}

/// What is run, in this order.
fn programs() -> Result<Vec<Program>, Failure> {
    let doctor = built(&["build", "--package", "overlapped-cli", "--bin", "overlapped"], "overlapped")?;
    let tests = ["--package", "proactor", "--test", "conformance", "--test", "vanishing"];
    let tests = [&["test", "--no-run"], &tests[..]].concat();
    let conformance = built(&tests, "conformance-")?;
    let vanishing = built(&tests, "vanishing-")?;
    let chaos = built(&["test", "--no-run", "--package", "overlapped-cli", "--test", "e2e"], "e2e-")?;
    Ok(vec![
        Program::new("doctor", doctor, "doctor"),
        Program::new("conformance", conformance, "io_uring:: readiness::"),
        Program::new("vanishing", vanishing, ""),
        Program::new("chaos", chaos, "io_uring::chaos readiness::chaos --test-threads 1"),
    ])
}

/// Builds, and finds the program whose file name begins so.
fn built(words: &[&str], name: &str) -> Result<std::path::PathBuf, Failure> {
    let mut command = place::cargo();
    command.args(words).args(["--locked", "--message-format=json-render-diagnostics"]);
    let (lines, _) = bounded::lines_of(&mut command, BUILD, |_| false)?;
    let all = lines.iter().filter_map(|line| place::program_in(line));
    let is_it = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
    };
    let mut matching = all.filter(is_it);
    matching.next().ok_or_else(|| format!("`cargo {}` built no {name}", words.join(" ")))
}

/// What came of one kernel.
struct Row {
    version: String,
    runs: Vec<Run>,
    /// What the machine printed.
    log: std::path::PathBuf,
    /// Why it was ended, if it did not power itself off.
    hung: Option<Failure>,
}

/// Starts a machine, waits until it has powered itself off, and reads what it printed.
fn boot(kernel: &Kernel, image: &Image, place: &Path, programs: &[Program]) -> Result<Row, Failure> {
    let log = place.join(format!("{}.log", kernel.version));
    let (text, hung) = Machine { memory_mib: 2048, limit: MACHINE }.boot(kernel, image, &log)?;
    let runs = console::runs_in(&text, programs.iter().map(|program| program.name));
    for run in &runs {
        println!("   {}: {run}", run.name);
    }
    Ok(Row { version: kernel.version.clone(), runs, log, hung })
}

/// The table, what failed, and the line that says how many passed.
fn report(rows: &[Row]) -> Result<(), Failure> {
    println!("\n| kernel | {} |", names(rows).collect::<Vec<_>>().join(" | "));
    println!("| --- |{}", " --- |".repeat(names(rows).count()));
    for row in rows {
        let cells: Vec<String> = row.runs.iter().map(Run::to_string).collect();
        println!("| {} | {} |", row.version, cells.join(" | "));
    }
    println!();
    let passed = |row: &&Row| row.hung.is_none() && row.runs.iter().all(Run::is_ok);
    for row in rows.iter().filter(|row| !passed(row)) {
        for name in row.runs.iter().flat_map(|run| &run.failures) {
            println!("{}: {name} failed", row.version);
        }
        if let Some(why) = &row.hung {
            println!("{}: {why}", row.version);
        }
        println!("{}: all it printed is in {}", row.version, row.log.display());
    }
    let count = rows.iter().filter(passed).count();
    println!("kernels: {count} of {} passed", rows.len());
    if count == rows.len() { Ok(()) } else { Err("not every kernel passed".into()) }
}

fn names(rows: &[Row]) -> impl Iterator<Item = &str> {
    rows.iter().take(1).flat_map(|row| row.runs.iter().map(|run| run.name))
}
