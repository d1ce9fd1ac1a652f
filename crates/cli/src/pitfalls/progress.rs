//! Which exhibit runs: a line on stderr that is gone when it has ended. Only on a terminal.

use std::io::{self, IsTerminal, Write};

pub(super) struct Progress {
    on: bool,
    of: usize,
    begun: usize,
    shown: usize,
}

impl Progress {
    pub(super) fn new(of: usize) -> Progress {
        Progress { on: io::stderr().is_terminal(), of, begun: 0, shown: 0 }
    }

    pub(super) fn begin(&mut self, name: &str) {
        self.begun += 1;
        if self.on {
            let line = format!("{} of {}: {name} ...", self.begun, self.of);
            self.shown = line.len();
            write(&format!("\r{line}"));
        }
    }

    pub(super) fn end(&mut self) {
        if self.shown > 0 {
            write(&format!("\r{:1$}\r", "", self.shown));
            self.shown = 0;
        }
    }
}

fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
