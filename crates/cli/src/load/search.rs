//! `--find-rate EXPR`: the highest rate at which an expression holds.
//!
//! A machine that is shared has slow phases of seconds. They only ever make a run worse, so a rate counts as one that holds
//! if it held in [`WANTED`] of up to [`TRIES`] short runs; a single run that failed says little. A wrong byte is another
//! matter: it ends the search, and the run that had it is the one that is reported.

use std::time::Duration;

use overlapped_measure::number::count;
use overlapped_measure::stats;

use super::measured::Measured;
use super::plan::Plan;
use super::report::{Report, Step};
use super::{assertion, build, generator, interrupts, system, value};
use crate::args::Expression;
use crate::failure::Failure;
use crate::output::note;

/// Runs of one rate, at most.
const TRIES: u32 = 4;
/// Runs that must hold.
const WANTED: u32 = 2;
/// The search ends when the lowest rate that did not hold is this much above the highest that did.
const CLOSE: f64 = 1.05;
/// Rates at most: a search that finds nothing ends.
const STEPS: usize = 16;
/// Of one run, unless less was asked for.
const SHORTEST: Duration = Duration::from_millis(500);
/// Of the messages that were scheduled: a run that gets fewer back has not kept up.
const KEPT_UP: f64 = 0.97;

/// What was found.
pub(super) struct Search {
    /// In the order in which they were tried.
    pub(super) steps: Vec<Step>,
    /// The highest rate that held, if one did.
    pub(super) highest: Option<f64>,
    /// Whether it was interrupted before it was over.
    pub(super) is_interrupted: bool,
    /// Why no further run could be made, if that ended it.
    pub(super) failure: Option<Failure>,
    /// The plan and the results to report: a run that held at the highest rate, else the last one.
    pub(super) shown: (Plan, Measured),
}

/// Makes runs.
pub(super) trait Runs {
    /// # Errors
    /// If a run could not be made.
    fn run(&mut self, plan: &Plan) -> Result<Measured, Failure>;

    /// Whether no further run is to be made: also if that was asked for between two runs, or behind the end of one.
    fn are_interrupted(&self) -> bool;
}

/// Against the server.
pub(super) struct Real;

impl Runs for Real {
    fn run(&mut self, plan: &Plan) -> Result<Measured, Failure> {
        generator::run(plan)
    }

    fn are_interrupted(&self) -> bool {
        interrupts::is_interrupted()
    }
}

/// Searches with the plan's connections and messages.
///
/// # Errors
/// If not even the first run could be made. A later one that cannot be made ends the search, which has what was found until
/// then.
pub(super) fn search(expression: &Expression, plan: &Plan, runs: &mut impl Runs) -> Result<Search, Failure> {
    let mut searching = Searching {
        expression,
        plan: of_one_run(plan),
        runs,
        steps: Vec::new(),
        best: None,
        last: None,
        is_over: false,
        is_wrong: false,
        is_interrupted: false,
        failure: None,
    };
    let capacity = searching.capacity()?;
    searching.close_in(capacity)?;
    let Searching { steps, best, last, is_wrong, is_interrupted, failure, .. } = searching;
    let best = best.filter(|_| !is_wrong);
    let highest = best.as_ref().and_then(|(plan, _)| plan.rate);
    let shown = best.or(last).ok_or_else(|| Failure::failed("no run was made"))?;
    Ok(Search { steps, highest, is_interrupted, failure, shown })
}

struct Searching<'a, R> {
    expression: &'a Expression,
    /// Of one run.
    plan: Plan,
    runs: &'a mut R,
    steps: Vec<Step>,
    best: Option<(Plan, Measured)>,
    last: Option<(Plan, Measured)>,
    /// Interrupted, or wrong.
    is_over: bool,
    /// There was a wrong byte: at no rate is that right.
    is_wrong: bool,
    is_interrupted: bool,
    failure: Option<Failure>,
}

/// A fifth of the time, but not so short that a run is nothing but its beginning and its end.
fn of_one_run(plan: &Plan) -> Plan {
    let duration = (plan.duration / 5).max(SHORTEST.min(plan.duration));
    Plan { duration, warmup: plan.warmup.min(duration / 4), ..plan.clone() }
}

/// One run at a rate.
struct Try {
    holds: bool,
    value: Option<f64>,
    shown: String,
    /// What else spoke against it.
    problem: Option<String>,
}

