//! The binary as a child process: started on a free port, read line by line, ended in bounded time, killed when a
//! test fails.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::peer::PATIENCE;
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

#[cfg(unix)]
const WINE: &str = "wine";

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

/// What a process that ended leaves behind.
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    /// Its stdout as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.stdout[..self.stdout.len().min(4096)];
        let start = String::from_utf8_lossy(start);
        write!(f, "status {:?}, stdout {start:?}, stderr {:?}", self.status, self.stderr)
    }
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

    /// Runs a command that ends up as a server on so many addresses. What it left behind, if it ended instead.
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

/// Runs a command to its end, with `input` on stdin.
pub(crate) fn run(command: Command, input: &[u8]) -> Ended {
    let mut process = Process::start(command, Keep::All);
    process.feed(input.to_vec());
    process.wait()
}

/// How much of stdout is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    All,
    /// Then the pipe is closed.
    FirstLine,
    /// The pipe is closed at once.
    Nothing,
}

/// A child process. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Whether it is a program for Windows: there, a request to end is Ctrl-C, which Wine makes of SIGINT.
    #[cfg(unix)]
    wine: bool,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

impl Process {
    pub(crate) fn start(command: Command, keep: Keep) -> Process {
        Process::start_into(command, keep, Stdio::piped(), Stdio::piped())
    }

    /// With such a stdout and stderr. Only pipes of its own are read.
    pub(crate) fn start_into(
        mut command: Command,
        keep: Keep,
        out: impl Into<Stdio>,
        err: impl Into<Stdio>,
    ) -> Process {
        command.stdin(Stdio::piped()).stdout(out).stderr(err);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().map_or_else(Output::nothing, |pipe| Output::read(pipe, keep));
        let stderr = child.stderr.take().map_or_else(Output::nothing, |pipe| Output::read(pipe, Keep::All));
        Process {
            child,
            #[cfg(unix)]
            wine: command.get_program() == WINE,
            stdout,
            stderr,
        }
    }

    /// Writes to its stdin and closes it. From a thread: it may answer before it has read everything.
    pub(crate) fn feed(&mut self, input: Vec<u8>) {
        let mut stdin = self.child.stdin.take().expect("fed once");
        thread::spawn(move || {
            // It may end without having read all of it.
            let _ = stdin.write_all(&input);
        });
    }

    /// Its stdin, to write to as a test goes along.
    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("fed once")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, or Ctrl-C on Windows.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        use rustix::process::Signal;
        self.signal(if self.wine { Signal::INT } else { Signal::TERM });
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the child is there");
    }

    /// Waits until it has ended; fails the test if it does not. What a server says as a drain begins is taken out of its
    /// stderr.
    pub(crate) fn wait(&mut self) -> Ended {
        let mut ended = self.wait_for_all();
        let (notice, rest): (Vec<&str>, Vec<&str>) =
            ended.stderr.split_inclusive('\n').partition(|line| line.starts_with("draining, "));
        assert!(notice.len() <= 1, "said once: {ended:?}");
        ended.stderr = rest.concat();
        ended
    }

    /// The same, with all that it said.
    fn wait_for_all(&mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status;
            }
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                let (stdout, stderr) = (self.stdout.rest(), self.stderr.rest());
                panic!("it does not end: {:?}", Ended { status: None, stdout, stderr: lossy(&stderr) });
            }
            thread::sleep(Duration::from_millis(5));
        };
        let stderr = lossy(&self.stderr.rest());
        #[cfg(unix)]
        let stderr = if self.wine { without_wines_own(&stderr) } else { stderr };
        #[cfg(unix)]
        let status = if self.wine && killed_by_wine(status) { Some(0) } else { status.code() };
        #[cfg(not(unix))]
        let status = status.code();
        Ended { status, stdout: self.stdout.rest(), stderr }
    }
}

/// Wine kills a program now and then that ends while one of its threads ends, after its last word. (A C program of ten
/// lines, whose `main` returns as three threads do, was killed in 28 of 2,400 runs with Wine 8.0, ours in about one of
/// a thousand.) Nobody else kills what is waited for; a crash of the program is an exit status, not this signal.
#[cfg(unix)]
fn killed_by_wine(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let killed = status.signal() == Some(rustix::process::Signal::KILL.as_raw());
    if killed {
        let _ = std::io::stderr().write_all(b"known limit of Wine: a program was killed as it ended\n");
    }
    killed
}

/// Wine's server may end with the last program, and says then what that one left to it.
#[cfg(unix)]
fn without_wines_own(stderr: &str) -> String {
    stderr.split_inclusive('\n').filter(|line| !line.starts_with("0x")).collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One output of a process, read by a thread, so that waiting for a line is bounded.
pub(crate) struct Output {
    lines: Receiver<Vec<u8>>,
}

impl Output {
    fn read(pipe: impl Read + Send + 'static, keep: Keep) -> Output {
        let (tell, lines) = channel();
        let most = match keep {
            Keep::All => usize::MAX,
            Keep::FirstLine => 1,
            Keep::Nothing => 0,
        };
        if most > 0 {
            thread::spawn(move || {
                let mut pipe = BufReader::new(pipe);
                for _ in 0..most {
                    let mut line = Vec::new();
                    if pipe.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if tell.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Output { lines }
    }

    /// Of a stream that somebody else reads.
    fn nothing() -> Output {
        Output { lines: channel().1 }
    }

    /// The next line without its end; `None` at the end of the stream.
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(lossy(line.trim_ascii_end())),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line comes"),
        }
    }

    /// What is left, to the end of the stream.
    fn rest(&self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => bytes.extend(line),
                Err(RecvTimeoutError::Disconnected) => return bytes,
                Err(RecvTimeoutError::Timeout) => panic!("a pipe stays open after its process has ended"),
            }
        }
    }
}
