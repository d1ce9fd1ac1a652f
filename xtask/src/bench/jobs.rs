//! What is measured: workloads, and which servers run each of them.

use std::time::Duration;

use serde::Serialize;

use super::servers::Server;

/// What decides in a workload; less is better in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Measure {
    /// CPU time of the server for a message, in ns.
    CpuPerMessage,
    /// The median round trip, in ns.
    RoundTrip,
    /// CPU time of the server for a connection: connect, one echo, close; in ns.
    CpuPerConnection,
    /// Resident bytes of the server for an idle session.
    IdleMemory,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Workload {
    pub(super) key: String,
    /// `50 sessions × 64 B`
    pub(super) what: String,
    pub(super) measure: Measure,
    pub(super) connections: u32,
    pub(super) size: u32,
    pub(super) pipeline: u32,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    /// Server and generator on all processors, rather than each on one of its own.
    pub(super) shared: bool,
}

impl Workload {
    /// Messages in a closed loop: on each of the connections one is under way.
    pub(super) fn messages(key: &str, connections: u32, size: u32, duration: Duration) -> Workload {
        let sessions = if connections == 1 { "session" } else { "sessions" };
        Workload {
            key: key.to_owned(),
            what: format!("{} {sessions} × {}", thousands(connections), size_in_words(size)),
            measure: Measure::CpuPerMessage,
            connections,
            size,
            pipeline: 1,
            warmup: if connections > 2000 { Duration::from_millis(600) } else { Duration::from_millis(250) },
            duration,
            shared: false,
        }
    }

    /// The words after `overlapped load ADDR` that make it; those of the report come on top. `None` if the generator has
    /// no part in it.
    pub(super) fn load_words(&self) -> Option<Vec<String>> {
        let mut words = vec![
            "--connections".to_owned(),
            self.connections.to_string(),
            "--size".to_owned(),
            self.size.to_string(),
            "--warmup".to_owned(),
            format!("{}ms", self.warmup.as_millis()),
            "--duration".to_owned(),
            format!("{}ms", self.duration.as_millis()),
        ];
        match self.measure {
            Measure::IdleMemory => return None,
            Measure::CpuPerConnection => words.extend(["--behave", "churn"].map(str::to_owned)),
            Measure::CpuPerMessage | Measure::RoundTrip => {}
        }
        if self.pipeline > 1 {
            words.extend(["--pipeline".to_owned(), self.pipeline.to_string()]);
        }
        Some(words)
    }
}

/// A workload, how often, and with which servers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Job {
    pub(super) workload: Workload,
    pub(super) rounds: u32,
    pub(super) servers: Vec<Server>,
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// At least 21 rounds where costs of messages are compared.
    Full,
    /// Less than ten minutes for all.
    Quick,
    /// Each for a moment.
    Smoke,
}

/// Workloads a to h. `busy` are ours with busy polling, which only the first one has.
pub(super) fn table(extent: Extent, servers: &[Server], busy: &[Server]) -> Vec<Job> {
    let duration = Duration::from_millis(match extent {
        Extent::Full => 1000,
        Extent::Quick => 350,
        Extent::Smoke => 200,
    });
    let rounds = |full, quick| match extent {
        Extent::Full => full,
        Extent::Quick => quick,
        Extent::Smoke => 1,
    };
    let most = if extent == Extent::Smoke { 500 } else { u32::MAX };
    let messages =
        |key, connections: u32, size| Workload::messages(key, connections.min(most), size, duration);
    let job = |workload, rounds| Job { workload, rounds, servers: servers.to_vec() };
    let mut alone = job(Workload { measure: Measure::RoundTrip, ..messages("a", 1, 64) }, rounds(21, 3));
    alone.servers.extend_from_slice(busy);
    let deep = messages("f", 50, 64);
    let deep = Workload { pipeline: 16, what: format!("{}, 16 in flight", deep.what), ..deep };
    let idle = messages("g", 10_000, 64);
    let what = format!("{} idle sessions", thousands(idle.connections));
    let idle = Workload { measure: Measure::IdleMemory, what, ..idle };
    let churn = Workload {
        measure: Measure::CpuPerConnection,
        what: "50 clients: connect, one echo of 64 B, close".to_owned(),
        ..messages("h", 50, 64)
    };
    let mut jobs = vec![
        alone,
        job(messages("b", 50, 64), rounds(21, 5)),
        job(messages("c", 1000, 64), rounds(21, 5)),
        job(messages("d", 10_000, 64), rounds(21, 3)),
        job(messages("e", 50, 16_384), rounds(21, 5)),
        job(deep, rounds(21, 5)),
        job(idle, rounds(3, 1)),
        job(churn, rounds(21, 3)),
    ];
    for job in &mut jobs {
        let workload = &mut job.workload;
        match extent {
            Extent::Full => {}
            Extent::Quick => workload.warmup = workload.warmup * 3 / 5,
            Extent::Smoke => workload.warmup = Duration::from_millis(50),
        }
    }
    jobs
}

/// `10,000`
pub(super) fn thousands(count: u32) -> String {
    overlapped_measure::number::count(u64::from(count))
}

/// `64 B`, `16 KiB`
pub(super) fn size_in_words(size: u32) -> String {
    overlapped_measure::number::bytes(f64::from(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_workload_and_enough_rounds() {
        let jobs = table(Extent::Full, &[], &[]);
        let keys: String = jobs.iter().map(|job| job.workload.key.as_str()).collect();
        assert_eq!(keys, "abcdefgh");
        let compared = jobs.iter().filter(|job| job.workload.measure == Measure::CpuPerMessage);
        assert!(compared.clone().count() == 5 && compared.clone().all(|job| job.rounds >= 21));
        let names: Vec<&str> = jobs.iter().map(|job| job.workload.what.as_str()).collect();
        assert_eq!(names[0], "1 session × 64 B");
        assert_eq!(names[4], "50 sessions × 16 KiB");
        assert_eq!(names[5], "50 sessions × 64 B, 16 in flight");
    }

    #[test]
    fn the_generator_gets_its_words() {
        let jobs = table(Extent::Quick, &[], &[]);
        let words = |at: usize| jobs[at].workload.load_words().map(|words| words.join(" "));
        let deep = "--connections 50 --size 64 --warmup 150ms --duration 350ms --pipeline 16";
        assert_eq!(words(5).as_deref(), Some(deep));
        assert_eq!(words(6), None);
        assert!(words(7).unwrap().ends_with("--behave churn"));
        let smoke = table(Extent::Smoke, &[], &[]);
        assert!(smoke.iter().all(|job| job.rounds == 1 && job.workload.connections <= 500));
    }

    /// The quick table stays below ten minutes with sixteen servers, when nothing is repeated.
    #[test]
    fn quick_is_quick() {
        let start_and_stop = Duration::from_millis(250);
        let of_one = |job: &Job| {
            let connects = Duration::from_micros(100) * job.workload.connections;
            job.rounds * (job.workload.warmup + job.workload.duration + start_and_stop + connects)
        };
        let jobs = table(Extent::Quick, &[], &[]);
        let seconds: f64 = jobs.iter().map(|job| 16.0 * of_one(job).as_secs_f64()).sum();
        assert!(seconds < 500.0, "{seconds}");
    }
}
