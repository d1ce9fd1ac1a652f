//! Whether expressions name keys that the report will have: before the run, so that none is wasted.

use hdrhistogram::Histogram;
use serde_json::Value;

use super::assertion::fits;
use super::measured::{Counts, Generator, Measured, ServerUse};
use super::plan::Plan;
use super::{build, system, value};
use crate::args::LoadArgs;
use crate::failure::Failure;

/// # Errors
/// If an expression names a key that the JSON will not have, or that is no number.
pub(super) fn check(args: &LoadArgs, plan: &Plan) -> Result<(), Failure> {
    let one_run = Plan { rate: plan.rate.or(args.find_rate.as_ref().map(|_| 1.0)), ..plan.clone() };
    let everything = Plan { rate: Some(1.0), server_pid: Some(1), ..plan.clone() };
    let (one_run, everything) = (sample(&one_run)?, with_lists(sample(&everything)?, true, true));
    if let Some(expression) = &args.find_rate {
        fits(expression, &one_run, &everything).map_err(Failure::usage)?;
    }
    let reported = with_lists(one_run, args.find_rate.is_some(), !args.compare.is_empty());
    args.assert
        .iter()
        .try_for_each(|expression| fits(expression, &reported, &everything))
        .map_err(Failure::usage)
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
