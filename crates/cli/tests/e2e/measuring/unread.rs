//! A terminal for stderr that takes nothing: a run ends at its time, with everything that it was asked for.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use overlapped_testing::{FaultyServer, eventually};
use rustix::process::Signal;
use rustix::termios::{Action, tcflow};

use super::load;
use crate::person::terminal;
use crate::process::{Keep, Process};

/// What belongs to one run.
struct Unread {
    server: FaultyServer,
    /// The end that is not read.
    _screen: File,
    terminal: OwnedFd,
    json: PathBuf,
}

impl Unread {
    /// Its output is suspended, as by Ctrl-S: the first byte waits already.
    fn new(name: &str) -> Unread {
        let (screen, terminal) = terminal();
        tcflow(&terminal, Action::OOff).unwrap();
        let json = std::env::temp_dir().join(format!("overlapped-unread-{name}-{}.json", std::process::id()));
        let _ = std::fs::remove_file(&json);
        Unread { server: FaultyServer::correct(), _screen: screen, terminal, json }
    }

    fn stdio(&self) -> Stdio {
        self.terminal.try_clone().unwrap().into()
    }

    fn command(&self, args: &[&str]) -> Command {
        let own = ["--connections", "2", "--warmup", "0s", "--json", self.json.to_str().unwrap()];
        let mut command = load("auto", self.server.address(), &[&own[..], args].concat());
        // A shell with job control starts it in a group of its own.
        command.env("TERM", "xterm").process_group(0);
        command
    }

    /// With its table in a pipe that is read.
    fn start(&self, args: &[&str]) -> Process {
        Process::start_into(self.command(args), Keep::All, Stdio::piped(), self.stdio())
    }

    fn is_served(&self) {
        eventually("it is served", || self.server.echoed() > 64 * 20);
    }

    #[track_caller]
    fn has_results(&self, mut run: Process, status: i32) {
        let ended = run.wait();
        assert_eq!(ended.status, Some(status), "{ended:?}");
        assert!(ended.text().contains("messages/s"), "a table: {ended:?}");
        let report: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&self.json).unwrap()).expect("whole");
        assert!(report["messages"].as_u64().is_some_and(|messages| messages > 0), "{report:#}");
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.json);
    }
}

#[test]
fn a_run_ends_at_its_time() {
    let terminal = Unread::new("time");
    let start = Instant::now();
    let run = terminal.start(&["--rate", "1000", "--duration", "1s"]);
    terminal.has_results(run, 0);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

/// Also when there is an error to say.
#[test]
fn a_verdict_is_not_waited_for() {
    let terminal = Unread::new("verdict");
    let run = terminal.start(&["--duration", "1s", "--assert", "messages<0"]);
    terminal.has_results(run, 1);
}

/// Each of its runs has a progress of its own, and each rate is a line.
#[test]
fn a_search_ends() {
    let terminal = Unread::new("search");
    let run = terminal.start(&["--duration", "500ms", "--find-rate", "p99<1ns"]);
    terminal.has_results(run, 1);
}

#[test]
fn a_signal_ends_a_run_early() {
    for signal in [Signal::INT, Signal::TERM] {
        let terminal = Unread::new(&format!("signal-{}", signal.as_raw()));
        let run = terminal.start(&["--duration", "1h"]);
        terminal.is_served();
        run.signal(signal);
        terminal.has_results(run, 0);
    }
}

/// The table is to go there as well, and so waits as long as the terminal does.
#[test]
fn a_second_signal_ends_it_in_any_case() {
    let terminal = Unread::new("second");
    let command = terminal.command(&["--duration", "1h"]);
    let mut run = Process::start_into(command, Keep::Nothing, terminal.stdio(), terminal.stdio());
    terminal.is_served();
    run.signal(Signal::INT);
    // The time between the two makes them two. When the first one is handled cannot be read here.
    std::thread::sleep(Duration::from_secs(3));
    run.signal(Signal::INT);
    assert_eq!(run.wait().status, Some(1));
}
