//! A chat server with rooms and limits (`rooms` has only its core): `cargo run --release --example chat_server --
//! 127.0.0.1:7000 [BACKEND]`, then `nc 127.0.0.1 7000`.
//!
//! `/name NAME`, `/join ROOM`, `/leave`, `/who`, `/quit`; every other line is said to the room. Lines of the server
//! begin with `*`, its refusals with `!`. The server drains when its stdin ends.
//!
//! The members of a room live on several workers. Each worker knows only its own members. What a room has to hear is
//! posted to every worker, the speaker's own included, and each worker sends it to its members. So these things are
//! not global:
//!
//! - Names are unique on one worker. Two members on different workers may have the same name.
//! - All members see the lines of one worker in one order. Lines of different workers may be seen in different orders.
//! - `/who` asks one worker after the other, so its answer is not from one moment.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use overlapped::{
    Bytes, Choice, Closed, Framed, Handler, Lease, Lines, Owed, PostError, Server, Session, SessionId,
    WorkerContext, WorkerHandle,
};

/// The longest line and the longest name, in bytes.
const MAX_LINE: usize = 1000;
const MAX_NAME: usize = 20;
/// A member that completes no line for this long is warned, and its session is closed after the grace.
const IDLE: Duration = Duration::from_secs(5 * 60);
const GRACE: Duration = Duration::from_secs(30);
/// Lines that a member may send in one period. Further lines wait, so that one member cannot flood the mailboxes of
/// the workers and the queues of the others.
const BURST: u32 = 50;
const PERIOD: Duration = Duration::from_secs(1);
/// Bytes that may wait for a member that does not read. With more, it is reset.
const MAX_UNSENT: usize = 512 << 10;
/// Bytes of names that `/who` lists, well below `MAX_UNSENT`. Further members are only counted.
const MAX_LIST: usize = 16 << 10;

/// The timers of a session.
const WARN: u64 = 0;
const SEND_AWAY: u64 = 1;
const REFILL: u64 = 2;

/// A session's state.
struct Member {
    lines: Framed<Lines>,
    /// Empty until the member has chosen one.
    name: String,
    room: Option<Arc<str>>,
    /// How many lines it may send in this period.
    budget: u32,
}

enum Message {
    /// A line for the members of a room, except the one that it comes from.
    Line {
        room: Arc<str>,
        line: Bytes,
        but: SessionId,
    },
    Who(Who),
}

/// A question that goes from worker to worker; each adds its members. The guard makes a drain, and the end of a
/// client that has already ended its stream, wait for the answer.
struct Who {
    room: Arc<str>,
    count: usize,
    names: String,
    answer: Owed,
}

/// One worker's part of the chat.
struct Rooms {
    here: WorkerHandle<Message>,
    names: HashMap<String, SessionId>,
    /// Rooms that have members here.
    rooms: HashMap<Arc<str>, HashSet<SessionId>>,
}

impl Member {
    fn new() -> Member {
        Member { lines: Framed::new(Lines::up_to(MAX_LINE)), name: String::new(), room: None, budget: BURST }
    }
}

impl Rooms {
    fn new(here: WorkerHandle<Message>) -> Rooms {
        Rooms { here, names: HashMap::new(), rooms: HashMap::new() }
    }

    /// Tells all members of a room on all workers. Returns whether every worker took it. One that has ended in a
    /// drain has no members.
    fn tell(&self, room: &Arc<str>, but: SessionId, line: String) -> bool {
        let line = Bytes::from(line);
        let message = || Message::Line { room: room.clone(), line: line.clone(), but };
        let full =
            self.here.workers().filter(|worker| worker.post(message()).is_err_and(|error| error.is_full()));
        full.count() == 0
    }

    /// Posts the question to this worker, or sends the answer if there is no such worker: all were asked.
    fn ask(&self, worker: usize, who: Who) {
        let Some(worker) = self.here.workers().nth(worker) else {
            who.answer.send(format!("* {} in {}:{}\n", who.count, who.room, who.names));
            return;
        };
        match worker.post(Message::Who(who)) {
            Err(PostError::Full(Message::Who(who))) => {
                who.answer.send("! the server is too busy, ask again\n");
            }
            // The server drains, and that worker has no sessions any more.
            Err(PostError::Stopped(Message::Who(who))) => self.ask(worker.index() + 1, who),
            _ => {}
        }
    }

