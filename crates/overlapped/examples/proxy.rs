//! A TCP relay: what one side says, the other hears. A side that does not read holds the other back.
//! `cargo run --release --example proxy -- 127.0.0.1:8080 127.0.0.1:9999` relays the first to the second.
use overlapped::{CloseReason, Handler, Lease, Server, Session, SessionId, WorkerContext};
use std::{collections::HashMap, io, net::SocketAddr, time::Duration};

struct Relay {
    target: SocketAddr,
    asked: u64,
    waiting: HashMap<u64, SessionId>,
    other: HashMap<SessionId, SessionId>,
}

impl Handler for Relay {
    type State = ();
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_>) {
        let here = session.id();
        let Some(there) = session.token().and_then(|token| self.waiting.remove(&token)) else {
            session.pause(); // until there is somebody to tell
            self.asked += 1;
            self.waiting.insert(self.asked, here);
            return session.worker().connect(self.target, self.asked);
        };
        self.other.extend([(here, there), (there, here)]);
        session.feed(there); // while too much is unsent there, nothing is received here
        let Some(mut there) = session.sibling(there) else { return session.abort() };
        there.feed(here);
        there.resume();
    }

    fn on_data(&mut self, session: &mut Session<'_>, _: &mut (), data: Lease) {
        session.sibling(self.other[&session.id()]).map(|mut other| other.send(data));
    }

    fn on_half_close(&mut self, session: &mut Session<'_>, _: &mut ()) {
        let Some(mut other) = session.sibling(self.other[&session.id()]) else { return };
        other.finish(); // its own stream; a session closes by itself when both have ended
    }

    fn on_connect_failed(&mut self, worker: &mut WorkerContext<'_>, token: u64, _: &io::Error) {
        let Some(mut asker) = self.waiting.remove(&token).and_then(|id| worker.session(id)) else { return };
        asker.abort();
    }

    fn on_close(&mut self, worker: &mut WorkerContext<'_>, id: SessionId, _: (), reason: CloseReason) {
        let Some(mut other) = self.other.remove(&id).and_then(|id| worker.session(id)) else { return };
        if reason.is_graceful() { other.close() } else { other.abort() }
    }
}

fn main() -> overlapped::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("usage: proxy LISTEN-ADDRESS TARGET-ADDRESS");
    let (server, target) = (Server::bind(next().as_str())?, next().parse().expect("an IP address and port"));
    let server = server.write_timeout(Duration::from_secs(5)); // who does not read at all is cut
    println!("listening on {}", server.local_addrs()[0]);
    server.run(move |_| Relay { target, asked: 0, waiting: HashMap::new(), other: HashMap::new() })
}
