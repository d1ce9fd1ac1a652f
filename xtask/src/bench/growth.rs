//! How costs grow: with sessions from 1 to 15,000, with messages from 64 B to 1 MiB, with a second worker, with clients
//! that connect again and again; and what sessions cost in memory.

use std::path::Path;
use std::time::Duration;

use overlapped_measure::number;

use super::charts::{self, Curve};
use super::generator::Figures;
use super::jobs::{Job, Measure, Workload, size_in_words, thousands};
use super::options::Options;
use super::results::Results;
use super::rounds::Patience;
use super::servers::{self, Server};
use super::summary::{self, Middle, Row};
use super::table::{head, line, origin, plain};
use super::{all_servers, measure, page, program, publish};
use crate::bounded::Failure;
use crate::place;

/// Besides ours, unless others are chosen.
const PEERS: [&str; 3] = ["tokio", "mio", "monoio"];

pub(super) fn run(options: &Options, out: &Path) -> Result<(), Failure> {
    let program = program()?;
    let mut with_peers = options.clone();
    if with_peers.servers.is_empty() {
        with_peers.servers = PEERS.map(str::to_owned).to_vec();
    }
    let servers = all_servers(&program, &with_peers)?;
    let mut jobs = jobs(options.quick, &servers, &servers::ours_with_two_workers(&program));
    for job in &mut jobs {
        job.rounds = options.rounds.unwrap_or(job.rounds);
    }
    let patience = match options.quick {
        true => Patience { repeats: 1, waits: 1, time: Duration::from_secs(540) },
        false => Patience { repeats: 2, waits: 5, time: Duration::from_secs(2 * 3600) },
    };
    let results = measure(&program, out, options, &jobs, patience, "growth")?;
    let charts = draw(&results);
    let whole = options.is_whole() && results.cut.is_none();
    // The page's pictures are replaced together with its tables.
    let folder = if whole { place::workspace().join(page::PICTURES) } else { out.to_owned() };
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let slug = page::slug(&results.machine.processor_in_full());
    for (name, svg) in &charts {
        super::write(&folder.join(format!("{slug}-{name}.svg")), svg)?;
    }
    publish(&results, out, "growth", &markdown(&results, &slug), options)
}

/// A series of workloads that differ in one number.
struct Sweep {
    /// Of the keys and of the chart's file.
    name: &'static str,
    points: &'static [u32],
    workload: fn(u32) -> Workload,
    rounds: u32,
}

const SECOND: Duration = Duration::from_secs(1);
const SESSIONS: Sweep = Sweep {
    name: "sessions",
    points: &[1, 10, 50, 100, 300, 1000, 3000, 10_000, 15_000],
    workload: |sessions| Workload::messages("", sessions, 64, SECOND),
    rounds: 7,
};
/// 10 and 30 KiB are there because a block of ours is 16 KiB: messages that are not blocks.
const SIZES: Sweep = Sweep {
    name: "sizes",
    points: &[64, 256, 1024, 4096, 10 << 10, 16 << 10, 30 << 10, 64 << 10, 256 << 10, 1 << 20],
    workload: |size| Workload::messages("", 50, size, SECOND),
    rounds: 7,
};
const IDLE: Sweep = Sweep {
    name: "idle",
    points: &[100, 1000, 5000, 10_000, 15_000],
    workload: |sessions| Workload {
        measure: Measure::IdleMemory,
        what: format!("{} idle sessions", thousands(sessions)),
        ..Workload::messages("", sessions, 64, SECOND)
    },
    rounds: 3,
};
const CLIENTS: Sweep = Sweep {
    name: "clients",
    points: &[1, 10, 50, 200, 1000],
    workload: |clients| Workload {
        measure: Measure::CpuPerConnection,
        what: format!("{} clients: connect, one echo of 64 B, close", thousands(clients)),
        ..Workload::messages("", clients, 64, SECOND)
    },
    rounds: 7,
};
const WORKERS: Sweep = Sweep {
    name: "workers",
    points: &[50, 1000],
    workload: |sessions| Workload { shared: true, ..Workload::messages("", sessions, 64, SECOND) },
    rounds: 7,
};
const SWEEPS: [&Sweep; 5] = [&SESSIONS, &SIZES, &IDLE, &CLIENTS, &WORKERS];

