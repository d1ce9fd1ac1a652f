//! The report as JSON: one object, its keys as stable as those of a command line.

use std::fmt;

use overlapped::Refusal;
use proactor::backend::probe::{Feature, Finding, Offer};

use super::Report;
use super::limits::{Advice, Amount, Row, TARGETS};
use super::machine::Answer;

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
        ("auto", optional(report.auto().map(overlapped::Backend::as_str))),
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

/// A JSON value, as far as a report needs them. `Display` writes it indented.
enum Json {
    Null,
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

fn text(text: &str) -> Json {
    Json::Text(text.to_owned())
}

fn optional(value: Option<&str>) -> Json {
    value.map_or(Json::Null, text)
}

/// Null for what there is not, and for what cannot be read.
fn answered(answer: Answer<&String>) -> Json {
    answer.is().map_or(Json::Null, |value| text(value))
}

fn number(value: Option<u64>) -> Json {
    value.map_or(Json::Null, Json::Number)
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Json {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let end = |f: &mut fmt::Formatter<'_>, close| write!(f, "\n{:1$}{close}", "", 2 * depth);
        let start = |f: &mut fmt::Formatter<'_>, index| {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}\n{:1$}", "", 2 * depth + 2)
        };
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(value) => write!(f, "{value}"),
            Json::Text(text) => quote(f, text),
            Json::List(items) if items.is_empty() => f.write_str("[]"),
            Json::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    start(f, index)?;
                    item.write(f, depth + 1)?;
                }
                end(f, ']')
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (index, (key, value)) in members.iter().enumerate() {
                    start(f, index)?;
                    quote(f, key)?;
                    f.write_str(": ")?;
                    value.write(f, depth + 1)?;
                }
                end(f, '}')
            }
        }
    }
}

/// RFC 8259: quotes, backslashes and control characters are escaped, everything else stands for itself.
fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_survives() {
        let all: String = (0..0x300).filter_map(char::from_u32).chain("\u{2028}한글😀".chars()).collect();
        let read: String = serde_json::from_str(&text(&all).to_string()).expect("JSON");
        assert_eq!(read, all);
    }

    #[test]
    fn every_kind_of_value_reads_back() {
        let nested = Json::List(vec![Json::Null, Json::Bool(false), Json::List(vec![]), text("")]);
        let written = Json::Object(vec![("a", Json::Number(u64::MAX)), ("b", nested)]).to_string();
        let read: serde_json::Value = serde_json::from_str(&written).expect("JSON");
        assert_eq!(read, serde_json::json!({ "a": u64::MAX, "b": [null, false, [], ""] }));
    }
}
