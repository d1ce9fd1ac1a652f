//! Measures in rounds: every server of a workload once, in order, then the next round. A slow phase of the machine meets
//! neighbours, which are compared within their round.

use std::path::Path;
use std::time::{Duration, Instant};

use super::generator::{Figures, Generator};
use super::jobs::{Job, Workload};
use super::machine::Machine;
use super::noise::{self, Noise, Places, Snapshot};
use super::results::{Cut, Outcome, Results, Sample};
use super::running::Running;
use super::servers::Server;
use super::{idle, interrupt, placed};
use crate::bounded::Failure;

/// How noise is met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How often a noisy measurement is made again.
    pub(super) repeats: u32,
    /// How often the machine is given a moment before a measurement, while it is slower than it can be.
    pub(super) waits: u32,
    /// When half of this is over, nothing is repeated any more; when all of it is over, nothing more is measured.
    pub(super) time: Duration,
}

const WAIT: Duration = Duration::from_millis(200);
/// Waits and repeats take at most this share of the time, and of its first half: a machine that is never quiet is measured
/// as it is.
const SHARE: f64 = 0.25;

pub(super) struct Rounds<'r> {
    generator: Generator,
    patience: Patience,
    apart: Places,
    shared: Places,
    began: Instant,
    /// What waits and repeats took so far.
    extra: Duration,
    results: &'r mut Results,
}

