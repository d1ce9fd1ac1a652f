//! Waiting with a bound for what another thread, a kernel or a program brings about.

use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Far longer than anything takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(2);

/// Waits until `holds` is true.
///
/// # Panics
/// If it is not within [`PATIENCE`]; `what` says what was waited for.
#[track_caller]
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, holds);
}

/// The same, within another limit.
///
/// # Panics
/// If it is not true within `limit`.
#[track_caller]
pub fn eventually_within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(STEP);
    }
}

/// Waits until a child has ended by itself.
///
/// # Panics
/// If it does not within `limit`.
#[track_caller]
pub fn exit_of(child: &mut Child, limit: Duration) -> ExitStatus {
    let mut status = None;
    eventually_within(limit, "the program ends", || {
        status = child.try_wait().expect("a child of ours");
        status.is_some()
    });
    status.expect("just seen")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_true_is_seen() {
        let mut looks = 0;
        eventually("three looks", || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }

    #[test]
    #[should_panic(expected = "in vain: the impossible")]
    fn what_stays_false_fails() {
        eventually_within(Duration::from_millis(10), "the impossible", || false);
    }
}