impl Sweep {
    fn key(&self, point: u32) -> String {
        format!("{}-{point}", self.name)
    }

    /// Its jobs among those that were measured, with their points.
    fn jobs<'r>(&self, results: &'r Results) -> Vec<(u32, &'r Job)> {
        let job = |point: &u32| results.jobs.iter().find(|job| job.workload.key == self.key(*point));
        self.points.iter().filter_map(|point| Some((*point, job(point)?))).collect()
    }
}

/// `two` are ours with two workers. When it must be quick, each second point and fewer rounds are left.
fn jobs(quick: bool, servers: &[Server], two: &[Server]) -> Vec<Job> {
    let mut jobs = Vec::new();
    for sweep in SWEEPS {
        let points = sweep.points.iter().step_by(if quick { 2 } else { 1 });
        for point in points {
            let mut workload = (sweep.workload)(*point);
            workload.key = sweep.key(*point);
            if quick {
                workload.duration = Duration::from_millis(400);
            }
            let mut servers = servers.to_vec();
            if sweep.name == WORKERS.name {
                servers.extend_from_slice(two);
            }
            let rounds = if quick { sweep.rounds.min(2) } else { sweep.rounds };
            jobs.push(Job { workload, rounds, servers });
        }
    }
    jobs
}

/// The charts, each with the name of its file.
fn draw(results: &Results) -> Vec<(&'static str, String)> {
    let cpu = summary::of_measure(Measure::CpuPerMessage);
    let curves = |sweep: &Sweep, of: fn(&Figures) -> Option<f64>| curves(results, sweep, of);
    vec![
        (SESSIONS.name, charts::sessions(curves(&SESSIONS, cpu))),
        (SIZES.name, charts::sizes(curves(&SIZES, cpu))),
        (IDLE.name, charts::memory(curves(&IDLE, |figures| figures.idle_bytes))),
        (CLIENTS.name, charts::connections(curves(&CLIENTS, |figures| figures.per_second))),
    ]
}

/// A curve for each server, in the order of the list.
fn curves(results: &Results, sweep: &Sweep, of: fn(&Figures) -> Option<f64>) -> Vec<Curve> {
    let jobs = sweep.jobs(results);
    let Some((_, first)) = jobs.first() else { return Vec::new() };
    let curve = |server: &Server| {
        let point = |(point, job): &(u32, &Job)| {
            let rows = summary::rows(results, job);
            let row = rows.iter().find(|row| row.server.name == server.name)?;
            Some((f64::from(*point), row.middle(of)?))
        };
        Curve { name: server.name.clone(), points: jobs.iter().filter_map(point).collect() }
    };
    first.servers.iter().map(curve).collect()
}

fn markdown(results: &Results, slug: &str) -> String {
    let mut text = format!("### {}\n\n{}", results.machine.processor_in_full(), origin(results));
    let picture = |name: &str, what: &str| format!("![{what}](benchmarks/{slug}-{name}.svg)\n\n");
    let medians = |sweep: &Sweep, title: &str, point: fn(u32) -> String, of: fn(&Figures) -> Option<f64>| {
        table(results, sweep, title, point, &|_, row| row.middle(of).map(spread))
    };
    text.push_str(
        "#### Sessions\n\nServer CPU per message of 64 B in ns: median, and the least of the rounds.\n\n",
    );
    text.push_str(&picture(SESSIONS.name, "CPU time per message over the number of sessions"));
    let cpu = summary::of_measure(Measure::CpuPerMessage);
    text.push_str(&medians(&SESSIONS, "sessions", thousands, cpu));
    text.push_str("#### Sizes\n\nThe same for 50 sessions, over the size of a message.\n\n");
    text.push_str(&picture(SIZES.name, "CPU time per message over its size"));
    text.push_str(&medians(&SIZES, "size", size_in_words, cpu));
    text.push_str(&workers(results));
    text.push_str(&memory(results, &picture(IDLE.name, "Memory per session over the number of sessions")));
    text.push_str("#### Connections\n\nConnect, one echo of 64 B, close: connections per second, over the number of clients \
                   that do it at the same time. Then the server's CPU per connection in ns.\n\n");
    text.push_str(&picture(CLIENTS.name, "Connections per second over the number of clients"));
    text.push_str(&medians(&CLIENTS, "clients", thousands, |figures| figures.per_second));
    text + &medians(&CLIENTS, "clients", thousands, cpu)
}

