//! `on_sent`, codes of closes, and what a session says about its room.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use proactor::PoolConfig;

use super::fixture::{End, Fixture, Kept, Probe, Seen, What, behaviours};
use crate::config::Config;
use crate::session::{CloseReason, SendLimits, Sent, SessionHandle};

/// More than any of the kernels takes before the peer reads.
const PART: usize = 200_000;

fn config() -> Config {
    Config { high_water: 10_000, low_water: 5_000, ..Config::default() }
}

fn sent_calls(fixture: &Fixture) -> Vec<u64> {
    let token = |seen| if let Seen::Sent(_, token) = seen { Some(token) } else { None };
    fixture.log().into_iter().filter_map(token).collect()
}

#[test]
fn it_is_called_when_a_payload_is_out_and_not_before() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Data(_) => {
                for token in [1, 2] {
                    assert_eq!(session.send(vec![token as u8; PART]), Sent::Ok);
                    assert!(session.notify_when_sent(token));
                }
                assert!(session.notify_when_sent(3), "after the same byte");
                assert_eq!(session.send(vec![4; PART]), Sent::Ok);
            }
            What::Sent(1) => assert!(session.unsent() <= 2 * PART, "{} unsent", session.unsent()),
            What::Sent(_) => assert!(session.unsent() <= PART, "{} unsent", session.unsent()),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, config(), probe);
        let key = fixture.connect();
        fixture.client.pause_receive(key);
        fixture.send(key, b"g");
        fixture.settle();
        assert_eq!(sent_calls(&fixture), [0; 0], "nothing is out: {behaviour:?}");
        fixture.client.receive(key);
        fixture.settle();
        assert_eq!(sent_calls(&fixture), [1, 2, 3], "each once, in order: {behaviour:?}");
        assert_eq!(fixture.got(key).len(), 3 * PART);
    }
}

/// The canonical use: the next part of a stream, when the last one is out.
#[test]
fn a_stream_goes_on_from_call_to_call() {
    const PARTS: u64 = 50;
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| {
            let part = match what {
                What::Data(_) => 0,
                What::Sent(PARTS) => return session.close(),
                What::Sent(part) => part,
                _ => return,
            };
            assert_eq!(session.unsent(), 0);
            session.send(vec![part as u8; 3000]);
            session.notify_when_sent(part + 1);
        });
        let mut fixture = Fixture::new(behaviour, 1, config(), probe);
        let key = fixture.connect();
        fixture.send(key, b"g");
        fixture.settle();
        let wanted: Vec<u8> = (0..PARTS).flat_map(|part| [part as u8; 3000]).collect();
        assert!(fixture.got(key) == wanted, "{behaviour:?}");
        assert_eq!(fixture.end(key), End::Finished);
    }
}

/// With nothing unsent it is called soon; a handler that asks again each time keeps the others waiting no longer than
/// one that sends.
#[test]
fn asking_without_end_does_not_stop_the_worker() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Data(data) if &data[..] == b"?" => {
                session.notify_when_sent(1);
            }
            What::Sent(token) => {
                session.notify_when_sent(token + 1);
            }
            What::Data(data) => {
                session.send(data);
            }
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, config(), probe);
        let (asks, other) = (fixture.connect(), fixture.connect());
        fixture.send(asks, b"?");
        let mut most = 0;
        for _ in 0..300 {
            let before = sent_calls(&fixture).len();
            fixture.workers[0].turn(false).unwrap();
            most = most.max(sent_calls(&fixture).len() - before);
            fixture.round_of_client();
        }
        let calls = sent_calls(&fixture);
        // A turn flushes a few times.
        assert!((1..=64 * 8).contains(&most), "{most} calls in a turn: {behaviour:?}");
        assert!(calls.iter().copied().eq(1..=calls.len() as u64), "{behaviour:?}");
        fixture.send(other, b"hello");
        (0..300).for_each(|_| {
            fixture.workers[0].turn(false).unwrap();
            fixture.round_of_client();
        });
        assert_eq!(fixture.got(other), b"hello", "{behaviour:?}");
    }
}

