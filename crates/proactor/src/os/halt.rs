//! One thread of the process, halted for a moment wherever it is: for another thread that puts something in order which a
//! library in the first one may be changing.

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU8, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::thread;
use std::time::{Duration, Instant};

/// [`STATE`]: no thread is halted.
const RUNS: u8 = 0;
/// The signal was sent; no thread has taken it yet.
const ASKED: u8 = 1;
/// The thread that took the signal waits in its handler.
const HALTED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(RUNS);

/// A thread that is halted until this is dropped.
#[derive(Debug)]
#[must_use = "dropped, it lets the thread go on"]
pub struct Halted(());

/// Halts the one thread that does not block SIGURG, usually the main one, and waits until it has halted, for at most
/// `patience`. Until it goes on, the thread makes no system call of its own, and takes no signal that stops the
/// process (SIGTSTP, SIGTTIN, SIGTTOU). Then a call in which it waited is made again if `SA_RESTART` covers it; `poll`,
/// `select`, `epoll_wait` and sleeps fail with `EINTR` (signal(7)). A child that `fork` makes meanwhile can halt nobody.
///
/// For any thread that blocks SIGURG itself. The halted thread may hold any lock, the allocator's too: until the value is
/// dropped make system calls only, or end the process. From the first call on SIGURG has a handler, which does nothing
/// when nobody halts.
///
/// # Errors
/// `InvalidInput` if the calling thread does not block SIGURG, `ResourceBusy` if a thread is halted already, `TimedOut` if
/// none has halted; and what `sigaction` or `kill` fails with. The thread runs on then.
pub fn halt(patience: Duration) -> io::Result<Halted> {
    if !blocks_the_signal()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the calling thread must block SIGURG"));
    }
    if STATE.compare_exchange(RUNS, ASKED, AcqRel, Acquire).is_err() {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    if let Err(error) = send() {
        STATE.store(RUNS, Release);
        return Err(error);
    }
    let until = Instant::now() + patience;
    while STATE.load(Acquire) != HALTED {
        let late = Instant::now() >= until;
        if late && STATE.compare_exchange(ASKED, RUNS, AcqRel, Acquire).is_ok() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::yield_now();
    }
    Ok(Halted(()))
}

impl Drop for Halted {
    fn drop(&mut self) {
        STATE.store(RUNS, Release);
    }
}

/// POSIX, `pthread_sigmask`.
fn blocks_the_signal() -> io::Result<bool> {
    let mut blocked = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: without a new mask the call only writes the set it is given.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), blocked.as_mut_ptr()) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: the call has written the set.
    Ok(unsafe { libc::sigismember(blocked.as_ptr(), libc::SIGURG) } == 1)
}

/// Puts the handler in place, and sends the process the signal: the system gives it to a thread that does not block it.
fn send() -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = wait;
    // SAFETY: all fields of the struct may be zero. It has private ones on some systems.
    let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the set is in the struct above; these signals exist.
    unsafe {
        libc::sigemptyset(&raw mut action.sa_mask);
        for stop in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
            libc::sigaddset(&raw mut action.sa_mask, stop);
        }
    }
    // SAFETY: the call reads the struct. The handler may run at any time: it uses an atomic, `poll` and `errno` only, which
    // POSIX allows a handler ("2.4.3 Signal Actions").
    if unsafe { libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the calls take no memory. The signal is caught.
    if unsafe { libc::kill(libc::getpid(), libc::SIGURG) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The handler. Waits until the thread may go on, if somebody halts it.
extern "C" fn wait(_signal: libc::c_int) {
    if STATE.compare_exchange(ASKED, HALTED, AcqRel, Acquire).is_err() {
        return;
    }
    let before = errno();
    while STATE.load(Acquire) == HALTED {
        // SAFETY: no descriptors, so no memory. A millisecond at most.
        unsafe { libc::poll(std::ptr::null_mut(), 0, 1) };
    }
    set_errno(before);
}

/// Where this thread has its `errno`: what the interrupted code may be about to read.
fn errno_place() -> *mut libc::c_int {
    #[cfg(any(target_os = "illumos", target_os = "solaris"))]
    use libc::___errno as place;
    #[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
    use libc::__errno as place;
    #[cfg(any(target_os = "linux", target_os = "dragonfly"))]
    use libc::__errno_location as place;
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    use libc::__error as place;
    // SAFETY: the call takes nothing, and returns the address of a variable that lives as long as the thread.
    unsafe { place() }
}

fn errno() -> libc::c_int {
    // SAFETY: see `errno_place`; only this thread uses it.
    unsafe { *errno_place() }
}

fn set_errno(value: libc::c_int) {
    // SAFETY: the same.
    unsafe { *errno_place() = value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::signals::tests::SIGURG_IS_MINE;
    use std::sync::PoisonError;

    fn block(how: libc::c_int) {
        // SAFETY: the set is written before it is read.
        unsafe {
            let mut set = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGURG);
            assert_eq!(libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()), 0);
        }
    }

    /// Some thread of the test's runner halts, and goes on.
    #[test]
    fn a_thread_halts_and_goes_on() {
        let _mine = SIGURG_IS_MINE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = crate::os::SignalAction::current(libc::SIGURG).unwrap();
        let patience = Duration::from_secs(30);
        assert_eq!(halt(patience).unwrap_err().kind(), io::ErrorKind::InvalidInput, "it would halt itself");
        block(libc::SIG_BLOCK);
        for _ in 0..3 {
            let halted = halt(patience).unwrap();
            assert_eq!(STATE.load(Acquire), HALTED);
            assert_eq!(halt(patience).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
            drop(halted);
            assert_eq!(STATE.load(Acquire), RUNS);
        }
        before.install().unwrap();
        block(libc::SIG_UNBLOCK);
    }
}
