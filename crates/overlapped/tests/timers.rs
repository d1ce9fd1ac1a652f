//! Timers and ticks on the real backends. What is asserted holds on a loaded machine too: a callback may come late there,
//! but neither early nor out of step.

mod common;

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use overlapped::{Choice, Error, Handler, Lease, Server, Session, Time, WorkerContext};
use overlapped_testing::{PATIENCE, dial};

use common::backends;

/// Blocks its worker, sets timers, and reports how long they took.
struct Slow {
    fired: Sender<(u64, Duration)>,
}

const BLOCKED: Duration = Duration::from_millis(80);
const AFTER: Duration = Duration::from_millis(100);

impl Handler for Slow {
    type State = Option<Instant>;
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Option<Instant> {
        None
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, since: &mut Option<Instant>, _data: Lease) {
        thread::sleep(BLOCKED);
        *since = Some(Instant::now());
        session.set_timer(AFTER, 1);
        session.set_timer(Duration::from_millis(1), 2);
        session.set_timer(AFTER, 2);
        session.set_timer(Duration::from_millis(1), 3);
        assert!(session.cancel_timer(3));
    }

    fn on_timer(&mut self, _session: &mut Session<'_, Self::State>, since: &mut Option<Instant>, token: u64) {
        let _ = self.fired.send((token, since.expect("it was set").elapsed()));
    }
}

#[test]
fn timers_count_from_the_call_and_are_replaced_and_cancelled() {
    for choice in backends() {
        let (fired, heard) = channel();
        let server = Server::bind("127.0.0.1:0").unwrap().workers(1).backend(choice);
        let server = server.start(move |_| Slow { fired: fired.clone() }).unwrap();
        let mut client = dial(server.local_addr());
        client.write_all(b"x").unwrap();
        let mut tokens: Vec<u64> = (0..2)
            .map(|_| {
                let (token, took) = heard.recv_timeout(PATIENCE).expect("it fires");
                assert!(took >= AFTER, "{choice:?}: timer {token} fired after {took:?}");
                token
            })
            .collect();
        tokens.sort_unstable();
        assert_eq!(tokens, [1, 2], "{choice:?}");
        drop(client);
        server.drain(PATIENCE).unwrap();
        assert!(heard.try_recv().is_err(), "{choice:?}: each fires once, and the cancelled one does not");
    }
}

/// Reports the time of each tick.
struct Ticking {
    ticks: Sender<Instant>,
}

impl Handler for Ticking {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) {}

    fn on_data(&mut self, _session: &mut Session<'_, Self::State>, _state: &mut (), _data: Lease) {}

    fn on_tick(&mut self, _worker: &mut WorkerContext<'_, Self::State>) {
        let _ = self.ticks.send(Instant::now());
    }
}

/// The moments of the first `count` ticks, and how many ticks were skipped.
fn moments(choice: Choice, every: Duration, count: usize) -> (Vec<Instant>, u64) {
    let (ticks, heard): (_, Receiver<Instant>) = channel();
    let server = Server::bind("127.0.0.1:0").unwrap().workers(1).backend(choice).tick(Some(every));
    let server = server.start(move |_| Ticking { ticks: ticks.clone() }).unwrap();
    let moments = (0..count).map(|_| heard.recv_timeout(PATIENCE).expect("it ticks")).collect();
    server.drain(PATIENCE).unwrap();
    (moments, server.stats().ticks_skipped)
}

/// At some time in the second half the ticks are less than ten behind: one that is called late delays no later one, so
/// only a worker that is held up at every single tick could miss that.
#[test]
fn ticks_do_not_fall_behind() {
    for choice in backends() {
        for every in [Duration::from_millis(4), Duration::from_micros(6_667)] {
            const COUNT: usize = 120;
            let (moments, skipped) = moments(choice, every, COUNT);
            let behind = |serial: usize| {
                let due = every * (serial as u32 + skipped as u32);
                (moments[serial] - moments[0]).saturating_sub(due)
            };
            let least = (COUNT / 2..COUNT).map(behind).min().expect("there are some");
            assert!(least < every * 10, "{choice:?}, {every:?}: {least:?} behind, {skipped} skipped");
        }
    }
}

