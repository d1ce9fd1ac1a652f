//! A terminal with a shell in it: what is typed, and what is shown, line by line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};

use crate::bounded::Failure;

/// Around the exit status in the shell's prompt.
const PROMPT: [&str; 2] = ["@page:", "@ "];
/// What a program asks for a line with.
const QUESTION: &str = "> ";
/// The program that is a console under Wine.
const CONSOLE: &str = "conhost.exe";
/// How often something is looked at that says nothing when it changes.
const LOOK: Duration = Duration::from_millis(5);
/// Lines that a failure shows.
const SHOWN: usize = 60;

pub(super) struct Terminal {
    /// The leader of the terminal's session.
    shell: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// The line that is not over yet.
    pending: Vec<u8>,
    lines: VecDeque<String>,
    /// Whether the programs here ask for keys: see [`Terminal::with_keys`].
    with_keys: bool,
    /// What was typed and has not been shown yet.
    echo: Option<String>,
    /// The last lines that were read.
    shown: VecDeque<String>,
}

/// What a terminal shows next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Line(String),
    /// The shell asks for a command; the last one had this exit status.
    Prompt(i32),
    /// A program asks for a line.
    Question,
    /// Nothing more until the deadline.
    Nothing,
    /// The shell has ended.
    Gone,
}

impl Terminal {
    /// Starts a shell. `within` is a command that runs another one where programs are to run, and `surround` sets what
    /// else they need.
    pub(super) fn start(
        columns: u16,
        within: &[String],
        surround: impl FnOnce(&mut Command),
    ) -> Result<Terminal, Failure> {
        let (keyboard, theirs) = overlapped_testing::terminal(columns);
        // The process that started us may ignore the key's signal. A shell would inherit that.
        let shell =
            ["env", "--default-signal", "setsid", "--ctty", "bash", "--norc", "--noprofile", "--noediting"];
        let mut words = within.iter().map(String::as_str).chain(shell).chain(["+O", "checkwinsize"]);
        let mut command = Command::new(words.next().expect("it has some"));
        command.args(words);
        // Programs draw no colours and move no cursor. What they show depends on nothing of this machine.
        command.env("TERM", "dumb").env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8").env("HISTFILE", "");
        command.env("PS1", PROMPT.join("$?")).env("PS2", "").env_remove("PROMPT_COMMAND").env_remove("TMOUT");
        command.env_remove("MAIL").env_remove("COLUMNS");
        // The page knows the usual place of what is built.
        command.env_remove("CARGO_TARGET_DIR");
        surround(&mut command);
        let ends = theirs.try_clone().and_then(|input| Ok((input, theirs.try_clone()?)));
        let (input, output) = ends.map_err(|error| format!("a terminal: {error}"))?;
        command.stdin(input).stdout(output).stderr(Stdio::from(theirs));
        let shell = command.spawn().map_err(|error| format!("a shell in a terminal: {error}"))?;
        drop(command); // and with it the last of our copies of their end
        let mut reader = keyboard.try_clone().map_err(|error| format!("a terminal: {error}"))?;
        let (tell, screen) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if tell.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let (lines, shown) = (VecDeque::new(), VecDeque::new());
        Ok(Terminal {
            shell,
            keyboard,
            screen,
            pending: Vec::new(),
            lines,
            with_keys: false,
            echo: None,
            shown,
        })
    }

    /// The programs here read keys, not lines, by a console that Wine makes of the terminal. It sets the terminal's mode
    /// after a program has asked for a line: before, Enter would be replaced. And it ends after its program: until then
    /// it would take what the shell is to read.
    pub(super) fn with_keys(mut self) -> Terminal {
        self.with_keys = true;
        self
    }

    /// Types a line. Before it, the shell or a program has asked for one.
    pub(super) fn types(&mut self, line: &str) -> Result<(), Failure> {
        self.pending.clear();
        self.echo = Some(line.trim_end().to_owned());
        self.presses(format!("{line}\r").as_bytes())
    }

    /// What is shown by now is no answer to what is typed next.
    pub(super) fn passes_over(&mut self) {
        // A program may print for ever.
        let end = Instant::now() + 20 * LOOK;
        while Instant::now() < end && matches!(self.next(false, Instant::now() + LOOK), Shown::Line(_)) {}
    }

    /// Presses a letter together with Ctrl.
    pub(super) fn presses_with_control(&mut self, key: char) -> Result<(), Failure> {
        if plain(&self.pending) == QUESTION {
            self.pending.clear();
        }
        self.echo = Some(format!("^{key}"));
        self.presses(&[key as u8 & 0x1f])
    }

