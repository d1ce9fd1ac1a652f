//! Sessions that owe an answer: a drain, an idle timeout and the default close at the peer's end of stream wait for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::fixture::{End, Fixture, Probe, Seen, What, behaviours};
use crate::config::Config;
use crate::mailbox::Mail;
use crate::session::{CloseReason, Owed, Sent, SessionHandle};

const LIMIT: Duration = Duration::from_secs(10);

type Guards = Rc<RefCell<Vec<Owed>>>;

/// Owes an answer for each piece of data. A message has the worker send the oldest answer.
fn owing() -> (Guards, Probe) {
    let guards: Guards = Rc::default();
    let (kept, taken) = (Rc::clone(&guards), Rc::clone(&guards));
    let probe = Probe::new(move |session, what| match what {
        What::Data(_) => {
            kept.borrow_mut().push(session.owe());
            let here = session.id();
            assert_eq!(session.answers_owed(), kept.borrow().iter().filter(|owed| owed.id() == here).count());
        }
        What::HalfClose => session.close_when_answered(),
        What::Idle => session.close(),
        _ => {}
    });
    let probe = probe.on_worker(move |worker, seen| {
        if let Seen::Message(_) = seen {
            let owed = taken.borrow_mut().remove(0);
            assert_eq!(worker.send(owed.id(), "answer"), Sent::Ok);
        }
    });
    (guards, probe)
}

fn ended(fixture: &Fixture) -> bool {
    fixture.workers.iter().all(super::super::Worker::has_ended)
}

/// How an answer comes.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Another thread sends it.
    Guard,
    /// The guard comes back in a message, and the handler sends it.
    Message,
    /// None comes.
    Dropped,
}

#[test]
fn a_drain_waits_for_an_answer_however_it_comes() {
    for behaviour in behaviours() {
        for way in [Way::Guard, Way::Message, Way::Dropped] {
            let (guards, probe) = owing();
            let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
            let key = fixture.connect();
            fixture.send(key, b"q");
            fixture.settle();
            fixture.post(0, Mail::Drain(LIMIT));
            fixture.settle();
            fixture.pass(LIMIT / 2);
            assert_eq!(fixture.end(key), End::Open, "it owes an answer: {behaviour:?}");
            let wanted = match way {
                Way::Guard => {
                    let owed = guards.borrow_mut().remove(0);
                    assert_eq!(owed.send("answer"), Sent::Ok);
                    &b"answer"[..]
                }
                Way::Message => {
                    fixture.handles[0].post(0).unwrap();
                    b"answer"
                }
                Way::Dropped => {
                    guards.borrow_mut().clear();
                    b""
                }
            };
            fixture.settle();
            assert_eq!(fixture.end(key), End::Finished, "{behaviour:?} {way:?}");
            assert_eq!(fixture.got(key), wanted, "{behaviour:?} {way:?}");
            fixture.finish(key);
            fixture.settle();
            assert!(ended(&fixture), "{behaviour:?} {way:?}");
            let stats = fixture.all_stats();
            assert_eq!((stats.drained, stats.cut, stats.answers_owed), (1, 0, 0), "{behaviour:?} {way:?}");
            fixture.assert_clean();
        }
    }
}

#[test]
fn a_drain_waits_for_the_last_of_several_answers() {
    for behaviour in behaviours() {
        let (guards, probe) = owing();
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        for _ in 0..3 {
            fixture.send(key, b"q");
            fixture.settle();
        }
        fixture.post(0, Mail::Drain(LIMIT));
        for left in (0..3).rev() {
            fixture.settle();
            assert_eq!(fixture.end(key), End::Open, "{behaviour:?}");
            let owed = guards.borrow_mut().pop().unwrap();
            assert_eq!(owed.send("answer"), Sent::Ok);
            drop(owed);
            assert_eq!(guards.borrow().len(), left);
        }
        fixture.settle();
        assert_eq!(fixture.got(key), b"answeransweranswer", "{behaviour:?}");
        assert_eq!(fixture.end(key), End::Finished, "{behaviour:?}");
    }
}

#[test]
fn the_deadline_cuts_what_owes_and_counts_the_answers() {
    for behaviour in behaviours() {
        let (guards, probe) = owing();
        let mut fixture = Fixture::new(behaviour, 2, Config::default(), probe);
        let keys = [fixture.connect(), fixture.connect(), fixture.connect()];
        for round in 0..2 {
            for key in &keys[round..] {
                fixture.send(*key, b"q");
            }
            fixture.settle();
        }
        // One of each of these is on the way when the deadline comes, and is not owed any more.
        let owed = guards.borrow_mut().pop().unwrap();
        assert_eq!(owed.send("answer"), Sent::Ok);
        drop(owed);
        for worker in 0..2 {
            fixture.post(worker, Mail::Drain(LIMIT));
        }
        fixture.settle();
        fixture.pass(LIMIT - Duration::from_millis(1));
        assert!(!ended(&fixture), "{behaviour:?}");
        fixture.pass(Duration::from_millis(1));
        assert!(ended(&fixture), "{behaviour:?}");
        let stats = fixture.all_stats();
        assert_eq!((stats.drained, stats.cut, stats.answers_owed), (0, 3, 4), "{behaviour:?}");
        assert_eq!(fixture.reasons(), [CloseReason::Cut; 3]);
        // Late answers find nothing.
        for owed in guards.borrow_mut().drain(..) {
            assert_eq!(owed.send("late"), Sent::Closed, "{behaviour:?}");
        }
        fixture.assert_clean();
    }
}