#[test]
fn a_tick_of_no_time_is_refused() {
    let server = Server::bind("127.0.0.1:0").unwrap().tick(Some(Duration::ZERO));
    let (ticks, _heard) = channel();
    match server.start(move |_| Ticking { ticks: ticks.clone() }) {
        Err(error @ Error::Config { .. }) => assert!(error.to_string().contains("period of 0"), "{error}"),
        other => panic!("{other:?}"),
    }
}

/// Calls for which a precise timer is set, one after the other.
const CALLS: usize = 300;

/// Sets its precise timer [`CALLS`] times, each `every` after the one before, and reports how late it was.
struct Precise {
    every: Duration,
    due: Time,
    late: Vec<Duration>,
    done: Sender<Vec<Duration>>,
}

impl Handler for Precise {
    type State = ();
    type Message = ();

    fn on_start(&mut self, worker: &mut WorkerContext<'_>) {
        // This one is moved, and then cancelled.
        worker.set_precise_timer(Time::ZERO);
        worker.set_precise_timer(worker.now());
        worker.set_precise_timer(None);
        worker.set_timer(Duration::from_millis(8), 1);
    }

    fn on_worker_timer(&mut self, worker: &mut WorkerContext<'_>, _token: u64) {
        assert!(self.late.is_empty(), "it was cancelled");
        self.due = worker.now() + self.every;
        worker.set_precise_timer(self.due);
    }

    fn on_open(&mut self, _session: &mut Session<'_>) {}

    fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) {
        session.send(data);
    }

    fn on_precise_timer(&mut self, worker: &mut WorkerContext<'_>) {
        let (now, turn) = (worker.now(), worker.turn_time());
        assert!(self.due <= turn && turn <= now, "early: {:?}, {turn:?}, {now:?}", self.due);
        self.late.push(now - self.due);
        if self.late.len() == CALLS {
            let _ = self.done.send(std::mem::take(&mut self.late));
            // Drained with one that is far away.
            self.due = now + PATIENCE * 100;
        } else {
            // Not behind the last one: a machine that stops once would make all that follow late.
            self.due = now + self.every;
        }
        worker.set_precise_timer(self.due);
    }
}

/// Never early; and once at least not as late as the waits of the backend alone would be. Meanwhile sessions are served,
/// also if the worker never sleeps.
#[test]
fn a_precise_timer_is_never_early_and_starves_nobody() {
    for choice in backends() {
        for every in [10, 300, 3_100].map(Duration::from_micros) {
            let (done, heard) = channel();
            let precise = move |_| Precise { every, due: Time::ZERO, late: Vec::new(), done: done.clone() };
            let server = Server::bind("127.0.0.1:0").unwrap().workers(1).backend(choice);
            let server = server.start(precise).unwrap();
            let mut client = dial(server.local_addr());
            for byte in 0..100 {
                client.write_all(&[byte]).unwrap();
                let mut echo = [0];
                client.read_exact(&mut echo).unwrap();
                assert_eq!(echo, [byte], "{choice:?}, {every:?}");
            }
            let late = heard.recv_timeout(PATIENCE).expect("it is called");
            let least = late.into_iter().min().expect("it was called");
            // Waits of epoll are rounded up to 1 ms, those of a completion port to about 16 ms.
            let rounding = Duration::from_millis(if cfg!(windows) { 16 } else { 1 });
            assert!(least < rounding / 2, "{choice:?}, {every:?}: {least:?} late");
            drop(client);
            server.drain(PATIENCE).unwrap();
            assert_eq!(server.stats().panics, 0, "{choice:?}, {every:?}");
        }
    }
}
