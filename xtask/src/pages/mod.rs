//! The pages of documentation: every command of theirs is run as written, code that they quote is in the files that they
//! name, both languages of a page show the same, and links lead somewhere.
//!
//! [`script`] says how a page shows commands. They are run on Linux, in shells at terminals of their own, and those of
//! PowerShell under Wine, as a part of `cargo xtask windows`: the same programs with the same arguments, at consoles that
//! Wine makes of terminals. PowerShell itself does not run there.

mod code;
mod expected;
mod links;
#[cfg(target_os = "linux")]
mod network;
mod page;
#[cfg(target_os = "linux")]
mod play;
#[cfg(target_os = "linux")]
mod player;
mod powershell;
mod script;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::bounded::Failure;
use crate::place;
use page::{Block, Page};
use script::{NOT_RUN, Shell};

#[cfg(target_os = "linux")]
pub(crate) use play::under_wine;

/// Pages outside `docs`.
const FRONT: [&str; 2] = ["README.md", "README.ko.md"];
/// Languages of blocks in which commands would escape this.
const OTHER_SHELLS: [&str; 8] = ["sh", "bash", "shell", "zsh", "shell-session", "cmd", "bat", "ps1"];

/// Checks all pages, and runs the commands of those that are named, or of all: those for Linux or, with the programs that
/// `cargo xtask windows` has built, those for Windows.
pub(crate) fn run(windows: bool, names: &[&str]) -> Result<(), Failure> {
    let root = place::workspace();
    let pages = all(&root)?;
    if let Some(name) = names.iter().find(|name| !pages.iter().any(|page| page.path == **name)) {
        return Err(format!("there is no page `{name}`"));
    }
    let is_named = |finding: &str| names.iter().any(|name| finding.starts_with(&format!("{name}:")));
    let mut findings = findings(&root, &pages);
    findings.retain(|finding| names.is_empty() || is_named(finding));
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        return Err(format!("{} places in the pages to mend, listed above", findings.len()));
    }
    println!("pages: {} pages are in order", if names.is_empty() { pages.len() } else { names.len() });
    #[cfg(target_os = "linux")]
    if windows {
        play::on_wine(&place::target("windows"), &chosen(&pages, names))?;
    } else {
        play::on_linux(&root, &chosen(&pages, names))?;
    }
    #[cfg(not(target_os = "linux"))]
    println!("pages: their commands are run on Linux only{}", if windows { ", under Wine too" } else { "" });
    Ok(())
}

/// All pages, in the order of their names.
fn all(root: &Path) -> Result<Vec<Page>, Failure> {
    let folder = std::fs::read_dir(root.join("docs")).map_err(|error| format!("docs: {error}"))?;
    let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let docs = names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}"));
    let mut paths: Vec<String> = docs.chain(FRONT.map(str::to_owned)).collect();
    paths.sort();
    paths.iter().map(|path| Page::read(root, path)).collect()
}

/// The pages whose commands are run: those with these names, or one language of each. The other one shows the same.
fn chosen<'p>(pages: &'p [Page], names: &[&str]) -> Vec<&'p Page> {
    let wanted = |page: &&Page| {
        if names.is_empty() { !page.is_korean() } else { names.contains(&page.path.as_str()) }
    };
    pages.iter().filter(wanted).collect()
}

/// What is wrong with the pages, as `path:line: what`.
fn findings(root: &Path, pages: &[Page]) -> Vec<String> {
    let mut findings = Vec::new();
    for page in pages {
        findings.extend(links::dead(root, page));
        findings.extend(code::quotes(root, page));
        findings.extend(unplayable(page));
        if let Some(path) = page.path.strip_suffix(".ko.md") {
            match pages.iter().find(|other| other.path == format!("{path}.md")) {
                Some(english) => findings.extend(code::same_blocks(english, page)),
                None => findings.push(format!("{}:1: there is no such page in English", page.path)),
            }
        }
    }
    findings
}

/// Blocks that the runner would not run, though they do not say so, or could not.
fn unplayable(page: &Page) -> Vec<String> {
    let mut findings = Vec::new();
    let is_command = |line: &str| Shell::ALL.iter().any(|shell| line.starts_with(shell.prompt()));
    let is_played = |block: &&Block| Shell::ALL.iter().any(|shell| shell.language() == block.language);
    for block in page.blocks.iter().filter(|block| !is_played(block) && !block.has(NOT_RUN)) {
        let other_shell = OTHER_SHELLS.contains(&block.language.as_str());
        if other_shell || block.lines.iter().any(|line| is_command(line.trim_start())) {
            let what = format!("`{}`: write `console` or `powershell`, or add `{NOT_RUN}`", block.language);
            findings.push(format!("{}:{}: {what}", page.path, block.line));
        }
    }
    // Also those of a block that is indented, or within a quotation.
    for (at, line) in page.prose().into_iter().enumerate() {
        if is_command(line.trim_start_matches(['>', ' '])) {
            findings.push(format!("{}:{}: a command outside a block is not run", page.path, at + 1));
        }
    }
    for shell in Shell::ALL {
        match script::steps(page, shell) {
            Ok(steps) if shell == Shell::PowerShell => {
                let wrong = powershell::wrong(&steps).into_iter();
                findings.extend(wrong.map(|(line, what)| format!("{}:{line}: {what}", page.path)));
            }
            Ok(_) => {}
            Err(wrong) => findings.extend(wrong),
        }
    }
    findings
}