impl<R: Runs> Searching<'_, R> {
    /// Messages per second of a closed loop: about what the server can do. The better of two.
    fn capacity(&mut self) -> Result<f64, Failure> {
        let plan = Plan { rate: None, ..self.plan.clone() };
        let mut most: f64 = 0.0;
        for _ in 0..2 {
            let Some(measured) = self.run(&plan)? else { break };
            let report = report(&plan, &measured);
            most = most.max(report.messages_per_second);
            self.made(&plan, measured);
            if self.is_over {
                break;
            }
        }
        if most <= 0.0 && !self.is_over {
            return Err(Failure::failed(format_args!(
                "no echo came back from {} in a closed loop, so there is no rate to search; is an echo server there?",
                plan.target
            )));
        }
        note(format_args!("closed loop: {} messages/s", count(most.round() as u64)));
        Ok(most)
    }

    /// `None` if nothing was measured, because it was interrupted or because the server is gone, and there is an earlier run
    /// to report.
    fn run(&mut self, plan: &Plan) -> Result<Option<Measured>, Failure> {
        match self.runs.run(plan) {
            Err(failure) if self.last.is_some() => {
                self.is_over = true;
                self.is_interrupted = self.runs.are_interrupted();
                self.failure = (!self.is_interrupted).then_some(failure);
                Ok(None)
            }
            run => run.map(Some),
        }
    }

    fn made(&mut self, plan: &Plan, measured: Measured) {
        self.is_wrong |= measured.counts.mismatches > 0;
        self.is_interrupted |= measured.interrupted || self.runs.are_interrupted();
        self.is_over |= self.is_wrong || self.is_interrupted;
        self.last = Some((plan.clone(), measured));
    }

    /// Between a rate that holds and one that does not, until they are close.
    fn close_in(&mut self, capacity: f64) -> Result<(), Failure> {
        let (mut holds, mut fails) = (None::<f64>, None::<f64>);
        let mut rate = capacity * 0.7;
        while self.steps.len() < STEPS && !self.is_over {
            // To be read, and to be repeated by hand.
            rate = three_digits(rate);
            if self.step(rate)? {
                holds = Some(rate);
            } else {
                fails = Some(rate);
            }
            rate = match (holds, fails) {
                (Some(low), Some(high)) if high / low <= CLOSE => break,
                (Some(low), Some(high)) => (low * high).sqrt(),
                (Some(low), None) => low * 1.25,
                // Far below what the server can do, nothing changes with the rate any more.
                (None, Some(high)) if high < capacity / 1000.0 => break,
                (None, Some(high)) => high / 2.0,
                (None, None) => break,
            };
        }
        Ok(())
    }

    /// Tries one rate, and says on stderr what came of it.
    fn step(&mut self, rate: f64) -> Result<bool, Failure> {
        let plan = Plan { rate: Some(rate), ..self.plan.clone() };
        let mut tries: Vec<Try> = Vec::new();
        let mut held_in = None;
        let held = |tries: &[Try]| tries.iter().filter(|tried| tried.holds).count() as u32;
        while !self.is_over && held(&tries) < WANTED && tries.len() as u32 - held(&tries) <= TRIES - WANTED {
            let Some(measured) = self.run(&plan)? else { break };
            let tried = self.judge(&plan, &measured)?;
            // A run of a part of its time says nothing of its rate.
            let is_part = measured.interrupted;
            if tried.holds && !is_part {
                held_in = Some((plan.clone(), measured.clone()));
            }
            self.made(&plan, measured);
            if !is_part {
                tries.push(tried);
            }
        }
        if tries.is_empty() {
            return Ok(false);
        }
        let (count, held) = (tries.len() as u32, held(&tries));
        let holds = held >= WANTED;
        let is_decided = holds || count - held > TRIES - WANTED;
        if holds {
            self.best = held_in;
        }
        // Of those that decided it.
        let decided = tries.iter().filter(|tried| tried.holds == holds);
        let values: Vec<f64> = decided.filter_map(|tried| tried.value).collect();
        if !is_decided {
            return Ok(false); // interrupted
        }
        self.steps.push(Step { rate, holds, value: stats::median(&values), tries: count, held });
        self.say(rate, holds, &tries);
        Ok(holds)
    }

    fn say(&self, rate: f64, holds: bool, tries: &[Try]) {
        let shown = |held: bool| {
            let of = |tried: &Try| tried.problem.clone().unwrap_or_else(|| tried.shown.clone());
            tries.iter().filter(|tried| tried.holds == held).map(of).collect::<Vec<_>>().join(", ")
        };
        let (held, not) = (shown(true), shown(false));
        let not = if not.is_empty() { not } else { format!("not {not}") };
        let parts: Vec<String> = [held, not].into_iter().filter(|part| !part.is_empty()).collect();
        note(format_args!(
            "{} messages/s: {} ({})",
            super::text::number(rate),
            if holds { "holds" } else { "does not hold" },
            parts.join("; "),
        ));
    }

    fn judge(&self, plan: &Plan, measured: &Measured) -> Result<Try, Failure> {
        let report = report(plan, measured);
        let judged = assertion::judge(self.expression, &value(&report)?);
        // At the end of a run some messages are on their way: half of them take longer than the median, from the time of
        // sending. Those that wait to be sent are what does not keep up.
        let rate = plan.rate.unwrap_or(0.0);
        let median_ns = report.latency_actual_ns.as_ref().and_then(|actual| actual.p50).unwrap_or(0);
        let most = f64::from(plan.connections) * f64::from(plan.pipeline);
        let on_their_way = 1.0 + (rate * median_ns as f64 / 1e9).min(most);
        let given_up = measured.counts.given_up as f64;
        let wanted = rate * report.duration_seconds * KEPT_UP - on_their_way - given_up;
        let problem = if report.errors > 0 {
            Some(super::errors(&report))
        } else if (report.messages as f64) < wanted {
            Some(format!("{} messages/s came back", count(report.messages_per_second.round() as u64)))
        } else {
            None
        };
        Ok(Try {
            holds: judged.holds && problem.is_none(),
            value: judged.value,
            shown: judged.shown(),
            problem,
        })
    }
}

