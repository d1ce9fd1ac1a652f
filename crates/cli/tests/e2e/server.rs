//! The binary's commands, and a server of it on a free port.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::Command;

#[cfg(target_os = "linux")]
use crate::peer::{dial, eventually, exchange, noise};
#[cfg(target_os = "linux")]
use crate::process::WINE;
use crate::process::{Ended, Keep, Process};
#[cfg(target_os = "linux")]
use crate::system;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_overlapped");

/// The binary with these arguments.
pub(crate) fn binary<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args);
    command
}

/// The program for Windows, run by Wine.
#[cfg(target_os = "linux")]
pub(crate) fn windows_binary() -> Command {
    const PROGRAM: &str = "OVERLAPPED_TEST_WINDOWS_PROGRAM";
    let program =
        std::env::var_os(PROGRAM).unwrap_or_else(|| panic!("{PROGRAM} names no program for Windows"));
    let mut command = Command::new(WINE);
    command.arg(program);
    command
}

/// `overlapped serve` through `backend`.
pub(crate) fn serve_on(backend: &str, args: &[&str]) -> Command {
    let mut command = match backend {
        #[cfg(target_os = "linux")]
        "iocp" => windows_binary(),
        _ => Command::new(BINARY),
    };
    command.args(["serve", "--backend", backend]).args(args);
    command
}

/// The same on a free port of IPv4 loopback.
pub(crate) fn serve(backend: &str, args: &[&str]) -> Command {
    serve_on(backend, &[&["--bind", "127.0.0.1:0"], args].concat())
}

/// The same command, run by a shell after `script`: `ulimit -n 16`, say.
#[cfg(unix)]
pub(crate) fn after(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{script}; exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// A server that accepts. Killed when dropped.
pub(crate) struct Server {
    process: Process,
    pub(crate) addresses: Vec<SocketAddr>,
    /// From the first line: `io_uring`, `readiness`, `iocp`.
    pub(crate) backend: String,
    pub(crate) workers: usize,
}

impl Server {
    /// One on a free port, through `backend`.
    pub(crate) fn start(backend: &str, args: &[&str]) -> Server {
        Server::launch(serve(backend, args)).unwrap_or_else(|ended| panic!("no server: {ended:?}"))
    }

    /// Runs a command that ends up as a server on one address.
    pub(crate) fn launch(command: Command) -> Result<Server, Ended> {
        Server::launch_on(command, 1)
    }

    /// Runs a command that becomes a server on this number of addresses. Returns what it left behind, if it ended instead.
    pub(crate) fn launch_on(command: Command, addresses: usize) -> Result<Server, Ended> {
        let mut server = Server {
            process: Process::start(command, Keep::All),
            addresses: Vec::new(),
            backend: String::new(),
            workers: 0,
        };
        while server.addresses.len() < addresses {
            let Some(line) = server.process.stdout.line() else { return Err(server.process.wait()) };
            server.understand(&line);
        }
        Ok(server)
    }

    /// Runs a command that has a stdin of its own and becomes a server.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_given(command: Command) -> Server {
        let process = Process::start_given(command);
        let line = process.stdout.line().expect("a first line");
        Server::of(process, &line)
    }

    /// Starts one whose stdout loses its reader right after the first line.
    pub(crate) fn start_unread(backend: &str, args: &[&str]) -> Server {
        let process = Process::start(serve(backend, args), Keep::FirstLine);
        let line = process.stdout.line().expect("a first line");
        let server = Server::of(process, &line);
        assert_eq!(server.process.stdout.line(), None, "the reader is gone");
        server
    }

    /// A process that printed such a first line.
    pub(crate) fn of(process: Process, first_line: &str) -> Server {
        let mut server = Server { process, addresses: Vec::new(), backend: String::new(), workers: 0 };
        server.understand(first_line);
        server
    }

    /// `listening on 127.0.0.1:9999 (io_uring, 2 workers)`. Lines before the first such line are not the server's:
    /// a wrapper may say something.
    fn understand(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("listening on ") else {
            assert!(self.addresses.is_empty(), "only addresses come first: {line:?}");
            return;
        };
        let (address, how) = rest.split_once(" (").expect("an address and how it is served");
        let (backend, workers) = how.trim_end_matches(')').split_once(", ").expect("a backend and workers");
        let (workers, noun) = workers.split_once(' ').expect("a number and a noun");
        self.addresses.push(address.parse().expect("an address"));
        self.backend = backend.to_owned();
        self.workers = workers.parse().expect("a number");
        assert_eq!(noun, if self.workers == 1 { "worker" } else { "workers" });
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The next line on stdout; `None` at its end.
    pub(crate) fn line(&self) -> Option<String> {
        self.process.stdout.line()
    }

    /// The next line on stderr; `None` at its end.
    pub(crate) fn error_line(&self) -> Option<String> {
        self.process.stderr.line()
    }

    /// SIGTERM.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        self.process.terminate();
    }

    /// SIGINT.
    #[cfg(unix)]
    pub(crate) fn interrupt(&self) {
        self.process.signal(rustix::process::Signal::INT);
    }

    /// Any signal.
    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        self.process.signal(signal);
    }

    /// SIGUSR1, and what it answers.
    #[cfg(unix)]
    pub(crate) fn now(&self) -> Now {
        self.process.signal(rustix::process::Signal::USR1);
        Now::of(&self.error_line().expect("an answer"))
    }

    /// The same, where there is such a signal: not for Windows.
    #[cfg(unix)]
    pub(crate) fn counters(&self) -> Option<Now> {
        (!self.process.wine).then(|| self.now())
    }

    /// What it has open; under Wine, what Wine's server has open for it too.
    #[cfg(target_os = "linux")]
    pub(crate) fn descriptors(&self) -> usize {
        let of_wine = if self.process.wine { system::wine_server() } else { None };
        system::descriptors(self.pid()) + of_wine.map_or(0, system::descriptors)
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(mut self) -> Ended {
        self.process.wait()
    }

    /// The same, with what it said as a drain began.
    pub(crate) fn wait_for_all(mut self) -> Ended {
        self.process.wait_for_all()
    }

    /// SIGTERM, and what it leaves behind.
    #[cfg(unix)]
    pub(crate) fn end(self) -> Ended {
        self.terminate();
        self.wait()
    }

    /// Ends it and asserts that it ended as it should when nothing was cut.
    #[cfg(unix)]
    pub(crate) fn end_well(self) -> Summary {
        let ended = self.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let summary = Summary::of(&ended);
        assert_eq!((summary.cut, summary.lost), (0, 0), "{ended:?}");
        summary
    }
}

