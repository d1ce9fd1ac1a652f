//! `overlapped client` as a job of a shell: stopped, continued in the background and in the foreground, and killed.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr, tcgetpgrp};

use crate::namespace::Namespace;
use crate::peer::eventually;
use crate::person::{Lines, Person};
use crate::server::{BINARY, binary};
use crate::system::is_stopped;

/// How often a client is killed in the moment in which it stops.
const ATTEMPTS: usize = 25;

/// False where there is no bash; then a line says so. Other shells print other words about jobs.
fn shell_is_here() -> bool {
    let here = Command::new("bash").arg("--version").output().is_ok();
    if !here {
        eprintln!("left out: there is no bash");
    }
    here
}

/// A person at the prompt of a shell.
fn at_a_prompt() -> Person {
    let mut command = Command::new("setsid");
    command.args(["--ctty", "bash", "--norc", "--noprofile", "-i"]);
    command.env("PS1", "$ ").env("HISTFILE", "/dev/null").env_remove("PROMPT_COMMAND");
    let mut person = Person::with(command, "xterm");
    person.sees("$ ");
    person
}

/// A person at a shell, which has started the client with `ending` behind its command.
fn at_a_shell(server: SocketAddr, ending: &str) -> Person {
    let mut person = at_a_prompt();
    person.types(&format!("{BINARY} client {server}{ending}\r"));
    person
}

/// Runs a command of the shell's own. Returns when it has run.
fn runs(person: &mut Person, command: &str) {
    // What is typed has another spelling than what is printed.
    person.types(&format!("{command}; echo 'ha's run\r"));
    person.sees("has run\r\n");
    person.sees("$ ");
}

/// The only child of the shell.
fn job(person: &Person) -> Pid {
    child_of(person.child.id())
}

fn child_of(parent: u32) -> Pid {
    let mut found = None;
    eventually("a child is started", || {
        let children =
            fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).expect("a parent");
        found = children.split_whitespace().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        found.is_some()
    });
    found.expect("found")
}

/// Types Ctrl-Z, and waits until the client has stopped and the shell has said so.
fn suspends(person: &mut Person, job: Pid) {
    person.types("\x1a");
    person.sees("Stopped");
    person.sees("$ ");
    stops(job);
}

fn stops(job: Pid) {
    eventually("the client stops", || is_stopped(job.as_raw_pid().cast_unsigned()));
}

/// Whether a thread of the process has stopped, and the others are about to. False, too, when it has ended and the shell has
/// taken note.
fn has_begun_to_stop(job: Pid) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", job.as_raw_pid())) else { return false };
    let mut states = tasks.flatten().map(|task| fs::read_to_string(task.path().join("status")));
    states.any(|status| status.is_ok_and(|status| status.contains("State:\tT (stopped)")))
}

/// The client's end closes its connection.
fn ends(server: &mut Lines, person: &mut Person) {
    match server.stream.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("the client is still there: {other:?}; {:?}", person.seen_so_far()),
    }
}

/// The shell says how the client ended, in a word, and ends itself.
fn ended_by(mut person: Person, mut server: Lines, word: &str) {
    ends(&mut server, &mut person);
    // It says so as soon as it has seen it, which may be now.
    person.types("while [ -n \"$(jobs -p)\" ]; do jobs -n; done\r");
    person.sees(word);
    person.sees("$ ");
    person.types("exit 0\r");
    person.leaves_with(0);
}

/// How a client comes to be stopped.
const WAYS: [fn(&mut Person, Pid); 4] = [
    |person, _| person.types("\x1a"),
    |_, job| kill_process(job, Signal::STOP).unwrap(),
    |_, job| kill_process(job, Signal::TSTP).unwrap(),
    // In the background it is stopped because it reads the terminal.
    |person, job| {
        suspends(person, job);
        runs(person, "bg");
        stops(job);
        runs(person, ":");
    },
];

