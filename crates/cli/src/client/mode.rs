//! The terminal's mode while the client has it, and the signals that end or stop the process then.

pub(super) use imp::{Mode, interrupt, leave_signals_to_main, watch};

#[cfg(unix)]
mod imp {
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::thread;

    use nix::sys::signal::{SigSet, Signal, kill};
    use nix::unistd::{getpgrp, getpid, getsid, tcgetpgrp};
    use proactor::os::ignores_signal;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcdrain, tcgetattr, tcsetattr,
    };
    use signal_hook::consts::{SIGCONT, SIGINT, SIGTSTP, SIGTTIN, SIGTTOU};
    use signal_hook::iterator::Signals;

    use super::super::ending::{ENDING, Ending, end_by};

    /// Ends the bracketed paste that the editor has the terminal do.
    const PASTE_OFF: &str = "\x1b[?2004l";

    /// Signals that stop the process: Ctrl-Z, and the use of a terminal that the shell has given to somebody else.
    const STOPPING: [i32; 3] = [SIGTSTP, SIGTTIN, SIGTTOU];

    /// A terminal that hands on each key, between lines too. By itself it would show what is typed before an echo has
    /// come, and would cut a line that is pasted then at 4095 bytes (Linux, termios(3)). Ctrl-C and Ctrl-Z are signals.
    pub(in super::super) struct Mode {
        input: File,
        output: File,
        /// As it was.
        original: Termios,
        keys: Termios,
        /// The client is away while the terminal is as it was, or the shell's: there is nothing to put back.
        ending: Ending,
    }

    impl Mode {
        /// Waits until the shell gives us the terminal, if we were started in the background.
        ///
        /// # Errors
        /// If the terminal's mode cannot be read, or set.
        pub(in super::super) fn enter() -> io::Result<Mode> {
            let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            // Changes nothing, but stops a process in the background (SIGTTOU). Until then the mode is the shell's own.
            tcdrain(&input)?;
            let original = tcgetattr(&input)?;
            let mut keys = original.clone();
            keys.input_modes -= InputModes::BRKINT
                | InputModes::ICRNL
                | InputModes::INPCK
                | InputModes::ISTRIP
                | InputModes::IXON;
            keys.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN;
            keys.special_codes[SpecialCodeIndex::VMIN] = 1;
            keys.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(&input, OptionalActions::Now, &keys)?;
            Ok(Mode { input, output, original, keys, ending: Ending::default() })
        }

        /// Takes the terminal again after [`Mode::restore`]. In the background this stops the process until the shell
        /// gives us the terminal. Not for the thread of [`watch`].
        pub(in super::super) fn reenter(&self) {
            if self.ending.is_away() {
                self.set(&self.keys);
                self.ending.set_away(false);
            }
        }

        /// Leaves the terminal as it was, if it is ours. Does not wait for a terminal that does not read.
        pub(in super::super) fn restore(&self) {
            self.restore_below("");
        }

        /// The same, with the cursor where `below` moves it.
        fn restore_below(&self, below: &str) {
            if self.ending.is_away() || !self.is_foreground() {
                return;
            }
            self.set(&self.original);
            self.ending.set_away(true);
            if self.has_room() {
                let _ = (&self.output).write_all(format!("{PASTE_OFF}{below}").as_bytes());
            }
        }

        /// Holds SIGINT back from the calling thread, the main one, until [`Mode::settle_interrupt`]. For the moment in
        /// which the editor begins to read: its own handler (`rustyline` 18) loses a signal that does not come while it
        /// waits for a key, and in the background waits for the terminal before it ends the process.
        pub(in super::super) fn hold_interrupt(&self) {
            let _ = SigSet::from(Signal::SIGINT).thread_block();
        }

        /// Replaces the handler that the editor has put in place, or has put back, by ours.
        pub(in super::super) fn settle_interrupt(&self) {
            self.ending.settle();
            let _ = SigSet::from(Signal::SIGINT).thread_unblock();
        }

        /// An error means that the terminal has hung up: then it has no mode.
        fn set(&self, mode: &Termios) {
            let _ = tcsetattr(&self.input, OptionalActions::Now, mode);
        }

        /// Whether this process may set the mode without being stopped. In the background only the shell may. A terminal
        /// that is not the one of our session has no such groups (`ENOTTY`).
        fn is_foreground(&self) -> bool {
            !matches!(tcgetpgrp(&self.input), Ok(group) if group != getpgrp())
        }

        /// Whether the terminal takes what is written. Not if somebody waits to write, or has stopped it (Ctrl-S).
        fn has_room(&self) -> bool {
            let mut output = [PollFd::new(&self.output, PollFlags::OUT)];
            let found = poll(&mut output, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
            found.is_ok() && output[0].revents().contains(PollFlags::OUT)
        }
    }

    /// Leaves the terminal as it was before a signal ends or stops the process; `below` says how to move the cursor out of
    /// a line that is half typed when it ends. When the process goes on after a stop, takes the terminal again and calls
    /// `redraw` in a thread of its own, which may wait for the terminal. Signals that are ignored stay so (`nohup`).
    ///
    /// # Errors
    /// If the signals cannot be caught, or there is no thread.
    pub(in super::super) fn watch(
        mode: &Arc<Mode>,
        redraw: impl Fn() + Clone + Send + 'static,
        below: impl Fn() -> String + Send + 'static,
    ) -> io::Result<()> {
        let heeded = |signal: &i32| !ignores_signal(*signal);
        let watched = ENDING.into_iter().chain(STOPPING).filter(heeded).chain([SIGCONT]);
        let (mode, mut signals) = (Arc::clone(mode), Signals::new(watched)?);
        mode.ending.are_caught()?;
        thread::Builder::new().name("signals".into()).spawn(move || {
            leave_signals_to_main();
            let mut continued_with: Vec<i32> = Vec::new();
            loop {
                let pending = match std::mem::take(&mut continued_with) {
                    none if none.is_empty() => signals.wait().collect(),
                    some => some,
                };
                end_by_any(&pending, &mode, &below);
                if is_stopped_by(&pending, &mode) {
                    mode.restore();
                    mode.ending.set_away(true);
                    stop(|| end_by_any(&signals.pending().collect::<Vec<_>>(), &mode, &below));
                    // A thread that used the terminal before the stop tries again. Stopping once more for its first try
                    // would stop the main thread while it handles the signal that the process was continued for.
                    continued_with =
                        signals.pending().filter(|signal| ![SIGTTIN, SIGTTOU].contains(signal)).collect();
                } else if pending.contains(&SIGCONT) && mode.is_foreground() {
                    mode.set(&mode.keys);
                    mode.ending.set_away(false);
                    let _ = thread::Builder::new().name("redraw".into()).spawn(redraw.clone());
                }
            }
        })?;
        Ok(())
    }

    /// Stops the process. Returns when it is continued; SIGCONT follows. The signals that end it have their default action
    /// by now. One that came before ends it here, unless the main thread took it while they were caught: that is for
    /// `caught`.
    fn stop(caught: impl FnOnce()) {
        let _ = ending().thread_unblock();
        caught();
        // To the process, not to this thread: of such signals a thread takes the one with the lowest number first, and
        // those that end the process are lower. Until every thread has stopped the shell believes that it runs.
        let _ = kill(getpid(), Signal::SIGSTOP);
        // The system may have woken another thread for it, which has not run yet. With another mask this one looks, too.
        let other = SigSet::from(Signal::SIGURG);
        let _ = other.thread_block();
        let _ = other.thread_unblock();
        let _ = ending().thread_block();
    }

    fn ending() -> SigSet {
        ENDING.into_iter().filter_map(|signal| Signal::try_from(signal).ok()).collect()
    }

    /// Has the calling thread, and those that it starts, take no signal that ends or stops the process. The main thread
    /// takes them in their order, and before it goes on to read the terminal, which in the background stops the process:
    /// one that another thread had taken, and not handled yet, would wait for the next SIGCONT.
    pub(in super::super) fn leave_signals_to_main() {
        let signals = ENDING.into_iter().chain(STOPPING).filter_map(|signal| Signal::try_from(signal).ok());
        let _ = signals.collect::<SigSet>().thread_block();
    }

    /// Ends the process if one of the signals does.
    fn end_by_any(pending: &[i32], mode: &Mode, below: &impl Fn() -> String) {
        if let Some(ending) = ENDING.into_iter().find(|signal| pending.contains(signal)) {
            mode.restore_below(&below());
            end_by(ending);
        }
    }

    /// Whether one of the signals stops the process. The use of the terminal does not if it has become ours since.
    fn is_stopped_by(pending: &[i32], mode: &Mode) -> bool {
        (pending.contains(&SIGTSTP) && !nobody_could_continue())
            || (pending.iter().any(|signal| [SIGTTIN, SIGTTOU].contains(signal)) && !mode.is_foreground())
    }

    /// Whether no shell with job control has started this process: then it is in the group of its session's leader, which
    /// is orphaned, and a stop is ignored (POSIX, 2.4.3 "Signal Actions"). A leader outside our PID namespace has the
    /// number 0, which `rustix` takes for impossible.
    fn nobody_could_continue() -> bool {
        getsid(None).is_ok_and(|session| session == getpgrp())
    }

    /// Ends the process as Ctrl-C does.
    pub(in super::super) fn interrupt() -> ! {
        end_by(SIGINT);
    }
}

