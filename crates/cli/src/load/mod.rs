//! `overlapped load`: measures an echo server.
//!
//! A [`Plan`](plan::Plan) says what to do, `generator` does it, and [`Measured`](measured::Measured) is what came of it.
//! `build` makes the [`Report`](report::Report) of it: the JSON. The table (`text`) and the page (`page`) show the report;
//! `search` makes several runs, `compare` compares reports, and `assertion` judges one.

mod assertion;
mod build;
mod check;
mod compare;
mod generator;
mod hdr;
mod interrupts;
mod measured;
mod outputs;
mod page;
mod plan;
mod report;
#[cfg(test)]
mod samples;
#[cfg(all(test, target_os = "linux"))]
mod schema;
mod search;
mod stderr;
mod system;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use overlapped_measure::number::count;
use serde_json::Value;

use crate::args::{Behaviour, Expression, LoadArgs};
use crate::client;
use crate::failure::{Failure, one_line};
use crate::output::{fail, note, say};
use compare::Earlier;
use measured::Measured;
use outputs::{Output, Outputs};
use plan::Plan;
use report::Report;
use search::Search;

/// The exit status; all that failed is on stderr by then.
pub(crate) fn run(args: &LoadArgs) -> ExitCode {
    stderr::open();
    let status = measure(args).unwrap_or_else(|failure| fail(&failure));
    stderr::flush();
    status
}

fn measure(args: &LoadArgs) -> Result<ExitCode, Failure> {
    let plan = plan(args)?;
    check::check(args, &plan)?;
    let earlier = Earlier::read(&args.compare)?;
    // Before there is a file that a signal would leave behind.
    interrupts::watch(outputs::remove_unfilled)?;
    let outputs = Outputs::open(args)?;
    let report_of =
        |plan: &Plan, measured: &Measured| build::report(plan, measured, system::this(&measured.backend));
    let (mut report, measured, failure) = match &args.find_rate {
        None => {
            let measured = generator::run(&plan)?;
            (report_of(&plan, &measured), measured, None)
        }
        Some(expression) => {
            let Search { steps, highest, is_interrupted, failure, shown: (plan, measured) } =
                search::search(expression, &plan, &mut search::Real)?;
            let mut report = report_of(&plan, &measured);
            (report.search, report.highest_rate) = (Some(steps), Some(highest));
            report.interrupted |= is_interrupted;
            (report, measured, failure)
        }
    };
    if !earlier.is_empty() {
        let differences = earlier.compare(&report);
        earlier.warn(&report, &differences);
        report.comparison = Some(differences);
    }
    judge(&mut report, &args.assert)?;
    // Before the table, if both go to one terminal or file.
    stderr::flush();
    let unwritten = write(outputs, &report, &measured);
    let failures = failure.iter().chain(&unwritten);
    failures.clone().for_each(|failure| note(failure.line()));
    // The verdict is said in any case: a full disk does not hide what is wrong with the server.
    let status = verdict(&report);
    Ok(if failures.count() == 0 { status } else { ExitCode::FAILURE })
}

fn plan(args: &LoadArgs) -> Result<Plan, Failure> {
    Ok(Plan {
        target: args.address.clone(),
        addresses: client::candidates(&args.address)?,
        connections: args.connections,
        size: args.size,
        pipeline: args.pipeline,
        rate: args.rate,
        duration: args.duration,
        warmup: args.warmup,
        reply_timeout: args.reply_timeout,
        threads: args.threads,
        pin: args.pin,
        backend: args.backend.choice(),
        behaviours: if args.behave.is_empty() { vec![Behaviour::Normal] } else { args.behave.clone() },
        check: !args.no_check,
        server_pid: args.server_pid,
    })
}

/// The report as JSON.
fn value(report: &Report) -> Result<Value, Failure> {
    serde_json::to_value(report)
        .map_err(|error| Failure::failed(format_args!("cannot write the result as JSON: {error}")))
}

fn judge(report: &mut Report, expressions: &[Expression]) -> Result<(), Failure> {
    if !expressions.is_empty() {
        let results = value(report)?;
        report.assertions =
            expressions.iter().map(|expression| assertion::judge(expression, &results)).collect();
    }
    Ok(())
}

