//! Ctrl-C, or another signal that asks for an end: the first one ends a run early, a second one the program. Neither waits for
//! a reader.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::stderr;
use crate::failure::Failure;
use crate::output::note;
use crate::signals;

/// Whether Ctrl-C was pressed, since [`watch`].
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C was pressed, in this run or before it.
pub(super) fn is_interrupted() -> bool {
    INTERRUPTED.load(Relaxed)
}

/// Watches from now on. `clean` is called before a second Ctrl-C ends the program.
///
/// # Errors
/// If the system does not give what that needs.
pub(super) fn watch(clean: impl Fn() + Send + Sync + 'static) -> Result<(), Failure> {
    let stop = |_left| {
        INTERRUPTED.store(true, Relaxed);
        note("ending early; a second Ctrl-C ends at once");
    };
    let at_once = move || {
        clean();
        note("error: ended at once; nothing is reported");
        stderr::flush_in_haste();
    };
    signals::watch(stop, at_once, || {}).map_err(|error| {
        Failure::failed(format_args!(
            "cannot listen for Ctrl-C: {error}; raise the limits of threads (`ulimit -u`) and descriptors (`ulimit -n`)"
        ))
    })
}