/// The terminal is the shell's then: to use it would stop the client once more.
#[test]
fn a_stopped_client_can_be_killed() {
    if !shell_is_here() {
        return;
    }
    for (number, stop) in WAYS.into_iter().enumerate() {
        // bash itself continues a job that it sends SIGTERM or SIGHUP, if it has seen already that it was stopped.
        for (kill, word) in [
            ("kill -TERM %1; kill -CONT %1", "Terminated"),
            ("kill -HUP %1; kill -CONT %1", "Hangup"),
            ("kill -QUIT %1; kill -CONT %1", "Quit"),
            ("kill -INT %1; kill -CONT %1", "Interrupt"),
        ] {
            let (server, mut person) = Lines::of(|server| at_a_shell(server, ""));
            person.sees("> ");
            person.types("half");
            person.sees("f");
            let job = job(&person);
            stop(&mut person, job);
            if number < 3 {
                person.sees("Stopped");
                person.sees("$ ");
            }
            stops(job);
            person.types(&format!("{kill}\r"));
            ended_by(person, server, word);
        }
    }
}

/// It has sent a line, waits for the echo, and needs no terminal.
#[test]
fn a_client_that_runs_in_the_background_can_be_killed() {
    if !shell_is_here() {
        return;
    }
    for (kill, word) in [("TERM", "Terminated"), ("HUP", "Hangup"), ("QUIT", "Quit"), ("INT", "Interrupt")] {
        let (mut server, mut person) = Lines::of(|server| at_a_shell(server, ""));
        person.sees("> ");
        let job = job(&person);
        person.types("hello\r");
        assert_eq!(server.line(), b"hello\n");
        suspends(&mut person, job);
        runs(&mut person, "bg");
        person.types(&format!("kill -{kill} %1\r"));
        ended_by(person, server, word);
    }
}

/// Continued in the background, it uses the terminal and stops again: a signal that comes before that ends it. The shell
/// believes that it runs, and would not continue it.
#[test]
fn a_client_is_killed_as_soon_as_it_is_continued() {
    if !shell_is_here() {
        return;
    }
    // Not SIGQUIT: for a core dump Linux stops threads one by one, and a stop may come first, of any process.
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        for attempt in 0..ATTEMPTS {
            let (mut server, mut person) = Lines::of(|server| at_a_shell(server, ""));
            person.sees("> ");
            let job = job(&person);
            person.types("\x1a");
            person.sees("Stopped");
            stops(job);
            kill_process(job, Signal::CONT).unwrap();
            // Each time somewhat later.
            for _ in 0..attempt * 200 {
                std::hint::spin_loop();
            }
            kill_process(job, signal).unwrap();
            // It may have begun to stop before the signal came. Then this waits for SIGCONT, as for any process.
            if has_begun_to_stop(job) {
                let _ = kill_process(job, Signal::CONT);
            }
            ends(&mut server, &mut person);
        }
    }
}

/// A line that is half typed stays, through a stop in the background too.
#[test]
fn a_client_comes_back_to_the_foreground() {
    if !shell_is_here() {
        return;
    }
    for stop in WAYS {
        let (mut server, mut person) = Lines::of(|server| at_a_shell(server, ""));
        person.sees("> ");
        for draft in ["half", "another half"] {
            person.types(draft);
            person.sees(&draft[draft.len() - 1..]);
            let job = job(&person);
            stop(&mut person, job);
            stops(job);
            person.types("fg\r");
            person.sees(&format!("> {draft}"));
            person.types(" a line\r");
            server.echoes(&mut person, &format!("{draft} a line\n"));
            person.sees("> ");
        }
        person.types("\x04");
        person.sees("$ ");
        person.types("exit 0\r");
        person.leaves_with(0);
    }
}

/// It runs on in the background for as long as it does not need the terminal, also between two lines: keys that come
/// then are not for the terminal to show.
#[test]
fn an_echo_that_comes_in_the_background() {
    if !shell_is_here() {
        return;
    }
    for echo_first in [true, false] {
        let (mut server, mut person) = Lines::of(|server| at_a_shell(server, ""));
        person.sees("> ");
        let job = job(&person);
        person.types("hello\r");
        assert_eq!(server.line(), b"hello\n");
        suspends(&mut person, job);
        runs(&mut person, "bg");
        if echo_first {
            server.sends(b"hello\n");
            person.sees("  6 bytes in ");
            stops(job);
            // Only now the shell sees that it has stopped.
            runs(&mut person, ":");
            person.types("fg\r");
        } else {
            // A job that runs is not continued: nothing tells it that it has the terminal.
            person.types("fg\r");
            eventually("the client has the terminal", || tcgetpgrp(&person.keyboard) == Ok(job));
            server.sends(b"hello\n");
            person.sees("  6 bytes in ");
        }
        person.sees("> ");
        person.types("bye\r");
        assert_eq!(server.line(), b"bye\n");
        let mode = tcgetattr(&person.keyboard).unwrap().local_modes;
        assert!(!mode.intersects(LocalModes::ECHO | LocalModes::ICANON), "{mode:?}");
        server.sends(b"bye\n");
        person.sees("  4 bytes in ");
        person.types("q\r");
        person.sees("$ ");
        person.types("exit 0\r");
        person.leaves_with(0);
    }
}

