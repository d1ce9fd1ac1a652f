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

fn apt(words: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("apt-get");
    bounded::run(command.env("DEBIAN_FRONTEND", "noninteractive").args(words), INSTALL)
}
