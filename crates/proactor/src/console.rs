//! The events that Windows sends to a console program: Ctrl-C, Ctrl-Break, a closed window, a shutdown.
//!
//! For a closed window, a logoff and a shutdown Windows ends the process when the handler returns or a time-out has
//! passed, whichever comes first: <https://learn.microsoft.com/windows/console/handlerroutine>. So the handler does not
//! return then: other threads go on with what it started, and the process ends by itself when that is done.
//!
//! A service must ignore a logoff. Services get `CTRL_LOGOFF_EVENT` for every user who logs off; the page above says
//! that it "does not indicate which user is logging off", and that the default handler of a service does not end the
//! process for it. So in session 0, where services and what they start live, the event goes to the next handler.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    GenerateConsoleCtrlEvent, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::RemoteDesktop::ProcessIdToSessionId;

/// An event from the console or from Windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleEvent {
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-Break.
    Break,
    /// The console's window was closed.
    Close,
    /// The user whose session this is logs off. Never reported in session 0, where services run.
    Logoff,
    /// The system shuts down.
    Shutdown,
}

impl ConsoleEvent {
    /// How long Windows lets the process live after this: at least 5 s by default (`SPI_GETHUNGAPPTIMEOUT`,
    /// `SPI_GETWAITTOKILLTIMEOUT`; a service has 20 s for a shutdown), of which one is left for the process to end
    /// in. `None`: without a limit.
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

type Tell = Arc<dyn Fn(ConsoleEvent) + Send + Sync>;

/// Set exactly while our handler is installed, or being installed.
static TELL: RwLock<Option<Tell>> = RwLock::new(None);

/// Calls `tell` for every event, on a thread that the system makes for it; several calls may run at once. For the
/// rest of the process's life: the default, which ends the process, is not restored.
///
/// # Errors
/// If it succeeded before, or what the system says; then it may be called again.
pub fn watch(tell: impl Fn(ConsoleEvent) + Send + Sync + 'static) -> io::Result<()> {
    // SAFETY: a function that is there as long as the process.
    watch_with(|| checked(unsafe { SetConsoleCtrlHandler(Some(handle), 1) }), Arc::new(tell))
}

fn watch_with(install: impl FnOnce() -> io::Result<()>, tell: Tell) -> io::Result<()> {
    let mut place = TELL.write().unwrap_or_else(PoisonError::into_inner);
    if place.is_some() {
        return Err(io::Error::other("the console is watched already"));
    }
    // An event that comes as soon as the handler is installed waits for the lock, and then finds `tell`.
    install()?;
    *place = Some(tell);
    Ok(())
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
    let Some(event) = event_of(kind, session()) else {
        // Not ours: the next handler gets it, in the end the system's own.
        return 0;
    };
    let tell = TELL.read().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(tell) = tell else { return 0 };
    tell(event);
    if event.time_left().is_some() {
        // Returning would end the process. `tell`'s side ends it, or the system does.
        loop {
            thread::park();
        }
    }
    1
}

/// The event for a process of this session; `None`: it is ignored.
fn event_of(kind: u32, session: u32) -> Option<ConsoleEvent> {
    Some(match kind {
        CTRL_C_EVENT => ConsoleEvent::Interrupt,
        CTRL_BREAK_EVENT => ConsoleEvent::Break,
        CTRL_CLOSE_EVENT => ConsoleEvent::Close,
        CTRL_LOGOFF_EVENT if session == SERVICES => return None,
        CTRL_LOGOFF_EVENT => ConsoleEvent::Logoff,
        CTRL_SHUTDOWN_EVENT => ConsoleEvent::Shutdown,
        _ => return None,
    })
}

/// The session of services since Windows Vista; users have others.
const SERVICES: u32 = 0;

/// This process's session. From `kernel32` alone: a program that has loaded `user32` or `gdi32` gets no logoff and no
/// shutdown event (<https://learn.microsoft.com/windows/console/setconsolectrlhandler>).
fn session() -> u32 {
    let mut session = SERVICES;
    // SAFETY: an integer that the call writes. If it fails, which takes a process that does not exist, this is a
    // service.
    unsafe { ProcessIdToSessionId(std::process::id(), &raw mut session) };
    session
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use super::*;

    /// A user who logs off must not end a server that a service started; all other events are reported there too.
    #[test]
    fn a_logoff_is_not_told_to_services() {
        let kinds =
            [CTRL_C_EVENT, CTRL_BREAK_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT];
        let service = kinds.map(|kind| event_of(kind, SERVICES));
        let user = kinds.map(|kind| event_of(kind, 1));
        assert_eq!(service[3], None, "the next handler has it");
        assert_eq!(user[3], Some(ConsoleEvent::Logoff));
        for at in [0, 1, 2, 4] {
            assert!(user[at].is_some() && user[at] == service[at]);
        }
        assert_eq!((event_of(77, SERVICES), event_of(77, 1)), (None, None));
    }

    #[test]
    fn the_handler_returns_only_where_that_is_not_the_end() {
        // SAFETY: as the system calls it.
        assert_eq!(unsafe { handle(CTRL_C_EVENT) }, 0, "nobody watches yet");
        let (told, events) = channel();
        let told = Mutex::new(told);
        let refused = watch_with(|| Err(io::ErrorKind::OutOfMemory.into()), Arc::new(|_| {}));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        watch(move |event| told.lock().unwrap().send(event).unwrap()).expect("it can be tried again");
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
        for kind in [CTRL_CLOSE_EVENT, CTRL_SHUTDOWN_EVENT] {
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
