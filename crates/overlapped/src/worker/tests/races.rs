//! Panics, failed connects and drains at the same time: nothing that was asked for is forgotten.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::fixture::{Fixture, Probe, Seen, What, behaviours};
use crate::config::Config;
use crate::mailbox::{Mail, Mailbox};
use crate::session::{CloseReason, SessionId};

/// A worker whose callback for message 1 posts something and panics, with message 2 in hand.
fn posts_and_panics(post: impl Fn(&Mailbox<u32>) + 'static) -> Fixture {
    let mailbox: Rc<RefCell<Option<Arc<Mailbox<u32>>>>> = Rc::default();
    let kept = Rc::clone(&mailbox);
    let probe = Probe::echo().on_worker(move |_, seen| {
        if seen == Seen::Message(1) {
            post(kept.borrow().as_ref().unwrap());
            panic!("on purpose");
        }
    });
    let behaviour = behaviours().next().unwrap();
    let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
    *mailbox.borrow_mut() = Some(Arc::clone(&fixture.mailboxes[0]));
    fixture.handles[0].post(1).unwrap();
    fixture.handles[0].post(2).unwrap();
    fixture.settle();
    fixture
}

#[test]
fn a_message_posted_during_a_panic_is_heard() {
    let mut fixture = posts_and_panics(|mailbox| mailbox.post(Mail::Message(3), true).unwrap());
    fixture.pass(Duration::from_secs(3600));
    let log = fixture.log();
    assert!(log.contains(&Seen::Message(2)));
    assert!(log.contains(&Seen::Message(3)), "posted, answered Ok, never heard: {log:?}");
}

#[test]
fn a_drain_asked_for_during_a_panic_begins() {
    let drain = |mailbox: &Mailbox<u32>| mailbox.post(Mail::Drain(Duration::from_secs(1)), false).unwrap();
    let mut fixture = posts_and_panics(drain);
    for _ in 0..100 {
        fixture.pass(Duration::from_secs(36));
    }
    assert!(fixture.workers[0].has_ended(), "an hour after begin_drain(1 s)");
}

#[test]
fn a_panic_over_one_failed_connect_leaves_the_others() {
    let probe = Probe::echo().on_worker(move |worker, seen| match seen {
        Seen::Message(1) => {
            for token in 1..=3 {
                worker.connect(SocketAddr::from(([127, 0, 0, 1], 9999)), token);
            }
        }
        Seen::ConnectFailed(1, _) => panic!("on purpose"),
        _ => {}
    });
    let behaviour = behaviours().next().unwrap();
    let config = Config { max_sessions: 1, ..Config::default() };
    let mut fixture = Fixture::new(behaviour, 1, config, probe);
    fixture.connect();
    fixture.handles[0].post(1).unwrap();
    fixture.settle();
    fixture.pass(Duration::from_secs(3600));
    let failed: Vec<u64> = fixture
        .log()
        .iter()
        .filter_map(|seen| if let Seen::ConnectFailed(t, _) = seen { Some(*t) } else { None })
        .collect();
    assert_eq!(failed, [1, 2, 3]);
}

#[test]
fn what_a_failed_connect_asks_for_is_done_at_once() {
    let id: Rc<RefCell<Option<SessionId>>> = Rc::default();
    let kept = Rc::clone(&id);
    let probe = Probe::new({
        let id = Rc::clone(&id);
        move |session, what| {
            if let What::Open = what {
                *id.borrow_mut() = Some(session.id());
            }
        }
    })
    .on_worker(move |worker, seen| match seen {
        Seen::Message(1) => worker.connect(SocketAddr::from(([127, 0, 0, 1], 9999)), 1),
        Seen::ConnectFailed(token, _) => {
            if let Some(id) = *kept.borrow()
                && let Some((mut session, _)) = worker.session(id)
            {
                session.send("no\n");
            }
            if token < 10 {
                worker.connect(SocketAddr::from(([127, 0, 0, 1], 9999)), token + 1);
            }
        }
        _ => {}
    });
    let behaviour = behaviours().next().unwrap();
    let config = Config { max_sessions: 1, ..Config::default() };
    let mut fixture = Fixture::new(behaviour, 1, config, probe);
    let key = fixture.connect();
    fixture.handles[0].post(1).unwrap();
    fixture.settle();
    assert_eq!(fixture.got(key).len(), 30);
}

/// The peer's FIN arrives while the drain pauses the receive, and the handler keeps the session open after it.
#[test]
fn a_drain_does_not_forget_a_session_whose_peer_has_just_finished() {
    let mut bad = Vec::new();
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| {
            if let What::Data(data) = what {
                let _ = session.send(data);
            }
        });
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe);
        let key = fixture.connect();
        fixture.send(key, b"hello");
        fixture.settle();
        fixture.finish(key);
        fixture.post(0, Mail::Drain(Duration::from_secs(10)));
        fixture.round_of_client();
        fixture.settle();
        fixture.pass(Duration::from_secs(9));
        fixture.pass(Duration::from_secs(4));
        fixture.pass(Duration::from_secs(4));
        if fixture.reasons() != [CloseReason::Drained] {
            bad.push((behaviour.seed, fixture.reasons(), fixture.all_stats().cut));
        }
    }
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn a_connect_that_a_drain_cuts_is_told() {
    let probe = Probe::echo().on_worker(move |worker, seen| {
        if seen == Seen::Message(1) {
            worker.connect(SocketAddr::from(([127, 0, 0, 1], 9999)), 77);
        }
    });
    let mut bad = 0;
    for behaviour in behaviours() {
        let mut fixture = Fixture::new(behaviour, 1, Config::default(), probe.clone());
        fixture.probe.log.borrow_mut().clear();
        fixture.handles[0].post(1).unwrap();
        fixture.post(0, Mail::Stop);
        fixture.settle();
        fixture.pass(Duration::from_secs(5));
        let told = fixture.log().iter().any(|s| matches!(s, Seen::ConnectFailed(77, _) | Seen::Open(_)));
        bad += u32::from(!told);
    }
    assert_eq!(bad, 0);
}

/// Two workers, the first listens. On the second, `on_open` panics with arrivals in hand and the doorbell rung again.
#[test]
fn an_arrival_is_not_lost_when_another_panics() {
    let boxes: Rc<RefCell<Option<Arc<Mailbox<u32>>>>> = Rc::default();
    let kept = Rc::clone(&boxes);
    let first = Rc::new(RefCell::new(true));
    let probe = Probe::new(move |session, what| {
        if let What::Open = what
            && session.id().worker() == 1
            && std::mem::replace(&mut *first.borrow_mut(), false)
        {
            kept.borrow().as_ref().unwrap().shared.doorbell.ring();
            panic!("on purpose");
        }
    });
    let behaviour = behaviours().next().unwrap();
    let mut fixture = Fixture::new(behaviour, 2, Config::default(), probe);
    *boxes.borrow_mut() = Some(fixture.mailboxes[1].clone());
    for _ in 0..8 {
        fixture.begin_connect();
    }
    for _ in 0..50 {
        fixture.round_of_client();
    }
    for _ in 0..30 {
        fixture.workers[0].turn(false).unwrap();
    }
    fixture.settle();
    let opened = fixture.log().iter().filter(|s| matches!(s, Seen::Open(_))).count();
    let stats = fixture.all_stats();
    assert_eq!(opened, 8, "{stats:?}");
}
