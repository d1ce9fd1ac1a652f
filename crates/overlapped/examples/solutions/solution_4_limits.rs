//! Exercise 4 of `docs/lesson.md`: at most two sessions, and none that is silent for ten seconds.
//! `cargo run --example solution_4_limits -- 127.0.0.1:9999`, then `talk` in three more terminals.

use std::time::Duration;

use overlapped::{Admission, Handler, Idle, Incoming, Lease, Server, Session, WorkerContext};

struct Limited;

fn with_limits(server: Server) -> Server {
    server.max_sessions(2).read_idle_timeout(Duration::from_secs(10))
}

impl Handler for Limited {
    type State = ();
    type Message = ();

    fn on_accept(&mut self, _worker: &mut WorkerContext<'_, ()>, incoming: &Incoming<'_>) -> Admission {
        match incoming.limit_reached() {
            Some(_) => Admission::refuse("full, try later\n"), // turned away in any case: this is its last word
            None => Admission::Admit,
        }
    }

    fn on_open(&mut self, session: &mut Session<'_>) {
        session.send("welcome\n");
    }

    fn on_data(&mut self, session: &mut Session<'_>, _state: &mut (), data: Lease) {
        session.send(data);
    }

    fn on_idle(&mut self, session: &mut Session<'_>, _state: &mut (), _idle: Idle) {
        session.send("silent for too long\n");
        session.close();
    }
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = with_limits(Server::bind(address.as_str())?);
    println!("listening on {}", server.local_addrs()[0]);
    server.run(|_worker| Limited)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use overlapped::testing::{self, World};

    #[test]
    fn the_third_is_refused_and_the_silent_one_is_closed() {
        let mut world = World::start(super::with_limits(testing::server()), |_worker| super::Limited);
        let [mut anna, mut bert] = [world.connect(), world.connect()];
        let mut carl = world.connect();
        world.settle();
        assert_eq!(carl.received(), "full, try later\n");
        assert_eq!(anna.received(), "welcome\n");
        assert_eq!(bert.received(), "welcome\n");

        world.advance(Duration::from_secs(9));
        anna.send("still here\n");
        world.advance(Duration::from_secs(2));
        assert_eq!(anna.received(), "still here\n");
        assert_eq!(bert.received(), "silent for too long\n");
        assert!(bert.has_ended() && anna.is_open());

        let mut dora = world.connect();
        assert_eq!(dora.received(), "welcome\n");
    }
}
