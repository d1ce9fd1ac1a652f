//! The peers of `bench/`: what `peers.json` says, building them, and their versions.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::servers::{self, Server};
use crate::bounded::{self, Failure};
use crate::{packages, place};

const BUILD: Duration = Duration::from_secs(3600);
const COMPILE: Duration = Duration::from_secs(300);

/// An entry of `bench/peers.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Peer {
    name: String,
    /// The program's file name, then its words.
    command: Vec<String>,
    threads: u32,
    build: Build,
    /// With `cargo` a package of `bench/`, else a file.
    source: String,
    /// The libraries that it is linked with, without `cargo`.
    libs: Vec<String>,
    /// Debian's packages without which it cannot be built.
    needs: Vec<String>,
    /// A crate of `bench/Cargo.lock`, or one of Debian's packages; empty if it shows no project.
    version_of: String,
    /// How it works, in a few words.
    notes: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Build {
    Cargo,
    Cc,
    #[serde(rename = "c++")]
    Cxx,
}

impl Build {
    /// The compiler and its words.
    fn compiler(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Build::Cargo => ("cargo", &[]),
            Build::Cc => ("cc", &["-O3"]),
            Build::Cxx => ("c++", &["-O3", "-std=c++17"]),
        }
    }
}

impl Peer {
    fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }
}

/// Where the peers' sources are.
fn workspace() -> PathBuf {
    place::workspace().join("bench")
}

/// All that `peers.json` lists, in its order.
pub(super) fn listed() -> Result<Vec<Peer>, Failure> {
    let file = workspace().join("peers.json");
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Those that these words choose; all, if there are none.
pub(super) fn chosen(peers: Vec<Peer>, names: &[String]) -> Vec<Peer> {
    let wanted =
        |peer: &Peer| names.is_empty() || names.iter().any(|name| servers::is_named(&peer.name, name));
    peers.into_iter().filter(wanted).collect()
}

/// Builds them. One that cannot be built is in the list all the same, with the reason.
pub(super) fn build(peers: &[Peer], install: bool) -> Result<Vec<Server>, Failure> {
    if install {
        let missing: Vec<&str> = peers.iter().flat_map(missing_of).collect();
        if !missing.is_empty() {
            packages::update()?;
            packages::install(&missing)?;
        }
    }
    let target = place::target("bench").join("peers");
    let mut cargo: Vec<&str> = of(peers, Build::Cargo).map(Peer::program).collect();
    cargo.sort_unstable();
    cargo.dedup();
    let status = build_with_cargo(&cargo, &target)?;
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).unwrap_or_default();
    let servers = peers.iter().map(|peer| {
        let program = target.join("release").join(peer.program());
        let missing = match peer.build {
            Build::Cc | Build::Cxx => compile(peer, &program).err(),
            Build::Cargo if status || program.exists() => None,
            Build::Cargo => Some("it was not built; cargo says why".to_owned()),
        };
        let words = peer.command.iter().skip(1).cloned();
        Server {
            name: peer.name.clone(),
            command: std::iter::once(program.display().to_string()).chain(words).collect(),
            threads: peer.threads,
            version: version(peer, &lock),
            notes: peer.notes.clone(),
            ours: false,
            missing,
        }
    });
    Ok(servers.collect())
}

fn of(peers: &[Peer], build: Build) -> impl Iterator<Item = &Peer> {
    peers.iter().filter(move |peer| peer.build == build)
}

/// Builds what it can, and says whether that was everything.
fn build_with_cargo(programs: &[&str], target: &Path) -> Result<bool, Failure> {
    if programs.is_empty() {
        return Ok(true);
    }
    // What an earlier build left must not be measured in place of what does not build now.
    for program in programs {
        let _ = std::fs::remove_file(target.join("release").join(program));
    }
    eprintln!("building {} ...", programs.join(", "));
    let mut cargo = place::cargo();
    cargo.current_dir(workspace()).args(["build", "--release", "--locked", "--keep-going", "--target-dir"]);
    cargo.arg(target);
    for program in programs {
        cargo.args(["--bin", program]);
    }
    Ok(bounded::status_of(&mut cargo, BUILD)?.success())
}

