//! Models of whole workers and what reaches them from other threads (INV-5): real workers over the simulated kernel,
//! in every order of their steps. `crate::loom_models` has those of the parts.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use loom::thread;
use proactor::backend::Wait;
use proactor::backend::simulated::{Behaviour, Simulated};
use proactor::{PoolConfig, Time};

use super::fixture::{Fixture, Probe, Seen, What};
use crate::config::Config;
use crate::mailbox::Mail;
use crate::session::PostError;
use crate::session::{Owed, Sent, SessionHandle};
use crate::worker::Worker;

/// A kernel without surprises: what varies here is the order of threads.
const CALM: Behaviour =
    Behaviour { seed: 1, capacity: 64 * 1024, cuts: false, multishot: true, inline: false };

fn model(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // A turn has many steps that concern no other thread; most faults need one or two preemptions.
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(model);
}

fn config() -> Config {
    let pool = PoolConfig { blocks: 4, block_len: 8 };
    Config { pool, high_water: 8, low_water: 4, hard_limit: 10, ..Config::default() }
}

fn fixture(behaviour: Behaviour, workers: usize, config: Config, probe: Probe) -> Fixture {
    let fixture = Fixture::new(behaviour, workers, config, probe);
    // Away from zero, which tells turns without an event.
    fixture.simulation.advance(Duration::from_millis(1));
    fixture
}

/// One round. Returns whether something ended its wait: if not, a real kernel would still have it sleep.
fn turn(worker: &mut Worker<Simulated, Probe>) -> bool {
    worker.busy_at = Time::ZERO;
    worker.turn(true).expect("the simulated kernel does not break");
    worker.busy_at != Time::ZERO
}

/// Up to two rounds while others do what they do: what the first misses, the second must not.
fn two_turns(worker: &mut Worker<Simulated, Probe>) -> bool {
    turn(worker) && turn(worker)
}

/// Goes on, others being through, until the worker sleeps and nothing would end it.
fn settle(worker: &mut Worker<Simulated, Probe>, mut awake: bool) {
    loop {
        if !awake {
            if !worker.driver.backend().is_woken() {
                return;
            }
            // Its wait ends: the rest of the round.
            worker.driver.turn(Wait::Poll).expect("the simulated kernel does not break");
            worker.take_events();
        }
        awake = turn(worker);
    }
}

/// A fixture with one session, and a handle of it.
fn with_session(behaviour: Behaviour) -> (Fixture, SessionHandle) {
    let handles = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&handles);
    let probe = Probe::new(move |session, what| {
        if let What::Open = what {
            kept.borrow_mut().push(session.handle());
        }
    });
    let mut fixture = fixture(behaviour, 1, config(), probe);
    fixture.connect();
    let handle = handles.borrow()[0].clone();
    (fixture, handle)
}

fn send_elsewhere(handle: &SessionHandle) -> thread::JoinHandle<Sent> {
    let handle = handle.clone();
    thread::spawn(move || handle.send(vec![1; 10]))
}

#[test]
fn a_worker_does_not_sleep_over_a_message() {
    model(|| {
        let mut fixture = fixture(CALM, 1, config(), Probe::echo());
        fixture.settle();
        let posters = [1, 2].map(|message| {
            let handle = fixture.handles[0].clone();
            thread::spawn(move || handle.post(message).unwrap())
        });
        let awake = two_turns(&mut fixture.workers[0]);
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        settle(&mut fixture.workers[0], awake);
        assert_eq!(fixture.log().len(), 2, "both are heard");
    });
}

#[test]
fn handles_never_queue_more_than_the_hard_limit() {
    model(|| {
        // A peer that takes a byte and no more: what is queued stays.
        let (mut fixture, handle) = with_session(Behaviour { capacity: 1, ..CALM });
        let senders = [(); 2].map(|()| send_elsewhere(&handle));
        let awake = turn(&mut fixture.workers[0]);
        let answers = senders.map(|sender| sender.join().unwrap());
        settle(&mut fixture.workers[0], awake);
        assert!(matches!(answers, [Sent::Ok, Sent::Full] | [Sent::Full, Sent::Ok]), "INV-6: {answers:?}");
        fixture.workers[0].publish();
        let stats = fixture.all_stats();
        assert_eq!((stats.sessions, stats.sessions_overflowed, stats.posts_refused), (1, 0, 0), "INV-6");
        assert_eq!(handle.state.counts(), (0, 10));
    });
}

#[test]
fn what_handles_queued_is_counted_out_when_it_is_sent() {
    model(|| {
        let (mut fixture, handle) = with_session(CALM);
        let sender = send_elsewhere(&handle);
        turn(&mut fixture.workers[0]);
        assert_eq!(sender.join().unwrap(), Sent::Ok);
        for _ in 0..3 {
            turn(&mut fixture.workers[0]);
        }
        assert_eq!(handle.send(vec![1; 10]), Sent::Ok, "there is room again for all of the limit");
    });
}

#[test]
fn a_send_to_a_session_that_closes_is_answered_or_counted() {
    model(|| {
        let (mut fixture, handle) = with_session(CALM);
        handle.abort().unwrap();
        let sender = {
            let handle = handle.clone();
            thread::spawn(move || {
                let closed = handle.is_closed();
                let sent = handle.send(vec![1; 10]);
                assert!(!closed || sent == Sent::Closed);
                sent
            })
        };
        let awake = turn(&mut fixture.workers[0]);
        let sent = sender.join().unwrap();
        settle(&mut fixture.workers[0], awake);
        fixture.workers[0].publish();
        assert_eq!(fixture.all_stats().posts_refused, u64::from(sent == Sent::Ok));
        assert_eq!(handle.send("late"), Sent::Closed);
    });
}

