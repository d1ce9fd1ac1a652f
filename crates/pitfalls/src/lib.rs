//! The classic mistakes of completion I/O. Each one runs here, is shown by what it leaves behind, and is repaired on the
//! same schedule.
//!
//! An [`Exhibit`] is one mistake as a small program. [`Exhibit::run`] runs it twice, with the mistake and repaired. Most
//! run on a completion kernel: a ring, a completion port, or, where neither may be used, a small kernel of this crate
//! ([`KernelName`]). Those whose mistake needs no completion kernel run on ordinary sockets, or in memory alone
//! ([`Medium`]). The [`Report`] has the [`Evidence`] of both runs as data, and a [`Timeline`] to draw.
//!
//! `docs/pitfalls.md` (in Korean: `docs/pitfalls.ko.md`) explains each in C++.
//!
//! Nothing of `proactor` or `overlapped` depends on this crate. Its `unsafe` blocks break rules on purpose, each says
//! which one, and why that is survivable here: what a kernel may still write to is memory of an arena that is never
//! freed. "Freed" memory is handed to the next session, so the damage is seen where it lands.
//!
//! AddressSanitizer reports nothing, in the broken versions as in the repaired ones (checked on a ring and on the stand-in).
//! It cannot see these mistakes: every byte that is written belongs to somebody at that moment, if to the wrong one,
//! and most writes are a kernel's, which is not instrumented. The one access that it could report, to memory that was
//! given back to the system, is the crash of [`child`].
//!
//! # On the command line
//!
//! `overlapped pitfalls NAME` shows an exhibit as text, with `--json` as data, with `--html FILE` as a page. The exit
//! status is 0 when each broken version broke and each repaired one held ([`Report::as_expected`]), 1 otherwise. The
//! hidden flag `--without-repair` runs the broken version in place of the repaired one
//! ([`Exhibit::run_without_repair`]): a check of the check, which must end with status 1.
//!
//! The JSON is one object. These keys are always there, and keep their meaning; others may be added:
//!
//! | key | value |
//! | --- | --- |
//! | `version` | of the program |
//! | `kernel` | of the exhibits whose `runs_on` is `kernel`. `name`: `io_uring`, `iocp` or `own`; `reason` and `remedy`: why it is `own` though it was not asked for, else null |
//! | `without_repair` | whether that flag was given |
//! | `as_expected` | whether every broken version broke and every repaired one held; null where nothing was run |
//! | `exhibits` | a list, in the order in which they were asked for |
//!
//! An exhibit has the fields of [`Exhibit`] (`name`, `aliases`, `title`, `mistake`, `repair`, `invariant`, `upheld_by`,
//! `on_windows`, `on_linux`, and `seen_in`, a list of `name`, `url`, `what`), `runs_on` (a [`Medium`]: `kernel`,
//! `sockets` or `memory`), and what came of it; null is what was not run:
//!
//! | key | value |
//! | --- | --- |
//! | `as_expected` | whether the broken version broke and the repaired one held |
//! | `error` | why it could not be run |
//! | `broken`, `repaired` | `held`, `evidence`, `timeline` of a [`Run`] |
//! | `crash` | of `use-after-release` alone, a [`Crash`]: `crashed`, `child_ended`, `kernel_refused`, `kernel_answered` |
//!
//! `evidence` is an object: facts by name, each a number, a boolean, a text or a list of texts. A time is a number, and
//! its name ends with the unit (`_seconds`). An exhibit has the same names on every kernel. `timeline` has `moments`, a list of `text` and `wrong`, and `bars`, a list of `lane`, `kind`
//! (`session`, `operation`, `memory`), `label`, `from` and `to`. Both count moments from 0; a bar whose `to` is the
//! number of moments does not end.

mod arena;
mod crash;
mod exhibits;
mod kernel;
mod large;
mod stage;
mod story;

/// The crate's README: its example is compiled with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

use std::io;

pub use crash::{CHILD, Crash, child, watch};
pub use exhibits::ALL;
pub use kernel::{KernelName, available, choose};
pub use story::{Bar, Evidence, Kind, Lane, Moment, Timeline, Value};

use stage::Stage;

/// Which of the two programs runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// With the mistake.
    Broken,
    /// Without.
    Repaired,
}

