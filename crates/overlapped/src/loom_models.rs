//! Models of what crosses threads (INV-5): the mailbox and its doorbell, and the counters of placement. Whole
//! workers are modelled in `worker/tests/loom_models.rs`.
//!
//! Each runs the real code through every order of its steps, so each is two or three threads with a step or two.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::{Condvar, Mutex};
use loom::thread;
use proactor::{Wake, Waker};

use crate::admission::{AddressLimit, Delivery, Limits, Placement};
use crate::mailbox::{Mail, Mailbox};
use crate::session::{Asked, HandleState, PostError, RoomLevel, RoomRequest, Sent};
use crate::shared::{Doorbell, Pulses, Queue, Rest, WorkerShared};

/// A worker's sleep, as a kernel gives it: a wake ends the present wait or the next one. A lost one is a deadlock,
/// which fails the model.
#[derive(Default)]
struct Sleep {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Sleep {
    fn wake(&self) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Sleep {
    fn wait(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.changed.wait(woken).unwrap();
        }
        *woken = false;
    }
}

/// For models of three threads: most faults need one or two preemptions, and every order takes minutes.
fn model_of_three(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(model);
}

fn mailbox() -> Arc<Mailbox<u32>> {
    Arc::new(Mailbox::new(0, Arc::default(), 8))
}

fn poster(mailbox: &Arc<Mailbox<u32>>, message: u32) -> thread::JoinHandle<()> {
    let mailbox = Arc::clone(mailbox);
    thread::spawn(move || mailbox.post(Mail::Message(message), true).unwrap())
}

/// Looks and sleeps like a worker, until `count` messages came.
fn take(mailbox: &Mailbox<u32>, sleep: &Sleep, count: usize) {
    let (mut mail, mut taken) = (VecDeque::new(), 0);
    loop {
        if mailbox.shared.doorbell.take() {
            mailbox.mail.take_all(&mut mail);
            taken += mail.drain(..).count();
        }
        if taken == count {
            return;
        }
        sleep.wait();
    }
}

#[test]
fn no_wake_up_is_lost() {
    model_of_three(|| {
        let (mailbox, sleep) = (mailbox(), Arc::new(Sleep::default()));
        mailbox.shared.doorbell.install(Waker::new(Arc::clone(&sleep) as _));
        let posters = [1, 2].map(|message| poster(&mailbox, message));
        take(&mailbox, &sleep, 2);
        posters.into_iter().for_each(|poster| poster.join().unwrap());
    });
}

#[test]
fn what_is_posted_while_the_worker_is_made_is_found() {
    loom::model(|| {
        let (mailbox, sleep) = (mailbox(), Arc::new(Sleep::default()));
        let poster = poster(&mailbox, 1);
        mailbox.shared.doorbell.install(Waker::new(Arc::clone(&sleep) as _));
        take(&mailbox, &sleep, 1);
        poster.join().unwrap();
    });
}

#[test]
fn a_queue_takes_no_more_than_its_limit_and_nothing_once_closed() {
    loom::model(|| {
        let queue = Arc::new(Queue::new(1));
        let pushers = [1, 2].map(|item| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.push(item, true))
        });
        let mut taken = VecDeque::new();
        queue.take_all(&mut taken);
        let left = queue.close();
        assert!(taken.len() <= 1 && left.len() <= 1, "INV-6");
        assert_eq!(queue.push(3, false), Err(PostError::Stopped(3)));
        let answers = pushers.map(|pusher| pusher.join().unwrap());
        let pushed = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(pushed, taken.len() + left.len(), "what was taken in came out");
    });
}

