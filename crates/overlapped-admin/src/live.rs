//! The live page, and the events that it is drawn from.

use overlapped::events::MetricKind;
use overlapped::{Bytes, Stats};
use serde::Serialize;

use crate::history::{History, now_ms, sums};
use crate::http::{Body, Response};
use crate::watched::Target;

/// One file, which loads nothing else.
const PAGE: &str = include_str!("live.html");

/// The page may load nothing, be shown in no frame, and ask only this server.
const POLICY: &str = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
                      script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'\r\n";

pub(crate) fn page() -> Response {
    Response { fields: POLICY, ..Response::new("text/html; charset=utf-8", PAGE) }
}

/// The head of the stream of events: the HTML standard, "Server-sent events".
pub(crate) fn stream() -> Response {
    Response { body: Body::Stream, ..Response::new("text/event-stream", "") }
}

/// How the server stands, once a second.
#[derive(Serialize)]
struct Now<'a> {
    at_ms: u64,
    standing: &'a str,
    /// Of each worker, in the order of the names in [`Start`].
    workers: Vec<Vec<u64>>,
}

/// The first event of a page.
#[derive(Serialize)]
struct Start<'a> {
    version: &'a str,
    backend: String,
    addresses: Vec<String>,
    /// Of the numbers in all events.
    names: Vec<&'a str>,
    /// Which of them are not added up over the workers: the greatest counts.
    maxima: Vec<usize>,
    /// The last five minutes, of all workers together.
    history: Vec<(u64, &'a [u64])>,
    now: Now<'a>,
}

fn now<'a>(target: &Target, stats: &[Stats]) -> Now<'a> {
    Now {
        at_ms: now_ms(),
        standing: target.standing().word(),
        workers: stats.iter().map(|stats| sums(std::slice::from_ref(stats))).collect(),
    }
}

pub(crate) fn event(target: &Target, stats: &[Stats]) -> Bytes {
    to_event("now", &now(target, stats))
}

pub(crate) fn first_event(target: &Target, history: &History) -> Bytes {
    let start = Start {
        version: env!("CARGO_PKG_VERSION"),
        backend: target.backend().to_string(),
        addresses: target.addresses().iter().map(ToString::to_string).collect(),
        names: Stats::METRICS.iter().map(|metric| metric.name).collect(),
        maxima: (0..Stats::METRICS.len())
            .filter(|index| Stats::METRICS[*index].kind == MetricKind::Maximum)
            .collect(),
        history: history.samples().collect(),
        now: now(target, &target.stats()),
    };
    to_event("start", &start)
}

/// The JSON has no line ends, so it is one `data` line.
fn to_event(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("no map with other keys than strings");
    // Says after how many ms a page tries again if the server is gone.
    format!("retry: 1000\nevent: {name}\ndata: {data}\n\n").into()
}
