//! Up to 100,000 sessions, in a machine of qemu: there the limit of descriptors can be raised.
//!
//! Server and generator run in the machine. For each backend and number of sessions: the time until all are connected, the
//! memory of the server and of the kernel for each of them while they are idle, and the time of a drain. Emulation in
//! software makes everything slow, so that times mean nothing but in comparison: what grows faster than the number of
//! sessions shows.

mod figures;
mod script;

use std::path::Path;
use std::time::Duration;

use super::charts::{self, Curve};
use super::machine::Machine;
use super::options::Options;
use super::page;
use super::program;
use super::summary::Middle;
use super::table::{head, line, plain};
use crate::bounded::Failure;
use crate::kernels::image::Image;
use crate::kernels::machine;
use crate::kernels::needs;
use crate::place;
use figures::Run;

/// Debian's, which is that of Debian 13 too.
const KERNEL: &str = "6.12";
const BACKENDS: [&str; 2] = ["io_uring", "readiness"];
const SESSIONS: [u32; 3] = [25_000, 50_000, 100_000];
/// With `--quick`: to see that it works.
const QUICK: [u32; 1] = [5000];
const MEMORY_MIB: u32 = 8192;
const MACHINE: Duration = Duration::from_secs(3600);

pub(super) fn run(options: &Options, out: &Path) -> Result<(), Failure> {
    needs::require(options.install, "bench --guest")?;
    let place = place::target("kernels");
    std::fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let kernel = needs::kernel(KERNEL, &place)?;
    let program = program()?;
    let sessions = if options.quick { &QUICK[..] } else { &SESSIONS };
    let cases: Vec<(&str, u32)> =
        BACKENDS.iter().flat_map(|backend| sessions.iter().map(|count| (*backend, *count))).collect();
    let folder = place.join("bench");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let image = Image::make(&folder, &[&program], &script::init(&program, &cases))?;
    let log = out.join("guest.log");
    eprintln!("Linux {} starts; what it prints is in {}", kernel.version, log.display());
    let machine = machine::Machine { memory_mib: MEMORY_MIB, limit: MACHINE };
    let (console, hung) = machine.boot(&kernel, &image, &log)?;
    let runs = figures::runs_in(&console);
    let host = Machine::this();
    let markdown = markdown(&runs, &host, &kernel.version, &options.command());
    println!("{markdown}");
    super::write(&out.join("guest.md"), &markdown)?;
    let json = serde_json::to_string_pretty(&runs).map_err(|error| error.to_string())?;
    super::write(&out.join("guest.json"), &(json + "\n"))?;
    if let Some(why) = hung {
        return Err(format!("{why}; {}", log.display()));
    }
    if let Some(failure) = missing(&runs, &cases) {
        return Err(format!("{failure}; all that the machine printed is in {}", log.display()));
    }
    if options.is_whole() {
        let pictures = place::workspace().join(page::PICTURES);
        std::fs::create_dir_all(&pictures).map_err(|error| format!("{}: {error}", pictures.display()))?;
        super::write(&pictures.join(format!("{}-guest.svg", slug(&host))), &charts::guest(curves(&runs)))?;
        page::write(&place::workspace(), "guest", &host.processor_in_full(), &markdown)?;
        println!("written to {}", page::PAGE);
    }
    Ok(())
}

/// What was not measured, or not as it must be.
fn missing(runs: &[Run], cases: &[(&str, u32)]) -> Option<Failure> {
    let failed = cases.iter().find_map(|(backend, sessions)| {
        let run = runs.iter().find(|run| run.backend == *backend && run.sessions == *sessions);
        match run {
            None => Some(format!("{backend} with {sessions} sessions gave no figures")),
            Some(run) => run.failure(),
        }
    });
    failed.or_else(|| runs.is_empty().then(|| "nothing was measured".to_owned()))
}

fn slug(host: &Machine) -> String {
    page::slug(&host.processor_in_full())
}

fn markdown(runs: &[Run], host: &Machine, kernel: &str, command: &str) -> String {
    let mut lines = vec![head(&[
        "backend",
        "sessions",
        "connected after",
        "per session",
        "server, per session",
        "kernel, per session",
        "drain",
        "per session",
        "result of the drain",
    ])];
    for run in runs {
        let micros = |seconds: f64| format!("{:.0} µs", seconds * 1e6 / f64::from(run.sessions));
        let bytes = |bytes: f64| format!("{} B", plain(bytes));
        lines.push(line([
            run.backend.clone(),
            plain(f64::from(run.sessions)),
            format!("{:.1} s", run.connect_seconds),
            micros(run.connect_seconds),
            bytes(run.server_bytes_per_session()),
            bytes(run.kernel_bytes_per_session()),
            format!("{:.1} s", run.drain_seconds),
            micros(run.drain_seconds),
            run.failure().unwrap_or_else(|| run.summary.clone()),
        ]));
    }
    format!(
        "### Linux {kernel} in qemu, on {}\n\n{}: `{command}`, on {}; the machine has 2 processors, emulated in software, and \
         {} GiB.\n\n![Time per session over the number of sessions](benchmarks/{}-guest.svg)\n\n{}\n",
        host.processor_in_full(),
        host.date,
        host.described(),
        MEMORY_MIB / 1024,
        slug(host),
        lines.join("\n")
    )
}

/// Two for each backend.
fn curves(runs: &[Run]) -> Vec<Curve> {
    let curve = |backend: &str, what: &str, seconds: fn(&Run) -> f64| {
        let of_backend = runs.iter().filter(|run| run.backend == backend);
        let point = |run: &Run| {
            let ns = seconds(run) * 1e9 / f64::from(run.sessions);
            (f64::from(run.sessions), Middle { median: ns, low: ns, high: ns, least: ns, most: ns })
        };
        Curve { name: format!("{what}, {backend}"), points: of_backend.map(point).collect() }
    };
    let of_backend = |backend: &&str| {
        [
            curve(backend, "connect", |run| run.connect_seconds),
            curve(backend, "drain", |run| run.drain_seconds),
        ]
    };
    BACKENDS.iter().flat_map(of_backend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_reported_with_what_it_lacks() {
        let runs = figures::runs_in(figures::tests::CONSOLE);
        let host =
            Machine { kernel: "Linux 6.18.1".to_owned(), date: "2026-11-26".to_owned(), ..Machine::this() };
        let text = markdown(&runs, &host, "6.12.1", "cargo xtask bench --guest");
        assert!(
            text.contains(
                "| io_uring | 25,000 | 12.5 s | 500 µs | 400 B | 8,000 B | 5.0 s | 200 µs | served"
            ),
            "{text}"
        );
        assert!(text.contains("-guest.svg)"));
        assert_eq!(curves(&runs).len(), 4);
        let cases = [("io_uring", 25_000), ("readiness", 25_000)];
        let failure = missing(&runs, &cases).unwrap();
        assert_eq!(failure, "readiness with 25000 sessions gave no figures");
        assert_eq!(missing(&runs, &cases[..1]), None);
    }
}
