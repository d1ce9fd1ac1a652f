//! How much processor time and memory a thread or a process has used.

use std::io;
use std::time::Duration;

/// Processor time that the calling thread has used, in the program and in the system. On Unix to the nanosecond; Windows
/// counts in ticks of 15.6 ms.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    imp::thread_cpu_time()
}

/// For how long the calling thread was ready to run and had no processor, because others used it. `None` if the system
/// does not say: Linux does (`/proc/thread-self/schedstat`), unless it was built or started without this count.
#[must_use]
pub fn thread_run_delay() -> Option<Duration> {
    if cfg!(target_os = "linux") {
        run_delay_in(&std::fs::read_to_string("/proc/thread-self/schedstat").ok()?)
    } else {
        None
    }
}

/// Time on a processor, time waited for one, and time slices. A thread that reads this has run: if its time is 0, the
/// kernel does not count.
fn run_delay_in(schedstat: &str) -> Option<Duration> {
    let mut fields = schedstat.split_ascii_whitespace().map(|field| field.parse::<u64>().ok());
    let (ran, waited) = (fields.next()??, fields.next()??);
    (ran > 0).then(|| Duration::from_nanos(waited))
}

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Processor time of all its threads, in the program and in the system, including threads that have ended. Two values
    /// differ by what was used between them: on Linux to the nanosecond for threads that are not running, and up to a
    /// tick of the scheduler (1 to 10 ms) short for each that is; on Windows in ticks of 15.6 ms.
    pub cpu: Duration,
    /// Memory that it has in use now: its resident set, or its working set.
    pub rss_bytes: u64,
    /// How often its threads gave up their processor because they had nothing to do: only of the threads that exist now,
    /// so it becomes smaller when a thread ends. `None` on Windows.
    pub voluntary_switches: Option<u64>,
    /// How often another thread was put in the place of one of its threads. As [`voluntary_switches`](Self::voluntary_switches).
    pub involuntary_switches: Option<u64>,
}

/// What the process with this id has used: this process or another. On Linux it reads two files, and one for each
/// thread, in `/proc`.
///
/// # Errors
/// Each says what to do: [`NotFound`](io::ErrorKind::NotFound) if there is no such process, or, on Linux, if it has ended
/// and its parent has not waited for it (a zombie),
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the system lets others see it only,
/// [`Unsupported`](io::ErrorKind::Unsupported) on systems other than Linux and Windows.
pub fn process_usage(pid: u32) -> io::Result<ProcessUsage> {
    imp::process_usage(pid).map_err(|error| explain(pid, &error))
}

fn explain(pid: u32, error: &io::Error) -> io::Error {
    let kind = error.kind();
    let text = match kind {
        io::ErrorKind::NotFound if error.get_ref().is_some() => {
            format!("process {pid} {error}: give one that runs")
        }
        io::ErrorKind::NotFound => {
            let hidden =
                if cfg!(target_os = "linux") { ", and whether /proc shows it (`hidepid`)" } else { "" };
            format!("there is no process {pid} here: check the number, whether it has ended{hidden}")
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "the usage of process {pid} may not be read: {error}; run this as that process's user, or with more rights"
            )
        }
        io::ErrorKind::Unsupported => format!("the usage of process {pid} cannot be read: {error}"),
        _ => format!("the usage of process {pid} cannot be read: {error}; try again"),
    };
    io::Error::new(kind, text)
}

#[cfg(unix)]
mod imp {
    use std::io;
    use std::time::Duration;

    #[cfg(all(test, target_os = "linux"))]
    pub(super) use linux::is_zombie;
    #[cfg(target_os = "linux")]
    pub(super) use linux::process_usage;

    pub(super) fn thread_cpu_time() -> Duration {
        // Linux and POSIX: the clock of the calling thread always exists.
        read_clock(libc::CLOCK_THREAD_CPUTIME_ID).expect("a thread has a clock")
    }