#[cfg(windows)]
mod imp {
    use std::io;
    use std::sync::Arc;

    /// Between lines the console is as it was: it keeps lines of any length, and Ctrl-C ends the process.
    pub(in super::super) struct Mode;

    impl Mode {
        /// # Errors
        /// None on this system.
        pub(in super::super) fn enter() -> io::Result<Mode> {
            Ok(Mode)
        }

        /// Takes the console again.
        pub(in super::super) fn reenter(&self) {}

        /// Leaves the console as it was.
        pub(in super::super) fn restore(&self) {}

        /// Ctrl-C is a key for the editor.
        pub(in super::super) fn hold_interrupt(&self) {}

        /// The same.
        pub(in super::super) fn settle_interrupt(&self) {}
    }

    /// Nothing stops a process here, and what ends it needs no help.
    ///
    /// # Errors
    /// None on this system.
    pub(in super::super) fn watch(
        _mode: &Arc<Mode>,
        _redraw: impl Fn() + Clone + Send + 'static,
        _below: impl Fn() -> String + Send + 'static,
    ) -> io::Result<()> {
        Ok(())
    }

    /// Nothing here is sent to a thread.
    pub(in super::super) fn leave_signals_to_main() {}

    /// Ends the process as Ctrl-C does.
    pub(in super::super) fn interrupt() -> ! {
        /// What the default handler ends a process with.
        const STATUS_CONTROL_C_EXIT: u32 = 0xC000_013A;
        std::process::exit(STATUS_CONTROL_C_EXIT.cast_signed());
    }
}