#[test]
fn the_session_limit_holds_and_every_reservation_comes_back() {
    loom::model(|| {
        let all_shared: Vec<Arc<WorkerShared>> = vec![Arc::default(), Arc::default()];
        let placement: Arc<Placement<()>> = Arc::new(Placement::new(&all_shared, 1, None));
        let inside = Arc::new(AtomicUsize::new(0));
        let session = |placement: &Placement<()>, inside: &AtomicUsize| {
            if let Ok(mut seat) = placement.admit(None) {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one is the most");
                seat.place_on(placement.choose(0));
                inside.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let other = {
            let (placement, inside) = (Arc::clone(&placement), Arc::clone(&inside));
            thread::spawn(move || session(&placement, &inside))
        };
        session(&placement, &inside);
        other.join().unwrap();
        assert_eq!(all_shared.iter().map(|shared| shared.placed()).sum::<usize>(), 0);
        let seat = placement.admit(None);
        assert!(seat.is_ok() && placement.admit(None).is_err(), "it is empty again");
    });
}

#[test]
fn the_limit_per_address_holds_and_every_place_comes_back() {
    loom::model(|| {
        let address = IpAddr::from([10, 0, 0, 1]);
        let limits = Arc::new(Limits::new(Vec::new(), 9, Some(AddressLimit::new(1, 64))));
        let inside = Arc::new(AtomicUsize::new(0));
        let session = move |limits: &Arc<Limits>, inside: &AtomicUsize| {
            if let Ok(_seat) = limits.admit(Some(address)) {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one is the most");
                thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let other = {
            let (limits, inside) = (Arc::clone(&limits), Arc::clone(&inside));
            thread::spawn(move || session(&limits, &inside))
        };
        session(&limits, &inside);
        other.join().unwrap();
        assert_eq!(limits.counted(address), (0, 0));
        let seat = limits.admit(Some(address));
        assert!(seat.is_ok() && limits.admit(Some(address)).is_err(), "it is empty again");
    });
}

/// Ticks and sleeps like the monitor until `done`. A wake-up that is lost is a deadlock.
fn monitor(pulses: &mut Pulses, sleep: &Sleep, done: impl Fn() -> bool) {
    while !done() {
        match pulses.tick() {
            Rest::Sleep => sleep.wait(),
            Rest::Tick => thread::yield_now(),
            Rest::End => return,
        }
    }
}

/// Workers that wait in the kernel, and a monitor about to find that.
fn waiting(count: usize) -> (Vec<Arc<WorkerShared>>, Arc<Sleep>, Pulses) {
    let all_shared: Vec<Arc<WorkerShared>> = (0..count).map(|_| Arc::default()).collect();
    let sleep = Arc::new(Sleep::default());
    for shared in &all_shared {
        shared.heartbeat.set_monitor(Waker::new(Arc::clone(&sleep) as _));
        shared.heartbeat.begin_wait();
    }
    let mut pulses = Pulses::new(&all_shared);
    // It sleeps with the next tick that finds nothing changed.
    for _ in 0..4 {
        assert_eq!(pulses.tick(), Rest::Tick);
    }
    (all_shared, sleep, pulses)
}

#[test]
fn a_worker_that_blocks_as_the_monitor_falls_asleep_is_noticed() {
    loom::model(|| {
        let (all_shared, sleep, mut pulses) = waiting(1);
        let worker = {
            let shared = Arc::clone(&all_shared[0]);
            thread::spawn(move || shared.heartbeat.end_wait())
        };
        monitor(&mut pulses, &sleep, || all_shared[0].heartbeat.is_blocked());
        worker.join().unwrap();
    });
}

#[test]
fn a_worker_that_turns_and_then_blocks_is_noticed() {
    model_of_three(|| {
        let (all_shared, sleep, mut pulses) = waiting(1);
        let worker = {
            let shared = Arc::clone(&all_shared[0]);
            thread::spawn(move || {
                shared.heartbeat.end_wait();
                shared.heartbeat.begin_wait();
                shared.heartbeat.end_wait();
            })
        };
        monitor(&mut pulses, &sleep, || all_shared[0].heartbeat.is_blocked());
        worker.join().unwrap();
    });
}

/// It is turning at every time after its own step, whatever the monitor did meanwhile.
#[test]
fn a_worker_that_comes_back_is_not_taken_for_blocked() {
    loom::model(|| {
        let all_shared = [Arc::<WorkerShared>::default()];
        let mut pulses = Pulses::new(&all_shared);
        assert_eq!(pulses.tick(), Rest::Tick);
        let worker = {
            let shared = Arc::clone(&all_shared[0]);
            thread::spawn(move || {
                shared.heartbeat.begin_wait();
                assert!(shared.heartbeat.is_turning());
                shared.heartbeat.end_wait();
                assert!(shared.heartbeat.is_turning());
            })
        };
        for _ in 0..2 {
            pulses.tick();
        }
        worker.join().unwrap();
    });
}

#[test]
fn the_monitor_ends_after_the_last_worker() {
    loom::model(|| {
        let (all_shared, sleep, mut pulses) = waiting(1);
        let worker = {
            let shared = Arc::clone(&all_shared[0]);
            thread::spawn(move || {
                shared.heartbeat.end_wait();
                shared.heartbeat.end();
                shared.heartbeat.wake_monitor();
            })
        };
        monitor(&mut pulses, &sleep, || false);
        worker.join().unwrap();
    });
}

/// Two arrivals of a worker that was blocked: each is taken once, by it or by the other, and counted where it is.
#[test]
fn an_arrival_that_is_taken_back_is_taken_once() {
    loom::model(|| {
        let all_shared: Vec<Arc<WorkerShared>> = vec![Arc::default(), Arc::default()];
        let mut pulses = Pulses::new(&all_shared);
        for _ in 0..3 {
            pulses.tick();
        }
        all_shared[1].heartbeat.begin_wait();
        let placement: Arc<Placement<u32>> = Arc::new(Placement::new(&all_shared, 2, None));
        for socket in [1, 2] {
            let mut seat = placement.admit(None).unwrap();
            seat.place_on(0);
            assert!(placement.send(0, socket, seat).is_ok());
        }
        let back = {
            let (shared, placement) = (Arc::clone(&all_shared[0]), Arc::clone(&placement));
            thread::spawn(move || {
                shared.heartbeat.begin_wait();
                shared.heartbeat.end_wait();
                std::iter::from_fn(|| placement.arrivals(0).queue.pop()).collect::<Vec<_>>()
            })
        };
        assert!(placement.take_back().is_empty());
        let here = back.join().unwrap();
        let there: Vec<_> = std::iter::from_fn(|| placement.arrivals(1).queue.pop()).collect();
        assert_eq!(here.len() + there.len(), 2);
        let placed = [0, 1].map(|worker: usize| all_shared[worker].placed());
        assert_eq!(placed, [here.len(), there.len()]);
        assert!(placement.admit(None).is_err(), "both are counted");
    });
}

/// The worker that is to take an arrival over ends meanwhile: it is counted out, or the blocked one has it again.
#[test]
fn an_arrival_that_nobody_can_take_over_is_not_lost() {
    loom::model(|| {
        let all_shared: Vec<Arc<WorkerShared>> = vec![Arc::default(), Arc::default()];
        let mut pulses = Pulses::new(&all_shared);
        for _ in 0..3 {
            pulses.tick();
        }
        all_shared[1].heartbeat.begin_wait();
        let placement: Arc<Placement<u32>> = Arc::new(Placement::new(&all_shared, 1, None));
        let mut seat = placement.admit(None).unwrap();
        seat.place_on(0);
        assert!(placement.send(0, 1, seat).is_ok());
        let other = {
            let (shared, placement) = (Arc::clone(&all_shared[1]), Arc::clone(&placement));
            thread::spawn(move || {
                shared.heartbeat.end();
                let left = placement.arrivals(1).queue.close();
                for delivery in left {
                    assert!(matches!(delivery, Delivery::Placed(1, _)));
                }
            })
        };
        assert!(placement.take_back().is_empty());
        other.join().unwrap();
        let kept = placement.arrivals(0).queue.len();
        let placed = [0, 1].map(|worker: usize| all_shared[worker].placed());
        assert_eq!(placed, [kept, 0]);
        assert_eq!(placement.admit(None).is_ok(), kept == 0, "counted out exactly if it is gone");
    });
}

const HIGH_WATER: usize = 8;

/// A worker with one session, which is full, and what its handles share with it.
struct FullSession {
    handle: Arc<HandleState>,
    requests: Queue<RoomRequest>,
    doorbell: Doorbell,
    sleep: Arc<Sleep>,
    waiting: AtomicUsize,
}

impl FullSession {
    fn new(waiting: usize) -> Arc<FullSession> {
        let full = FullSession {
            handle: Arc::new(HandleState::new()),
            requests: Queue::new(1),
            doorbell: Doorbell::default(),
            sleep: Arc::default(),
            waiting: AtomicUsize::new(waiting),
        };
        full.handle.attach(10, false, false);
        full.doorbell.install(Waker::new(Arc::clone(&full.sleep) as _));
        Arc::new(full)
    }

    /// A thread that waits for room.
    fn waiter(self: &Arc<Self>, level: RoomLevel) -> thread::JoinHandle<Sent> {
        let full = Arc::clone(self);
        thread::spawn(move || {
            let has_room = || level.has_room(full.handle.counts().1, HIGH_WATER);
            let ask = |request| {
                full.requests.push(request, false).map_err(|error| error.map(drop))?;
                full.doorbell.ring();
                Ok(())
            };
            let sent = full.handle.wait_for_room(level, HIGH_WATER, has_room, ask, None);
            // The worker sleeps until nobody waits.
            full.waiting.fetch_sub(1, Ordering::SeqCst);
            full.sleep.wake();
            sent
        })
    }

    /// Keeps and answers requests like a worker, with `charge` queued, until nobody waits.
    fn serve(&self, asked: &mut Asked, charge: usize, takes_sends: bool) {
        let mut requests = VecDeque::new();
        loop {
            if self.doorbell.take() {
                self.requests.take_all(&mut requests);
                requests.drain(..).for_each(|request| asked.keep(request));
                asked.answer(charge, takes_sends);
            }
            if self.waiting.load(Ordering::SeqCst) == 0 {
                return;
            }
            self.sleep.wait();
        }
    }
}

#[test]
fn who_waits_for_room_is_woken_when_there_is_some() {
    loom::model(|| {
        let full = FullSession::new(1);
        let waiter = full.waiter(RoomLevel::Writable);
        full.handle.set_queued(HIGH_WATER - 1);
        full.serve(&mut Asked::default(), HIGH_WATER - 1, true);
        assert_eq!(waiter.join().unwrap(), Sent::Ok);
    });
}

#[test]
fn each_of_two_who_wait_is_woken() {
    let mut builder = loom::model::Builder::new();
    // Each of them has more steps than a post.
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let full = FullSession::new(2);
        let waiters = [RoomLevel::Writable, RoomLevel::Writable].map(|level| full.waiter(level));
        full.handle.set_queued(0);
        full.serve(&mut Asked::default(), 0, true);
        assert_eq!(waiters.map(|waiter| waiter.join().unwrap()), [Sent::Ok; 2]);
    });
}

#[test]
fn who_waits_for_room_is_woken_when_the_session_closes() {
    loom::model(|| {
        let full = FullSession::new(1);
        let waiter = full.waiter(RoomLevel::Empty);
        full.handle.close(true);
        full.serve(&mut Asked::default(), 10, false);
        assert_eq!(waiter.join().unwrap(), Sent::Closed);
    });
}

/// What is posted is dropped with the queue, and nothing is posted any more.
#[test]
fn who_waits_for_room_is_woken_when_the_worker_ends() {
    loom::model(|| {
        let full = FullSession::new(1);
        let waiter = full.waiter(RoomLevel::Writable);
        drop(full.requests.close());
        assert_eq!(waiter.join().unwrap(), Sent::Closed);
    });
}
