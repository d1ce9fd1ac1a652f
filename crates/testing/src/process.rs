//! Processes: how a test starts one, and what the system says about it, proc(5).

use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io};

/// Among the flags of a descriptor: a program that the process executes does not inherit it. Linux, open(2).
pub const O_CLOEXEC: u32 = 0o2_000_000;

/// Windows: `ERROR_INTERNAL_ERROR`. Windows does not give it for a program that exists.
const INTERNAL_ERROR: i32 = 1359;
/// How often a program is started at most.
const STARTS: usize = 5;

/// Whether this is a program for Windows that was started by `cargo xtask windows`.
#[must_use]
pub fn under_wine() -> bool {
    cfg!(windows) && std::env::var_os("WINEPREFIX").is_some()
}

/// Starts a program: `start` spawns it, or runs it to its end. Wine, when it is busy, sometimes reports an internal error
/// instead of starting it: `start` is called again.
///
/// # Errors
/// The last one of `start`.
pub fn started<T>(mut start: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..STARTS {
        match start() {
            Err(error) if cfg!(windows) && error.raw_os_error() == Some(INTERNAL_ERROR) => {
                eprintln!("{error}: started again");
            }
            result => return result,
        }
    }
    start()
}

/// Held while a program is started by [`spawned`].
static STARTING: Mutex<()> = Mutex::new(());

/// Spawns a program as [`started`] does, and not while a [`FaultyServer`](crate::FaultyServer) takes a connection on Windows.
///
/// # Errors
/// As [`started`].
pub fn spawned(command: &mut Command) -> io::Result<Child> {
    started(|| {
        let _starting = no_starts();
        command.spawn()
    })
}

/// Until this is dropped, no program is spawned.
pub(crate) fn no_starts() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many descriptors a process has open; `None` where the system does not say. Wine would count those of its server.
#[must_use]
pub fn open_descriptors(pid: u32) -> Option<usize> {
    if cfg!(windows) {
        return None;
    }
    fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count)
}

/// The open descriptors of a process, each with its flags (octal in `fdinfo`). One that is closed meanwhile is left out.
///
/// # Panics
/// If the process has ended.
#[cfg(target_os = "linux")]
#[must_use]
#[track_caller]
pub fn descriptor_flags(pid: u32) -> std::collections::BTreeMap<u32, u32> {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let open = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process lives");
    let numbers: Vec<u32> = open.filter_map(|entry| number(entry.ok()?)).collect();
    let flags = |fd: u32| {
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        Some((fd, u32::from_str_radix(flags.trim(), 8).expect("an octal number")))
    };
    numbers.into_iter().filter_map(flags).collect()
}

/// A number in the status of a process, or of one of its threads.
///
/// # Panics
/// If the process has ended, or its status has no such field.
#[cfg(target_os = "linux")]
#[must_use]
#[track_caller]
pub fn status_field(pid: u32, task: Option<&str>, name: &str) -> u64 {
    let path = match task {
        Some(task) => format!("/proc/{pid}/task/{task}/status"),
        None => format!("/proc/{pid}/status"),
    };
    let status = fs::read_to_string(path).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{name} is in every status"))
}

/// Memory of a process that is in use, in bytes.
///
/// # Panics
/// If the process has ended.
#[cfg(target_os = "linux")]
#[must_use]
#[track_caller]
pub fn resident(pid: u32) -> u64 {
    status_field(pid, None, "VmRSS") * 1024
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_program_is_started_once_on_this_system() {
        let mut starts = 0;
        let result = started(|| {
            starts += 1;
            Err::<(), _>(io::Error::from_raw_os_error(INTERNAL_ERROR))
        });
        assert_eq!((result.unwrap_err().raw_os_error(), starts), (Some(INTERNAL_ERROR), 1));
        assert_eq!(started(|| Ok(7)).unwrap(), 7);
    }

    #[test]
    fn an_open_file_is_found_with_its_flags() {
        let file = fs::File::open("/proc/self/status").unwrap();
        let pid = std::process::id();
        let flags = descriptor_flags(pid)[&(file.as_raw_fd() as u32)];
        assert_ne!(flags & O_CLOEXEC, 0, "the standard library opens files so");
        assert!(open_descriptors(pid).is_some_and(|count| count > 0));
        assert!(resident(pid) > 0);
    }
}
