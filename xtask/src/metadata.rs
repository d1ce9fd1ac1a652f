//! What `cargo metadata` says of this workspace and of everything that it depends on.

use std::path::PathBuf;

use serde::Deserialize;

use crate::bounded::Failure;
use crate::place;

#[derive(Deserialize)]
pub(crate) struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    pub(crate) target_directory: PathBuf,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) rust_version: Option<String>,
    /// Where it may be published. `None`: anywhere.
    publish: Option<Vec<String>>,
    pub(crate) description: Option<String>,
    pub(crate) license: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) readme: Option<PathBuf>,
    pub(crate) keywords: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) targets: Vec<Target>,
}

#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Vec<String>,
    /// Its first file.
    pub(crate) src_path: PathBuf,
}

impl Metadata {
    /// # Errors
    /// The lock file does not fit the manifests, or cargo fails otherwise.
    pub(crate) fn read() -> Result<Metadata, Failure> {
        let mut cargo = place::cargo();
        cargo.args(["metadata", "--format-version", "1", "--locked", "--all-features"]);
        let output = cargo.output().map_err(|error| format!("`cargo metadata` does not start: {error}"))?;
        if !output.status.success() {
            return Err(format!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr)));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("`cargo metadata` is not understood: {error}"))
    }

    /// The crates of this workspace that go to crates.io.
    pub(crate) fn published(&self) -> Vec<&Package> {
        let own = |package: &&Package| self.workspace_members.contains(&package.id);
        self.packages.iter().filter(own).filter(|package| package.publish.is_none()).collect()
    }

    /// Everything that the workspace is built from, for every system; the workspace too.
    pub(crate) fn packages(&self) -> &[Package] {
        &self.packages
    }
}

impl Package {
    /// As its archive and the directory in it are called.
    pub(crate) fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
}

/// `1.88` or `1.88.0` as numbers that compare.
pub(crate) fn rust_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(str::parse);
    let (major, minor) = (parts.next()?.ok()?, parts.next().unwrap_or(Ok(0)).ok()?);
    Some((major, minor, parts.next().unwrap_or(Ok(0)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(rust_version("1.88"), rust_version("1.88.0"));
        assert!(rust_version("1.9") < rust_version("1.88"));
        assert!(rust_version("1.88.1") > rust_version("1.88"));
        for wrong in ["", "stable", "1.x"] {
            assert_eq!(rust_version(wrong), None, "{wrong}");
        }
    }
}
