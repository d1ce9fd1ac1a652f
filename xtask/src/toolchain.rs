//! Debian's Rust, which can build the standard library for other systems from its package of sources: rustup's
//! toolchain brings a library for this system alone, and this works without downloading one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bounded::{self, Failure};
use crate::{packages, place};

const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";
const CLIPPY: &str = "/usr/bin/cargo-clippy";
/// Makes the import libraries of 32-bit Windows, which its standard library needs.
const DLLTOOL: &str = "/usr/bin/i686-w64-mingw32-dlltool";
const LINKER: &str = "/usr/bin/x86_64-w64-mingw32-gcc";
const WINE: &str = "/usr/bin/wine";
/// The sources of the standard library, below the compiler's own directory.
const SOURCES: &str = "lib/rustlib/src/rust/library/std/Cargo.toml";
const PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-clippy", "rust-web-src"];
const FOR_CHECKS: &[&str] = &["binutils-mingw-w64-i686"];
const FOR_WINDOWS: &[&str] = &["wine", "wine64", "gcc-mingw-w64-x86-64"];
const BUILD: Duration = Duration::from_secs(1800);

/// What a chore does with the toolchain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Checks types.
    Check,
    /// Builds for Windows, and runs it.
    Windows,
}

impl Use {
    /// What it needs beside the compiler: programs, and the packages they are in.
    fn needs(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Use::Check => (&[DLLTOOL], FOR_CHECKS),
            Use::Windows => (&[LINKER, WINE], FOR_WINDOWS),
        }
    }
}

/// Sees to it that the packages are there, or says how.
pub(crate) fn require(what: Use, install: bool) -> Result<(), Failure> {
    let missing = missing(what);
    if missing.is_empty() {
        return Ok(());
    }
    let needed = [PACKAGES, what.needs().1].concat();
    let named = needed.join(" ");
    if !install {
        return Err(format!(
            "missing: {}; run this with `--install` as root, or install: {named}",
            missing.join(", ")
        ));
    }
    packages::update()?;
    packages::install(&needed)?;
    match self::missing(what) {
        still if still.is_empty() => Ok(()),
        still => Err(format!("missing although {named} are installed: {}", still.join(", "))),
    }
}

fn missing(what: Use) -> Vec<String> {
    let programs = [&[CARGO, RUSTC, CLIPPY][..], what.needs().0];
    let mut missing: Vec<String> = programs
        .concat()
        .into_iter()
        .filter(|program| !Path::new(program).exists())
        .map(str::to_owned)
        .collect();
    // The distribution's default compiler is at the same place and may be too old: it has no such sources.
    let sysroot = Command::new(RUSTC).args(["--print", "sysroot"]).output();
    let sysroot = sysroot.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    if !sysroot.is_ok_and(|sysroot| Path::new(&sysroot).join(SOURCES).exists()) {
        missing.push("the sources of the standard library".into());
    }
    missing
}

pub(crate) struct Toolchain<'a> {
    root: &'a Path,
    target: &'static str,
    /// A target directory of its own, so that two compilers do not undo each other's work.
    into: PathBuf,
}

impl<'a> Toolchain<'a> {
    pub(crate) fn new(root: &'a Path, into: PathBuf, target: &'static str) -> Toolchain<'a> {
        Toolchain { root, target, into }
    }

    /// Has the lints look at what is for that system only; `which` chooses as in `cargo clippy`.
    pub(crate) fn lint(&self, which: &[&str]) -> Result<(), Failure> {
        let mut command = self.command(CLIPPY, "clippy");
        // Else it takes the first cargo of the path.
        command.env("CARGO", CARGO).args(["--quiet", "--all-targets"]);
        // For this target Clippy takes `const { … }` in a `thread_local!` for an initializer that is not const.
        let wrong = ["--allow", "clippy::missing_const_for_thread_local"];
        command.args(which).args(["--", "--deny", "warnings"]).args(wrong);
        bounded::run(&mut command, BUILD)
    }

    /// Builds tests, and the programs that they start; `which` chooses as in `cargo test`. Returns where both are.
    pub(crate) fn tests(&self, which: &[&str]) -> Result<Vec<PathBuf>, Failure> {
        let mut command = self.command(CARGO, "test");
        command.arg("--no-run").args(which).arg("--message-format=json-render-diagnostics");
        let (lines, warnings) = bounded::lines_of(&mut command, BUILD, |line| {
            line.starts_with("warning: `") && line.contains(" generated ")
        })?;
        if let Some(warning) = warnings.first() {
            return Err(format!("a build for Windows has no warnings, but {warning}"));
        }
        Ok(lines.iter().filter_map(|line| place::program_in(line)).collect())
    }

    /// Cargo, or a program that is used like it, to work for the target.
    fn command(&self, program: &str, what: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.root).args([what, "--locked", "--target", self.target]);
        command.arg("-Zbuild-std=std,panic_unwind,test,proc_macro");
        // A stable compiler builds its own library only when it is told that this is meant.
        // Nobody debugs what is built here, and MinGW's linker needs minutes for what a debugger would read.
        command.env("CARGO_PROFILE_DEV_DEBUG", "0");
        // Wine takes most of the time that these tests need, and optimising would take more than it saves.
        command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
        command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", RUSTC).env("CARGO_TARGET_DIR", &self.into);
        // What the cargo that runs this program says of its own toolchain.
        for name in ["RUSTUP_TOOLCHAIN", "CARGO", "LD_LIBRARY_PATH", "RUSTFLAGS", "RUSTDOC"] {
            command.env_remove(name);
        }
        command
    }
}
