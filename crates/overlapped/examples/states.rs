//! Sessions with states: connected → authenticated → in game. A state has its own data and its own commands; a command of
//! another state is refused. `cargo run --release --example states -- 127.0.0.1:9999 [BACKEND]`, then `nc 127.0.0.1 9999`:
//! `login NAME`, `play`, `go X Y`, `leave`, `pong`. When its stdin ends, it drains.
//!
//! The session manager has no lock. Each name belongs to one worker, its *home*, which alone knows who has logged in by
//! it. The other workers ask the home with messages, and it handles one at a time.
use std::{collections::HashMap, io, mem, time::Duration};

use overlapped::handles::{Owed, SessionHandle, WorkerHandle};
use overlapped::settings::Choice;
use overlapped::{Closed, Framed, Handler, Idle, Lease, Lines, Server, Session, SessionId, WorkerContext};

/// How long a client may take to log in, and to complete a line that it has begun.
const LOGIN: Duration = Duration::from_secs(30);
/// A client that sends nothing for this long gets a `ping`. After the same time again, its session is closed.
const SILENCE: Duration = Duration::from_secs(60);
/// The code of a session that another login has replaced, in its `CloseReason::ClosedWith`.
const REPLACED: u32 = 1;

/// Where a session is, with what exists only there: who has not logged in has no name, who does not play has no place.
#[derive(Debug, Default)]
enum State {
    #[default]
    Connected,
    /// The home of the name was asked. The session is paused, so its next commands wait for the answer.
    LoggingIn(String),
    Authenticated(String),
    InGame(String, i32, i32),
}

struct Client {
    lines: Framed<Lines>,
    state: State,
    /// True exactly when nothing has arrived since the last `ping`.
    pinged: bool,
}

enum Message {
    /// To the home of a name: this session logs in by it.
    Login(String, Owed),
    /// From there: the name is this session's.
    LoggedIn(Owed),
    /// To the home of a name: this session has ended.
    Logout(String, SessionId),
}

struct Game {
    workers: Vec<WorkerHandle<Message>>,
    /// Who has logged in, of the names whose home is this worker. The handle of a session that has ended does nothing.
    names: HashMap<String, SessionHandle>,
}

impl Game {
    fn new(here: &WorkerHandle<Message>) -> Game {
        Game { workers: here.workers().collect(), names: HashMap::new() }
    }

    /// Lost if the home's mailbox is full. A session that waits for the answer then ends at its deadline.
    fn tell_home(&self, name: &str, message: Message) {
        let home = name.bytes().map(usize::from).sum::<usize>() % self.workers.len();
        let _ = self.workers[home].post(message);
    }

    /// Carries out a command, and returns the state that follows.
    fn command(&self, session: &mut Session<'_, Client>, state: State, line: &str) -> State {
        let words: Vec<&str> = line.split(' ').collect();
        match (state, &words[..]) {
            (State::Connected, &["login", name]) if !name.is_empty() => {
                session.pause();
                self.tell_home(name, Message::Login(name.into(), session.owe()));
                State::LoggingIn(name.into())
            }
            (State::Authenticated(name), ["play"]) => {
                session.send("* you are at 0,0\n");
                State::InGame(name, 0, 0)
            }
            (State::InGame(name, x, y), ["go", east, south]) => {
                // A client says where it wants to go; where it is, only the server says.
                let step = |by: &str| by.parse::<i32>().map_or(0, |by| by.clamp(-1, 1));
                let (x, y) = (x.saturating_add(step(east)), y.saturating_add(step(south)));
                session.send(format!("* you are at {x},{y}\n"));
                State::InGame(name, x, y)
            }
            (State::InGame(name, ..), ["leave"]) => {
                session.send("* you have left the game\n");
                State::Authenticated(name)
            }
            (state, ["pong"]) => state,
            (state, _) => {
                session.send(format!("! {line:?}: not while you are {state:?}\n"));
                state
            }
        }
    }
}

impl Handler for Game {
    type State = Client;
    type Message = Message;

