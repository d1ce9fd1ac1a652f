//! What a process was started with: ignored signals.

/// Whether the process ignores `signal` now. Before it has changed anything itself, this is what it was started with:
/// `nohup` has its command ignore SIGHUP. POSIX, `sigaction`.
#[must_use]
pub fn ignores_signal(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the struct it is given. All of its fields may be zero.
    let (result, action) =
        unsafe { (libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()), action.assume_init()) };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
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
