//! What the rounds of a workload say about each server.

use overlapped_measure::stats::{self, Estimate, Resampling};

use super::generator::Figures;
use super::jobs::{Job, Measure};
use super::results::{Outcome, Results, Sample};
use super::servers::Server;

/// A median, between which values the middle half of the rounds lies, and the extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Middle {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// One server in one workload.
pub(super) struct Row<'r> {
    pub(super) server: &'r Server,
    /// Of what the workload compares; less is better.
    pub(super) decisive: Option<Middle>,
    /// Rounds with figures.
    pub(super) rounds: u32,
    /// Of them, those that stayed noisy.
    pub(super) noisy: u32,
    /// Measurements that were made again.
    pub(super) repeated: u32,
    pub(super) failed: u32,
    /// Why the first one failed.
    pub(super) failure: Option<&'r str>,
    /// Each of ours over this server, in paired rounds, in the order of [`ours`].
    pub(super) ratios: Vec<Ratio>,
    samples: Vec<&'r Sample>,
}

impl Row<'_> {
    /// The median over all rounds of what `of` chooses.
    pub(super) fn median(&self, of: fn(&Figures) -> Option<f64>) -> Option<f64> {
        stats::median(&values(&self.samples, of))
    }

    /// The same with its spread.
    pub(super) fn middle(&self, of: fn(&Figures) -> Option<f64>) -> Option<Middle> {
        middle(&values(&self.samples, of))
    }

    /// In how many rounds the generator was the limit.
    pub(super) fn generator_limited(&self) -> usize {
        self.samples
            .iter()
            .filter_map(|sample| sample.figures())
            .filter(|figures| figures.generator_limited)
            .count()
    }
}

/// Those of a workload's servers with which the others are compared.
pub(super) fn ours(job: &Job) -> impl Iterator<Item = &Server> {
    job.servers.iter().filter(|server| server.ours)
}

/// The servers of a workload, the best first; those without figures last.
pub(super) fn rows<'r>(results: &'r Results, job: &'r Job) -> Vec<Row<'r>> {
    let key = &job.workload.key;
    let decisive = of_measure(job.workload.measure);
    let mut rows: Vec<Row> = job
        .servers
        .iter()
        .map(|server| {
            let samples: Vec<&Sample> = results.of(key, &server.name).collect();
            let ratio = |ours: &Server| ratio(results, job, &ours.name, &server.name);
            row(results, server, samples, decisive, ours(job).map(ratio).collect())
        })
        .collect();
    let sort_key = |row: &Row| row.decisive.map_or(f64::INFINITY, |middle| middle.median);
    rows.sort_by(|one, other| sort_key(one).total_cmp(&sort_key(other)));
    rows
}

fn row<'r>(
    results: &'r Results,
    server: &'r Server,
    samples: Vec<&'r Sample>,
    decisive: fn(&Figures) -> Option<f64>,
    ratios: Vec<Ratio>,
) -> Row<'r> {
    let failures = samples.iter().filter_map(|sample| match &sample.outcome {
        Outcome::Failed(why) => Some(why.as_str()),
        Outcome::Measured(_) => None,
    });
    let noisy =
        |sample: &&&Sample| sample.figures().is_some() && sample.noise.is_noisy(results.best_probe_ns);
    let values = values(&samples, decisive);
    Row {
        server,
        decisive: middle(&values),
        rounds: values.len() as u32,
        noisy: samples.iter().filter(noisy).count() as u32,
        repeated: samples.iter().map(|sample| sample.repeated).sum(),
        failed: failures.clone().count() as u32,
        failure: failures.clone().next(),
        ratios,
        samples,
    }
}

fn values(samples: &[&Sample], of: fn(&Figures) -> Option<f64>) -> Vec<f64> {
    samples.iter().filter_map(|sample| of(sample.figures()?)).collect()
}

fn middle(values: &[f64]) -> Option<Middle> {
    let at = |share| stats::quantile(values, share);
    Some(Middle { median: at(0.5)?, low: at(0.25)?, high: at(0.75)?, least: at(0.0)?, most: at(1.0)? })
}

