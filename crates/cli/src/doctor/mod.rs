//! `overlapped doctor`: what would run here, and why. Everything is found out first ([`examine`]); then one
//! [`Report`] is written, for a person or as JSON.

mod json;
mod limits;
mod machine;
mod text;

use std::process::ExitCode;
use std::thread;

use overlapped::settings::{BackendKind, Refusal};
use proactor::backend::feature::{Feature, Offer};
use proactor::backend::{PREFERENCE, probe};
use proactor::os;

use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::output::{say, say_json};
use limits::{Facts, Rings, Row};
use machine::{Answer, Machine};

/// What was found out.
struct Report {
    /// The kernel's version, where it has one that can be read.
    release: Option<String>,
    /// As many as `serve` would start.
    workers: usize,
    /// The backends of this system, the preferred one first.
    backends: Vec<(BackendKind, Result<Offer, Refusal>)>,
    /// Empty where no ring can be made.
    features: Vec<Feature>,
    permissions: Permissions,
    limits: Vec<Row>,
    /// Sessions that the descriptor limit leaves room for. `None`: no limit.
    room: Option<u64>,
}

/// What the system says about who may make rings.
struct Permissions {
    io_uring_disabled: Answer<String>,
    io_uring_group: Answer<String>,
    seccomp_filtered: Answer<bool>,
}

impl Report {
    /// What `--backend auto` takes.
    fn auto(&self) -> Option<BackendKind> {
        self.backends.iter().find(|(_, tried)| tried.is_ok()).map(|(name, _)| *name)
    }
}

pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let report = examine(&Machine::this());
    if args.json {
        say_json(&json::of(&report))?;
    } else {
        say(text::of(&report).trim_end())?;
    }
    Ok(if report.auto().is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn examine(machine: &Machine) -> Report {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let descriptors = os::descriptor_limits();
    let open = os::open_descriptors();
    // As `serve` does before it makes anything.
    let _ = overlapped::raise_descriptor_limit();
    let backends: Vec<_> = PREFERENCE.iter().map(|name| (*name, probe::probe(*name, workers))).collect();
    let rings = backends.iter().find(|(name, _)| *name == BackendKind::IoUring);
    let facts = Facts { workers, open, descriptors, rings: rings_of(rings.map(|(_, tried)| tried)) };
    Report {
        release: machine.release(),
        workers,
        features: probe::ring_features(),
        permissions: Permissions {
            io_uring_disabled: machine.setting_if_any("kernel.io_uring_disabled"),
            io_uring_group: machine.setting_if_any("kernel.io_uring_group"),
            seccomp_filtered: machine.seccomp_filtered(),
        },
        limits: limits::rows(&facts, machine),
        room: overlapped::Server::room_for_sessions(workers),
        backends,
    }
}

fn rings_of(tried: Option<&Result<Offer, Refusal>>) -> Rings {
    match tried {
        Some(Ok(Offer { ring: Some(size) })) => Rings::Made(*size),
        Some(Err(refusal)) if refusal.reason == Refusal::NO_MEMORY_TO_LOCK => Rings::NoMemory,
        _ => Rings::Unknown,
    }
}
