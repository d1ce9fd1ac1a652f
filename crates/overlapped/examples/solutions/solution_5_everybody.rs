//! Exercise 5 of `docs/lesson.md`: what one client says goes to all clients, on all workers.
//! `cargo run --example solution_5_everybody -- 127.0.0.1:9999`, then `talk` in two more terminals.

use overlapped::{Bytes, Framed, Handler, Lease, Lines, Server, Session, WorkerContext, WorkerHandle};

struct Everybody {
    workers: Vec<WorkerHandle<Bytes>>,
}

impl Handler for Everybody {
    type State = Framed<Lines>;
    /// One line for all sessions of a worker. The bytes are shared, not copied, however many sessions there are.
    type Message = Bytes;

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Framed<Lines> {
        Framed::new(Lines::up_to(200))
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, lines: &mut Framed<Lines>, data: Lease) {
        lines.push(data);
        while let Some(line) = lines.next(session) {
            let line = match line {
                Ok(line) => Bytes::from([line.as_slice(), b"\n"].concat()),
                Err(_) => return, // too long: the session is closed
            };
            for worker in &self.workers {
                let _ = worker.post(line.clone()); // a worker whose mailbox is full misses it
            }
        }
    }

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Self::State>, line: Bytes) {
        worker.broadcast(&line, None);
    }
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = Server::bind(address.as_str())?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run(|worker| Everybody { workers: worker.workers().collect() })
}

#[cfg(test)]
mod tests {
    use overlapped::testing::{self, World};

    #[test]
    fn everybody_hears_a_line_and_nobody_waits_for_one_who_does_not_read() {
        let server = testing::server().workers(2);
        let mut world =
            World::start(server, |worker| super::Everybody { workers: worker.workers().collect() });
        let [mut anna, mut bert, mut carl] = [world.connect(), world.connect(), world.connect()];
        carl.stop_reading();
        anna.send_in_pieces("good morning\n", 4);
        world.settle();
        for client in [&mut anna, &mut bert] {
            assert_eq!(client.received(), "good morning\n");
        }
        carl.resume_reading();
        world.settle();
        assert_eq!(carl.received(), "good morning\n");
    }
}
