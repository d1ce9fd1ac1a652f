//! Limits of the process that decide how many sockets it can hold, and a count of those that it holds through us.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static SOCKETS: AtomicUsize = AtomicUsize::new(0);
static PORTS: AtomicUsize = AtomicUsize::new(0);

/// What this library holds open in the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handles {
    /// Sockets: listeners, connections, and those that are on their way between two workers.
    pub sockets: usize,
    /// Completion ports, rings and pollers.
    pub ports: usize,
}

/// Counts what is open now, of all drivers of the process. Kept by ourselves, because what a system tells of its
/// handles covers everybody's (and under Wine it is always 0).
#[must_use]
pub fn handles() -> Handles {
    Handles { sockets: SOCKETS.load(Relaxed), ports: PORTS.load(Relaxed) }
}

/// A socket in the count, for as long as this lives beside it. Of no size: it lies in every connection.
pub(crate) type CountedSocket = Counted<false>;
/// A port, ring or poller in the count.
pub(crate) type CountedPort = Counted<true>;

#[derive(Debug)]
pub(crate) struct Counted<const IS_PORT: bool>(());

impl<const IS_PORT: bool> Counted<IS_PORT> {
    const COUNTER: &AtomicUsize = if IS_PORT { &PORTS } else { &SOCKETS };

    pub(crate) fn new() -> Self {
        Self::COUNTER.fetch_add(1, Relaxed);
        Counted(())
    }
}

impl<const IS_PORT: bool> Drop for Counted<IS_PORT> {
    fn drop(&mut self) {
        Self::COUNTER.fetch_sub(1, Relaxed);
    }
}

/// Descriptors this process may have open. `None`: no limit that is known.
#[must_use]
pub fn descriptor_limit() -> Option<u64> {
    imp::limit()
}

/// A limit of the process. `None` on either side: unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds.
    pub soft: Option<u64>,
    /// How far the process may raise that by itself.
    pub hard: Option<u64>,
}

/// Both sides of the descriptor limit. `None` where the system has none, as on Windows.
#[must_use]
pub fn descriptor_limits() -> Option<Limit> {
    imp::limits()
}

/// Raises the soft limit to the hard one. Returns what holds then.
#[must_use]
pub fn raise_descriptor_limit() -> Option<u64> {
    imp::raise()
}

/// Descriptors open now; an estimate where the system does not tell.
#[must_use]
pub fn open_descriptors() -> u64 {
    // Reading the directory takes one itself.
    std::fs::read_dir("/proc/self/fd").map_or(16, |open| open.count().saturating_sub(1) as u64)
}

/// Whether the process ignores `signal` now. Before it has changed anything itself, this is what it was started with:
/// `nohup` has its command ignore SIGHUP. POSIX, `sigaction`.
#[cfg(unix)]
#[must_use]
pub fn ignores_signal(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the struct it is given. All of its fields may be zero.
    let (result, action) =
        unsafe { (libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()), action.assume_init()) };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(unix)]
mod imp {
    fn get() -> Option<libc::rlimit> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the call writes the struct it is given.
        let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
        (result == 0).then_some(limit)
    }

    fn finite(limit: libc::rlim_t) -> Option<u64> {
        Some(limit).filter(|limit| *limit != libc::RLIM_INFINITY)
    }

    pub(super) fn limit() -> Option<u64> {
        get().and_then(|limit| finite(limit.rlim_cur))
    }

    pub(super) fn limits() -> Option<super::Limit> {
        get().map(|limit| super::Limit { soft: finite(limit.rlim_cur), hard: finite(limit.rlim_max) })
    }

    pub(super) fn raise() -> Option<u64> {
        let mut wanted = get()?;
        wanted.rlim_cur = wanted.rlim_max;
        // SAFETY: the call reads the struct it is given. A refusal leaves the limit as it was.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) };
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

    #[test]
    fn a_signal_is_ignored_or_not() {
        // Rust's runtime ignores SIGPIPE before `main`.
        assert!(ignores_signal(libc::SIGPIPE));
        assert!(!ignores_signal(libc::SIGSEGV));
        assert!(!ignores_signal(-1), "no signal");
    }
}
