//! What operators run beside a server, as they run it: Prometheus, `promtool`, systemd's programs, HAProxy and a browser, with
//! the files of `deploy/`. A failure names the command and what it printed; nothing is skipped.

mod browser;
mod cluster;
mod manifests;
mod page;
mod prometheus;
mod rolling;
mod server;
mod systemd;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bounded::{self, Failure};
use crate::{packages, place};

const BUILD: Duration = Duration::from_secs(1800);
/// How long something that is bound to come is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Debian's package of each program that is run; first those of the short form.
const PROGRAMS: [(&str, &str); 10] = [
    ("promtool", "prometheus"),
    ("prometheus", "prometheus"),
    ("systemd-analyze", "systemd"),
    ("systemd-socket-activate", "systemd"),
    ("curl", "curl"),
    ("haproxy", "haproxy"),
    ("nats-server", "nats-server"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("virtualenv", "python3-virtualenv"),
];
const QUICK: usize = 5;
/// Restarts behind HAProxy unless told otherwise.
const RESTARTS: usize = 20;

/// The steps; first those of the short form.
static STEPS: [(&str, &str, Step); 6] = [
    ("prometheus", "Prometheus", |at| prometheus::check(&at.program, &at.place)),
    ("systemd", "systemd", |at| systemd::check(&at.program, &at.place)),
    ("manifests", "manifests", |at| manifests::check(&at.place)),
    ("page", "the live page", |at| page::check(&at.program, &at.place)),
    ("rolling", "rolling restarts behind HAProxy", |at| rolling::check(&at.program, &at.place, at.restarts)),
    ("cluster", "one chat over three processes", |at| cluster::check(&at.place)),
];
const QUICK_STEPS: usize = 2;

type Step = fn(&Given) -> Result<(), Failure>;

/// What a step has to work with.
struct Given {
    program: PathBuf,
    place: PathBuf,
    restarts: usize,
}

/// `words`: what follows `operations`.
pub(crate) fn run(words: &[&str]) -> Result<(), Failure> {
    let (mut install, mut quick, mut only, mut restarts) = (false, false, None, RESTARTS);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--install" => install = true,
            "--quick" => quick = true,
            "--only" => only = Some(*words.next().ok_or("--only needs the name of a step")?),
            "--restarts" => {
                let number = words.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0);
                restarts = number.ok_or("--restarts needs a number, at least 1")?;
            }
            _ => return Err(format!("`{word}` is unknown; `cargo xtask --help` lists what there is")),
        }
    }
    let steps = chosen(only, quick)?;
    let programs = if quick { &PROGRAMS[..QUICK] } else { &PROGRAMS[..] };
    packages::require("operations", programs, install)?;
    let began = Instant::now();
    let say = |what: &str| println!("== {what} ({} s)", began.elapsed().as_secs());
    say("build");
    let given = Given { program: program()?, place: place::target("operations"), restarts };
    std::fs::create_dir_all(&given.place).map_err(|error| format!("{}: {error}", given.place.display()))?;
    for (_, what, step) in steps {
        say(what);
        step(&given)?;
    }
    say("over");
    Ok(())
}

fn chosen(only: Option<&str>, quick: bool) -> Result<&'static [(&'static str, &'static str, Step)], Failure> {
    let Some(only) = only else { return Ok(if quick { &STEPS[..QUICK_STEPS] } else { &STEPS }) };
    let place = STEPS.iter().position(|(name, ..)| *name == only).ok_or_else(|| {
        format!("`{only}` is no step; the steps: {}", STEPS.map(|(name, ..)| name).join(", "))
    })?;
    Ok(&STEPS[place..=place])
}

/// The program, as it is released.
fn program() -> Result<PathBuf, Failure> {
    let mut build = place::cargo();
    build.args([
        "build",
        "--quiet",
        "--locked",
        "--release",
        "--package",
        "overlapped-cli",
        "--bin",
        "overlapped",
    ]);
    build.arg("--message-format=json-render-diagnostics");
    let (lines, _) = bounded::lines_of(&mut build, BUILD, |_| false)?;
    lines.iter().find_map(|line| place::program_in(line)).ok_or_else(|| "no program was built".to_owned())
}

/// A file of `deploy/`.
fn deployed(path: &str) -> PathBuf {
    place::workspace().join("deploy").join(path)
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Waits until `holds` returns something. What it returned last otherwise is in the failure.
fn eventually<T>(what: &str, mut holds: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match holds() {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() > deadline => return Err(format!("{what} did not happen: {last}")),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// A port of loopback that is free now.
fn free_port() -> Result<u16, Failure> {
    free_ports().map(|[port]| port)
}

/// Different ones: each is taken until all are known.
fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT], Failure> {
    let listener = || std::net::TcpListener::bind("127.0.0.1:0");
    let taken: std::io::Result<Vec<_>> = (0..COUNT).map(|_| listener()).collect();
    let ports = taken.and_then(|taken| {
        let port = |listener: &std::net::TcpListener| listener.local_addr().map(|address| address.port());
        taken.iter().map(port).collect::<std::io::Result<Vec<_>>>()
    });
    let ports = ports.map_err(|error| format!("no free port: {error}"))?;
    Ok(ports.try_into().expect("as many"))
}
