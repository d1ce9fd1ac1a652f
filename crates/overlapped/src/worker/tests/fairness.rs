//! What one session takes of a turn where the kernel takes bytes at once: the others have theirs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use proactor::backend::Wait;
use proactor::backend::simulated::{Behaviour, Simulated};
use proactor::{ConnectionKey, Event};

use super::fixture::{Fixture, Probe, What};
use crate::config::Config;
use crate::session::SessionId;
use crate::worker::Worker;

/// Over the high-water mark, so that each is followed by `on_writable`.
const CHUNK: usize = 96 * 1024;
/// What a flush may send, and the payload that goes beyond.
const FLUSH: u64 = 256 * 1024 + CHUNK as u64;
/// More than any session here sends.
const ROOM: usize = 64 << 20;

/// Kernels that take every payload, often at once.
fn quick_kernels() -> impl Iterator<Item = Behaviour> {
    (0..6).map(|seed| Behaviour { seed, capacity: ROOM, cuts: false, multishot: true, inline: true })
}

fn config() -> Config {
    Config { hard_limit: ROOM, ..Config::default() }
}

/// Submits what is asked for, and checks how much of it went out at once.
fn flush_briefly(worker: &mut Worker<Simulated, Probe>) {
    let before = worker.core.report.counters.bytes_sent;
    worker.flush();
    let sent = worker.core.report.counters.bytes_sent - before;
    assert!(sent <= FLUSH, "{sent} bytes in one flush");
}

fn unsent(fixture: &Fixture) -> usize {
    fixture.workers[0].core.sessions.iter().map(|(_, state)| state.queue.bytes()).sum()
}

/// Asks for the download and takes the worker's turns, in each of which every flush is brief, until all of it is out.
fn every_flush_is_brief(fixture: &mut Fixture, key: ConnectionKey, bytes: usize) {
    fixture.send(key, b"D");
    fixture.round_of_client();
    let worker = &mut fixture.workers[0];
    for _ in 0..10_000 {
        worker.core.touched.append(&mut worker.core.deferred);
        flush_briefly(worker);
        worker.driver.turn(Wait::Poll).unwrap();
        while let Some(event) = worker.driver.next_event() {
            match event {
                Event::Received { connection, data } => worker.received(connection, data),
                Event::Sent { connection, bytes } => worker.sent(connection, bytes),
                _ => {}
            }
            flush_briefly(worker);
        }
        if worker.core.report.counters.bytes_sent == bytes as u64 {
            break;
        }
    }
    fixture.settle();
    assert_eq!(fixture.got(key).len(), bytes);
}

#[test]
fn a_download_fed_from_on_writable_goes_on_in_the_next_turn() {
    for behaviour in quick_kernels() {
        let left = Cell::new(200_u32);
        let probe = Probe::new(move |session, what| {
            if matches!(what, What::Data(_) | What::Writable) && left.get() > 0 {
                left.set(left.get() - 1);
                session.send(vec![7; CHUNK]);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, config(), probe);
        let key = fixture.connect();
        every_flush_is_brief(&mut fixture, key, 200 * CHUNK);
    }
}

#[test]
fn a_long_queue_goes_on_in_the_next_turn() {
    for behaviour in quick_kernels() {
        let probe = Probe::new(|session, what| {
            if let What::Data(_) = what {
                for _ in 0..200 {
                    session.send(vec![7; CHUNK]);
                }
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, config(), probe);
        let key = fixture.connect();
        every_flush_is_brief(&mut fixture, key, 200 * CHUNK);
    }
}

/// Sessions that all have more than a turn's budget take turns, and none waits for another's end.
#[test]
fn sessions_over_the_budget_take_turns() {
    const CHUNKS: usize = 80;
    for behaviour in quick_kernels() {
        let chunks: RefCell<HashMap<SessionId, usize>> = RefCell::default();
        let probe = Probe::new(move |session, what| {
            let mut chunks = chunks.borrow_mut();
            let sent = chunks.entry(session.id()).or_default();
            if matches!(what, What::Data(_) | What::Writable) && *sent < CHUNKS {
                *sent += 1;
                session.send(vec![7; CHUNK]);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, config(), probe);
        let keys = [(); 4].map(|()| fixture.connect());
        for key in keys {
            fixture.send(key, b"D");
        }
        fixture.round_of_client();
        for _ in 0..40 {
            fixture.workers[0].turn(false).unwrap();
        }
        let sent: Vec<u64> = fixture.workers[0].core.sessions.iter().map(|(_, state)| state.sent).collect();
        assert!(sent.iter().all(|sent| *sent > 0), "{sent:?} in {behaviour:?}");
        fixture.settle();
        assert!(keys.iter().all(|key| fixture.got(*key).len() == CHUNKS * CHUNK), "{behaviour:?}");
    }
}

/// A worker with something left to send does not sleep.
#[test]
fn what_is_left_of_a_flush_is_not_slept_over() {
    for behaviour in quick_kernels() {
        let probe = Probe::new(|session, what| {
            if let What::Data(_) = what {
                for _ in 0..40 {
                    session.send(vec![7; CHUNK]);
                }
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, config(), probe);
        let key = fixture.connect();
        fixture.send(key, b"D");
        fixture.round_of_client();
        let before = fixture.workers[0].driver.now();
        while unsent(&fixture) > 0 || fixture.all_stats().bytes_received == 0 {
            fixture.workers[0].turn(true).unwrap();
            fixture.workers[0].publish();
            let busy = !fixture.workers[0].core.deferred.is_empty();
            assert!(!busy || fixture.workers[0].wait() == Wait::Poll);
        }
        assert_eq!(fixture.workers[0].driver.now(), before, "no time passed");
    }
}