impl<'r> Rounds<'r> {
    pub(super) fn new(
        program: &Path,
        out: &Path,
        patience: Patience,
        results: &'r mut Results,
    ) -> Rounds<'r> {
        let all = placed::allowed();
        Rounds {
            generator: Generator { program: program.to_owned(), out: out.to_owned() },
            patience,
            // As the report says.
            apart: results.places.clone(),
            shared: Places { server: all.clone(), generator: all },
            began: Instant::now(),
            extra: Duration::ZERO,
            results,
        }
    }

    /// Measures everything, round by round. `done` is called after each round of a workload.
    pub(super) fn run(mut self, jobs: &[Job], done: impl Fn(&Results)) {
        self.find_best_probe();
        let last = jobs.iter().map(|job| job.rounds).max().unwrap_or(0);
        let total: u32 = jobs.iter().map(|job| job.rounds).sum();
        let mut over = 0;
        for round in 0..last {
            for job in jobs.iter().filter(|job| round < job.rounds) {
                if self.is_cut() {
                    return;
                }
                self.round(job, round);
                over += 1;
                self.tell(job, round, over, total);
                done(self.results);
            }
        }
        // In the last round.
        if interrupt::asked() {
            self.results.cut = Some(Cut::Interrupted);
        }
    }

    /// Half a second in which the machine shows what it can do.
    fn find_best_probe(&mut self) {
        let processors = self.processors();
        let probes = (0..25).map(|_| noise::probe(&processors));
        self.results.best_probe_ns = probes.fold(f64::INFINITY, f64::min);
    }

    fn is_cut(&mut self) -> bool {
        if interrupt::asked() {
            self.results.cut = Some(Cut::Interrupted);
        } else if self.began.elapsed() > self.patience.time {
            self.results.cut = Some(Cut::TimeOver);
        }
        self.results.cut.is_some()
    }

    fn round(&mut self, job: &Job, round: u32) {
        // Each round begins with another one: noise that is met in turns does not always meet the same.
        let (first, count) = (round as usize % job.servers.len().max(1), job.servers.len());
        for server in job.servers.iter().cycle().skip(first).take(count) {
            if self.is_cut() {
                return;
            }
            if let Some(why) = &server.missing {
                self.keep(job, server, round, Outcome::Failed(why.clone()), Noise::default(), 0);
                continue;
            }
            let (outcome, noise, repeated) = self.measure(&job.workload, server);
            if !interrupt::asked() {
                self.keep(job, server, round, outcome, noise, repeated);
            }
        }
    }

    fn keep(
        &mut self,
        job: &Job,
        server: &Server,
        round: u32,
        outcome: Outcome,
        noise: Noise,
        repeated: u32,
    ) {
        let (workload, server) = (job.workload.key.clone(), server.name.clone());
        self.results.samples.push(Sample { workload, server, round, outcome, noise, repeated });
    }

    /// The quietest of some tries, and how many there were after the first.
    fn measure(&mut self, workload: &Workload, server: &Server) -> (Outcome, Noise, u32) {
        let mut kept: Option<(Outcome, Noise)> = None;
        let mut repeated = 0;
        loop {
            let (start, extra) = (Instant::now(), self.extra);
            let (outcome, noise) = match self.once(workload, server) {
                Ok((figures, noise)) => (Outcome::Measured(Box::new(figures)), noise),
                Err(failure) => (Outcome::Failed(failure), Noise::default()),
            };
            if repeated > 0 {
                self.extra = extra + start.elapsed();
            }
            let failed = matches!(outcome, Outcome::Failed(_));
            let best = self.results.best_probe_ns;
            let noisy = noise.is_noisy(best);
            if failed || kept.as_ref().is_none_or(|(_, before)| noise.level(best) < before.level(best)) {
                kept = Some((outcome, noise));
            }
            if failed || !noisy || repeated >= self.patience.repeats || !self.has_time() {
                let (outcome, noise) = kept.expect("something was just kept");
                return (outcome, noise, repeated);
            }
            repeated += 1;
        }
    }

    /// Whether there is time for what a quiet machine would not need.
    fn has_time(&self) -> bool {
        let took = self.began.elapsed();
        self.extra <= took.mul_f64(SHARE) && took < self.patience.time / 2 && !interrupt::asked()
    }

    /// A fresh server on a fresh port, measured once.
    fn once(&mut self, workload: &Workload, server: &Server) -> Result<(Figures, Noise), Failure> {
        let places = if workload.shared { self.shared.clone() } else { self.apart.clone() };
        let mut before = self.probe();
        for _ in 0..self.patience.waits {
            if before <= self.results.best_probe_ns * (1.0 + noise::LIMIT) || !self.has_time() {
                break;
            }
            let start = Instant::now();
            std::thread::sleep(WAIT);
            before = self.probe();
            self.extra += start.elapsed();
        }
        let errors = self.generator.out.join("server.err");
        let mut running = Running::start(&server.words(), &places.server, &errors)?;
        let start = Snapshot::take(running.pid());
        let figures = match workload.load_words() {
            Some(words) => self.generator.run(workload, &words, &running, &places.generator),
            None => idle::run(workload, &running),
        };
        let end = Snapshot::take(running.pid());
        if running.has_ended() {
            return Err(format!("the server ended: {}", super::running::last_line(&errors)));
        }
        running.stop();
        let probe = before.max(self.probe());
        let mut noise = start.noise_until(&end, &places, probe);
        if workload.load_words().is_none() {
            // This process did the connecting, and memory does not depend on who else was busy.
            noise = Noise::default();
        }
        Ok((figures?, noise))
    }

    fn probe(&mut self) -> f64 {
        let probe = noise::probe(&self.processors());
        self.results.best_probe_ns = self.results.best_probe_ns.min(probe);
        probe
    }

    fn processors(&self) -> Vec<usize> {
        let mut both = [&self.apart.server[..], &self.apart.generator[..]].concat();
        both.dedup();
        both
    }

    /// A line on stderr: what is over, what is left, and what was noisy or failed.
    fn tell(&self, job: &Job, round: u32, over: u32, total: u32) {
        let Workload { key, what, .. } = &job.workload;
        let here = |sample: &&Sample| sample.workload == *key && sample.round == round;
        let samples: Vec<&Sample> = self.results.samples.iter().filter(here).collect();
        let best = self.results.best_probe_ns;
        let noisy = samples.iter().filter(|sample| sample.noise.is_noisy(best)).count();
        let failed = samples.iter().filter(|sample| sample.figures().is_none()).count();
        let took = self.began.elapsed().as_secs_f64();
        let left = took / f64::from(over) * f64::from(total - over);
        let mut line = format!(
            "[{over}/{total}, {took:.0} s, {left:.0} s left] {key}: {what}, round {} of {}, {} servers",
            round + 1,
            job.rounds,
            samples.len()
        );
        for (count, word) in [(noisy, "noisy"), (failed, "failed")] {
            if count > 0 {
                line.push_str(&format!(", {count} {word}"));
            }
        }
        eprintln!("{line}");
    }
}

/// Empty results of a machine.
pub(super) fn results(machine: Machine, command: String, jobs: Vec<Job>) -> Results {
    let (server, generator) = placed::apart();
    Results {
        machine,
        command,
        commit: None,
        places: Places { server: vec![server], generator: vec![generator] },
        jobs,
        samples: Vec::new(),
        best_probe_ns: f64::INFINITY,
        cut: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not on two threads of one core, where the page says that they are apart.
    #[test]
    fn servers_run_where_the_report_says() {
        let mut results = results(Machine::this(), String::new(), Vec::new());
        let (server, generator) = placed::apart();
        assert_eq!(results.places, Places { server: vec![server], generator: vec![generator] });
        let places = Places { server: vec![3], generator: vec![7] };
        results.places = places.clone();
        let patience = Patience { repeats: 0, waits: 0, time: Duration::ZERO };
        let rounds = Rounds::new(Path::new("program"), Path::new("out"), patience, &mut results);
        assert_eq!((&rounds.apart, rounds.processors()), (&places, vec![3, 7]));
    }
}
