//! Ctrl-C: what runs is ended, and what was measured is reported.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::bounded::Failure;

static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on the first Ctrl-C, hang-up or SIGTERM is noted here. A second one ends the process, as it would without this.
pub(super) fn watch() -> Result<(), Failure> {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let watched = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&ASKED))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&ASKED)));
        watched.map_err(|error| format!("cannot watch for Ctrl-C: {error}"))?;
    }
    Ok(())
}

pub(super) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
