//! Windows on a Linux machine: cross-built with Debian's toolchain, run under Wine.
//!
//! What this shows: the IOCP backend keeps every promise of the conformance suite, and the server serves. What it
//! cannot show: speed, and what only the real kernel does. Each program has its time; one that hangs is ended and
//! named. Everything is made in `target/windows`, the Wine prefix too.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bounded::{self, Failure};
use crate::place;
use crate::toolchain::{self, Toolchain, Use};
use crate::wine::Wine;

/// Unit tests take a second, the suite about a minute, the end-to-end cases four.
const TESTS: Duration = Duration::from_secs(600);

/// What is built for Windows.
pub(crate) struct Built {
    /// Test programs, and the programs that they start.
    tests: Vec<PathBuf>,
    with_guard_pages: Vec<PathBuf>,
}

pub(crate) fn build(install: bool) -> Result<Built, Failure> {
    let (start, root, place) = (Instant::now(), place::workspace(), place()?);
    step(start, "packages");
    toolchain::require(Use::Windows, install)?;
    let toolchain = Toolchain::new(&root, place.join("build"), "x86_64-pc-windows-gnu");
    step(start, "clippy for Windows");
    toolchain.lint(&["--workspace"])?;
    toolchain.lint(&["--package", "proactor", "--features", "guard-pages"])?;
    step(start, "build for Windows");
    let packages = [
        "proactor",
        "overlapped",
        "overlapped-admin",
        "overlapped-cli",
        "overlapped-pitfalls",
        "overlapped-testing",
        "jobs-sqlite",
    ];
    let tests = toolchain.tests(&packages.map(|package| ["--package", package]).concat())?;
    let with_guard_pages = toolchain.tests(&["--package", "proactor", "--features", "guard-pages"])?;
    step(start, "built");
    Ok(Built { tests, with_guard_pages })
}

pub(crate) fn run(install: bool) -> Result<(), Failure> {
    let Built { tests, with_guard_pages } = build(install)?;
    // The program that the end-to-end cases start.
    let program = tests.iter().find(|program| program.ends_with("debug/overlapped.exe"));
    let program = program.ok_or("the tests came without overlapped.exe")?;
    let start = Instant::now();
    step(start, "Wine prefix");
    let wine = Wine::new(&place()?)?;
    step(start, "tests on Windows");
    for test in tests.iter().chain(&with_guard_pages).filter(|program| is_test(program)) {
        let parts: &[&[&str]] = if is_conformance(test) { &CONFORMANCE } else { &[&ON_REAL_KERNELS] };
        for part in parts {
            wine.test(test, part, TESTS)?;
        }
    }
    step(start, "Windows and Linux with each other");
    between_systems(&wine, program)?;
    #[cfg(target_os = "linux")]
    {
        step(start, "the commands of the pages");
        drop(wine);
        crate::pages::under_wine(&place()?)?;
    }
    step(start, "all held");
    Ok(())
}

fn step(start: Instant, what: &str) {
    println!("== {what} ({} s)", start.elapsed().as_secs());
}

fn place() -> Result<PathBuf, Failure> {
    let place = place::target("windows");
    std::fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    Ok(place)
}

/// The cases for IOCP, in three processes. With guard pages each operation that is over leaves a mapping behind, and a
/// process may have 65,530 (`vm.max_map_count`).
const CONFORMANCE: [&[&str]; 3] =
    [&["iocp::a"], &["iocp::p"], &["iocp::", "--skip", "iocp::a", "--skip", "iocp::p"]];

/// The simulated kernel is the same on every system. Under Wine, its tests would take half of the time.
const ON_REAL_KERNELS: [&str; 6] =
    ["--skip", "worker::tests::", "--skip", "simulated::", "--skip", "generator::tests::"];

/// The end-to-end cases of this system, with the program for Windows at one end: its server and clients of ours, its
/// client and a server of ours.
fn between_systems(wine: &Wine, program: &Path) -> Result<(), Failure> {
    // Those count what Wine's server has open: nobody else may be at work.
    const ALONE: [&str; 2] = ["wine::resets", "wine::chaos"];
    for which in [&["wine::", "--skip", ALONE[0], "--skip", ALONE[1]][..], &ALONE[..1], &ALONE[1..]] {
        let mut cases = place::cargo();
        cases.args(["test", "--locked", "--package", "overlapped-cli", "--test", "e2e", "--"]);
        cases.args(which).args(["--ignored", "--test-threads", "2"]);
        wine.surround(&mut cases).env("OVERLAPPED_TEST_WINDOWS_PROGRAM", program);
        bounded::run(&mut cases, TESTS)?;
    }
    Ok(())
}

/// Examples, and the program itself, are built along with the tests that start them.
fn is_test(program: &Path) -> bool {
    program.parent().is_some_and(|directory| directory.ends_with("deps"))
}

/// That binary also has the simulated kernel, which is the same on every system.
fn is_conformance(test: &Path) -> bool {
    test.file_name().is_some_and(|name| name.to_string_lossy().starts_with("conformance-"))
}
