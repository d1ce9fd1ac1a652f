//! Bytes as a terminal may show them: control characters would move its cursor, change its colours, or worse.

use std::fmt::Write as _;

/// Translates a stream of bytes into text without control characters, in pieces that may end anywhere.
#[derive(Default)]
pub(super) struct Visible {
    /// The beginning of a character whose other bytes have not come yet.
    partial: Vec<u8>,
}

impl Visible {
    /// Appends `bytes` to `text`. Line ends and tabs stay; other control characters and what is not UTF-8 become
    /// `\x1b`. So do the characters that reverse the direction of text.
    pub(super) fn append(&mut self, bytes: &[u8], text: &mut String) {
        self.partial.extend_from_slice(bytes);
        let mut incomplete = 0;
        for chunk in self.partial.utf8_chunks() {
            chunk.valid().chars().for_each(|char| append(char, text));
            let invalid = chunk.invalid();
            if incomplete_at_end(&self.partial, invalid) {
                incomplete = invalid.len();
            } else {
                invalid.iter().for_each(|byte| escape(*byte, text));
            }
        }
        self.partial.drain(..self.partial.len() - incomplete);
    }

    /// Appends what is left of a character that never became whole.
    pub(super) fn end(&mut self, text: &mut String) {
        self.partial.drain(..).for_each(|byte| escape(byte, text));
    }
}

/// The same for a whole message.
pub(super) fn visible(bytes: &[u8]) -> String {
    let (mut text, mut visible) = (String::new(), Visible::default());
    visible.append(bytes, &mut text);
    visible.end(&mut text);
    text
}

fn append(char: char, text: &mut String) {
    match char {
        '\n' | '\t' => text.push(char),
        '\0'..='\x7f' if char.is_ascii_control() => escape(char as u8, text),
        // C1 controls; Unicode, "Explicit Directional Formatting Characters".
        char if char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
            let _ = write!(text, "\\u{{{:x}}}", char as u32);
        }
        char => text.push(char),
    }
}

fn escape(byte: u8, text: &mut String) {
    let _ = write!(text, "\\x{byte:02x}");
}

/// Whether `invalid`, a part of `bytes`, is the beginning of a character at the very end of them.
fn incomplete_at_end(bytes: &[u8], invalid: &[u8]) -> bool {
    // `error_len` is none exactly if more bytes could make it valid.
    std::ptr::eq(bytes.as_ptr_range().end, invalid.as_ptr_range().end)
        && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_text() {
        assert_eq!(visible(b"a\tb\n"), "a\tb\n");
        assert_eq!(visible(b"\x1b[2J\0\r\x07\x7f"), r"\x1b[2J\x00\r\x07\x7f".replace(r"\r", r"\x0d"));
        assert_eq!(visible("é 漢 👍🏽".as_bytes()), "é 漢 👍🏽");
        assert_eq!(visible("\u{9b}31m \u{202e}abc".as_bytes()), r"\u{9b}31m \u{202e}abc");
        assert_eq!(visible(b"\xff\xfe a\xc3"), r"\xff\xfe a\xc3");
        assert_eq!(visible(b"\xe6\xe6\xbc"), r"\xe6\xe6\xbc");
    }

    /// However a stream is cut, it reads the same.
    #[test]
    fn pieces_end_anywhere() {
        let bytes = "é\x1b漢👍\u{9b}".bytes().chain(*b"\xff\xf0\x9f\xff\xf0\x9f").collect::<Vec<u8>>();
        let whole = visible(&bytes);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let (mut text, mut stream) = (String::new(), Visible::default());
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    stream.append(piece, &mut text);
                }
                stream.end(&mut text);
                assert_eq!(text, whole, "cut at {first} and {second}");
            }
        }
    }
}
