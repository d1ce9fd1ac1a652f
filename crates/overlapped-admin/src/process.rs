//! The process, under the names that Prometheus' own client libraries use. What the system does not report is left out.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use overlapped::events::MetricKind;
use proactor::os;

pub(crate) struct ProcessMetric {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    pub(crate) unit: Option<&'static str>,
    pub(crate) help: &'static str,
    pub(crate) value: f64,
}

static STARTED: OnceLock<SystemTime> = OnceLock::new();

/// The process begins to serve. Only the first call counts.
pub(crate) fn note_start() {
    STARTED.get_or_init(SystemTime::now);
}

pub(crate) fn metrics() -> Vec<ProcessMetric> {
    let gauge = |name, unit, help, value| ProcessMetric { name, kind: MetricKind::Gauge, unit, help, value };
    let started = STARTED.get().copied().unwrap_or(UNIX_EPOCH);
    let since_1970 = started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut metrics = vec![
        gauge(
            "process_start_time_seconds",
            Some("seconds"),
            "When the process began to serve, since 1970.",
            since_1970.as_secs_f64(),
        ),
        gauge(
            "process_open_fds",
            None,
            "Descriptors that the process has open; on Windows sockets and ports.",
            os::open_descriptors() as f64,
        ),
    ];
    if let Some(limit) = os::descriptor_limit() {
        let help = "Descriptors that the process may have open.";
        metrics.push(gauge("process_max_fds", None, help, limit as f64));
    }
    if let Ok(usage) = os::process_usage(std::process::id()) {
        let help = "Memory of the process that is in use now.";
        let name = "process_resident_memory_bytes";
        metrics.push(gauge(name, Some("bytes"), help, usage.rss_bytes as f64));
        metrics.push(ProcessMetric {
            name: "process_cpu_seconds",
            kind: MetricKind::Counter,
            unit: Some("seconds"),
            help: "Processor time of all threads of the process.",
            value: usage.cpu.as_secs_f64(),
        });
    }
    metrics
}
