//! A terminal that nobody reads, or that has gone: `overlapped client` ends all the same.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::thread;

use overlapped_testing::exit_of;
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Action, LocalModes, tcflow, tcgetattr};

use crate::peer::{PATIENCE, eventually};
use crate::person::{Lines, spawn_at, terminal};
use crate::server::binary;
use crate::system::{is_stopped, waits_at};

/// A client at a terminal whose other end is held, and not read.
struct Unread {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    server: Lines,
}

impl Unread {
    fn new() -> Unread {
        let (keyboard, theirs) = terminal();
        let kept = theirs.try_clone().unwrap();
        let (server, child) = Lines::of(|address| {
            let mut command: Command = binary(["client".to_owned(), address.to_string()]);
            // As a shell with job control starts it.
            command.process_group(0);
            spawn_at(theirs, &mut command, "xterm")
        });
        let client = Unread { child, keyboard, terminal: kept, server };
        // It reads a line. Only then a line is taken back when somebody has something to say.
        eventually("the client reads the terminal", || waits_at(client.child.id(), "overlapped", &[0]));
        client
    }

    /// Has the server say more than the terminal holds, until the client waits for somebody to read it.
    fn fill(&self) {
        let mut stream = self.server.stream.get_ref().try_clone().unwrap();
        // It ends when the client does.
        thread::spawn(move || while stream.write_all(&[b'!'; 64 * 1024]).is_ok() {});
        // One look may find it between two writes that both have room.
        let mut looks = 0;
        eventually("the terminal is full", || {
            looks = if waits_at(self.child.id(), "receive", &[1, 2]) { looks + 1 } else { 0 };
            looks == 20
        });
    }

    /// Whether the terminal has the mode that it had before the client came.
    fn edits_lines(&self) -> bool {
        tcgetattr(&self.keyboard).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ends(&mut self) -> ExitStatus {
        exit_of(&mut self.child, PATIENCE)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The thread that waits for the terminal holds the lock of the prompt.
#[test]
fn signals_end_a_client_whose_terminal_is_full() {
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT, Signal::INT] {
        let mut client = Unread::new();
        client.fill();
        client.signal(signal);
        assert_eq!(client.ends().signal(), Some(signal.as_raw()));
    }
}

/// Output is suspended, as by Ctrl-S in a shell: what is written waits, and there is room for it.
#[test]
fn signals_end_a_client_whose_terminal_is_suspended() {
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT, Signal::INT] {
        let mut client = Unread::new();
        tcflow(&client.terminal, Action::OOff).unwrap();
        client.signal(signal);
        assert_eq!(client.ends().signal(), Some(signal.as_raw()));
    }
}

/// It goes on without being able to draw its line, and can still be ended.
#[test]
fn a_client_stops_and_ends_while_its_terminal_is_full() {
    let mut client = Unread::new();
    client.fill();
    for _ in 0..2 {
        client.signal(Signal::TSTP);
        eventually("it stops", || is_stopped(client.child.id()));
        assert!(client.edits_lines(), "the terminal is as it was");
        client.signal(Signal::CONT);
        eventually("it goes on", || !client.edits_lines());
    }
    client.signal(Signal::TERM);
    assert_eq!(client.ends().signal(), Some(Signal::TERM.as_raw()));
}

/// Without the signal that the closing of a window sends: nothing more can be typed, and nothing shown.
#[test]
fn a_client_whose_terminal_has_gone_ends() {
    let mut client = Unread::new();
    let (other, _) = terminal();
    drop(std::mem::replace(&mut client.keyboard, other));
    let status = client.ends();
    assert_eq!(status.signal(), None, "{status:?}");
}
