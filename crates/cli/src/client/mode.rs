//! The terminal's mode while the client has it, and the signals that end or stop the process then.

pub(super) use imp::{Mode, interrupt, watch};

#[cfg(unix)]
mod imp {
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::fd::AsFd;
    use std::thread;

    use proactor::system::ignores_signal;
    use rustix::process::{getpgrp, getsid};
    use rustix::termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    };
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    /// Ends the bracketed paste that the editor has the terminal do.
    const PASTE_OFF: &[u8] = b"\x1b[?2004l";

    /// A terminal that hands on each key, between lines too. By itself it would show what is typed before an echo has
    /// come, and would cut a line that is pasted then at 4095 bytes (Linux, termios(3)). Ctrl-C and Ctrl-Z are signals.
    pub(in super::super) struct Mode {
        input: File,
        output: File,
        /// As it was.
        original: Termios,
        keys: Termios,
    }

    impl Mode {
        /// # Errors
        /// If the terminal's mode cannot be read, or set.
        pub(in super::super) fn enter() -> io::Result<Mode> {
            let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
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
            Ok(Mode { input, output, original, keys })
        }

        /// Takes the terminal again after [`Mode::restore`].
        pub(in super::super) fn reenter(&self) {
            let _ = tcsetattr(&self.input, OptionalActions::Now, &self.keys);
        }

        /// Leaves the terminal as it was.
        pub(in super::super) fn restore(&self) {
            let _ = tcsetattr(&self.input, OptionalActions::Now, &self.original);
            let _ = (&self.output).write_all(PASTE_OFF);
        }
    }

    /// Calls `leave` before a signal ends or stops the process, and `resume` when it goes on after a stop. Signals that
    /// are ignored stay so (`nohup`).
    ///
    /// # Errors
    /// If the signals cannot be caught, or there is no thread.
    pub(in super::super) fn watch(
        leave: impl Fn() + Send + 'static,
        resume: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        let signals = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP];
        let mut signals = Signals::new(signals.into_iter().filter(|signal| !ignores_signal(*signal)))?;
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                if signal == SIGTSTP && nobody_could_continue() {
                    continue;
                }
                leave();
                // Returns after a stop only.
                let _ = emulate_default_handler(signal);
                resume();
            }
        })?;
        Ok(())
    }

    /// Whether no shell with job control has started this process: then it is in the group of its session's leader, which
    /// is orphaned, and a stop is ignored (POSIX, 2.4.3 "Signal Actions").
    fn nobody_could_continue() -> bool {
        getsid(None).is_ok_and(|session| session == getpgrp())
    }

    /// Ends the process as Ctrl-C does.
    pub(in super::super) fn interrupt() -> ! {
        let _ = emulate_default_handler(SIGINT);
        unreachable!("the default for SIGINT ends the process");
    }
}

#[cfg(windows)]
mod imp {
    use std::io;

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
    }

    /// Nothing stops a process here, and what ends it needs no help.
    ///
    /// # Errors
    /// None on this system.
    pub(in super::super) fn watch(
        _leave: impl Fn() + Send + 'static,
        _resume: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        Ok(())
    }

    /// Ends the process as Ctrl-C does.
    pub(in super::super) fn interrupt() -> ! {
        /// What the default handler ends a process with.
        const STATUS_CONTROL_C_EXIT: u32 = 0xC000_013A;
        std::process::exit(STATUS_CONTROL_C_EXIT.cast_signed());
    }
}
