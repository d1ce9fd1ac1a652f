//! The models of what crosses threads (INV-5), run by the crate `loom`: the real code, in every order of its steps.
//!
//! Only the models run. Under `cfg(loom)` the other tests are not what they are for, and meet primitives that exist
//! in models alone.

use std::process::Command;
use std::time::Duration;

use crate::bounded::{self, Failure};
use crate::place;

const PACKAGES: &[&str] = &["proactor", "overlapped"];
/// How the modules that hold models are called.
const MODELS: &str = "loom_models";
const BUILD: Duration = Duration::from_secs(900);
/// They take a minute, and several at a low priority beside other work; one that grew past this has too many steps.
const MODELS_TAKE: Duration = Duration::from_secs(480);

pub(crate) fn run() -> Result<(), Failure> {
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    for package in PACKAGES {
        let mut build = place::cargo();
        build.args(["test", "--package", package, "--lib", "--locked", "--no-run"]);
        build.arg("--message-format=json-render-diagnostics");
        build.env("RUSTFLAGS", format!("{flags} --cfg loom")).env_remove("CARGO_ENCODED_RUSTFLAGS");
        build.env("CARGO_PROFILE_DEV_DEBUG", "0");
        build.env("CARGO_TARGET_DIR", place::target("loom"));
        let (lines, _) = bounded::lines_of(&mut build, BUILD, |_| false)?;
        let tests = lines.iter().filter_map(|line| place::program_in(line)).next_back();
        let tests = tests.ok_or_else(|| format!("{package} built no tests"))?;
        bounded::run(Command::new(tests).arg(MODELS), MODELS_TAKE)?;
    }
    Ok(())
}
