//! What goes to crates.io: that each crate says what its page there needs, that its archive has everything that its
//! reader and its tests need, and that the archives build together, without this workspace around them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bounded::{self, Failure};
use crate::metadata::{Metadata, Package, rust_version};
use crate::place;

const BUILD: Duration = Duration::from_secs(1800);
const UNPACK: Duration = Duration::from_secs(60);
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];
/// What crates.io takes.
const MOST_KEYWORDS: usize = 5;
/// What the repository's address is until it is known; RFC 2606.
const PLACEHOLDER: &str = ".invalid";

/// With `publish`, everything must be as it is to be published: the repository's address is known, and nothing is
/// uncommitted.
pub(crate) fn run(publish: bool) -> Result<(), Failure> {
    let metadata = Metadata::read()?;
    let crates = metadata.published();
    let mut findings: Vec<String> = crates.iter().flat_map(|package| manifest(package)).collect();
    findings.extend(too_new(&metadata, &crates));
    let unknown = crates.iter().filter(|package| !has_address(package)).count();
    if unknown > 0 {
        let line = "the repository's address is not known: fill in `repository` in Cargo.toml";
        if publish {
            findings.push(line.to_owned());
        } else {
            println!("note: {line}, before anything is published");
        }
    }
    fail_with(&findings)?;

    pack(&crates, publish)?;
    let packed = place::target("packed");
    unpack(&metadata, &crates, &packed)?;
    let findings: Vec<String> = crates.iter().flat_map(|package| contents(package, &packed)).collect();
    fail_with(&findings)?;
    test(&crates, &packed)?;
    let names: Vec<_> = crates.iter().map(|package| package.full_name()).collect();
    println!("package: {} are complete, their tests build, and their examples pass", names.join(", "));
    Ok(())
}

fn fail_with(findings: &[String]) -> Result<(), Failure> {
    match findings {
        [] => Ok(()),
        findings => Err(findings.join("\nerror: ")),
    }
}

/// What is missing in a manifest.
fn manifest(package: &Package) -> Vec<String> {
    let has = |field: &Option<String>| field.as_ref().is_some_and(|text| !text.is_empty());
    let needs = [
        ("description", has(&package.description)),
        ("license", has(&package.license)),
        ("repository", has(&package.repository)),
        ("rust-version", has(&package.rust_version)),
        ("readme", package.readme.is_some()),
        ("keywords, at most five", (1..=MOST_KEYWORDS).contains(&package.keywords.len())),
        ("categories", !package.categories.is_empty()),
    ];
    let missing = needs.iter().filter(|(_, there)| !there);
    missing.map(|(field, _)| format!("{}: Cargo.toml lacks {field}", package.name)).collect()
}

fn has_address(package: &Package) -> bool {
    let host = |url: &str| url.split('/').nth(2).unwrap_or_default().to_owned();
    package.repository.as_deref().map(host).is_some_and(|host| !host.ends_with(PLACEHOLDER))
}

/// What wants a newer Rust than the crates promise to build with.
fn too_new(metadata: &Metadata, crates: &[&Package]) -> Vec<String> {
    let promised = crates.iter().filter_map(|package| rust_version(package.rust_version.as_deref()?)).min();
    let wanted = |package: &Package| rust_version(package.rust_version.as_deref()?);
    let packages = metadata.packages().iter();
    let newer = packages.filter(|package| wanted(package) > promised);
    newer
        .map(|package| {
            let wanted = package.rust_version.as_deref().unwrap_or_default();
            format!("{} wants Rust {wanted}, newer than this workspace's rust-version", package.full_name())
        })
        .collect()
}

/// Makes the archives. Cargo's own verification is left out: it keeps unpacked crates of an earlier run, of the same
/// version, outside of this workspace. The archives are built below.
fn pack(crates: &[&Package], publish: bool) -> Result<(), Failure> {
    let mut cargo = place::cargo();
    cargo.args(["package", "--no-verify", "--locked", "--quiet"]);
    cargo.args(crates.iter().flat_map(|package| ["--package", &package.name]));
    if !publish {
        cargo.arg("--allow-dirty");
    }
    bounded::run(&mut cargo, BUILD)
}

