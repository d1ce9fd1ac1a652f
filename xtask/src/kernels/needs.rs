//! What is needed from Debian: programs, installed, and kernels, only downloaded.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bounded::{self, Failure};
use crate::packages;

const PROGRAMS: &[&str] = &["/usr/bin/qemu-system-x86_64", "/bin/busybox", "/usr/bin/cpio"];
const PACKAGES: &[&str] = &["qemu-system-x86", "busybox-static", "cpio"];
const SEARCH: Duration = Duration::from_secs(60);
const DOWNLOAD: Duration = Duration::from_secs(600);

/// Makes sure that the programs are there, and the names of packages known, or says how to get them: by `chore`.
pub(crate) fn require(install: bool, chore: &str) -> Result<(), Failure> {
    if install {
        packages::update()?;
        if !missing().is_empty() {
            packages::install(PACKAGES)?;
        }
    }
    match missing() {
        missing if missing.is_empty() => Ok(()),
        missing => Err(format!(
            "missing: {}; run `cargo xtask {chore} --install` as root, or install: {}",
            missing.join(", "),
            PACKAGES.join(" ")
        )),
    }
}

fn missing() -> Vec<&'static str> {
    PROGRAMS.iter().copied().filter(|program| !Path::new(program).exists()).collect()
}

/// A kernel that can be started.
pub(crate) struct Kernel {
    pub(crate) version: String,
    pub(super) file: PathBuf,
}

/// The newest kernel of a series, `6.1`, that Debian has here. Downloaded once.
pub(crate) fn kernel(series: &str, place: &Path) -> Result<Kernel, Failure> {
    let mut search = Command::new("apt-cache");
    search.args(["search", "--names-only", "^linux-image-[0-9].*-amd64$"]);
    let (lines, _) = bounded::lines_of(&mut search, SEARCH, |_| false)?;
    let names = lines.iter().filter_map(|line| line.split_whitespace().next());
    let version = newest(names, series).ok_or_else(|| {
        format!("apt knows no kernel {series}; run this with `--install` as root, or `apt-get update`")
    })?;
    let file = place.join(format!("vmlinuz-{version}-amd64"));
    if !file.exists() {
        download(&version, place)?;
    }
    if !file.exists() {
        return Err(format!("linux-image-{version}-amd64 holds no {}", file.display()));
    }
    Ok(Kernel { version, file })
}

/// The package is not installed: only the kernel is taken out of it.
fn download(version: &str, place: &Path) -> Result<(), Failure> {
    let package = format!("linux-image-{version}-amd64");
    bounded::run(Command::new("apt-get").args(["download", "-qq", &package]).current_dir(place), DOWNLOAD)?;
    const TAKE_OUT: &str = r#"
        set -e
        dpkg-deb --fsys-tarfile "$1"_*.deb | tar -x --strip-components=2 --wildcards './boot/vmlinuz-*'
        rm "$1"_*.deb"#;
    let mut shell = Command::new("sh");
    shell.args(["-c", TAKE_OUT, "sh", &package]).current_dir(place);
    bounded::run(&mut shell, DOWNLOAD)
}

/// The newest version among names of packages; those for clouds, real time and debugging are other kernels.
fn newest<'n>(names: impl Iterator<Item = &'n str>, series: &str) -> Option<String> {
    let version = |name: &'n str| {
        let version = name.strip_prefix("linux-image-")?.strip_suffix("-amd64")?;
        let rest = version.strip_prefix(series)?.strip_prefix('.')?;
        let other = ["cloud", "rt", "dbg", "unsigned", "~"].iter().any(|word| rest.contains(word));
        (!other).then_some(version)
    };
    names.filter_map(version).max_by_key(|version| numbers(version)).map(str::to_owned)
}

fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_series_is_found() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-60-cloud-amd64",
            "linux-image-6.1.0-61-rt-amd64",
            "linux-image-6.1.0-62-amd64-dbg",
            "linux-image-6.12-amd64",
            "linux-image-6.12.9+deb12-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12.118+deb12-rt-amd64",
            "linux-image-amd64",
        ];
        let newest = |series| newest(names.into_iter(), series);
        assert_eq!(newest("6.1").as_deref(), Some("6.1.0-56"));
        assert_eq!(newest("6.12").as_deref(), Some("6.12.117+deb12"));
        assert_eq!(newest("5.10"), None);
    }
}
