//! Dummy clients for a stress test: thousands of users in one thread. Each sends a message every period, waits for its
//! echo and checks each byte. Prints one line a second; the exit status is 1 if anything was lost or wrong.
//! `cargo run --release --example dummy_clients -- ADDRESS USERS MESSAGES_PER_SECOND_EACH SECONDS`
use overlapped::{Closed, Connect, Handler, Lease, Server, Session, WorkerContext};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// A server with a backlog of 128 connections may accept nothing for 64 ms.
const CONNECTS_PER_SECOND: u32 = 2_000;
/// A connect or an echo that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Plan {
    target: String,
    users: u32,
    /// Between two messages of one user.
    period: Duration,
    seconds: u64,
}

struct User {
    number: u64,
    phase: Phase,
    sent: u64,
    message: Vec<u8>,
    echoed: usize,
    /// When the last message was due, and from when its round trip counts.
    due: Duration,
    since: Duration,
}

#[derive(PartialEq)]
enum Phase {
    /// Until its timer sends the next message.
    Resting,
    /// For an echo, until its timer gives it up.
    Waiting,
    /// What went wrong with it is counted.
    Over,
}

struct Clients {
    plan: Plan,
    /// Time since the start; a test has its own.
    clock: Box<dyn Fn() -> Duration>,
    /// Lines to print. With the last one: whether everything was right.
    lines: Sender<(String, Option<bool>)>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    seconds: u64,
    connecting: u32,
    connected: u32,
    /// Users that wait for an echo.
    waiting: u32,
    second: Histogram,
    total: Histogram,
    lost: u32,
    wrong: u32,
    failed: u32,
}

impl Clients {
    fn send(&mut self, session: &mut Session<'_, User>, user: &mut User, since: Duration) {
        user.message.clear();
        let _ = writeln!(user.message, "message {} of user {}", user.sent, user.number);
        (user.phase, user.since, user.echoed, user.sent) = (Phase::Waiting, since, 0, user.sent + 1);
        self.counts.waiting += 1;
        session.send_copy(&user.message);
        session.set_timer(PATIENCE, 0);
    }

    /// What follows on this connection would prove nothing.
    fn give_up(&mut self, session: &mut Session<'_, User>, user: &mut User) {
        self.counts.waiting -= u32::from(user.phase == Phase::Waiting);
        user.phase = Phase::Over;
        session.abort();
    }

    fn is_over(&self) -> bool {
        let connects = self.plan.users.div_ceil(CONNECTS_PER_SECOND);
        self.counts.seconds >= u64::from(connects) + self.plan.seconds
    }
}

impl Handler for Clients {
    type State = User;
    type Message = ();

    fn on_start(&mut self, worker: &mut WorkerContext<'_, User>) {
        self.counts.connecting = self.plan.users;
        for user in 0..self.plan.users {
            let after = Duration::from_secs(1) * user / CONNECTS_PER_SECOND;
            let connect = Connect::to(self.plan.target.as_str()).after(after).deadline(PATIENCE);
            worker.connect(connect, user.into());
        }
    }

    fn on_open(&mut self, session: &mut Session<'_, User>) -> User {
        self.counts.connecting -= 1;
        self.counts.connected += 1;
        let number = session.token().expect("all sessions are outbound");
        // By the golden ratio: the first messages of any number of users are spread evenly over a period.
        let wait = self.plan.period.mul_f64(number as f64 * 0.618_034 % 1.0);
        session.set_timer(wait, 0);
        let due = (self.clock)() + wait;
        User { number, phase: Phase::Resting, sent: 0, message: Vec::new(), echoed: 0, due, since: due }
    }

    fn on_timer(&mut self, session: &mut Session<'_, User>, user: &mut User, _token: u64) {
        if user.phase == Phase::Waiting {
            self.counts.lost += 1;
            self.give_up(session, user);
        } else if !self.is_over() {
            let now = (self.clock)();
            self.send(session, user, now);
        }
    }

    fn on_data(&mut self, session: &mut Session<'_, User>, user: &mut User, data: Lease) {
        if !user.message[user.echoed..].starts_with(&data) {
            self.counts.wrong += 1;
            return self.give_up(session, user);
        }
        user.echoed += data.len();
        if user.echoed < user.message.len() {
            return; // TCP may cut a message anywhere
        }
        let now = (self.clock)();
        self.counts.second.add(now.saturating_sub(user.since));
        self.counts.waiting -= 1;
        user.phase = Phase::Resting;
        user.due += self.plan.period;
        if user.due > now {
            session.set_timer(user.due - now, 0);
        } else if !self.is_over() {
            self.send(session, user, user.due); // it is late, so its round trip counts from when it was due
        }
    }

