//! The terminal's mode while the client has it.

pub(super) use imp::{Mode, interrupt};

#[cfg(unix)]
mod imp {
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::thread;

    use rustix::termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    };
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    /// Ends the bracketed paste that the editor has the terminal do.
    const PASTE_OFF: &[u8] = b"\x1b[?2004l";

    /// A terminal that hands on each key, between lines too. By itself it would show what is typed before an echo has
    /// come, and would cut a line that is pasted then at 4095 bytes (Linux, termios(3)). Ctrl-C still interrupts.
    ///
    /// The terminal is as it was after [`Mode::restore`], and when a signal ends the process.
    pub(in super::super) struct Mode(Arc<Original>);

    struct Original {
        input: File,
        output: File,
        mode: Termios,
    }

    impl Mode {
        /// # Errors
        /// What the system says if it cannot be set, or watched for signals.
        pub(in super::super) fn enter() -> io::Result<Mode> {
            let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            let mode = tcgetattr(&input)?;
            let mut keys = mode.clone();
            keys.input_modes -= InputModes::BRKINT
                | InputModes::ICRNL
                | InputModes::INPCK
                | InputModes::ISTRIP
                | InputModes::IXON;
            keys.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN;
            keys.special_codes[SpecialCodeIndex::VMIN] = 1;
            keys.special_codes[SpecialCodeIndex::VTIME] = 0;
            let original = Arc::new(Original { input, output, mode });
            restore_at_signals(&original)?;
            tcsetattr(&original.input, OptionalActions::Now, &keys)?;
            Ok(Mode(original))
        }

        /// Leaves the terminal as it was.
        pub(in super::super) fn restore(&self) {
            self.0.restore();
        }
    }

    /// Ends the process as Ctrl-C does.
    pub(in super::super) fn interrupt() -> ! {
        let _ = emulate_default_handler(SIGINT);
        unreachable!("the default for SIGINT ends the process");
    }

    impl Original {
        fn restore(&self) {
            let _ = tcsetattr(&self.input, OptionalActions::Now, &self.mode);
            let _ = (&self.output).write_all(PASTE_OFF);
        }
    }

    /// Those that are ignored stay so (`nohup`).
    fn restore_at_signals(original: &Arc<Original>) -> io::Result<()> {
        let ending = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];
        let mut signals =
            Signals::new(ending.into_iter().filter(|signal| !proactor::system::ignores_signal(*signal)))?;
        let original = Arc::clone(original);
        thread::Builder::new().name("signals".into()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                original.restore();
                let _ = emulate_default_handler(signal);
            }
        })?;
        Ok(())
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

        /// Leaves the console as it was.
        pub(in super::super) fn restore(&self) {}
    }

    /// Ends the process as Ctrl-C does.
    pub(in super::super) fn interrupt() -> ! {
        /// What the default handler ends a process with.
        const STATUS_CONTROL_C_EXIT: u32 = 0xC000_013A;
        std::process::exit(STATUS_CONTROL_C_EXIT.cast_signed());
    }
}
