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
