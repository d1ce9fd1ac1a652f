//! The two systems that pages are played on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::network::Network;
use super::page::Page;
use super::player::{Limits, System, play};
use super::powershell::{self, Start};
use super::script::{Shell, steps};
use super::terminal::Terminal;
use crate::bounded::{self, Failure};
use crate::place;
use crate::wine::Wine;

/// The width of the terminals, and what programs are told it is.
const COLUMNS: u16 = 80;
/// Wine's console breaks lines itself.
const WINE_COLUMNS: u16 = 1000;
/// Where every page has its servers: the lesson's.
const PORT: u16 = 9999;
/// What was built for Windows. It is not optimised: nothing on the pages depends on it, and the tests need the same.
const PROGRAMS: &str = "build/x86_64-pc-windows-gnu/debug";
/// Downloading what Cargo.lock names.
const FETCH: Duration = Duration::from_secs(600);
/// What a shell says of a program that was killed: 128, and the number of the signal.
const KILLED: i32 = 137;

/// Plays the `console` blocks of pages, as a reader on Linux would.
pub(super) fn on_linux(root: &Path, pages: &[&Page]) -> Result<(), Failure> {
    let network = Network::new(PORT);
    if network.is_own() {
        // Nothing can be downloaded there. If this fails, the page's own build says why.
        let mut fetch = place::cargo();
        let _ = bounded::run(fetch.args(["fetch", "--quiet", "--locked"]).stderr(Stdio::null()), FETCH);
    } else {
        println!(
            "note: no network of its own can be made here (`unshare --net`): the pages use this machine's"
        );
    }
    play_all(pages, Shell::Unix, &Linux { root, network })
}

/// Plays the `powershell` blocks of all pages with what `cargo xtask windows` has built in a place. Wine starts anew there.
pub(crate) fn under_wine(place: &Path) -> Result<(), Failure> {
    let pages = super::all(&place::workspace())?;
    on_wine(place, &super::chosen(&pages, &[]))
}

/// The same for some pages.
pub(super) fn on_wine(place: &Path, pages: &[&Page]) -> Result<(), Failure> {
    let programs = place.join(PROGRAMS);
    if !programs.join("overlapped.exe").exists() {
        return Err("no programs for Windows; `cargo xtask windows` builds them".into());
    }
    let network = Network::new(PORT);
    let wine = Wine::within(place, network.within())?;
    play_all(pages, Shell::PowerShell, &OnWine { root: &place::workspace(), wine, programs, network })
}

/// Plays pages one after the other; one that fails does not keep the next ones from it.
fn play_all(pages: &[&Page], shell: Shell, system: &dyn System) -> Result<(), Failure> {
    let start = Instant::now();
    let (mut played, mut commands, mut failures) = (0, 0, Vec::new());
    for page in pages {
        let steps = steps(page, shell).map_err(|findings| findings.join("\n"))?;
        if steps.is_empty() {
            continue;
        }
        match play(page, &steps, system, Limits::USUAL) {
            Ok(count) => (played, commands) = (played + 1, commands + count),
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() {
        let (language, seconds) = (shell.language(), start.elapsed().as_secs());
        println!(
            "pages: {commands} commands ({language}) of {played} pages did what they show ({seconds} s)"
        );
        Ok(())
    } else {
        Err(failures.join("\n"))
    }
}

struct Linux<'a> {
    root: &'a Path,
    network: Network,
}

impl System for Linux<'_> {
    fn terminal(&self) -> Result<Terminal, Failure> {
        Terminal::start(COLUMNS, &self.network.within(), |shell| {
            shell.current_dir(self.root);
        })
    }

    fn network(&self) -> &Network {
        &self.network
    }
}

struct OnWine<'a> {
    root: &'a Path,
    wine: Wine,
    programs: PathBuf,
    network: Network,
}

impl System for OnWine<'_> {
    fn terminal(&self) -> Result<Terminal, Failure> {
        let terminal = Terminal::start(WINE_COLUMNS, &self.network.within(), |shell: &mut Command| {
            let columns = COLUMNS.to_string();
            // A console of Windows can move its cursor, whatever `TERM` says.
            self.wine.surround(shell.current_dir(self.root)).env("COLUMNS", columns).env("TERM", "xterm");
        });
        terminal.map(Terminal::with_keys)
    }

    fn command(&self, command: &str) -> Result<Option<String>, Failure> {
        let Start::Program { path, args } = powershell::start(command)? else { return Ok(None) };
        let program: PathBuf = self.programs.join(&path);
        if !program.exists() {
            return Err(format!("no `{path}` was built for Windows"));
        }
        let program = program.to_string_lossy().into_owned();
        let words = [program].into_iter().chain(args).map(|word| quoted(&word));
        Ok(Some(format!("wine {}", words.collect::<Vec<_>>().join(" "))))
    }

    /// Wine kills a program now and then that ends while one of its threads ends.
    fn forgives(&self, status: i32) -> bool {
        status == KILLED
    }

    fn network(&self) -> &Network {
        &self.network
    }
}

/// A word as it is for a Unix shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