/// What decides.
pub(super) fn of_measure(measure: Measure) -> fn(&Figures) -> Option<f64> {
    match measure {
        Measure::CpuPerMessage | Measure::CpuPerConnection => |figures| figures.cpu_ns,
        Measure::RoundTrip => |figures| figures.p50_ns,
        Measure::IdleMemory => |figures| figures.idle_bytes,
    }
}

/// Of the rounds in which both have figures, as pairs.
fn ratio(results: &Results, job: &Job, ours: &str, other: &str) -> Ratio {
    let (workload, measure) = (job.workload.key.as_str(), job.workload.measure);
    let of = of_measure(measure);
    if ours == other {
        return Ratio::Missing;
    }
    let pair = |theirs: &Sample| {
        let same = results.of(workload, ours).find(|sample| sample.round == theirs.round)?;
        Some((of(theirs.figures()?)?, of(same.figures()?)?))
    };
    let rounds: Vec<(f64, f64)> = results.of(workload, other).filter_map(pair).collect();
    let theirs: Vec<f64> = rounds.iter().map(|(theirs, _)| *theirs).collect();
    if measure == Measure::IdleMemory && stats::median(&theirs).is_some_and(|bytes| bytes < LEAST_BYTES) {
        return Ratio::NearZero;
    }
    stats::ratio_of_medians(&rounds, Resampling::default())
        .map_or(Ratio::Missing, |estimate| Ratio::Estimated { estimate, rounds: rounds.len() as u32 })
}

/// Bytes for an idle session from which on a quotient says something: pages that the allocator had before are none.
const LEAST_BYTES: f64 = 64.0;

/// One of ours over another server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ratio {
    /// One of both has no figures, or both are the same server.
    Missing,
    /// The other's value is next to nothing.
    NearZero,
    Estimated {
        estimate: Estimate,
        /// In which both have figures.
        rounds: u32,
    },
}

impl Ratio {
    pub(super) fn estimate(self) -> Option<Estimate> {
        if let Ratio::Estimated { estimate, .. } = self { Some(estimate) } else { None }
    }

    /// `None` for a single round too: its interval is a point, and noise would pass for a difference.
    pub(super) fn verdict(self) -> Option<Verdict> {
        match self {
            Ratio::Estimated { estimate, rounds: 2.. } => Some(Verdict::of(estimate)),
            _ => None,
        }
    }
}

/// What a ratio of ours to another says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The whole interval is below 1.
    Ahead,
    /// The interval reaches down to 1.03 or less.
    Level,
    Behind,
}

