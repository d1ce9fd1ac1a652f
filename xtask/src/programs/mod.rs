//! Examples against the programs that speak their protocols: `redis-cli`, `redis-benchmark` and `curl`. A failure names the
//! command and what it printed; nothing is skipped.

mod served;
mod socks5;
mod store;

use std::time::Duration;

use crate::bounded::{self, Failure};
use crate::{packages, place};

const BUILD: Duration = Duration::from_secs(1800);
/// Debian's package of each program that is run.
const PROGRAMS: [(&str, &str); 3] =
    [("redis-cli", "redis-tools"), ("redis-benchmark", "redis-tools"), ("curl", "curl")];

pub(crate) fn run(install: bool) -> Result<(), Failure> {
    packages::require("programs", &PROGRAMS, install)?;
    let mut build = place::cargo();
    build.args(["build", "--quiet", "--locked", "--package", "overlapped", "--examples"]);
    bounded::run(&mut build, BUILD)?;
    for backend in ["io_uring", "readiness"] {
        let checked = store::check(backend)? + socks5::check(backend)?;
        println!("programs: {checked} checks passed on {backend}");
    }
    Ok(())
}

/// Checks that a program has printed what was expected.
fn expect(what: &str, got: &str, wanted: &str) -> Result<(), Failure> {
    if got == wanted { Ok(()) } else { Err(format!("{what}: expected {wanted:?}, got {got:?}")) }
}
