//! The files that a run writes. They are opened before it, so that a run is not wasted on a file that cannot be written,
//! and written after it: until then, what was in them stays, and one that this run created is removed if the run fails or is
//! ended.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::args::LoadArgs;
use crate::failure::Failure;
#[cfg(unix)]
use crate::output::note;
use crate::output::{reader_gone, remedy, say_bytes};

#[cfg(unix)]
use super::interrupts::is_interrupted;

/// How often it is looked whether a pipe has a reader.
#[cfg(unix)]
const BETWEEN_OPENS: std::time::Duration = std::time::Duration::from_millis(20);

/// `--json`, `--html` and `--hdr`.
pub(super) struct Outputs {
    pub(super) json: Option<Output>,
    pub(super) html: Option<Output>,
    pub(super) hdr: Option<Output>,
}

/// One of them.
pub(super) enum Output {
    Stdout,
    File(Target),
}

/// An open file. If this program created it, it is removed unless something is written to it.
pub(super) struct Target {
    path: PathBuf,
    file: File,
    /// `None` if it was there before, or if it is to stay.
    created: Option<Created>,
}

/// Files that this process created and has not begun to fill.
static UNFILLED: Unfilled = Unfilled(Mutex::new(Vec::new()));

struct Unfilled(Mutex<Vec<PathBuf>>);

/// The path of one of them: the file itself, not a link to it. It is removed with this value.
struct Created(PathBuf);

/// Removes the files that were created and not filled, before the process ends without dropping anything. From here on no
/// thread begins to fill one: it waits for the end of the process.
pub(super) fn remove_unfilled() {
    std::mem::forget(UNFILLED.remove_all());
}

impl Unfilled {
    /// No file is added or filled as long as the result is kept.
    fn remove_all(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        let mut paths = self.lock();
        for path in paths.drain(..) {
            let _ = std::fs::remove_file(path);
        }
        paths
    }

