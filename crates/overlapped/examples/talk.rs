//! A client for servers that speak lines, also where there is no `nc`: sends the lines that are its arguments, then ends its
//! stream, and prints what comes until the server ends. After `-` as the last argument, the lines of its stdin follow.
//! `cargo run --release --example talk -- 127.0.0.1:9999 'login ann' play`
use std::io::{self, BufRead, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::{process::ExitCode, thread, time::Duration};

use overlapped::{CloseReason, Closed, Handler, Lease, Sent, Server, Session, SessionId, WorkerContext};
use overlapped::{WorkerHandle, buffers::Bytes};

#[derive(Debug, PartialEq)]
enum Heard {
    Bytes(Bytes),
    /// The end, and why if it is not a good one.
    End(Result<(), String>),
}

struct Talk {
    here: WorkerHandle<SessionId>,
    server: String,
    lines: Vec<String>,
    /// What its `main` prints. Few may wait: then this worker waits, and with it its only session.
    heard: SyncSender<Heard>,
}

impl Handler for Talk {
    type State = ();
    /// The session whose last line was sent.
    type Message = SessionId;

    fn on_start(&mut self, worker: &mut WorkerContext<'_>) {
        worker.connect(self.server.as_str(), 0);
    }

    fn on_open(&mut self, session: &mut Session<'_>) {
        let more = self.lines.pop_if(|last| last == "-").is_some();
        for line in self.lines.drain(..) {
            session.send(line + "\n");
        }
        if !more {
            return session.finish(); // the answers still come
        }
        let (here, handle) = (self.here.clone(), session.handle());
        thread::spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                // While the server does not read, this thread waits, not the worker.
                if !matches!(handle.send_timeout(line + "\n", Duration::MAX), Ok(Sent::Ok)) {
                    return;
                }
            }
            let _ = here.post(handle.id());
        });
    }

    fn on_data(&mut self, _session: &mut Session<'_>, _state: &mut (), data: Lease) {
        let _ = self.heard.send(Heard::Bytes(data.to_bytes()));
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_>, id: SessionId) {
        if let Some((mut session, _)) = worker.session(id) {
            session.finish();
        }
    }

    fn on_connect_failed(&mut self, _: &mut WorkerContext<'_>, _token: u64, error: &io::Error) {
        let why = format!("cannot connect to {}: {error}; start a server there", self.server);
        let _ = self.heard.send(Heard::End(Err(why)));
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_>, closed: Closed, _state: ()) {
        let end =
            if closed.reason == CloseReason::EndOfStream { Ok(()) } else { Err(closed.reason.to_string()) };
        let _ = self.heard.send(Heard::End(end));
    }
}

fn main() -> overlapped::Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let server = args.next().unwrap_or_else(|| "127.0.0.1:9999".into());
    let lines: Vec<String> = args.collect();
    let (heard, all) = sync_channel(16);
    let talk = move |here| Talk { here, server: server.clone(), lines: lines.clone(), heard: heard.clone() };
    let client = Server::without_listeners().workers(1).start(talk)?;
    let mut end = Ok(());
    for heard in all {
        match heard {
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
    client.begin_drain(Duration::ZERO);
    Ok(if end.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlapped::testing::{self, World};
    use std::net::SocketAddr;
    use std::sync::mpsc::Receiver;

    const SERVER: &str = "10.0.0.1:80";

    fn talk(lines: &[&str]) -> (impl Fn(WorkerHandle<SessionId>) -> Talk, Receiver<Heard>) {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let (heard, all) = sync_channel(1000);
        (move |here| Talk { here, server: SERVER.into(), lines: lines.clone(), heard: heard.clone() }, all)
    }

    #[test]
    fn all_lines_go_out_and_all_answers_are_heard() {
        testing::for_each_behaviour(|behaviour| {
            let (talk, heard) = talk(&["login ann", "play"]);
            let mut world = World::start_on(behaviour, testing::server(), talk);
            let mut server = world.listen(SERVER.parse::<SocketAddr>().expect("an address"));
            world.settle();
            let mut session = server.accept();
            session.stay_open();
            assert_eq!(session.received(), "login ann\nplay\n");
            assert!(session.has_ended(), "nothing more follows");
            session.send_in_pieces("* hello ann\n* you are at 0,0\n", 5);
            session.finish();
            world.settle();
            let mut all: Vec<Heard> = heard.try_iter().collect();
            assert_eq!(all.pop(), Some(Heard::End(Ok(()))));
            let bytes = all.iter().flat_map(|heard| match heard {
                Heard::Bytes(bytes) => bytes.to_vec(),
                Heard::End(_) => panic!("it ends once"),
            });
            assert_eq!(String::from_utf8(bytes.collect()).expect("text"), "* hello ann\n* you are at 0,0\n");
        });
    }

    #[test]
    fn a_bad_end_and_no_server_are_errors() {
        let (to_a_server, heard) = talk(&["hi"]);
        let mut world = World::start(testing::server(), to_a_server);
        let mut server = world.listen(SERVER.parse::<SocketAddr>().expect("an address"));
        world.settle();
        let mut session = server.accept();
        session.stay_open();
        session.reset();
        world.settle();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [Heard::End(Err("reset by the peer".into()))]);

        let (to_nobody, heard) = talk(&["hi"]);
        World::start(testing::server(), to_nobody).settle();
        let end = heard.try_recv().expect("it ends");
        assert!(
            matches!(&end, Heard::End(Err(why)) if why.starts_with("cannot connect to 10.0.0.1:80: ")),
            "{end:?}"
        );
    }
}
