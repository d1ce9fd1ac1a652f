//! A TCP relay: what one side says, the other hears. A side that does not read holds the other back. When its stdin ends,
//! it drains: no connection begins any more, and those that are left have ten seconds to end.
//! `cargo run --release --example proxy -- 127.0.0.1:8080 127.0.0.1:9999` relays the first to the second.
use overlapped::{Closed, Handler, Lease, Owed, Server, Session, SessionId, WorkerContext};
use std::{io, net::SocketAddr, time::Duration};

struct Relay {
    target: SocketAddr,
}

#[derive(Default)]
struct Half {
    other: Option<SessionId>,
    /// Of a client that has asked: bytes do not say where an answer ends, so it ends with the target's stream.
    owed: Option<Owed>,
}

impl Handler for Relay {
    type State = Half;
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) -> Half {
        let here = session.id();
        let Some(token) = session.token() else {
            session.pause(); // until its bytes can be sent on
            session.worker().connect(self.target, here.to_token());
            return Half::default();
        };
        let there = session.worker().id_from_token(token);
        session.feed(there); // while too much is unsent there, nothing is received here
        match session.worker().session(there) {
            Some((mut client, half)) => {
                half.other = Some(here);
                client.feed(here);
                client.resume();
            }
            None => session.abort(),
        }
        Half { other: Some(there), owed: None }
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, half: &mut Half, data: Lease) {
        if !session.is_outbound() && half.owed.is_none() {
            half.owed = Some(session.owe());
        }
        half.other.map(|other| session.worker().send(other, data));
    }

    fn on_half_close(&mut self, session: &mut Session<'_, Self::State>, half: &mut Half) {
        let mut worker = session.worker();
        let Some((mut other, others)) = half.other.and_then(|other| worker.session(other)) else { return };
        others.owed = None;
        other.finish(); // its own stream; a session closes by itself when both have ended
    }

    fn on_connect_failed(&mut self, worker: &mut WorkerContext<'_, Self::State>, token: u64, _: &io::Error) {
        let asker = worker.id_from_token(token);
        let Some((mut asker, _)) = worker.session(asker) else { return };
        asker.abort();
    }

    fn on_close(&mut self, worker: &mut WorkerContext<'_, Self::State>, closed: Closed, half: Half) {
        let Some((mut other, _)) = half.other.and_then(|other| worker.session(other)) else { return };
        if closed.reason.is_graceful() { other.close() } else { other.abort() }
    }
}

fn main() -> overlapped::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("usage: proxy LISTEN-ADDRESS TARGET-ADDRESS [SECONDS]");
    let (server, target) = (Server::bind(next().as_str())?, next().parse().expect("an IP address and port"));
    let limit = args.next().map_or(10.0, |limit| limit.parse().expect("how many seconds a drain may take"));
    let server = server.write_timeout(Duration::from_secs(5)); // who does not read at all is cut
    let server = server.start(move |_| Relay { target })?;
    println!("listening on {}", server.local_addr());
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    println!("{}", server.drain(Duration::from_secs_f64(limit))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use overlapped::testing::{self, World};

    fn relay() -> (World<Relay>, SocketAddr) {
        let target = SocketAddr::from(([10, 0, 0, 1], 80));
        let server = testing::server();
        (World::start(server, |_| Relay { target }), target)
    }

    #[test]
    fn bytes_and_ends_pass_in_both_directions() {
        let (mut world, target) = relay();
        let mut upstream = world.listen(target);
        let mut client = world.connect();
        let mut server = upstream.accept();
        server.stay_open();
        client.send_in_pieces("request", 1);
        client.finish();
        world.settle();
        assert_eq!(server.received(), "request");
        assert!(server.has_ended() && client.is_open());

        server.send("answer");
        server.finish();
        world.settle();
        assert_eq!(client.received(), "answer");
        assert!(client.has_ended());
    }

    #[test]
    fn a_client_that_does_not_read_holds_the_target_back() {
        let (mut world, target) = relay();
        let mut upstream = world.listen(target);
        let mut client = world.connect();
        let mut server = upstream.accept();
        client.stop_reading();
        server.send([0; 1_000_000]);
        world.settle();
        assert!(server.unsent() > 500_000);
        client.resume_reading();
        world.settle();
        assert_eq!((client.received().len(), server.unsent()), (1_000_000, 0));
    }

    #[test]
    fn a_target_that_refuses_ends_the_client() {
        let (mut world, _) = relay();
        assert!(world.connect().was_reset());
    }
}
