//! What a release offers for one system: the program, its man pages and completions, licences and README in one
//! archive, and its checksum beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::bounded::{self, Failure};
use crate::metadata::Metadata;
use crate::place;

const BUILD: Duration = Duration::from_secs(1800);
const ARCHIVE: Duration = Duration::from_secs(60);
const PACKAGE: &str = "overlapped-cli";
const PROGRAM: &str = "overlapped";
/// From the workspace's root.
const PAPERS: [&str; 5] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "README.ko.md", "CHANGELOG.md"];
/// Kinds of `overlapped --generate`, and the file that each shell looks for.
const COMPLETIONS: [(&str, &str); 5] = [
    ("complete-bash", "overlapped.bash"),
    ("complete-elvish", "overlapped.elv"),
    ("complete-fish", "overlapped.fish"),
    ("complete-powershell", "_overlapped.ps1"),
    ("complete-zsh", "_overlapped"),
];

/// `target`: the system, as rustc calls it; without one, this system. Its programs must run here.
pub(crate) fn run(target: Option<&str>) -> Result<(), Failure> {
    let version = version()?;
    let target = target.map_or_else(host, |target| Ok(target.to_owned()))?;
    let program = build(&target)?;
    let name = format!("{PROGRAM}-{version}-{target}");
    let all = place::target("dist");
    let into = all.join(&name);
    fill(&program, &into).map_err(|error| format!("cannot fill {}: {error}", into.display()))??;
    let archive = pack(&all, &name, target.contains("windows"))?;
    let sum = sum(&archive).map_err(|error| format!("cannot sum {}: {error}", archive.display()))?;
    println!("{sum}");
    Ok(())
}

fn version() -> Result<String, Failure> {
    let metadata = Metadata::read()?;
    let package = metadata.published().into_iter().find(|package| package.name == PACKAGE);
    package.map(|package| package.version.clone()).ok_or_else(|| format!("{PACKAGE} is not published"))
}

/// This system, as rustc calls it.
fn host() -> Result<String, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let output = Command::new(rustc).arg("-vV").output();
    let output = output.map_err(|error| format!("rustc does not start: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| format!("rustc does not say its host: {text}"))
}

fn build(target: &str) -> Result<PathBuf, Failure> {
    let mut cargo = place::cargo();
    cargo.args(["build", "--release", "--locked", "--package", PACKAGE, "--bin", PROGRAM]);
    cargo.args(["--target", target, "--message-format=json-render-diagnostics"]);
    let (lines, _) = bounded::lines_of(&mut cargo, BUILD, |_| false)?;
    let program = lines.iter().filter_map(|line| place::program_in(line)).next_back();
    program.ok_or_else(|| format!("{PACKAGE} built no program"))
}

/// Puts everything that the archive has into a directory.
fn fill(program: &Path, into: &Path) -> io::Result<Result<(), Failure>> {
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    let (pages, completions) = (into.join("man"), into.join("completions"));
    fs::create_dir_all(&pages)?;
    fs::create_dir_all(&completions)?;
    fs::copy(program, into.join(program.file_name().unwrap_or_default()))?;
    for paper in PAPERS {
        fs::copy(place::workspace().join(paper), into.join(paper))?;
    }
    let write = |kind: &str, file: PathBuf| {
        let text = generated(program, kind)?;
        fs::write(&file, &text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        Ok::<String, Failure>(text)
    };
    let written = || {
        let page = write("man", pages.join(format!("{PROGRAM}.1")))?;
        let commands = commands(&page);
        if commands.is_empty() {
            return Err("the man page names no commands".to_owned());
        }
        for command in commands {
            write(&format!("man-{command}"), pages.join(format!("{PROGRAM}-{command}.1")))?;
        }
        COMPLETIONS.iter().try_for_each(|(kind, file)| write(kind, completions.join(file)).map(drop))
    };
    Ok(written())
}

/// What the program prints for `--generate KIND`.
fn generated(program: &Path, kind: &str) -> Result<String, Failure> {
    let output = Command::new(program).args(["--generate", kind]).output();
    let output = output.map_err(|error| format!("{} does not run here: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!("`--generate {kind}`: {}", String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`--generate {kind}` is not UTF-8"))
}

/// The commands that have pages of their own, as the program's page names them: `overlapped\-serve(1)`.
fn commands(page: &str) -> Vec<String> {
    let names = page.lines().filter_map(|line| line.strip_suffix("(1)"));
    names.filter_map(|name| name.strip_prefix(r"overlapped\-")).map(str::to_owned).collect()
}

/// Windows users expect a zip file; its own `tar` makes one.
fn pack(all: &Path, name: &str, windows: bool) -> Result<PathBuf, Failure> {
    let archive = format!("{name}.{}", if windows { "zip" } else { "tar.gz" });
    let system = std::env::var_os("SystemRoot").map(PathBuf::from).filter(|_| cfg!(windows));
    let mut tar = Command::new(system.map_or("tar".into(), |root| root.join("System32").join("tar.exe")));
    if cfg!(target_os = "linux") {
        // Who built it is no business of its user.
        tar.args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name"]);
    }
    tar.current_dir(all).args([if windows { "-acf" } else { "-czf" }, archive.as_str(), name]);
    bounded::run(&mut tar, ARCHIVE)?;
    Ok(all.join(archive))
}

/// Writes the checksum beside the archive, in the form that `sha256sum --check` reads, and returns it.
fn sum(archive: &Path) -> io::Result<String> {
    let hash = Sha256::digest(fs::read(archive)?);
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let file = archive.file_name().unwrap_or_default().to_string_lossy();
    let line = format!("{digits}  {file}");
    fs::write(archive.with_file_name(format!("{file}.sha256")), format!("{line}\n"))?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_with_pages() {
        let page = ".SH SUBCOMMANDS\n.TP\noverlapped\\-serve(1)\nEcho\n.TP\noverlapped\\-doctor(1)\ntcp(7)\n";
        assert_eq!(commands(page), ["serve", "doctor"]);
    }
}
