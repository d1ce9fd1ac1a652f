//! One chat over several processes, on one machine or many. Sessions live in this engine; what is said goes through a stream
//! of NATS JetStream, which puts it in one order and keeps it while a process cannot reach it.
//!
//! `nats-server -js`, then for each process `cargo run --release -p cluster-chat -- 127.0.0.1:9999 127.0.0.1:4222`, then
//! `nc 127.0.0.1 9999`: the first line is a name, every other line is said to everybody. When its stdin ends, it drains.
//!
//! * Everybody hears what each person says in the order in which it was said, from any process.
//! * A person's next line is read when the line before is in the stream: who says much waits, and memory is bounded.
//! * While NATS cannot be reached, everybody stays connected and is told. Lines wait, and go on by themselves.
//! * From the line `* welcome` on, nothing is missed, however often the process was restarted before.
#![forbid(unsafe_code)]

mod bus;

use std::{error::Error, io, time::Duration};

use bus::{Bus, Line};
use overlapped::{
    Bytes, Closed, Framed, Handler, Lease, Lines, Owed, Server, Session, SessionId, WorkerContext,
    WorkerHandle,
};

const LONGEST_LINE: usize = 400;
const LONGEST_NAME: usize = 40;
const DRAIN: Duration = Duration::from_secs(10);

/// What the bus tells a worker.
pub(crate) enum News {
    /// Somebody has said something, here or elsewhere.
    Heard(Bytes),
    /// A line is in the stream, and its session may say the next.
    Said(Owed),
    Interrupted,
    GoesOn,
}

struct Person {
    lines: Framed<Lines>,
    name: Option<String>,
}

struct Chat {
    here: WorkerHandle<News>,
    bus: Bus,
    /// Who has a name.
    present: Vec<SessionId>,
    interrupted: bool,
}

impl Chat {
    fn enter(&mut self, session: &mut Session<'_, Person>, name: &[u8]) -> Option<String> {
        let name = String::from_utf8_lossy(name).trim().to_owned();
        if name.is_empty() || name.len() > LONGEST_NAME || name.starts_with('*') || name.contains(':') {
            session.send(format!(
                "* a name has 1 to {LONGEST_NAME} bytes, no colon, and no asterisk at its start\n"
            ));
            return None;
        }
        session.send(format!("* welcome {name}\n"));
        if self.interrupted {
            session.send(INTERRUPTED);
        }
        self.present.push(session.id());
        Some(name)
    }

    /// Nothing more is read of it until this is in the stream.
    fn say(&mut self, session: &mut Session<'_, Person>, name: &str, text: &[u8]) {
        let text = [name.as_bytes(), b": ", text, b"\n"].concat().into();
        session.pause();
        self.bus.say(Line { text, owed: session.owe(), worker: self.here.clone() });
    }

    fn tell_all(&self, worker: &mut WorkerContext<'_, Person>, text: &Bytes) {
        for id in &self.present {
            worker.send(*id, text.clone());
        }
    }
}

const INTERRUPTED: &str = "* the chat is interrupted; lines wait\n";
const GOES_ON: &str = "* the chat goes on\n";

impl Handler for Chat {
    type State = Person;
    type Message = News;

    fn on_open(&mut self, _session: &mut Session<'_, Person>) -> Person {
        Person { lines: Framed::new(Lines::up_to(LONGEST_LINE)), name: None }
    }

    fn on_data(&mut self, session: &mut Session<'_, Person>, person: &mut Person, data: Lease) {
        person.lines.push(data);
        while let Some(line) = person.lines.next(session) {
            match (line, &person.name) {
                (Ok(line), Some(name)) => self.say(session, name, line.as_slice()),
                (Ok(line), None) => person.name = self.enter(session, line.as_slice()),
                (Err(error), _) => {
                    session.send(format!("* {error}\n"));
                    return session.close_when_answered();
                }
            }
        }
    }

    fn on_close(&mut self, _worker: &mut WorkerContext<'_, Person>, closed: Closed, _person: Person) {
        self.present.retain(|id| *id != closed.id);
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Person>, news: News) {
        match news {
            News::Heard(text) => self.tell_all(worker, &text),
            News::Said(owed) => {
                if let Some((mut session, _)) = worker.session(owed.id()) {
                    session.resume();
                }
            }
            News::Interrupted => {
                self.interrupted = true;
                self.tell_all(worker, &Bytes::from_static(INTERRUPTED.as_bytes()));
            }
            News::GoesOn => {
                self.interrupted = false;
                self.tell_all(worker, &Bytes::from_static(GOES_ON.as_bytes()));
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9999".into());
    let nats = args.next().unwrap_or_else(|| "127.0.0.1:4222".into());
    let server = Server::bind(address.as_str())?;
    // It listens to the stream before the first session begins, so that a session misses nothing.
    let (bus, hears) = bus::start(&nats)?;
    let server =
        server.start(move |here| Chat { here, bus: bus.clone(), present: Vec::new(), interrupted: false })?;
    hears.begin(server.workers().collect());
    println!("listening on {}", server.local_addr());
    let _ = io::copy(&mut io::stdin(), &mut io::sink()); // an error ends stdin, too
    println!("{}", server.drain(DRAIN)?);
    Ok(())
}