/// An answer may need more of what the peer sends: an upload in the middle of which the drain begins.
#[test]
fn a_session_that_owes_still_receives() {
    let seen_before = [true, false];
    for (behaviour, seen_before) in behaviours().flat_map(|kind| seen_before.map(|seen| (kind, seen))) {
        let owed: Rc<RefCell<Option<Owed>>> = Rc::default();
        let total = Rc::new(Cell::new(0));
        let probe = Probe::new(move |session, what| {
            if let What::Data(data) = what {
                owed.borrow_mut().get_or_insert_with(|| session.owe());
                total.set(total.get() + data.len());
                if total.get() == 60_000 {
                    session.send("got all");
                    owed.borrow_mut().take();
                }
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.send(key, &[1; 20_000]);
        if seen_before {
            fixture.settle();
        } else {
            fixture.round_of_client();
        }
        fixture.post(0, Mail::Drain(LIMIT));
        for _ in 0..2 {
            fixture.settle();
            fixture.pass(Duration::from_secs(1));
            fixture.send(key, &[1; 20_000]);
        }
        fixture.settle();
        assert_eq!(fixture.got(key), b"got all", "{behaviour:?}");
        assert_eq!(fixture.end(key), End::Finished, "{behaviour:?}");
    }
}

/// The peer asks again as soon as it has its answer: what comes after the last look comes too late, and the drain ends.
#[test]
fn a_peer_that_goes_on_asking_does_not_delay_a_drain() {
    for behaviour in behaviours() {
        let (guards, probe) = owing();
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.send(key, b"q");
        fixture.settle();
        fixture.post(0, Mail::Drain(LIMIT));
        let mut answers = 0;
        for _ in 0..1_000 {
            if fixture.end(key) != End::Open {
                break;
            }
            if !guards.borrow().is_empty() {
                fixture.handles[0].post(0).unwrap();
            }
            fixture.round();
            if fixture.got(key).len() == "answer".len() * (answers + 1) {
                answers += 1;
                fixture.send(key, b"q");
            }
        }
        assert!(answers > 0, "{behaviour:?}");
        assert_eq!(fixture.end(key), End::Finished, "{behaviour:?}: after {answers} answers");
    }
}

/// Posted by a thread that does not know of the drain yet, and taken in the same turn as the drain.
#[test]
fn what_handles_have_posted_goes_out_before_a_drain_closes() {
    for behaviour in behaviours() {
        let handle: Rc<RefCell<Option<SessionHandle>>> = Rc::default();
        let kept = Rc::clone(&handle);
        let probe = Probe::new(move |session, what| match what {
            What::Open => *kept.borrow_mut() = Some(session.handle()),
            // It stays open, so the drain finds nothing to receive.
            What::HalfClose => {}
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.finish(key);
        fixture.settle();
        fixture.post(0, Mail::Drain(LIMIT));
        assert_eq!(handle.borrow().as_ref().unwrap().send("posted"), Sent::Ok);
        fixture.settle();
        assert_eq!(fixture.got(key), b"posted", "{behaviour:?}");
        assert_eq!(fixture.end(key), End::Finished, "{behaviour:?}");
        assert_eq!(fixture.all_stats().posts_refused, 0, "{behaviour:?}");
    }
}

#[test]
fn on_drain_is_called_once_per_session_and_what_it_sends_goes_out() {
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| match what {
            What::Drain => {
                session.send("bye");
            }
            What::Data(data) => {
                session.send(data);
            }
            What::HalfClose => session.close(),
            _ => {}
        });
        let mut fixture = Fixture::new(behaviour, 2, Config::default(), probe);
        let old: Vec<_> = (0..4).map(|_| fixture.connect()).collect();
        fixture.send(old[1], b"12345");
        // Closing when the drain begins: nobody says goodbye to it.
        fixture.finish(old[3]);
        fixture.settle();
        // In the backlog.
        let new = fixture.begin_connect();
        fixture.round_of_client();
        for worker in 0..2 {
            fixture.post(worker, Mail::Drain(LIMIT));
        }
        fixture.settle();
        for key in old.iter().copied().chain([new]) {
            fixture.finish(key);
        }
        fixture.settle();
        assert!(ended(&fixture), "{behaviour:?}: {:?}", fixture.log());
        let goodbyes = |log: &[Seen]| log.iter().filter(|seen| matches!(seen, Seen::Drain(_))).count();
        let opened = fixture.all_stats().sessions_opened as usize;
        assert!(opened >= 4, "{behaviour:?}");
        assert_eq!(goodbyes(&fixture.log()), opened - 1, "{behaviour:?}: {:?}", fixture.log());
        assert_eq!(fixture.got(old[0]), b"bye", "{behaviour:?}");
        assert_eq!(fixture.got(old[1]), b"12345bye", "{behaviour:?}");
        assert_eq!(fixture.got(old[3]), b"", "{behaviour:?}");
        assert!(old.iter().all(|key| fixture.end(*key) == End::Finished), "INV-8: {behaviour:?}");
        assert_eq!(fixture.got(new), if opened == 5 { &b"bye"[..] } else { b"" }, "{behaviour:?}");
        fixture.assert_clean();
    }
}

/// A panic in `on_drain` of one session ends that one; `on_drain` is still called for the others.
#[test]
fn a_panic_in_on_drain_ends_its_session_only() {
    for behaviour in behaviours() {
        let calls = Rc::new(Cell::new(0));
        let probe = Probe::new(move |session, what| {
            if let What::Drain = what {
                calls.set(calls.get() + 1);
                assert!(calls.get() != 2, "the second one");
                session.send("bye");
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let keys: Vec<_> = (0..3).map(|_| fixture.connect()).collect();
        fixture.post(0, Mail::Drain(LIMIT));
        fixture.settle();
        let told = keys.iter().filter(|key| fixture.got(**key) == b"bye").count();
        let reset = keys.iter().filter(|key| fixture.end(**key) == End::Reset).count();
        assert_eq!((told, reset), (2, 1), "{behaviour:?}");
        assert_eq!(fixture.all_stats().panics, 1);
    }
}

#[test]
fn a_session_that_owes_is_not_idle() {
    const IDLE: Duration = Duration::from_secs(2);
    for behaviour in behaviours() {
        let (guards, probe) = owing();
        let config = Config { idle_timeout: Some(IDLE), ..Config::default() };
        let mut fixture = Fixture::new(behaviour, 1, config, probe);
        let key = fixture.connect();
        fixture.send(key, b"q");
        fixture.settle();
        for _ in 0..20 {
            fixture.pass(IDLE / 3);
        }
        assert_eq!(fixture.end(key), End::Open, "{behaviour:?}: {:?}", fixture.log());
        let owed = guards.borrow_mut().remove(0);
        assert_eq!(owed.send("answer"), Sent::Ok);
        drop(owed);
        fixture.settle();
        assert_eq!(fixture.got(key), b"answer", "{behaviour:?}");
        fixture.pass(IDLE / 2);
        assert_eq!(fixture.end(key), End::Open, "the answer is activity: {behaviour:?}");
        for _ in 0..3 {
            fixture.pass(IDLE / 2);
        }
        assert_eq!(fixture.end(key), End::Finished, "now it is idle: {behaviour:?}");
    }
}

#[test]
fn a_peer_that_ends_its_stream_still_gets_its_answers() {
    for behaviour in behaviours() {
        for way in [Way::Guard, Way::Message, Way::Dropped] {
            let (guards, probe) = owing();
            let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
            let key = fixture.connect();
            fixture.send(key, b"q");
            fixture.finish(key);
            fixture.settle();
            fixture.pass(LIMIT);
            assert_eq!(fixture.end(key), End::Open, "{behaviour:?}");
            match way {
                Way::Guard => assert_eq!(guards.borrow()[0].send("answer"), Sent::Ok),
                Way::Message => fixture.handles[0].post(0).unwrap(),
                Way::Dropped => {}
            }
            fixture.settle();
            guards.borrow_mut().clear();
            fixture.settle();
            let wanted: &[u8] = if let Way::Dropped = way { b"" } else { b"answer" };
            assert_eq!(
                (fixture.got(key), fixture.end(key)),
                (wanted, End::Finished),
                "{behaviour:?} {way:?}"
            );
            assert_eq!(fixture.reasons(), [CloseReason::EndOfStream], "{behaviour:?} {way:?}");
            fixture.assert_clean();
        }
    }
}

/// A peer that is gone needs no answer.
#[test]
fn a_reset_ends_a_session_that_owes() {
    for behaviour in behaviours() {
        let (guards, probe) = owing();
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.send(key, b"q");
        fixture.settle();
        fixture.post(0, Mail::Drain(LIMIT));
        fixture.settle();
        fixture.client.abort(key);
        fixture.settle();
        assert!(ended(&fixture), "{behaviour:?}");
        assert_eq!(fixture.reasons(), [CloseReason::Reset], "{behaviour:?}");
        assert_eq!(fixture.all_stats().answers_owed, 0);
        assert_eq!(guards.borrow()[0].send("late"), Sent::Closed);
    }
}
