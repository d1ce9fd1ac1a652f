//! The report as JSON: one object, its keys as stable as those of a command line.

use overlapped::{BackendKind, Refusal};
use proactor::backend::feature::{Feature, Finding, Offer};
use serde::Serialize;

use super::Report;
use super::limits::{Advice, Amount, Row, TARGETS};
use super::machine::Answer;

/// The whole report. A field is null for what this system does not have, and for what cannot be read.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    version: &'static str,
    system: System<'a>,
    workers: usize,
    auto: Option<&'static str>,
    backends: Vec<BackendRow<'a>>,
    ring_features: Vec<FeatureRow<'a>>,
    ring_permissions: Permissions<'a>,
    limits: Vec<LimitRow<'a>>,
    room_for_sessions: Option<u64>,
}

#[derive(Serialize)]
struct System<'a> {
    os: &'static str,
    kernel: Option<&'a str>,
    architecture: &'static str,
}

#[derive(Serialize)]
struct BackendRow<'a> {
    name: &'static str,
    works: bool,
    reason: Option<&'a str>,
    remedy: Option<&'a str>,
    submissions: Option<u32>,
    submissions_wanted: Option<u32>,
}

/// `present` is null when it could not be tried.
#[derive(Serialize)]
struct FeatureRow<'a> {
    name: &'static str,
    present: Option<bool>,
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Permissions<'a> {
    #[serde(rename = "kernel.io_uring_disabled")]
    io_uring_disabled: Option<&'a str>,
    #[serde(rename = "kernel.io_uring_group")]
    io_uring_group: Option<&'a str>,
    seccomp_filtered: Option<bool>,
}

#[derive(Serialize)]
struct LimitRow<'a> {
    name: &'static str,
    unit: &'static str,
    now: Now,
    advice: Vec<AdviceRow<'a>>,
}

/// What holds now, in the row's unit.
#[derive(Serialize)]
#[serde(untagged)]
enum Now {
    Number(u64),
    Ports(u16, u16),
    None,
}

/// `fine` is null when it is not known.
#[derive(Serialize)]
struct AdviceRow<'a> {
    sessions: u64,
    fine: Option<bool>,
    raised_by_serve: bool,
    set: Option<&'a str>,
    how: &'a [String],
}

pub(super) fn of(report: &Report) -> Document<'_> {
    let permissions = &report.permissions;
    Document {
        version: env!("CARGO_PKG_VERSION"),
        system: System {
            os: std::env::consts::OS,
            kernel: report.release.as_deref(),
            architecture: std::env::consts::ARCH,
        },
        workers: report.workers,
        auto: report.auto().map(BackendKind::as_str),
        backends: report.backends.iter().map(|(name, tried)| backend(*name, tried)).collect(),
        ring_features: report.features.iter().map(feature).collect(),
        ring_permissions: Permissions {
            io_uring_disabled: answered(&permissions.io_uring_disabled),
            io_uring_group: answered(&permissions.io_uring_group),
            seccomp_filtered: permissions.seccomp_filtered.is(),
        },
        limits: report.limits.iter().map(limit).collect(),
        room_for_sessions: report.room,
    }
}

fn backend(name: BackendKind, tried: &Result<Offer, Refusal>) -> BackendRow<'_> {
    let refusal = tried.as_ref().err();
    let ring = tried.as_ref().ok().and_then(|offer| offer.ring);
    BackendRow {
        name: name.as_str(),
        works: tried.is_ok(),
        reason: refusal.map(|refusal| refusal.reason.as_str()),
        remedy: refusal.map(|refusal| refusal.remedy.as_str()),
        submissions: ring.map(|size| size.least),
        submissions_wanted: ring.map(|size| size.wanted),
    }
}

fn feature(feature: &Feature) -> FeatureRow<'_> {
    let (present, reason) = match &feature.finding {
        Finding::Present => (Some(true), None),
        Finding::Absent => (Some(false), None),
        Finding::Untried(why) => (None, Some(&**why)),
    };
    FeatureRow { name: feature.name, present, reason }
}

fn limit(row: &Row) -> LimitRow<'_> {
    let (unit, now) = match row.now {
        Amount::Count(count) => ("count", Now::Number(count)),
        Amount::Bytes(count) => ("bytes", Now::Number(count)),
        Amount::Ports(first, last) => ("ports", Now::Ports(first, last)),
        Amount::Unlimited => ("unlimited", Now::None),
        Amount::NotReadable => ("not readable", Now::None),
    };
    let advice = TARGETS.iter().zip(&row.advice).map(|(sessions, advice)| advise(*sessions, advice));
    LimitRow { name: row.name, unit, now, advice: advice.collect() }
}

fn advise(sessions: u64, advice: &Advice) -> AdviceRow<'_> {
    let (fine, set, how) = match advice {
        Advice::Fine | Advice::RaisedByServe => (Some(true), None, &[][..]),
        Advice::Set { to, how } => (Some(false), Some(to.as_str()), &how[..]),
        Advice::Unknown => (None, None, &[][..]),
    };
    AdviceRow { sessions, fine, raised_by_serve: matches!(advice, Advice::RaisedByServe), set, how }
}

fn answered(answer: &Answer<String>) -> Option<&str> {
    answer.as_ref().is().map(String::as_str)
}
