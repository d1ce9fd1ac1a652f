//! `overlapped client` as a person meets it: on a terminal.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;

use rustix::process::Signal;

use crate::peer::{assert_same, eventually};
use crate::person::{COLUMNS, Lines, Person};
use crate::server::{Server, binary};

#[test]
fn an_echo_and_its_time_and_q() {
    let server = Server::start("auto", &[]);
    let mut person = Person::at(server.address());
    person.sees("> ");
    person.types("hello\r");
    for text in ["hello", "\r\nhello\r\n  6 bytes in ", " µs\r\n", "> "] {
        person.sees(text); // as it is typed, the server's echo, and the time
    }
    person.types("\r");
    person.sees("\r\n\r\n  1 byte in ");
    person.types("q\r");
    person.leaves_with(0);
}

#[test]
fn a_line_is_edited_and_comes_again() {
    const LEFT: &str = "\x1b[D";
    const UP: &str = "\x1b[A";
    let (mut server, mut person) = Lines::of(Person::at);
    person.sees("> ");
    person.types(&format!("hallo{LEFT}{LEFT}{LEFT}\x7fe\r"));
    server.echoes(&mut person, "hello\n");
    person.types(&format!("{UP} again\r"));
    server.echoes(&mut person, "hello again\n");
    person.types(&format!("{UP}{UP}\r"));
    server.echoes(&mut person, "hello\n");
    person.types("\x04");
    person.leaves_with(0);
}

/// They would act on the terminal.
#[test]
fn control_characters_are_shown() {
    let (mut server, mut person) = Lines::of(Person::at);
    person.sees("> ");
    // Ctrl-V takes the next key as it is.
    person.types("\x16\x1b[31mred\x16\x07\r");
    assert_eq!(server.line(), b"\x1b[31mred\x07\n");
    server.sends(b"\x1b[31mred\x07\n");
    person.sees("\r\n\\x1b[31mred\\x07\r\n  10 bytes in ");
    person.sees("> ");
    // In a character that comes in two pieces, too.
    person.types("é\r");
    assert_eq!(server.line(), "é\n".as_bytes());
    server.sends(b"\xc3");
    server.sends(b"\xa9\n");
    person.sees("\r\né\r\n  3 bytes in ");
    person.types("\x04");
    person.leaves_with(0);
}

/// What is wrong with an echo is said below it, and the status says so in the end.
#[test]
fn an_echo_that_differs() {
    let (mut server, mut person) = Lines::of(Person::at);
    person.sees("> ");
    person.types("hello\r");
    server.line();
    server.sends(b"he?lo\nmore\n");
    person.sees("\r\nhe?lo\r\n");
    let said = person.sees("> ");
    for text in [
        "error: the echo is not what was sent: offset 2, expected 0x6c ('l'), got 0x3f ('?'); is ",
        "error: the server has sent bytes that are no echo: \"more\\n\"; is ",
        "  6 bytes in ",
    ] {
        assert!(said.contains(text), "{text:?} is not in {said:?}");
    }
    // The next line has its own offsets.
    person.types("bye\r");
    server.line();
    server.sends(b"by\r\n");
    person.sees("by\\x0d\r\nerror: the echo is not what was sent: offset 2, expected 0x65 ('e'), got 0x0d;");
    person.sees("> ");
    // Half an echo: what is wrong with it is said before the rest comes.
    person.types("bye\r");
    server.line();
    server.sends(b"ya");
    person.sees("ya\r\nerror: the echo is not what was sent: offset 0, expected 0x62 ('b'), got 0x79 ('y');");
    server.sends(b"e\n");
    person.sees("  4 bytes in ");
    person.types("q\r");
    person.leaves_with(1);
}

/// A half-typed line stays, below what has happened meanwhile.
#[test]
fn bytes_that_nobody_asked_for() {
    let (mut server, mut person) = Lines::of(Person::at);
    let draft = format!("{}z", "x".repeat(2 * usize::from(COLUMNS) - 1));
    person.sees("> ");
    person.types(&draft);
    person.sees("z");
    server.sends(b"SSH-2.0\x1b[2J\r\n");
    person.sees(
        "\x1b[2A\r\x1b[Jerror: the server has sent bytes that are no echo: \"SSH-2.0\\x1b[2J\\x0d\\n\"; is ",
    );
    person.sees(&format!("\r\n> {draft}"));
    person.types("y\r");
    assert_same(&server.line(), format!("{draft}y\n").as_bytes(), "the line");
    server.sends(format!("{draft}y\n").as_bytes());
    person.sees(" bytes in ");
    person.types("q\r");
    person.leaves_with(1);
}

