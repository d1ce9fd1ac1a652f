//! How many sessions the system leaves room for.

use proactor::system;

use crate::error::{Error, Result};

/// Descriptors that a worker itself needs: its ring or poller, its wake-up event, and one to spare.
const PER_WORKER: u64 = 3;

/// Raises the process's soft descriptor limit to its hard limit, so that running out is rare. Returns the limit
/// that holds now; `None` where there is none, as on Windows. Call it before starting a server.
#[must_use]
pub fn raise_descriptor_limit() -> Option<u64> {
    system::raise_descriptor_limit()
}

/// The descriptor limit minus what is open, minus what the workers need, minus a reserve for whatever else the
/// program opens.
pub(crate) fn default_max_sessions(workers: usize) -> Result<usize> {
    let Some(limit) = system::descriptor_limit() else { return Ok(usize::MAX - 1) };
    let reserve = (limit / 8).min(32);
    let taken = system::open_descriptors() + PER_WORKER * workers as u64 + reserve;
    match limit.saturating_sub(taken) {
        0 => Err(Error::NoRoom { limit, taken }),
        room => Ok(usize::try_from(room).unwrap_or(usize::MAX - 1)),
    }
}
