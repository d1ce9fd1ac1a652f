//! Which processors the process may use, and threads that stay on one of them.

use std::io;

/// The numbers of the processors that the process may use, in ascending order. On Linux: the affinity of the process's
/// main thread (`taskset`, cpusets) when this was first asked, so that a later [`pin_thread`] there changes nothing. On
/// Windows: the affinity mask of the process, which has at most 64 processors (one processor group).
///
/// # Errors
/// What the system says; [`Unsupported`](io::ErrorKind::Unsupported) on other systems, and on Windows for a process
/// with threads in several processor groups.
pub fn processors() -> io::Result<Vec<usize>> {
    imp::processors()
}

/// Pins the calling thread to one processor: to the `index`-th, counted from 0, of those that the process
/// [may use](processors). Threads that it starts later are pinned to the same processor on Linux.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// # let worker = 0;
/// use proactor::os;
/// os::pin_thread(worker % os::processors()?.len())?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if the process may use fewer processors; otherwise as
/// [`processors`], and what the system says.
pub fn pin_thread(index: usize) -> io::Result<()> {
    let all = processors()?;
    let processor = *all.get(index).ok_or_else(|| none_with(index, all.len()))?;
    imp::pin(processor).map_err(|error| {
        let next = "check whether it is online and in the process's cpuset, or do not pin threads";
        io::Error::new(error.kind(), format!("cannot pin a thread to processor {processor}: {error}; {next}"))
    })
}

fn none_with(index: usize, count: usize) -> io::Error {
    let problem = format!(
        "cannot pin a thread to processor {index}, counted from 0: this process may use {count}; give a smaller index, \
         or let the process use more"
    );
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}

#[cfg(target_os = "linux")]
mod imp {
    use std::io;
    use std::sync::OnceLock;

    const BITS: usize = u64::BITS as usize;
    /// The most bits that are asked for. Linux has at most 8,192 processors (`NR_CPUS`).
    const MOST: usize = 1 << 16;

    pub(super) fn processors() -> io::Result<Vec<usize>> {
        static FIRST: OnceLock<Vec<usize>> = OnceLock::new();
        if let Some(known) = FIRST.get() {
            return Ok(known.clone());
        }
        let mask = mask_of_process()?;
        let is_set = |bit: &usize| mask[bit / BITS] >> (bit % BITS) & 1 == 1;
        let found = (0..mask.len() * BITS).filter(is_set).collect();
        Ok(FIRST.get_or_init(|| found).clone())
    }

    /// The main thread's affinity, a bit per processor.
    fn mask_of_process() -> io::Result<Vec<u64>> {
        // SAFETY: a call without arguments that cannot fail.
        let main_thread = unsafe { libc::getpid() };
        let mut bits = 1024;
        loop {
            let mut mask = vec![0_u64; bits / BITS];
            // SAFETY: as many bytes as are stated, which the call may write; they are aligned as the kernel's words.
            let result = unsafe {
                libc::sched_getaffinity(main_thread, bits / 8, mask.as_mut_ptr().cast::<libc::cpu_set_t>())
            };
            if result == 0 {
                return Ok(mask);
            }
            let error = io::Error::last_os_error();
            // The kernel may have more processors than that.
            if error.raw_os_error() != Some(libc::EINVAL) || bits >= MOST {
                return Err(error);
            }
            bits *= 2;
        }
    }

    pub(super) fn pin(processor: usize) -> io::Result<()> {
        let mut mask = vec![0_u64; processor / BITS + 1];
        mask[processor / BITS] = 1 << (processor % BITS);
        // SAFETY: as many bytes as are stated, which the call only reads. 0 is the calling thread.
        let result = unsafe {
            libc::sched_setaffinity(0, size_of_val(&mask[..]), mask.as_ptr().cast::<libc::cpu_set_t>())
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(windows)]
mod imp {
    use std::io;
    use windows_sys::Win32::System::Threading as threading;

    pub(super) fn processors() -> io::Result<Vec<usize>> {
        let (mut mine, mut system) = (0_usize, 0_usize);
        // SAFETY: a handle that stands for this process and needs no closing, and two masks that the call writes.
        let done = unsafe {
            threading::GetProcessAffinityMask(threading::GetCurrentProcess(), &raw mut mine, &raw mut system)
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        if mine == 0 {
            let problem = "the threads of this process are in several processor groups, which have no common \
                           numbers; start it in one (`start /affinity`), or do not pin threads";
            return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
        }
        Ok((0..usize::BITS as usize).filter(|bit| mine >> bit & 1 == 1).collect())
    }

    pub(super) fn pin(processor: usize) -> io::Result<()> {
        // SAFETY: a handle that stands for the calling thread and needs no closing.
        let before =
            unsafe { threading::SetThreadAffinityMask(threading::GetCurrentThread(), 1 << processor) };
        if before == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(not(any(target_os = "linux", windows)))]
mod imp {
    use std::io;

    pub(super) fn processors() -> io::Result<Vec<usize>> {
        let problem = "this system pins no thread to a processor; do not pin threads";
        Err(io::Error::new(io::ErrorKind::Unsupported, problem))
    }

    pub(super) fn pin(_processor: usize) -> io::Result<()> {
        processors().map(drop)
    }
}

#[cfg(all(test, any(target_os = "linux", windows)))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn an_index_beyond_the_processors_is_refused() {
        let count = processors().unwrap().len();
        let refused = pin_thread(count).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        assert!(refused.to_string().contains(&format!("this process may use {count};")), "{refused}");
    }

    #[test]
    fn a_pinned_thread_stays_and_changes_nothing_for_others() {
        let all = processors().unwrap();
        assert!(!all.is_empty() && all.is_sorted());
        for index in 0..all.len() {
            let seen = thread::spawn(move || {
                pin_thread(index).unwrap();
                (allowed(), processors().unwrap())
            });
            let (allowed, still) = seen.join().unwrap();
            assert_eq!(still, all);
            if let Some(allowed) = allowed {
                assert_eq!(allowed, all[index].to_string());
            }
        }
    }

    /// What Linux says about the calling thread. Under Wine it would speak of Wine's server, which opens the file.
    fn allowed() -> Option<String> {
        if cfg!(windows) {
            return None;
        }
        let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        Some(list.trim().to_owned())
    }
}
