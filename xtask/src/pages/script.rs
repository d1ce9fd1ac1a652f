//! What a page has its reader do: the commands of its blocks in their order, what is typed into the programs, and what
//! must appear.
//!
//! A block of `console` (Unix) or `powershell` (Windows) is a piece of a terminal's contents:
//!
//! * `$ ` or `PS> ` begins a command, `> ` a line that is typed into a running program, which asks for it with `> `;
//!   `^C` and `^D` alone on a line are keys.
//! * Every other line is output. These lines must appear after what was typed, in this order; others may come between.
//!   [`Expected`] says what a line stands for. `…` alone on a line is for the reader.
//! * `terminal=2` after the language is where the block is typed; 1 if there is no such word. A terminal lives until the
//!   page ends. `not-run` keeps a block from being run.
//!
//! A command is expected to end, with status 0, before the next thing happens anywhere, unless what follows in its
//! terminal is input, a key, or a later block that begins with output.

use super::expected::Expected;
use super::page::{Block, Page};

/// Whose commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shell {
    Unix,
    PowerShell,
}

/// What is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Into the shell.
    Command(String),
    /// Into the program that runs, when it asks for it.
    Input(String),
    /// `^C`, or another letter with Ctrl.
    Key(char),
    /// More is expected of a program that runs.
    Nothing,
}

/// Something is typed, and lines appear.
pub(super) struct Step {
    pub(super) line: usize,
    pub(super) terminal: usize,
    pub(super) typed: Typed,
    /// Each with its number in the page.
    pub(super) expected: Vec<(usize, Expected)>,
    /// Whether the shell must ask for the next command after this.
    pub(super) returns: bool,
}

impl Shell {
    pub(super) const ALL: [Shell; 2] = [Shell::Unix, Shell::PowerShell];

    /// Of its blocks.
    pub(super) fn language(self) -> &'static str {
        match self {
            Shell::Unix => "console",
            Shell::PowerShell => "powershell",
        }
    }

    pub(super) fn prompt(self) -> &'static str {
        match self {
            Shell::Unix => "$ ",
            Shell::PowerShell => "PS> ",
        }
    }
}

/// The word that keeps a block from being run.
pub(super) const NOT_RUN: &str = "not-run";

/// The steps of a page in one shell.
///
/// # Errors
/// What is wrong with the page, as `path:line: what`.
pub(super) fn steps(page: &Page, shell: Shell) -> Result<Vec<Step>, Vec<String>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut findings = Vec::new();
    for block in page.blocks.iter().filter(|block| block.language == shell.language()) {
        let terminal = match terminal(block) {
            Ok(Some(terminal)) => terminal,
            Ok(None) => continue,
            Err(what) => {
                findings.push(format!("{}:{}: {what}", page.path, block.line));
                continue;
            }
        };
        let first = steps.len();
        for (line, text) in block.numbered().filter(|(_, text)| !matches!(text.trim(), "" | "…")) {
            let typed = typed(text, shell);
            if typed == Typed::Nothing {
                if steps.len() == first {
                    steps.push(Step { line, terminal, typed, expected: Vec::new(), returns: false });
                }
                steps[first..].last_mut().expect("just seen").expected.push((line, Expected::new(text)));
            } else {
                steps.push(Step { line, terminal, typed, expected: Vec::new(), returns: false });
            }
        }
    }
    for at in 0..steps.len() {
        let next = next_in(&steps[at + 1..], steps[at].terminal);
        steps[at].returns = next.is_none_or(|next| matches!(next.typed, Typed::Command(_)));
        if let Some(what) = misplaced(&steps[..at], &steps[at]) {
            findings.push(format!("{}:{}: {what}", page.path, steps[at].line));
        }
    }
    if findings.is_empty() { Ok(steps) } else { Err(findings) }
}

/// Where a block is typed, unless it is not run.
fn terminal(block: &Block) -> Result<Option<usize>, String> {
    let mut terminal = 1;
    for word in block.words.iter().filter(|word| *word != NOT_RUN) {
        let number = word.strip_prefix("terminal=").and_then(|number| number.parse().ok());
        terminal = number.ok_or_else(|| format!("`{word}`: write `terminal=NUMBER` or `{NOT_RUN}`"))?;
    }
    Ok(Some(terminal).filter(|_| !block.has(NOT_RUN)))
}

