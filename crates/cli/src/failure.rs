//! How the program fails: one line on stderr, and the exit status. 1: it did not work, or a check did not hold; 2: it was
//! asked for wrongly.

use std::fmt::Display;

/// What ends the program early: one line, and the status.
pub(crate) struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// It did not work.
    pub(crate) fn failed(message: impl Display) -> Failure {
        Failure { message: message.to_string(), status: 1 }
    }

    /// It was asked for wrongly.
    pub(crate) fn usage(message: impl Display) -> Failure {
        Failure { message: message.to_string(), status: 2 }
    }

    /// What a user reads.
    pub(crate) fn line(&self) -> String {
        format!("error: {}", self.message)
    }

    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}
