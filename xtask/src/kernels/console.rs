//! What a machine prints, understood: which programs ran, and how each of them ended.

use std::fmt;

/// Before and after each program the machine prints one of these, with its name, and after it its status.
pub(super) const BEGIN: &str = "@begin";
pub(super) const END: &str = "@end";

/// What came of a program.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) name: &'static str,
    /// `None`: it did not end, or did not even begin.
    status: Option<i32>,
    /// Of the harness's last line, if it is a test.
    tests: Option<Tests>,
    /// Tests that failed, by name.
    pub(super) failures: Vec<String>,
    /// Whether it found that rings work here.
    rings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tests {
    passed: u32,
    failed: u32,
}

impl Run {
    /// It ended well and has shown something: tests that ran, or rings that work.
    pub(super) fn is_ok(&self) -> bool {
        let shown = self.tests.map_or(self.rings, |tests| tests.passed > 0 && tests.failed == 0);
        self.status == Some(0) && shown
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, self.tests) {
            (None, _) => write!(f, "did not end"),
            (Some(_), Some(Tests { passed, failed })) => write!(f, "{passed} of {}", passed + failed),
            (Some(0), None) if self.rings => write!(f, "rings work"),
            (Some(0), None) => write!(f, "no rings"),
            (Some(status), None) => write!(f, "status {status}"),
        }
    }
}

/// What came of the programs with these names.
pub(super) fn runs_in(console: &str, names: impl Iterator<Item = &'static str>) -> Vec<Run> {
    names.map(|name| run_in(console, name)).collect()
}

fn run_in(console: &str, name: &'static str) -> Run {
    let mut run = Run { name, ..Run::default() };
    let mut inside = false;
    // A serial line ends lines with a carriage return, too.
    for line in console.lines().map(str::trim_end) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [BEGIN, begun] => inside = begun == name,
            [END, ended, status] if inside && ended == name => {
                run.status = status.parse().ok();
                inside = false;
            }
            ["test", "result:", _, passed, "passed;", failed, "failed;", ..] if inside => {
                let count = |text: &str| text.parse().unwrap_or(0);
                run.tests = Some(Tests { passed: count(passed), failed: count(failed) });
            }
            ["test", test, "...", "FAILED"] if inside => run.failures.push(test.to_owned()),
            ["io_uring", "works;", ..] if inside => run.rings = true,
            _ => {}
        }
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "\
Linux 6.1.0-56-amd64\r
@begin doctor\r
  io_uring   works; auto takes it\r
@end doctor 0\r
@begin conformance\r
running 3 tests\r
test io_uring::pool::one ... ok\r
test io_uring::pool::two ... FAILED\r
test readiness::pool::one ... ok\r
\r
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 90 filtered out; finished in 9.87s\r
\r
@end conformance 101\r
@begin vanishing\r
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.00s\r
@end vanishing 0\r
@begin chaos\r
running 2 tests\r
";

    fn runs(console: &str) -> Vec<Run> {
        runs_in(console, ["doctor", "conformance", "vanishing", "chaos", "missing"].into_iter())
    }

    #[test]
    fn a_console_is_understood() {
        let runs = runs(CONSOLE);
        let told: Vec<String> = runs.iter().map(Run::to_string).collect();
        assert_eq!(told, ["rings work", "2 of 3", "1 of 1", "did not end", "did not end"]);
        let ok: Vec<bool> = runs.iter().map(Run::is_ok).collect();
        assert_eq!(ok, [true, false, true, false, false]);
        assert_eq!(runs[1].failures, ["io_uring::pool::two"]);
        assert!(runs[2].failures.is_empty());
    }

    /// Nothing that ran, or that ran nothing, passes.
    #[test]
    fn what_shows_nothing_is_no_success() {
        let none = "@begin chaos\ntest result: ok. 0 passed; 0 failed; 0 ignored;\n@end chaos 0\n";
        assert!(!runs(none)[3].is_ok());
        let refused = "@begin doctor\n  io_uring   refused: forbidden\n@end doctor 0\n";
        assert_eq!(runs(refused)[0].to_string(), "no rings");
        assert!(!runs(refused)[0].is_ok());
        // Passed, and died as it ended.
        let died = "@begin chaos\ntest result: ok. 2 passed; 0 failed; 0 ignored;\n@end chaos 139\n";
        assert!(!runs(died)[3].is_ok());
        assert!(!runs("Kernel panic - not syncing")[0].is_ok());
    }
}
