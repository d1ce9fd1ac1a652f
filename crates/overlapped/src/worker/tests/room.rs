//! Threads that wait for room in a session.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use overlapped_testing::eventually;
use proactor::ConnectionKey;
use proactor::backend::simulated::Behaviour;

use super::fixture::{Fixture, Probe, Seen, What};
use crate::config::Config;
use crate::session::{Pending, Sent, SessionHandle};

/// A kernel that takes little: what is queued stays until the peer reads.
const TIGHT: Behaviour = Behaviour { seed: 1, capacity: 100, cuts: false, multishot: true, inline: false };
const HIGH_WATER: usize = 8_000;
const HARD_LIMIT: usize = 20_000;
/// A message at which all sessions finish their streams.
const FINISH: u32 = 1;
/// A message at which all sessions get a high-water mark above what may be queued.
const MORE_ROOM: u32 = 2;

/// A session whose peer does not read, and a handle of it.
struct Scene {
    fixture: Fixture,
    key: ConnectionKey,
    handle: SessionHandle,
}

impl Scene {
    fn new(mailbox: usize) -> Scene {
        let handles: Rc<RefCell<Vec<SessionHandle>>> = Rc::default();
        let kept = Rc::clone(&handles);
        let probe = Probe::new(move |session, what| {
            if let What::Open = what {
                kept.borrow_mut().push(session.handle());
            }
        });
        let probe = probe.on_worker(|worker, seen| {
            for id in worker.sessions() {
                let (mut session, _) = worker.session(id).expect("it is open");
                match seen {
                    Seen::Message(FINISH) => session.finish(),
                    Seen::Message(MORE_ROOM) => {
                        let mut limits = session.send_limits();
                        (limits.high_water, limits.hard_limit) = (10 * HARD_LIMIT, 20 * HARD_LIMIT);
                        session.set_send_limits(limits).expect("they are good");
                    }
                    _ => {}
                }
            }
        });
        let config = Config {
            high_water: HIGH_WATER,
            low_water: HIGH_WATER / 2,
            hard_limit: HARD_LIMIT,
            mailbox,
            ..Config::default()
        };
        let mut fixture = Fixture::new(TIGHT, 1, config, probe);
        let key = fixture.connect();
        fixture.client.pause_receive(key);
        fixture.settle();
        let handle = handles.borrow()[0].clone();
        Scene { fixture, key, handle }
    }

    /// The same with a queue that is full.
    fn full() -> Scene {
        let mut scene = Scene::new(1000);
        while scene.handle.send(vec![1; 1000]) == Sent::Ok {
            scene.fixture.settle();
        }
        assert!(!scene.handle.is_writable());
        scene
    }

    /// A thread that waits: its request is in the mailbox.
    fn waiter(&self, wait: impl FnOnce(&SessionHandle) -> Sent + Send + 'static) -> JoinHandle<Sent> {
        let (handle, mail) = (self.handle.clone(), &self.fixture.mailboxes[0].mail);
        let before = mail.len();
        let thread = thread::spawn(move || wait(&handle));
        eventually("a request", || mail.len() > before);
        thread
    }

    /// What the thread finds while the worker and the client turn.
    fn until_over(&mut self, thread: JoinHandle<Sent>) -> Sent {
        eventually("the end of the wait", || {
            self.fixture.round();
            thread.is_finished()
        });
        thread.join().unwrap()
    }
}

fn wait_writable(handle: &SessionHandle) -> Sent {
    handle.wait_writable(Duration::MAX).expect("this thread is no worker")
}

#[test]
fn a_thread_waits_until_the_peer_has_read_enough() {
    let mut scene = Scene::full();
    let threads = [
        scene.waiter(wait_writable),
        thread::spawn({
            let handle = scene.handle.clone();
            move || wait_writable(&handle)
        }),
    ];
    scene.fixture.settle();
    assert!(threads.iter().all(|thread| !thread.is_finished()), "there is no room");
    scene.fixture.client.receive(scene.key);
    for thread in threads {
        assert_eq!(scene.until_over(thread), Sent::Ok);
    }
    scene.fixture.settle();
    assert!(scene.handle.is_writable());
    assert_eq!(scene.handle.wait_writable(Duration::ZERO).unwrap(), Sent::Ok, "at once");
}

