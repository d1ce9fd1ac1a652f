//! A terminal, for a program that behaves differently at one.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A pseudo-terminal of so wide a window: the end of the person at it, and the one of the process.
///
/// # Panics
/// If the system has none left.
#[must_use]
#[track_caller]
pub fn terminal(columns: u16) -> (File, OwnedFd) {
    // Not for the children of tests that run at the same time. Not all systems take it as a flag.
    #[cfg(target_os = "linux")]
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let ours = openpt(flags).expect("a terminal");
    fcntl_setfd(&ours, FdFlags::CLOEXEC).expect("a descriptor of ours");
    grantpt(&ours).expect("a terminal of ours");
    unlockpt(&ours).expect("a terminal of ours");
    let name = ptsname(&ours, Vec::new()).expect("a terminal has a name").into_string().expect("of ASCII");
    let theirs: OwnedFd = File::options().read(true).write(true).open(name).expect("its other end").into();
    let window = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&theirs, window).expect("a window");
    (File::from(ours), theirs)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_is_typed_is_read_and_shown() {
        let (mut person, theirs) = terminal(40);
        assert_eq!(rustix::termios::tcgetwinsize(&theirs).expect("a terminal").ws_col, 40);
        person.write_all(b"hello\n").expect("typed");
        let (mut line, mut shown) = ([0; 6], [0; 7]);
        File::from(theirs).read_exact(&mut line).expect("a line");
        person.read_exact(&mut shown).expect("its echo");
        assert_eq!((&line, &shown), (b"hello\n", b"hello\r\n"));
    }
}
