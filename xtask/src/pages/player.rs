//! Does what a page says, and compares what appears with what the page shows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::expected::Expected;
use super::network::Network;
use super::page::Page;
use super::script::{Step, Typed};
use super::terminal::{Shown, Terminal};
use crate::bounded::Failure;

/// What Ctrl-C leaves of a program that does not catch it: 128, and the number of the signal.
const INTERRUPTED: i32 = 130;

/// The kernel closes the socket of a program that was interrupted a moment after its end, if a ring still uses it.
const CLOSES: Duration = Duration::from_secs(5);
/// The same where another program may rightly use the port.
const CLOSES_SOON: Duration = Duration::from_millis(500);

/// A system that a page's programs run on.
pub(super) trait System {
    /// A terminal with a shell, in the checkout.
    fn terminal(&self) -> Result<Terminal, Failure>;

    /// What the shell is given for a command of the page; `None` if it was done before.
    fn command(&self, command: &str) -> Result<Option<String>, Failure> {
        Ok(Some(command.to_owned()))
    }

    /// Whether an exit status says nothing about the program.
    fn forgives(&self, _status: i32) -> bool {
        false
    }

    fn network(&self) -> &Network;
}

/// How long one thing may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) program: Duration,
    /// For `cargo`, which may have to build first.
    pub(super) build: Duration,
}

impl Limits {
    pub(super) const USUAL: Limits =
        Limits { program: Duration::from_secs(60), build: Duration::from_secs(1800) };
}

struct Player<'p> {
    page: &'p Page,
    system: &'p dyn System,
    limits: Limits,
    terminals: BTreeMap<usize, Running>,
}

/// A terminal and the command that was typed there last.
struct Running {
    terminal: Terminal,
    command: String,
    limit: Duration,
    interrupted: bool,
}

/// Does all steps. Returns how many commands were run.
///
/// # Errors
/// The first thing that was not as on the page: where, and what the terminal showed.
pub(super) fn play(
    page: &Page,
    steps: &[Step],
    system: &dyn System,
    limits: Limits,
) -> Result<usize, Failure> {
    let (network, path) = (system.network(), &page.path);
    let port = network.port;
    if !network.is_free_within(CLOSES) {
        return Err(format!("{path}: another program listens on port {port} already; end it first"));
    }
    let mut player = Player { page, system, limits, terminals: BTreeMap::new() };
    for step in steps {
        player.step(step)?;
    }
    if !network.is_free_within(CLOSES) {
        return Err(format!("{path}: the page leaves a server behind that listens on port {port}"));
    }
    Ok(steps.iter().filter(|step| matches!(step.typed, Typed::Command(_))).count())
}

impl Player<'_> {
    fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match &step.typed {
            Typed::Command(command) => {
                if !self.types_command(step, command)? {
                    return Ok(());
                }
            }
            Typed::Input(input) => {
                self.waits_for_question(step, input)?;
                self.running(step).terminal.types(input)?;
            }
            Typed::Key(key) => {
                let running = self.running(step);
                running.terminal.passes_over();
                running.interrupted |= *key == 'C';
                running.terminal.presses_with_control(*key)?;
            }
            Typed::Nothing => {}
        }
        for (line, expected) in &step.expected {
            self.expects(step, *line, expected)?;
        }
        if step.returns { self.returns(step) } else { Ok(()) }
    }

    /// Types a command into the shell, unless it was done before.
    fn types_command(&mut self, step: &Step, command: &str) -> Result<bool, Failure> {
        println!("{}:{}: {command}", self.page.path, step.line);
        let given = self.system.command(command);
        let refused = |what| format!("{}:{}: `{command}`: {what}", self.page.path, step.line);
        let Some(given) = given.map_err(refused)? else { return Ok(false) };
        let limit = if command.starts_with("cargo ") { self.limits.build } else { self.limits.program };
        if !self.terminals.contains_key(&step.terminal) {
            let terminal = self.system.terminal()?;
            let running = Running { terminal, command: "(the shell)".into(), limit, interrupted: false };
            self.terminals.insert(step.terminal, running);
            self.returns(step)?;
        }
        let running = self.running(step);
        (running.command, running.limit, running.interrupted) = (command.to_owned(), limit, false);
        running.terminal.forgets();
        running.terminal.types(&given)?;
        Ok(true)
    }

    /// Waits until a program asks for a line.
    fn waits_for_question(&mut self, step: &Step, input: &str) -> Result<(), Failure> {
        let running = self.running(step);
        let deadline = Instant::now() + running.limit;
        loop {
            let what = match running.terminal.next(true, deadline) {
                Shown::Line(_) => continue,
                Shown::Question => return Ok(()),
                other => ended(&other, running.limit),
            };
            return Err(self.failure(step.line, step, &format!("no program asks for `> {input}`: {what}")));
        }
    }

    /// Waits for a line of output.
    fn expects(&mut self, step: &Step, line: usize, expected: &Expected) -> Result<(), Failure> {
        let running = self.running(step);
        let deadline = Instant::now() + running.limit;
        loop {
            let what = match running.terminal.next(false, deadline) {
                Shown::Line(line) if expected.matches(&line) => return Ok(()),
                Shown::Line(_) => continue,
                other => ended(&other, running.limit),
            };
            let earlier = running.terminal.has_shown(|line| expected.matches(line));
            let earlier = if earlier { " (there is such a line, but it came earlier)" } else { "" };
            let what = format!("expected the line\n    {}\nbut {what}{earlier}", expected.text);
            return Err(self.failure(line, step, &what));
        }
    }

    /// Waits until the shell asks for the next command, and looks at the status of the last one.
    fn returns(&mut self, step: &Step) -> Result<(), Failure> {
        let system = self.system;
        let running = self.running(step);
        let deadline = Instant::now() + running.limit;
        loop {
            let what = match running.terminal.next(false, deadline) {
                Shown::Line(_) => continue,
                Shown::Prompt(0) => return Ok(()),
                Shown::Prompt(INTERRUPTED) if running.interrupted => {
                    // The next command may want the port. A server of another terminal keeps it.
                    system.network().is_free_within(CLOSES_SOON);
                    return Ok(());
                }
                Shown::Prompt(status) if system.forgives(status) => {
                    println!("known limit of this system: status {status}");
                    return Ok(());
                }
                Shown::Prompt(status) => format!("it ended with status {status}"),
                Shown::Gone => "it has ended the shell".into(),
                _ => format!("it has not ended after {:?}, and nothing more is typed there", running.limit),
            };
            return Err(self.failure(step.line, step, &what));
        }
    }

    fn running(&mut self, step: &Step) -> &mut Running {
        self.terminals.get_mut(&step.terminal).expect("a script begins with a command in each terminal")
    }

    fn failure(&self, line: usize, step: &Step, what: &str) -> Failure {
        let running = self.terminals.get(&step.terminal);
        let command = running.map(|running| format!("`{}`: ", running.command)).unwrap_or_default();
        let shown = running.map(|running| running.terminal.shown()).unwrap_or_default();
        let terminal = step.terminal;
        format!("{}:{line}: {command}{what}. Terminal {terminal} showed:\n{shown}", self.page.path)
    }
}

/// What came instead of a line.
fn ended(shown: &Shown, limit: Duration) -> String {
    match shown {
        Shown::Prompt(status) => format!("the program has ended with status {status}"),
        Shown::Gone => "the shell has ended".into(),
        _ => format!("that did not come within {limit:?}"),
    }
}
