//! Where things are.

use std::path::PathBuf;
use std::process::Command;

pub(crate) fn workspace() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the workspace holds this package").to_owned()
}

/// The directory that a chore builds into, its own: other flags must not undo what `cargo build` made.
pub(crate) fn target(chore: &str) -> PathBuf {
    let root = workspace();
    let all = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    root.join(all).join(chore)
}

/// The program that a line of cargo's report names.
pub(crate) fn program_in(line: &str) -> Option<PathBuf> {
    let (_, rest) = line.split_once(r#""executable":""#)?;
    Some(PathBuf::from(rest.split_once('"')?.0))
}

/// The cargo that runs this program, at the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(workspace());
    cargo
}
