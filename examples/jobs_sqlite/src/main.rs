//! Slow work off the workers, with a database: accounts of players. Each line is a query, one thread of its own asks
//! SQLite, and the answer goes to the session that asked, if it is still there. `database.rs` has the queries.
//!
//! `cargo run --release -p jobs-sqlite -- 127.0.0.1:9999 bank.db` (without a file: in memory), then `nc 127.0.0.1 9999`:
//! `create NAME`, `deposit NAME AMOUNT`, `balance NAME`, `transfer FROM TO AMOUNT`, `top N`. When its stdin ends, it drains,
//! and closes the file.
#![forbid(unsafe_code)]

mod database;

use database::{Database, Query};
use overlapped::handles::PostError;
use overlapped::{
    Framed, Handler, Lease, Lines, Owed, Server, Session, SessionId, WorkerContext, WorkerHandle,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::{error::Error, io, thread, time::Duration};

/// Queries that wait for the database at most, those of all workers together.
const QUEUE: usize = 256;
const LONGEST_LINE: usize = 200;
const DRAIN: Duration = Duration::from_secs(10);

/// An answer, and to whom it is owed.
type Answer = (Owed, String);

/// What a worker asks of the database's thread.
struct Job {
    query: Query,
    owed: Owed,
    worker: WorkerHandle<Answer>,
}

impl Job {
    fn answer(self, database: &mut Database) {
        let mut answer = (self.owed, database.answer(&self.query));
        // If the mailbox is full, the worker is behind: the database waits for it, and no answer is lost. A worker that
        // has ended has no sessions.
        while let Err(PostError::Full(refused)) = self.worker.post(answer) {
            answer = refused;
            thread::sleep(Duration::from_millis(1));
        }
    }
}

struct Bank {
    here: WorkerHandle<Answer>,
    queue: SyncSender<Job>,
    /// How many of its queries may be unanswered: this worker's part of the queue. So `send` never blocks.
    share: usize,
    unanswered: usize,
    paused: Vec<SessionId>,
}

impl Bank {
    fn new(here: WorkerHandle<Answer>, queue: SyncSender<Job>) -> Bank {
        let share = (QUEUE / here.workers().len()).max(1);
        Bank { here, queue, share, unanswered: 0, paused: Vec::new() }
    }

    fn ask(&mut self, session: &mut Session<'_, Framed<Lines>>, query: Query) {
        let job = Job { query, owed: session.owe(), worker: self.here.clone() };
        match self.queue.send(job) {
            Ok(()) => self.unanswered += 1,
            Err(_) => _ = session.send("error the database has ended\n"), // its thread has panicked
        }
    }
}

impl Handler for Bank {
    type State = Framed<Lines>;
    type Message = Answer;

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Framed<Lines> {
        Framed::new(Lines::up_to(LONGEST_LINE))
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, lines: &mut Framed<Lines>, data: Lease) {
        lines.push(data);
        loop {
            if self.unanswered == self.share {
                session.pause(); // `next` returns no line now; the peer's next bytes stay in the kernel
                self.paused.push(session.id());
            }
            match lines.next(session) {
                Some(Ok(line)) => self.ask(session, Query::parse(line.as_slice())),
                Some(Err(error)) => {
                    self.ask(session, Query::Invalid(error.to_string())); // behind the answers before it
                    return session.close_when_answered();
                }
                None => return,
            }
        }
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Self::State>, (owed, answer): Answer) {
        worker.send(owed.id(), answer); // the session may be gone: then this does nothing
        self.unanswered -= 1;
        if self.unanswered == self.share / 2 {
            for id in self.paused.drain(..) {
                let Some((mut session, _)) = worker.session(id) else { continue };
                session.resume();
            }
        }
    }
}

/// The database's thread: one query after the other, until no worker is left to ask one. After a drain that had to cut
/// sessions, no other query begins: with a locked file, each would wait for two seconds.
fn answer_all(mut database: Database, jobs: Receiver<Job>, has_cut: &AtomicBool) -> rusqlite::Result<()> {
    for job in jobs {
        if has_cut.load(Ordering::Relaxed) {
            break;
        }
        job.answer(&mut database);
    }
    database.close()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9999".into());
    let file = args.next().unwrap_or_else(|| ":memory:".into());
    let database = Database::open(&file).map_err(|error| format!("cannot open {file}: {error}"))?;
    let (queue, jobs) = sync_channel(QUEUE);
    let has_cut = Arc::new(AtomicBool::new(false));
    let database = thread::spawn({
        let has_cut = Arc::clone(&has_cut);
        move || answer_all(database, jobs, &has_cut)
    });

    let server = Server::bind(address.as_str())?.start(move |here| Bank::new(here, queue.clone()))?;
    println!("listening on {}", server.local_addr());
    let _ = io::copy(&mut io::stdin(), &mut io::sink()); // an error ends stdin, too
    let report = server.drain(DRAIN)?;
    println!("{report}");
    has_cut.store(report.cut > 0, Ordering::Relaxed);
    database.join().expect("it does not panic")?;
    println!("{file} is closed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlapped::testing::{self, Behaviour, World};
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};

    /// Without a thread: the test takes the queries, and answers them when it likes.
    struct Stage {
        world: World<Bank>,
        jobs: Receiver<Job>,
        database: Database,
    }

    impl Stage {
        fn new(behaviour: Behaviour, workers: usize) -> Stage {
            let (queue, jobs) = sync_channel(QUEUE);
            let settings = testing::server().workers(workers);
            let world = World::start_on(behaviour, settings, |here| Bank::new(here, queue.clone()));
            let database = Database::open(":memory:").expect("memory");
            Stage { world, jobs, database }
        }

        /// Answers what has been asked. Returns how many queries that were.
        fn answer(&mut self) -> usize {
            self.world.settle();
            let jobs: Vec<Job> = self.jobs.try_iter().collect();
            let count = jobs.len();
            jobs.into_iter().for_each(|job| job.answer(&mut self.database));
            self.world.settle();
            count
        }
    }

    #[test]
    fn answers_come_in_order_and_reach_who_asked() {
        testing::for_each_behaviour(|behaviour| {
            let mut stage = Stage::new(behaviour, 2);
            let (mut ann, mut bob) = (stage.world.connect(), stage.world.connect());
            ann.send("create ann\ndeposit ann 10\nnonsense\nbalance ann\n");
            while stage.answer() > 0 {}
            let answers = ann.received();
            let lines: Vec<&str> = answers.text().lines().collect();
            assert!(lines[2].starts_with("error create NAME | "), "{lines:?}");
            assert_eq!([lines[0], lines[1], lines[3]], ["ok ann", "ok 10", "ok 10"]);

            bob.send("balance ann\n");
            ann.send("balance bob\n");
            while stage.answer() > 0 {}
            assert_eq!(ann.received(), "error no account bob\n");
            assert_eq!(bob.received(), "ok 10\n");
        });
    }

    #[test]
    fn a_session_that_is_gone_by_the_time_of_its_answer_harms_nobody() {
        let mut stage = Stage::new(Behaviour { cuts: false, ..Behaviour::default() }, 1);
        let (mut gone, mut stays) = (stage.world.connect(), stage.world.connect());
        gone.send("create ann\ndeposit ann 5\n");
        stage.world.settle();
        gone.reset();
        stage.world.settle();
        // It may get the place of the one that is gone, but not its answers.
        let mut next = stage.world.connect();
        stays.send("balance ann\n");
        assert_eq!(stage.answer(), 3, "what was asked is done");
        assert_eq!(stays.received(), "ok 5\n");
        assert_eq!(next.received(), "");
        assert_eq!(stage.world.handler(0).unanswered, 0);
    }

    #[test]
    fn sessions_pause_while_the_queue_is_full() {
        testing::for_each_behaviour(|behaviour| {
            let mut stage = Stage::new(behaviour, 2);
            let mut clients: Vec<_> = (0..4).map(|_| stage.world.connect()).collect();
            let lines = "balance eve\n".repeat(QUEUE);
            clients.iter_mut().for_each(|client| client.send(&lines));
            stage.world.settle();
            for worker in 0..2 {
                assert_eq!(stage.world.handler(worker).unanswered, QUEUE / 2);
            }
            assert!(clients.iter().any(|client| client.unsent() > 0) || behaviour.capacity > lines.len());
            let mut answered = 0;
            loop {
                match stage.answer() {
                    0 => break,
                    count => answered += count,
                }
            }
            assert_eq!(answered, 4 * QUEUE);
            let answers = "error no account eve\n".repeat(QUEUE);
            assert!(clients.iter_mut().all(|client| client.received() == answers.as_str()));
        });
    }

    #[test]
    fn a_line_that_is_too_long_is_answered_in_its_turn_and_ends_the_session() {
        testing::for_each_behaviour(|behaviour| {
            let mut stage = Stage::new(behaviour, 1);
            let mut client = stage.world.connect();
            client.send("create ann\n".to_owned() + &"x".repeat(2 * LONGEST_LINE) + "\nbalance ann\n");
            while stage.answer() > 0 {}
            let answers = client.received();
            let lines: Vec<&str> = answers.text().lines().collect();
            assert_eq!((lines.len(), lines[0]), (2, "ok ann"));
            assert!(
                lines[1].starts_with("error ") && lines[1].ends_with("over the limit of 200"),
                "{lines:?}"
            );
            assert!(client.has_ended());
        });
    }

    #[test]
    fn a_drain_waits_for_answers() {
        testing::for_each_behaviour(|behaviour| {
            let mut stage = Stage::new(behaviour, 1);
            let (mut client, mut finished) = (stage.world.connect(), stage.world.connect());
            client.send("create ann\n");
            stage.world.settle();
            finished.send("balance ann\n");
            finished.finish();
            stage.world.settle();
            stage.world.handle().begin_drain(DRAIN);
            stage.world.settle();
            assert!(client.is_open() && finished.is_open(), "their answers are owed");
            stage.answer();
            assert_eq!(client.received(), "ok ann\n");
            assert_eq!(finished.received(), "ok 0\n");
            assert!(stage.world.has_ended());
        });
    }

    #[test]
    fn no_query_begins_after_a_drain_that_has_cut_sessions() {
        let file = std::env::temp_dir().join(format!("jobs-sqlite-cut-{}.db", std::process::id()));
        let open = || Database::open(file.to_str().expect("UTF-8")).expect("a new file");
        for (has_cut, answer) in [(true, "error no account ann\n"), (false, "ok 0\n")] {
            let mut stage = Stage::new(Behaviour { cuts: false, ..Behaviour::default() }, 1);
            let mut client = stage.world.connect();
            client.send("create ann\n");
            stage.world.settle();
            let Stage { world, jobs, .. } = stage;
            drop(world); // and with it the queue's sender
            answer_all(open(), jobs, &AtomicBool::new(has_cut)).expect("it closes");
            assert_eq!(open().answer(&Query::Balance("ann".into())), answer);
        }
        std::fs::remove_file(file).expect("it is closed");
    }

    #[test]
    fn the_end_of_the_database_thread_is_an_answer() {
        let mut stage = Stage::new(Behaviour { cuts: false, ..Behaviour::default() }, 1);
        drop(std::mem::replace(&mut stage.jobs, sync_channel(1).1));
        let mut client = stage.world.connect();
        client.send("top 1\ntop 2\n");
        stage.world.settle();
        assert_eq!(client.received(), "error the database has ended\n".repeat(2).as_str());
    }

    /// The thread, a worker, and a mailbox with room for one answer.
    #[test]
    fn a_full_mailbox_loses_no_answer() {
        let (queue, jobs) = sync_channel(QUEUE);
        let database = Database::open(":memory:").expect("memory");
        let database = thread::spawn(|| answer_all(database, jobs, &AtomicBool::new(false)));
        let server = Server::bind("127.0.0.1:0").expect("a free port").workers(1).mailbox(1);
        let server = server.start(move |here| Bank::new(here, queue.clone())).expect("it starts");
        let mut client = TcpStream::connect(server.local_addr()).expect("it listens");
        let limit = Some(Duration::from_secs(20));
        client.set_read_timeout(limit).and(client.set_write_timeout(limit)).expect("limits");
        client.write_all("balance eve\n".repeat(3 * QUEUE).as_bytes()).expect("it reads");
        client.shutdown(Shutdown::Write).expect("an open socket");
        let mut answers = String::new();
        client.read_to_string(&mut answers).expect("answers");
        assert_eq!(answers, "error no account eve\n".repeat(3 * QUEUE));
        assert_eq!(server.drain(DRAIN).expect("it drains").cut, 0);
        // All senders are gone with the workers: the thread ends.
        database.join().expect("no panic").expect("it closes");
    }
}
