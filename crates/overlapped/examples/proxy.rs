//! A TCP relay: what one side says, the other hears. A side that does not read holds the other back.
//! `cargo run --release --example proxy -- 127.0.0.1:8080 127.0.0.1:9999` relays the first to the second.
use overlapped::{Closed, Handler, Lease, Server, Session, SessionId, WorkerContext};
use std::{collections::HashMap, io, net::SocketAddr, time::Duration};

struct Relay {
    target: SocketAddr,
    asked: u64,
    waiting: HashMap<u64, SessionId>,
}

impl Handler for Relay {
    /// The other half.
    type State = Option<SessionId>;
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) -> Option<SessionId> {
        let here = session.id();
        let Some(there) = session.token().and_then(|token| self.waiting.remove(&token)) else {
            session.pause(); // until there is somebody to tell
            self.asked += 1;
            self.waiting.insert(self.asked, here);
            session.worker().connect(self.target, self.asked);
            return None;
        };
        session.feed(there); // while too much is unsent there, nothing is received here
        match session.worker().session(there) {
            Some((mut client, other)) => {
                *other = Some(here);
                client.feed(here);
                client.resume();
            }
            None => session.abort(),
        }
        Some(there)
    }

    fn on_data(
        &mut self,
        session: &mut Session<'_, Self::State>,
        other: &mut Option<SessionId>,
        data: Lease,
    ) {
        other.map(|other| session.worker().send(other, data));
    }

    fn on_half_close(&mut self, session: &mut Session<'_, Self::State>, other: &mut Option<SessionId>) {
        let Some(mut other) = other.and_then(|other| session.sibling(other)) else { return };
        other.finish(); // its own stream; a session closes by itself when both have ended
    }

    fn on_connect_failed(&mut self, worker: &mut WorkerContext<'_, Self::State>, token: u64, _: &io::Error) {
        let asker = self.waiting.remove(&token).and_then(|id| worker.session(id));
        let Some((mut asker, _)) = asker else { return };
        asker.abort();
    }

    fn on_close(
        &mut self,
        worker: &mut WorkerContext<'_, Self::State>,
        closed: Closed,
        other: Option<SessionId>,
    ) {
        let Some((mut other, _)) = other.and_then(|other| worker.session(other)) else { return };
        if closed.reason.is_graceful() { other.close() } else { other.abort() }
    }
}

fn main() -> overlapped::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("usage: proxy LISTEN-ADDRESS TARGET-ADDRESS");
    let (server, target) = (Server::bind(next().as_str())?, next().parse().expect("an IP address and port"));
    let server = server.write_timeout(Some(Duration::from_secs(5))); // who does not read at all is cut
    println!("listening on {}", server.local_addrs()[0]);
    server.run(move |_| Relay { target, asked: 0, waiting: HashMap::new() })
}
