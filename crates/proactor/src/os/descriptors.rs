//! How many descriptors the process may open, and how many it has open.

/// Descriptors this process may have open: its soft limit, or what the system gives a process that has none. `None`
/// where there is no such limit, as on Windows.
#[must_use]
pub fn descriptor_limit() -> Option<u64> {
    imp::limit()
}

/// A limit of the process. `None` on either side: unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The limit in force.
    pub soft: Option<u64>,
    /// The highest soft limit that the process may set by itself.
    pub hard: Option<u64>,
}

/// Both sides of the descriptor limit. `None` where the system has none, as on Windows.
#[must_use]
pub fn descriptor_limits() -> Option<Limit> {
    imp::limits()
}

/// Raises the soft limit to the hard one. Returns the limit in force after that.
#[must_use]
pub fn raise_descriptor_limit() -> Option<u64> {
    imp::raise()
}

/// Descriptors open now; an estimate where the system does not report it.
#[must_use]
pub fn open_descriptors() -> u64 {
    // Since Linux 6.2 the directory's size is their number (Documentation/filesystems/proc.rst). Reading the directory
    // takes about a microsecond for each.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(directory) = std::fs::metadata("/proc/self/fd")
        && directory.len() > 0
    {
        return directory.len();
    }
    count_descriptors()
}

fn count_descriptors() -> u64 {
    match std::fs::read_dir("/proc/self/fd") {
        // Reading the directory takes one itself.
        Ok(open) => open.count().saturating_sub(1) as u64,
        // None is left for that.
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::EMFILE) => descriptor_limit().unwrap_or(ESTIMATE),
        Err(_) => ESTIMATE,
    }
}

const ESTIMATE: u64 = 16;

#[cfg(unix)]
mod imp {
    use super::Limit;

    fn get() -> Option<libc::rlimit> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the call writes the struct it is given.
        let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
        (result == 0).then_some(limit)
    }

    /// `rlim_t` is signed, or of 32 bits, on some systems.
    pub(super) fn finite(limit: libc::rlim_t) -> Option<u64> {
        (limit != libc::RLIM_INFINITY).then(|| u64::try_from(i128::from(limit)).unwrap_or(0))
    }

    /// The most that a process can have, whatever its limit. macOS reports an unlimited hard limit, but beyond this
    /// number `open` fails.
    fn most() -> u64 {
        /// `OPEN_MAX` of macOS, the number that its `setrlimit(2)` names.
        const AT_LEAST: u64 = 10_240;
        #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
        {
            let (mut most, mut len): (libc::c_int, _) = (0, size_of::<libc::c_int>());
            // SAFETY: a name that ends with 0, an integer that the call writes, and its size.
            let result = unsafe {
                libc::sysctlbyname(
                    c"kern.maxfilesperproc".as_ptr(),
                    (&raw mut most).cast(),
                    &raw mut len,
                    std::ptr::null_mut(),
                    0,
                )
            };
            if result == 0 && most > 0 {
                return u64::try_from(most).unwrap_or(AT_LEAST);
            }
        }
        AT_LEAST
    }

    /// The limit in force under a soft limit: never more than the system allows.
    pub(super) fn holds(soft: libc::rlim_t, most: impl FnOnce() -> u64) -> u64 {
        finite(soft).unwrap_or_else(most)
    }

    /// What to raise a soft limit to. macOS refuses "unlimited": setrlimit(2), "use `min(OPEN_MAX, rlim_max)`".
    pub(super) fn raised(hard: libc::rlim_t, most: impl FnOnce() -> u64) -> libc::rlim_t {
        if hard == libc::RLIM_INFINITY { libc::rlim_t::try_from(most()).unwrap_or(hard) } else { hard }
    }

    pub(super) fn limit() -> Option<u64> {
        get().map(|limit| holds(limit.rlim_cur, most))
    }

    pub(super) fn limits() -> Option<Limit> {
        get().map(|limit| Limit { soft: finite(limit.rlim_cur), hard: finite(limit.rlim_max) })
    }

    pub(super) fn raise() -> Option<u64> {
        let mut wanted = get()?;
        // An unlimited soft limit is as high as it gets.
        if finite(wanted.rlim_cur).is_some() {
            wanted.rlim_cur = raised(wanted.rlim_max, most).max(wanted.rlim_cur);
            // SAFETY: the call reads the struct it is given. A refusal leaves the limit as it was.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) };
        }
        limit()
    }
}

#[cfg(not(unix))]
mod imp {
    pub(super) fn limit() -> Option<u64> {
        None
    }

    pub(super) fn limits() -> Option<super::Limit> {
        None
    }

    pub(super) fn raise() -> Option<u64> {
        None
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Other tests open some and close them meanwhile: in some round, none does between the two.
    #[cfg(target_os = "linux")]
    #[test]
    fn both_ways_of_counting_agree() {
        let files: Vec<_> =
            (0..100).map(|_| std::fs::File::open("/dev/null").expect("a descriptor")).collect();
        let counted =
            (0..10_000).find_map(|_| Some(open_descriptors()).filter(|open| *open == count_descriptors()));
        assert!(counted.is_some_and(|open| open >= files.len() as u64), "{counted:?}");
    }

    /// Every system has a largest number of descriptors. macOS reports "unlimited", and refuses that value.
    #[test]
    fn unlimited_is_a_number() {
        assert_eq!(imp::finite(libc::RLIM_INFINITY), None);
        assert_eq!(imp::holds(libc::RLIM_INFINITY, || 10_240), 10_240);
        assert_eq!(imp::holds(256, || panic!("it is limited")), 256);
        assert_eq!(imp::raised(libc::RLIM_INFINITY, || 10_240), 10_240);
        assert_eq!(imp::raised(4096, || panic!("it is limited")), 4096);
        assert!(
            descriptor_limit().is_some_and(|limit| limit < u64::from(u32::MAX)),
            "a number on every Unix"
        );
    }
}
