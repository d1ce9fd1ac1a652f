//! How sessions end, and what their peers get before that (INV-2, INV-7, INV-8).

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use overlapped_testing::pattern;

use super::fixture::{End, Fixture, Probe, Seen, What, behaviours};
use crate::config::Config;
use crate::session::{CloseReason, Sent};

#[test]
fn everything_comes_back_and_the_tail_after_a_half_close() {
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), Probe::echo());
        let keys: Vec<_> = (0..5).map(|_| fixture.connect()).collect();
        for (index, key) in keys.iter().enumerate() {
            fixture.send(*key, &pattern(index * 40_000, 0));
            fixture.finish(*key);
        }
        fixture.settle();
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(fixture.got(*key), pattern(index * 40_000, 0), "INV-4, INV-8: {behaviour:?}");
            assert_eq!(fixture.end(*key), End::Finished, "INV-7: {behaviour:?}");
        }
        assert_eq!(fixture.reasons(), [CloseReason::EndOfStream; 5]);
        fixture.assert_clean();
    }
}

#[test]
fn a_reset_is_told_from_an_end_of_stream() {
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), Probe::echo());
        let (stays, goes) = (fixture.connect(), fixture.connect());
        fixture.send(goes, &pattern(1000, 0));
        fixture.round();
        fixture.client.abort(goes);
        fixture.send(stays, &pattern(1000, 0));
        fixture.settle();
        assert_eq!(fixture.reasons(), [CloseReason::Reset], "INV-7: {behaviour:?}");
        assert_eq!(fixture.got(stays), pattern(1000, 0));
        fixture.finish(stays);
        fixture.settle();
        fixture.assert_clean();
    }
}

#[test]
fn a_local_close_delivers_what_was_queued_then_the_end() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| {
            if let What::Data(_) = what {
                assert_eq!(session.send(pattern(100_000, 0)), Sent::Ok);
                session.close();
                assert!(session.is_closing());
                assert_eq!(session.send("too late"), Sent::Closed);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.send(key, b"x");
        fixture.settle();
        assert_eq!(fixture.got(key), pattern(100_000, 0), "INV-8: {behaviour:?}");
        assert_eq!(fixture.end(key), End::Finished);
        assert_eq!(fixture.reasons(), [], "it waits for the peer's FIN");
        fixture.send(key, b"talks on");
        fixture.finish(key);
        fixture.settle();
        assert_eq!(fixture.reasons(), [CloseReason::Local]);
        assert_eq!(fixture.all_stats().bytes_discarded, 8);
        fixture.assert_clean();
    }
}

#[test]
fn a_session_that_has_ended_its_own_stream_hears_the_peers_to_the_end() {
    for behaviour in behaviours() {
        let heard = Rc::new(Cell::new(0));
        let probe = Probe::new({
            let heard = Rc::clone(&heard);
            move |session, what| match what {
                What::Open => {
                    assert_eq!(session.send(pattern(100_000, 0)), Sent::Ok);
                    session.finish();
                    assert!(!session.is_closing(), "it still hears");
                    assert_eq!(session.send("too late"), Sent::Closed);
                }
                What::Data(data) => heard.set(heard.get() + data.len()),
                _ => {}
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.settle();
        assert_eq!(fixture.got(key), pattern(100_000, 0), "INV-8: {behaviour:?}");
        assert_eq!(fixture.end(key), End::Finished, "FIN follows at once");
        fixture.pass(Duration::from_secs(300));
        assert_eq!(fixture.reasons(), [], "no linger deadline: it is no close");
        fixture.send(key, &pattern(70_000, 0));
        fixture.settle();
        assert_eq!(heard.get(), 70_000, "{behaviour:?}");
        fixture.finish(key);
        fixture.settle();
        assert_eq!(fixture.reasons(), [CloseReason::Local], "both streams are over: {behaviour:?}");
        assert_eq!(fixture.log().iter().filter(|seen| matches!(seen, Seen::HalfClose(_))).count(), 1);
        fixture.assert_clean();
    }
}

#[test]
fn finishing_after_the_peer_has_is_closing() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Data(data) => assert_eq!(session.send(data), Sent::Ok),
            What::HalfClose => session.finish(),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.send(key, &pattern(50_000, 0));
        fixture.finish(key);
        fixture.settle();
        assert_eq!(fixture.got(key), pattern(50_000, 0));
        assert_eq!(fixture.reasons(), [CloseReason::EndOfStream], "{behaviour:?}");
        fixture.assert_clean();
    }
}

#[test]
fn a_finished_session_is_closed_aborted_and_reset_like_any_other() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Open => session.finish(),
            What::Data(data) if data[0] == b'c' => session.close(),
            What::Data(_) => session.abort(),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let [closed, aborted, reset] = [(); 3].map(|()| fixture.connect());
        fixture.settle();
        fixture.send(closed, b"c");
        fixture.settle();
        fixture.pass(Config::default().linger_timeout);
        fixture.send(aborted, b"a");
        fixture.settle();
        assert_eq!(fixture.end(closed), End::Finished, "one FIN, and no reset: {behaviour:?}");
        fixture.client.abort(reset);
        fixture.settle();
        let wanted = [CloseReason::Local, CloseReason::Aborted, CloseReason::Reset];
        assert_eq!(fixture.reasons(), wanted, "{behaviour:?}");
        fixture.assert_clean();
    }
}