    /// Whether it was one of them.
    fn forget(&self, path: &Path) -> bool {
        let mut paths = self.lock();
        let found = paths.iter().position(|each| each == path);
        found.map(|at| paths.swap_remove(at)).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Created {
    fn new(path: PathBuf) -> Created {
        UNFILLED.lock().push(path.clone());
        Created(path)
    }

    /// It begins to fill, and stays.
    fn keep(self) {
        UNFILLED.forget(&self.0);
        // Nothing is left to remove.
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if UNFILLED.forget(&self.0) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

impl Outputs {
    /// # Errors
    /// If two write to the same place, or if a file cannot be written.
    pub(super) fn open(args: &LoadArgs) -> Result<Outputs, Failure> {
        let open =
            |flag, path: &Option<PathBuf>| path.as_deref().map(|path| Output::open(flag, path)).transpose();
        let outputs = Outputs {
            json: open("--json", &args.json)?,
            html: open("--html", &args.html)?,
            hdr: open("--hdr", &args.hdr)?,
        };
        outputs.check_places(&Place::of_stdout())?;
        Ok(outputs)
    }

    /// Each place once: the later output would replace the earlier one. They are compared when they are open, because one
    /// file has many names. The table has a place as well, where nothing else takes stdout.
    fn check_places(&self, stdout: &Place) -> Result<(), Failure> {
        let named = [("--json", &self.json), ("--html", &self.html), ("--hdr", &self.hdr)];
        let mut taken = Vec::new();
        if !self.take_stdout() {
            taken.push(("the table", stdout.clone()));
        }
        for (flag, output) in named {
            let (place, shown, next) = match output {
                None => continue,
                Some(Output::Stdout) => (Some(stdout.clone()), "stdout".to_owned(), "a file"),
                Some(Output::File(target)) => {
                    (target.place(), target.path.display().to_string(), "another file")
                }
            };
            let Some(place) = place else { continue };
            if let Some((other, _)) = taken.iter().find(|(_, earlier)| *earlier == place) {
                return Err(Failure::usage(format_args!(
                    "{other} and {flag} both write to {shown}; give {flag} {next}"
                )));
            }
            taken.push((flag, place));
        }
        Ok(())
    }

    /// Whether stdout is one of them, and so not free for the table.
    pub(super) fn take_stdout(&self) -> bool {
        [&self.json, &self.html, &self.hdr]
            .into_iter()
            .flatten()
            .any(|output| matches!(output, Output::Stdout))
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

impl Output {
    fn open(flag: &str, path: &Path) -> Result<Output, Failure> {
        if is_stdout(path) {
            return Ok(Output::Stdout);
        }
        match open(path) {
            Ok((file, created)) => Ok(Output::File(Target { path: path.to_owned(), file, created })),
            Err(error) => {
                let next = remedy(&error);
                let message = format_args!("cannot write {} ({flag}): {error}; {next}", path.display());
                // The place is right; nothing came to read it before Ctrl-C.
                let is_early = error.kind() == io::ErrorKind::Interrupted;
                Err(if is_early { Failure::failed(message) } else { Failure::usage(message) })
            }
        }
    }

    /// The path as it was given; `None` for stdout.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Output::Stdout => None,
            Output::File(target) => Some(target.path.clone()),
        }
    }

    /// # Errors
    /// Whatever the write failed with, except that the reader of stdout has gone.
    pub(super) fn write(self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Output::Stdout => say_bytes(bytes),
            Output::File(mut target) => target.write(bytes).map_err(|error| {
                let next = remedy(&error);
                Failure::failed(format_args!("cannot write {}: {error}; {next}", target.path.display()))
            }),
        }
    }
}

/// The file, and what is to be removed if this call created it. What is in it stays.
fn open(path: &Path) -> io::Result<(File, Option<Created>)> {
    let mut options = OpenOptions::new();
    options.write(true);
    // A link is never followed here, not even one that leads nowhere.
    if let Ok(file) = options.clone().create_new(true).open(path) {
        return Ok((file, Some(Created::new(path.to_owned()))));
    }
    let leads_nowhere = !path.exists();
    options.create(true).truncate(false);
    let file = open_when_read(&options, path)?;
    // The link is the user's; what it leads to is not.
    let created = if leads_nowhere { path.canonicalize().ok() } else { None };
    Ok((file, created.map(Created::new)))
}

/// Opens a file. A pipe with a name that has no reader yet is waited for, as `cat > PIPE` does, but not without a word, and
/// not beyond a Ctrl-C.
#[cfg(unix)]
fn open_when_read(options: &OpenOptions, path: &Path) -> io::Result<File> {
    use nix::libc::{ENXIO, O_NONBLOCK};
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = options.clone();
    options.custom_flags(O_NONBLOCK);
    let mut has_noted = false;
    loop {
        match options.open(path) {
            Err(error) if error.raw_os_error() == Some(ENXIO) && is_pipe(path) => {
                if !std::mem::replace(&mut has_noted, true) {
                    note(format_args!("waiting until something reads {}; Ctrl-C ends this", path.display()));
                }
                if is_interrupted() {
                    return Err(io::Error::new(io::ErrorKind::Interrupted, "nothing reads it yet"));
                }
                std::thread::sleep(BETWEEN_OPENS);
            }
            Err(error) => return Err(error),
            Ok(file) => {
                // Only the opening is not to block.
                rustix::io::ioctl_fionbio(&file, false)?;
                return Ok(file);
            }
        }
    }
}

#[cfg(unix)]
fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[cfg(not(unix))]
fn open_when_read(options: &OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path)
}

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Not a regular file.
    Stdout,
    File(Identity),
}

/// Device and inode.
#[cfg(unix)]
type Identity = (u64, u64);
/// The canonical path: std has no number of a file on other systems.
#[cfg(not(unix))]
type Identity = PathBuf;

impl Place {
    #[cfg(unix)]
    fn of_stdout() -> Place {
        use std::os::fd::AsFd;
        let file = io::stdout().as_fd().try_clone_to_owned().map(File::from).ok();
        file.and_then(|file| identity(&file, Path::new(""))).map_or(Place::Stdout, Place::File)
    }