    fn on_connect_failed(&mut self, _: &mut WorkerContext<'_, User>, _user: u64, error: &io::Error) {
        self.counts.connecting -= 1;
        self.counts.failed += 1;
        if self.counts.failed == 1 {
            eprintln!("cannot connect to {}: {error}", self.plan.target);
        }
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_, User>, _: Closed, user: User) {
        let waited = u32::from(user.phase == Phase::Waiting);
        let counts = &mut self.counts;
        counts.connected -= 1;
        counts.waiting -= waited;
        counts.lost += waited;
        counts.failed += u32::from(user.phase != Phase::Over);
    }

    fn on_tick(&mut self, _: &mut WorkerContext<'_, User>) {
        let ended = self.is_over() && self.counts.waiting + self.counts.connecting == 0;
        let Counts { seconds, connected, second, total, lost, wrong, failed, .. } = &mut self.counts;
        *seconds += 1;
        total.append(second);
        let (what, times) = match ended {
            true => (format!("total: {} messages", total.count()), total),
            false => (format!("{seconds} s: {connected} users, {} messages/s", second.count()), &mut *second),
        };
        let line = format!("{what}, {times}, {lost} lost, {wrong} wrong, {failed} connections failed");
        let passed = ended.then_some(*lost + *wrong + *failed == 0);
        let _ = self.lines.send((line, passed)); // nobody listens after the last one
        *second = Histogram::default();
    }
}

/// How many round trips took how long: eight buckets for each doubling, from 1 µs.
struct Histogram([u64; 256]);

impl Histogram {
    fn add(&mut self, time: Duration) {
        let bucket = (time.as_micros().max(1) as f64).log2() * 8.0;
        self.0[(bucket as usize).min(255)] += 1;
    }

    fn append(&mut self, other: &Histogram) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }

    fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Milliseconds that `part` of the round trips took at most.
    fn at(&self, part: f64) -> f64 {
        let mut left = (self.count() as f64 * part).ceil() as u64;
        let is_here = |count: &u64| {
            left = left.saturating_sub(*count);
            left == 0
        };
        let bucket = self.0.iter().position(is_here).unwrap_or(255);
        ((bucket + 1) as f64 / 8.0).exp2() / 1000.0
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([0; 256])
    }
}

impl std::fmt::Display for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "median {:.2} ms, p99 {:.2} ms", self.at(0.5), self.at(0.99))
    }
}

impl Plan {
    /// `None`: the arguments are not what they should be.
    fn of(mut args: impl Iterator<Item = String>) -> Option<Plan> {
        let mut next = |default: &str| args.next().unwrap_or_else(|| default.into());
        let (target, users) = (next("127.0.0.1:9999"), next("1000").parse().ok().filter(|users| *users > 0)?);
        let period = Duration::try_from_secs_f64(1.0 / next("1").parse::<f64>().ok()?).ok()?;
        let seconds = next("10").parse().ok().filter(|seconds| *seconds > 0)?;
        args.next().is_none().then_some(Plan { target, users, period, seconds })
    }
}

