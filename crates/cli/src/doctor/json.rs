//! The report as JSON: one object, its keys as stable as those of a command line.

use std::fmt;

use overlapped::Refusal;
use proactor::backend::feature::{Feature, Finding, Offer};

use super::Report;
use super::limits::{Advice, Amount, Row, TARGETS};
use super::machine::Answer;
use crate::json::{Json, number, optional, text};

pub(super) fn of(report: &Report) -> impl fmt::Display + use<> {
    let backends = report.backends.iter().map(|(name, tried)| backend(name.as_str(), tried)).collect();
    let permissions = &report.permissions;
    Json::Object(vec![
        ("version", text(env!("CARGO_PKG_VERSION"))),
        (
            "system",
            Json::Object(vec![
                ("os", text(std::env::consts::OS)),
                ("kernel", optional(report.release.as_deref())),
                ("architecture", text(std::env::consts::ARCH)),
            ]),
        ),
        ("workers", Json::Number(report.workers as u64)),
        ("auto", optional(report.auto().map(overlapped::BackendKind::as_str))),
        ("backends", Json::List(backends)),
        ("ring_features", Json::List(report.features.iter().map(feature).collect())),
        (
            "ring_permissions",
            Json::Object(vec![
                ("kernel.io_uring_disabled", answered(permissions.io_uring_disabled.as_ref())),
                ("kernel.io_uring_group", answered(permissions.io_uring_group.as_ref())),
                ("seccomp_filtered", permissions.seccomp_filtered.is().map_or(Json::Null, Json::Bool)),
            ]),
        ),
        ("limits", Json::List(report.limits.iter().map(limit).collect())),
        ("room_for_sessions", number(report.room)),
    ])
}

fn backend(name: &str, tried: &Result<Offer, Refusal>) -> Json {
    let refusal = tried.as_ref().err();
    let ring = tried.as_ref().ok().and_then(|offer| offer.ring);
    Json::Object(vec![
        ("name", text(name)),
        ("works", Json::Bool(tried.is_ok())),
        ("reason", optional(refusal.map(|refusal| refusal.reason.as_str()))),
        ("remedy", optional(refusal.map(|refusal| refusal.remedy.as_str()))),
        ("submissions", number(ring.map(|size| size.least.into()))),
        ("submissions_wanted", number(ring.map(|size| size.wanted.into()))),
    ])
}

/// `present` is null when it could not be tried.
fn feature(feature: &Feature) -> Json {
    let (present, reason) = match &feature.finding {
        Finding::Present => (Json::Bool(true), Json::Null),
        Finding::Absent => (Json::Bool(false), Json::Null),
        Finding::Untried(why) => (Json::Null, text(why)),
    };
    Json::Object(vec![("name", text(feature.name)), ("present", present), ("reason", reason)])
}

fn limit(row: &Row) -> Json {
    let (unit, now) = match row.now {
        Amount::Count(count) => ("count", Json::Number(count)),
        Amount::Bytes(count) => ("bytes", Json::Number(count)),
        Amount::Ports(first, last) => {
            ("ports", Json::List(vec![Json::Number(first.into()), Json::Number(last.into())]))
        }
        Amount::Unlimited => ("unlimited", Json::Null),
        Amount::NotReadable => ("not readable", Json::Null),
    };
    let advice = TARGETS.iter().zip(&row.advice).map(|(sessions, advice)| advise(*sessions, advice));
    Json::Object(vec![
        ("name", text(row.name)),
        ("unit", text(unit)),
        ("now", now),
        ("advice", Json::List(advice.collect())),
    ])
}

/// `fine` is null when it is not known.
fn advise(sessions: u64, advice: &Advice) -> Json {
    let (fine, raised, set, how) = match advice {
        Advice::Fine => (Json::Bool(true), false, Json::Null, &[][..]),
        Advice::RaisedByServe => (Json::Bool(true), true, Json::Null, &[][..]),
        Advice::Set { to, how } => (Json::Bool(false), false, text(to), &how[..]),
        Advice::Unknown => (Json::Null, false, Json::Null, &[][..]),
    };
    Json::Object(vec![
        ("sessions", Json::Number(sessions)),
        ("fine", fine),
        ("raised_by_serve", Json::Bool(raised)),
        ("set", set),
        ("how", Json::List(how.iter().map(|step| text(step)).collect())),
    ])
}

/// Null for what there is not, and for what cannot be read.
fn answered(answer: Answer<&String>) -> Json {
    answer.is().map_or(Json::Null, |value| text(value))
}
