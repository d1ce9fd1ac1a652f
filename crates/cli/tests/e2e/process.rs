//! A child process: read line by line, ended in bounded time, killed when a test fails.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use overlapped_testing::spawned;

use crate::peer::PATIENCE;

#[cfg(unix)]
pub(crate) const WINE: &str = "wine";

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

/// Runs a command to its end, with `input` on stdin.
pub(crate) fn run(command: Command, input: &[u8]) -> Ended {
    let mut process = Process::start(command, Keep::All);
    process.feed(input.to_vec());
    process.wait()
}

/// Gives the signals that these tests send their default action in every process started from here on. The process that
/// runs the tests may have been started with some of them ignored (`nohup`, a service), and children inherit that. A
/// signal that is caught here has its default action in a child (POSIX, `exec`).
#[cfg(unix)]
pub(crate) fn with_default_signals() {
    use signal_hook::consts::{
        SIGABRT, SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN,
        SIGTTOU, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
    };
    const SENT: [i32; 17] = [
        SIGABRT, SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN,
        SIGTTOU, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
    ];
    use std::sync::{Arc, Once, atomic::AtomicBool};
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in SENT {
            if proactor::os::ignores_signal(signal) {
                let caught = Arc::new(AtomicBool::new(false));
                signal_hook::flag::register(signal, caught).expect("a signal that can be caught");
            }
        }
    });
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

/// What is removed from the lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removed {
    Nothing,
    /// Time stamps: most tests are about what comes after them.
    Stamps,
    /// Warnings about slow callbacks, too. `serve -v` has them where its process is not scheduled for a moment.
    StampsAndSlowCallbacks,
}

impl Removed {
    fn of(command: &Command) -> Removed {
        let is_verbose = command.get_args().any(|arg| arg == "-v");
        if is_verbose { Removed::StampsAndSlowCallbacks } else { Removed::Stamps }
    }
}

/// The length of the time stamp that a line begins with, and of the space after it: `2026-01-31T23:59:59.999Z `. 0 if there
/// is none.
pub(crate) fn stamp_len(line: &[u8]) -> usize {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00.000Z ";
    let fits = |(byte, shape): (&u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    if line.len() >= SHAPE.len() && line.iter().zip(SHAPE).all(fits) { SHAPE.len() } else { 0 }
}

/// Whether a line says that a callback took long, as text or as JSON.
fn is_slow_callback(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    line.contains(" ms; all sessions of worker ") && (line.starts_with("warning: ") || line.starts_with('{'))
}

/// A child process. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Whether it is a program for Windows: there, a request to end is Ctrl-C, which Wine makes of SIGINT.
    #[cfg(unix)]
    pub(crate) wine: bool,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

impl Process {
    pub(crate) fn start(command: Command, keep: Keep) -> Process {
        Process::start_into(command, keep, Stdio::piped(), Stdio::piped())
    }

    /// The same, with the time stamps of its lines left in their place.
    pub(crate) fn start_raw(mut command: Command, keep: Keep) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process::start_as_it_is(command, keep, Removed::Nothing)
    }

    /// With the stdin that the command has.
    pub(crate) fn start_given(mut command: Command) -> Process {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let removed = Removed::of(&command);
        Process::start_as_it_is(command, Keep::All, removed)
    }

    /// With such a stdout and stderr. Only pipes of its own are read.
    pub(crate) fn start_into(
        mut command: Command,
        keep: Keep,
        out: impl Into<Stdio>,
        err: impl Into<Stdio>,
    ) -> Process {
        command.stdin(Stdio::piped()).stdout(out).stderr(err);
        let removed = Removed::of(&command);
        Process::start_as_it_is(command, keep, removed)
    }

    fn start_as_it_is(mut command: Command, keep: Keep, removed: Removed) -> Process {
        #[cfg(unix)]
        with_default_signals();
        let mut child = spawned(&mut command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout =
            child.stdout.take().map_or_else(Output::nothing, |pipe| Output::read(pipe, keep, removed));
        let stderr =
            child.stderr.take().map_or_else(Output::nothing, |pipe| Output::read(pipe, Keep::All, removed));
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
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
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
    pub(crate) fn wait_for_all(&mut self) -> Ended {
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
    fn read(pipe: impl Read + Send + 'static, keep: Keep, removed: Removed) -> Output {
        let (tell, lines) = channel();
        let most = match keep {
            Keep::All => usize::MAX,
            Keep::FirstLine => 1,
            Keep::Nothing => 0,
        };
        if most > 0 {
            thread::spawn(move || {
                let mut pipe = BufReader::new(pipe);
                let mut sent = 0;
                while sent < most {
                    let mut line = Vec::new();
                    if pipe.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if removed != Removed::Nothing {
                        line.drain(..stamp_len(&line));
                    }
                    if removed == Removed::StampsAndSlowCallbacks && is_slow_callback(&line) {
                        continue;
                    }
                    sent += 1;
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
