//! Everything that was measured, as the JSON has it.

use serde::Serialize;

use super::generator::Figures;
use super::jobs::Job;
use super::machine::Machine;
use super::noise::{Noise, Places};

/// One server in one round of a workload.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    pub(super) workload: String,
    pub(super) server: String,
    /// From 0.
    pub(super) round: u32,
    pub(super) outcome: Outcome,
    pub(super) noise: Noise,
    /// How often it was measured again because it was noisy; the quietest one is kept.
    pub(super) repeated: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Measured(Box<Figures>),
    /// Why there are no figures.
    Failed(String),
}

impl Sample {
    pub(super) fn figures(&self) -> Option<&Figures> {
        match &self.outcome {
            Outcome::Measured(figures) => Some(figures),
            Outcome::Failed(_) => None,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Results {
    pub(super) machine: Machine,
    /// What was typed.
    pub(super) command: String,
    /// Of this project, with `-dirty` where files differ from it; `None` outside of git.
    pub(super) commit: Option<String>,
    /// Where server and generator ran, except where they shared all processors.
    pub(super) places: Places,
    pub(super) jobs: Vec<Job>,
    /// In order of time.
    pub(super) samples: Vec<Sample>,
    /// The fastest empty system call that was seen, in ns.
    pub(super) best_probe_ns: f64,
    /// Why it ended before all rounds were over, if it did.
    pub(super) cut: Option<Cut>,
}

/// Why a run ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cut {
    Interrupted,
    TimeOver,
}

impl Cut {
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Cut::Interrupted => "it was interrupted",
            Cut::TimeOver => "its time was over",
        }
    }
}

impl Results {
    pub(super) fn of<'r>(&'r self, workload: &'r str, server: &'r str) -> impl Iterator<Item = &'r Sample> {
        self.samples.iter().filter(move |sample| sample.workload == workload && sample.server == server)
    }
}