/// Tries every output: one that fails does not lose the others. Below the table, each file that was written is named.
/// Returns what failed.
fn write(outputs: Outputs, report: &Report, measured: &Measured) -> Vec<Failure> {
    let has_table = !outputs.take_stdout();
    let table = if has_table { say(text::table(report).trim_end()) } else { Ok(()) };
    let names_files = has_table && table.is_ok();
    let files = [
        write_one(outputs.json, || {
            let text = serde_json::to_string_pretty(report)
                .map_err(|error| Failure::failed(format_args!("cannot write the result as JSON: {error}")))?;
            Ok((text + "\n").into_bytes())
        }),
        write_one(outputs.html, || Ok(page::of(report).into_bytes())),
        write_one(outputs.hdr, || {
            hdr::log(measured)
                .map_err(|error| Failure::failed(format_args!("cannot write the histogram: {error}")))
        }),
    ];
    let name = |path: Option<PathBuf>| match path {
        Some(path) if names_files => say(format_args!("written: {}", path.display())),
        _ => Ok(()),
    };
    let files = files.into_iter().map(|written| written.and_then(name));
    std::iter::once(table).chain(files).filter_map(Result::err).collect()
}

/// Returns the path of the file that was written.
fn write_one(
    output: Option<Output>,
    content: impl FnOnce() -> Result<Vec<u8>, Failure>,
) -> Result<Option<PathBuf>, Failure> {
    let Some(output) = output else { return Ok(None) };
    let path = output.path();
    output.write(&content()?).map(|()| path)
}

/// The exit status; why it is not 0 is said on stderr.
fn verdict(report: &Report) -> ExitCode {
    let mut status = ExitCode::SUCCESS;
    if report.errors > 0 {
        note(format_args!("error: {}", errors(report)));
        status = ExitCode::FAILURE;
    }
    if report.messages == 0 {
        note(format_args!("error: {}", nothing_measured(report)));
        status = ExitCode::FAILURE;
    }
    for assertion in report.assertions.iter().filter(|assertion| !assertion.holds) {
        let text = one_line(format_args!("{} does not hold: {}", assertion.expression, assertion.shown()));
        note(format_args!("error: {text}"));
        status = ExitCode::FAILURE;
    }
    if report.highest_rate == Some(None) {
        let found = if report.search.as_ref().is_some_and(Vec::is_empty) {
            "no rate was tried"
        } else {
            "no rate was found at which the expression holds"
        };
        note(format_args!("error: {found}"));
        status = ExitCode::FAILURE;
    }
    status
}

/// Why there is no message, and what to do.
fn nothing_measured(report: &Report) -> String {
    let config = &report.config;
    if report.interrupted {
        return "it was interrupted before an echo was measured; let it run longer, or shorten --warmup"
            .to_owned();
    }
    if report.mismatches > 0 {
        return format!(
            "{} answers, but not with an echo; give the address of an echo server",
            config.target
        );
    }
    if let Some(rate) = config.rate.filter(|rate| none_is_due(*rate, report)) {
        let duration = text::number(text::round(report.duration_seconds));
        return format!(
            "no message was due in {duration} s at {} messages/s; give a longer --duration",
            text::number(rate)
        );
    }
    "no echo was complete while it was measured; is an echo server there? raise --duration for a slow one"
        .to_owned()
}

/// Message `j` is due `j / rate` after the beginning of the warm-up: whether none is due in the measured part.
fn none_is_due(rate: f64, report: &Report) -> bool {
    let warmup = report.config.warmup_seconds;
    (warmup * rate).ceil() / rate >= warmup + report.duration_seconds
}

/// The kinds of errors that there were, in one line.
fn errors(report: &Report) -> String {
    let connections = &report.connections;
    let kinds = [
        (connections.failed, "connection", "connections", "failed"),
        (connections.reset, "connection", "connections", "reset or ended early"),
        (report.timeouts, "echo", "echoes", "later than --reply-timeout"),
        (report.mismatches, "message", "messages", "with a wrong, missing or extra byte"),
    ];
    let there_were = kinds.iter().filter(|(number, ..)| *number > 0);
    let words = there_were.map(|(number, one, many, what)| {
        format!("{} {} {what}", count(*number), if *number == 1 { one } else { many })
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_why_nothing_was_measured() {
        let report = |change: fn(&mut Report)| {
            let measured = samples::run(0.0, 1.0, 1);
            let mut report = build::report(&samples::plan(), &measured, system::this("io_uring"));
            report.duration_seconds = 1.0;
            change(&mut report);
            nothing_measured(&report)
        };
        assert!(report(|_| {}).contains("is an echo server there?"));
        assert!(report(|report| report.interrupted = true).contains("it was interrupted"));
        let answers = "127.0.0.1:9999 answers, but not with an echo; ";
        assert!(report(|report| report.mismatches = 1).starts_with(answers));
        let none = report(|report| report.config.rate = Some(0.5));
        assert_eq!(none, "no message was due in 1 s at 0.5 messages/s; give a longer --duration");
        // One is due just as the measured part begins.
        assert!(report(|report| report.config.rate = Some(1.0)).contains("is an echo server there?"));
    }
}