#[test]
fn a_message_is_heard_or_answered_with_stopped() {
    model(|| {
        let mut fixture = fixture(CALM, 1, config(), Probe::echo());
        fixture.post(0, Mail::Drain(Duration::ZERO));
        let handle = fixture.handles[0].clone();
        let poster = thread::spawn(move || handle.post(1));
        let drainer = {
            let mailbox = Arc::clone(&fixture.mailboxes[0]);
            thread::spawn(move || mailbox.post(Mail::Drain(Duration::from_secs(1)), false))
        };
        let mut worker = fixture.workers.remove(0);
        worker.run().expect("the simulated kernel does not break");
        drop(worker);
        let answer = poster.join().unwrap();
        let heard = fixture.log().contains(&Seen::Message(1));
        assert_eq!(answer, if heard { Ok(()) } else { Err(PostError::Stopped(1)) });
        assert!(!drainer.join().unwrap().is_err_and(|error| error.is_full()));
        assert_eq!(fixture.handles[0].post(2), Err(PostError::Stopped(2)));
    });
}

/// A fixture with one session that owes an answer, whose worker has begun a drain that it would wait in for an hour.
fn with_owed() -> (Fixture, Owed) {
    let guards = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&guards);
    let probe = Probe::new(move |session, what| {
        if let What::Open = what {
            kept.borrow_mut().push(session.owe());
        }
    });
    let mut fixture = fixture(CALM, 1, config(), probe);
    fixture.connect();
    fixture.post(0, Mail::Drain(Duration::from_secs(3600)));
    let owed = guards.borrow_mut().pop().expect("it was opened");
    (fixture, owed)
}

/// The session was closed, with `sent` bytes before that.
fn assert_drained(fixture: &mut Fixture, sent: u64) {
    let open = fixture.workers[0].core.sessions.iter().filter(|(_, state)| state.is_live()).count();
    assert_eq!(open, 0, "nothing else would wake the worker");
    fixture.workers[0].publish();
    assert_eq!(fixture.all_stats().bytes_sent, sent);
}

/// A drain of a session that owes an answer, while another thread does `act` with the guard: then `sent` bytes are out.
fn drained_while(act: fn(Owed), sent: u64) {
    model(move || {
        let (mut fixture, owed) = with_owed();
        let other = thread::spawn(move || act(owed));
        let awake = turn(&mut fixture.workers[0]);
        other.join().unwrap();
        settle(&mut fixture.workers[0], awake);
        assert_drained(&mut fixture, sent);
    });
}

#[test]
fn an_answer_is_queued_before_the_drain_closes_its_session() {
    drained_while(|owed| assert_eq!(owed.send(vec![1; 4]), Sent::Ok), 4);
}

#[test]
fn a_drain_does_not_sleep_over_the_last_guard() {
    drained_while(drop, 0);
}

/// The worker may see its bytes counted in, and wait for them.
#[test]
fn a_drain_does_not_wait_for_a_send_that_was_refused() {
    model(|| {
        let (mut fixture, owed) = with_owed();
        let handle = owed.handle().clone();
        drop(owed);
        let other = thread::spawn(move || assert_ne!(handle.send(vec![1; 11]), Sent::Ok));
        let awake = turn(&mut fixture.workers[0]);
        other.join().unwrap();
        settle(&mut fixture.workers[0], awake);
        assert_drained(&mut fixture, 0);
    });
}

/// A fixture of two workers: the first has a session, so that the next connection, which waits, is the second's.
fn with_connection_for_the_second() -> Fixture {
    let config = Config { max_sessions: 3, max_per_address: Some(3), ..config() };
    let mut fixture = fixture(CALM, 2, config, Probe::echo());
    fixture.connect();
    fixture.server.client.connect(fixture.server.address).expect("the simulated network has room");
    fixture.client.turn(Wait::Poll).expect("the simulated kernel does not break");
    while fixture.client.next_event().is_some() {}
    fixture
}

#[test]
fn a_worker_does_not_sleep_over_a_connection() {
    model(|| {
        let mut fixture = with_connection_for_the_second();
        let mut second = fixture.workers.remove(1);
        let handle = fixture.handles[1].clone();
        // The doorbell's ring for another post must not hide the arrival's.
        let poster = thread::spawn(move || handle.post(1).unwrap());
        let other = thread::spawn(move || {
            let awake = two_turns(&mut second);
            (second, awake)
        });
        turn(&mut fixture.workers[0]);
        poster.join().unwrap();
        let (mut second, awake) = other.join().unwrap();
        settle(&mut second, awake);
        assert_eq!(fixture.workers[0].core.sessions.len(), 1);
        assert_eq!(second.core.sessions.len(), 1, "it was opened");
        assert!(fixture.log().contains(&Seen::Message(1)), "and the message heard");
    });
}

#[test]
fn a_connection_for_a_worker_that_ends_is_counted_out() {
    model(|| {
        let mut fixture = with_connection_for_the_second();
        let second = fixture.workers.remove(1);
        let other = thread::spawn(move || drop(second));
        turn(&mut fixture.workers[0]);
        other.join().unwrap();
        let Worker { core, placement, .. } = &fixture.workers[0];
        let sessions = core.sessions.len();
        assert!(sessions == 1 || sessions == 2, "the first keeps it, or the second refused it");
        let counted = placement.limits().counted(fixture.address.ip());
        assert_eq!(counted, (sessions, sessions), "what is not a session is counted out");
    });
}