    fn command(&mut self, session: &mut Session<'_, Member>, member: &mut Member, line: &str) {
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        match (command, member.room.clone()) {
            ("/name" | "/join", _) if !is_name(argument) => {
                session.send(format!("! use 1 to {MAX_NAME} letters, digits, - and _\n"));
            }
            ("/name", room) => {
                if self.names.contains_key(argument) {
                    session.send("! that name is taken\n");
                    return;
                }
                let old = mem::replace(&mut member.name, argument.to_owned());
                self.names.remove(&old);
                self.names.insert(argument.to_owned(), session.id());
                session.send(format!("* you are {argument}\n"));
                if let Some(room) = room {
                    self.tell(&room, session.id(), format!("* {old} is now {argument}\n"));
                }
            }
            ("/quit", _) => {
                session.send("* bye\n");
                self.depart(session.id(), member, "leaves");
                session.close_when_answered(); // an answer to `/who` may still come
            }
            ("/join", _) if member.name.is_empty() => {
                session.send("! first say who you are: /name NAME\n");
            }
            ("/join", _) => {
                self.leave(session.id(), member, "leaves");
                let room: Arc<str> = argument.into();
                self.rooms.entry(room.clone()).or_default().insert(session.id());
                session.send(format!("* you are in {room}\n"));
                self.tell(&room, session.id(), format!("* {} enters\n", member.name));
                member.room = Some(room);
            }
            (_, None) => {
                session.send("! first enter a room: /join ROOM\n");
            }
            ("/leave", Some(room)) => {
                session.send(format!("* you have left {room}\n"));
                self.leave(session.id(), member, "leaves");
            }
            ("/who", Some(room)) => {
                self.ask(0, Who { room, count: 0, names: String::new(), answer: session.owe() });
            }
            (other, Some(_)) if other.starts_with('/') => {
                session.send("! the commands are /name, /join, /leave, /who, /quit\n");
            }
            (_, Some(room)) => {
                if !self.tell(&room, session.id(), format!("{}: {line}\n", member.name)) {
                    session.send("! the server is too busy, some members did not get this line\n");
                }
            }
        }
    }

    fn leave(&mut self, id: SessionId, member: &mut Member, how: &str) {
        let Some(room) = member.room.take() else { return };
        if let Some(members) = self.rooms.get_mut(&room) {
            members.remove(&id);
            if members.is_empty() {
                self.rooms.remove(&room);
            }
        }
        self.tell(&room, id, format!("* {} {how}\n", member.name));
    }

    /// Leaves the room and gives the name back.
    fn depart(&mut self, id: SessionId, member: &mut Member, how: &str) {
        self.leave(id, member, how);
        self.names.remove(&mem::take(&mut member.name));
    }
}

impl Handler for Rooms {
    type State = Member;
    type Message = Message;

    fn on_open(&mut self, session: &mut Session<'_, Member>) -> Member {
        session.send("* welcome: /name NAME, /join ROOM, /leave, /who, /quit\n");
        session.set_timer(IDLE, WARN);
        Member::new()
    }

    fn on_data(&mut self, session: &mut Session<'_, Member>, member: &mut Member, data: Lease) {
        member.lines.push(data);
        while let Some(line) = member.lines.next(session) {
            let Ok(line) = line else {
                self.depart(session.id(), member, "leaves");
                session.send(format!("! a line has at most {MAX_LINE} bytes, bye\n"));
                continue; // the next call of `next` closes the session
            };
            // Only whole lines count: a peer that sends a byte now and then is silent.
            session.cancel_timer(SEND_AWAY);
            session.set_timer(IDLE, WARN);
            if member.budget == BURST {
                session.set_timer(PERIOD, REFILL);
            }
            member.budget -= 1;
            if member.budget == 0 {
                session.pause(); // `next` returns no more lines until the refill
            }
            // Control characters could change the terminals of the others.
            let mut text = String::from_utf8_lossy(line.as_slice()).into_owned();
            text.retain(|c| !c.is_control());
            if !text.trim().is_empty() {
                self.command(session, member, text.trim());
            }
            if session.is_closing() {
                return;
            }
        }
    }