/// A server that goes away is told at the prompt, not with the next line. What was typed is taken back: the error begins
/// where the prompt began.
#[test]
fn a_server_that_goes_away_at_the_prompt() {
    let server = Server::start("auto", &[]);
    let address = server.address();
    let mut person = Person::at(address);
    person.types("hello\r");
    person.sees(" µs\r\n");
    person.sees("> ");
    // Prompt and line have four rows; the cursor then stands in the third.
    let (start, end) = ("y".repeat(2 * usize::from(COLUMNS)), "y".repeat(usize::from(COLUMNS) - 1));
    person.types(&format!("{start}{end}z"));
    person.sees("z");
    for _ in 0..COLUMNS {
        person.types("\x1b[D");
    }
    person.sees("\x1b[A"); // the cursor is a row further up
    server.end();
    person
        .sees(&format!("\x1b[2A\r\x1b[J\x1b[?2004lerror: the server at {address} has closed the connection"));
    let last = person.leaves_with(1);
    assert!(last.ends_with("\r\n"), "{last:?}");
}

/// The same while an echo is awaited.
#[test]
fn a_server_that_goes_away_before_the_echo() {
    let (mut server, mut person) = Lines::of(Person::at);
    person.sees("> ");
    person.types("hello\r");
    server.line();
    server.sends(b"hel");
    drop(server);
    person.sees("\r\nhel");
    person.sees("error: the server at ");
    person.leaves_with(1);
}

/// Longer than the 4095 bytes that a terminal keeps of a line it edits itself (Linux, termios(3)): as a paste that the
/// terminal marks as one, as keys, and while the echo of the line before has not come yet.
#[test]
fn a_long_line_is_pasted_whole() {
    // As keys they are drawn row by row, each time with all rows before.
    for (before, len, after) in [("\x1b[200~", 100_000, "\x1b[201~\r"), ("", 20_000, "\r")] {
        let text: String = (0..len).map(|at: usize| char::from(b'a' + (at * at / 7 % 26) as u8)).collect();
        let (mut server, mut person) = Lines::of(Person::at);
        person.sees("> ");
        person.types("first\r");
        assert_eq!(server.line(), b"first\n");
        let mut keyboard = person.keyboard.try_clone().unwrap();
        let paste = format!("{before}{text}{after}");
        let pasted = thread::spawn(move || keyboard.write_all(paste.as_bytes()).unwrap());
        // Some of it has come by now, and is not shown before the echo.
        server.sends(b"first\n");
        person.sees("\r\nfirst\r\n  6 bytes in ");
        let line = server.line();
        pasted.join().unwrap();
        assert_same(&line, format!("{text}\n").as_bytes(), "the line");
        server.sends(&line);
        person.sees(&format!("  {} bytes in ", len + 1));
        person.types("\x04");
        person.leaves_with(0);
    }
}

/// A shell's prompt would stand behind ours.
#[test]
fn end_of_input_ends_the_line() {
    for term in ["xterm", "dumb"] {
        let server = Server::start("auto", &[]);
        let mut person = Person::with(binary(["client".to_owned(), server.address().to_string()]), term);
        person.sees("> ");
        person.types("\x04");
        let last = person.leaves_with(0);
        assert_eq!(
            last.trim_end_matches("\x1b[?2004l").rsplit("\x1b[?2004l").next(),
            Some("\r\n"),
            "{last:?}"
        );
    }
}

/// At the prompt, and while an echo is waited for.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_is_a_signal() {
    let (_server, mut person) = Lines::of(Person::in_a_shell);
    person.sees("> ");
    person.types("half");
    person.sees("f");
    person.types("\x03");
    let (status, last) = person.leaves();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
    // What comes next has a line of its own.
    assert_eq!(last.replace("\x1b[?2004l", ""), "\r\n");

    let (mut server, mut person) = Lines::of(Person::in_a_shell);
    person.sees("> ");
    person.types("hello\r");
    server.line();
    person.types("\x03");
    let (status, _) = person.leaves();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
}

/// The signal comes while the client is not waiting for a key.
#[test]
fn an_interrupt_while_a_line_is_drawn() {
    // What a terminal takes at once (Linux, termios(3)).
    const KEYS: usize = 4000;
    let (_server, mut person) = Lines::of(Person::at);
    person.sees("> ");
    person.types(&"x".repeat(KEYS));
    // Each key in the third row has all rows drawn again.
    person.sees(&"x".repeat(3 * usize::from(COLUMNS)));
    rustix::process::kill_process(rustix::process::Pid::from_child(&person.child), Signal::INT).unwrap();
    let (status, _) = person.leaves();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
}