/// The last line of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) sessions: u64,
    pub(crate) bytes: u64,
    pub(crate) drained: u64,
    pub(crate) cut: u64,
    pub(crate) lost: u64,
}

impl Summary {
    /// `served 3 sessions, echoed 1.2 KiB (1234 bytes); drained 3, cut 0, lost 0 bytes`
    pub(crate) fn of(ended: &Ended) -> Summary {
        let text = ended.text();
        let line = text.lines().last().unwrap_or_else(|| panic!("no summary: {ended:?}"));
        let number_before = |marker: &str| -> u64 {
            let end = line.find(marker).unwrap_or_else(|| panic!("no {marker:?} in {ended:?}"));
            let digits = line[..end].rsplit(|c: char| !c.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no number: {line:?}"))
        };
        Summary {
            sessions: number_before(" session"),
            bytes: number_before(" byte"),
            drained: number_before(", cut "),
            cut: number_before(", lost "),
            lost: line
                .rsplit_once("lost ")
                .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
                .unwrap_or_else(|| panic!("no lost bytes: {line:?}")),
        }
    }
}

/// What a server says when it is asked how things stand.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) sessions: u64,
    pub(crate) in_flight: u64,
    pub(crate) blocks_in_use: u64,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) rejected: u64,
    pub(crate) echoed: u64,
}

#[cfg(unix)]
impl Now {
    /// `now: sessions 3, in flight 5, blocks in use 2, opened 17, closed 14, rejected 0, bytes echoed 1234`
    fn of(line: &str) -> Now {
        let fields = line.strip_prefix("now: ").unwrap_or_else(|| panic!("it says something else: {line:?}"));
        let mut now = Now::default();
        for field in fields.split(", ") {
            let (name, number) = field.rsplit_once(' ').expect("a name and a number");
            let place = match name {
                "sessions" => &mut now.sessions,
                "in flight" => &mut now.in_flight,
                "blocks in use" => &mut now.blocks_in_use,
                "opened" => &mut now.opened,
                "closed" => &mut now.closed,
                "rejected" => &mut now.rejected,
                "bytes echoed" => &mut now.echoed,
                _ => panic!("an unknown name in {line:?}"),
            };
            *place = number.parse().expect("a number");
        }
        now
    }
}

/// For a server that cannot say where it listens: ten sessions at the port that the system knows, then its end.
#[cfg(target_os = "linux")]
pub(crate) fn serves_ten_and_ends(mut process: Process) -> Ended {
    let mut port = None;
    eventually("it listens", || {
        port = system::port_of(process.pid());
        port.is_some()
    });
    for number in 0..10 {
        exchange(&mut dial(([127, 0, 0, 1], port.expect("just seen")).into()), noise(number, 10_000));
    }
    process.terminate();
    process.wait()
}
