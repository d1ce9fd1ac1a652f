//! `overlapped --generate KIND`: man pages and shell completions, from the definitions that `--help` is made of.

use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::{Args, Kind};
use crate::failure::Failure;
use crate::output::say;

pub(crate) fn run(kind: Kind) -> Result<ExitCode, Failure> {
    let text = match kind {
        Kind::Man => page(None),
        Kind::ManServe => page(Some("serve")),
        Kind::ManClient => page(Some("client")),
        Kind::ManLoad => page(Some("load")),
        Kind::ManPitfalls => page(Some("pitfalls")),
        Kind::ManDoctor => page(Some("doctor")),
        Kind::CompleteBash => Ok(completions(Shell::Bash)),
        Kind::CompleteElvish => Ok(completions(Shell::Elvish)),
        Kind::CompleteFish => Ok(completions(Shell::Fish)),
        Kind::CompletePowershell => Ok(completions(Shell::PowerShell)),
        Kind::CompleteZsh => Ok(completions(Shell::Zsh)),
    }?;
    say(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// The page of the program, or of one of its commands, in section 1.
fn page(name: Option<&str>) -> Result<String, Failure> {
    let mut command = Args::command().disable_help_subcommand(true);
    // Gives the commands their full names: `overlapped-serve` for the title, `overlapped serve` for the synopsis.
    command.build();
    let command = name.map_or(Some(&command), |name| command.find_subcommand(name));
    let command = command.ok_or_else(|| Failure::failed("this command has no page"))?;
    let mut page = Vec::new();
    let man = Man::new(command.clone()).source(concat!("overlapped ", env!("CARGO_PKG_VERSION")));
    let rendered = man.render(&mut page);
    rendered.map_err(|error| Failure::failed(format_args!("cannot render the page: {error}")))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn completions(shell: Shell) -> String {
    let mut command: Command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    /// A new command needs a page of its own, and no page is left without its command.
    #[test]
    fn every_command_has_a_page() {
        let command = Args::command();
        let commands = command.get_subcommands().map(|command| format!("man-{}", command.get_name()));
        let kinds = Kind::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let kinds: Vec<_> = kinds.map(|kind| kind.get_name().to_owned()).collect();
        let pages: Vec<_> = kinds.iter().filter(|kind| kind.starts_with("man-")).cloned().collect();
        assert_eq!(commands.collect::<Vec<_>>(), pages);
    }
}