/// What an exhibit needs to show its mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A completion kernel: a [`KernelName`].
    Kernel,
    /// Ordinary sockets on loopback.
    Sockets,
    /// Memory alone: there is no I/O.
    Memory,
}

impl Medium {
    /// As the JSON spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Medium::Kernel => "kernel",
            Medium::Sockets => "sockets",
            Medium::Memory => "memory",
        }
    }
}

/// A public project that had the mistake.
#[derive(Clone, Copy, Debug)]
pub struct SeenIn {
    /// Project and number.
    pub name: &'static str,
    /// The thread.
    pub url: &'static str,
    /// What it was.
    pub what: &'static str,
}

/// One mistake.
pub struct Exhibit {
    /// Its name on the command line.
    pub name: &'static str,
    /// Other names by which it is found.
    pub aliases: &'static [&'static str],
    /// What the mistake is, in a few words.
    pub title: &'static str,
    /// What the program does wrong, in a sentence.
    pub mistake: &'static str,
    /// What the repaired program does instead, in a sentence.
    pub repair: &'static str,
    /// The promise of `overlapped` that rules it out, and how.
    pub invariant: &'static str,
    /// The file that upholds it.
    pub upheld_by: &'static str,
    /// How the mistake looks on a completion port.
    pub on_windows: &'static str,
    /// How the mistake looks on a ring.
    pub on_linux: &'static str,
    /// Public projects that had it.
    pub seen_in: &'static [SeenIn],
    run: fn(&mut Stage, Version) -> io::Result<()>,
    held: fn(&Evidence) -> bool,
}

/// What one version did.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was observed.
    pub evidence: Evidence,
    /// Whether everybody got what is theirs, judged by the evidence.
    pub held: bool,
    /// Who had what, when.
    pub timeline: Timeline,
}

/// What both versions did.
#[derive(Clone, Debug)]
pub struct Report {
    /// The kernel that both ran on. `None`: none took part ([`Exhibit::medium`]).
    pub kernel: Option<KernelName>,
    /// The version with the mistake.
    pub broken: Run,
    /// The version without.
    pub repaired: Run,
}

impl Report {
    /// Whether the broken one broke and the repaired one held.
    #[must_use]
    pub fn as_expected(&self) -> bool {
        !self.broken.held && self.repaired.held
    }
}

impl Exhibit {
    /// The exhibit of a name or an alias.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Exhibit> {
        ALL.iter().copied().find(|exhibit| exhibit.name == name || exhibit.aliases.contains(&name))
    }

    /// What its versions run on.
    #[must_use]
    pub fn medium(&self) -> Medium {
        exhibits::medium(self)
    }

    /// Runs both versions, each on a kernel of its own where it needs one.
    ///
    /// # Errors
    /// What the system answered where the exhibit needs it: sockets on loopback, a kernel. Nothing is shown then.
    pub fn run(&self, kernel: KernelName) -> io::Result<Report> {
        self.run_versions(kernel, [Version::Broken, Version::Repaired])
    }

    /// Runs the broken version in the place of the repaired one as well: a check of the check, which must fail.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn run_without_repair(&self, kernel: KernelName) -> io::Result<Report> {
        self.run_versions(kernel, [Version::Broken, Version::Broken])
    }

    /// Whether a child process also shows the crash that this mistake ends with when the memory is given back to the
    /// system: [`watch`].
    #[must_use]
    pub fn also_crashes(&self) -> bool {
        self.name == exhibits::CRASHES
    }

    fn run_versions(&self, kernel: KernelName, [broken, repaired]: [Version; 2]) -> io::Result<Report> {
        Ok(Report {
            kernel: (self.medium() == Medium::Kernel).then_some(kernel),
            broken: self.run_one(kernel, broken)?,
            repaired: self.run_one(kernel, repaired)?,
        })
    }

    fn run_one(&self, kernel: KernelName, version: Version) -> io::Result<Run> {
        let kernel = match self.medium() {
            Medium::Kernel => kernel::make(kernel)?,
            // Whatever is started on it fails: that none takes part is not only said.
            Medium::Sockets | Medium::Memory => kernel::absent(),
        };
        let mut stage = Stage::new(kernel);
        (self.run)(&mut stage, version)?;
        let Stage { story, evidence, .. } = stage;
        Ok(Run { held: (self.held)(&evidence), evidence, timeline: story.finish() })
    }
}
