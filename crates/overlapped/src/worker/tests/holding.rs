//! Sessions that may not go on: what has arrived waits in them, in order, and reaches the handler when they may.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use overlapped_testing::pattern;

use super::fixture::{End, Fixture, Probe, Seen, What, behaviours};
use crate::config::Config;
use crate::mailbox::Mail;
use crate::session::CloseReason;

const REQUEST: usize = 6;

/// Answers each request of six bytes with `answer` bytes, as [`Framed`](crate::Framed) calls a handler: request by
/// request, and only while the session may go on.
fn pipelined(answer: usize, most_unsent: Rc<Cell<usize>>) -> Probe {
    let unfinished: Rc<RefCell<Vec<u8>>> = Rc::default();
    Probe::new(move |session, what| match what {
        What::Data(mut data) => {
            while !data.is_empty() {
                if !session.may_go_on() {
                    return session.put_back(data);
                }
                let mut unfinished = unfinished.borrow_mut();
                let wanted = (REQUEST - unfinished.len()).min(data.len());
                unfinished.extend_from_slice(&data[..wanted]);
                data.advance(wanted);
                if unfinished.len() == REQUEST {
                    assert_eq!(*unfinished, b"GET k\n", "INV-4: in order, none lost");
                    unfinished.clear();
                    session.send(vec![b'v'; answer]);
                    most_unsent.set(most_unsent.get().max(session.unsent()));
                }
            }
        }
        What::HalfClose => session.close(),
        _ => {}
    })
}

#[test]
fn requests_wait_while_too_much_is_unsent() {
    for behaviour in behaviours() {
        for (answer, requests) in [(800, 400), (1, 3_000), (9_000, 60)] {
            let most = Rc::new(Cell::new(0));
            let config =
                Config { high_water: 10_000, low_water: 5_000, hard_limit: 30_000, ..Config::default() };
            let mut fixture = Fixture::new(behaviour, 1, config, pipelined(answer, Rc::clone(&most)));
            let key = fixture.connect();
            fixture.send(key, &b"GET k\n".repeat(requests));
            fixture.finish(key);
            fixture.settle();
            assert_eq!(fixture.got(key).len(), answer * requests, "{behaviour:?}: {:?}", fixture.reasons());
            assert_eq!(fixture.end(key), End::Finished, "INV-8: {behaviour:?}");
            assert!(most.get() < 10_000 + answer, "one answer above the mark at most: {}", most.get());
            fixture.client.close(key);
            fixture.settle();
            fixture.assert_clean();
        }
    }
}

#[test]
fn nothing_reaches_a_handler_after_it_has_paused() {
    for behaviour in behaviours() {
        let (paused, got) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
        let (is_paused, all) = (Rc::clone(&paused), Rc::clone(&got));
        let probe = Probe::new(move |session, what| match what {
            What::Data(data) => {
                assert!(!is_paused.get(), "no data after pause()");
                all.borrow_mut().extend_from_slice(&data);
                session.pause();
                is_paused.set(true);
                session.set_timer(Duration::from_millis(10), 0);
            }
            What::Timer(_) => {
                is_paused.set(false);
                session.resume();
            }
            What::HalfClose => {
                assert_eq!(all.borrow().len(), 3_000, "an end of stream comes after what lies before it");
                session.close();
            }
            _ => {}
        });
        // Large enough that a cut stream does not take a round for each byte.
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        let bytes = pattern(3_000, 0);
        for piece in bytes.chunks(300) {
            fixture.send(key, piece);
            fixture.round();
        }
        fixture.finish(key);
        fixture.settle();
        assert!(got.borrow().len() < 3_000 || !behaviour.cuts, "it was paused: {behaviour:?}");
        for _ in 0..2_000 {
            if fixture.end(key) == End::Finished {
                break;
            }
            fixture.pass(Duration::from_millis(20));
        }
        assert_eq!(*got.borrow(), bytes, "INV-4: {behaviour:?}");
        fixture.client.close(key);
        fixture.settle();
        assert_eq!(fixture.reasons(), [CloseReason::EndOfStream], "{behaviour:?}");
        fixture.assert_clean();
    }
}