    fn on_open(&mut self, session: &mut Session<'_, Client>) -> Client {
        session.set_deadline(LOGIN);
        session.set_read_idle_timeout(SILENCE);
        let lines = Framed::new(Lines::up_to(200)).timeout(LOGIN);
        Client { lines, state: State::Connected, pinged: false }
    }

    fn on_data(&mut self, session: &mut Session<'_, Client>, client: &mut Client, data: Lease) {
        client.pinged = false;
        client.lines.push(data);
        while let Some(line) = client.lines.next(session) {
            let Ok(line) = line else { continue }; // the next call of `next` closes the session
            let mut line = String::from_utf8_lossy(line.as_slice()).into_owned();
            line.retain(|c| !c.is_control()); // these could change the terminals of others
            client.state = self.command(session, mem::take(&mut client.state), &line);
        }
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Client>, message: Message) {
        match message {
            Message::Login(name, owed) => {
                // The session that logged in before is closed, also if its peer is long gone. Its worker may handle a few
                // more of its commands first. If that worker's mailbox is full, the new login is not answered.
                if let Some(stale) = self.names.get(&name) {
                    stale.send("* you have logged in elsewhere, bye\n");
                    if stale.close_with(REPLACED).is_err_and(|error| error.is_full()) {
                        return;
                    }
                }
                self.names.insert(name, owed.handle().clone());
                let _ = self.workers[owed.id().worker()].post(Message::LoggedIn(owed));
            }
            Message::LoggedIn(owed) => {
                let Some((mut session, client)) = worker.session(owed.id()) else { return };
                if let State::LoggingIn(name) = mem::take(&mut client.state) {
                    session.set_deadline(None);
                    session.send(format!("* hello {name}\n"));
                    session.resume();
                    client.state = State::Authenticated(name);
                }
            }
            Message::Logout(name, id) => {
                // The end of a session that was replaced does not log out the one that has replaced it.
                if self.names.get(&name).is_some_and(|session| session.id() == id) {
                    self.names.remove(&name);
                }
            }
        }
    }

    fn on_idle(&mut self, session: &mut Session<'_, Client>, client: &mut Client, _: Idle) {
        if mem::replace(&mut client.pinged, true) {
            session.send("* you do not answer, bye\n");
            session.close();
        } else {
            session.send("ping\n");
        }
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_, Client>, closed: Closed, client: Client) {
        match client.state {
            State::Connected => {}
            State::LoggingIn(name) | State::Authenticated(name) | State::InGame(name, ..) => {
                self.tell_home(&name, Message::Logout(name.clone(), closed.id));
            }
        }
    }
}

