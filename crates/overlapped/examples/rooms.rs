//! A chat with rooms, over several workers, without a lock: `cargo run --release --example rooms -- 127.0.0.1:9999
//! [BACKEND]`, then `nc 127.0.0.1 9999`: `/name NAME`, `/join ROOM`, `/leave`; every other line is said to the room. When its
//! stdin ends, it drains. (`chat_server` has what is left out here: limits, warnings, names that are unique.)
//!
//! The members of a room are on any workers, and each worker knows only its own. What a room has to hear is posted to every
//! worker, and each worker sends it to its members there.
use std::collections::{HashMap, HashSet, hash_map::Entry};
use std::{io, sync::Arc, time::Duration};

use overlapped::settings::Choice;
use overlapped::{
    Bytes, Closed, Framed, Handler, Lease, Lines, Server, Session, SessionId, WorkerContext, WorkerHandle,
};

struct Member {
    lines: Framed<Lines>,
    name: String,
    room: Option<Arc<str>>,
}

/// For the members of a room, except one. A clone shares the text.
#[derive(Clone)]
struct Line {
    room: Arc<str>,
    text: Bytes,
    but: SessionId,
}

struct Rooms {
    here: WorkerHandle<Line>,
    /// The members on this worker, of the rooms that have some here.
    members: HashMap<Arc<str>, HashSet<SessionId>>,
}

impl Rooms {
    fn new(here: WorkerHandle<Line>) -> Rooms {
        Rooms { here, members: HashMap::new() }
    }

    /// Returns false if a worker was too busy: its members miss the line. It never waits for a worker.
    fn tell(&self, room: &Arc<str>, but: SessionId, text: String) -> bool {
        let line = Line { room: room.clone(), text: text.into(), but };
        let full =
            |worker: &WorkerHandle<Line>| worker.post(line.clone()).is_err_and(|error| error.is_full());
        self.here.workers().filter(full).count() == 0
    }

    fn join(&mut self, id: SessionId, member: &mut Member, room: &str) {
        let room: Arc<str> = room.into();
        self.members.entry(room.clone()).or_default().insert(id);
        self.tell(&room, id, format!("* {} enters\n", member.name));
        member.room = Some(room);
    }

    fn leave(&mut self, id: SessionId, member: &mut Member) {
        let Some(room) = member.room.take() else { return };
        if let Entry::Occupied(mut here) = self.members.entry(room.clone()) {
            here.get_mut().remove(&id);
            if here.get().is_empty() {
                here.remove(); // a room is forgotten with its last member
            }
        }
        self.tell(&room, id, format!("* {} leaves\n", member.name));
    }

    fn command(&mut self, session: &mut Session<'_, Member>, member: &mut Member, line: &str) {
        let (id, (command, argument)) = (session.id(), line.split_once(' ').unwrap_or((line, "")));
        match (command, argument, member.room.clone()) {
            ("/name", name, room) if !name.is_empty() => {
                let old = std::mem::replace(&mut member.name, name.into());
                session.send(format!("* you are {name}\n"));
                if let Some(room) = room {
                    self.tell(&room, id, format!("* {old} is now {name}\n"));
                }
            }
            ("/join", room, _) if !room.is_empty() => {
                self.leave(id, member);
                self.join(id, member, room);
                session.send(format!("* you are in {room}\n"));
            }
            ("/leave", "", Some(room)) => {
                self.leave(id, member);
                session.send(format!("* you have left {room}\n"));
            }
            (_, _, Some(room)) if !line.starts_with('/') => {
                if !self.tell(&room, id, format!("{}: {line}\n", member.name)) {
                    session.send("! the server is too busy, some members did not get this line\n");
                }
            }
            _ => {
                session.send("! /name NAME, /join ROOM, then say something, /leave\n");
            }
        }
    }
}

impl Handler for Rooms {
    type State = Member;
    type Message = Line;

    fn on_open(&mut self, session: &mut Session<'_, Member>) -> Member {
        let name = format!("guest {}", session.id());
        session.send(format!("* welcome, {name}: /name NAME, /join ROOM, /leave\n"));
        Member { lines: Framed::new(Lines::up_to(1000)), name, room: None }
    }

    fn on_data(&mut self, session: &mut Session<'_, Member>, member: &mut Member, data: Lease) {
        member.lines.push(data);
        while let Some(line) = member.lines.next(session) {
            let Ok(line) = line else { continue }; // the next call of `next` closes the session
            let mut line = String::from_utf8_lossy(line.as_slice()).into_owned();
            line.retain(|c| !c.is_control()); // these could change the terminals of others
            self.command(session, member, line.trim());
        }
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Member>, line: Line) {
        for &id in self.members.get(&line.room).into_iter().flatten().filter(|id| **id != line.but) {
            worker.send(id, line.text.clone()); // queued: one that does not read is closed at its limit
        }
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_, Member>, closed: Closed, mut member: Member) {
        self.leave(closed.id, &mut member);
    }

