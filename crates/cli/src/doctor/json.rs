//! The report as JSON: one object, its keys as stable as those of a command line.

use overlapped::settings::{BackendKind, Refusal};
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

#[cfg(test)]
mod tests {
    use proactor::backend::feature::RingSize;
    use serde_json::json;

    use super::*;

    /// A report with every kind of value in it. `text` is put where texts of the system go.
    fn report(text: &str) -> Report {
        let refusal =
            Refusal { backend: BackendKind::IoUring, reason: text.into(), remedy: "raise it".into() };
        let ring = RingSize { least: 64, wanted: 256 };
        let set = Advice::Set { to: "1024".into(), how: vec!["ulimit -n 1024".into()] };
        let row = |name, now, advice| Row { name, now, advice };
        Report {
            release: Some(text.into()),
            workers: 2,
            backends: vec![
                (BackendKind::IoUring, Err(refusal)),
                (BackendKind::Readiness, Ok(Offer { ring: None })),
                (BackendKind::Iocp, Ok(Offer { ring: Some(ring) })),
            ],
            features: vec![
                Feature { name: "a", finding: Finding::Present },
                Feature { name: "b", finding: Finding::Absent },
                Feature { name: "c", finding: Finding::Untried(text.into()) },
            ],
            permissions: super::super::Permissions {
                io_uring_disabled: Answer::Is(text.into()),
                io_uring_group: Answer::Absent,
                seccomp_filtered: Answer::NotReadable,
            },
            limits: vec![
                row("count", Amount::Count(u64::MAX), [Advice::Fine, set]),
                row("bytes", Amount::Bytes(1), [Advice::RaisedByServe, Advice::Unknown]),
                row("ports", Amount::Ports(1024, 65535), [Advice::Fine, Advice::Fine]),
                row("none", Amount::Unlimited, [Advice::Fine, Advice::Fine]),
                row("hidden", Amount::NotReadable, [Advice::Unknown, Advice::Unknown]),
            ],
            room: None,
        }
    }

    /// Keys and values as scripts know them: what is not known is null and never left out.
    #[test]
    fn every_kind_of_value_has_its_form() {
        let fine = |sessions: u64| json!({ "sessions": sessions, "fine": true, "raised_by_serve": false, "set": null, "how": [] });
        let unknown = |sessions: u64| json!({ "sessions": sessions, "fine": null, "raised_by_serve": false, "set": null, "how": [] });
        let raised =
            json!({ "sessions": 10_000, "fine": true, "raised_by_serve": true, "set": null, "how": [] });
        let set = json!({
            "sessions": 100_000, "fine": false, "raised_by_serve": false, "set": "1024", "how": ["ulimit -n 1024"]
        });
        let backend = |name, works, reason, remedy, least, wanted| {
            let (reason, remedy): (Option<&str>, Option<&str>) = (reason, remedy);
            let (least, wanted): (Option<u32>, Option<u32>) = (least, wanted);
            json!({
                "name": name, "works": works, "reason": reason, "remedy": remedy,
                "submissions": least, "submissions_wanted": wanted,
            })
        };
        let wanted = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "system": { "os": std::env::consts::OS, "kernel": "x", "architecture": std::env::consts::ARCH },
            "workers": 2,
            "auto": "readiness",
            "backends": [
                backend("io_uring", false, Some("x"), Some("raise it"), None, None),
                backend("readiness", true, None, None, None, None),
                backend("iocp", true, None, None, Some(64), Some(256)),
            ],
            "ring_features": [
                { "name": "a", "present": true, "reason": null },
                { "name": "b", "present": false, "reason": null },
                { "name": "c", "present": null, "reason": "x" },
            ],
            "ring_permissions": {
                "kernel.io_uring_disabled": "x", "kernel.io_uring_group": null, "seccomp_filtered": null,
            },
            "limits": [
                { "name": "count", "unit": "count", "now": u64::MAX, "advice": [fine(10_000), set] },
                { "name": "bytes", "unit": "bytes", "now": 1, "advice": [raised, unknown(100_000)] },
                { "name": "ports", "unit": "ports", "now": [1024, 65535], "advice": [fine(10_000), fine(100_000)] },
                { "name": "none", "unit": "unlimited", "now": null, "advice": [fine(10_000), fine(100_000)] },
                { "name": "hidden", "unit": "not readable", "now": null,
                  "advice": [unknown(10_000), unknown(100_000)] },
            ],
            "room_for_sessions": null,
        });
        assert_eq!(serde_json::to_value(of(&report("x"))).expect("JSON"), wanted);
    }

    #[test]
    fn every_character_survives() {
        let all: String = (0..0x300).filter_map(char::from_u32).chain("\u{2028}한글😀".chars()).collect();
        let written = serde_json::to_string_pretty(&of(&report(&all))).expect("JSON");
        let read: serde_json::Value = serde_json::from_str(&written).expect("JSON");
        assert_eq!(read["system"]["kernel"], all.as_str());
    }
}