    fn on_timer(&mut self, session: &mut Session<'_, Member>, member: &mut Member, token: u64) {
        match token {
            WARN => {
                session.send(format!("* are you there? Say something within {} seconds\n", GRACE.as_secs()));
                session.set_timer(GRACE, SEND_AWAY);
            }
            SEND_AWAY => {
                session.send("* you were silent for too long, bye\n");
                self.depart(session.id(), member, "leaves");
                session.close();
            }
            _ => {
                member.budget = BURST;
                session.resume();
            }
        }
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Member>, message: Message) {
        match message {
            Message::Line { room, line, but } => {
                // A member that does not read is closed at its limit, and the others do not wait for it.
                for &id in self.rooms.get(&room).into_iter().flatten().filter(|id| **id != but) {
                    worker.send(id, line.clone());
                }
            }
            Message::Who(mut who) => {
                for &id in self.rooms.get(&who.room).into_iter().flatten() {
                    let Some((_, member)) = worker.session(id) else { continue };
                    who.count += 1;
                    if who.names.len() < MAX_LIST {
                        who.names += " ";
                        who.names += &member.name;
                    }
                }
                self.ask(worker.index() + 1, who);
            }
        }
    }

    fn on_half_close(&mut self, session: &mut Session<'_, Member>, member: &mut Member) {
        // The others hear of it now, not when the last byte has gone out.
        self.depart(session.id(), member, "leaves");
        session.close_when_answered();
    }

    fn on_drain(&mut self, session: &mut Session<'_, Member>, _member: &mut Member) {
        // A member that has sent too many lines is read in the next periods, at most until the drain's deadline.
        session.send("server is going down\n");
    }

    fn on_close(&mut self, worker: &mut WorkerContext<'_, Member>, closed: Closed, mut member: Member) {
        if worker.is_draining() {
            return; // everybody leaves, and everybody knows
        }
        let how = if closed.reason.is_graceful() { "leaves" } else { "is lost" };
        self.depart(closed.id, &mut member, how);
    }