#[test]
fn it_is_not_called_for_a_session_that_has_begun_to_close() {
    for behaviour in behaviours() {
        for how in 0..3 {
            let probe = Probe::new(move |session, what| {
                if let What::Data(_) = what {
                    session.send(vec![1; PART]);
                    assert!(session.notify_when_sent(1));
                    match how {
                        0 => session.close_with(3),
                        1 => session.abort_with(4),
                        _ => session.finish(),
                    }
                    assert_eq!(session.notify_when_sent(2), how == 2, "it only ends its own stream");
                }
            });
            let mut fixture = Fixture::new(behaviour, 1, config(), probe);
            let key = fixture.connect();
            fixture.send(key, b"g");
            fixture.settle();
            let wanted: &[u64] = if how == 2 { &[1, 2] } else { &[] };
            assert_eq!(sent_calls(&fixture), wanted, "{how}, {behaviour:?}");
            fixture.finish(key);
            fixture.settle();
            let reason = [CloseReason::ClosedWith(3), CloseReason::AbortedWith(4), CloseReason::Local][how];
            assert_eq!(fixture.reasons(), [reason], "{behaviour:?}");
            fixture.assert_clean();
        }
    }
}

#[test]
fn handles_close_and_abort_with_a_code() {
    for behaviour in behaviours() {
        let handles: Rc<RefCell<Vec<SessionHandle>>> = Rc::default();
        let kept = Rc::clone(&handles);
        let probe = Probe::new(move |session, what| match what {
            What::Open => kept.borrow_mut().push(session.handle()),
            // The peer has ended first; the code is given all the same.
            What::HalfClose => session.close_with(3),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, config(), probe);
        let keys = [fixture.connect(), fixture.connect(), fixture.connect()];
        handles.borrow()[0].close_with(1).unwrap();
        fixture.settle();
        fixture.finish(keys[0]);
        fixture.settle();
        handles.borrow()[1].abort_with(2).unwrap();
        fixture.settle();
        fixture.finish(keys[2]);
        fixture.settle();
        let wanted = [CloseReason::ClosedWith(1), CloseReason::AbortedWith(2), CloseReason::ClosedWith(3)];
        assert_eq!(fixture.reasons(), wanted, "{behaviour:?}");
        assert_eq!(fixture.reasons().map_graceful(), [true, false, true]);
        assert_eq!(keys.map(|key| fixture.end(key)), [End::Finished, End::Reset, End::Finished]);
    }
}

trait MapGraceful {
    fn map_graceful(&self) -> Vec<bool>;
}

impl MapGraceful for Vec<CloseReason> {
    fn map_graceful(&self) -> Vec<bool> {
        self.iter().map(CloseReason::is_graceful).collect()
    }
}

#[test]
fn a_session_says_whether_it_is_writable() {
    for behaviour in behaviours() {
        let resumed = Rc::new(Cell::new(0));
        let count = Rc::clone(&resumed);
        let fill = |session: &mut crate::Session<'_, Kept>| {
            while session.is_writable() {
                assert_eq!(session.send(vec![3; 1000]), Sent::Ok);
            }
            let SendLimits { high_water, .. } = session.send_limits();
            assert!((high_water..high_water + 1000).contains(&session.unsent()), "{}", session.unsent());
        };
        let probe = Probe::new(move |session, what| match what {
            What::Open => {
                let limits = session.send_limits();
                assert_eq!((limits.high_water, limits.low_water, limits.hard_limit), (10_000, 5_000, 20_000));
            }
            What::Data(_) => fill(session),
            What::Writable => {
                assert!(session.is_writable() && session.unsent() <= 5_000);
                count.set(count.get() + 1);
                if count.get() < 20 {
                    fill(session);
                } else {
                    session.close();
                    assert!(!session.is_writable(), "it takes no send");
                }
            }
            _ => {}
        });
        let pool = PoolConfig { blocks: 16, block_len: 1024 };
        let config = Config { hard_limit: 20_000, pool, ..config() };
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let key = fixture.connect();
        fixture.send(key, b"g");
        fixture.settle();
        assert_eq!(resumed.get(), 20, "{behaviour:?}");
        assert_eq!(fixture.end(key), End::Finished, "{behaviour:?}");
    }
}
