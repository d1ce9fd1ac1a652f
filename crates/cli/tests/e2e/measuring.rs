//! `overlapped load`: what it reports is what its server has done.
//!
//! The servers are correct, or make chosen mistakes and record them (`FaultyServer`). Cases that depend on what a backend
//! does run once per backend of the generator; they are in the table of `main.rs`. The others run on one.

pub(crate) mod behaving;
pub(crate) mod broken;
pub(crate) mod bytes;
mod comparing;
#[cfg(unix)]
pub(crate) mod ending;
pub(crate) mod extremes;
pub(crate) mod late;
#[cfg(target_os = "linux")]
pub(crate) mod limits;
#[cfg(target_os = "linux")]
mod unread;
mod usage;

use std::fmt;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;

use overlapped_testing::{Difference, Fault, FaultyServer, Place, Record, eventually_within, under_wine};
use serde_json::Value;

use crate::peer::PATIENCE;
use crate::process::{Ended, Keep, Process, run};
use crate::server::BINARY;

/// `overlapped load` through `backend`.
pub(crate) fn load(backend: &str, address: SocketAddr, args: &[&str]) -> Command {
    let mut command = match backend {
        #[cfg(target_os = "linux")]
        "iocp" => crate::server::windows_binary(),
        _ => Command::new(BINARY),
    };
    command.args(["load", &address.to_string(), "--backend", backend]).args(args);
    command
}

/// What a run has reported.
pub(crate) struct Report {
    pub(crate) status: Option<i32>,
    pub(crate) json: Value,
    pub(crate) stderr: String,
}

/// Runs it to its end; the report is its stdout.
pub(crate) fn measure(backend: &str, address: SocketAddr, args: &[&str]) -> Report {
    Report::of(run(load(backend, address, &[args, &["--json", "-"]].concat()), b""))
}

/// A run without a warm-up that is ended by Ctrl-C once `is_enough`, so that it lasts as long as it takes on this machine.
/// Windows has no such signal: there it lasts some seconds.
pub(crate) fn measure_until(
    backend: &str,
    address: SocketAddr,
    args: &[&str],
    is_enough: impl Fn() -> bool,
) -> Report {
    let mut run = Run::start(backend, address, args);
    if cfg!(unix) {
        // Wine takes several times as long.
        let patience = if backend == "iocp" { 3 * PATIENCE } else { PATIENCE };
        eventually_within(patience, "it is enough", is_enough);
    }
    run.end()
}

/// A run that goes on while the test does.
pub(crate) struct Run(Process);

impl Run {
    pub(crate) fn start(backend: &str, address: SocketAddr, args: &[&str]) -> Run {
        // Under Wine, seconds pass until connections have had the messages after which they are opened again.
        let duration = match args.contains(&"--behave") {
            _ if cfg!(unix) => "10m",
            true => "8s",
            false => "2s",
        };
        let args = [args, &["--duration", duration, "--warmup", "0s", "--json", "-"]].concat();
        Run(Process::start(load(backend, address, &args), Keep::All))
    }

    /// Ends it by Ctrl-C, where there is that.
    pub(crate) fn end(&mut self) -> Report {
        #[cfg(unix)]
        self.0.signal(rustix::process::Signal::INT);
        Report::of(self.0.wait_for_all())
    }
}

impl fmt::Debug for Report {
    /// Without the long lists.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut json = self.json.clone();
        if let Value::Object(object) = &mut json {
            object.retain(|key, _| !["intervals", "percentiles", "system"].contains(&key.as_str()));
        }
        write!(f, "status {:?}, {json}, stderr {:?}", self.status, self.stderr)
    }
}

impl Report {
    /// What was written to stdout by a run with `--json -`.
    pub(crate) fn of(ended: Ended) -> Report {
        let json = serde_json::from_slice(&ended.stdout)
            .unwrap_or_else(|error| panic!("no JSON: {error}: {ended:?}"));
        for never in ["panicked", "backtrace", ".rs:"] {
            assert!(!ended.stderr.contains(never), "{ended:?}");
        }
        Report { status: ended.status, json, stderr: ended.stderr }
    }