    fn read_clock(clock: libc::clockid_t) -> io::Result<Duration> {
        // SAFETY: integers, for which zeros are a value.
        let mut time: libc::timespec = unsafe { std::mem::zeroed() };
        // SAFETY: the call writes the struct it is given.
        if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn process_usage(_pid: u32) -> io::Result<super::ProcessUsage> {
        let problem = "this system is not supported; leave it out, or use Linux or Windows";
        Err(io::Error::new(io::ErrorKind::Unsupported, problem))
    }

    #[cfg(target_os = "linux")]
    mod linux {
        use std::io;
        use std::time::Duration;

        use super::super::ProcessUsage;
        use super::read_clock;

        pub(in super::super) fn process_usage(pid: u32) -> io::Result<ProcessUsage> {
            let cpu = cpu_time(pid)?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(ended)?;
            if is_zombie(&status) {
                return Err(io::Error::new(io::ErrorKind::NotFound, ZOMBIE));
            }
            let mut resident = 0;
            let (mut voluntary, mut involuntary) = (0, 0);
            for task in std::fs::read_dir(format!("/proc/{pid}/task")).map_err(ended)? {
                // Threads may end meanwhile.
                let Ok(status) = task.and_then(|task| std::fs::read_to_string(task.path().join("status")))
                else {
                    continue;
                };
                // Threads share it; a main thread that has ended before the others shows none.
                resident = field(&status, "VmRSS:").unwrap_or(0).max(resident);
                voluntary += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
                involuntary += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
            }
            Ok(ProcessUsage {
                cpu,
                rss_bytes: resident * 1024,
                voluntary_switches: Some(voluntary),
                involuntary_switches: Some(involuntary),
            })
        }

        const ZOMBIE: &str = "has ended (its parent has not waited for it yet)";

        /// Whether the process has ended. If its main thread alone has, the state is the same and other threads exist.
        pub(in super::super) fn is_zombie(status: &str) -> bool {
            let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or("");
            state.trim_start().starts_with(['Z', 'X']) && field(status, "Threads:").unwrap_or(0) <= 1
        }

        /// The process's own clock covers threads that have ended, and counts in nanoseconds. Of what `/proc` has, `stat`
        /// covers them but counts in ticks of 10 ms, and `schedstat` is about the main thread alone.
        fn cpu_time(pid: u32) -> io::Result<Duration> {
            // For the call, 0 is the caller.
            let id = libc::pid_t::try_from(pid).ok().filter(|id| *id > 0).ok_or(io::ErrorKind::NotFound)?;
            let mut clock = 0;
            // SAFETY: the call writes the value it is given.
            match unsafe { libc::clock_getcpuclockid(id, &raw mut clock) } {
                0 => {}
                libc::ESRCH => return Err(io::ErrorKind::NotFound.into()),
                error => return Err(io::Error::from_raw_os_error(error)),
            }
            read_clock(clock).map_err(|error| match error.raw_os_error() {
                // It has ended since.
                Some(libc::EINVAL | libc::ESRCH) => io::ErrorKind::NotFound.into(),
                _ => error,
            })
        }

        /// A file of a process that ends while it is read ends with `ESRCH`.
        fn ended(error: io::Error) -> io::Error {
            if error.raw_os_error() == Some(libc::ESRCH) { io::ErrorKind::NotFound.into() } else { error }
        }

        /// The number after a name, at the start of a line.
        fn field(status: &str, name: &str) -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse().ok()
        }
    }
}

#[cfg(windows)]
mod imp {
    use std::io;
    use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
    use std::time::Duration;

    use windows_sys::Win32::Foundation::{ERROR_INVALID_PARAMETER, FILETIME};
    use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
    use windows_sys::Win32::System::Threading as threading;

    use super::ProcessUsage;

    /// Time in the system and in the program.
    fn sum(kernel: FILETIME, user: FILETIME) -> Duration {
        let nanos =
            |time: FILETIME| (u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)) * 100;
        Duration::from_nanos(nanos(kernel) + nanos(user))
    }

    pub(super) fn thread_cpu_time() -> Duration {
        let [mut began, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
        // SAFETY: a handle that stands for the calling thread and needs no closing, and four times that the call writes.
        let done = unsafe {
            threading::GetThreadTimes(
                threading::GetCurrentThread(),
                &raw mut began,
                &raw mut ended,
                &raw mut kernel,
                &raw mut user,
            )
        };
        assert!(done != 0, "a thread has its times: {}", io::Error::last_os_error());
        sum(kernel, user)
    }

    pub(super) fn process_usage(pid: u32) -> io::Result<ProcessUsage> {
        let process = open(pid)?;
        let [mut began, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
        // SAFETY: the handle is open, and the call writes four times.
        let done = unsafe {
            threading::GetProcessTimes(
                process.as_raw_handle(),
                &raw mut began,
                &raw mut ended,
                &raw mut kernel,
                &raw mut user,
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        let cb = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
        let mut memory = PROCESS_MEMORY_COUNTERS { cb, ..Default::default() };
        // SAFETY: the handle is open, and the call writes as many bytes as are stated.
        if unsafe { K32GetProcessMemoryInfo(process.as_raw_handle(), &raw mut memory, cb) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(ProcessUsage {
            cpu: sum(kernel, user),
            rss_bytes: memory.WorkingSetSize as u64,
            voluntary_switches: None,
            involuntary_switches: None,
        })
    }

    fn open(pid: u32) -> io::Result<OwnedHandle> {
        // SAFETY: no memory is passed.
        let handle = unsafe { threading::OpenProcess(threading::PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
        if handle.is_null() {
            let error = io::Error::last_os_error();
            let none = error.raw_os_error() == Some(ERROR_INVALID_PARAMETER as i32);
            return Err(if none { io::ErrorKind::NotFound.into() } else { error });
        }
        // SAFETY: the call above made this handle for us alone.
        Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
    }
}

#[cfg(test)]
mod tests;
