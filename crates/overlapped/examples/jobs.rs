//! Slow work, off the worker: each line is a query, which one of a few threads answers; the answer goes to the session that
//! asked, if it is still there. While too many queries wait, no more are received. When its stdin ends, it drains.
//! `cargo run --release --example jobs -- 127.0.0.1:9999`, then `nc 127.0.0.1 9999`: a query is how many ms it takes.
use overlapped::{
    Framed, Handler, Lease, Lines, Owed, Server, Session, SessionId, WorkerContext, WorkerHandle,
};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::{io, thread, time::Duration};

/// Threads of each worker, and how many queries it gives them at a time.
const THREADS: usize = 4;
const MOST: usize = 64;

struct Jobs {
    queue: SyncSender<(Owed, Vec<u8>)>,
    unanswered: usize,
    waiting: Vec<SessionId>,
}

impl Jobs {
    fn new(here: &WorkerHandle<(Owed, String)>) -> Jobs {
        let (queue, jobs) = sync_channel::<(Owed, Vec<u8>)>(MOST);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..THREADS {
            let (here, jobs) = (here.clone(), Arc::clone(&jobs));
            let next = move || jobs.lock().ok()?.recv().ok();
            thread::spawn(move || {
                while let Some((owed, query)) = next() {
                    let _ = here.post((owed, answer(&query))); // refused only by a worker that has ended
                }
            });
        }
        Jobs { queue, unanswered: 0, waiting: Vec::new() }
    }
}

impl Handler for Jobs {
    type State = Framed<Lines>;
    /// An answer, and to whom it is owed.
    type Message = (Owed, String);

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Framed<Lines> {
        Framed::new(Lines::up_to(100))
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, lines: &mut Framed<Lines>, data: Lease) {
        lines.push(data);
        loop {
            if self.unanswered == MOST {
                session.pause(); // from now on, its lines wait
                self.waiting.push(session.id());
            }
            match lines.next(session) {
                Some(Ok(line)) => {
                    self.unanswered += 1;
                    let _ = self.queue.send((session.owe(), line.as_slice().to_vec())); // there is room for `MOST`
                }
                Some(Err(error)) => _ = session.send(format!("{error}\n")), // the next call closes the session
                None => return,
            }
        }
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Self::State>, (owed, answer): (Owed, String)) {
        worker.send(owed.id(), answer);
        self.unanswered -= 1;
        if self.unanswered == MOST / 2 {
            for id in self.waiting.drain(..) {
                let Some((mut session, _)) = worker.session(id) else { continue };
                session.resume();
            }
        }
    }
}

/// Takes its time.
fn answer(query: &[u8]) -> String {
    let query = String::from_utf8_lossy(query);
    let Ok(millis) = query.trim().parse() else { return format!("{query}: not a number\n") };
    thread::sleep(Duration::from_millis(millis));
    format!("{millis} ms\n")
}

fn main() -> overlapped::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9999".into());
    let limit = args.next().map_or(10.0, |limit| limit.parse().expect("how many seconds a drain may take"));
    let server = Server::bind(address.as_str())?.start(|here| Jobs::new(&here))?;
    println!("listening on {}", server.local_addr());
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    println!("{}", server.drain(Duration::from_secs_f64(limit))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlapped::testing::{self, World};
    use std::{collections::VecDeque, sync::mpsc::Receiver};

    /// Without threads: the test takes the queries and answers them.
    fn world() -> (World<Jobs>, Receiver<(Owed, Vec<u8>)>) {
        let (queue, queries) = sync_channel(MOST);
        let handler = Jobs { queue, unanswered: 0, waiting: Vec::new() };
        let mut handler = Some(handler);
        (World::start(testing::server(), |_| handler.take().expect("one worker")), queries)
    }

    #[test]
    fn an_answer_goes_to_the_session_that_asked() {
        let (mut world, queries) = world();
        let (mut one, mut two) = (world.connect(), world.connect());
        one.send("1\n");
        two.send("2\n");
        world.settle();
        let asked: Vec<_> = queries.try_iter().collect();
        one.reset(); // gone by the time of its answer
        world.settle();
        for (owed, query) in asked {
            world.post(0, (owed, answer(&query)));
        }
        world.settle();
        assert_eq!(one.received(), "");
        assert_eq!(two.received(), "2 ms\n");
    }

    #[test]
    fn queries_wait_while_the_queue_is_full() {
        let (mut world, queries) = world();
        let mut client = world.connect();
        client.send("0\n".repeat(3 * MOST));
        world.settle();
        let (mut asked, mut answered) = (VecDeque::new(), 0);
        loop {
            asked.extend(queries.try_iter());
            assert!(asked.len() <= MOST);
            let Some((owed, _)) = asked.pop_front() else { break };
            world.post(0, (owed, "0 ms\n".into()));
            world.settle();
            answered += 1;
        }
        assert_eq!(answered, 3 * MOST);
        assert_eq!(client.received(), "0 ms\n".repeat(3 * MOST).as_str());
    }

    #[test]
    fn a_drain_waits_for_answers_and_counts_those_that_do_not_come() {
        for comes in [true, false] {
            let (mut world, queries) = world();
            let mut client = world.connect();
            client.send("5\n");
            world.settle();
            world.handle().begin_drain(Duration::from_secs(10));
            world.settle();
            assert!(client.is_open(), "its answer is owed");
            let (owed, query) = queries.try_recv().expect("a query");
            if comes {
                world.post(0, (owed, answer(&query)));
                world.settle();
                assert_eq!(client.received(), "5 ms\n");
            } else {
                world.advance(Duration::from_secs(13));
            }
            assert!(world.has_ended());
            assert_eq!(world.stats().answers_owed, u64::from(!comes));
        }
    }
}
