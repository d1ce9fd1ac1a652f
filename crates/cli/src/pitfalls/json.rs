//! The evidence as data: one object, its keys as stable as those of a command line. They are listed in `--help` and in
//! the documentation of `overlapped_pitfalls`.

use overlapped_pitfalls::{Crash, Evidence, Run, SeenIn, Timeline, Value};
use serde::{Serialize, Serializer};

use super::{Results, Shown};

/// Everything that was run. A field is null for what was not run or does not apply.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    version: &'static str,
    kernel: KernelRow<'a>,
    without_repair: bool,
    as_expected: Option<bool>,
    exhibits: Vec<ExhibitRow<'a>>,
}

#[derive(Serialize)]
struct KernelRow<'a> {
    name: &'static str,
    reason: Option<&'a str>,
    remedy: Option<&'a str>,
}

#[derive(Serialize)]
struct ExhibitRow<'a> {
    name: &'static str,
    aliases: &'static [&'static str],
    title: &'static str,
    mistake: &'static str,
    repair: &'static str,
    invariant: &'static str,
    upheld_by: &'static str,
    runs_on: &'static str,
    on_windows: &'static str,
    on_linux: &'static str,
    seen_in: Vec<SeenInRow>,
    as_expected: Option<bool>,
    error: Option<&'a str>,
    broken: Option<RunRow<'a>>,
    repaired: Option<RunRow<'a>>,
    crash: Option<CrashRow<'a>>,
}

#[derive(Serialize)]
struct SeenInRow {
    name: &'static str,
    url: &'static str,
    what: &'static str,
}

#[derive(Serialize)]
struct RunRow<'a> {
    held: bool,
    #[serde(serialize_with = "facts")]
    evidence: &'a Evidence,
    timeline: TimelineRow<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Fact<'a> {
    Number(u64),
    Bool(bool),
    Text(&'a str),
    List(&'a [String]),
}

#[derive(Serialize)]
struct TimelineRow<'a> {
    moments: Vec<MomentRow<'a>>,
    bars: Vec<BarRow<'a>>,
}

#[derive(Serialize)]
struct MomentRow<'a> {
    text: &'a str,
    wrong: bool,
}

#[derive(Serialize)]
struct BarRow<'a> {
    lane: &'a str,
    kind: &'static str,
    label: &'a str,
    from: usize,
    to: usize,
}

#[derive(Serialize)]
struct CrashRow<'a> {
    crashed: bool,
    child_ended: &'a str,
    kernel_refused: bool,
    kernel_answered: &'a str,
}

pub(super) fn of(results: &Results) -> Document<'_> {
    let instead = results.kernel.instead.as_ref();
    Document {
        version: env!("CARGO_PKG_VERSION"),
        kernel: KernelRow {
            name: results.kernel.name.as_str(),
            reason: instead.map(|instead| instead.reason.as_str()),
            remedy: instead.and_then(|instead| instead.remedy.as_deref()),
        },
        without_repair: results.without_repair,
        as_expected: ran(results).then(|| results.as_expected()),
        exhibits: results.exhibits.iter().map(exhibit).collect(),
    }
}

/// Whether anything was run.
fn ran(results: &Results) -> bool {
    results.exhibits.iter().any(|shown| shown.outcome.is_some())
}

fn exhibit(shown: &Shown) -> ExhibitRow<'_> {
    let exhibit = shown.exhibit;
    let ok = shown.outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
    let error = shown.outcome.as_ref().and_then(|outcome| outcome.as_ref().err());
    ExhibitRow {
        name: exhibit.name,
        aliases: exhibit.aliases,
        title: exhibit.title,
        mistake: exhibit.mistake,
        repair: exhibit.repair,
        invariant: exhibit.invariant,
        upheld_by: exhibit.upheld_by,
        runs_on: exhibit.medium().as_str(),
        on_windows: exhibit.on_windows,
        on_linux: exhibit.on_linux,
        seen_in: exhibit.seen_in.iter().map(seen_in).collect(),
        as_expected: shown.outcome.is_some().then(|| shown.fault().is_none()),
        error: error.map(String::as_str),
        broken: ok.map(|outcome| run(&outcome.report.broken)),
        repaired: ok.map(|outcome| run(&outcome.report.repaired)),
        crash: ok.and_then(|outcome| outcome.crash.as_ref()).map(crash),
    }
}

fn seen_in(seen: &SeenIn) -> SeenInRow {
    SeenInRow { name: seen.name, url: seen.url, what: seen.what }
}

fn run(run: &Run) -> RunRow<'_> {
    RunRow { held: run.held, evidence: &run.evidence, timeline: timeline(&run.timeline) }
}

/// An object: each fact under its name, in the order in which they were noted.
fn facts<S: Serializer>(evidence: &Evidence, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(evidence.iter().map(|(name, value)| (name, fact(value))))
}

fn fact(value: &Value) -> Fact<'_> {
    match value {
        Value::Number(number) => Fact::Number(*number),
        Value::Bool(yes) => Fact::Bool(*yes),
        Value::Text(text) => Fact::Text(text),
        Value::List(texts) => Fact::List(texts),
    }
}

fn timeline(timeline: &Timeline) -> TimelineRow<'_> {
    let moments = timeline.moments.iter();
    let bars = timeline.bars.iter();
    TimelineRow {
        moments: moments.map(|moment| MomentRow { text: &moment.text, wrong: moment.wrong }).collect(),
        bars: bars
            .map(|bar| BarRow {
                lane: &bar.lane,
                kind: bar.kind.as_str(),
                label: &bar.label,
                from: bar.from,
                to: bar.to,
            })
            .collect(),
    }
}

fn crash(crash: &Crash) -> CrashRow<'_> {
    CrashRow {
        crashed: crash.crashed,
        child_ended: &crash.child_ended,
        kernel_refused: crash.kernel_refused,
        kernel_answered: &crash.kernel_answered,
    }
}
