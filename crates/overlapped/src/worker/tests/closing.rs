//! How sessions end, and what their peers get before that (INV-2, INV-7, INV-8).

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::world::{End, Probe, Seen, What, World, behaviours};
use crate::config::Config;
use crate::session::{CloseReason, Sent};

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[test]
fn everything_comes_back_and_the_tail_after_a_half_close() {
    for behaviour in behaviours() {
        let mut world = World::new(behaviour, 1, Config::default(), Probe::echo());
        let keys: Vec<_> = (0..5).map(|_| world.connect()).collect();
        for (index, key) in keys.iter().enumerate() {
            world.send(*key, &pattern(index * 40_000));
            world.finish(*key);
        }
        world.settle();
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(world.got(*key), pattern(index * 40_000), "INV-4, INV-8: {behaviour:?}");
            assert_eq!(world.end(*key), End::Finished, "INV-7: {behaviour:?}");
        }
        assert_eq!(world.reasons(), [CloseReason::EndOfStream; 5]);
        world.assert_clean();
    }
}

#[test]
fn a_reset_is_told_from_an_end_of_stream() {
    for behaviour in behaviours() {
        let mut world = World::new(behaviour, 1, Config::default(), Probe::echo());
        let (stays, goes) = (world.connect(), world.connect());
        world.send(goes, &pattern(1000));
        world.round();
        world.client.abort(goes);
        world.send(stays, &pattern(1000));
        world.settle();
        assert_eq!(world.reasons(), [CloseReason::Reset], "INV-7: {behaviour:?}");
        assert_eq!(world.got(stays), pattern(1000));
        world.finish(stays);
        world.settle();
        world.assert_clean();
    }
}

#[test]
fn a_local_close_delivers_what_was_queued_then_the_end() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| {
            if let What::Data(_) = what {
                assert_eq!(session.send(pattern(100_000)), Sent::Ok);
                session.close();
                assert!(session.is_closing());
                assert_eq!(session.send("too late"), Sent::Closed);
            }
        });
        let mut world = World::new(behaviour, 1, Config::default(), probe);
        let key = world.connect();
        world.send(key, b"x");
        world.settle();
        assert_eq!(world.got(key), pattern(100_000), "INV-8: {behaviour:?}");
        assert_eq!(world.end(key), End::Finished);
        assert_eq!(world.reasons(), [], "it waits for the peer's FIN");
        world.send(key, b"talks on");
        world.finish(key);
        world.settle();
        assert_eq!(world.reasons(), [CloseReason::Local]);
        assert_eq!(world.all_stats().bytes_discarded, 8);
        world.assert_clean();
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
                    assert_eq!(session.send(pattern(100_000)), Sent::Ok);
                    session.finish();
                    assert!(!session.is_closing(), "it still hears");
                    assert_eq!(session.send("too late"), Sent::Closed);
                }
                What::Data(data) => heard.set(heard.get() + data.len()),
                _ => {}
            }
        });
        let mut world = World::new(behaviour, 1, Config::default(), probe);
        let key = world.connect();
        world.settle();
        assert_eq!(world.got(key), pattern(100_000), "INV-8: {behaviour:?}");
        assert_eq!(world.end(key), End::Finished, "FIN follows at once");
        world.pass(Duration::from_secs(300));
        assert_eq!(world.reasons(), [], "no linger deadline: it is no close");
        world.send(key, &pattern(70_000));
        world.settle();
        assert_eq!(heard.get(), 70_000, "{behaviour:?}");
        world.finish(key);
        world.settle();
        assert_eq!(world.reasons(), [CloseReason::Local], "both streams are over: {behaviour:?}");
        assert_eq!(world.log().iter().filter(|seen| matches!(seen, Seen::HalfClose(_))).count(), 1);
        world.assert_clean();
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
        let mut world = World::new(behaviour, 1, Config::default(), probe);
        let key = world.connect();
        world.send(key, &pattern(50_000));
        world.finish(key);
        world.settle();
        assert_eq!(world.got(key), pattern(50_000));
        assert_eq!(world.reasons(), [CloseReason::EndOfStream], "{behaviour:?}");
        world.assert_clean();
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
        let mut world = World::new(behaviour, 1, Config::default(), probe);
        let [closed, aborted, reset] = [(); 3].map(|()| world.connect());
        world.settle();
        world.send(closed, b"c");
        world.settle();
        world.pass(Config::default().linger_timeout);
        world.send(aborted, b"a");
        world.settle();
        assert_eq!(world.end(closed), End::Finished, "one FIN, and no reset: {behaviour:?}");
        world.client.abort(reset);
        world.settle();
        let wanted = [CloseReason::Local, CloseReason::Aborted, CloseReason::Reset];
        assert_eq!(world.reasons(), wanted, "{behaviour:?}");
        world.assert_clean();
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
        let mut world = World::new(behaviour, 1, config, probe);
        let key = world.connect();
        world.send(key, b"x");
        world.settle();
        world.pass(Duration::from_millis(1_990));
        assert_eq!(world.reasons(), []);
        world.pass(Duration::from_millis(20));
        assert_eq!(world.reasons(), [CloseReason::Local]);
        world.assert_clean();
    }
}

#[test]
fn an_abort_is_a_reset_at_the_peer_and_drops_what_is_queued() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| {
            if let What::Data(_) = what {
                let _ = session.send(pattern(200_000));
                session.abort();
            }
        });
        let mut world = World::new(behaviour, 1, Config::default(), probe);
        let key = world.connect();
        world.send(key, b"go");
        world.settle();
        assert_eq!(world.end(key), End::Reset, "INV-7: {behaviour:?}");
        assert_eq!(world.reasons(), [CloseReason::Aborted]);
        assert_eq!(world.all_stats().bytes_dropped, 200_000);
        world.assert_clean();
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
        let mut world = World::new(behaviour, 1, Config::default(), probe);
        let key = world.connect();
        world.finish(key);
        world.settle();
        assert_eq!(world.got(key), b"");
        world.pass(Duration::from_millis(60));
        assert_eq!(world.got(key), b"and a last word");
        assert_eq!(world.reasons(), [CloseReason::EndOfStream]);
        world.assert_clean();
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
        let mut world = World::new(behaviour, 1, Config::default(), probe);
        let (good, bad) = (world.connect(), world.connect());
        world.send(good, b"before");
        world.send(bad, b"!");
        world.settle();
        world.send(good, b" and after");
        world.settle();
        assert_eq!(world.end(bad), End::Reset);
        assert_eq!(world.got(good), b"before and after");
        assert_eq!(world.all_stats().sessions_panicked, 1);
        assert_eq!(world.reasons(), [], "no callback sees a state that may be half-updated");
        world.finish(good);
        world.settle();
        let closed = world.log().iter().filter(|seen| matches!(seen, Seen::Close(..))).count();
        assert_eq!(closed, 1);
        world.assert_clean();
    }
}

#[test]
fn a_panic_outside_of_sessions_ends_none() {
    for behaviour in behaviours().take(4) {
        let probe = Probe::echo().on_worker(|_, seen| assert_ne!(seen, Seen::Message(13), "unlucky"));
        let mut world = World::new(behaviour, 1, Config::default(), probe);
        let key = world.connect();
        for message in [13, 14] {
            world.handles[0].post(message).unwrap();
        }
        world.send(key, b"still here");
        world.settle();
        assert!(world.log().contains(&Seen::Message(14)));
        assert_eq!(world.got(key), b"still here");
        world.finish(key);
        world.settle();
        world.assert_clean();
    }
}
