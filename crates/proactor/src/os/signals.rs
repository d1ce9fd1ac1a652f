//! What the process does with a signal: looked up, kept, and put in place again.

use std::io;
use std::mem::MaybeUninit;

/// What the process does when a signal comes: runs a handler, ignores it, or does what the system does by default. POSIX,
/// `sigaction`.
///
/// For a signal whose action somebody else in the process changes for a while, as line editors do with SIGINT. May be used
/// from any thread; the action is the whole process's.
#[derive(Clone, Copy)]
pub struct SignalAction {
    signal: libc::c_int,
    action: libc::sigaction,
}

impl SignalAction {
    /// The action in place now.
    ///
    /// # Errors
    /// `EINVAL` if there is no such signal.
    pub fn current(signal: i32) -> io::Result<SignalAction> {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: without a new action the call only writes the struct it is given.
        if unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has written it; all of its fields may be zero anyway.
        Ok(SignalAction { signal, action: unsafe { action.assume_init() } })
    }

    /// The system's own action.
    #[must_use]
    pub fn default_of(signal: i32) -> SignalAction {
        // SAFETY: all fields of the struct may be zero. It has private ones on some systems.
        let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
        action.sa_sigaction = libc::SIG_DFL;
        SignalAction { signal, action }
    }

    /// Puts this action in place. For a signal that came before and is still blocked, too.
    ///
    /// # Errors
    /// `EINVAL` if there is no such signal, or its action cannot be changed (SIGKILL, SIGSTOP).
    pub fn install(&self) -> io::Result<()> {
        // SAFETY: the call reads the struct it is given. A handler in it was in place before ([`SignalAction::current`] is
        // the only source of one): the code that installed it promised that it may run at any time, and code stays
        // loaded.
        let result = unsafe { libc::sigaction(self.signal, &raw const self.action, std::ptr::null_mut()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn is_ignored(&self) -> bool {
        self.action.sa_sigaction == libc::SIG_IGN
    }
}

/// Whether the process ignores `signal` now. Before it has changed anything itself, this is what it was started with:
/// `nohup` has its command ignore SIGHUP. POSIX, `sigaction`.
#[must_use]
pub fn ignores_signal(signal: i32) -> bool {
    SignalAction::current(signal).is_ok_and(|action| action.is_ignored())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    /// Tests that change what the process does with SIGURG run one after the other.
    pub(in super::super) static SIGURG_IS_MINE: Mutex<()> = Mutex::new(());

    #[test]
    fn a_signal_is_ignored_or_not() {
        // Rust's runtime ignores SIGPIPE before `main`.
        assert!(ignores_signal(libc::SIGPIPE));
        assert!(!ignores_signal(libc::SIGSEGV));
        assert!(!ignores_signal(-1), "no signal");
    }

    /// SIGURG: its default does nothing.
    #[test]
    fn an_action_comes_back() {
        let _mine = SIGURG_IS_MINE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = SignalAction::current(libc::SIGURG).unwrap();
        let ignored = SignalAction { signal: libc::SIGURG, ..SignalAction::current(libc::SIGPIPE).unwrap() };
        ignored.install().unwrap();
        assert!(ignores_signal(libc::SIGURG));
        SignalAction::default_of(libc::SIGURG).install().unwrap();
        assert!(!ignores_signal(libc::SIGURG));
        ignored.install().unwrap();
        before.install().unwrap();
        assert_eq!(
            SignalAction::current(libc::SIGURG).unwrap().action.sa_sigaction,
            before.action.sa_sigaction
        );
    }

    #[test]
    fn some_signals_have_no_action() {
        let refused = |signal| SignalAction::default_of(signal).install().unwrap_err().raw_os_error();
        assert_eq!(refused(libc::SIGKILL), Some(libc::EINVAL));
        assert_eq!(refused(-1), Some(libc::EINVAL));
        assert!(SignalAction::current(-1).is_err());
    }
}
