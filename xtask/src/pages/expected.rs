//! A line that a page shows, and the lines of a terminal that it stands for.

/// The units of a duration: a busy machine needs milliseconds for what a page shows in microseconds.
const UNITS: [&str; 5] = ["ns", "µs", "us", "ms", "s"];

/// A line of output on a page. Each number in it stands for any number, each duration for any duration, and `…` for
/// anything. Spaces stand for any spaces: columns are as wide as their numbers.
pub(super) struct Expected {
    pub(super) text: String,
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Number,
    /// A number with a unit of time.
    Duration,
    Anything,
}

impl Expected {
    pub(super) fn new(text: &str) -> Expected {
        Expected { text: text.to_owned(), parts: parts(&collapsed(text)) }
    }

    /// Whether a line of the terminal is what the page shows.
    pub(super) fn matches(&self, shown: &str) -> bool {
        all_match(&self.parts, &collapsed(shown))
    }
}

fn collapsed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut literal, mut rest) = (String::new(), text);
    while let Some(char) = rest.chars().next() {
        // A digit in a name (`E0382`, `x86`) is a part of the name.
        let in_name = literal.chars().next_back().is_some_and(|char| char.is_alphanumeric() || char == '_');
        let (part, after) = if char == '…' {
            (Some(Part::Anything), &rest[char.len_utf8()..])
        } else if let Some(after) = after_number(rest).filter(|_| !in_name) {
            after_unit(after).map_or((Some(Part::Number), after), |after| (Some(Part::Duration), after))
        } else {
            literal.push(char);
            (None, &rest[char.len_utf8()..])
        };
        if let Some(part) = part {
            // What it stands for may be nothing, at the end of a line.
            if part == Part::Anything && literal.ends_with(' ') {
                literal.pop();
            }
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        rest = after;
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    parts
}

fn all_match(parts: &[Part], text: &str) -> bool {
    let Some((first, others)) = parts.split_first() else { return text.is_empty() };
    let after = match first {
        Part::Text(literal) => text.strip_prefix(literal.as_str()),
        Part::Number => after_number(text),
        Part::Duration => after_number(text).and_then(after_unit),
        Part::Anything => {
            let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            return ends.any(|at| all_match(others, &text[at..]));
        }
    };
    after.is_some_and(|after| all_match(others, after))
}

/// What follows a number: digits, in groups with a point or a comma between them.
fn after_number(text: &str) -> Option<&str> {
    let after = text.trim_start_matches(|char: char| char.is_ascii_digit());
    if after.len() == text.len() {
        return None;
    }
    let group = after.strip_prefix(['.', ',']).and_then(after_number);
    Some(group.unwrap_or(after))
}

/// What follows a unit of time.
fn after_unit(text: &str) -> Option<&str> {
    let text = text.strip_prefix(' ').unwrap_or(text);
    let after = UNITS.iter().find_map(|unit| text.strip_prefix(unit))?;
    (!after.starts_with(char::is_alphanumeric)).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_itself() {
        for line in ["faithful", "", "  두 줄", "error[E0382]: use of moved value"] {
            assert!(Expected::new(line).matches(line), "{line:?}");
        }
        assert!(!Expected::new("hello").matches("> hello"));
        assert!(!Expected::new("hello").matches("hello!"));
        assert!(!Expected::new("error[E0382]").matches("error[E0505]"));
    }

    #[test]
    fn numbers_and_durations_stand_for_any() {
        let listening = Expected::new("listening on 127.0.0.1:9999 (io_uring, 2 workers)");
        assert!(listening.matches("listening on 127.0.0.1:9999 (io_uring, 16 workers)"));
        assert!(!listening.matches("listening on 127.0.0.1:9999 (readiness, 2 workers)"));
        assert!(!listening.matches("listening on 127.0.0.1:9999 (io_uring,  workers)"));
        let echo = Expected::new("  6 bytes in 84.2 µs");
        assert!(echo.matches("  6 bytes in 1.07 ms"));
        assert!(echo.matches("  14 bytes in 1,167 µs"));
        assert!(!echo.matches("  6 bytes in 84.2 KiB"));
        assert!(Expected::new("up to 10 s; twice").matches("up to 1 s; twice"));
        assert!(!Expected::new("2 sessions").matches("2 bytes"));
    }

    #[test]
    fn columns_are_as_wide_as_their_numbers() {
        let line = Expected::new("    0.403943 0/- op 0.1         ACCEPT cqe: done");
        assert!(line.matches("  112.403943 1/- op 12.1        ACCEPT cqe: done"));
    }

    #[test]
    fn an_ellipsis_stands_for_anything() {
        let line = Expected::new("note: … is not available: …");
        assert!(line.matches("note: io_uring is not available: "));
        assert!(line.matches("note: io_uring is not available: it is off; serving through readiness"));
        assert!(!line.matches("note: io_uring is available"));
        assert!(Expected::new("…").matches(""));
    }
}