#[test]
fn a_peer_that_never_ends_its_stream_is_waited_for_only_so_long() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| {
            if let What::Data(_) = what {
                session.close();
            }
        });
        let config = Config { linger_timeout: Duration::from_secs(2), ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let key = fixture.connect();
        fixture.send(key, b"x");
        fixture.settle();
        fixture.pass(Duration::from_millis(1_990));
        assert_eq!(fixture.reasons(), []);
        fixture.pass(Duration::from_millis(20));
        assert_eq!(fixture.reasons(), [CloseReason::Local]);
        fixture.assert_clean();
    }
}

#[test]
fn an_abort_is_a_reset_at_the_peer_and_drops_what_is_queued() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| {
            if let What::Data(_) = what {
                let _ = session.send(pattern(200_000, 0));
                session.abort();
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.send(key, b"go");
        fixture.settle();
        assert_eq!(fixture.end(key), End::Reset, "INV-7: {behaviour:?}");
        assert_eq!(fixture.reasons(), [CloseReason::Aborted]);
        assert_eq!(fixture.all_stats().bytes_dropped, 200_000);
        fixture.assert_clean();
    }
}

#[test]
fn a_handler_may_go_on_sending_after_the_peers_end() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::HalfClose => session.set_timer(Duration::from_millis(50), 7),
            What::Timer(7) => {
                assert_eq!(session.send("and a last word"), Sent::Ok);
                session.close();
            }
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.finish(key);
        fixture.settle();
        assert_eq!(fixture.got(key), b"");
        fixture.pass(Duration::from_millis(60));
        assert_eq!(fixture.got(key), b"and a last word");
        assert_eq!(fixture.reasons(), [CloseReason::EndOfStream]);
        fixture.assert_clean();
    }
}

#[test]
fn a_panic_costs_its_session_and_no_other() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Data(data) => {
                assert_ne!(&data[..1], b"!", "a handler's own mistake");
                let _ = session.send(data);
            }
            What::HalfClose => session.close(),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let (good, bad) = (fixture.connect(), fixture.connect());
        fixture.send(good, b"before");
        fixture.send(bad, b"!");
        fixture.settle();
        fixture.send(good, b" and after");
        fixture.settle();
        assert_eq!(fixture.end(bad), End::Reset);
        assert_eq!(fixture.got(good), b"before and after");
        assert_eq!(fixture.all_stats().sessions_panicked, 1);
        assert_eq!(fixture.reasons(), [], "no callback sees a state that may be half-updated");
        fixture.finish(good);
        fixture.settle();
        let closed = fixture.log().iter().filter(|seen| matches!(seen, Seen::Close(..))).count();
        assert_eq!(closed, 1);
        fixture.assert_clean();
    }
}

#[test]
fn a_panic_outside_of_sessions_ends_none() {
    for behaviour in behaviours().take(4) {
        let probe = Probe::echo().on_worker(|_, seen| assert_ne!(seen, Seen::Message(13), "unlucky"));
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        for message in [13, 14] {
            fixture.handles[0].post(message).unwrap();
        }
        fixture.send(key, b"still here");
        fixture.settle();
        assert!(fixture.log().contains(&Seen::Message(14)));
        assert_eq!(fixture.got(key), b"still here");
        fixture.finish(key);
        fixture.settle();
        fixture.assert_clean();
    }
}