    #[cfg(not(unix))]
    fn of_stdout() -> Place {
        Place::Stdout
    }
}

/// `None` for what is not a regular file: pipes and devices such as `/dev/null` may take several outputs.
fn identity(file: &File, path: &Path) -> Option<Identity> {
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    identity_of(&metadata, path)
}

#[cfg(unix)]
fn identity_of(metadata: &Metadata, _path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity_of(_metadata: &Metadata, path: &Path) -> Option<Identity> {
    path.canonicalize().ok()
}

impl Target {
    fn place(&self) -> Option<Place> {
        identity(&self.file, &self.path).map(Place::File)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // A pipe or a device has no length.
        if self.file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            self.file.rewind()?;
            self.file.set_len(0)?;
        }
        // Where it begins to fill, it is the result that could be written, and stays.
        self.created.take().into_iter().for_each(Created::keep);
        match self.file.write_all(bytes).and_then(|()| self.file.flush()) {
            Err(error) if reader_gone(&error) => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// An empty directory of one test.
    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("overlapped-outputs-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    fn opened(json: &Path, html: &Path) -> Result<Outputs, String> {
        let open = |flag, path| Output::open(flag, path).map_err(|failure| failure.line());
        let outputs =
            Outputs { json: Some(open("--json", json)?), html: Some(open("--html", html)?), hdr: None };
        outputs.check_places(&Place::Stdout).map_err(|failure| failure.line())?;
        Ok(outputs)
    }

    fn is_refused(one: &Path, other: &Path) {
        let refused = opened(one, other).err().unwrap_or_else(|| panic!("{one:?}, {other:?}"));
        assert!(refused.contains("--json and --html both write to "), "{refused}");
        assert!(refused.contains("; give --html a"), "{refused}");
    }

    #[test]
    fn one_file_by_two_names_is_refused() {
        let at = directory("names");
        let plain = at.join("x.json");
        is_refused(&plain, &at.join(".").join("x.json"));
        assert!(!plain.exists(), "it is removed again");
        fs::write(&plain, "{}").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&plain, at.join("symbolic")).unwrap();
            fs::hard_link(&plain, at.join("hard")).unwrap();
            is_refused(&plain, &at.join("symbolic"));
            is_refused(&at.join("hard"), &plain);
        }
        assert!(opened(&plain, &at.join("y.json")).is_ok());
        assert_eq!(fs::read_to_string(&plain).unwrap(), "{}", "what was there stays");
        is_refused(Path::new("-"), Path::new("-"));
        fs::remove_dir_all(at).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn the_file_of_the_table_is_taken() {
        let at = directory("table");
        let (table, other) = (at.join("table"), at.join("other"));
        let place = identity(&File::create(&table).unwrap(), &table).map(Place::File).unwrap();
        let outputs = |json: &Path| {
            let json = Output::open("--json", json).map_err(|failure| failure.line()).unwrap();
            Outputs { json: Some(json), html: None, hdr: None }
        };
        let refused = outputs(&table).check_places(&place).unwrap_err().line();
        assert!(refused.contains("the table and --json both write to "), "{refused}");
        assert!(outputs(&other).check_places(&place).is_ok());
        assert!(outputs(Path::new("-")).check_places(&place).is_ok(), "there is no table");
        fs::remove_dir_all(at).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn devices_take_several() {
        assert!(opened(Path::new("/dev/null"), Path::new("/dev/null")).is_ok());
    }

    /// A run that fails leaves what it found: the link, and no file behind it.
    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_nowhere_stays() {
        let at = directory("link");
        let (link, file) = (at.join("link"), at.join("file"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let output = Output::open("--json", &link).map_err(|failure| failure.line()).unwrap();
        assert!(file.exists(), "it is open");
        drop(output);
        assert!(link.is_symlink() && !file.exists());
        let output = Output::open("--json", &link).map_err(|failure| failure.line()).unwrap();
        output.write(b"{}").map_err(|failure| failure.line()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "{}");
        fs::remove_dir_all(at).unwrap();
    }
}
