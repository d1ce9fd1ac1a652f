//! Echoes on a terminal: without control characters, and messages on lines of their own.

use std::io::{self, Write};

use super::visible::Visible;

#[derive(Default)]
pub(super) struct Screen {
    visible: Visible,
    text: String,
    /// Something stands on the line that the cursor is in.
    mid_line: bool,
}

impl Screen {
    /// Prints bytes that came.
    ///
    /// # Errors
    /// What the write failed with.
    pub(super) fn print(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.visible.append(bytes, &mut self.text);
        self.show()
    }

    /// Ends the line that the cursor is in, if something stands there.
    ///
    /// # Errors
    /// What the write failed with.
    pub(super) fn end_line(&mut self) -> io::Result<()> {
        self.visible.end(&mut self.text);
        if self.text.chars().next_back().map_or(self.mid_line, |last| last != '\n') {
            self.text.push('\n');
        }
        self.show()
    }

    fn show(&mut self) -> io::Result<()> {
        let Some(last) = self.text.bytes().next_back() else { return Ok(()) };
        self.mid_line = last != b'\n';
        let mut output = io::stdout().lock();
        let shown = output.write_all(self.text.as_bytes()).and_then(|()| output.flush());
        self.text.clear();
        shown
    }
}