    /// A number in it: `errors`, `connections/reset`.
    #[track_caller]
    pub(crate) fn number(&self, key: &str) -> f64 {
        let value = self.json.pointer(&format!("/{key}"));
        value.and_then(Value::as_f64).unwrap_or_else(|| panic!("no number {key} in {self:?}"))
    }

    #[track_caller]
    pub(crate) fn count(&self, key: &str) -> u64 {
        let value = self.json.pointer(&format!("/{key}"));
        value.and_then(Value::as_u64).unwrap_or_else(|| panic!("no count {key} in {self:?}"))
    }

    #[track_caller]
    pub(crate) fn list(&self, key: &str) -> &[Value] {
        self.json[key].as_array().unwrap_or_else(|| panic!("no list {key} in {self:?}"))
    }

    pub(crate) fn errors(&self) -> Errors {
        Errors {
            failed: self.count("connections/failed"),
            reset: self.count("connections/reset"),
            timeouts: self.count("timeouts"),
            mismatches: self.count("mismatches"),
        }
    }

    /// Asserts that the server reset this many connections, and that there were no other errors.
    #[track_caller]
    pub(crate) fn has_resets(&self, count: u64) {
        let Errors { reset, mismatches, .. } = self.errors();
        // Wine sometimes tells the end of the stream in place of a reset: then the rest of a message is missing. The run was
        // under Wine if the whole test is, or if its program is the one for Windows.
        let is_wine = under_wine() || self.json["config"]["backend"] == "iocp";
        let are_ends = if is_wine { mismatches.min(count) } else { 0 };
        assert_eq!(reset + are_ends, count, "{self:?}");
        self.has(Errors { reset, mismatches: are_ends, ..Errors::default() });
    }

    /// Asserts that there were these errors, that their sum is right, and the exit status.
    #[track_caller]
    pub(crate) fn has(&self, errors: Errors) {
        assert_eq!(self.errors(), errors, "{self:?}");
        let sum = errors.failed + errors.reset + errors.timeouts + errors.mismatches;
        assert_eq!((self.count("errors"), self.status), (sum, Some(i32::from(sum > 0))), "{self:?}");
    }

    /// Asserts that nothing was wrong.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        self.has(Errors::default());
        assert!(self.count("messages") > 0, "{self:?}");
        assert_eq!(self.list("first_mismatches").len(), 0, "{self:?}");
    }

    /// Whether the generator seldom waited for a processor: if it did, what it measured is this machine, not the server.
    pub(crate) fn is_of_a_quiet_machine(&self) -> bool {
        let waited = self.json.pointer("/generator/waited_for_processor_ns").and_then(Value::as_f64);
        waited.is_some_and(|waited| waited < 0.05e9 * self.number("duration_seconds"))
    }

    /// Asserts that the first mismatches are among those that the server has caused.
    #[track_caller]
    pub(crate) fn confirmed_by(&self, record: &Record) {
        let told = self.list("first_mismatches");
        assert_eq!(told.len(), record.differences.len().min(8), "{self:?} {record:?}");
        for mismatch in told {
            let byte = |key: &str| mismatch[key].as_u64().map(|byte| byte as u8);
            let offset = mismatch["offset"].as_u64().expect("an offset");
            let (expected, got) = (byte("expected"), byte("got"));
            let connections = self.count("config/connections");
            assert!(mismatch["connection"].as_u64().is_some_and(|number| number < connections), "{self:?}");
            // The server compares with what it has received. The client may have sent more.
            let same = |known: &&Difference| match known.expected {
                Some(_) => (known.offset, known.expected, known.got) == (offset, expected, got),
                None => known.offset <= offset,
            };
            assert!(record.differences.iter().any(|known| same(&known)), "{mismatch}: {record:?}");
        }
    }
}