    fn on_panic(
        &mut self,
        _worker: &mut WorkerContext<'_, Member>,
        session: Option<SessionId>,
        _message: &str,
    ) {
        // The session's state is gone: the tables say what it was.
        let Some(id) = session else { return };
        let name = self.names.iter().find(|(_, owner)| **owner == id).map(|(name, _)| name.clone());
        let room = self.rooms.iter().find(|(_, members)| members.contains(&id)).map(|(room, _)| room.clone());
        let mut member = Member { name: name.unwrap_or_default(), room, ..Member::new() };
        self.depart(id, &mut member, "is lost");
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("usage: chat_server ADDRESS [auto|io_uring|readiness]")?;
    let backend = arguments.next().map_or(Ok(Choice::Auto), |name| name.parse())?;
    overlapped::raise_descriptor_limit(); // best effort: the server limits its sessions to what there is
    let server = Server::bind(address.as_str())?.backend(backend).hard_limit(MAX_UNSENT).start(Rooms::new)?;
    println!("listening on {}", server.local_addr());
    io::stdout().flush()?;

    let drain = server.clone();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink()); // an error ends stdin, too
        drain.begin_drain(Duration::from_secs(5));
    });
    server.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlapped::testing::{self, Behaviour, Peer, World};

    fn world(behaviour: Behaviour) -> World<Rooms> {
        World::start_on(behaviour, testing::server().workers(2).hard_limit(MAX_UNSENT), Rooms::new)
    }

    /// A member of the room `tea`, which has read what it got so far.
    fn member(world: &mut World<Rooms>, name: &str) -> Peer {
        let mut peer = world.connect();
        peer.send(format!("/name {name}\n/join tea\n"));
        world.settle();
        assert!(peer.received().text().ends_with(&format!("* you are {name}\n* you are in tea\n")));
        peer
    }

    #[test]
    fn members_on_all_workers_hear_each_other() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = world(behaviour);
            let (mut ann, mut bob) = (member(&mut world, "ann"), member(&mut world, "bob"));
            let worker = |peer| world.session(peer).map(SessionId::worker);
            assert_ne!(worker(&ann), worker(&bob));
            assert_eq!(ann.received(), "* bob enters\n");

            bob.send_in_pieces("hello\x1b\r\n/who\n", 3);
            bob.finish(); // the answer comes although its stream has ended
            world.settle();
            assert_eq!(ann.received(), "bob: hello\n* bob leaves\n");
            assert!(bob.received().text().ends_with(" in tea: ann bob\n"));
            assert!(bob.has_ended());
        });
    }

    #[test]
    fn everybody_hears_of_the_lost_and_of_a_line_too_long() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = world(behaviour);
            let mut ann = member(&mut world, "ann");
            let (mut bob, mut eve) = (member(&mut world, "bob"), member(&mut world, "eve"));
            let _ = ann.received();
            bob.reset();
            world.settle();
            assert_eq!(ann.received(), "* bob is lost\n");

            let _ = eve.received();
            eve.send([b'x'; MAX_LINE + 1]);
            world.settle();
            assert_eq!(eve.received(), "! a line has at most 1000 bytes, bye\n");
            assert!(eve.has_ended());
            assert_eq!(ann.received(), "* eve leaves\n");
        });
    }

    #[test]
    fn the_silent_are_warned_and_sent_away() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = world(behaviour);
            let (mut ann, mut bob) = (member(&mut world, "ann"), member(&mut world, "bob"));
            let _ = ann.received();
            world.advance(IDLE);
            let warning = "* are you there? Say something within 30 seconds\n";
            assert_eq!(ann.received(), warning);
            assert_eq!(bob.received(), warning);
            bob.send("I am here\n");
            ann.send("I am"); // not a line
            world.advance(GRACE);
            assert_eq!(ann.received(), "bob: I am here\n* you were silent for too long, bye\n");
            assert!(ann.has_ended());
            assert_eq!(bob.received(), "* ann leaves\n");
            assert!(bob.is_open());
        });
    }

    #[test]
    fn a_member_that_does_not_read_is_lost_and_holds_nobody_up() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = world(behaviour);
            let (mut ann, mut bob) = (member(&mut world, "ann"), member(&mut world, "bob"));
            let mut lazy = member(&mut world, "lazy");
            let _ = ann.received();
            let _ = bob.received();
            lazy.stop_reading();
            let line = format!("{}\n", "x".repeat(MAX_LINE));
            for _ in 0..20 {
                ann.send(line.repeat(BURST as usize));
                world.advance(PERIOD);
                let heard = bob.received();
                assert_eq!(heard.text().matches("ann: ").count(), BURST as usize, "{}", ann.unsent());
                if heard.text().contains("* lazy is lost\n") {
                    return;
                }
            }
            panic!("a megabyte waits for a member that does not read");
        });
    }

    #[test]
    fn a_drain_says_so_to_everybody() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = world(behaviour);
            let (mut ann, mut bob) = (member(&mut world, "ann"), member(&mut world, "bob"));
            let _ = ann.received();
            ann.send("a\n".repeat(3 * BURST as usize) + "/who\n"); // some of it waits for the next period
            let report = world.drain(Duration::from_secs(5));
            assert_eq!((report.drained, report.cut), (2, 0));
            let (ann_heard, bob_heard) = (ann.received(), bob.received());
            assert!(ann_heard.text().starts_with("server is going down\n* "), "{ann_heard:?}");
            assert!(ann_heard.text().contains(" in tea: ann"), "{ann_heard:?}");
            assert!(bob_heard.text().contains("server is going down\n"), "{bob_heard:?}");
            assert!(ann.has_ended() && bob.has_ended());
        });
    }

    #[test]
    fn a_panic_takes_the_member_out_of_the_tables() {
        let mut world = World::start(testing::server(), Rooms::new);
        let (mut ann, bob) = (member(&mut world, "ann"), member(&mut world, "bob"));
        let _ = ann.received();
        let id = world.session(&bob);
        world.call(0, |rooms, worker| rooms.on_panic(worker, id, "a test"));
        world.settle();
        assert_eq!(ann.received(), "* bob is lost\n");
        assert_eq!(world.handler(0).names.len(), 1);
    }
}