fn main() -> overlapped::Result<ExitCode> {
    let Some(plan) = Plan::of(std::env::args().skip(1)) else {
        eprintln!("usage: dummy_clients [ADDRESS [USERS [MESSAGES_PER_SECOND_EACH [SECONDS]]]]");
        return Ok(ExitCode::from(2));
    };
    overlapped::raise_descriptor_limit();

    let (sender, lines) = channel();
    let start = move |_| {
        let (plan, start) = (plan.clone(), Instant::now());
        let clock = Box::new(move || start.elapsed());
        Clients { plan, clock, lines: sender.clone(), counts: Counts::default() }
    };
    let server = Server::without_listeners().workers(1).tick(Duration::from_secs(1)).start(start)?;
    // Printed here: a terminal that stops does not hold the users up.
    for (line, passed) in lines {
        println!("{line}");
        if let Some(passed) = passed {
            server.drain(PATIENCE)?;
            return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::FAILURE) // its worker has ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlapped::testing::{self, Behaviour, Listener, Peer, World};
    use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::mpsc::Receiver};

    /// The granularity of timers.
    const STEP: Duration = Duration::from_millis(4);

    /// Users, and the server that they connect to, which the test plays.
    struct Stage {
        world: World<Clients>,
        now: Rc<Cell<Duration>>,
        lines: Receiver<(String, Option<bool>)>,
        server: Listener,
        peers: Vec<Peer>,
    }

    impl Stage {
        fn new(behaviour: Behaviour, users: u32, period: Duration, seconds: u64) -> Stage {
            let target = SocketAddr::from(([10, 0, 0, 1], 9999));
            let (sender, lines) = channel();
            let now = Rc::new(Cell::new(Duration::ZERO));
            let clients = |_| {
                let plan = Plan { target: target.to_string(), users, period, seconds };
                let (now, lines) = (Rc::clone(&now), sender.clone());
                Clients { plan, clock: Box::new(move || now.get()), lines, counts: Counts::default() }
            };
            let settings = testing::server().tick(Duration::from_secs(1));
            let mut world = World::start_on(behaviour, settings, clients);
            let server = world.listen(target);
            Stage { world, now, lines, server, peers: Vec::new() }
        }

        /// The server answers what comes, as `answer` does, which gets the number of the connection.
        fn run(&mut self, time: Duration, mut answer: impl FnMut(usize, &mut Peer, Duration, &[u8])) {
            let end = self.now.get() + time;
            while self.now.get() < end {
                self.now.set(self.now.get() + STEP);
                self.world.advance(STEP);
                self.peers.extend(std::iter::from_fn(|| self.server.try_accept()));
                for (number, peer) in self.peers.iter_mut().enumerate() {
                    let received = peer.received();
                    if !received.is_empty() {
                        answer(number, peer, self.now.get(), &received);
                    }
                }
                self.world.settle();
            }
        }

        /// The last line, and whether everything was right.
        fn total(&self) -> (String, bool) {
            let (line, passed) = self.lines.try_iter().last().expect("a line a second");
            (line.clone(), passed.unwrap_or_else(|| panic!("it is not over: {line}")))
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn plain() -> Behaviour {
        Behaviour { cuts: false, ..Behaviour::default() }
    }

    #[test]
    fn all_users_keep_their_pace_and_every_echo_is_counted() {
        testing::for_each_behaviour(|behaviour| {
            let mut stage = Stage::new(behaviour, 10, SECOND / 5, 2);
            stage.run(5 * SECOND, |_, peer, _, message| peer.send(message));
            let lines: Vec<_> = stage.lines.try_iter().collect();
            for line in &lines[1..3] {
                let is = |count| line.0.contains(&format!(" s: 10 users, {count} messages/s, "));
                assert!((48..=52).any(is), "{line:?}");
            }
            let (total, passed) = lines.last().expect("a total");
            assert_eq!(*passed, Some(true));
            assert!(total.ends_with(" 0 lost, 0 wrong, 0 connections failed"), "{total}");
            let count = stage.world.handler(0).counts.total.count();
            assert!(
                (140..=150).contains(&count) && total.starts_with(&format!("total: {count} ")),
                "{total}"
            );
        });
    }

    #[test]
    fn first_messages_do_not_come_in_one_burst() {
        let mut stage = Stage::new(plain(), 200, SECOND, 2);
        let mut tenths = [0; 20];
        stage.run(2 * SECOND, |_, peer, now, message| {
            tenths[(now.as_millis() as usize - 1) / 100] += 1;
            peer.send(message);
        });
        // All are connected after a tenth of a second.
        assert!(tenths[3..].iter().all(|count| (17..=23).contains(count)), "{tenths:?}");
    }

    #[test]
    fn connects_are_paced() {
        let mut stage = Stage::new(plain(), 1000, SECOND, 1);
        stage.run(SECOND / 10, |_, _, _, _| {});
        assert!((190..=210).contains(&stage.peers.len()), "{} in a tenth of a second", stage.peers.len());
    }

    /// A server that answers 40 ms late, and then, once, three periods late.
    #[test]
    fn late_answers_are_measured_from_when_their_messages_were_due() {
        let mut stage = Stage::new(plain(), 1, SECOND / 10, 2);
        let (mut asked, mut late) = (None, 40);
        let times = |stage: &Stage| stage.world.handler(0).counts.total.0;
        for step in 0..1500_u32 {
            let mut message = None;
            stage.run(STEP, |_, _, _, bytes| message = Some(bytes.to_vec()));
            asked = asked.or(message.map(|message| (step, message)));
            if asked.as_ref().is_some_and(|(since, _)| (step - since) * 4 >= late) {
                stage.peers[0].send(asked.take().expect("just seen").1);
                late = if step == 250 { 300 } else { 40 };
                stage.world.settle();
            }
            late = if step == 250 { 300 } else { late };
        }
        let (line, passed) = stage.total();
        let median = stage.world.handler(0).counts.total.at(0.5);
        assert!(passed && (40.0..=48.0).contains(&median), "{line}");
        // The one that came late, and those that waited for it: 300, 240, 180, 120 ms.
        let slow: u64 = times(&stage)[132..].iter().sum(); // from 92 ms on
        assert!((4..=5).contains(&slow), "{slow} slow ones: {line}");
    }

    #[test]
    fn a_wrong_byte_a_byte_too_many_and_a_byte_before_the_first_are_found() {
        for fault in 0..3 {
            let mut stage = Stage::new(plain(), 10, SECOND / 5, 2);
            stage.run(SECOND / 20, |_, peer, _, message| peer.send(message));
            if fault == 0 {
                stage.peers[9].send("x"); // its first message is not due yet
            }
            let mut answered = 0;
            stage.run(4 * SECOND, |number, peer, _, message| {
                answered += u32::from(number == 3);
                let mut message = message.to_vec();
                match fault {
                    1 if number == 3 && answered == 4 => message[9] ^= 1,
                    2 if number == 3 && answered == 4 => message.push(b'x'),
                    _ => {}
                }
                peer.send(message);
            });
            let (line, passed) = stage.total();
            assert!(!passed && line.ends_with(" 0 lost, 1 wrong, 0 connections failed"), "{fault}: {line}");
            assert_eq!(stage.world.stats().sessions, 9, "{fault}: the others go on");
        }
    }

    /// The other users are as fast as without it.
    #[test]
    fn an_answer_that_does_not_come_is_lost_and_holds_nobody_up() {
        let mut stage = Stage::new(plain(), 50, SECOND / 2, 7);
        stage.run(10 * SECOND, |number, peer, _, message| {
            if number != 7 {
                peer.send(message);
            }
        });
        let lines: Vec<_> = stage.lines.try_iter().collect();
        for (line, _) in &lines[1..4] {
            assert!(line.contains(": 50 users, 98 messages/s, "), "{line}");
        }
        assert!(lines[6].0.contains(": 49 users, 98 messages/s, "), "{lines:?}");
        let (line, passed) = lines.last().expect("a total");
        assert!(*passed == Some(false) && line.ends_with(" 1 lost, 0 wrong, 0 connections failed"), "{line}");
    }

    #[test]
    fn broken_connections_and_their_messages_are_counted() {
        let mut stage = Stage::new(plain(), 10, SECOND / 2, 2);
        stage.run(SECOND, |_, peer, _, message| peer.send(message));
        stage.peers[0].reset();
        stage.peers[1].finish();
        stage.run(5 * SECOND, |number, peer, _, message| match number {
            2 => peer.reset(), // with its message unanswered
            _ => peer.send(message),
        });
        let (line, passed) = stage.total();
        assert!(!passed && line.ends_with(" 1 lost, 0 wrong, 3 connections failed"), "{line}");
    }

    #[test]
    fn connects_that_are_refused_or_not_answered_have_failed() {
        for refused in [true, false] {
            let mut stage = Stage::new(plain(), 10, SECOND, 1);
            let target = stage.server.address();
            if refused {
                stage.world.fail_connects(target, io::ErrorKind::ConnectionRefused);
            } else {
                stage.world.silence(target);
            }
            stage.run(8 * SECOND, |_, _, _, _| panic!("nothing is sent"));
            let (line, passed) = stage.total();
            assert!(!passed && line.ends_with(" 0 lost, 0 wrong, 10 connections failed"), "{line}");
        }
    }

    #[test]
    fn a_histogram_is_right_to_a_tenth() {
        let mut times = Histogram::default();
        assert!(times.at(0.5) < 0.01, "nothing was measured");
        (1..=1000).for_each(|millis| times.add(Duration::from_millis(millis)));
        assert_eq!(times.count(), 1000);
        for (part, wanted) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            assert!((wanted..1.1 * wanted).contains(&times.at(part)), "{part}: {} ms", times.at(part));
        }
        times.add(Duration::MAX);
        times.add(Duration::ZERO);
        assert_eq!(times.count(), 1002);
    }
}
