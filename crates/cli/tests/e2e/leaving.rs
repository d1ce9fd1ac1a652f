//! Whatever ends or stops `overlapped client` leaves the terminal as it was, at whatever moment it comes.

use std::fs::File;
use std::hint::spin_loop;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::peer::{PATIENCE, eventually};
use crate::person::{Lines, Person};
use crate::server::{BINARY, after, binary};
use crate::system::is_stopped;

const NON_BLOCKING: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// How often a moment is tried, each time somewhat later.
const ATTEMPTS: usize = 40;

fn pid(person: &Person) -> Pid {
    Pid::from_child(&person.child)
}

/// Some moments later: the first attempt comes at once, the last one some hundred microseconds after it.
fn later(attempt: usize) {
    for _ in 0..attempt * 100 {
        spin_loop();
    }
}

/// Waits until the client has changed the mode. Without a pause between two looks: what matters is the moment after.
fn takes_the_terminal(person: &Person) {
    let deadline = Instant::now() + PATIENCE;
    while person.edits_lines() {
        assert!(Instant::now() < deadline, "it does not take the terminal");
    }
}

/// As a shell with job control starts it.
fn as_a_job(server: std::net::SocketAddr) -> Person {
    let mut command = binary(["client".to_owned(), server.to_string()]);
    command.process_group(0);
    Person::with(command, "xterm")
}

#[test]
fn a_signal_at_the_start() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        for attempt in 0..ATTEMPTS {
            // Nobody accepts: by then the moment would be over.
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let person = Person::at(listener.local_addr().unwrap());
            takes_the_terminal(&person);
            later(attempt);
            kill_process(pid(&person), signal).unwrap();
            let (status, _) = person.leaves();
            assert_eq!(status.signal(), Some(signal.as_raw()), "attempt {attempt}");
        }
    }
}

#[test]
fn a_stop_at_the_start() {
    for attempt in 0..ATTEMPTS {
        let (mut server, mut person) = Lines::of(as_a_job);
        takes_the_terminal(&person);
        later(attempt);
        kill_process(pid(&person), Signal::TSTP).unwrap();
        eventually("it stops", || is_stopped(person.child.id()));
        person.has_its_mode();
        kill_process(pid(&person), Signal::CONT).unwrap();
        eventually("it goes on", || !person.edits_lines());
        person.types("hello\r");
        server.echoes(&mut person, "hello\n");
        person.types("\x04");
        person.leaves_with(0);
    }
}

#[test]
fn a_server_that_closes_at_the_start() {
    for attempt in 0..ATTEMPTS {
        let (server, person) = Lines::of(Person::at);
        takes_the_terminal(&person);
        later(attempt);
        drop(server);
        person.leaves_with(1);
    }
}

/// A client that waits to write its last line to stderr has left the terminal: it stops like any other process.
#[test]
fn a_stop_while_the_last_line_waits() {
    let path = std::env::temp_dir().join(format!("overlapped-stderr-{}", std::process::id()));
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let mut pipe = File::options().read(true).write(true).custom_flags(NON_BLOCKING).open(&path).unwrap();
    while pipe.write(&[b'x'; 4096]).is_ok() || pipe.write(b"x").is_ok() {}
    let (server, mut person) = Lines::of(|server| {
        let client = binary(["client".to_owned(), server.to_string()]);
        let mut command = after(&format!("exec 2> '{}'", path.display()), &client);
        command.process_group(0);
        Person::with(command, "xterm")
    });
    std::fs::remove_file(&path).unwrap();
    person.sees("> ");
    drop(server);
    eventually("it leaves the terminal", || person.edits_lines());
    kill_process(pid(&person), Signal::TSTP).unwrap();
    eventually("it stops", || is_stopped(person.child.id()));
    kill_process(pid(&person), Signal::CONT).unwrap();
    while pipe.read(&mut [0; 4096]).is_ok() {}
    let (status, _) = person.leaves();
    assert_eq!(status.code(), Some(1));
}

/// The editor sets the mode once more.
#[test]
fn a_signal_as_a_line_ends() {
    for attempt in 0..ATTEMPTS {
        let (_server, mut person) = Lines::of(Person::at);
        person.sees("> ");
        person.types("hello\r");
        later(attempt);
        kill_process(pid(&person), Signal::TERM).unwrap();
        let (status, _) = person.leaves();
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "attempt {attempt}");
    }
}

/// By default they end a process, whatever they mean elsewhere.
#[test]
fn signals_that_are_seldom_sent() {
    for signal in [
        Signal::ABORT,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::XCPU,
        Signal::USR1,
        Signal::USR2,
        Signal::IO,
        Signal::POWER,
    ] {
        let (_server, mut person) = Lines::of(Person::at);
        person.sees("> ");
        person.types("half");
        person.sees("f");
        kill_process(pid(&person), signal).unwrap();
        let (status, last) = person.leaves();
        assert_eq!(status.signal(), Some(signal.as_raw()));
        // What comes next has a line of its own.
        assert_eq!(last.replace("\x1b[?2004l", ""), "\r\n");
    }
}

/// The mode is set only when somebody is there to put it back.
#[test]
fn without_descriptors_to_watch_for_signals_with() {
    let (mut refused, mut served) = (0, 0);
    for limit in 5..=16 {
        let (server, person) = Lines::of(|address| {
            let client = binary(["client".to_owned(), address.to_string()]);
            Person::with(after(&format!("ulimit -n {limit}"), &client), "xterm")
        });
        drop(server);
        let said = person.leaves_with(1);
        let error = said.split_once("error: ").map_or("", |(_, error)| error);
        assert_eq!(error.lines().count(), 1, "with {limit}: {said:?}");
        if error.contains("Too many open files") {
            assert!(
                error.contains("the terminal: ") && error.contains("`ulimit -n`"),
                "with {limit}: {said:?}"
            );
            refused += 1;
        } else {
            assert!(error.contains("has closed the connection"), "with {limit}: {said:?}");
            served += 1;
        }
    }
    assert!(refused > 0 && served > 0, "refused {refused}, served {served}");
}

/// Nobody could continue it: the system ignores Ctrl-Z (POSIX, 2.4.3 "Signal Actions"), and the client goes on. Its parent
/// has ended, and the shell that has the session, which is stopped, does not take the terminal from it.
#[test]
fn a_stop_in_an_orphaned_foreground_group() {
    let script = r#"
        set -m
        sh -c 'exec 3<&0; "$0" client "$1" <&3 & kill -STOP $PPID' "$0" "$1"
        true
    "#;
    let (mut server, mut person) = Lines::of(|server| {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "sh", "-c", script, BINARY, &server.to_string()]);
        Person::with(command, "xterm")
    });
    person.sees("> ");
    eventually("the shell stops", || is_stopped(person.child.id()));
    person.types("half");
    person.sees("f");
    person.types("\x1a");
    person.sees("> half");
    eventually("it has its mode again", || !person.edits_lines());
    person.types(" a line\r");
    server.echoes(&mut person, "half a line\n");
    person.types("\x04");
    assert_eq!(server.line(), b"", "it ends");
    kill_process(pid(&person), Signal::CONT).unwrap();
    person.leaves_with(0);
}
