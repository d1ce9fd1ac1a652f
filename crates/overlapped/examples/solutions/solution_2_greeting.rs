//! Exercise 2 of `docs/lesson.md`: greets each client, and says how many are there.
//! `cargo run --example solution_2_greeting -- 127.0.0.1:9999`, then `talk` in two more terminals.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use overlapped::{Handler, Lease, Server, Session};

#[derive(Clone, Default)]
struct Greeter {
    /// The sessions of all workers: each worker has a handler of its own, and all handlers share this.
    sessions: Arc<AtomicUsize>,
}

/// One counted session. It is the session's state, so it is dropped exactly once, when nothing is in flight any more.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handler for Greeter {
    type State = Counted;
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_, Counted>) -> Counted {
        let sessions = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        session.send(format!("welcome, sessions now: {sessions}\n"));
        Counted(Arc::clone(&self.sessions))
    }

    fn on_data(&mut self, session: &mut Session<'_, Counted>, _counted: &mut Counted, data: Lease) {
        session.send(data);
    }
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = Server::bind(address.as_str())?;
    println!("listening on {}", server.local_addrs()[0]);
    let greeter = Greeter::default();
    server.run(move |_worker| greeter.clone())
}

#[cfg(test)]
mod tests {
    use overlapped::testing::{self, World};

    #[test]
    fn sessions_are_counted_on_all_workers_however_they_end() {
        let greeter = super::Greeter::default();
        let mut world = World::start(testing::server().workers(2), move |_worker| greeter.clone());
        let [mut anna, mut bert] = [world.connect(), world.connect()];
        assert_eq!(anna.received(), "welcome, sessions now: 1\n");
        assert_eq!(bert.received(), "welcome, sessions now: 2\n");
        anna.send("hello\n");
        bert.reset();
        world.settle();
        assert_eq!(anna.received(), "hello\n");
        anna.finish();
        world.settle();
        let mut carl = world.connect();
        assert_eq!(carl.received(), "welcome, sessions now: 1\n");
    }
}