/// With Debian's compilers, for any processor of this kind, as cargo does.
fn compile(peer: &Peer, program: &Path) -> Result<(), Failure> {
    if let Some(missing) = missing_of(peer).next() {
        return Err(format!(
            "it needs Debian's {missing}; `cargo xtask bench --install` as root installs it"
        ));
    }
    eprintln!("building {} ...", peer.program());
    let (name, words) = peer.build.compiler();
    let mut compiler = Command::new(name);
    compiler.current_dir(place::workspace()).args(words).arg("-o").arg(program);
    compiler.arg(&peer.source).args(peer.libs.iter().map(|library| format!("-l{library}")));
    let folder = program.parent().expect("it lies in a directory");
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    bounded::run(&mut compiler, COMPILE)
}

/// Packages that are not installed.
fn missing_of(peer: &Peer) -> impl Iterator<Item = &str> {
    peer.needs.iter().map(String::as_str).filter(|package| installed(package).is_none())
}

/// The version of one of Debian's packages, if it is installed.
fn installed(package: &str) -> Option<String> {
    let mut query = Command::new("dpkg-query");
    let output = query.args(["-W", "-f", "${db:Status-Status} ${Version}", package]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.trim().strip_prefix("installed ")?.to_owned())
}

/// `tokio 1.54.0`
fn version(peer: &Peer, lock: &str) -> String {
    let name = &peer.version_of;
    if name.is_empty() {
        return String::new();
    }
    let version = match peer.build {
        Build::Cargo => locked(lock, name),
        Build::Cc | Build::Cxx => installed(name),
    };
    version.map_or(name.clone(), |version| format!("{name} {version}"))
}

/// The highest version of a crate in a lock file.
fn locked(lock: &str, name: &str) -> Option<String> {
    let wanted = format!("name = \"{name}\"");
    let lines: Vec<&str> = lock.lines().collect();
    let versions = lines
        .windows(2)
        .filter(|pair| pair[0] == wanted)
        .filter_map(|pair| pair[1].strip_prefix("version = \"")?.strip_suffix('"'));
    let numbers =
        |version: &str| -> Vec<u64> { version.split('.').filter_map(|part| part.parse().ok()).collect() };
    versions.max_by_key(|version| numbers(version)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"[
        {"name": "tokio, current-thread", "command": ["echo-tokio", "--port", "{port}"], "threads": 1, "build": "cargo",
         "source": "echo-tokio", "libs": [], "needs": [], "version_of": "tokio", "notes": "a task per connection"},
        {"name": "libuv", "command": ["echo-uv", "--port", "{port}"], "threads": 1, "build": "cc",
         "source": "bench/c/uv.c", "libs": ["uv"], "needs": ["no-such-package-of-debian"],
         "version_of": "libuv1-dev", "notes": "its own loop"}
    ]"#;

    #[test]
    fn the_list_is_understood() {
        let peers: Vec<Peer> = serde_json::from_str(LIST).unwrap();
        assert_eq!(peers[0].program(), "echo-tokio");
        assert_eq!(of(&peers, Build::Cc).map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["libuv"]);
        let missing = compile(&peers[1], Path::new("/nowhere/x")).unwrap_err();
        assert!(missing.contains("Debian's no-such-package-of-debian"), "{missing}");
        assert_eq!(chosen(peers.clone(), &["tok*".to_owned()]).len(), 1);
        assert_eq!(chosen(peers, &[]).len(), 2);
    }

    /// Names are unique, and what `growth` and `smoke` need is there.
    #[test]
    fn the_list_of_this_repository_is_understood() {
        let peers = listed().unwrap();
        let mut names: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
        for wanted in ["tokio", "mio", "monoio", "epoll"] {
            assert!(names.contains(&wanted), "{wanted} is not in {names:?}");
        }
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(peers.iter().all(|peer| peer.command.iter().any(|word| word == "{port}")));
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        let lock = "[[package]]\nname = \"tokio\"\nversion = \"1.9.0\"\n\n[[package]]\nname = \"tokio\"\nversion = \"1.54.0\"\n";
        assert_eq!(locked(lock, "tokio").as_deref(), Some("1.54.0"));
        assert_eq!(locked(lock, "mio"), None);
        let peers: Vec<Peer> = serde_json::from_str(LIST).unwrap();
        assert_eq!(version(&peers[0], lock), "tokio 1.54.0");
    }
}
