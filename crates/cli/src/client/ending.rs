//! The signals that end the client.
//!
//! While the terminal has the client's mode they are caught, and a thread puts the terminal's own mode back first. While
//! the client is *away* (stopped, in the background, or about to end) there is nothing to put back, and their action is
//! the system's. A handler would not do then: a process that stops itself may stop before its handler has run, and the
//! shell, which believes that it runs, does not continue it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{SigSet, Signal, raise};
use proactor::os::{SignalAction, ignores_signal};
use signal_hook::consts::{
    SIGABRT, SIGALRM, SIGHUP, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
};

/// Signals that end a process by default, and that a user, a shell or a timer sends.
///
/// Left out: those of a fault (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS), whose handler would return to the
/// instruction at fault; SIGPIPE, which Rust ignores, and SIGXFSZ, which `signals` outlives; real-time signals, which have
/// a meaning only for a process that asks for them.
pub(super) const ENDING: &[i32] = &[
    SIGTERM,   // `kill`, `timeout`, a system that shuts down
    SIGHUP,    // the window is closed, the connection to this machine is lost
    SIGQUIT,   // Ctrl-\
    SIGINT,    // Ctrl-C
    SIGABRT,   // `kill -ABRT`, and watchdogs: somebody wants a core dump
    SIGALRM,   // `kill -ALRM`, and an alarm that was set before `exec`
    SIGVTALRM, // a timer of processor time
    SIGPROF,   // a profiler's timer
    SIGXCPU,   // `ulimit -t`
    SIGUSR1,   // `kill -USR1`: `serve` and other programs answer it
    SIGUSR2,   // the same
    #[cfg(target_os = "linux")]
    signal_hook::consts::SIGIO, // a descriptor that was inherited with O_ASYNC
    #[cfg(target_os = "linux")]
    nix::libc::SIGPWR, // `kill -PWR`: what containers are sent to end
    #[cfg(all(
        target_os = "linux",
        any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")
    ))]
    nix::libc::SIGSTKFLT, // nobody's, and ends a process all the same
];

/// What those signals do. Its lock is never held while somebody waits for the terminal.
#[derive(Default)]
pub(super) struct Ending(Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    place: Place,
    /// Of each signal that ends the process. Empty until they are caught.
    actions: Vec<Actions>,
}

/// Where the client is, seen from the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// The terminal is as it was, or the shell's.
    #[default]
    Away,
    /// The terminal has the client's mode, or is about to have it.
    Here,
    /// As away, for good: the process ends.
    Left,
}

struct Actions {
    here: SignalAction,
    away: SignalAction,
}

impl Ending {
    /// The handlers that are in place now are those for a client that is not away. Signals that are ignored stay so.
    ///
    /// # Errors
    /// If the system does not tell what they do.
    pub(super) fn are_caught(&self) -> io::Result<()> {
        let actions = ENDING.iter().map(|&signal| {
            let here = SignalAction::current(signal)?;
            let away = if ignores_signal(signal) { here } else { SignalAction::default_of(signal) };
            Ok(Actions { here, away })
        });
        let actions = actions.collect::<io::Result<_>>()?;
        self.lock().actions = actions;
        Ok(())
    }

    /// For as long as the guard lives, nobody else changes where the client is, nor the mode for good.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Goes there, unless the client has left.
    pub(super) fn go(&mut self, place: Place) {
        if self.place != Place::Left {
            self.place = place;
        }
        self.install();
    }

    /// Puts the actions in place that somebody else has replaced.
    pub(super) fn install(&self) {
        for Actions { here, away } in &self.actions {
            // These signals exist, and their actions can be changed.
            let _ = if self.place == Place::Here { here } else { away }.install();
        }
    }
}

/// Ends the process as the signal does by default. Makes system calls only.
pub(super) fn end_by(signal: i32) -> ! {
    // The editor may put a handler of its own in place between two of the calls.
    const TRIES: usize = 100;
    if let Ok(known) = Signal::try_from(signal) {
        for _ in 0..TRIES {
            let _ = SignalAction::default_of(signal).install();
            let _ = SigSet::from(known).thread_unblock();
            let _ = raise(known);
        }
    }
    // The first process of a PID namespace does not end by default. What a shell reports for a process that does.
    signal_hook::low_level::exit(128 + signal);
}
