//! The words after `cargo xtask bench`.

use std::path::PathBuf;

use crate::bounded::Failure;

const USAGE: &str = "\
cargo xtask bench [--quick] [--rounds N] [--workloads a,b] [--servers x,y] [--out DIR] [--install]
       cargo xtask bench --growth [--quick] [--rounds N] [--servers x,y] [--out DIR] [--install]
       cargo xtask bench --guest [--out DIR] [--install]
       cargo xtask bench --smoke [--out DIR]";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// The table of all servers and workloads.
    Table,
    /// How costs grow with sessions and sizes.
    Growth,
    /// Up to 100,000 sessions, in a machine of qemu.
    Guest,
    /// Each workload for a moment, to see that the chore itself works.
    Smoke,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) task: Task,
    /// Less than ten minutes.
    pub(super) quick: bool,
    /// Instead of each workload's own number.
    pub(super) rounds: Option<u32>,
    /// All, if there are none.
    pub(super) workloads: Vec<String>,
    /// By name, or by the beginning of a name and `*`; all, if there are none.
    pub(super) servers: Vec<String>,
    /// Instead of `target/bench`.
    pub(super) out: Option<PathBuf>,
    pub(super) install: bool,
}

impl Options {
    pub(super) fn parse(words: &[&str]) -> Result<Options, Failure> {
        let mut options = Options {
            task: Task::Table,
            quick: false,
            rounds: None,
            workloads: Vec::new(),
            servers: Vec::new(),
            out: None,
            install: false,
        };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| wrong(&format!("{word} needs a value")));
            match word {
                "--quick" => options.quick = true,
                "--growth" => options.choose(Task::Growth)?,
                "--guest" => options.choose(Task::Guest)?,
                "--smoke" => options.choose(Task::Smoke)?,
                "--install" => options.install = true,
                "--rounds" => options.rounds = Some(count(value()?)?),
                "--workloads" => options.workloads = list(value()?),
                "--servers" => options.servers = list(value()?),
                "--out" => options.out = Some(PathBuf::from(value()?)),
                _ => return Err(wrong(&format!("`{word}` is unknown"))),
            }
        }
        if options.task != Task::Table && !options.workloads.is_empty() {
            return Err(wrong("--workloads chooses from the table; it has no meaning with another task"));
        }
        Ok(options)
    }

    fn choose(&mut self, task: Task) -> Result<(), Failure> {
        if self.task != Task::Table {
            return Err(wrong("--growth, --guest and --smoke exclude each other"));
        }
        self.task = task;
        Ok(())
    }

    /// Whether everything is measured as it must be for `docs/benchmarks.md`.
    pub(super) fn is_whole(&self) -> bool {
        !self.quick && self.rounds.is_none() && self.workloads.is_empty() && self.servers.is_empty()
    }

    /// The command that does this, for those who want to repeat it. The place of its output and the installation of
    /// packages change no figure.
    pub(super) fn command(&self) -> String {
        let mut command = "cargo xtask bench".to_owned();
        command.push_str(match self.task {
            Task::Table => "",
            Task::Growth => " --growth",
            Task::Guest => " --guest",
            Task::Smoke => " --smoke",
        });
        if self.quick {
            command.push_str(" --quick");
        }
        if let Some(rounds) = self.rounds {
            command.push_str(&format!(" --rounds {rounds}"));
        }
        for (flag, names) in [("--workloads", &self.workloads), ("--servers", &self.servers)] {
            if !names.is_empty() {
                command.push_str(&format!(" {flag} {}", names.join(",")));
            }
        }
        command
    }
}

fn list(names: &str) -> Vec<String> {
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn count(word: &str) -> Result<u32, Failure> {
    let count = word.parse().ok().filter(|count| (1..=1000).contains(count));
    count.ok_or_else(|| wrong(&format!("--rounds takes a number from 1 to 1000, not `{word}`")))
}

fn wrong(what: &str) -> Failure {
    format!("{what}\nusage: {USAGE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_become_options_and_a_command() {
        let words = ["--quick", "--workloads", "b,e", "--servers", "tokio", "--rounds", "5", "--out", "x"];
        let options = Options::parse(&words).unwrap();
        assert_eq!(options.workloads, ["b", "e"]);
        assert_eq!(options.rounds, Some(5));
        assert!(options.quick && !options.is_whole());
        let command = "cargo xtask bench --quick --rounds 5 --workloads b,e --servers tokio";
        assert_eq!(options.command(), command);
        let whole = Options::parse(&["--growth", "--install"]).unwrap();
        assert!(whole.is_whole() && whole.task == Task::Growth);
        assert_eq!(whole.command(), "cargo xtask bench --growth");
    }

    #[test]
    fn wrong_words_are_refused_with_the_usage() {
        for words in [
            &["--fast"][..],
            &["--rounds"],
            &["--rounds", "0"],
            &["--rounds", "many"],
            &["--growth", "--guest"],
            &["--guest", "--workloads", "b"],
        ] {
            let error = Options::parse(words).unwrap_err();
            assert!(error.contains("usage: cargo xtask bench"), "{error}");
        }
    }
}
