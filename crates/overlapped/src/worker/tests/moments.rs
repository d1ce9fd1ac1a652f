//! Panics, failed connects and drains that meet at the wrong moment: nothing that was asked for is forgotten.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::world::{Probe, Seen, What, World, behaviours};
use crate::config::Config;
use crate::mailbox::{Mail, Mailbox};
use crate::session::{CloseReason, SessionId};

/// A worker whose callback for message 1 posts something and panics, with message 2 in hand.
fn posts_and_panics(post: impl Fn(&Mailbox<u32>) + 'static) -> World {
    let mailbox: Rc<RefCell<Option<Arc<Mailbox<u32>>>>> = Rc::default();
    let kept = Rc::clone(&mailbox);
    let probe = Probe::echo().on_worker(move |_, seen| {
        if seen == Seen::Message(1) {
            post(kept.borrow().as_ref().unwrap());
            panic!("on purpose");
        }
    });
    let behaviour = behaviours().next().unwrap();
    let mut world = World::new(behaviour, 1, Config::default(), probe);
    *mailbox.borrow_mut() = Some(Arc::clone(&world.mailboxes[0]));
    world.handles[0].post(1).unwrap();
    world.handles[0].post(2).unwrap();
    world.settle();
    world
}

#[test]
fn a_message_posted_during_a_panic_is_heard() {
    let mut world = posts_and_panics(|mailbox| mailbox.post(Mail::Message(3), true).unwrap());
    world.pass(Duration::from_secs(3600));
    let log = world.log();
    assert!(log.contains(&Seen::Message(2)));
    assert!(log.contains(&Seen::Message(3)), "posted, answered Ok, never heard: {log:?}");
}

#[test]
fn a_drain_asked_for_during_a_panic_begins() {
    let drain = |mailbox: &Mailbox<u32>| mailbox.post(Mail::Drain(Duration::from_secs(1)), false).unwrap();
    let mut world = posts_and_panics(drain);
    for _ in 0..100 {
        world.pass(Duration::from_secs(36));
    }
    assert!(world.workers[0].has_ended(), "an hour after begin_drain(1 s)");
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
    let mut world = World::new(behaviour, 1, config, probe);
    world.connect();
    world.handles[0].post(1).unwrap();
    world.settle();
    world.pass(Duration::from_secs(3600));
    let failed: Vec<u64> = world
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
                && let Some(mut session) = worker.session(id)
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
    let mut world = World::new(behaviour, 1, config, probe);
    let key = world.connect();
    world.handles[0].post(1).unwrap();
    world.settle();
    assert_eq!(world.got(key).len(), 30);
}

/// The peer's FIN meets the drain's pause, and the handler goes on after it.
#[test]
fn a_drain_does_not_forget_a_session_whose_peer_has_just_finished() {
    let mut bad = Vec::new();
    for behaviour in behaviours() {
        let probe = Probe::new(|session, what| {
            if let What::Data(data) = what {
                let _ = session.send(data);
            }
        });
        let mut world = World::new(behaviour, 1, Config::default(), probe);
        let key = world.connect();
        world.send(key, b"hello");
        world.settle();
        world.finish(key);
        world.post(0, Mail::Drain(Duration::from_secs(10)));
        world.round_of_client();
        world.settle();
        world.pass(Duration::from_secs(9));
        world.pass(Duration::from_secs(4));
        world.pass(Duration::from_secs(4));
        if world.reasons() != [CloseReason::Drained] {
            bad.push((behaviour.seed, world.reasons(), world.all_stats().cut));
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
        let mut world = World::new(behaviour, 1, Config::default(), probe.clone());
        world.probe.log.borrow_mut().clear();
        world.handles[0].post(1).unwrap();
        world.post(0, Mail::Stop);
        world.settle();
        world.pass(Duration::from_secs(5));
        let told = world.log().iter().any(|s| matches!(s, Seen::ConnectFailed(77, _) | Seen::Open(_)));
        bad += u32::from(!told);
    }
    assert_eq!(bad, 0);
}

/// Two workers, the first listens. On the second, `on_open` panics with arrivals in hand and the bell rung again.
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
            kept.borrow().as_ref().unwrap().face.bell.ring();
            panic!("on purpose");
        }
    });
    let behaviour = behaviours().next().unwrap();
    let mut world = World::new(behaviour, 2, Config::default(), probe);
    *boxes.borrow_mut() = Some(world.mailboxes[1].clone());
    for _ in 0..8 {
        world.begin_connect();
    }
    for _ in 0..50 {
        world.round_of_client();
    }
    for _ in 0..30 {
        world.workers[0].turn(false).unwrap();
    }
    world.settle();
    let opened = world.log().iter().filter(|s| matches!(s, Seen::Open(_))).count();
    let stats = world.all_stats();
    assert_eq!(opened, 8, "{stats:?}");
}