impl Verdict {
    pub(super) fn of(ratio: Estimate) -> Verdict {
        if ratio.is_below(1.0) {
            Verdict::Ahead
        } else if ratio.is_above(1.03) {
            Verdict::Behind
        } else {
            Verdict::Level
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Verdict::Ahead => "ahead",
            Verdict::Level => "level",
            Verdict::Behind => "behind",
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::jobs::Workload;
    use super::super::machine::Machine;
    use super::super::noise::Noise;
    use super::super::rounds;
    use super::super::servers::{self, IO_URING, READINESS};
    use super::*;

    fn machine() -> Machine {
        Machine {
            processor: "AMD EPYC".to_owned(),
            family: "25".to_owned(),
            model: "1".to_owned(),
            fsrm: true,
            erms: true,
            virtual_machine: true,
            processors: 2,
            memory_bytes: 24 << 30,
            kernel: "Linux 6.18.1".to_owned(),
            date: "2026-11-26".to_owned(),
            priority: true,
        }
    }

    fn sample(server: &str, round: u32, outcome: Outcome, slow: f64) -> Sample {
        Sample {
            workload: "b".to_owned(),
            server: server.to_owned(),
            round,
            outcome,
            noise: Noise { probe_ns: 100.0 * slow, ..Noise::default() },
            repeated: u32::from(slow > 1.0),
        }
    }

    /// Of `b`: ours on both backends and two peers, one of which fails in some rounds, and one that is missing.
    pub(in super::super) fn sample_results() -> Results {
        let mut all = servers::ours(Path::new("/x/overlapped"));
        for name in ["tokio", "mio", "gone"] {
            let version = format!("{name} 1.2.3");
            all.push(Server { name: name.to_owned(), ours: false, version, ..all[0].clone() });
        }
        let workload = Workload::messages("b", 50, 64, Duration::from_secs(1));
        let job = Job { workload, rounds: 21, servers: all };
        let mut results = rounds::results(machine(), "cargo xtask bench".to_owned(), vec![job]);
        results.best_probe_ns = 100.0;
        for round in 0..21 {
            // The machine is slow in some rounds, for all alike.
            let slow = if round % 3 == 0 { 1.5 } else { 1.0 };
            for (server, cpu) in [(IO_URING, 4000.0), (READINESS, 5000.0), ("tokio", 5000.0), ("mio", 4500.0)]
            {
                let cpu = (cpu + f64::from(round % 5)) * slow;
                let outcome = if server == "mio" && round < 2 {
                    Outcome::Failed("3 errors".to_owned())
                } else {
                    let (per_second, p50_ns) = (Some(1e9 / cpu), Some(cpu * 50.0));
                    let figures = Figures { cpu_ns: Some(cpu), per_second, p50_ns, ..Figures::default() };
                    Outcome::Measured(Box::new(figures))
                };
                results.samples.push(sample(server, round, outcome, slow));
            }
            let missing = Outcome::Failed("gone was not built".to_owned());
            results.samples.push(sample("gone", round, missing, 1.0));
        }
        results
    }

    #[test]
    fn rows_are_sorted_and_ratios_are_paired() {
        let results = sample_results();
        let rows = rows(&results, &results.jobs[0]);
        let names: Vec<&str> = rows.iter().map(|row| row.server.name.as_str()).collect();
        assert_eq!(names[..2], [IO_URING, "mio"]);
        assert_eq!(names[4], "gone");
        assert_eq!((rows[0].rounds, rows[0].noisy, rows[0].repeated), (21, 7, 7));
        assert_eq!(rows[0].ratios[0], Ratio::Missing);
        let mio = &rows[1];
        assert_eq!((mio.rounds, mio.failed, mio.failure), (19, 2, Some("3 errors")));
        let [Ratio::Estimated { estimate: ours, rounds: 19 }, readiness] = mio.ratios[..] else {
            panic!("{:?}", mio.ratios)
        };
        assert!((ours.value - 4000.0 / 4500.0).abs() < 0.01, "{ours:?}");
        assert_eq!(mio.ratios[0].verdict(), Some(Verdict::Ahead));
        assert_eq!(readiness.verdict(), Some(Verdict::Behind));
        let tokio = rows.iter().find(|row| row.server.name == "tokio").unwrap();
        assert_eq!(tokio.ratios[1].verdict(), Some(Verdict::Level));
        assert_eq!((rows[4].rounds, rows[4].failed, rows[4].decisive), (0, 21, None));
    }

    #[test]
    fn one_round_has_a_ratio_and_no_verdict() {
        let mut results = sample_results();
        results.samples.retain(|sample| sample.round == 2);
        let rows = rows(&results, &results.jobs[0]);
        let mio = rows.iter().find(|row| row.server.name == "mio").unwrap();
        assert!(mio.ratios[0].estimate().is_some() && mio.ratios[0].verdict().is_none(), "{:?}", mio.ratios);
    }

    #[test]
    fn next_to_nothing_is_no_divisor() {
        let mut results = sample_results();
        results.jobs[0].workload.measure = Measure::IdleMemory;
        for sample in &mut results.samples {
            let bytes = if sample.server == "mio" { 63.0 } else { 640.0 };
            if let Outcome::Measured(figures) = &mut sample.outcome {
                figures.idle_bytes = Some(bytes);
            }
        }
        let rows = rows(&results, &results.jobs[0]);
        let of = |name: &str| rows.iter().find(|row| row.server.name == name).unwrap().ratios[0];
        assert_eq!(of("mio"), Ratio::NearZero);
        assert_eq!(of("tokio").estimate().unwrap().value, 1.0);
    }

    #[test]
    fn verdicts_follow_the_interval() {
        let verdict = |low, high| Verdict::of(Estimate { value: 1.0, low, high });
        assert_eq!(verdict(0.90, 0.99), Verdict::Ahead);
        assert_eq!(verdict(0.90, 1.00), Verdict::Level);
        assert_eq!(verdict(1.03, 1.20), Verdict::Level);
        assert_eq!(verdict(1.031, 1.20), Verdict::Behind);
    }
}