fn report(plan: &Plan, measured: &Measured) -> Report {
    build::report(plan, measured, system::this(&measured.backend))
}

fn three_digits(rate: f64) -> f64 {
    let digits = 2 - rate.log10().floor() as i32;
    // A power below 1 is not exact: dividing by one above is.
    if digits > 0 {
        let scale = 10f64.powi(digits);
        (rate * scale).round() / scale
    } else {
        let scale = 10f64.powi(-digits);
        (rate / scale).round() * scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::samples::{self, Noise};

    /// A server whose latency rises towards its capacity, on a machine with slow phases.
    struct Model {
        capacity: f64,
        /// Share of runs that meet a slow phase.
        slow: f64,
        noise: Noise,
        runs: u32,
        errors: bool,
        interrupt_after: u32,
        /// Whether that is before all connections are open.
        connecting: bool,
        wrong_after: u32,
        /// From this run on, the server is gone.
        gone_after: u32,
        /// Share of messages whose connection is reset on purpose.
        given_up: f64,
        /// From sending to the echo, instead of what the load makes of it.
        echo_ns: Option<f64>,
    }

    fn model(capacity: f64, slow: f64, seed: u64) -> Model {
        Model {
            capacity,
            slow,
            noise: Noise(seed),
            runs: 0,
            errors: false,
            interrupt_after: u32::MAX,
            connecting: false,
            wrong_after: u32::MAX,
            gone_after: u32::MAX,
            given_up: 0.0,
            echo_ns: None,
        }
    }

    impl Runs for Model {
        fn are_interrupted(&self) -> bool {
            self.runs >= self.interrupt_after
        }

        fn run(&mut self, plan: &Plan) -> Result<Measured, Failure> {
            self.runs += 1;
            if self.are_interrupted() && self.connecting {
                return Err(Failure::failed("interrupted while it connected"));
            }
            if self.runs >= self.gone_after {
                return Err(Failure::failed("cannot connect"));
            }
            let phase = if self.noise.next() < self.slow { 0.6 } else { 1.0 };
            let capacity = self.capacity * phase * (0.98 + 0.04 * self.noise.next());
            let offered = plan.rate.unwrap_or(capacity);
            let done = offered.min(capacity);
            let latency = 100_000.0 / (1.0 - (done / capacity).min(0.999));
            let mut measured = samples::run(plan.duration.as_secs_f64().min(0.2), latency, self.noise.0);
            measured.elapsed = plan.duration;
            let done = (done * plan.duration.as_secs_f64()) as u64;
            measured.counts.given_up = (done as f64 * self.given_up) as u64;
            measured.counts.messages = done - measured.counts.given_up;
            if plan.rate.is_some() {
                measured.latency_actual = Some(measured.latency.clone());
            }
            if let Some(ns) = self.echo_ns {
                // By the schedule, what waits to be sent makes it as long as the run.
                measured.latency = samples::run(0.2, plan.duration.as_nanos() as f64, 1).latency;
                measured.latency_actual = Some(samples::run(0.2, ns, 1).latency);
            }
            measured.counts.timeouts = u64::from(self.errors && plan.rate.is_some());
            measured.interrupted = self.runs >= self.interrupt_after;
            measured.counts.mismatches = u64::from(self.runs >= self.wrong_after);
            Ok(measured)
        }
    }

    fn found(expression: &str, model: &mut Model) -> Search {
        let expression = Expression::parse(expression).unwrap_or_else(|problem| panic!("{problem}"));
        search(&expression, &samples::plan(), model).unwrap_or_else(|failure| panic!("{}", failure.line()))
    }

    #[test]
    fn the_highest_rate_is_found_in_spite_of_slow_phases() {
        let calm = found("p99<2ms", &mut model(100_000.0, 0.0, 1)).highest.unwrap();
        assert!((50_000.0..100_000.0).contains(&calm), "{calm}");
        let close = |seed: &u64| {
            let rate = found("p99<2ms", &mut model(100_000.0, 0.3, *seed)).highest.unwrap();
            (rate / calm - 1.0).abs() < 0.15
        };
        let close = (1..=20).filter(close).count();
        assert!(close >= 16, "{close} of 20 searches");
    }

    #[test]
    fn what_is_reported_is_a_run_at_the_highest_rate() {
        let search = found("p99<2ms", &mut model(100_000.0, 0.3, 5));
        assert_eq!(search.shown.0.rate, search.highest);
        let best = search.steps.iter().filter(|step| step.holds).map(|step| step.rate).fold(0.0, f64::max);
        assert_eq!(search.highest, Some(best));
        let fails = search.steps.iter().filter(|step| !step.holds).map(|step| step.rate);
        assert!(fails.fold(f64::INFINITY, f64::min) / best <= CLOSE);
    }

    #[test]
    fn a_search_that_finds_nothing_ends() {
        for (expression, errors) in [("p99<1ns", false), ("p99<1h", true)] {
            let mut model = model(100_000.0, 0.0, 1);
            model.errors = errors;
            let search = found(expression, &mut model);
            assert_eq!(search.highest, None, "{expression}");
            assert!(search.steps.len() <= STEPS && search.steps.iter().all(|step| !step.holds));
        }
    }

    #[test]
    fn wrong_bytes_end_a_search() {
        let mut model = model(100_000.0, 0.0, 1);
        model.wrong_after = 6;
        let search = found("p99<1h", &mut model);
        assert_eq!((model.runs, search.highest), (6, None));
        assert_eq!(search.shown.1.counts.mismatches, 1);
    }

    /// The rate at which a server breaks is what a search is for: it reports what it has, and why it ended.
    #[test]
    fn a_server_that_is_gone_ends_a_search() {
        for gone_after in 2..12 {
            let mut model = model(100_000.0, 0.0, 1);
            model.gone_after = gone_after;
            let search = found("p99<1h", &mut model);
            assert_eq!(
                search.failure.map(|failure| failure.line()).as_deref(),
                Some("error: cannot connect")
            );
            assert_eq!((model.runs, search.is_interrupted), (gone_after, false));
            assert_eq!(search.highest.is_some(), search.steps.iter().any(|step| step.holds));
        }
        let mut model = model(100_000.0, 0.0, 1);
        model.gone_after = 1;
        let expression = Expression::parse("p99<1h").unwrap();
        assert!(search(&expression, &samples::plan(), &mut model).is_err(), "there is nothing to report");
    }

    /// Those that connections were reset for on purpose are not missing.
    #[test]
    fn what_is_given_up_on_purpose_does_not_count() {
        let mut model = model(100_000.0, 0.0, 1);
        model.given_up = 0.2;
        let highest = found("p99<1h", &mut model).highest.unwrap();
        assert!((80_000.0..110_000.0).contains(&highest), "{highest}");
    }

    /// One message at a time, each takes a second: no rate above one a second can be kept up.
    #[test]
    fn what_waits_to_be_sent_is_not_on_its_way() {
        let mut model = model(1.0, 0.0, 1);
        model.echo_ns = Some(1e9);
        let plan = Plan { connections: 1, duration: Duration::from_secs(100), ..samples::plan() };
        let expression = Expression::parse("errors==0").unwrap();
        let search =
            search(&expression, &plan, &mut model).unwrap_or_else(|failure| panic!("{}", failure.line()));
        // Of 20 messages, one may be on its way, and one due as the run ends.
        assert!(search.highest.is_some_and(|rate| rate < 1.2), "{:?}", search.highest);
    }

    #[test]
    fn rates_have_three_digits() {
        let rates = [61_234.0, 999.6, 37.128, 0.012_345, 7.0].map(three_digits);
        assert_eq!(rates, [61_200.0, 1000.0, 37.1, 0.0123, 7.0]);
    }

    /// In every run, and also while it connects.
    #[test]
    fn a_search_that_is_interrupted_reports_what_it_has() {
        for connecting in [false, true] {
            for interrupt_after in 2..20 {
                let mut model = model(100_000.0, 0.0, 1);
                (model.interrupt_after, model.connecting) = (interrupt_after, connecting);
                let search = found("p99<2ms", &mut model);
                assert!(model.runs <= interrupt_after, "{} runs", model.runs);
                assert_eq!(search.is_interrupted, model.runs >= interrupt_after);
                assert!(
                    search
                        .steps
                        .iter()
                        .all(|step| step.held == WANTED || step.tries - step.held > TRIES - WANTED)
                );
                assert_eq!(search.highest.is_some(), search.steps.iter().any(|step| step.holds));
                assert!(search.highest.is_none() || search.shown.0.rate == search.highest);
            }
        }
    }
}
