//! A client for servers that speak lines, also where there is no `nc`: sends the lines that are its arguments, then ends its
//! stream, and prints what comes until the server ends. After `-` as the last argument, the lines of its stdin follow.
//! `cargo run --release --example talk -- 127.0.0.1:9999 'login ann' play`
use std::io::{self, BufRead, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::{process::ExitCode, thread, time::Duration};

use overlapped::buffers::Bytes;
use overlapped::handles::{ServerHandle, SessionHandle};
use overlapped::{Closed, Handler, Lease, Sent, Server, Session, SessionId, WorkerContext};

/// What its `main` is told.
#[derive(Debug, PartialEq)]
enum Heard {
    /// There is a session, which waits for more lines.
    Open(SessionHandle),
    Bytes(Bytes),
    /// The end, and why if it is not a good one.
    End(Result<(), String>),
}

struct Talk {
    server: String,
    lines: Vec<String>,
    /// More lines follow, then a message.
    more: bool,
    /// Few may wait here: then this worker waits, and with it its only session.
    heard: SyncSender<Heard>,
}

impl Handler for Talk {
    /// True exactly when the server has ended its stream: nothing is missing then.
    type State = bool;
    /// The session whose last line was sent.
    type Message = SessionId;

    fn on_start(&mut self, worker: &mut WorkerContext<'_, bool>) {
        worker.connect(self.server.as_str(), 0);
    }

    fn on_open(&mut self, session: &mut Session<'_, bool>) -> bool {
        for line in self.lines.drain(..) {
            session.send(line + "\n");
        }
        if self.more {
            let _ = self.heard.send(Heard::Open(session.handle()));
        } else {
            session.finish(); // the answers still come
        }
        false
    }

    fn on_data(&mut self, _session: &mut Session<'_, bool>, _ended: &mut bool, data: Lease) {
        let _ = self.heard.send(Heard::Bytes(data.to_bytes()));
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, bool>, id: SessionId) {
        if let Some((mut session, _)) = worker.session(id) {
            session.finish();
        }
    }

    fn on_half_close(&mut self, session: &mut Session<'_, bool>, ended: &mut bool) {
        *ended = true;
        session.close();
    }

    fn on_connect_failed(&mut self, _: &mut WorkerContext<'_, bool>, _token: u64, error: &io::Error) {
        let why = format!("cannot connect to {}: {error}; is a server running there?", self.server);
        let _ = self.heard.send(Heard::End(Err(why)));
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_, bool>, closed: Closed, ended: bool) {
        let end = if ended { Ok(()) } else { Err(format!("the connection has ended: {}", closed.reason)) };
        let _ = self.heard.send(Heard::End(end));
    }
}

/// Sends the lines of stdin. While the server does not read, this thread waits, not the worker.
fn type_lines(session: &SessionHandle, client: &ServerHandle<SessionId>) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        if !matches!(session.send_timeout(line + "\n", Duration::MAX), Ok(Sent::Ok)) {
            return;
        }
    }
    let _ = client.post(session.id().worker(), session.id());
}

fn main() -> overlapped::Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let server = args.next().unwrap_or_else(|| "127.0.0.1:9999".into());
    let mut lines: Vec<String> = args.collect();
    let more = lines.pop_if(|last| last == "-").is_some();
    let (heard, all) = sync_channel(16);
    let talk = move |_| Talk { server: server.clone(), lines: lines.clone(), more, heard: heard.clone() };
    let client = Server::without_listeners().workers(1).start(talk)?;
    let mut end = Ok(());
    for heard in all {
        match heard {
            Heard::Open(session) => {
                let client = client.clone();
                thread::spawn(move || type_lines(&session, &client));
            }
            Heard::Bytes(bytes) => {
                let mut output = io::stdout().lock();
                if output.write_all(&bytes).and_then(|()| output.flush()).is_err() {
                    break; // nobody reads it
                }
            }
            Heard::End(how) => {
                end = how;
                break;
            }
        }
    }
    if let Err(why) = &end {
        eprintln!("error: {why}");
    }
    Ok(if end.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlapped::testing::{self, Behaviour, Peer, World};
    use std::net::SocketAddr;
    use std::sync::mpsc::Receiver;

    const SERVER: &str = "10.0.0.1:80";

    fn world(behaviour: Behaviour, lines: &[&str]) -> (World<Talk>, Receiver<Heard>) {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let (heard, all) = sync_channel(1000);
        let talk = |_| Talk { server: SERVER.into(), lines: lines.clone(), more: true, heard: heard.clone() };
        (World::start_on(behaviour, testing::server(), talk), all)
    }

    /// The server's side, the id of the session, and what has been heard.
    fn connected(behaviour: Behaviour) -> (World<Talk>, Peer, SessionId, Receiver<Heard>) {
        let (mut world, heard) = world(behaviour, &["login ann", "play"]);
        let mut server = world.listen(SERVER.parse::<SocketAddr>().expect("an address"));
        world.settle();
        let mut session = server.accept();
        session.stay_open();
        assert_eq!(session.received(), "login ann\nplay\n");
        let Ok(Heard::Open(handle)) = heard.try_recv() else { panic!("it is connected") };
        (world, session, handle.id(), heard)
    }

    #[test]
    fn all_lines_go_out_and_all_answers_are_heard_behind_the_end_of_the_lines() {
        testing::for_each_behaviour(|behaviour| {
            let (mut world, mut server, id, heard) = connected(behaviour);
            world.post(0, id);
            world.settle();
            assert!(server.has_ended());
            server.send_in_pieces("* hello ann\n* you are at 0,0\n", 5);
            server.finish();
            world.settle();
            let mut all: Vec<Heard> = heard.try_iter().collect();
            assert_eq!(all.pop(), Some(Heard::End(Ok(()))));
            let bytes = all.iter().flat_map(|heard| match heard {
                Heard::Bytes(bytes) => bytes.to_vec(),
                other => panic!("{other:?}"),
            });
            let text = String::from_utf8(bytes.collect()).expect("text");
            assert_eq!(text, "* hello ann\n* you are at 0,0\n");
        });
    }

    #[test]
    fn an_end_is_told_from_a_reset_before_and_behind_the_end_of_the_lines() {
        testing::for_each_behaviour(|behaviour| {
            for (finishes, resets) in [(false, false), (false, true), (true, false), (true, true)] {
                let (mut world, mut server, id, heard) = connected(behaviour);
                if finishes {
                    world.post(0, id);
                    world.settle();
                }
                if resets {
                    server.reset()
                } else {
                    server.finish()
                }
                world.settle();
                let wanted =
                    if resets { Err("the connection has ended: reset by the peer".into()) } else { Ok(()) };
                assert_eq!(heard.try_iter().collect::<Vec<_>>(), [Heard::End(wanted)], "{finishes} {resets}");
            }
        });
    }

    #[test]
    fn no_server_is_an_error_with_its_address() {
        let (mut world, heard) = world(Behaviour::default(), &[]);
        world.settle();
        let end = heard.try_recv().expect("it ends");
        let why = "cannot connect to 10.0.0.1:80: ";
        assert!(matches!(&end, Heard::End(Err(text)) if text.starts_with(why)), "{end:?}");
    }
}
