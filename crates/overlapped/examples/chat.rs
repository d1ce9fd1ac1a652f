//! A chat room: every line goes to everybody else, on whatever worker they are.
//! `cargo run --release --example chat -- 127.0.0.1:9999`, then `nc 127.0.0.1 9999` in two terminals.

use overlapped::{
    Bytes, Framed, Handler, Lease, Lines, Server, Session, SessionId, WorkerContext, WorkerHandle,
};

struct Room {
    workers: Vec<WorkerHandle<Line>>,
}

/// What a worker tells all workers, itself included: shared, not copied, however many sessions they have.
#[derive(Clone)]
struct Line {
    from: SessionId,
    text: Bytes,
}

impl Handler for Room {
    type State = Framed<Lines>;
    type Message = Line;

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) -> Framed<Lines> {
        session.send(format!("you are {}\n", session.id()));
        Framed::new(Lines::up_to(4096))
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, lines: &mut Framed<Lines>, data: Lease) {
        lines.push(data);
        while let Some(line) = lines.next(session) {
            match line {
                Ok(line) => {
                    let text =
                        [format!("{}: ", session.id()).as_bytes(), line.as_slice(), b"\n"].concat().into();
                    let line = Line { from: session.id(), text };
                    for worker in &self.workers {
                        let _ = worker.post(line.clone()); // a worker that is too busy misses it
                    }
                }
                Err(error) => {
                    session.send(format!("{error}\n")); // the session is closed after this
                }
            }
        }
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Self::State>, line: Line) {
        worker.broadcast(&line.text, Some(line.from));
    }
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = Server::bind(address.as_str())?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run(|worker| Room { workers: worker.workers().collect() })
}
