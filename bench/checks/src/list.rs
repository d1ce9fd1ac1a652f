//! `peers.json`: the peers, as the chore `cargo xtask bench` reads them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub name: String,
    /// The program and its arguments; `{port}` stands for the port.
    pub command: Vec<String>,
    /// Threads that echo, when the process is pinned to one processor.
    pub threads: u32,
    pub build: Build,
    /// A package of the workspace, or a file from the repository's root.
    pub source: String,
    /// What is linked: `uv` for `-luv`.
    pub libs: Vec<String>,
    /// Debian packages without which it cannot be built.
    pub needs: Vec<String>,
    /// The crate or Debian package whose version counts; empty if there is none.
    pub version_of: String,
    pub notes: String,
}

#[derive(Deserialize, Debug, PartialEq, Eq, Clone, Copy)]
pub enum Build {
    #[serde(rename = "cargo")]
    Cargo,
    #[serde(rename = "cc")]
    C,
    #[serde(rename = "c++")]
    Cpp,
}

impl Peer {
    /// # Panics
    ///
    /// `peers.json` has no such peer.
    #[must_use]
    pub fn named(name: &str) -> Peer {
        let found = peers().into_iter().find(|peer| peer.name == name);
        found.unwrap_or_else(|| panic!("peers.json names no `{name}`"))
    }

    /// The arguments of its command for that port.
    pub fn arguments(&self, port: u16) -> impl Iterator<Item = String> {
        self.command.iter().skip(1).map(move |argument| argument.replace("{port}", &port.to_string()))
    }
}

/// All of `peers.json`.
///
/// # Panics
///
/// It cannot be read, or does not have this form.
#[must_use]
pub fn peers() -> Vec<Peer> {
    let path = folder().join("peers.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folder `bench`.
///
/// # Panics
///
/// Never.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace holds this package").to_owned()
}
