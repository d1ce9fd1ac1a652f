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
        Failure { message: one_line(message), status: 1 }
    }

    /// It was asked for wrongly.
    pub(crate) fn usage(message: impl Display) -> Failure {
        Failure { message: one_line(message), status: 2 }
    }

    /// What a user reads.
    pub(crate) fn line(&self) -> String {
        format!("error: {}", self.message)
    }

    /// The same without the word "error".
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

/// Text from elsewhere, for a line: control characters are shown and neither end the line nor reach a terminal.
pub(crate) fn one_line(text: impl Display) -> String {
    let shown = |letter: char| -> String {
        if letter.is_control() { letter.escape_default().collect() } else { letter.into() }
    };
    text.to_string().chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line() {
        let failure = Failure::failed("a\nb\u{1b}[31m\tc: ö");
        assert_eq!(failure.line(), "error: a\\nb\\u{1b}[31m\\tc: ö");
    }
}