/// `4,003 [3,950]`
fn spread(middle: Middle) -> String {
    format!("{} [{}]", plain(middle.median), plain(middle.least))
}

/// A row for each point, a column for each server, and what was noisy or failed in the row.
fn table(
    results: &Results,
    sweep: &Sweep,
    title: &str,
    point_in_words: fn(u32) -> String,
    cell: &dyn Fn(u32, &Row) -> Option<String>,
) -> String {
    let jobs = sweep.jobs(results);
    let Some((_, first)) = jobs.first() else { return "Not measured.\n\n".to_owned() };
    let names: Vec<&str> = first.servers.iter().map(|server| server.name.as_str()).collect();
    let mut lines = vec![head(&[&[title], &names[..], &["rounds"]].concat())];
    let mut failures = Vec::new();
    for (point, job) in jobs {
        let rows = summary::rows(results, job);
        let mut cells = vec![point_in_words(point)];
        for name in &names {
            let row = rows.iter().find(|row| row.server.name == *name);
            cells.push(row.and_then(|row| cell(point, row)).unwrap_or_else(|| "failed".to_owned()));
            if let Some((name, why)) = row.and_then(|row| Some((name, row.failure?))) {
                failures.push(format!("{} {title}, {name}: {why}.", point_in_words(point)));
            }
        }
        cells.push(rounds(&rows));
        lines.push(line(cells));
    }
    let failures: String = failures.iter().map(|failure| format!("{failure}\n\n")).collect();
    format!("{}\n\n{failures}", lines.join("\n"))
}

/// `35; 3 noisy, 1 failed`: of all servers.
fn rounds(rows: &[Row]) -> String {
    let sum = |of: fn(&Row) -> u32| rows.iter().map(of).sum::<u32>();
    let mut text = sum(|row| row.rounds).to_string();
    let counted = [
        (sum(|row| row.noisy), "noisy"),
        (sum(|row| row.repeated), "again"),
        (sum(|row| row.failed), "failed"),
    ];
    let notes = counted.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    let notes: Vec<String> = notes.collect();
    if !notes.is_empty() {
        text.push_str(&format!("; {}", notes.join(", ")));
    }
    text
}

/// Server and generator share all processors here.
fn workers(results: &Results) -> String {
    let mut text = format!(
        "#### Two workers\n\nMessages of 64 B, server and generator (one thread) together on all {} processors: messages per \
         second, and server CPU per message in ns.\n\n",
        results.machine.processors
    );
    let jobs = WORKERS.jobs(results);
    let titles: Vec<String> = jobs
        .iter()
        .flat_map(|(point, _)| [format!("{} sessions, messages/s", thousands(*point)), "CPU, ns".to_owned()])
        .collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let mut lines = vec![head(&[&["server"], &titles[..]].concat())];
    let servers = jobs.first().map(|(_, job)| job.servers.as_slice()).unwrap_or_default();
    for server in servers {
        let mut cells = vec![server.name.clone()];
        for (_, job) in &jobs {
            let rows = summary::rows(results, job);
            let row = rows.iter().find(|row| row.server.name == server.name);
            let shown = |of: fn(&Figures) -> Option<f64>| {
                row.and_then(|row| row.middle(of)).map_or("failed".to_owned(), median_alone)
            };
            cells.push(shown(|figures| figures.per_second));
            cells.push(shown(|figures| figures.cpu_ns));
        }
        lines.push(line(cells));
    }
    text.push_str(&lines.join("\n"));
    text + "\n\n"
}

fn median_alone(middle: Middle) -> String {
    plain(middle.median)
}

