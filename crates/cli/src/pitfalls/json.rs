//! The evidence as data: one object, its keys as stable as those of a command line. They are listed in `--help` and in
//! the documentation of `overlapped_pitfalls`.

use std::fmt;

use overlapped_pitfalls::{Bar, Crash, Exhibit, Moment, Run, SeenIn, Timeline, Value};

use super::{Results, Shown};
use crate::json::{Json, optional, text};

pub(super) fn of(results: &Results) -> impl fmt::Display + use<> {
    let instead = results.kernel.instead.as_ref();
    Json::Object(vec![
        ("version", text(env!("CARGO_PKG_VERSION"))),
        (
            "kernel",
            Json::Object(vec![
                ("name", text(results.kernel.name.as_str())),
                ("reason", optional(instead.map(|instead| instead.reason.as_str()))),
                ("remedy", optional(instead.and_then(|instead| instead.remedy.as_deref()))),
            ]),
        ),
        ("without_repair", Json::Bool(results.without_repair)),
        ("as_expected", ran(results).map_or(Json::Null, Json::Bool)),
        ("exhibits", Json::List(results.exhibits.iter().map(exhibit).collect())),
    ])
}

/// `None`: nothing was run.
fn ran(results: &Results) -> Option<bool> {
    results.exhibits.iter().any(|shown| shown.outcome.is_some()).then(|| results.as_expected())
}

fn exhibit(shown: &Shown) -> Json {
    let Exhibit { name, aliases, title, mistake, repair, invariant, upheld_by, on_windows, on_linux, .. } =
        shown.exhibit;
    let ok = shown.outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
    let error = shown.outcome.as_ref().and_then(|outcome| outcome.as_ref().err());
    Json::Object(vec![
        ("name", text(name)),
        ("aliases", Json::List(aliases.iter().map(|alias| text(alias)).collect())),
        ("title", text(title)),
        ("mistake", text(mistake)),
        ("repair", text(repair)),
        ("invariant", text(invariant)),
        ("upheld_by", text(upheld_by)),
        ("runs_on", text(shown.exhibit.medium().as_str())),
        ("on_windows", text(on_windows)),
        ("on_linux", text(on_linux)),
        ("seen_in", Json::List(shown.exhibit.seen_in.iter().map(seen_in).collect())),
        ("as_expected", shown.outcome.as_ref().map_or(Json::Null, |_| Json::Bool(shown.fault().is_none()))),
        ("error", optional(error.map(String::as_str))),
        ("broken", ok.map_or(Json::Null, |outcome| run(&outcome.report.broken))),
        ("repaired", ok.map_or(Json::Null, |outcome| run(&outcome.report.repaired))),
        ("crash", ok.and_then(|outcome| outcome.crash.as_ref()).map_or(Json::Null, crash)),
    ])
}

fn seen_in(seen: &SeenIn) -> Json {
    Json::Object(vec![("name", text(seen.name)), ("url", text(seen.url)), ("what", text(seen.what))])
}

fn run(run: &Run) -> Json {
    let evidence = run.evidence.iter().map(|(name, fact)| (name, value(fact))).collect();
    Json::Object(vec![
        ("held", Json::Bool(run.held)),
        ("evidence", Json::Object(evidence)),
        ("timeline", timeline(&run.timeline)),
    ])
}

fn value(value: &Value) -> Json {
    match value {
        Value::Number(number) => Json::Number(*number),
        Value::Bool(yes) => Json::Bool(*yes),
        Value::Text(written) => text(written),
        Value::List(texts) => Json::List(texts.iter().map(|written| text(written)).collect()),
    }
}

fn timeline(timeline: &Timeline) -> Json {
    Json::Object(vec![
        ("moments", Json::List(timeline.moments.iter().map(moment).collect())),
        ("bars", Json::List(timeline.bars.iter().map(bar).collect())),
    ])
}

fn moment(moment: &Moment) -> Json {
    Json::Object(vec![("text", text(&moment.text)), ("wrong", Json::Bool(moment.wrong))])
}

fn bar(bar: &Bar) -> Json {
    Json::Object(vec![
        ("lane", text(&bar.lane)),
        ("kind", text(bar.kind.as_str())),
        ("label", text(&bar.label)),
        ("from", Json::Number(bar.from as u64)),
        ("to", Json::Number(bar.to as u64)),
    ])
}

fn crash(crash: &Crash) -> Json {
    Json::Object(vec![
        ("crashed", Json::Bool(crash.crashed)),
        ("child_ended", text(&crash.child_ended)),
        ("kernel_refused", Json::Bool(crash.kernel_refused)),
        ("kernel_answered", text(&crash.kernel_answered)),
    ])
}
