//! Debian's packages, for chores that need programs which a Rust machine does not have.

use std::process::Command;
use std::time::Duration;

use crate::bounded::{self, Failure};

const INSTALL: Duration = Duration::from_secs(900);

/// Has apt learn which packages there are. As root.
pub(crate) fn update() -> Result<(), Failure> {
    apt(&["update", "-qq"])
}

/// Installs packages that apt knows, without what they only recommend. As root.
pub(crate) fn install(packages: &[&str]) -> Result<(), Failure> {
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"][..], packages].concat())
}

/// Every program is here, or is installed with its package. `programs` are pairs of both, those of one package in a row.
#[cfg(unix)]
pub(crate) fn require(chore: &str, programs: &[(&str, &str)], install_missing: bool) -> Result<(), Failure> {
    let is_missing = |program: &str| Command::new(program).arg("--version").output().is_err();
    let missing = programs.iter().filter(|(program, _)| is_missing(program)).map(|(_, package)| *package);
    let mut missing: Vec<&str> = missing.collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if !install_missing {
        return Err(format!(
            "missing: {}; run `cargo xtask {chore} --install` as root, or install these packages",
            missing.join(", ")
        ));
    }
    update()?;
    install(&missing)
}

fn apt(words: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("apt-get");
    bounded::run(command.env("DEBIAN_FRONTEND", "noninteractive").args(words), INSTALL)
}