/// The kinds of errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Errors {
    pub(crate) failed: u64,
    pub(crate) reset: u64,
    pub(crate) timeouts: u64,
    pub(crate) mismatches: u64,
}

/// A load: how fast, what, and how much at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// `None`: a closed loop.
    pub(crate) rate: Option<u32>,
    pub(crate) size: u64,
    pub(crate) pipeline: u64,
}

const fn shape(rate: Option<u32>, size: u64, pipeline: u64) -> Shape {
    Shape { rate, size, pipeline }
}

/// Each rate with each size or its neighbour, alone and in a pipeline. The first two are those that run under Wine.
const SHAPES: [Shape; 8] = [
    shape(None, 64, 16),
    shape(Some(200), 16 << 10, 1),
    shape(None, 1, 1),
    shape(Some(200), 1, 4),
    shape(Some(200), 200_000, 4),
    shape(Some(20_000), 64, 1),
    shape(Some(5_000), 16 << 10, 16),
    shape(None, 200_000, 4),
];

/// Runs at the same time: they mostly wait, but more of them would be late because of each other.
const AT_ONCE: usize = 4;

/// How many connections a run of [`in_each_shape`] has.
const CONNECTIONS: u64 = 4;

/// How many of them the rules should be about.
const BAD: u64 = 2;

/// One run of each shape against servers with such rules, until the server says that it is enough.
fn in_each_shape(
    backend: &str,
    args: &[&str],
    rules: impl Fn(Shape) -> Vec<(Place, Fault)> + Sync,
    is_enough: impl Fn(Shape, &FaultyServer) -> bool + Sync,
    judge: impl Fn(Shape, &Report, &Record) + Sync,
) {
    let shapes = if cfg!(windows) || backend == "iocp" { &SHAPES[..2] } else { &SHAPES };
    in_shapes(shapes, backend, args, rules, is_enough, judge);
}

/// The same with some shapes.
fn in_shapes(
    shapes: &[Shape],
    backend: &str,
    args: &[&str],
    rules: impl Fn(Shape) -> Vec<(Place, Fault)> + Sync,
    is_enough: impl Fn(Shape, &FaultyServer) -> bool + Sync,
    judge: impl Fn(Shape, &Report, &Record) + Sync,
) {
    for some in shapes.chunks(AT_ONCE) {
        thread::scope(|scope| {
            for shape in some {
                let (rules, is_enough, judge) = (&rules, &is_enough, &judge);
                scope.spawn(move || {
                    let server = FaultyServer::start(&rules(*shape));
                    let all = [&shape.args()[..], args].concat();
                    let report =
                        measure_until(backend, server.address(), &all, || is_enough(*shape, &server));
                    let record = server.record();
                    eprintln!("{shape:?}: {:?}, {:?}", report.errors(), record.differences);
                    judge(*shape, &report, &record);
                });
            }
        });
    }
}

/// Enough: the bad connections are opened again.
fn opened_again(_: Shape, server: &FaultyServer) -> bool {
    server.record().accepted >= CONNECTIONS + BAD
}

/// Enough: the faults have happened, and messages go on.
fn goes_on(shape: Shape, server: &FaultyServer) -> bool {
    server.record().done.len() as u64 >= BAD && server.echoed() >= shape.message(30)
}

impl Shape {
    fn args(self) -> Vec<&'static str> {
        let leak = |number: u64| -> &'static str { number.to_string().leak() };
        let mut args = vec!["--connections", leak(CONNECTIONS), "--size", leak(self.size)];
        args.extend(["--pipeline", leak(self.pipeline)]);
        args.extend(self.rate.iter().flat_map(|rate| ["--rate", leak((*rate).into())]));
        args
    }

    /// Where its message with this number, counted from 0, begins in a connection's stream.
    fn message(self, number: u64) -> u64 {
        number * self.size
    }
}
