//! Examples against the programs that speak their protocols: `redis-cli`, `redis-benchmark` and `curl`. A failure names the
//! command and what it printed; nothing is skipped.

mod served;
mod socks5;
mod store;

use std::process::Command;
use std::time::Duration;

use crate::bounded::{self, Failure};
use crate::{packages, place};

const BUILD: Duration = Duration::from_secs(1800);
/// For one program.
const PROGRAM: Duration = Duration::from_secs(120);
/// Debian's package of each program that is run.
const PROGRAMS: [(&str, &str); 3] =
    [("redis-cli", "redis-tools"), ("redis-benchmark", "redis-tools"), ("curl", "curl")];

pub(crate) fn run(install: bool) -> Result<(), Failure> {
    require(install)?;
    let mut build = place::cargo();
    build.args(["build", "--quiet", "--locked", "--package", "overlapped", "--examples"]);
    bounded::run(&mut build, BUILD)?;
    for backend in ["io_uring", "readiness"] {
        let checked = store::check(backend)? + socks5::check(backend)?;
        println!("programs: {checked} checks passed on {backend}");
    }
    Ok(())
}

/// Every program is here, or is installed.
fn require(install: bool) -> Result<(), Failure> {
    let is_missing = |program: &str| Command::new(program).arg("--version").output().is_err();
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| is_missing(program)).map(|(_, package)| *package).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if !install {
        return Err(format!(
            "missing: {}; run `cargo xtask programs --install` as root, or install these packages",
            missing.join(", ")
        ));
    }
    packages::update()?;
    packages::install(&missing)
}

/// What a program prints, if it succeeds.
fn output_of(command: &mut Command) -> Result<String, Failure> {
    let (lines, _) = bounded::lines_of(command, PROGRAM, |_| false)?;
    Ok(lines.join("\n"))
}

/// Checks that a program has printed what was expected.
fn expect(what: &str, got: &str, wanted: &str) -> Result<(), Failure> {
    if got == wanted { Ok(()) } else { Err(format!("{what}: expected {wanted:?}, got {got:?}")) }
}
