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
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// Signals that end the process.
pub(super) const ENDING: [i32; 4] = [SIGTERM, SIGHUP, SIGQUIT, SIGINT];

/// What those signals do. Its lock is never held while somebody waits for the terminal.
#[derive(Default)]
pub(super) struct Ending(Mutex<State>);

#[derive(Default)]
struct State {
    away: bool,
    /// Of each signal that ends the process. Empty until they are caught.
    actions: Vec<Actions>,
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
        let actions = ENDING.into_iter().map(|signal| {
            let here = SignalAction::current(signal)?;
            let away = if ignores_signal(signal) { here } else { SignalAction::default_of(signal) };
            Ok(Actions { here, away })
        });
        let actions = actions.collect::<io::Result<_>>()?;
        self.lock().actions = actions;
        Ok(())
    }

    pub(super) fn is_away(&self) -> bool {
        self.lock().away
    }

    pub(super) fn set_away(&self, away: bool) {
        let mut state = self.lock();
        state.away = away;
        state.install();
    }

    /// Puts the actions in place that somebody else has replaced.
    pub(super) fn settle(&self) {
        self.lock().install();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn install(&self) {
        for Actions { here, away } in &self.actions {
            // These signals exist, and their actions can be changed.
            let _ = if self.away { away } else { here }.install();
        }
    }
}

/// Ends the process as the signal does by default.
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
    std::process::exit(128 + signal);
}
