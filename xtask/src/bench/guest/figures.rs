//! What the machine prints, understood.

use serde::Serialize;

/// Begins a line of figures.
pub(super) const FIGURES: &str = "@figures";
/// Begins a line that says why there are none.
pub(super) const FAILED: &str = "@failed";

/// One backend with one number of sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Run {
    pub(super) backend: String,
    pub(super) sessions: u32,
    /// From the start of the generator until the server has all sessions.
    pub(super) connect_seconds: f64,
    /// Resident memory of the server before, and with all sessions idle.
    pub(super) server_bytes: [f64; 2],
    /// Memory that the kernel holds for itself, likewise: for both ends of each connection.
    pub(super) kernel_bytes: [f64; 2],
    /// From SIGTERM to the end of the server.
    pub(super) drain_seconds: f64,
    /// Of the server.
    pub(super) status: i32,
    /// Its last line.
    pub(super) summary: String,
    /// Why there are no figures.
    pub(super) why: Option<String>,
}

impl Run {
    pub(super) fn server_bytes_per_session(&self) -> f64 {
        (self.server_bytes[1] - self.server_bytes[0]) / f64::from(self.sessions)
    }

    pub(super) fn kernel_bytes_per_session(&self) -> f64 {
        (self.kernel_bytes[1] - self.kernel_bytes[0]) / f64::from(self.sessions)
    }

    /// What went wrong, if something did: the sessions were not there, or the drain cut some.
    pub(super) fn failure(&self) -> Option<String> {
        match (&self.why, self.status) {
            (Some(why), _) => Some(format!("failed: {why}")),
            (None, 0) => None,
            (None, status) => Some(format!("failed: status {status}: {}", self.summary)),
        }
    }
}

pub(super) fn runs_in(console: &str) -> Vec<Run> {
    // A serial line ends lines with a carriage return, too.
    console.lines().filter_map(|line| run_in(line.trim())).collect()
}

fn run_in(line: &str) -> Option<Run> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [
            FIGURES,
            backend,
            sessions,
            "connect",
            connecting,
            connected,
            "server",
            server_before,
            server_after,
            "kernel",
            kernel_before,
            kernel_after,
            "drain",
            draining,
            drained,
            "status",
            status,
            ref summary @ ..,
        ] => Some(Run {
            backend: backend.to_owned(),
            sessions: sessions.parse().ok()?,
            connect_seconds: number(connected)? - number(connecting)?,
            server_bytes: [number(server_before)? * 1024.0, number(server_after)? * 1024.0],
            kernel_bytes: [number(kernel_before)? * 1024.0, number(kernel_after)? * 1024.0],
            drain_seconds: number(drained)? - number(draining)?,
            status: status.parse().ok()?,
            summary: summary.join(" "),
            why: None,
        }),
        [FAILED, backend, sessions, ref why @ ..] => Some(Run {
            backend: backend.to_owned(),
            sessions: sessions.parse().ok()?,
            why: Some(why.join(" ")),
            ..Run::default()
        }),
        _ => None,
    }
}

fn number(word: &str) -> Option<f64> {
    word.parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const CONSOLE: &str = "\
[    1.0] booting\r
@figures io_uring 25000 connect 10.00 22.50 server 4000 13765.625 kernel 50000 245312.5 drain 40.25 45.25 status 0 served 25000 sessions\r
";

    #[test]
    fn lines_become_figures() {
        let runs = runs_in(CONSOLE);
        assert_eq!(runs.len(), 1);
        let run = &runs[0];
        assert_eq!((run.connect_seconds, run.drain_seconds, run.sessions), (12.5, 5.0, 25_000));
        assert!((run.server_bytes_per_session() - 400.0).abs() < 0.1);
        assert!((run.kernel_bytes_per_session() - 8000.0).abs() < 0.1);
        assert_eq!((run.failure(), run.summary.as_str()), (None, "served 25000 sessions"));
        let cut = runs_in(&CONSOLE.replace("status 0", "status 1"));
        assert_eq!(cut[0].failure().unwrap(), "failed: status 1: served 25000 sessions");
    }

    #[test]
    fn failures_and_noise_are_told_apart() {
        let runs = runs_in("@failed readiness 50000 3 sessions; connect: no\nhello\n@figures io_uring x\n");
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0].failure().unwrap(), "failed: 3 sessions; connect: no");
    }
}