    fn presses(&mut self, keys: &[u8]) -> Result<(), Failure> {
        self.keyboard.write_all(keys).map_err(|error| format!("a terminal: {error}"))
    }

    /// The next line, or what stands where one will be. A line that a program asks for is of interest only to who wants
    /// to type it.
    pub(super) fn next(&mut self, wants_question: bool, deadline: Instant) -> Shown {
        loop {
            while let Some(line) = self.lines.pop_front() {
                if let Some(line) = self.without_echo(line) {
                    return self.line(line);
                }
            }
            let pending = plain(&self.pending);
            if let Some((before, status)) = prompt(&pending) {
                let before = before.to_owned();
                self.pending = format!("{}{status}{}", PROMPT[0], PROMPT[1]).into_bytes();
                if let Some(line) = self.without_echo(before).filter(|line| !line.is_empty()) {
                    return self.line(line);
                }
                while self.with_keys && self.has_console() {
                    if Instant::now() > deadline {
                        return Shown::Nothing;
                    }
                    thread::sleep(LOOK);
                }
                return Shown::Prompt(status);
            }
            let mut wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Shown::Nothing;
            }
            if wants_question && self.echo.is_none() && pending == QUESTION {
                if self.is_ready_for_keys() {
                    return Shown::Question;
                }
                wait = wait.min(LOOK);
            }
            match self.screen.recv_timeout(wait) {
                Ok(bytes) => self.take(&bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Shown::Gone,
            }
        }
    }

    /// What was shown last, for the report of a failure.
    pub(super) fn shown(&self) -> String {
        let pending = plain(&self.pending);
        let pending = Some(pending).filter(|line| !line.is_empty() && prompt(line).is_none());
        let lines = self.shown.iter().chain(&self.lines).chain(&pending);
        lines.map(|line| format!("    | {line}\n")).collect()
    }

    /// What was shown until now is not of interest any more.
    pub(super) fn forgets(&mut self) {
        self.shown.clear();
    }

    /// Whether a line like this was shown, and read.
    pub(super) fn has_shown(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.shown.iter().any(|line| is_it(line))
    }

    fn is_ready_for_keys(&self) -> bool {
        let edits_lines =
            || tcgetattr(&self.keyboard).is_ok_and(|mode| mode.local_modes.contains(LocalModes::ICANON));
        !self.with_keys || !edits_lines()
    }

    /// Whether a console that Wine has made still reads this terminal. What else Wine starts here does not, and may stay
    /// for a minute: its desktop.
    fn has_console(&self) -> bool {
        members(self.shell.id()).iter().any(|member| member.name == CONSOLE)
    }

    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend(part);
            if part.ends_with(b"\n") {
                self.lines.push_back(plain(&self.pending));
                self.pending.clear();
            }
        }
    }

    fn line(&mut self, line: String) -> Shown {
        if self.shown.len() == SHOWN {
            self.shown.pop_front();
        }
        self.shown.push_back(line.clone());
        Shown::Line(line)
    }

    /// A line without what is only the echo of the keys: all of it, or its beginning.
    fn without_echo(&mut self, line: String) -> Option<String> {
        let Some(echo) = &self.echo else { return Some(line) };
        let is_key = echo.starts_with('^');
        let rest = match line.strip_prefix(echo.as_str()) {
            Some(rest) if is_key || rest.trim_end().is_empty() => rest.to_owned(),
            _ => return Some(line),
        };
        self.shown.push_back(format!("(typed) {echo}"));
        self.echo = None;
        Some(rest).filter(|rest| !rest.is_empty())
    }
}

impl Drop for Terminal {
    /// Ends the shell and whatever was started in it.
    fn drop(&mut self) {
        // It is not reaped yet, so no other process has its number.
        let session = self.shell.id();
        // A process may start another one meanwhile.
        for _ in 0..200 {
            let members = members(session);
            if members.is_empty() {
                break;
            }
            for member in members {
                let _ = kill_process(member.pid, Signal::KILL);
            }
            thread::sleep(LOOK);
        }
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// A process of a session.
struct Member {
    pid: Pid,
    /// The first 15 bytes of its program's name.
    name: String,
}

/// The processes of a session that have not ended: Linux, proc(5).
fn members(session: u32) -> Vec<Member> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let member = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Its name is in parentheses and may have some, too. After it: state, parent, process group, session.
        let (before, after) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let lives = !matches!(fields.first(), Some(&("Z" | "X")));
        if !lives || fields.get(3)?.parse() != Ok(session) {
            return None;
        }
        Some(Member { pid: Pid::from_raw(pid.parse().ok()?)?, name: before.split_once('(')?.1.to_owned() })
    };
    processes.filter_map(|entry| member(entry.ok()?.file_name().to_str()?)).collect()
}