fn main() -> overlapped::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9999".into());
    let backend =
        args.next().map_or(Choice::Auto, |name| name.parse().expect("auto, io_uring, iocp or readiness"));
    let server = Server::bind(address.as_str())?.backend(backend).start(|here| Game::new(&here))?;
    println!("listening on {}", server.local_addr());
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    println!("{}", server.drain(Duration::from_secs(5))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlapped::testing::{self, Behaviour, Peer, World};

    fn world(behaviour: Behaviour) -> World<Game> {
        World::start_on(behaviour, testing::server().workers(3), |here| Game::new(&here))
    }

    fn login(world: &mut World<Game>, name: &str) -> Peer {
        let mut peer = world.connect();
        peer.send(format!("login {name}\n"));
        world.settle();
        assert_eq!(peer.received(), format!("* hello {name}\n"));
        peer
    }

    fn names(world: &World<Game>) -> usize {
        (0..3).map(|worker| world.handler(worker).names.len()).sum()
    }

    #[test]
    fn each_state_has_its_commands() {
        let commands = "play\nlogin \nlogin ann\nlogin eve\ngo 1 0\nplay\ngo 1 0\ngo 99 -1\nleave\ngo 1 1\n";
        let wanted = "! \"play\": not while you are Connected\n\
                      ! \"login \": not while you are Connected\n\
                      * hello ann\n\
                      ! \"login eve\": not while you are Authenticated(\"ann\")\n\
                      ! \"go 1 0\": not while you are Authenticated(\"ann\")\n\
                      * you are at 0,0\n* you are at 1,0\n* you are at 2,-1\n* you have left the game\n\
                      ! \"go 1 1\": not while you are Authenticated(\"ann\")\n";
        // What arrives together with the login waits for its answer.
        for len in [7, commands.len()] {
            testing::for_each_behaviour(|behaviour| {
                let mut world = world(behaviour);
                let mut ann = world.connect();
                ann.send_in_pieces(commands, len);
                ann.finish();
                world.settle();
                assert_eq!(ann.received(), wanted);
                assert!(ann.has_ended());
                assert_eq!(names(&world), 0);
            });
        }
    }

    #[test]
    fn a_second_login_replaces_the_first_on_whatever_workers() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = world(behaviour);
            let mut sessions: Vec<Peer> = Vec::new();
            for _ in 0..4 {
                let mut stale = sessions.pop();
                sessions.push(login(&mut world, "ann"));
                if let Some(stale) = &mut stale {
                    assert_eq!(stale.received(), "* you have logged in elsewhere, bye\n");
                    assert!(stale.has_ended());
                }
                assert_eq!(names(&world), 1, "the end of the stale session did not take the name away");
            }
        });
    }

    #[test]
    fn of_many_logins_at_the_same_time_one_stays() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = world(behaviour);
            let mut all: Vec<Peer> = (0..7).map(|_| world.connect()).collect();
            all.iter_mut().for_each(|peer| peer.send("login ann\n"));
            world.settle();
            assert_eq!(all.iter().filter(|peer| peer.is_open()).count(), 1);
            assert!(all.iter_mut().all(|peer| peer.received().text().starts_with("* hello ann\n")));
            assert_eq!(names(&world), 1);
        });
    }

    #[test]
    fn a_login_that_is_not_answered_ends_at_its_deadline() {
        testing::for_each_behaviour(|behaviour| {
            let server = testing::server().workers(3).mailbox(1);
            let mut world = World::start_on(behaviour, server, |here| Game::new(&here));
            let mut all: Vec<Peer> = (0..30).map(|_| world.connect()).collect();
            all.iter_mut().for_each(|peer| peer.send("login ann\nplay\n"));
            world.advance(LOGIN + Duration::from_secs(1));
            assert!(world.stats().posts_refused > 0);
            let open = all.iter().filter(|peer| peer.is_open()).count();
            assert!(open <= 1, "{open} sessions by one name");
            for peer in &mut all {
                let heard = peer.received();
                assert!(heard.is_empty() || heard.text().starts_with("* hello ann\n* you"), "{heard:?}");
            }
        });
    }

    #[test]
    fn the_silent_are_pinged_then_closed_and_slow_logins_too() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = world(behaviour);
            let (mut ann, mut bob, mut eve) =
                (login(&mut world, "ann"), login(&mut world, "bob"), world.connect());
            let mut slow = world.connect();
            for _ in 0..=LOGIN.as_secs() {
                if slow.is_open() {
                    slow.send("x"); // always active, and no line
                }
                world.advance(Duration::from_secs(1));
            }
            assert!(slow.has_ended() && eve.has_ended(), "neither has logged in by now");
            assert_eq!(eve.received(), "");
            world.advance(SILENCE - LOGIN + Duration::from_secs(1));
            assert_eq!((ann.received().text(), bob.received().text()), ("ping\n", "ping\n"));
            bob.send("pong\n");
            world.advance(SILENCE + Duration::from_secs(1));
            assert_eq!(
                (ann.received().text(), bob.received().text()),
                ("* you do not answer, bye\n", "ping\n")
            );
            assert!(ann.has_ended() && bob.is_open());
            assert_eq!(names(&world), 1);
        });
    }

    #[test]
    fn a_lost_session_gives_its_name_back() {
        testing::for_each_behaviour(|behaviour| {
            let mut world = world(behaviour);
            let (mut ann, mut bob) = (login(&mut world, "ann"), login(&mut world, "bob"));
            ann.reset();
            world.settle();
            assert_eq!(names(&world), 1);
            bob.finish();
            world.settle();
            assert_eq!(names(&world), 0);
        });
    }
}
