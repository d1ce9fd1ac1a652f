//! Exercise 6 of `docs/lesson.md`: `kick 2` ends session 2, whatever thread it is on and whatever is in flight for it.
//! `cargo run --example solution_6_kick -- 127.0.0.1:9999`, then `talk` in two more terminals.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use overlapped::{
    Closed, Framed, Handler, Lease, Lines, Sent, Server, Session, SessionHandle, WorkerContext,
};

/// All sessions, by number. Another thread may have one of these handles after its session has ended: then what it
/// does with it has no effect.
#[derive(Default)]
struct Members {
    last: u64,
    sessions: HashMap<u64, SessionHandle>,
}

#[derive(Clone, Default)]
struct Kicker {
    members: Arc<Mutex<Members>>,
}

struct Member {
    number: u64,
    lines: Framed<Lines>,
}

impl Kicker {
    /// Ends a session. False: there is none of this number, or it has begun to close.
    fn kick(&self, number: u64) -> bool {
        // The lock is held for the look-up alone, not while sending.
        let handle = self.members.lock().unwrap().sessions.get(&number).cloned();
        handle.is_some_and(|handle| handle.send("you were kicked\n") == Sent::Ok && handle.close().is_ok())
    }
}

impl Handler for Kicker {
    type State = Member;
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_, Member>) -> Member {
        let handle = session.handle();
        let mut members = self.members.lock().unwrap();
        members.last += 1;
        let number = members.last;
        members.sessions.insert(number, handle);
        drop(members);
        session.send(format!("you are {number}\n"));
        Member { number, lines: Framed::new(Lines::up_to(200)) }
    }

    fn on_data(&mut self, session: &mut Session<'_, Member>, member: &mut Member, data: Lease) {
        member.lines.push(data);
        while let Some(line) = member.lines.next(session) {
            let Ok(line) = line else { return }; // too long: the session is closed
            let line = String::from_utf8_lossy(line.as_slice());
            let answer = match line.strip_prefix("kick ").map(str::parse) {
                Some(Ok(number)) if self.kick(number) => format!("kicked {number}\n"),
                Some(Ok(number)) => format!("nobody is {number}\n"),
                _ => format!("{line}\n"),
            };
            session.send(answer);
        }
    }

    fn on_close(&mut self, _worker: &mut WorkerContext<'_, Member>, _closed: Closed, member: Member) {
        self.members.lock().unwrap().sessions.remove(&member.number);
    }
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = Server::bind(address.as_str())?;
    println!("listening on {}", server.local_addrs()[0]);
    let kicker = Kicker::default();
    server.run(move |_worker| kicker.clone())
}

#[cfg(test)]
mod tests {
    use overlapped::testing::{self, World};

    #[test]
    fn a_session_of_another_worker_is_ended_once() {
        let kicker = super::Kicker::default();
        let members = std::sync::Arc::clone(&kicker.members);
        let mut world = World::start(testing::server().workers(2), move |_worker| kicker.clone());
        let [mut anna, mut bert] = [world.connect(), world.connect()];
        assert_eq!(anna.received(), "you are 1\n");
        assert_eq!(bert.received(), "you are 2\n");
        let old = members.lock().unwrap().sessions[&2].clone();

        anna.send("hello\nkick 2\n");
        world.settle();
        assert_eq!(anna.received(), "hello\nkicked 2\n");
        assert_eq!(bert.received(), "you were kicked\n");
        assert!(bert.has_ended() && !bert.was_reset());

        // Carl gets the place of Bert; a handle of Bert's session does not reach him.
        let mut carl = world.connect();
        assert_eq!(carl.received(), "you are 3\n");
        let _ = old.abort();
        anna.send("kick 2\n");
        world.settle();
        assert_eq!(anna.received(), "nobody is 2\n");
        assert!(carl.is_open());
    }
}
