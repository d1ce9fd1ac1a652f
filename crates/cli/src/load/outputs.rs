//! The files that a run writes. They are opened before it, so that a run is not wasted on a file that cannot be written,
//! and written after it: until then, what was in them stays.

use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use crate::args::LoadArgs;
use crate::failure::Failure;
use crate::output::{reader_gone, remedy, say_bytes};

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

/// An open file. If nothing has been written in the end, and it was not there before, it is removed.
pub(super) struct Target {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl Outputs {
    /// # Errors
    /// If two write to the same place, or if a file cannot be written.
    pub(super) fn open(args: &LoadArgs) -> Result<Outputs, Failure> {
        let named = [("--json", &args.json), ("--html", &args.html), ("--hdr", &args.hdr)];
        let given: Vec<_> = named.iter().filter_map(|(flag, path)| Some((*flag, path.as_deref()?))).collect();
        for (at, (flag, path)) in given.iter().enumerate() {
            let Some((other, _)) = given[..at].iter().find(|(_, earlier)| earlier == path) else { continue };
            let (place, next) = if is_stdout(path) {
                ("stdout".to_owned(), format!("give {flag} a file"))
            } else {
                (path.display().to_string(), format!("give {flag} another file"))
            };
            return Err(Failure::usage(format_args!("{other} and {flag} both write to {place}; {next}")));
        }
        let open =
            |flag, path: &Option<PathBuf>| path.as_deref().map(|path| Output::open(flag, path)).transpose();
        Ok(Outputs {
            json: open("--json", &args.json)?,
            html: open("--html", &args.html)?,
            hdr: open("--hdr", &args.hdr)?,
        })
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
        let is_new = !path.exists();
        match OpenOptions::new().write(true).create(true).truncate(false).open(path) {
            Ok(file) => Ok(Output::File(Target { path: path.to_owned(), file, is_new })),
            Err(error) => {
                let next = remedy(&error);
                Err(Failure::usage(format_args!("cannot write {} ({flag}): {error}; {next}", path.display())))
            }
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

impl Target {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        // A pipe or a device has no length.
        if self.file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            self.file.rewind()?;
            self.file.set_len(0)?;
        }
        // Where it begins to fill, it is the result that could be written, and stays.
        self.is_new = false;
        match self.file.write_all(bytes).and_then(|()| self.file.flush()) {
            Err(error) if reader_gone(&error) => Ok(()),
            other => other,
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.is_new {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
