//! Types on systems that nobody here can run: checked with Debian's toolchain, which builds each system's standard library
//! from source. What this shows: it compiles there, without warnings, tests included. What it cannot show: that it works.

use std::time::Instant;

use crate::bounded::Failure;
use crate::place;
use crate::toolchain::{self, Toolchain, Use};

/// A system, and what of it is not the same as on those that run.
const SYSTEMS: &[(&str, &str)] = &[
    ("i686-unknown-linux-gnu", "32-bit Unix: words, counters and lengths are narrower"),
    ("x86_64-unknown-freebsd", "a BSD: kqueue, other types in the C library"),
    ("aarch64-apple-darwin", "macOS: no MSG_NOSIGNAL, descriptor limits that are not what they say"),
    ("i686-pc-windows-gnu", "32-bit Windows: another OVERLAPPED"),
];

pub(crate) fn run(install: bool) -> Result<(), Failure> {
    let start = Instant::now();
    let step = |what: &str| println!("== {what} ({} s)", start.elapsed().as_secs());
    let (root, place) = (place::workspace(), place::target("portability"));
    step("packages");
    toolchain::require(Use::Check, install)?;
    for (target, why) in SYSTEMS {
        step(&format!("{target}: {why}"));
        let packages = ["proactor", "overlapped", "overlapped-cli", "overlapped-pitfalls"];
        let packages = packages.map(|package| ["--package", package]).concat();
        Toolchain::new(&root, place.clone(), target).lint(&packages)?;
    }
    step("all held");
    println!("portability: {0} of {0} systems passed", SYSTEMS.len());
    Ok(())
}