fn typed(text: &str, shell: Shell) -> Typed {
    let key = text.trim().strip_prefix('^').filter(|key| ["C", "D"].contains(key));
    if let Some(command) = text.strip_prefix(shell.prompt()) {
        Typed::Command(command.trim_end().to_owned())
    } else if let Some(input) = text.strip_prefix("> ") {
        Typed::Input(input.trim_end().to_owned())
    } else if let Some(key) = key.and_then(|key| key.chars().next()) {
        Typed::Key(key)
    } else {
        Typed::Nothing
    }
}

fn next_in(steps: &[Step], terminal: usize) -> Option<&Step> {
    steps.iter().find(|step| step.terminal == terminal)
}

/// What is wrong with a step after those before it.
fn misplaced(before: &[Step], step: &Step) -> Option<&'static str> {
    let last = before.iter().rev().find(|last| last.terminal == step.terminal);
    match (&step.typed, last) {
        (Typed::Command(command), _) if command.ends_with('\\') => Some("a command is one line"),
        (Typed::Command(_), _) => None,
        (_, None) => Some("no command runs in this terminal; `terminal=NUMBER` says where a block is typed"),
        (Typed::Key(_), Some(last)) if last.expected.is_empty() => {
            Some("show a line that the program prints before this key, so that it has begun by then")
        }
        _ => None,
    }
}

/// A command without the comment at its end, which is for the reader.
pub(super) fn without_comment(command: &str) -> &str {
    let comment = command.match_indices("  # ").map(|(at, _)| at).next();
    command[..comment.unwrap_or(command.len())].trim_end()
}

#[cfg(test)]
mod tests {
    use super::super::page::page;
    use super::*;

    const FLOW: &str = "
```console
$ build   # first
$ serve
listening
```

```console terminal=2
$ client
> hello

hello
> q
```

```console
^C
served 1 session
```
";

    #[test]
    fn a_command_returns_unless_something_is_typed_into_it() {
        let steps = steps(&page(FLOW), Shell::Unix).unwrap();
        let seen: Vec<_> = steps
            .iter()
            .map(|step| (step.terminal, step.typed.clone(), step.expected.len(), step.returns))
            .collect();
        let (command, input) =
            (|text: &str| Typed::Command(text.into()), |text: &str| Typed::Input(text.into()));
        let wanted = [
            (1, command("build   # first"), 0, true),
            (1, command("serve"), 1, false),
            (2, command("client"), 0, false),
            (2, input("hello"), 1, false),
            (2, input("q"), 0, true),
            (1, Typed::Key('C'), 1, true),
        ];
        assert_eq!(seen, wanted);
        assert_eq!(steps[3].line, 10);
        assert_eq!(steps[3].expected[0].0, 12);
    }

    #[test]
    fn a_later_block_that_begins_with_output_continues_a_program() {
        let text = "```console\n$ serve\nlistening\n```\n\n```console\nopened\n```\n";
        let steps = steps(&page(text), Shell::Unix).unwrap();
        assert!(!steps[0].returns && steps[1].returns);
        assert_eq!(steps[1].typed, Typed::Nothing);
    }

    #[test]
    fn each_shell_has_its_blocks() {
        let page =
            page("```console\n$ a\n```\n```powershell\nPS> b\n$ c\n```\n```console not-run\n$ d\n```\n");
        let unix = steps(&page, Shell::Unix).unwrap();
        let windows = steps(&page, Shell::PowerShell).unwrap();
        assert_eq!((unix.len(), windows.len()), (1, 1));
        assert_eq!(windows[0].typed, Typed::Command("b".into()));
        assert_eq!(windows[0].expected[0].1.text, "$ c");
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        for (block, line) in [
            ("```console\nhello\n```", 2),
            ("```console\n$ serve\n^C\n```", 3),
            ("```console terminal=2\n> hello\n```", 2),
            ("```console\n$ a \\\n```", 2),
            ("```console termial=2\n$ a\n```", 1),
        ] {
            let findings = steps(&page(block), Shell::Unix).err().unwrap_or_default();
            assert!(
                matches!(&findings[..], [one] if one.starts_with(&format!("page.md:{line}: "))),
                "{findings:?}"
            );
        }
    }

    #[test]
    fn a_comment_is_not_a_part_of_a_command() {
        assert_eq!(without_comment("a '# b'   # c"), "a '# b'");
        assert_eq!(without_comment("a #b"), "a #b");
    }
}
