//! A chat room: every line goes to everybody else, on whatever worker they are.
//! `cargo run --release --example chat -- 127.0.0.1:9999`, then `nc 127.0.0.1 9999` in two terminals.

use overlapped::{Bytes, Handler, Lease, Server, Session, SessionId, WorkerContext, WorkerHandle};

const LONGEST_LINE: usize = 4096;

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
    /// The line that is not complete yet: the network cuts where it pleases.
    type State = Vec<u8>;
    type Message = Line;

    fn on_open(&mut self, session: &mut Session<'_>) -> Vec<u8> {
        session.send(format!("you are {}\n", session.id()).into_bytes());
        Vec::new()
    }

    fn on_data(&mut self, session: &mut Session<'_>, line: &mut Vec<u8>, data: Lease) {
        for byte in data.iter() {
            line.push(*byte);
            if *byte == b'\n' {
                let text = [format!("{}: ", session.id()).as_bytes(), line.as_slice()].concat().into();
                let line_of_all = Line { from: session.id(), text };
                line.clear();
                for worker in &self.workers {
                    let _ = worker.post(line_of_all.clone()); // a worker that is too busy misses it
                }
            } else if line.len() > LONGEST_LINE {
                session.send("line too long\n");
                return session.close();
            }
        }
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_>, line: Line) {
        worker.broadcast(&line.text, Some(line.from));
    }
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = Server::bind(address.as_str())?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run(|worker| Room { workers: worker.workers().collect() })
}