/// A handler that stops sending when `unsent() >= high_water` is called when there is room.
#[test]
fn a_handler_that_stops_exactly_at_the_mark_is_called_again() {
    const MARK: usize = 8_192;
    for behaviour in behaviours() {
        for piece in [MARK, MARK / 2, MARK / 8, 1_000] {
            let left = Rc::new(Cell::new(20 * MARK));
            let still = Rc::clone(&left);
            let probe = Probe::new(move |session, what| {
                if let What::Data(_) | What::Writable = what {
                    while still.get() > 0 && session.unsent() < MARK {
                        let len = piece.min(still.get());
                        session.send(vec![7; len]);
                        still.set(still.get() - len);
                    }
                }
            });
            let config = Config { high_water: MARK, low_water: MARK / 2, ..Config::default() };
            let mut fixture = Fixture::new(behaviour, 1, config, probe);
            let key = fixture.connect();
            fixture.send(key, b"x");
            fixture.settle();
            assert_eq!(
                (fixture.got(key).len(), left.get()),
                (20 * MARK, 0),
                "{behaviour:?}, pieces of {piece}"
            );
        }
    }
}

/// Receives one piece, then stays paused.
fn paused_for_good() -> Probe {
    Probe::new(|session, what| {
        if let What::Data(_) = what {
            session.pause();
        }
    })
}

#[test]
fn what_waits_when_a_session_closes_is_counted() {
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), paused_for_good());
        let (cut, closed) = (fixture.connect(), fixture.connect());
        fixture.send(cut, &[1; 30_000]);
        fixture.send(closed, &[2; 30_000]);
        fixture.settle();
        let ids: Vec<_> = fixture
            .log()
            .iter()
            .filter_map(|seen| if let Seen::Open(id) = seen { Some(*id) } else { None })
            .collect();
        fixture.post(0, Mail::Session(ids[1].key, crate::session::SessionCommand::Close(CloseReason::Local)));
        fixture.settle();
        fixture.client.close(closed);
        fixture.settle();
        let discarded = fixture.all_stats().bytes_discarded;
        assert!(discarded < 30_000, "the first piece was taken: {discarded}");
        assert_eq!(fixture.reasons(), [CloseReason::Local], "{behaviour:?}");
        fixture.post(0, Mail::Drain(Duration::from_secs(1)));
        fixture.settle();
        assert!(!fixture.workers[0].has_ended(), "a drain waits for a paused session");
        let taken_in = fixture.all_stats().bytes_received;
        fixture.pass(Duration::from_secs(1));
        assert!(fixture.workers[0].has_ended(), "{behaviour:?}");
        assert_eq!(fixture.reasons()[1..], [CloseReason::Cut]);
        let lost = fixture.all_stats().bytes_lost;
        assert!(lost > 0 && lost < 30_000, "{behaviour:?}: {lost} of {taken_in}");
        fixture.assert_clean();
    }
}

#[test]
fn a_reset_ends_a_session_in_which_bytes_wait() {
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), paused_for_good());
        let key = fixture.connect();
        fixture.send(key, &[1; 30_000]);
        fixture.settle();
        fixture.client.abort(key);
        fixture.settle();
        assert_eq!(fixture.reasons(), [CloseReason::Reset], "heard at once: {behaviour:?}");
        fixture.assert_clean();
    }
}

/// Sessions that wait with part of a block in hand, more than there are blocks: the others receive all the same.
#[test]
fn sessions_that_wait_leave_blocks_for_the_others() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Data(mut data) if data[0] == b'W' => {
                data.advance(1);
                session.pause();
                session.put_back(data);
            }
            What::Data(data) => {
                session.send(data);
            }
            _ => {}
        });
        let pool = proactor::PoolConfig { blocks: 4, block_len: 512 };
        let mut fixture = Fixture::new(behaviour, 1, Config { pool, ..Config::default() }, probe);
        for _ in 0..12 {
            let key = fixture.connect();
            fixture.send(key, b"Wait");
            fixture.settle();
        }
        let other = fixture.connect();
        fixture.send(other, b"served");
        fixture.settle();
        assert_eq!(fixture.got(other), b"served", "INV-6: {behaviour:?}");
        assert_eq!(fixture.all_stats().starved, 0, "{behaviour:?}");
    }
}
