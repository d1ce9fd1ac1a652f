//! A Wine of our own: a prefix under the target directory, and an end for whatever runs in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bounded::{self, Failure};

/// The library that some versions of Wine lack; without it a Rust program ends at once and silently.
const SHIM: &str = "bcryptprimitives.dll";
const SHIM_SOURCE: &str = include_str!("bcryptprimitives.c");
const BOOT: Duration = Duration::from_secs(300);

pub(super) struct Wine {
    prefix: PathBuf,
}

impl Wine {
    pub(super) fn new(place: &Path) -> Result<Wine, Failure> {
        let wine = Wine { prefix: place.join("prefix") };
        let system = wine.prefix.join("drive_c/windows/system32");
        if !wine.prefix.join("system.reg").exists() || !system.exists() {
            // It complains about the 32-bit half that a 64-bit Wine does not have; the prefix is good.
            let mut boot = wine.command("wineboot");
            quiet(boot.arg("--init"), BOOT)?;
        }
        if !system.join(SHIM).exists() {
            let source = place.join("bcryptprimitives.c");
            let library = system.join(SHIM);
            let failed = |error| format!("{}: {error}", source.display());
            std::fs::write(&source, SHIM_SOURCE).map_err(failed)?;
            let mut compile = Command::new("x86_64-w64-mingw32-gcc");
            compile.args(["-O2", "-shared", "-o"]).arg(&library).arg(&source).arg("-ladvapi32");
            bounded::run(&mut compile, Duration::from_secs(60))?;
        }
        Ok(wine)
    }

    /// Runs a Windows program to its end.
    pub(super) fn run(&self, program: &Path, words: &[&str], limit: Duration) -> Result<(), Failure> {
        bounded::run(self.program(program).args(words), limit)
    }

    /// A Windows program, to be started.
    pub(super) fn program(&self, program: &Path) -> Command {
        let mut command = self.command("wine");
        command.arg(program);
        command
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        self.surround(&mut command);
        command
    }

    /// The environment in which a program, or what it starts, finds this Wine.
    pub(super) fn surround<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("WINEPREFIX", &self.prefix).env("WINEDEBUG", "-all");
        // Neither its browser nor its .NET is wanted, and nobody is there to answer its questions about them.
        command.env("WINEDLLOVERRIDES", "mscoree,mshtml=").env_remove("DISPLAY")
    }
}

impl Drop for Wine {
    /// Ends what is still running in this prefix: its services, and programs that hung.
    fn drop(&mut self) {
        let mut end = self.command("wineserver");
        // Nothing runs: that is an error to it, and what is wanted here.
        let _ = quiet(end.arg("--kill"), Duration::from_secs(30));
    }
}

/// Runs a program whose words nobody needs. They go nowhere, not through a pipe: services that it leaves behind
/// would hold that open.
fn quiet(command: &mut Command, limit: Duration) -> Result<(), Failure> {
    bounded::run(command.stdout(Stdio::null()).stderr(Stdio::null()), limit)
}