    fn on_panic(&mut self, _: &mut WorkerContext<'_, Member>, session: Option<SessionId>, _: &str) {
        // Its state, which says in what room it was, is gone.
        self.members.values_mut().for_each(|members| members.retain(|id| Some(*id) != session));
    }
}

fn main() -> overlapped::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9999".into());
    let backend =
        args.next().map_or(Choice::Auto, |name| name.parse().expect("auto, io_uring, iocp or readiness"));
    let server = Server::bind(address.as_str())?.backend(backend).start(Rooms::new)?;
    println!("listening on {}", server.local_addr());
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    println!("{}", server.drain(Duration::from_secs(5))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlapped::testing::{self, Behaviour, Peer, World};

    fn world(behaviour: Behaviour) -> World<Rooms> {
        World::start_on(behaviour, testing::server().workers(3), Rooms::new)
    }

    fn member(world: &mut World<Rooms>, name: &str, room: &str) -> Peer {
        let mut peer = world.connect();
        peer.send(format!("/name {name}\n/join {room}\n"));
        world.settle();
        assert!(peer.received().text().ends_with(&format!("* you are {name}\n* you are in {room}\n")));
        peer
    }

    /// What each has heard since the last call.
    fn heard<const N: usize>(world: &mut World<Rooms>, peers: [&mut Peer; N]) -> [String; N] {
        world.settle();
        peers.map(|peer| peer.received().text().to_owned())
    }

    fn rooms(world: &World<Rooms>) -> usize {
        (0..3).map(|worker| world.handler(worker).members.len()).sum()
    }

    #[test]
    fn a_room_is_heard_in_the_room_on_whatever_workers() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = world(behaviour);
            let mut ann = member(&mut world, "ann", "tea");
            let (mut bob, mut eve) = (member(&mut world, "bob", "tea"), member(&mut world, "eve", "coffee"));
            let mut dan = world.connect();
            let workers = [&ann, &bob, &eve].map(|peer| world.session(peer).map(SessionId::worker));
            assert!(workers[0] != workers[1] && workers[1] != workers[2], "{workers:?}");
            assert!(dan.received().text().starts_with("* welcome, guest "));
            let [ann_heard, bob_heard, eve_heard] = heard(&mut world, [&mut ann, &mut bob, &mut eve]);
            assert_eq!([&ann_heard[..], &bob_heard, &eve_heard], ["* bob enters\n", "", ""]);

            bob.send_in_pieces("hello\x1b\r\n/name rob\n/join coffee\n", 3);
            dan.send("hello?\n/leave\n/join \n");
            let usage = "! /name NAME, /join ROOM, then say something, /leave\n";
            let heard_by = heard(&mut world, [&mut ann, &mut eve, &mut bob, &mut dan]);
            assert_eq!(heard_by[0], "bob: hello\n* bob is now rob\n* rob leaves\n");
            assert_eq!(heard_by[1], "* rob enters\n");
            assert_eq!(heard_by[2], "* you are rob\n* you are in coffee\n");
            assert_eq!(heard_by[3], usage.repeat(3));

            ann.send("anybody?\n/leave\n");
            eve.reset();
            let heard_by = heard(&mut world, [&mut ann, &mut bob]);
            assert_eq!(heard_by, ["* you have left tea\n", "* eve leaves\n"]);
            bob.finish();
            world.settle();
            assert!(bob.has_ended());
            assert_eq!(rooms(&world), 0, "empty rooms are forgotten");
        });
    }

    #[test]
    fn a_member_that_does_not_read_is_closed_and_holds_nobody_up() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = world(behaviour);
            let (mut ann, mut bob) = (member(&mut world, "ann", "tea"), member(&mut world, "bob", "tea"));
            let mut lazy = member(&mut world, "lazy", "tea");
            let _ = heard(&mut world, [&mut ann, &mut bob]);
            lazy.stop_reading();
            let line = "x".repeat(990) + "\n";
            for _ in 0..100 {
                ann.send(line.repeat(100));
                let [_, bob_heard] = heard(&mut world, [&mut ann, &mut bob]);
                assert_eq!(bob_heard.matches("ann: ").count(), 100);
                if bob_heard.contains("* lazy leaves\n") {
                    return;
                }
            }
            panic!("ten megabytes wait for a member that does not read");
        });
    }

    #[test]
    fn a_panic_takes_the_member_out_of_its_room() {
        let mut world = World::start(testing::server(), Rooms::new);
        let (mut ann, bob) = (member(&mut world, "ann", "tea"), member(&mut world, "bob", "tea"));
        let id = world.session(&bob);
        world.call(0, |rooms, worker| rooms.on_panic(worker, id, "a test"));
        assert_eq!(world.handler(0).members["tea"].len(), 1);
        ann.send("/leave\n");
        world.settle();
        assert!(world.handler(0).members.is_empty());
    }
}
