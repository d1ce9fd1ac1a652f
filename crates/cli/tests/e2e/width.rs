//! Help, and the report of `doctor`, on terminals of several widths.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::server::binary;

/// What the program shows on a terminal of this many columns.
fn on_terminal(columns: u16, args: &[&str]) -> String {
    shown(columns, binary(args))
}

/// What a command that succeeds writes to a terminal of this many columns, stdout and stderr together.
pub(crate) fn shown(columns: u16, mut command: Command) -> String {
    let (mut screen, theirs) = overlapped_testing::terminal(columns);
    command.env_remove("COLUMNS").stdin(Stdio::null()).stdout(theirs.try_clone().unwrap());
    command.stderr(Stdio::from(theirs));
    let mut child = command.spawn().unwrap();
    drop(command); // and with it the last of our copies of their end
    let mut bytes = Vec::new();
    // Ends with an error where nobody has the other end any more.
    let _ = screen.read_to_end(&mut bytes);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    String::from_utf8(bytes).expect("text").replace("\r\n", "\n")
}

#[test]
fn help_is_as_wide_as_the_terminal() {
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["serve", "-h"],
        &["client", "--help"],
        &["pitfalls", "--help"],
        &["doctor", "--help"],
    ] {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let narrow = on_terminal(60, args);
        for columns in [60, 80, 140] {
            let text = on_terminal(columns, args);
            let widest = text.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
            assert!(widest <= columns.min(120).into(), "{widest} on {columns}: {text}");
            // Paragraphs use the width there is.
            assert!(
                args != ["serve", "--help"] || widest > usize::from(columns.min(120)) - 10,
                "{widest}: {text}"
            );
            assert_eq!(words(&text), words(&narrow), "the same on every terminal");
        }
    }
}

#[test]
fn the_report_of_doctor_fits() {
    for columns in [60, 80, 140] {
        let text = on_terminal(columns, &["doctor"]);
        // A command with an argument in quotes is in one piece.
        let lines = text.lines().filter(|line| !line.contains('"'));
        let widest = lines.map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= columns.min(80).into(), "{widest} on {columns}: {text}");
        assert!(text.contains("works; auto takes it") && text.contains("descriptors, soft"), "{text}");
    }
}
