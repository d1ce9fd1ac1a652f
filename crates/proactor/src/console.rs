//! What Windows tells a console program from outside: Ctrl-C, Ctrl-Break, a closed window, a shutdown.
//!
//! For the last three of them Windows ends the process as soon as the handler returns, or after its patience, whatever
//! comes first (Microsoft, `HandlerRoutine`). So the handler does not return then: what it told of can go on on other
//! threads, and the process ends by itself when that is done.

use std::io;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    GenerateConsoleCtrlEvent, SetConsoleCtrlHandler,
};

/// Something that the console, or Windows itself, asks of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleEvent {
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-Break.
    Break,
    /// The console's window was closed.
    Close,
    /// The user logs off. Told to services only.
    Logoff,
    /// The system shuts down. Told to services only.
    Shutdown,
}

impl ConsoleEvent {
    /// How long Windows lets the process live after this: 5 s by its default for a closed window, and a second of that
    /// is for the process to end in. `None`: as long as it likes.
    #[must_use]
    pub const fn time_left(self) -> Option<Duration> {
        match self {
            ConsoleEvent::Interrupt | ConsoleEvent::Break => None,
            ConsoleEvent::Close | ConsoleEvent::Logoff | ConsoleEvent::Shutdown => {
                Some(Duration::from_secs(4))
            }
        }
    }
}

type Tell = Box<dyn Fn(ConsoleEvent) + Send + Sync>;

static TELL: OnceLock<Tell> = OnceLock::new();

/// Has every event told to `tell`, on a thread of its own that the system makes for it; several may be told at once.
/// For the rest of the process's life: the default, which ends the process, does not come back.
///
/// # Errors
/// If it was called before, or what the system says.
pub fn watch(tell: impl Fn(ConsoleEvent) + Send + Sync + 'static) -> io::Result<()> {
    TELL.set(Box::new(tell)).map_err(|_| io::Error::other("the console is watched already"))?;
    // SAFETY: a function that is there as long as the process.
    checked(unsafe { SetConsoleCtrlHandler(Some(handle), 1) })
}

/// Sends Ctrl-Break to the processes of this console that were started as the process group `group`
/// (`CREATE_NEW_PROCESS_GROUP`; the group has the number of its first process).
///
/// # Errors
/// What the system says: there is no such group, or this process has no console.
pub fn send_break(group: u32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    checked(unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, group) })
}

fn checked(done: i32) -> io::Result<()> {
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

unsafe extern "system" fn handle(kind: u32) -> i32 {
    let event = match kind {
        CTRL_C_EVENT => ConsoleEvent::Interrupt,
        CTRL_BREAK_EVENT => ConsoleEvent::Break,
        CTRL_CLOSE_EVENT => ConsoleEvent::Close,
        CTRL_LOGOFF_EVENT => ConsoleEvent::Logoff,
        CTRL_SHUTDOWN_EVENT => ConsoleEvent::Shutdown,
        // Not ours: the next handler, at last the system's own, has it.
        _ => return 0,
    };
    if let Some(tell) = TELL.get() {
        tell(event);
    }
    if event.time_left().is_some() {
        // Returning would be the end. Whoever was told ends the process, or the system does.
        loop {
            thread::park();
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use super::*;

    #[test]
    fn the_handler_returns_only_where_that_is_not_the_end() {
        let (told, events) = channel();
        let told = Mutex::new(told);
        watch(move |event| told.lock().unwrap().send(event).unwrap()).unwrap();
        assert!(watch(|_| {}).is_err(), "once per process");
        let wait = Duration::from_secs(20);
        for (kind, event) in
            [(CTRL_C_EVENT, ConsoleEvent::Interrupt), (CTRL_BREAK_EVENT, ConsoleEvent::Break)]
        {
            // SAFETY: as the system calls it.
            assert_eq!(unsafe { handle(kind) }, 1);
            assert_eq!(events.recv_timeout(wait), Ok(event));
            assert_eq!(event.time_left(), None);
        }
        // SAFETY: as the system calls it.
        assert_eq!(unsafe { handle(77) }, 0);
        for kind in [CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT] {
            let (over, returned) = channel();
            thread::spawn(move || {
                // SAFETY: as the system calls it.
                let answer = unsafe { handle(kind) };
                let _ = over.send(answer);
            });
            let event = events.recv_timeout(wait).unwrap();
            assert!(event.time_left().is_some_and(|left| left < Duration::from_secs(5)));
            assert_eq!(returned.recv_timeout(Duration::from_millis(300)), Err(RecvTimeoutError::Timeout));
        }
    }
}