#[test]
fn a_send_waits_for_its_room() {
    for len in [10, HIGH_WATER, HARD_LIMIT] {
        let mut scene = Scene::full();
        let queued = scene.fixture.workers[0].core.sessions.iter().map(|(_, state)| state.queue.bytes());
        let queued = queued.sum::<usize>() + scene.fixture.all_stats().bytes_sent as usize;
        let payload = vec![2; len];
        let thread = scene.waiter(move |handle| handle.send_timeout(payload, Duration::MAX).unwrap());
        scene.fixture.settle();
        assert!(!thread.is_finished(), "{len}");
        scene.fixture.client.receive(scene.key);
        assert_eq!(scene.until_over(thread), Sent::Ok, "{len}");
        scene.fixture.settle();
        assert_eq!(scene.fixture.got(scene.key).len(), queued + len, "{len}");
    }
}

#[test]
fn what_never_fits_is_not_waited_for() {
    let scene = Scene::new(1000);
    let sent = scene.handle.send_timeout(vec![0; HARD_LIMIT + 1], Duration::MAX).unwrap();
    assert_eq!(sent, Sent::Full);
    assert_eq!(scene.fixture.mailboxes[0].mail.len(), 0);
}

/// However often a thread gives up, one request of it is on its way (INV-6).
#[test]
fn a_thread_gives_up_in_time_and_leaves_little() {
    let mut scene = Scene::full();
    for _ in 0..100 {
        assert_eq!(scene.handle.wait_writable(Duration::from_micros(10)).unwrap(), Sent::Full);
        assert_eq!(scene.handle.send_timeout(vec![0; 9000], Duration::ZERO).unwrap(), Sent::Full);
        assert!(scene.fixture.mailboxes[0].mail.len() <= 2);
    }
    scene.fixture.settle();
    // The request of those who gave up serves the next one.
    assert_eq!(scene.handle.wait_writable(Duration::from_micros(10)).unwrap(), Sent::Full);
    assert_eq!(scene.fixture.mailboxes[0].mail.len(), 0);
    scene.fixture.client.receive(scene.key);
    scene.fixture.settle();
    assert_eq!(scene.handle.wait_writable(Duration::MAX).unwrap(), Sent::Ok);
}

/// A full mailbox is no room either.
#[test]
fn a_thread_waits_for_room_in_the_mailbox() {
    let mut scene = Scene::new(2);
    for _ in 0..2 {
        scene.fixture.handles[0].post(0).unwrap();
    }
    assert!(!scene.handle.is_writable());
    assert_eq!(scene.handle.send("x"), Sent::Full);
    let threads = [
        scene.waiter(|handle| handle.send_timeout("hello", Duration::MAX).unwrap()),
        thread::spawn({
            let handle = scene.handle.clone();
            move || wait_writable(&handle)
        }),
    ];
    for thread in threads {
        assert_eq!(scene.until_over(thread), Sent::Ok);
    }
    scene.fixture.client.receive(scene.key);
    scene.fixture.settle();
    assert_eq!(scene.fixture.got(scene.key), b"hello");
}

#[test]
fn a_wait_ends_with_its_session() {
    type End = fn(&mut Scene);
    let ends: [(&str, End); 5] = [
        ("close", |scene| scene.handle.close().unwrap()),
        ("abort", |scene| scene.handle.abort().unwrap()),
        ("finish", |scene| {
            scene.fixture.handles[0].post(FINISH).unwrap();
        }),
        ("reset by the peer", |scene| {
            let key = scene.key;
            scene.fixture.client.abort(key);
        }),
        ("end of the worker", |scene| scene.fixture.workers.clear()),
    ];
    for (name, end) in ends {
        for kept in [true, false] {
            let mut scene = Scene::full();
            let thread = scene.waiter(wait_writable);
            if kept {
                // The session has the request; else it is still in the mailbox.
                scene.fixture.settle();
            }
            end(&mut scene);
            assert_eq!(scene.until_over(thread), Sent::Closed, "{name}");
            assert_eq!(scene.handle.wait_writable(Duration::MAX).unwrap(), Sent::Closed, "{name}");
        }
    }
}

/// A handle keeps the marks of the time when it was made: the worker answers by these, or it would be asked again and
/// again while the session's own, higher mark leaves room.
#[test]
fn a_thread_waits_for_the_room_that_its_handle_means() {
    let mut scene = Scene::full();
    scene.fixture.handles[0].post(MORE_ROOM).unwrap();
    scene.fixture.settle();
    let thread = scene.waiter(wait_writable);
    for _ in 0..100 {
        scene.fixture.settle();
        assert_eq!(scene.fixture.mailboxes[0].mail.len(), 0, "asked once");
        thread::yield_now();
    }
    let states = scene.fixture.workers[0].core.sessions.iter();
    assert!(states.map(|(_, state)| state).all(|state| state.pending.has(Pending::ASKED)), "not answered");
    assert!(!thread.is_finished());
    scene.fixture.client.receive(scene.key);
    assert_eq!(scene.until_over(thread), Sent::Ok);
}