/// Idle sessions, and those of the first sweep, which are active.
fn memory(results: &Results, picture: &str) -> String {
    let idle = table(results, &IDLE, "idle sessions", thousands, &|_, row| {
        let [silent, echoed] =
            [row.median(|figures| figures.silent_bytes)?, row.median(|figures| figures.idle_bytes)?];
        Some(format!("{} / {}", plain(silent), plain(echoed)))
    });
    let alone = SESSIONS.jobs(results).into_iter().find(|(point, _)| *point == 1).map(|(_, job)| job);
    let active = table(results, &SESSIONS, "active sessions", thousands, &|point, row| {
        let resident: fn(&Figures) -> Option<f64> = |figures| figures.resident_bytes;
        let now = row.median(resident)?;
        let rows = summary::rows(results, alone?);
        let one = rows.iter().find(|other| other.server.name == row.server.name)?.median(resident)?;
        let per_session = (now - one).max(0.0) / f64::from(point.saturating_sub(1).max(1));
        Some(format!("{} ({})", plain(per_session), number::bytes(now)))
    });
    format!(
        "#### Memory\n\nResident bytes of the server for each idle session: connected and silent / after one echo.\n\n{picture}\
         {idle}For each active session, all of them with a message of 64 B under way: what is resident more than with one \
         session, for each session, and in all.\n\n{active}"
    )
}

#[cfg(test)]
mod tests {
    use super::super::machine::Machine;
    use super::super::noise::Noise;
    use super::super::results::{Outcome, Sample};
    use super::super::rounds;
    use super::*;

    fn results() -> Results {
        let program = Path::new("/x/overlapped");
        let jobs = jobs(false, &servers::ours(program), &servers::ours_with_two_workers(program));
        let mut results =
            rounds::results(Machine::this(), "cargo xtask bench --growth".to_owned(), jobs.clone());
        for job in &jobs {
            for server in &job.servers {
                let sessions = f64::from(job.workload.connections);
                let figures = Figures {
                    cpu_ns: Some(4000.0 + sessions / 10.0 + f64::from(job.workload.size)),
                    per_second: Some(1e5),
                    resident_bytes: Some(4e6 + sessions * 500.0),
                    silent_bytes: Some(330.0),
                    idle_bytes: Some(584.0),
                    ..Figures::default()
                };
                let failed = server.name == servers::READINESS && job.workload.key == "sizes-1048576";
                let outcome = match failed {
                    true => Outcome::Failed("7 errors".to_owned()),
                    false => Outcome::Measured(Box::new(figures)),
                };
                let (workload, server) = (job.workload.key.clone(), server.name.clone());
                results.samples.push(Sample {
                    workload,
                    server,
                    round: 0,
                    outcome,
                    noise: Noise::default(),
                    repeated: 0,
                });
            }
        }
        results
    }

    #[test]
    fn every_sweep_is_on_the_page() {
        let results = results();
        let text = markdown(&results, "a-b");
        for wanted in [
            "| 15,000 | 5,564 [5,564] | 5,564 [5,564] | 2 |",
            "| 30 KiB | 34,725 [34,725] |",
            "| 1 MiB | 1,052,581 [1,052,581] | failed | 1; 1 failed |",
            "1 MiB size, overlapped, readiness: 7 errors.",
            "| overlapped, io_uring, 2 workers | 100,000 | 4,069 |",
            "| 10,000 | 330 / 584 | 330 / 584 |",
            "| 10,000 | 500 (8.58 MiB) |",
            "(benchmarks/a-b-sessions.svg)",
            "(benchmarks/a-b-clients.svg)",
        ] {
            assert!(text.contains(wanted), "`{wanted}` is not in:\n{text}");
        }
        let charts = draw(&results);
        assert_eq!(charts.len(), 4);
        assert!(charts.iter().all(|(_, svg)| svg.contains("overlapped, readiness")));
    }

    #[test]
    fn quick_measures_fewer_points() {
        let (all, some) = (jobs(false, &[], &[]), jobs(true, &[], &[]));
        assert!(some.len() < all.len() && some.iter().all(|job| job.rounds <= 2));
        assert!(all.iter().any(|job| job.workload.key == "sessions-15000"));
    }
}
