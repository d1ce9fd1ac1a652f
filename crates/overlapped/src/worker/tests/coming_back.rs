//! [`Reconnect`]: connections that are made again, with back-off.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;

use proactor::backend::simulated::Behaviour;

use super::clients::{OUTSIDE, SECOND, SILENT, TICK, answers, assert_answered};
use super::fixture::{Fixture, Probe, Seen, What, behaviours};
use crate::config::Config;
use crate::connect::Connect;
use crate::reconnect::Reconnect;
use crate::{Backoff, SessionId};

/// A handler with one `Reconnect` for each token.
fn reconnecting(
    behaviour: Behaviour,
    mut targets: Vec<Reconnect>,
    config: Config,
) -> (Fixture, Rc<RefCell<Vec<Reconnect>>>) {
    targets.iter_mut().for_each(|target| *target = target.clone().stable_after(SECOND * 5));
    let targets = Rc::new(RefCell::new(targets));
    let (start, open, lost) = (Rc::clone(&targets), Rc::clone(&targets), Rc::clone(&targets));
    let tokens: Rc<RefCell<std::collections::HashMap<SessionId, usize>>> = Rc::default();
    let note = Rc::clone(&tokens);
    let probe = Probe::new(move |session, what| {
        if let (What::Open, Some(token)) = (what, session.token()) {
            open.borrow_mut()[token as usize].opened(session);
            note.borrow_mut().insert(session.id(), token as usize);
        }
    });
    let probe =
        probe.on_start(move |worker| start.borrow_mut().iter_mut().for_each(|target| target.start(worker)));
    let probe = probe.on_worker(move |worker, seen| {
        let token = match seen {
            Seen::ConnectFailed(token, _) => token as usize,
            Seen::Close(id, _) => tokens.borrow_mut().remove(&id).expect("a session of ours"),
            Seen::Message(8) => return lost.borrow_mut().iter_mut().for_each(|target| target.stop(worker)),
            Seen::Message(9) => return lost.borrow_mut().iter_mut().for_each(|target| target.start(worker)),
            _ => return,
        };
        lost.borrow_mut()[token].lost(worker);
    });
    (Fixture::new(behaviour, 1, config, probe), targets)
}

/// The delays grow while nobody listens, and begin again after a connection that lived long enough.
#[test]
fn reconnecting_backs_off_and_begins_again() {
    for behaviour in behaviours() {
        let backoff = Backoff::new(1).first(SECOND).most(4 * SECOND).jitter(0.0);
        let (mut fixture, targets) =
            reconnecting(behaviour, vec![Reconnect::new(OUTSIDE, 0).backoff(backoff)], Config::default());
        fixture.settle();
        let failed = |fixture: &Fixture| fixture.all_stats().connects_failed;
        for (round, delay) in [1, 2, 4, 4].into_iter().enumerate() {
            assert_eq!(failed(&fixture), round as u64 + 1, "{behaviour:?}");
            fixture.pass(delay * SECOND - TICK);
            assert_eq!(failed(&fixture), round as u64 + 1, "never earlier: {behaviour:?}");
            fixture.pass(2 * TICK);
        }
        fixture.listen_outside();
        fixture.pass(4 * SECOND + TICK);
        assert!(targets.borrow()[0].is_open(), "{behaviour:?}");
        for (lives, delay) in [(SECOND, 4), (5 * SECOND, 1)] {
            fixture.pass(lives);
            let upstream =
                *fixture.peers.iter().find(|(_, peer)| peer.end == super::fixture::End::Open).unwrap().0;
            fixture.client.abort(upstream);
            fixture.peers.remove(&upstream);
            fixture.settle();
            assert!(!targets.borrow()[0].is_open());
            fixture.pass(delay * SECOND - TICK);
            assert!(!targets.borrow()[0].is_open(), "never earlier: {behaviour:?}");
            fixture.pass(2 * TICK);
            assert!(targets.borrow()[0].is_open(), "after {delay} s: {behaviour:?}");
        }
        assert_answered(&mut fixture);
        assert_eq!(fixture.workers[0].core.timers.len(), 0, "a drain ends it");
    }
}

/// Many clients lose their server together. They come back, at different moments, and nothing grows.
#[test]
fn many_that_reconnect_do_not_come_back_together() {
    const CLIENTS: usize = 2_000;
    let target = |token| Reconnect::new(OUTSIDE, token).backoff(Backoff::new(token));
    let (mut fixture, targets) =
        reconnecting(Behaviour::default(), (0..CLIENTS as u64).map(target).collect(), Config::default());
    let open =
        |targets: &RefCell<Vec<Reconnect>>| targets.borrow().iter().filter(|target| target.is_open()).count();
    fixture.settle();
    assert_eq!(fixture.all_stats().connects_failed, CLIENTS as u64);
    fixture.listen_outside();
    // The first delays are 125 to 250 ms.
    let mut begun = Vec::new();
    for _ in 0..65 {
        fixture.pass(TICK);
        begun.push(open(&targets));
    }
    assert_eq!(begun[29], 0, "none before 125 ms: {begun:?}");
    assert_eq!(begun[64], CLIENTS, "all by 260 ms");
    let most = begun.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(most < Some(CLIENTS / 8), "at most an eighth within 4 ms: {begun:?}");
    let timers = fixture.workers[0].core.timers.capacity();
    for _ in 0..3 {
        let peers: Vec<_> = std::mem::take(&mut fixture.peers).into_keys().collect();
        peers.into_iter().for_each(|key| fixture.client.abort(key));
        fixture.settle();
        assert_eq!(open(&targets), 0);
        fixture.pass(SECOND * 30);
        assert_eq!(open(&targets), CLIENTS);
    }
    assert_eq!(fixture.workers[0].core.timers.capacity(), timers, "INV-6");
    assert_answered(&mut fixture);
}

/// Whatever it is stopped in; a start right after that makes one connection.
#[test]
fn who_stops_reconnecting_is_answered_and_may_start_again() {
    for behaviour in behaviours() {
        for again in [false, true] {
            let connects = [Connect::to(SILENT), Connect::to(OUTSIDE).after(SECOND), Connect::to("name:1")];
            let all = connects.into_iter().zip(0..).map(|(connect, token)| Reconnect::new(connect, token));
            let (mut fixture, targets) = reconnecting(behaviour, all.collect(), Config::default());
            fixture.listen_outside();
            fixture.simulation.silence(SILENT);
            fixture.settle();
            fixture.handles[0].post(8).unwrap();
            if again {
                fixture.handles[0].post(9).unwrap();
            }
            fixture.settle();
            assert_eq!(answers(&fixture).0, [ErrorKind::Interrupted; 3], "{behaviour:?}");
            fixture.simulation.end_silence(SILENT);
            fixture.simulation.listen(SILENT).unwrap();
            while fixture.names.asked() > 0 {
                fixture.names.answer(Ok(vec![OUTSIDE]));
            }
            fixture.pass(SECOND + TICK);
            assert_eq!(
                answers(&fixture),
                (vec![ErrorKind::Interrupted; 3], if again { 3 } else { 0 }),
                "{behaviour:?}"
            );
            assert!(targets.borrow().iter().all(|target| target.is_open() == again), "{behaviour:?}");
            fixture.pass(SECOND * 60);
            assert_eq!(answers(&fixture).1, if again { 3 } else { 0 });
        }
    }
}
