//! The terminal that is written to: how wide it is, which signs it has, and whether it has colours. What is piped gets
//! ASCII, 80 columns and no colours.

use std::env;
use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use overlapped_pitfalls::Kind;

use crate::failure::Failure;
use crate::output::written;

/// Wider lines are hard to read; narrower ones leave no room for words.
const WIDTHS: (usize, usize) = (30, 140);
const USUAL_WIDTH: usize = 80;
/// Beside a first column.
const LEAST_ROOM: usize = 16;

pub(super) struct Screen {
    pub(super) width: usize,
    /// Whether it shows box drawing; else ASCII.
    pub(super) boxes: bool,
    pub(super) colours: bool,
}

/// What a colour stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Strong,
    Faint,
    Bar(Kind),
    Wrong,
    Held,
}

impl Screen {
    pub(super) fn of_stdout() -> Screen {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let asked = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let measured = || terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
        let width = asked.or_else(measured).filter(|width| *width > 0).unwrap_or(USUAL_WIDTH);
        Screen {
            width: width.clamp(WIDTHS.0, WIDTHS.1),
            boxes: terminal && (cfg!(windows) || locale_is_utf8(|name| env::var(name).ok())),
            // Honours NO_COLOR.
            colours: terminal && AutoStream::choice(&stdout) != ColorChoice::Never,
        }
    }

    /// Writes to stdout at once.
    ///
    /// # Errors
    /// As [`written`].
    pub(super) fn print(&self, text: &str) -> Result<(), Failure> {
        let choice = if self.colours { ColorChoice::Auto } else { ColorChoice::Never };
        let mut out = AutoStream::new(io::stdout().lock(), choice);
        written("the output", out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    pub(super) fn paint(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            _ if !self.colours || text.is_empty() => return text.to_owned(),
            Ink::Plain => return text.to_owned(),
            Ink::Strong => "1",
            Ink::Faint => "2",
            Ink::Bar(Kind::Session) => "36",
            Ink::Bar(Kind::Operation) => "33",
            Ink::Bar(Kind::Memory) => "35",
            Ink::Wrong => "1;31",
            Ink::Held => "32",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Text after a first column; what does not fit in a line goes under its beginning. Where the first column leaves
    /// no room, or a word needs more, all of the text goes under it. A word that is longer than a line stays whole: a terminal breaks it, and
    /// it can still be copied.
    pub(super) fn wrapped(&self, out: &mut String, first: &str, ink: Ink, text: &str) {
        let (mut head, mut indent) = (first, first.chars().count());
        let longest = text.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
        if indent > 4 && indent + longest.max(LEAST_ROOM) > self.width {
            *out += first.trim_end();
            out.push('\n');
            (head, indent) = ("", 4);
        }
        for line in lines(text, self.width - indent) {
            *out += &format!("{head:indent$}{}\n", self.paint(ink, &line));
            head = "";
        }
    }
}

/// As POSIX chooses it: the first of these that is set and not empty counts.
fn locale_is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
    set.is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

/// Words in lines of at most `width` characters. One line at least.
fn lines(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut column = 0;
    for word in text.split(' ') {
        let len = word.chars().count();
        if column > 0 && column + 1 + len > room {
            lines.push(String::new());
            column = 0;
        }
        let line = lines.last_mut().expect("one at least");
        if column > 0 {
            line.push(' ');
            column += 1;
        }
        *line += word;
        column += len;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_every_word_and_their_room() {
        let text = "one two three four five six seven";
        for room in 5..40 {
            let lines = lines(text, room);
            assert_eq!(lines.join(" "), text);
            assert!(lines.iter().all(|line| line.len() <= room && !line.is_empty()), "{room}: {lines:?}");
        }
        assert_eq!(lines("", 10), [""]);
        assert_eq!(lines("a veryverylongword b", 4), ["a", "veryverylongword", "b"]);
    }

    #[test]
    fn the_first_locale_that_is_set_counts() {
        let with = |pairs: &'static [(&str, &str)]| {
            locale_is_utf8(|name| {
                pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(with(&[("LANG", "ko_KR.UTF-8")]));
        assert!(with(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
        assert!(!with(&[("LC_ALL", "C"), ("LANG", "ko_KR.UTF-8")]));
        assert!(!with(&[]));
    }

    #[test]
    fn without_colours_nothing_is_added() {
        let plain = Screen { width: 80, boxes: false, colours: false };
        let coloured = Screen { width: 80, boxes: false, colours: true };
        assert_eq!(plain.paint(Ink::Wrong, "x"), "x");
        assert_eq!(coloured.paint(Ink::Wrong, "x"), "\u{1b}[1;31mx\u{1b}[0m");
    }
}
