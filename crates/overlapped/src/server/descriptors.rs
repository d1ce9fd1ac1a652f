//! How many sessions the system leaves room for.

use proactor::os;

use crate::config::TURNED_AWAY;
use crate::error::{Error, Result};

/// Descriptors that a worker itself needs: its ring or poller, its wake-up event, and one to spare.
const PER_WORKER: u64 = 3;

/// The monitor of several workers: its poller, its wake-up event, and a duplicate of a listener.
const MONITOR: u64 = 3;

/// For whatever else a program opens; less under a small limit.
const RESERVE: u64 = 32;

/// The same for a program that only connects, and turns nobody away: files that it reads and writes, a resolver.
const CLIENT_RESERVE: u64 = 16;

/// Of a small descriptor limit, the part that those of all workers may take.
const TURNED_AWAY_PART: u64 = 16;

/// Raises the process's soft descriptor limit to its hard limit, so that running out is rare. Returns the limit
/// that holds now; `None` where there is none, as on Windows. Call it before starting a server.
pub fn raise_descriptor_limit() -> Option<u64> {
    os::raise_descriptor_limit()
}

/// See [`Server::descriptors_needed`](crate::Server::descriptors_needed).
pub(crate) fn descriptors_needed(sessions: u64, workers: usize) -> u64 {
    // A caller may ask for "any number" of sessions.
    sessions.saturating_add(of_threads(workers) + RESERVE + (TURNED_AWAY * workers) as u64)
}

fn of_threads(workers: usize) -> u64 {
    PER_WORKER * workers as u64 + if workers > 1 { MONITOR } else { 0 }
}

/// See [`Server::room_for_sessions`](crate::Server::room_for_sessions).
pub(crate) fn room_for_sessions(workers: usize) -> Option<u64> {
    os::descriptor_limit().map(|limit| limit.saturating_sub(taken(limit, workers)))
}

/// See [`Server::descriptors_needed_to_connect`](crate::Server::descriptors_needed_to_connect).
pub(crate) fn needed_to_connect(connections: u64, workers: usize) -> u64 {
    connections.saturating_add(of_threads(workers) + CLIENT_RESERVE)
}

/// See [`Server::room_to_connect`](crate::Server::room_to_connect).
pub(crate) fn room_to_connect(workers: usize) -> Option<u64> {
    let taken = os::open_descriptors() + needed_to_connect(0, workers);
    os::descriptor_limit().map(|limit| limit.saturating_sub(taken))
}

pub(crate) fn default_max_sessions(workers: usize) -> Result<usize> {
    let Some(limit) = os::descriptor_limit() else { return Ok(usize::MAX - 1) };
    let taken = taken(limit, workers);
    match limit.saturating_sub(taken) {
        0 => Err(Error::NoRoom { limit, taken }),
        room => Ok(usize::try_from(room).unwrap_or(usize::MAX - 1)),
    }
}

/// How many connections each worker may turn away at a time.
pub(crate) fn turned_away(workers: usize) -> usize {
    os::descriptor_limit().map_or(TURNED_AWAY, |limit| turned_away_under(limit, workers))
}

fn turned_away_under(limit: u64, workers: usize) -> usize {
    usize::try_from(limit / TURNED_AWAY_PART / workers as u64)
        .map_or(TURNED_AWAY, |share| share.min(TURNED_AWAY))
}

/// What is open, what the workers will open, what those turned away may keep, and a reserve.
fn taken(limit: u64, workers: usize) -> u64 {
    let turned_away = turned_away_under(limit, workers) * workers;
    os::open_descriptors() + of_threads(workers) + RESERVE.min(limit / 8) + turned_away as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_sessions_needs_any_number_of_descriptors() {
        assert_eq!(descriptors_needed(u64::MAX, 1024), u64::MAX);
        assert_eq!(descriptors_needed(10, 1), 10 + PER_WORKER + RESERVE + TURNED_AWAY as u64);
    }

    /// What is needed, what there is room for, and the limit fit together, whatever the limit.
    #[test]
    fn a_client_needs_what_it_has_room_for() {
        assert_eq!(needed_to_connect(u64::MAX, 1024), u64::MAX);
        for workers in [1, 2, 64] {
            let (Some(limit), Some(room)) = (os::descriptor_limit(), room_to_connect(workers)) else {
                return;
            };
            // Other tests of this process open and close some meanwhile.
            let needed = os::open_descriptors() + needed_to_connect(room, workers);
            assert!(room == 0 || needed.abs_diff(limit) < 200, "{needed} of {limit} for {room}");
            assert!(room >= room_for_sessions(workers).unwrap_or(0).saturating_sub(200), "it reserves less");
        }
    }

    #[test]
    fn the_default_is_no_promise_that_overflows() {
        let sessions = default_max_sessions(2).expect("a process that runs tests has descriptors");
        assert!(sessions < usize::MAX, "that value means `the default`");
        if let Some(room) = room_for_sessions(2) {
            assert!(room < u64::from(u32::MAX), "{room}");
        }
    }
}
