//! A Wine of our own: a prefix under the target directory, and an end for whatever runs in it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::bounded::{self, Failure};

/// The library that some versions of Wine lack; without it a Rust program ends at once and silently.
const SHIM: &str = "bcryptprimitives.dll";
const SHIM_SOURCE: &str = include_str!("bcryptprimitives.c");
const BOOT: Duration = Duration::from_secs(300);

pub(crate) struct Wine {
    prefix: PathBuf,
    /// A command that runs another one where all of it runs; empty: here.
    within: Vec<String>,
}

impl Wine {
    pub(crate) fn new(place: &Path) -> Result<Wine, Failure> {
        Wine::within(place, Vec::new())
    }

    /// The same in another network, to which a command leads. All sockets are those of Wine's server.
    pub(crate) fn within(place: &Path, within: Vec<String>) -> Result<Wine, Failure> {
        let wine = Wine { prefix: place.join("prefix"), within };
        std::fs::create_dir_all(&wine.prefix)
            .map_err(|error| format!("{}: {error}", wine.prefix.display()))?;
        // One of an earlier run that was killed; there may be none.
        let _ = quiet(wine.command("wineserver").arg("--kill"), BOOT);
        // Its server, and the services that the first program starts, stay until `drop`. Services that a test's program
        // started would hold that program's pipes open after its end, and a server that ends with its last program may
        // do so while the next one begins.
        quiet(wine.command("wineserver").arg("--persistent"), BOOT)?;
        let system = wine.prefix.join("drive_c/windows/system32");
        if !wine.prefix.join("system.reg").exists() || !system.exists() {
            // It complains about the 32-bit half that a 64-bit Wine does not have; the prefix is good.
            quiet(wine.command("wineboot").arg("--init"), BOOT)?;
        } else {
            quiet(&mut wine.command("wineboot"), BOOT)?;
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

    /// Runs tests to their end. Those of which Wine took the verdict are run once more.
    pub(crate) fn test(&self, program: &Path, words: &[&str], limit: Duration) -> Result<(), Failure> {
        let mut command = self.program(program);
        command.args(words);
        let mut status = bounded::status_of(&mut command, limit)?;
        if was_killed(status) {
            println!("known limit of Wine: a program was killed as it ended; its tests once more");
            status = bounded::status_of(&mut command, limit)?;
        }
        bounded::judge(&command, status)
    }

    /// A Windows program, to be started.
    pub(crate) fn program(&self, program: &Path) -> Command {
        let mut command = self.command("wine");
        command.arg(program);
        command
    }

    fn command(&self, name: &str) -> Command {
        let mut words = self.within.iter().map(String::as_str).chain([name]);
        let mut command = Command::new(words.next().expect("the name at least"));
        command.args(words);
        self.surround(&mut command);
        command
    }

    /// The environment in which a program, or what it starts, finds this Wine.
    pub(crate) fn surround<'c>(&self, command: &'c mut Command) -> &'c mut Command {
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

/// Wine kills a program now and then that ends while one of its threads ends. Nobody else does: tests that fail, hang
/// or crash end with an exit status or with ours, so running them again hides none of that.
fn was_killed(status: ExitStatus) -> bool {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    #[cfg(not(unix))]
    return status.code().is_none();
}

/// Runs a program whose words nobody needs. They go nowhere, not through a pipe: services that it leaves behind
/// would hold that open.
fn quiet(command: &mut Command, limit: Duration) -> Result<(), Failure> {
    bounded::run(command.stdout(Stdio::null()).stderr(Stdio::null()), limit)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn only_what_was_killed_runs_again() {
        assert!(was_killed(ExitStatus::from_raw(9)));
        // Success, a program that did not start, a failed test, a crash (0xC0000005 as Wine tells it), and SIGSEGV.
        for status in [0, 1 << 8, 101 << 8, 5 << 8, 11] {
            let status = ExitStatus::from_raw(status);
            assert!(!was_killed(status), "{status}");
        }
    }
}
