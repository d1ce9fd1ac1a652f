//! A clock that costs a few nanoseconds to read.

/// The time since some moment before the process began, in ns, as of the system's last clock tick: 1 to 10 ms ago on
/// Linux, 16 ms on Windows. Monotonic. For durations that are much longer than a tick, measured where a precise clock would
/// cost too much. See `CLOCK_MONOTONIC_COARSE` in clock_gettime(2), and `GetTickCount64`. Other systems: their precise
/// clock.
#[must_use]
#[inline]
pub fn coarse_time_ns() -> u64 {
    imp::coarse_time_ns()
}

#[cfg(unix)]
mod imp {
    #[cfg(target_os = "linux")]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;

    #[inline]
    pub(super) fn coarse_time_ns() -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writable room for the answer. The clock exists on every kernel that this crate runs on; if it did not,
        // the time would stand still.
        unsafe { libc::clock_gettime(CLOCK, &raw mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

#[cfg(windows)]
mod imp {
    use windows_sys::Win32::System::SystemInformation::GetTickCount64;

    #[inline]
    pub(super) fn coarse_time_ns() -> u64 {
        // SAFETY: a call without preconditions.
        let ms = unsafe { GetTickCount64() };
        ms * 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn it_goes_on_and_never_back() {
        let (began, first) = (Instant::now(), coarse_time_ns());
        let mut last = first;
        while last - first < 50_000_000 {
            let now = coarse_time_ns();
            assert!(now >= last);
            last = now;
            assert!(began.elapsed() < Duration::from_secs(20), "it stands still");
        }
        assert!(began.elapsed() > Duration::from_millis(30), "it runs ahead");
    }
}