/// As in a script that says `trap '' INT`.
#[cfg(target_os = "linux")]
#[test]
fn an_ignored_interrupt_stays_ignored() {
    let (mut server, mut person) = Lines::of(|address| {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "sh", "-c", "trap '' INT; exec \"$0\" client \"$1\"", crate::server::BINARY]);
        command.arg(address.to_string());
        Person::with(command, "xterm")
    });
    let client = rustix::process::Pid::from_child(&person.child);
    for interrupt in [true, false] {
        person.sees("> ");
        person.types("half");
        // A key that is a signal discards what is on its way.
        person.sees("f");
        if interrupt {
            person.types("\x03");
        } else {
            rustix::process::kill_process(client, Signal::INT).unwrap();
        }
        eventually("it reads on", || crate::system::waits_at(person.child.id(), "overlapped", &[0]));
        person.types(" a line\r");
        server.echoes(&mut person, "half a line\n");
    }
    person.types("\x04");
    person.leaves_with(0);
}

/// Started by no shell, it could not be continued: it goes on.
#[cfg(target_os = "linux")]
#[test]
fn a_client_that_nobody_could_continue_does_not_stop() {
    let (mut server, mut person) = Lines::of(Person::in_a_shell);
    person.sees("> ");
    person.types("half");
    // A key that is a signal discards what is on its way.
    person.sees("f");
    person.types("\x1a a line\r");
    server.echoes(&mut person, "half a line\n");
    person.types("\x04");
    person.leaves_with(0);
}

/// Not all shells put a terminal in order after a process that was stopped.
#[cfg(target_os = "linux")]
#[test]
fn a_stopped_client_leaves_the_terminal_as_it_was() {
    use std::os::unix::process::CommandExt;
    let (server, mut person) = Lines::of(|address| {
        let mut command = binary(["client".to_owned(), address.to_string()]);
        // As a shell with job control starts it.
        command.process_group(0);
        Person::with(command, "xterm")
    });
    let client = rustix::process::Pid::from_child(&person.child);
    person.sees("> ");
    crate::jobs::a_stop_in_the_middle_of_a_line(server, person, client);
}

/// `kill`, and a terminal whose window is closed.
#[test]
fn signals_leave_the_terminal_as_it_was() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let (mut server, mut person) = Lines::of(Person::at);
        person.sees("> ");
        person.types("hello\r");
        server.line();
        server.sends(b"hello\n");
        person.sees(" µs\r\n");
        person.sees("> ");
        person.types("half");
        person.sees("f");
        rustix::process::kill_process(rustix::process::Pid::from_child(&person.child), signal).unwrap();
        let (status, _) = person.leaves();
        assert_eq!(status.signal(), Some(signal.as_raw()));
    }
}

/// The system edits the line, and nothing moves the cursor.
#[test]
fn a_terminal_that_cannot_move_its_cursor() {
    let (mut server, mut person) =
        Lines::of(|address| Person::with(binary(["client".to_owned(), address.to_string()]), "dumb"));
    person.sees("> ");
    person.types("hello\n");
    assert_eq!(server.line(), b"hello\n");
    server.sends(b"hel\x1bo\n");
    // The terminal's own echo, and the server's.
    let before = person.sees("hello\r\nhel\\x1bo\r\nerror: the echo is not what was sent: offset 3, ");
    assert_eq!(before, "");
    person.sees("> ");
    server.sends(b"!");
    let before = person.sees("\r\nerror: the server has sent bytes that are no echo: \"!\"; is ");
    assert_eq!(before, "");
    person.sees("\r\n> ");
    drop(server);
    assert_eq!(person.sees("\r\nerror: the server at "), "");
    person.leaves_with(1);
}

/// Only what is no echo goes to the terminal; the echo goes where it should, bare.
#[test]
fn typed_lines_whose_echo_goes_elsewhere() {
    let server = Server::start("auto", &[]);
    let path = std::env::temp_dir().join(format!("overlapped-typed-{}", std::process::id()));
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" client \"$1\" > \"$2\"", crate::server::BINARY]);
    command.arg(server.address().to_string()).arg(&path);
    let mut person = Person::with(command, "xterm");
    person.types("hello\nq\n");
    let last = person.leaves_with(0);
    assert_eq!(last, "hello\r\nq\r\n");
    assert_eq!(std::fs::read(&path).unwrap(), b"hello\n");
    std::fs::remove_file(&path).unwrap();
}

/// The line is wrapped at the width that the window has now.
#[cfg(target_os = "linux")]
#[test]
fn a_window_that_has_become_narrower() {
    let (_server, mut person) = Lines::of(Person::in_a_shell);
    person.sees("> ");
    person.types(&"x".repeat(50));
    person.sees(&"x".repeat(50));
    person.resize(20);
    person.types("\x01");
    person.sees("D");
    let client = rustix::process::Pid::from_child(&person.child);
    rustix::process::kill_process(client, Signal::TERM).unwrap();
    let (status, last) = person.leaves();
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
    assert!(last.contains("\x1b[2B"), "below the last of its rows: {last:?}");
}
