//! The terminal's mode while the client has it, and the signals that end or stop the process then.
//!
//! From the first moment on at which the mode is not the one that was found, whatever ends or stops the process puts it
//! back. Two threads set it: the main one, in [`Mode::enter`] and within the editor, and the one of [`watch`]. So that the
//! main one does not set it once more after it was put back, who puts it back halts the main thread first, wherever it is.

pub(super) use imp::{Mode, interrupt, spawn, watch};

#[cfg(unix)]
mod imp {
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
    use nix::unistd::{getpgrp, getpid, tcgetpgrp};
    use proactor::os::{Halted, SignalAction, halt, ignores_signal};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcdrain, tcgetattr, tcsetattr,
    };
    use signal_hook::consts::{SIGCONT, SIGINT, SIGTSTP, SIGTTIN, SIGTTOU};
    use signal_hook::iterator::Signals;

    use super::super::ending::{ENDING, Ending, Place, State, end_by};

    /// Has the terminal mark what is pasted, as the editor wants it, and ends that.
    const PASTE_ON: &[u8] = b"\x1b[?2004h";
    const PASTE_OFF: &[u8] = b"\x1b[?2004l";

    /// Signals that stop the process: Ctrl-Z, and the use of a terminal that the shell has given to somebody else.
    const STOPPING: [i32; 3] = [SIGTSTP, SIGTTIN, SIGTTOU];

    /// How long the main thread may take to halt. Only a disk or a kernel that hangs keeps it from it.
    const HALTS_WITHIN: Duration = Duration::from_secs(1);

    /// A terminal that hands on each key, between lines too. By itself it would show what is typed before an echo has
    /// come, and would cut a line that is pasted then at 4095 bytes (Linux, termios(3)). Ctrl-C and Ctrl-Z are signals.
    pub(in super::super) struct Mode {
        input: File,
        output: File,
        /// As it was.
        original: Termios,
        keys: Termios,
        ending: Ending,
    }

    impl Mode {
        /// Waits until the shell gives us the terminal, if we were started in the background. Changes nothing: see
        /// [`Mode::enter`].
        ///
        /// # Errors
        /// If the terminal's mode cannot be read.
        pub(in super::super) fn read() -> io::Result<Mode> {
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
            Ok(Mode { input, output, original, keys, ending: Ending::default() })
        }

        /// Takes the terminal, once signals are [watched](watch). In the background this stops the process until the shell
        /// gives us the terminal. For the main thread.
        ///
        /// # Errors
        /// If the terminal's mode cannot be set.
        pub(in super::super) fn enter(&self) -> io::Result<()> {
            // What ends or stops the process waits until it is known that there is something to put back. Not the signals
            // for the use of a terminal that is not ours: blocked, they would let us use it.
            let held: SigSet = ending().iter().chain([Signal::SIGTSTP]).collect();
            let before = held.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
            self.ending.lock().go(Place::Here);
            // Not with the lock: this is where the process stops in the background.
            let set = tcsetattr(&self.input, OptionalActions::Now, &self.keys);
            self.ending.lock().go(if set.is_ok() { Place::Here } else { Place::Away });
            before.thread_set_mask()?;
            Ok(set?)
        }

        /// Takes the terminal again if we are away: the shell may have given it to us without a signal.
        pub(in super::super) fn reenter(&self) {
            let away = self.ending.lock().place() == Place::Away;
            if away {
                // An error means that the terminal has hung up: then it has no mode.
                let _ = self.enter();
            }
        }

        /// Leaves the terminal as it was, for good, if it is ours. Does not wait for a terminal that does not read. For the
        /// main thread.
        pub(in super::super) fn leave(&self) {
            // A shell may take the terminal in just this moment. Blocked, the signal for that lets us set the mode all the
            // same; otherwise we would wait for the terminal with the lock held.
            let before = SigSet::from(Signal::SIGTTOU).thread_swap_mask(SigmaskHow::SIG_BLOCK);
            let mut state = self.ending.lock();
            self.put_back(&mut state, &[]);
            state.go(Place::Left);
            drop(state);
            let _ = before.and_then(|before| before.thread_set_mask());
        }

        /// Leaves the terminal as it was, writes a line to stderr, and ends the process with this status. For a thread that
        /// [`spawn`] has started, while the main one reads.
        pub(in super::super) fn end(&self, line: &str, status: u8) -> ! {
            let text = format!("{line}\n");
            let mut state = self.ending.lock();
            let _halted = self.halt(&state);
            self.put_back(&mut state, &[]);
            state.go(Place::Left);
            // Its reader may be slow: a signal ends or stops the process meanwhile. The main thread blocks those that
            // stop it while it is halted.
            drop(state);
            for signal in STOPPING.into_iter().filter(|&signal| !ignores_signal(signal)) {
                let _ = SignalAction::default_of(signal).install();
            }
            let _ = stopping().thread_unblock();
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                match rustix::io::write(io::stderr(), rest) {
                    Ok(written @ 1..) => rest = &rest[written..],
                    Err(rustix::io::Errno::INTR) => {}
                    _ => break,
                }
            }
            signal_hook::low_level::exit(status.into());
        }

        /// Ends the process by a signal, with the terminal as it was, and the cursor where `below` moves it.
        fn end_by(&self, signal: i32, below: &impl Fn() -> String) -> ! {
            let below = below();
            let mut state = self.ending.lock();
            let _halted = self.halt(&state);
            self.put_back(&mut state, below.as_bytes());
            state.go(Place::Left);
            end_by(signal);
        }

        /// Lets the signal stop the process, with the terminal as it was meanwhile. Takes it again when the process goes
        /// on: because it was continued, or because the system has ignored the signal (as of an orphaned process group:
        /// nobody could continue it; POSIX, 2.4.3 "Signal Actions"). Returns whether it was taken, and what has come.
        fn stop_by(&self, signal: i32, signals: &mut Signals) -> (bool, Pending) {
            let mut state = self.ending.lock();
            let halted = self.halt(&state);
            self.put_back(&mut state, &[]);
            state.go(Place::Away);
            // The signals that end the process have their default action by now. One that came before ends it here, unless
            // the main thread took it while they were caught.
            let _ = ending().thread_unblock();
            if let Some(ending) = Pending::of(signals.pending()).first_of(ENDING) {
                end_by(ending);
            }
            by_default(signal);
            let _ = ending().thread_block();
            let mut came = Pending::of(signals.pending());
            // A thread that used the terminal before the stop tries again. Stopping once more for its first try would stop
            // the main thread while it handles the signal that the process was continued for.
            came.forget(&[SIGCONT, SIGTTIN, SIGTTOU]);
            let taken = self.take(&mut state);
            // Before anybody can lock what the halted thread may have locked.
            drop(halted);
            (taken, came)
        }

        /// The process was continued.
        fn resume(&self) -> bool {
            self.take(&mut self.ending.lock())
        }

        /// Sets the client's mode again, if the terminal is ours. For the thread of [`watch`].
        fn take(&self, state: &mut State) -> bool {
            let taken = state.place() != Place::Left && self.is_foreground();
            if taken {
                state.go(Place::Here);
                self.set(&self.keys);
                if self.has_room() {
                    let _ = (&self.output).write_all(PASTE_ON);
                }
            }
            taken
        }

        /// Halts the main thread, which may be about to set the mode; not if the client has left.
        fn halt(&self, state: &State) -> Option<Halted> {
            if state.place() == Place::Left { None } else { halt(HALTS_WITHIN).ok() }
        }

        /// Sets the terminal's own mode, if the terminal is ours, also if we are away: the main thread may have taken it
        /// since. Makes system calls only.
        fn put_back(&self, state: &mut State, below: &[u8]) {
            let place = state.place();
            if place == Place::Left || !self.is_foreground() {
                return;
            }
            self.set(&self.original);
            state.go(Place::Away);
            if place == Place::Here && self.has_room() {
                let _ = (&self.output).write_all(PASTE_OFF).and_then(|()| (&self.output).write_all(below));
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
            self.ending.lock().install();
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
        let watched = ENDING.iter().copied().chain(STOPPING).filter(heeded).chain([SIGCONT]);
        let (mode, mut signals) = (Arc::clone(mode), Signals::new(watched)?);
        // The parent process may have blocked it; then the main thread would not halt.
        SigSet::from(Signal::SIGURG).thread_unblock()?;
        mode.ending.are_caught()?;
        spawn("signals", move || {
            let mut came = Pending::default();
            loop {
                if came == Pending::default() {
                    came = Pending::of(signals.wait());
                }
                if let Some(signal) = came.first_of(ENDING) {
                    mode.end_by(signal, &below);
                }
                let (taken, rest) = match is_stopped_by(came, &mode) {
                    Some(signal) => mode.stop_by(signal, &mut signals),
                    None => (came.first_of(&[SIGCONT]).is_some() && mode.resume(), Pending::default()),
                };
                came = rest;
                if taken {
                    let _ = spawn("redraw", redraw.clone());
                }
            }
        })
    }

    /// Signals that have come, a bit for each.
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    struct Pending(u64);

    impl Pending {
        fn of(signals: impl Iterator<Item = i32>) -> Pending {
            Pending(signals.fold(0, |bits, signal| bits | 1 << signal))
        }

        fn first_of(self, signals: &[i32]) -> Option<i32> {
            signals.iter().copied().find(|&signal| self.0 & (1 << signal) != 0)
        }

        fn forget(&mut self, signals: &[i32]) {
            signals.iter().for_each(|&signal| self.0 &= !(1 << signal));
        }
    }

    /// Has the system do what the signal does by default, here and now: all other threads block it. Returns when the
    /// process is continued, or at once if the system ignores the signal.
    fn by_default(signal: i32) {
        let (Ok(known), Ok(caught)) = (Signal::try_from(signal), SignalAction::current(signal)) else {
            return;
        };
        let _ = SignalAction::default_of(signal).install();
        let _ = SigSet::from(known).thread_unblock();
        // To the process, not to this thread: of such signals a thread takes the one with the lowest number first, and
        // those that end the process are lower. Until every thread has stopped the shell believes that it runs.
        let _ = kill(getpid(), known);
        let _ = SigSet::from(known).thread_block();
        let _ = caught.install();
    }

    fn ending() -> SigSet {
        ENDING.iter().filter_map(|&signal| Signal::try_from(signal).ok()).collect()
    }

    fn stopping() -> SigSet {
        STOPPING.into_iter().filter_map(|signal| Signal::try_from(signal).ok()).collect()
    }

    /// Starts a thread beside an editor. It takes no signal that ends, stops or halts, from its first moment on. The main thread takes
    /// them in their order, and before it goes on to read the terminal, which in the background stops the process: one
    /// that another thread had taken, and not handled yet, would wait for the next SIGCONT.
    ///
    /// # Errors
    /// If the system has no threads.
    pub(in super::super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let signals: SigSet = ending().iter().chain(stopping().iter()).chain([Signal::SIGURG]).collect();
        // The thread inherits the mask.
        let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let thread = thread::Builder::new().name(name.into()).spawn(run);
        before.thread_set_mask()?;
        thread.map(drop)
    }

    /// Which of the signals stops the process. The use of the terminal does not if it has become ours since.
    fn is_stopped_by(came: Pending, mode: &Mode) -> Option<i32> {
        let uses = || came.first_of(&[SIGTTIN, SIGTTOU]).filter(|_| !mode.is_foreground());
        came.first_of(&[SIGTSTP]).or_else(uses)
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
    use std::thread;

    use crate::output::note;

    /// Between lines the console is as it was: it keeps lines of any length, and Ctrl-C ends the process.
    pub(in super::super) struct Mode;

    impl Mode {
        /// # Errors
        /// None on this system.
        pub(in super::super) fn read() -> io::Result<Mode> {
            Ok(Mode)
        }

        /// # Errors
        /// None on this system.
        pub(in super::super) fn enter(&self) -> io::Result<()> {
            Ok(())
        }

        /// Takes the console again.
        pub(in super::super) fn reenter(&self) {}

        /// Leaves the console as it was.
        pub(in super::super) fn leave(&self) {}

        /// Writes a line to stderr and ends the process.
        pub(in super::super) fn end(&self, line: &str, status: u8) -> ! {
            note(line);
            std::process::exit(status.into());
        }

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

    /// Starts a thread. No signal is sent to one here.
    ///
    /// # Errors
    /// If the system has no threads.
    pub(in super::super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        thread::Builder::new().name(name.into()).spawn(run).map(drop)
    }

    /// Ends the process as Ctrl-C does.
    pub(in super::super) fn interrupt() -> ! {
        /// What the default handler ends a process with.
        const STATUS_CONTROL_C_EXIT: u32 = 0xC000_013A;
        std::process::exit(STATUS_CONTROL_C_EXIT.cast_signed());
    }
}
