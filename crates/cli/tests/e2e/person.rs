//! A person at a terminal, and the server that the test plays for the client there.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use overlapped_testing::{accept, exit_of};
#[cfg(target_os = "linux")]
use rustix::termios::LocalModes;
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::peer::PATIENCE;
use crate::process::with_default_signals;
use crate::server::binary;

/// Columns of the terminal.
pub(crate) const COLUMNS: u16 = 60;

/// A terminal: the end of a person, and the one of the process at it.
pub(crate) fn terminal() -> (File, OwnedFd) {
    overlapped_testing::terminal(COLUMNS)
}

fn window(columns: u16) -> Winsize {
    Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Starts a process at a terminal. The command keeps copies of the end that it was given.
pub(crate) fn spawn_at(theirs: OwnedFd, command: &mut Command, term: &str) -> Child {
    let (input, output) = (theirs.try_clone().unwrap(), theirs.try_clone().unwrap());
    with_default_signals();
    command.env("TERM", term).stdin(input).stdout(output).stderr(Stdio::from(theirs));
    command.spawn().unwrap()
}

/// A client whose terminal this test holds.
pub(crate) struct Person {
    pub(crate) child: Child,
    pub(crate) keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    mode: Termios,
}

impl Person {
    pub(crate) fn at(server: SocketAddr) -> Person {
        Person::with(binary(["client".to_owned(), server.to_string()]), "xterm")
    }

    /// At a terminal that is the client's own, as a shell gives it: there Ctrl-C is a signal.
    #[cfg(target_os = "linux")]
    pub(crate) fn in_a_shell(server: SocketAddr) -> Person {
        let mut command = Command::new("setsid");
        command.args(["--ctty", crate::server::BINARY, "client", &server.to_string()]);
        Person::with(command, "xterm")
    }

    pub(crate) fn with(mut command: Command, term: &str) -> Person {
        let (keyboard, theirs) = terminal();
        let mode = tcgetattr(&theirs).unwrap();
        let child = spawn_at(theirs, &mut command, term);
        drop(command); // and with it the last of our copies of their end
        let mut reader = keyboard.try_clone().unwrap();
        let (tell, screen) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let _ = tell.send(buffer[..count].to_vec());
            }
        });
        Person { child, keyboard, screen, seen: Vec::new(), mode }
    }

    /// Whether the terminal has a mode in which it edits lines itself.
    #[cfg(target_os = "linux")]
    pub(crate) fn edits_lines(&self) -> bool {
        tcgetattr(&self.keyboard).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    /// Gives the window another width.
    pub(crate) fn resize(&self, columns: u16) {
        tcsetwinsize(&self.keyboard, window(columns)).unwrap();
    }

    pub(crate) fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until `text` is on the screen, after what was waited for before. Returns what came before it.
    pub(crate) fn sees(&mut self, text: &str) -> String {
        let text = text.as_bytes();
        let mut searched = 0;
        let at = loop {
            let found = self.seen[searched..].windows(text.len()).position(|part| part == text);
            if let Some(at) = found {
                break searched + at;
            }
            searched = (self.seen.len() + 1).saturating_sub(text.len());
            let shown =
                |seen: &[u8]| String::from_utf8_lossy(&seen[seen.len().saturating_sub(4096)..]).into_owned();
            match self.screen.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen.extend(bytes),
                Err(_) => panic!("no {:?} on the screen, but {:?}", shown(text), shown(&self.seen)),
            }
        };
        let before = self.seen.drain(..at + text.len()).take(at).collect::<Vec<u8>>();
        String::from_utf8_lossy(&before).into_owned()
    }

    /// What is on the screen, and was not waited for.
    pub(crate) fn seen_so_far(&mut self) -> String {
        self.seen.extend(self.screen.try_iter().flatten());
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Waits until the client has ended, and asserts that it left the terminal as it was. Returns its status, and what
    /// it wrote last.
    pub(crate) fn leaves(mut self) -> (ExitStatus, String) {
        let status = exit_of(&mut self.child, PATIENCE);
        loop {
            match self.screen.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen.extend(bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("somebody still has the terminal"),
            }
        }
        self.has_its_mode();
        (status, String::from_utf8_lossy(&self.seen).into_owned())
    }

    /// Asserts that the terminal is as it was before.
    pub(crate) fn has_its_mode(&self) {
        // Both ends have the same.
        let mode = tcgetattr(&self.keyboard).unwrap();
        let shown = |mode: &Termios| {
            format!("{:?} {:?} {:?}", mode.input_modes, mode.local_modes, mode.special_codes)
        };
        assert_eq!(shown(&mode), shown(&self.mode));
    }

    /// The same for one that ends by itself.
    pub(crate) fn leaves_with(self, code: i32) -> String {
        let (status, last) = self.leaves();
        assert_eq!(status.code(), Some(code), "{last:?}");
        last
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that the test answers for.
pub(crate) struct Lines {
    pub(crate) stream: BufReader<TcpStream>,
}

impl Lines {
    /// Its first client, which `dial` starts.
    pub(crate) fn of<T>(dial: impl FnOnce(SocketAddr) -> T) -> (Lines, T) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = dial(listener.local_addr().unwrap());
        let stream = accept(&listener).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        (Lines { stream: BufReader::new(stream) }, client)
    }

    pub(crate) fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("a line");
        line
    }

    pub(crate) fn sends(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// The line arrives, its echo goes out, and the person sees how long that took.
    pub(crate) fn echoes(&mut self, person: &mut Person, line: &str) {
        assert_eq!(self.line(), line.as_bytes());
        self.sends(line.as_bytes());
        person.sees(&format!("  {} bytes in ", line.len()));
    }
}
