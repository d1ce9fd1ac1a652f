//! One line of a running server for a person or for a program: as text, or as JSON.

use std::fmt::{Arguments, Display};
use std::io::{IsTerminal, Write};
use std::time::SystemTime;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// It happened.
    Info,
    /// Something is not as was asked for, and that is fine.
    Note,
    Warning,
    Error,
    /// An error whose text says so itself.
    Panic,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Info | Level::Note => "info",
            Level::Warning => "warning",
            Level::Error | Level::Panic => "error",
        }
    }

    /// Before the message of a text line.
    fn prefix(self) -> &'static str {
        match self {
            Level::Info | Level::Panic => "",
            Level::Note => "note: ",
            Level::Warning => "warning: ",
            Level::Error => "error: ",
        }
    }
}

/// A value of a field.
#[derive(Clone, Copy)]
pub(crate) enum Field<'a> {
    Number(u64),
    Text(&'a dyn Display),
}

/// What a line says. The message says all of it; the fields say it again for programs.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    level: Level,
    message: Arguments<'a>,
    fields: &'a [(&'static str, Field<'a>)],
}

impl<'a> Record<'a> {
    pub(crate) fn new(level: Level, message: Arguments<'a>) -> Record<'a> {
        Record { level, message, fields: &[] }
    }

    pub(crate) fn info(message: Arguments<'a>) -> Record<'a> {
        Record::new(Level::Info, message)
    }

    pub(crate) fn note(message: Arguments<'a>) -> Record<'a> {
        Record::new(Level::Note, message)
    }

    pub(crate) fn warning(message: Arguments<'a>) -> Record<'a> {
        Record::new(Level::Warning, message)
    }

    pub(crate) fn with(self, fields: &'a [(&'static str, Field<'a>)]) -> Record<'a> {
        Record { fields, ..self }
    }
}

/// How the lines of one stream look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    format: Format,
    /// Whether text lines have a time stamp.
    stamped: bool,
}

impl Style {
    /// For a stream that is open now.
    pub(crate) fn of(format: Format, stream: &(impl IsTerminal + JournalEnd)) -> Style {
        Style { format, stamped: !stream.is_terminal() && !stream.ends_in_journal() }
    }

    /// Text without a time stamp.
    pub(crate) fn plain() -> Style {
        Style { format: Format::Text, stamped: false }
    }

    /// Appends a record's line.
    pub(crate) fn append(self, text: &mut Vec<u8>, record: &Record<'_>) {
        self.append_at(text, record, SystemTime::now());
    }

    fn append_at(self, text: &mut Vec<u8>, record: &Record<'_>, now: SystemTime) {
        let time = humantime::format_rfc3339_millis(now);
        let Record { level, message, fields } = record;
        // Writing to memory cannot fail.
        let _ = match self.format {
            Format::Text if self.stamped => writeln!(text, "{time} {}{message}", level.prefix()),
            Format::Text => writeln!(text, "{}{message}", level.prefix()),
            Format::Json => {
                let _ = write!(text, r#"{{"time":"{time}","level":"{}","message":"#, level.word());
                append_string(text, message);
                for (name, value) in *fields {
                    let _ = write!(text, r#","{name}":"#);
                    match value {
                        Field::Number(number) => drop(write!(text, "{number}")),
                        Field::Text(value) => append_string(text, value),
                    }
                }
                writeln!(text, "}}")
            }
        };
    }
}

/// As a JSON string.
fn append_string(text: &mut Vec<u8>, value: impl Display) {
    // Text always has a form, and writing to memory cannot fail.
    let _ = serde_json::to_writer(text, &value.to_string());
}

/// Whether a stream's lines go to the journal of systemd, which stamps them itself: systemd.exec(5), `JOURNAL_STREAM`.
pub(crate) trait JournalEnd {
    fn ends_in_journal(&self) -> bool;
}

#[cfg(unix)]
impl<F: std::os::fd::AsFd> JournalEnd for F {
    fn ends_in_journal(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let journal = std::env::var("JOURNAL_STREAM");
        let stream = || self.as_fd().try_clone_to_owned().map(std::fs::File::from)?.metadata();
        journal.is_ok_and(|journal| stream().is_ok_and(|it| journal == format!("{}:{}", it.dev(), it.ino())))
    }
}

#[cfg(windows)]
impl<F: std::os::windows::io::AsHandle> JournalEnd for F {
    fn ends_in_journal(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn line(style: Style, record: &Record<'_>) -> String {
        let mut text = Vec::new();
        style.append_at(&mut text, record, UNIX_EPOCH + Duration::from_millis(1_234));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn text_lines() {
        let record = |level| {
            line(Style { format: Format::Text, stamped: true }, &Record::new(level, format_args!("a")))
        };
        assert_eq!(record(Level::Info), "1970-01-01T00:00:01.234Z a\n");
        assert_eq!(record(Level::Note), "1970-01-01T00:00:01.234Z note: a\n");
        assert_eq!(record(Level::Error), "1970-01-01T00:00:01.234Z error: a\n");
        assert_eq!(line(Style::plain(), &Record::warning(format_args!("a"))), "warning: a\n");
    }

    #[test]
    fn json_lines_escape_what_they_say() {
        let style = Style { format: Format::Json, stamped: true };
        let fields =
            [("reason", Field::Text(&"a \"b\"\nc\u{1}")), ("received_bytes", Field::Number(u64::MAX))];
        let text = line(style, &Record::note(format_args!("it's \\ {}", 7)).with(&fields));
        assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let wanted = serde_json::json!({
            "time": "1970-01-01T00:00:01.234Z",
            "level": "info",
            "message": "it's \\ 7",
            "reason": "a \"b\"\nc\u{1}",
            "received_bytes": u64::MAX,
        });
        assert_eq!(value, wanted);
    }
}