/// The exit status in a shell's prompt at the end of a line, and what stands before it.
fn prompt(line: &str) -> Option<(&str, i32)> {
    let (before, status) = line.strip_suffix(PROMPT[1])?.rsplit_once(PROMPT[0])?;
    Some((before, status.parse().ok()?))
}

/// What a reader sees of these bytes in one line: without colours, and without what was overwritten.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut seen = String::new();
    let mut chars = text.trim_end_matches(['\r', '\n']).chars();
    while let Some(char) = chars.next() {
        match char {
            '\r' => seen.clear(),
            '\x07' => {}
            '\x08' => {
                seen.pop();
            }
            '\x1b' => match chars.next() {
                Some('[') => {
                    let parameters = chars.as_str();
                    let last = chars.find(|char| ('@'..='~').contains(char));
                    // Wine's console skips a space rather than write one.
                    if last == Some('C') {
                        let count = parameters.split('C').next().and_then(|count| count.parse().ok());
                        seen.extend(std::iter::repeat_n(' ', count.unwrap_or(1)));
                    }
                }
                // The title of the window.
                Some(']') => while chars.next().is_some_and(|char| char != '\x07') {},
                _ => {}
            },
            char => seen.push(char),
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use overlapped_testing::PATIENCE;

    use super::*;

    #[test]
    fn a_line_is_what_a_reader_sees() {
        for (bytes, seen) in [
            ("hello\r\r\n", "hello"),
            ("\x1b[?25l\x1b[K\x1b[K>\x1b[K\x1b[1C\x1b[?25h", "> "),
            ("a\x1b[3Cb\x1b[Cc", "a   b c"),
            ("1 of 13\r\x1b[Kdone", "done"),
            ("\x1b]0;title\x07\x1b[1;31mred\x1b[0m", "red"),
            ("ab\x08c", "ac"),
            ("µs", "µs"),
        ] {
            assert_eq!(plain(bytes.as_bytes()), seen, "{bytes:?}");
        }
    }

    #[test]
    fn a_prompt_ends_a_line() {
        assert_eq!(prompt("@page:0@ "), Some(("", 0)));
        assert_eq!(prompt("no newline@page:130@ "), Some(("no newline", 130)));
        for line in ["@page:0@ ls", "@page:@ ", "> ", ""] {
            assert_eq!(prompt(line), None, "{line}");
        }
    }

    /// A terminal whose shell has started a program beside it, and asks for the next command once it runs.
    fn beside(program: &str, name: &str) -> Terminal {
        let mut terminal = Terminal::start(80, &[], |_| {}).expect("a shell").with_keys();
        let prompt = terminal.next(false, Instant::now() + PATIENCE);
        assert_eq!(prompt, Shown::Prompt(0), "{}", terminal.shown());
        // Until then it has the shell's name.
        let runs = format!("until grep -qx {name} /proc/$!/comm; do :; done");
        terminal.types(&format!("({program} 600 & {runs})")).expect("a keyboard");
        terminal
    }

    #[test]
    fn only_a_console_is_waited_for() {
        let mut terminal = beside("sleep", "sleep");
        let prompt_shown = terminal.next(false, Instant::now() + PATIENCE);
        assert_eq!(prompt_shown, Shown::Prompt(0), "{}", terminal.shown());

        let sleep = std::fs::canonicalize("/bin/sleep").expect("a program that waits");
        let directory = std::env::temp_dir().join(format!("overlapped-console-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let console = directory.join(CONSOLE);
        std::os::unix::fs::symlink(sleep, &console).expect("a link");
        let mut terminal = beside(&console.to_string_lossy(), CONSOLE);
        let end = Instant::now() + PATIENCE;
        while prompt(&plain(&terminal.pending)).is_none() {
            assert!(Instant::now() < end, "no prompt: {}", terminal.shown());
            assert_eq!(
                terminal.next(false, Instant::now() + 20 * LOOK),
                Shown::Nothing,
                "{}",
                terminal.shown()
            );
        }
        for member in members(terminal.shell.id()).iter().filter(|member| member.name == CONSOLE) {
            kill_process(member.pid, Signal::KILL).expect("it is there");
        }
        assert_eq!(terminal.next(false, Instant::now() + PATIENCE), Shown::Prompt(0), "{}", terminal.shown());
        std::fs::remove_dir_all(directory).expect("an end");
    }
}
