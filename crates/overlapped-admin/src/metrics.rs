//! `/metrics`: OpenMetrics 1.0 for clients that name it in `Accept`, as Prometheus does, else the older Prometheus text format
//! (0.0.4), which `curl` and `promtool check metrics` expect.
//!
//! The two differ in the name of a counter's family, which has its suffix `_total` in the older one, and in `# UNIT`. Both
//! end with `# EOF`, which is a comment in the older one.

use std::fmt::{Display, Write};

use overlapped::Stats;
use overlapped::events::MetricKind;

use crate::http::Response;
use crate::process;
use crate::watched::{Standing, Target};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of a server and of its process.
pub(crate) fn response(target: &Target, open_metrics: bool) -> Response {
    let mut page = Page { text: String::with_capacity(16 * 1024), open_metrics };
    write(&mut page, target);
    page.text.push_str("# EOF\n");
    Response::new(if open_metrics { OPEN_METRICS } else { PROMETHEUS }, page.text)
}

fn write(page: &mut Page, target: &Target) {
    let workers = target.stats();
    for metric in Stats::METRICS {
        let name = format!("overlapped_{}", metric.name);
        let family = page.family(&name, metric.kind, metric.unit, metric.help);
        for (index, stats) in workers.iter().enumerate() {
            let labels = format!("{{worker=\"{index}\"}}");
            match metric.per_unit {
                1 => page.sample(&family, &labels, metric.of(stats)),
                per_unit => page.sample(&family, &labels, metric.of(stats) as f64 / per_unit as f64),
            }
        }
    }
    page.gauge("overlapped_workers", None, "Workers that the server was started with.", workers.len());
    let ready = u8::from(target.standing() == Standing::Ready);
    page.gauge("overlapped_ready", None, "1 while /ready answers 200, else 0.", ready);
    let help = "Always 1; the labels say what runs.";
    let family = page.family("overlapped_server_info", MetricKind::Gauge, None, help);
    let labels = format!("{{backend=\"{}\",version=\"{}\"}}", target.backend(), env!("CARGO_PKG_VERSION"));
    page.sample(&family, &labels, 1);
    for metric in process::metrics() {
        let family = page.family(metric.name, metric.kind, metric.unit, metric.help);
        page.sample(&family, "", metric.value);
    }
}

/// The text so far.
struct Page {
    text: String,
    open_metrics: bool,
}

impl Page {
    /// Begins a family. Returns the name of its samples.
    fn family(&mut self, name: &str, kind: MetricKind, unit: Option<&str>, help: &str) -> String {
        let (word, sample) = match kind {
            MetricKind::Counter => ("counter", format!("{name}_total")),
            _ => ("gauge", name.to_owned()),
        };
        let family = if self.open_metrics { name } else { &sample };
        // Writing to memory cannot fail.
        let _ = writeln!(self.text, "# TYPE {family} {word}");
        if let (Some(unit), true) = (unit, self.open_metrics) {
            let _ = writeln!(self.text, "# UNIT {family} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {family} {help}");
        sample
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.text, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, unit: Option<&str>, help: &str, value: impl Display) {
        let name = self.family(name, MetricKind::Gauge, unit, help);
        self.sample(&name, "", value);
    }
}
