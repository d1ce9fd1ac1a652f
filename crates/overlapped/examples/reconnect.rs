//! Many sessions that reconnect: each greets its server, and connects again, with back-off, whenever it is lost.
//! `cargo run --release --example reconnect -- localhost:9999 2000`
use overlapped::{Closed, Handler, Lease, Reconnect, Server, Session, WorkerContext};
use std::io;

struct Clients(Vec<Reconnect>);

impl Handler for Clients {
    /// Which of the clients it is.
    type State = u64;
    type Message = ();

    fn on_start(&mut self, worker: &mut WorkerContext<'_, Self::State>) {
        self.0.iter_mut().for_each(|client| client.start(worker));
    }

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) -> u64 {
        let client = session.token().expect("all sessions are outbound");
        self.0[client as usize].opened(session);
        session.send(format!("I am {client}\n"));
        client
    }

    fn on_data(&mut self, _session: &mut Session<'_, Self::State>, client: &mut u64, data: Lease) {
        println!("to {client}: {}", String::from_utf8_lossy(&data).trim_end());
    }

    fn on_connect_failed(&mut self, worker: &mut WorkerContext<'_, Self::State>, client: u64, _: &io::Error) {
        self.0[client as usize].lost(worker);
    }

    fn on_close(&mut self, worker: &mut WorkerContext<'_, Self::State>, _: Closed, client: u64) {
        self.0[client as usize].lost(worker);
    }
}

fn main() -> overlapped::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("usage: reconnect SERVER-ADDRESS CLIENTS");
    let (target, count): (String, u64) = (next(), next().parse().expect("a number of clients"));
    let client = move |client| Reconnect::new(&target, client);
    Server::without_listeners().workers(1).run(move |_| Clients((0..count).map(&client).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlapped::testing::{self, World};
    use std::{net::SocketAddr, time::Duration};

    #[test]
    fn each_comes_back_after_a_while() {
        const COUNT: usize = 50;
        let target = SocketAddr::from(([10, 0, 0, 1], 80));
        let clients = |_| Clients((0..COUNT as u64).map(|client| Reconnect::new(target, client)).collect());
        let mut world = World::start(testing::server(), clients);
        world.advance(Duration::from_secs(60)); // nobody listens
        assert_eq!(world.stats().sessions, 0);
        let mut server = world.listen(target);
        for _ in 0..3 {
            world.advance(Duration::from_secs(60));
            let mut sessions: Vec<_> = std::iter::from_fn(|| server.try_accept()).collect();
            assert_eq!(sessions.len(), COUNT);
            assert!(sessions.iter_mut().all(|session| session.received().starts_with(b"I am ")));
            sessions.iter_mut().for_each(testing::Peer::reset);
            world.settle();
            assert_eq!(world.stats().sessions, 0);
        }
    }
}
