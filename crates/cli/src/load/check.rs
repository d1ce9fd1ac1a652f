//! Whether a run can measure something, and whether expressions name keys that the report will have: before the run, so
//! that none is wasted.

use hdrhistogram::Histogram;
use serde_json::Value;

use super::assertion::{fits, fits_search};
use super::measured::{Counts, Generator, Measured, ServerUse};
use super::plan::{Behaviour, Plan};
use super::{build, system, value};
use crate::args::LoadArgs;
use crate::failure::Failure;

/// # Errors
/// If the plan completes no echo even with a perfect server, or if an expression names a key that the JSON will not have, or that is no number.
pub(super) fn check(args: &LoadArgs, plan: &Plan) -> Result<(), Failure> {
    check_behaviours(plan)?;
    check_search(args, plan)?;
    let one_run = Plan { rate: plan.rate.or(args.find_rate.as_ref().map(|_| 1.0)), ..plan.clone() };
    let everything = Plan { rate: Some(1.0), server_pid: Some(1), ..plan.clone() };
    let (one_run, everything) = (sample(&one_run)?, with_lists(sample(&everything)?, true, true));
    if let Some(expression) = &args.find_rate {
        fits_search(expression, &one_run, &everything).map_err(Failure::usage)?;
    }
    let reported = with_lists(one_run, args.find_rate.is_some(), !args.compare.is_empty());
    args.assert
        .iter()
        .try_for_each(|expression| fits(expression, &reported, &everything))
        .map_err(Failure::usage)
}

/// Connections take turns: with fewer connections than behaviours, the last behaviours are not in use.
fn check_behaviours(plan: &Plan) -> Result<(), Failure> {
    let mut used = plan.behaviours.iter().take(plan.connections as usize);
    if used.all(|behaviour| matches!(behaviour, Behaviour::Reset { percent } if *percent >= 100.0)) {
        return Err(Failure::usage(
            "--behave reset=100 aborts every message in the middle, so there is no echo to measure; give less than 100, or \
             another --behave besides and a connection for each",
        ));
    }
    Ok(())
}

/// A slow reader leaves megabytes unread on purpose: how much comes back says nothing of the server.
fn check_search(args: &LoadArgs, plan: &Plan) -> Result<(), Failure> {
    if args.find_rate.is_some() && plan.behaviours.contains(&Behaviour::SlowReader) {
        return Err(Failure::usage(
            "--find-rate cannot be used with --behave slow-reader: what is not read on purpose says nothing of a rate; \
             leave one of the two out",
        ));
    }
    Ok(())
}

fn with_lists(mut sample: Value, search: bool, comparison: bool) -> Value {
    if let Value::Object(object) = &mut sample {
        if search {
            object.insert("search".to_owned(), Value::Array(Vec::new()));
            object.insert("highest_rate".to_owned(), 0.into());
        }
        if comparison {
            object.insert("comparison".to_owned(), Value::Array(Vec::new()));
        }
    }
    sample
}

/// A report that has every key that a run of this plan has, with a number wherever there can be one.
fn sample(plan: &Plan) -> Result<Value, Failure> {
    let mut one: Histogram<u64> = Histogram::new(3).map_err(Failure::failed)?;
    one.record(1).map_err(Failure::failed)?;
    let measured = Measured {
        began: std::time::Duration::ZERO,
        elapsed: plan.duration,
        interrupted: false,
        backend: String::new(),
        latency_actual: plan.rate.map(|_| one.clone()),
        late: one.clone(),
        latency: one,
        intervals: Vec::new(),
        counts: Counts { messages: 1, ..Counts::default() },
        first_mismatches: Vec::new(),
        stalls: Vec::new(),
        events: Vec::new(),
        generator: Generator {
            waited_for_processor: Some(std::time::Duration::ZERO),
            // A text, not a number: an expression cannot use it.
            bottleneck: Some(String::new()),
            ..Generator::default()
        },
        server: plan.server_pid.map(|_| ServerUse {
            voluntary_switches: Some(0),
            involuntary_switches: Some(0),
            ..ServerUse::default()
        }),
    };
    value(&build::report(plan, &measured, system::this("")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Expression;
    use crate::load::samples;

    #[test]
    fn texts_are_not_judged() {
        let everything = sample(&samples::plan()).unwrap_or_else(|failure| panic!("{}", failure.line()));
        let problem = |text: &str| fits(&Expression::parse(text).unwrap(), &everything, &everything);
        for text in ["generator.bottleneck==0", "config.target==0", "system.backend==0"] {
            let problem = problem(text).expect_err(text);
            assert!(problem.contains("is a text, not a number"), "{text}: {problem}");
        }
        assert_eq!(problem("generator.waited_for_processor_ns<5ms"), Ok(()));
    }

    #[test]
    fn some_connection_completes_an_echo() {
        let all = Behaviour::Reset { percent: 100.0 };
        let most = Behaviour::Reset { percent: 99.9 };
        let plan = |behaviours: &[Behaviour], connections| {
            check_behaviours(&Plan { behaviours: behaviours.to_vec(), connections, ..samples::plan() })
        };
        for (behaviours, connections) in [(&[all][..], 50), (&[all, all], 50), (&[all, Behaviour::Normal], 1)]
        {
            let refused = plan(behaviours, connections).unwrap_err();
            assert_eq!(refused.status(), 2);
            assert!(refused.line().contains("no echo to measure; give less than 100"), "{}", refused.line());
        }
        for behaviours in [&[most][..], &[all, Behaviour::Normal], &[Behaviour::Normal]] {
            assert!(plan(behaviours, 2).is_ok(), "{behaviours:?}");
        }
    }
}