/// The mode of a terminal whose shell reads a line is the shell's own, and not the one to go back to. Not all shells put a
/// terminal in order after a job, as bash does.
#[test]
fn a_client_that_was_started_in_the_background() {
    let script = r#"
        set -m
        stty -icanon -echo
        "$0" client "$1" &
        until grep -q 'State:.*stopped' /proc/$!/status; do :; done
        stty icanon echo
        fg
    "#;
    let (mut server, mut person) = Lines::of(|server| {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "sh", "-e", "-c", script, BINARY, &server.to_string()]);
        Person::with(command, "xterm")
    });
    person.sees("> ");
    person.types("hello\r");
    server.echoes(&mut person, "hello\n");
    person.types("q\r");
    person.leaves_with(0);
}

/// Stops a client that reads a line, and lets it go on. It leaves the terminal as it was meanwhile, and keeps the line.
pub(crate) fn a_stop_in_the_middle_of_a_line(mut server: Lines, mut person: Person, client: Pid) {
    person.types("half");
    person.sees("f");
    kill_process(client, Signal::TSTP).unwrap();
    stops(client);
    person.has_its_mode();
    kill_process(client, Signal::CONT).unwrap();
    person.sees("> half");
    person.types(" a line\r");
    server.echoes(&mut person, "half a line\n");
    person.types("\x04");
    person.leaves_with(0);
}

/// Where the session's leader is in another PID namespace, it has the number 0 for the client.
#[test]
fn a_client_whose_session_began_outside_its_namespace() {
    let Some(namespace) = Namespace::allowed().filter(|_| shell_is_here()) else {
        return;
    };
    let (server, mut person) = Lines::of(|server| {
        Person::with(namespace.with_own_pids(&binary(["client".to_owned(), server.to_string()])), "xterm")
    });
    person.sees("> ");
    let client = child_of(child_of(person.child.id()).as_raw_pid().cast_unsigned());
    a_stop_in_the_middle_of_a_line(server, person, client);
}

/// As in a container: no signal ends the first process of a PID namespace by default.
#[test]
fn a_client_that_is_the_first_process() {
    let Some(namespace) = Namespace::allowed() else {
        return;
    };
    for signal in [Signal::TERM, Signal::INT] {
        let (_server, mut person) = Lines::of(|server| {
            let client = binary(["client".to_owned(), server.to_string()]);
            Person::with(namespace.as_first_process(&client), "xterm")
        });
        person.sees("> ");
        kill_process(child_of(person.child.id()), signal).unwrap();
        person.leaves_with(128 + signal.as_raw());
    }
}

/// Without an editor there is no mode to put back: the client heeds `stty tostop` like any other program.
#[test]
fn a_piped_client_in_the_background_heeds_tostop() {
    if !shell_is_here() {
        return;
    }
    let (mut server, mut person) = Lines::of(|server| {
        let mut person = at_a_prompt();
        person.types(&format!("stty tostop; printf 'hello\\n' | {BINARY} client {server} &\r"));
        person
    });
    let mut line = [0; 6];
    server.stream.read_exact(&mut line).unwrap();
    server.stream.get_mut().write_all(&line).unwrap();
    person.types("while [ -z \"$(jobs -s)\" ]; do :; done; jobs\r");
    person.sees("Stopped");
    // A shell that does not know yet that the job is dead refuses the first `exit`: there are stopped jobs.
    person.types("kill -KILL %1; wait; stty -tostop; exit 0 || exit 0\r");
    person.leaves_with(0);
}
