//! Which backends this system has, in order of preference, and why one was refused.

use std::fmt;
use std::str::FromStr;

use super::{BackendKind, PREFERENCE};

/// Which backend a program asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Choice {
    /// The first in the order of preference that works on this machine.
    #[default]
    Auto,
    /// This one, without a fallback.
    Only(BackendKind),
}

impl Choice {
    /// The backends to try, in order.
    #[must_use]
    pub fn candidates(&self) -> &[BackendKind] {
        match self {
            Choice::Auto => PREFERENCE,
            Choice::Only(kind) => std::slice::from_ref(kind),
        }
    }
}

/// The word for the command line and messages: `auto`, or the backend's name.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Auto => f.write_str("auto"),
            Choice::Only(kind) => kind.fmt(f),
        }
    }
}

/// The same words, for an option or an argument of a program.
impl FromStr for Choice {
    type Err = UnknownBackend;

    fn from_str(word: &str) -> Result<Choice, UnknownBackend> {
        let kinds = [BackendKind::IoUring, BackendKind::Iocp, BackendKind::Readiness];
        let all = kinds.map(Choice::Only).into_iter().chain([Choice::Auto]);
        let named = all.into_iter().find(|choice| choice.to_string() == word);
        named.ok_or_else(|| UnknownBackend(word.to_owned()))
    }
}

/// A word that names no backend.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnknownBackend(String);

impl fmt::Display for UnknownBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no backend {:?}; give auto, io_uring, iocp or readiness", self.0)
    }
}

/// The message, which a `main` that returns the error prints.
impl fmt::Debug for UnknownBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for UnknownBackend {}

/// Why a backend cannot be used on this machine, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// Which backend.
    pub backend: BackendKind,
    /// The cause, as a clause: "the kernel setting … is 2".
    pub reason: String,
    /// The remedy, as an imperative: "set … to 0".
    pub remedy: String,
}

impl Refusal {
    /// The reason given when even the smallest useful ring needs more memory than may be locked.
    pub const NO_MEMORY_TO_LOCK: &str = "the memory-lock limit leaves no room for a ring";

    /// The refusal of a backend that does not exist on this operating system.
    #[must_use]
    pub fn not_here(backend: BackendKind) -> Refusal {
        let names: Vec<&str> = PREFERENCE.iter().map(|name| name.as_str()).collect();
        let narrow = cfg!(all(target_os = "linux", not(target_pointer_width = "64")));
        let reason = match backend {
            BackendKind::IoUring if narrow => "this is a 32-bit program, and it is for 64-bit ones",
            _ => "this operating system does not have it",
        };
        Refusal {
            backend,
            reason: reason.into(),
            remedy: format!("choose one of: auto, {}", names.join(", ")),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not available: {}; {}", self.backend, self.reason, self.remedy)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_choice_is_read_as_it_is_written() {
        let kinds = [BackendKind::IoUring, BackendKind::Iocp, BackendKind::Readiness];
        for choice in kinds.map(Choice::Only).into_iter().chain([Choice::Auto]) {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let unknown = format!("{:?}", "epoll".parse::<Choice>().unwrap_err());
        assert_eq!(unknown, "there is no backend \"epoll\"; give auto, io_uring, iocp or readiness");
    }
}