/// Unpacks the archives side by side, as a workspace of their own in which they find each other.
fn unpack(metadata: &Metadata, crates: &[&Package], into: &Path) -> Result<(), Failure> {
    let failed = |error| format!("cannot write {}: {error}", into.display());
    let (mut members, mut patches) = (String::new(), String::new());
    fs::create_dir_all(into).map_err(failed)?;
    for package in crates {
        let name = package.full_name();
        let unpacked = into.join(&name);
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked).map_err(failed)?;
        }
        let archive = metadata.target_directory.join("package").join(format!("{name}.crate"));
        let mut tar = Command::new("tar");
        bounded::run(tar.arg("-xzf").arg(&archive).arg("-C").arg(into), UNPACK)?;
        let _ = write!(members, "{name:?}, ");
        let _ = writeln!(patches, "{} = {{ path = {name:?} }}", package.name);
    }
    let manifest =
        format!("[workspace]\nresolver = \"3\"\nmembers = [{members}]\n\n[patch.crates-io]\n{patches}");
    fs::write(into.join("Cargo.toml"), manifest).map_err(failed)?;
    fs::copy(place::workspace().join("Cargo.lock"), into.join("Cargo.lock")).map(drop).map_err(failed)
}

/// What is missing in an unpacked archive.
fn contents(package: &Package, packed: &Path) -> Vec<String> {
    let unpacked = packed.join(package.full_name());
    let mut findings = Vec::new();
    for licence in LICENCES {
        let (ours, theirs) = (place::workspace().join(licence), unpacked.join(licence));
        // A link is packed as what it leads to, or, where links are not known, as its path.
        if fs::read(ours).ok() != fs::read(theirs).ok() {
            findings.push(format!("{}: {licence} in its archive is not that of the workspace", package.name));
        }
    }
    let examples = package.targets.iter().filter(|target| target.kind.iter().any(|kind| kind == "example"));
    // Their paths in the crate: some lie in folders of their own.
    let directory = package.manifest_path.parent().unwrap_or(Path::new(""));
    let files =
        examples.map(|target| target.src_path.strip_prefix(directory).unwrap_or(&target.src_path).into());
    for file in files.chain([PathBuf::from("README.md")]) {
        if !unpacked.join(&file).is_file() {
            findings.push(format!("{}: {} is not in its archive", package.name, file.display()));
        }
    }
    findings
}

/// Builds the tests of every archive, and runs those that need the other files in it: the examples, run as programs.
fn test(crates: &[&Package], packed: &Path) -> Result<(), Failure> {
    let cargo = || {
        let mut cargo = place::cargo();
        cargo.current_dir(packed).env("CARGO_TARGET_DIR", place::target("packed-build"));
        cargo.args(["test", "--quiet"]);
        cargo
    };
    // Without `--all-targets`, which would build the examples as tests in place of programs.
    bounded::run(cargo().args(["--workspace", "--no-run"]), BUILD)?;
    for package in crates {
        let directory = package.manifest_path.parent().unwrap_or(Path::new(""));
        let tests =
            ["examples", "lesson"].into_iter().filter(|test| directory.join("tests").join(test).is_dir());
        for test in tests {
            bounded::run(cargo().args(["--package", &package.name, "--test", test]), BUILD)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_fit_to_be_packed() {
        let metadata = Metadata::read().expect("cargo knows this workspace");
        let crates = metadata.published();
        assert_eq!(crates.len(), 7, "`xtask` and the examples in packages of their own stay here");
        let findings: Vec<_> = crates.iter().flat_map(|package| manifest(package)).collect();
        assert_eq!(findings, Vec::<String>::new());
        assert_eq!(too_new(&metadata, &crates), Vec::<String>::new());
    }
}
