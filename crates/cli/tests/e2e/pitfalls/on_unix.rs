//! On a terminal, in the child that crashes, and with few descriptors.

use super::*;
use crate::width::shown;

fn use_after_release() -> Command {
    let mut command = binary(["pitfalls", "use-after-release", "--kernel", "own"]);
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color");
    command
}

/// Boxes, colours, progress that is gone again, and lines as long as the terminal is wide.
#[test]
fn a_terminal_shows_colours_and_boxes() {
    let screen = shown(100, use_after_release());
    for wanted in ["1 of 1: use-after-release", "\u{1b}[1;31m", "├", "╞", "▐", "┊"] {
        assert!(screen.contains(wanted), "no {wanted:?} in {screen}");
    }
    let mut plain = use_after_release();
    plain.env("NO_COLOR", "1");
    let screen = shown(100, plain);
    assert!(!screen.contains('\u{1b}') && screen.contains('├'), "{screen}");
    let lines = screen.lines().map(|line| line.rsplit('\r').next().unwrap());
    let longest = lines.filter(|line| !line.contains("http")).map(|line| line.chars().count()).max();
    assert!(longest.is_some_and(|longest| (90..=100).contains(&longest)), "{longest:?}: {screen}");
}

/// The hidden argument comes before anything else: this is the child, and it crashes.
#[test]
fn the_child_crashes() {
    let ended = run(binary(["--touch-a-deleted-session"]), b"");
    assert_eq!(ended.status, None, "it ended by itself: {ended:?}");
    assert_eq!((ended.text().lines().count(), ended.stderr.as_str()), (1, ""), "{ended:?}");
}

/// Elsewhere it is an unknown flag, and the child itself starts no other child.
#[test]
fn a_child_has_no_children() {
    let ended = run(binary(["pitfalls", "--touch-a-deleted-session"]), b"");
    assert_eq!(ended.status, Some(2), "{ended:?}");
    let mut command = binary(["pitfalls", "use-after-release", "--kernel", "own"]);
    command.env("OVERLAPPED_PITFALLS_IN_CHILD", "1");
    let ended = run(command, b"");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("this is the child"), "{ended:?}");
}

/// The program's own kernel needs descriptors with high numbers only where there are any.
#[test]
fn few_descriptors() {
    let command = binary(["pitfalls", "--all", "--json", "--kernel", "own"]);
    let ended = run(crate::server::after("ulimit -n 300", &command), b"");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    judge(&report(&ended), "own");
}

/// An exhibit that cannot be run is an error with its name, and the others run.
#[test]
fn too_few_descriptors() {
    let command = binary(["pitfalls", "--all", "--json", "--kernel", "own"]);
    let ended = run(crate::server::after("ulimit -n 120", &command), b"");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let json = report(&ended);
    let failed: Vec<_> = exhibits(&json).iter().filter(|exhibit| exhibit["error"].is_string()).collect();
    assert!(failed.iter().any(|exhibit| exhibit["name"] == "lock-while-sending"), "{ended:?}");
    for exhibit in &failed {
        let name = exhibit["name"].as_str().unwrap();
        assert!(ended.stderr.contains(&format!("error: {name}: it could not be run: ")), "{ended:?}");
    }
    assert_eq!(by_name(&json, "use-after-release")["as_expected"], true);
}
