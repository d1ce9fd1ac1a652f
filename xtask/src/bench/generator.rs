//! One run of `overlapped load` against a server, and what it says.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::jobs::Workload;
use super::running::{Running, last_line};
use super::{interrupt, placed};
use crate::bounded::Failure;

/// Beyond warm-up and duration: connecting, and what is in flight at the end.
const SPARE: Duration = Duration::from_secs(30);

/// What was measured of one server in one round. `None` is what the workload does not have.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    /// Of the server, for each message or connection.
    pub(super) cpu_ns: Option<f64>,
    /// Messages or connections.
    pub(super) per_second: Option<f64>,
    pub(super) p50_ns: Option<f64>,
    pub(super) p99_ns: Option<f64>,
    pub(super) p999_ns: Option<f64>,
    /// Of the server, at the end.
    pub(super) resident_bytes: Option<f64>,
    /// How much more is resident for a session that is connected and silent.
    pub(super) silent_bytes: Option<f64>,
    /// The same after one echo.
    pub(super) idle_bytes: Option<f64>,
    /// Of the server, for each message.
    pub(super) switches: Option<f64>,
    /// CPU time of the generator for each message, in ns.
    pub(super) generator_cpu_ns: Option<f64>,
    /// Whether the generator says that its figures are limited by itself.
    pub(super) generator_limited: bool,
}

/// Where the program is, and where it leaves its report.
pub(super) struct Generator {
    pub(super) program: PathBuf,
    pub(super) out: PathBuf,
}

impl Generator {
    /// Measures a server. An error of the server is a failure: wrong bytes, lost connections, echoes that did not come.
    pub(super) fn run(
        &self,
        workload: &Workload,
        words: &[String],
        server: &Running,
        processors: &[usize],
    ) -> Result<Figures, Failure> {
        let (json, errors) = (self.out.join("load.json"), self.out.join("load.err"));
        let _ = fs::remove_file(&json);
        let file = File::create(&errors).map_err(|error| format!("{}: {error}", errors.display()))?;
        let mut command = placed::command(&self.program);
        command.arg("load").arg(server.address.to_string()).args(words);
        command.args(["--server-pid", &server.pid().to_string(), "--json"]).arg(&json);
        command.stdout(Stdio::null()).stderr(file);
        let mut child = placed::spawn(processors, &mut command)
            .map_err(|error| format!("`{}` does not start: {error}", self.program.display()))?;
        let status = wait(&mut child, workload.warmup + workload.duration + SPARE)?;
        let Ok(text) = fs::read_to_string(&json) else {
            return Err(format!("`overlapped load` {status}: {}", last_line(&errors)));
        };
        figures_in(&text, status.success(), &last_line(&errors))
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if interrupt::asked() => break end(child, "interrupted".to_owned()),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
            Ok(None) => break end(child, format!("`overlapped load` was not over after {limit:?}")),
            Err(error) => break end(child, format!("`overlapped load`: {error}")),
        }
    }
}

fn end(child: &mut Child, why: Failure) -> Result<ExitStatus, Failure> {
    let _ = child.kill();
    let _ = child.wait();
    Err(why)
}

/// The keys of `--json` that matter here.
#[derive(Deserialize)]
struct Report {
    messages: u64,
    messages_per_second: f64,
    latency_ns: Latency,
    errors: u64,
    timeouts: u64,
    mismatches: u64,
    connections: Connections,
    generator: Own,
    server: Option<Use>,
}

#[derive(Deserialize)]
struct Latency {
    p50: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
}

#[derive(Deserialize)]
struct Connections {
    failed: u64,
    reset: u64,
}

#[derive(Deserialize)]
struct Own {
    cpu_ns_per_message: Option<f64>,
    /// Why, or nothing.
    #[serde(default)]
    bottleneck: Value,
}

#[derive(Deserialize)]
struct Use {
    cpu_ns_per_message: Option<f64>,
    rss_bytes: Option<f64>,
    voluntary_switches: Option<f64>,
}

fn figures_in(text: &str, succeeded: bool, last: &str) -> Result<Figures, Failure> {
    let report: Report = serde_json::from_str(text)
        .map_err(|error| format!("the report of `overlapped load` is not as expected: {error}"))?;
    if report.errors > 0 {
        let Report { errors, timeouts, mismatches, connections: Connections { failed, reset }, .. } = report;
        return Err(format!(
            "{errors} errors: {failed} connects failed, {reset} connections lost, {timeouts} echoes missing, \
             {mismatches} messages wrong"
        ));
    }
    if !succeeded || report.messages == 0 {
        return Err(format!("`overlapped load` failed: {last}"));
    }
    let Some(server) = report.server else {
        return Err("`overlapped load` reports nothing on the server's process".to_owned());
    };
    let switches = server.voluntary_switches.map(|switches| switches / report.messages as f64);
    Ok(Figures {
        cpu_ns: server.cpu_ns_per_message,
        per_second: Some(report.messages_per_second),
        p50_ns: report.latency_ns.p50,
        p99_ns: report.latency_ns.p99,
        p999_ns: report.latency_ns.p999,
        resident_bytes: server.rss_bytes,
        silent_bytes: None,
        idle_bytes: None,
        switches,
        generator_cpu_ns: report.generator.cpu_ns_per_message,
        generator_limited: !matches!(report.generator.bottleneck, Value::Null | Value::Bool(false)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{
        "messages": 1000, "messages_per_second": 2000.0, "errors": 0, "timeouts": 0, "mismatches": 0, "more": [1],
        "latency_ns": {"min": 1, "p50": 20000, "p90": 2, "p99": 30000, "p999": null, "max": 3},
        "connections": {"opened": 50, "failed": 0, "reset": 0},
        "generator": {"cpu_percent": 99.0, "cpu_ns_per_message": 5000.0, "late_ns_p99": 3, "bottleneck": null},
        "server": {"cpu_ns_per_message": 4500.5, "rss_bytes": 1048576, "voluntary_switches": 500}
    }"#;

    #[test]
    fn a_report_becomes_figures() {
        let figures = figures_in(REPORT, true, "").unwrap();
        assert_eq!(figures.cpu_ns, Some(4500.5));
        assert_eq!(figures.per_second, Some(2000.0));
        assert_eq!((figures.p50_ns, figures.p999_ns), (Some(20_000.0), None));
        assert_eq!(figures.switches, Some(0.5));
        assert!(!figures.generator_limited);
        let limited = REPORT.replace("\"bottleneck\": null", "\"bottleneck\": \"its processor was busy\"");
        assert!(figures_in(&limited, true, "").unwrap().generator_limited);
    }

    #[test]
    fn errors_are_failures() {
        let wrong =
            REPORT.replace("\"errors\": 0", "\"errors\": 3").replace("\"timeouts\": 0", "\"timeouts\": 3");
        let failure = figures_in(&wrong, false, "").unwrap_err();
        assert!(
            failure.contains("3 errors: 0 connects failed") && failure.contains("3 echoes missing"),
            "{failure}"
        );
        assert_eq!(figures_in(REPORT, false, "it says").unwrap_err(), "`overlapped load` failed: it says");
        assert!(figures_in("{}", true, "").unwrap_err().contains("not as expected"));
        let no_server = REPORT.replace("\"server\"", "\"other\"");
        assert!(figures_in(&no_server, true, "").unwrap_err().contains("nothing on the server"));
    }
}
