//! All that is in a machine: busybox, the programs at their own paths, the libraries they need, and an `init`, which for
//! this chore runs one after the other.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::console::{BEGIN, END};
use crate::bounded::{self, Failure};

const PACK: Duration = Duration::from_secs(300);
/// Seconds that a program in a machine has: several times what the longest takes in software on a busy machine.
const PROGRAM: u64 = 600;

/// By Debian's default the kernel gives whole huge pages (`always`), so that a byte of a pool makes 2 MiB resident: chaos
/// measures what a server holds on to.
const HUGE_PAGES: &str = "madvise";

/// A program to be run in a machine.
pub(super) struct Program {
    pub(super) name: &'static str,
    file: PathBuf,
    words: &'static str,
}

impl Program {
    pub(super) fn new(name: &'static str, file: PathBuf, words: &'static str) -> Program {
        Program { name, file, words }
    }
}

/// The beginning of an `init`: what programs expect of a system.
pub(crate) const BEGINNING: &str = "\
#!/bin/busybox sh
export PATH=/bin HOME=/tmp TMPDIR=/tmp
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox ip link set lo up
";
/// The end of an `init`.
pub(crate) const POWER_OFF: &str = "busybox poweroff -f\n";

/// A root that a kernel unpacks into memory.
pub(crate) struct Image {
    pub(super) file: PathBuf,
}

impl Image {
    /// With these programs, one after the other.
    pub(super) fn of(place: &Path, programs: &[Program]) -> Result<Image, Failure> {
        let files: Vec<&Path> = programs.iter().map(|program| program.file.as_path()).collect();
        Image::make(place, &files, &script(programs))
    }

    /// With these programs, and with this `init`, a shell script.
    pub(crate) fn make(place: &Path, programs: &[&Path], init_script: &str) -> Result<Image, Failure> {
        let root = place.join("root");
        let failed = |error: std::io::Error| format!("{}: {error}", root.display());
        match fs::remove_dir_all(&root) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        for directory in ["bin", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(directory)).map_err(failed)?;
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).map_err(failed)?;
        std::os::unix::fs::symlink("busybox", root.join("bin/sh")).map_err(failed)?;
        let mut files = BTreeSet::new();
        for program in programs {
            files.extend(libraries_of(program)?);
            files.insert((*program).to_owned());
        }
        for file in files {
            let inside = root.join(file.strip_prefix("/").unwrap_or(&file));
            let into = inside.parent().expect("a file lies in a directory");
            fs::create_dir_all(into).and_then(|()| fs::copy(&file, &inside)).map_err(failed)?;
        }
        let init = root.join("init");
        fs::write(&init, init_script).map_err(failed)?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        let file = place.join("initrd");
        const PACK_UP: &str = r#"find . | cpio --quiet -o -H newc > "$1""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", PACK_UP, "sh"]).arg(&file).current_dir(&root);
        bounded::run(&mut shell, PACK)?;
        Ok(Image { file })
    }
}

/// What the machine does: its first and only script.
fn script(programs: &[Program]) -> String {
    let mut text = format!(
        "{BEGINNING}\
         export CHAOS_SECONDS=2 CHAOS_SESSIONS=200\n\
         echo {HUGE_PAGES} > /sys/kernel/mm/transparent_hugepage/enabled\n\
         ulimit -n 65536\n\
         echo \"Linux $(busybox uname -r)\"\n\
         run() {{\n\
         name=$1; shift\n\
         echo; echo \"{BEGIN} $name\"\n\
         busybox timeout -s KILL {PROGRAM} \"$@\" 2>&1\n\
         status=$?\n\
         echo; echo \"{END} $name $status\"\n\
         }}\n"
    );
    for Program { name, file, words } in programs {
        text.push_str(&format!("run {name} '{}' {words}\n", file.display()));
    }
    text + POWER_OFF
}

/// The shared libraries of a program, and the loader.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut list = Command::new("ldd");
    let (lines, _) = bounded::lines_of(list.arg(program), PACK, |_| false)?;
    Ok(lines.iter().filter_map(|line| library_in(line)).collect())
}

/// The path in a line of `ldd`; the kernel's own library has none.
fn library_in(line: &str) -> Option<PathBuf> {
    line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ldd_are_understood() {
        let library = "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f9d5c000000)";
        assert_eq!(library_in(library), Some(PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6")));
        let loader = "\t/lib64/ld-linux-x86-64.so.2 (0x00007f9d5c31e000)";
        assert_eq!(library_in(loader), Some(PathBuf::from("/lib64/ld-linux-x86-64.so.2")));
        assert_eq!(library_in("\tlinux-vdso.so.1 (0x00007fff1b5f8000)"), None);
        assert_eq!(library_in("\tstatically linked"), None);
    }

    /// The status that is printed is the program's, not that of what was printed before it.
    #[test]
    fn the_script_tells_what_it_runs() {
        let programs = [Program::new("vanishing", "/a b/vanishing-1".into(), "--exact x")];
        let script = script(&programs);
        assert!(script.contains("\nrun vanishing '/a b/vanishing-1' --exact x\n"), "{script}");
        let status = Command::new("sh")
            .arg("-c")
            .arg(
                script
                    .lines()
                    .skip_while(|line| *line != "run() {")
                    .take_while(|line| !line.starts_with("run v"))
                    .collect::<Vec<_>>()
                    .join("\n")
                    .replace(&format!("busybox timeout -s KILL {PROGRAM}"), "")
                    + "\nrun chaos sh -c 'exit 7'",
            )
            .output()
            .expect("a shell");
        let printed = String::from_utf8_lossy(&status.stdout);
        assert!(printed.contains("@begin chaos") && printed.contains("@end chaos 7"), "{printed}");
    }
}
