//! A SOCKS5 proxy (RFC 1928): CONNECT, without authentication.
//!
//! `socks5 ADDRESS [BACKEND]`, then for instance `curl --socks5-hostname ADDRESS http://example.com/`.
//! It drains when its stdin ends.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use overlapped::codec::{Decoder, Input};
use overlapped::{
    Choice, Closed, Endpoint, Framed, Handler, Lease, Sent, Server, Session, SessionId, WorkerContext,
};

/// Within this time a client has its tunnel, or it is closed.
const HANDSHAKE: Duration = Duration::from_secs(30);

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

const SUCCEEDED: u8 = 0;
const HOST_UNREACHABLE: u8 = 4;
const REFUSED: u8 = 5;
const COMMAND_NOT_SUPPORTED: u8 = 7;
const ADDRESS_TYPE_NOT_SUPPORTED: u8 = 8;

/// Parses what a client sends before its tunnel is open.
#[derive(Default)]
struct Handshake {
    greeted: bool,
}

enum Step {
    Greeting,
    Request(Endpoint),
}

impl Decoder for Handshake {
    type Item = Step;
    /// The answer to the client, before it is closed.
    type Error = Vec<u8>;

    fn decode(&mut self, input: &mut Input<'_>) -> Result<Option<Step>, Vec<u8>> {
        let (step, len) = match input[..] {
            [] | [VERSION] => return Ok(None),
            [VERSION, count, ref methods @ ..] if !self.greeted => match methods.get(..count.into()) {
                None => return Ok(None),
                Some(methods) if methods.contains(&NO_AUTHENTICATION) => (Step::Greeting, 2 + methods.len()),
                Some(_) => return Err(vec![VERSION, 0xff]), // no acceptable method
            },
            [VERSION, CONNECT, _, IPV4, a, b, c, d, high, low, ..] => {
                (request(Ipv4Addr::new(a, b, c, d), [high, low]), 10)
            }
            [VERSION, CONNECT, _, IPV6, ref rest @ ..] if rest.len() >= 18 => {
                let ip: [u8; 16] = rest[..16].try_into().expect("16 bytes");
                (request(Ipv6Addr::from(ip), [rest[16], rest[17]]), 22)
            }
            [VERSION, CONNECT, _, NAME, len, ref rest @ ..] if rest.len() >= usize::from(len) + 2 => {
                let (name, rest) = rest.split_at(len.into());
                let name = str::from_utf8(name).map_err(|_| reply(HOST_UNREACHABLE, UNSPECIFIED))?;
                let port = u16::from_be_bytes([rest[0], rest[1]]);
                (Step::Request(Endpoint::from((name, port))), 5 + name.len() + 2)
            }
            [VERSION, CONNECT] | [VERSION, CONNECT, _] | [VERSION, CONNECT, _, IPV4 | NAME | IPV6, ..] => {
                return Ok(None);
            }
            [VERSION, CONNECT, ..] => return Err(reply(ADDRESS_TYPE_NOT_SUPPORTED, UNSPECIFIED)),
            [VERSION, ..] => return Err(reply(COMMAND_NOT_SUPPORTED, UNSPECIFIED)),
            _ => return Err(Vec::new()), // it speaks something else, so no answer would make sense to it
        };
        input.skip(len);
        self.greeted = true;
        Ok(Some(step))
    }
}

fn request(ip: impl Into<IpAddr>, port: [u8; 2]) -> Step {
    Step::Request(Endpoint::from(SocketAddr::new(ip.into(), u16::from_be_bytes(port))))
}

const UNSPECIFIED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The answer to a request. `bound` is the proxy's own address of the connection to the target.
fn reply(code: u8, bound: SocketAddr) -> Vec<u8> {
    let mut reply = vec![VERSION, code, 0];
    match bound.ip() {
        IpAddr::V4(ip) => {
            reply.push(IPV4);
            reply.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            reply.push(IPV6);
            reply.extend(ip.octets());
        }
    }
    reply.extend(bound.port().to_be_bytes());
    reply
}

enum State {
    /// A client that negotiates.
    Client(Framed<Handshake>),
    /// A client that waits, paused, for the connection to its target, with the bytes behind its request.
    Waiting(Vec<u8>),
    /// One side of a tunnel. It knows the other side.
    Tunnel(SessionId),
}

struct Proxy;

impl Handler for Proxy {
    type State = State;
    type Message = ();

    fn on_open(&mut self, session: &mut Session<'_, State>) -> State {
        let Some(token) = session.token() else {
            session.set_deadline(HANDSHAKE);
            return State::Client(Framed::new(Handshake::default()));
        };
        let bound = session.local_addr().unwrap_or(UNSPECIFIED);
        let target = session.id();
        let mut worker = session.worker();
        let client = worker.id_from_token(token);
        let mut early = None;
        if let Some((mut side, state)) = worker.session(client)
            && side.send(reply(SUCCEEDED, bound)) == Sent::Ok
            && let State::Waiting(bytes) = std::mem::replace(state, State::Tunnel(target))
        {
            early = Some((bytes, side.peer_finished()));
            side.set_deadline(None);
            side.feed(target);
            side.resume();
        }
        match early {
            Some((bytes, finished)) => {
                session.feed(client);
                session.send(bytes);
                if finished {
                    session.finish(); // the client ended its stream while it waited
                }
            }
            None => session.abort(), // the client has gone
        }
        State::Tunnel(client)
    }

    fn on_data(&mut self, session: &mut Session<'_, State>, state: &mut State, data: Lease) {
        let handshake = match state {
            State::Client(handshake) => handshake,
            State::Waiting(_) => return, // not called: the session is paused
            State::Tunnel(other) => {
                session.worker().send(*other, data);
                return;
            }
        };
        handshake.push(data);
        while let Some(step) = handshake.next(session) {
            match step {
                Ok(Step::Greeting) => {
                    session.send([VERSION, NO_AUTHENTICATION]);
                }
                Ok(Step::Request(target)) => {
                    session.pause(); // what follows is for the target
                    let token = session.id().to_token();
                    session.worker().connect(target, token);
                    // A copy: a received block that waits for a target is missing in the worker's pool.
                    *state = State::Waiting(handshake.take_unread(session).as_slice().to_vec());
                    return;
                }
                Err(answer) => {
                    session.send(answer); // the session is closed after this
                }
            }
        }
    }

    fn on_connect_failed(&mut self, worker: &mut WorkerContext<'_, State>, token: u64, error: &io::Error) {
        let client = worker.id_from_token(token);
        if let Some((mut client, _)) = worker.session(client) {
            let refused = error.kind() == ErrorKind::ConnectionRefused;
            client.send(reply(if refused { REFUSED } else { HOST_UNREACHABLE }, UNSPECIFIED));
            client.close();
        }
    }

    fn on_half_close(&mut self, session: &mut Session<'_, State>, state: &mut State) {
        match state {
            State::Client(_) => session.close(),
            State::Waiting(_) => {} // it still waits for an answer
            State::Tunnel(other) => {
                if let Some(mut other) = session.sibling(*other) {
                    other.finish();
                }
            }
        }
    }

    fn on_close(&mut self, worker: &mut WorkerContext<'_, State>, closed: Closed, state: State) {
        match state {
            State::Client(_) => {}
            State::Waiting(_) => {
                worker.cancel_connect(closed.id.to_token());
            }
            State::Tunnel(other) => {
                if let Some((mut other, _)) = worker.session(other) {
                    if closed.reason.is_graceful() { other.close() } else { other.abort() }
                }
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("usage: socks5 ADDRESS [BACKEND]")?;
    let backend = arguments.next().map_or(Ok(Choice::Auto), |name| name.parse())?;
    overlapped::raise_descriptor_limit();
    let server = Server::bind(address)?
        .backend(backend)
        .keepalive(Duration::from_secs(60)) // a tunnel may be silent for ever, but not after its peer is gone
        .start(|_worker| Proxy)?;
    println!("listening on {}", server.local_addr());
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    let report = server.drain(Duration::from_secs(10))?;
    eprintln!("drained {} sessions, cut {}", report.drained, report.cut);
    Ok(())
}

#[cfg(test)]
mod tests {
    use overlapped::testing::{self, Behaviour, Listener, Peer, World};

    use super::*;

    const GREETING: &[u8] = &[VERSION, 2, 9, NO_AUTHENTICATION];
    const ACCEPTED: &[u8] = &[VERSION, NO_AUTHENTICATION];

    fn target() -> SocketAddr {
        "10.0.0.7:80".parse().unwrap()
    }

    /// The greeting and a request for the target, by name.
    fn by_name() -> Vec<u8> {
        [GREETING, &[VERSION, CONNECT, 0, NAME, 3], b"web", &[0, 80]].concat()
    }

    fn world(behaviour: Behaviour) -> (World<Proxy>, Listener) {
        let mut world = World::start_on(behaviour, testing::server(), |_worker| Proxy);
        world.name("web:80", &[target()]);
        let listener = world.listen(target());
        (world, listener)
    }

    fn assert_opened(client: &mut Peer) {
        let received = client.received();
        assert!(received.starts_with(&[ACCEPTED, &[VERSION, SUCCEEDED, 0, IPV4]].concat()), "{received:?}");
        assert_eq!(received.len(), 2 + 10);
    }

    /// A client and its target, with an open tunnel between them.
    fn tunnel(behaviour: Behaviour) -> (World<Proxy>, Peer, Peer) {
        let (mut world, mut listener) = world(behaviour);
        let mut client = world.connect();
        client.send(by_name());
        world.settle();
        let server = listener.accept();
        assert_opened(&mut client);
        (world, client, server)
    }

    #[test]
    fn bytes_behind_the_handshake_reach_the_target() {
        let page: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        testing::for_each_behaviour(|behaviour| {
            for piece in [1, 7, usize::MAX] {
                let (mut world, mut listener) = world(behaviour);
                let mut client = world.connect();
                client.send_in_pieces([&by_name()[..], b"early"].concat(), piece);
                client.send(&page);
                client.finish();
                world.settle();
                let mut server = listener.accept();
                assert_eq!(server.received(), [b"early", &page[..]].concat());
                assert!(server.has_ended());
                assert_opened(&mut client);
                assert!(client.has_ended()); // the target has closed its side, too
            }
        });
    }

    #[test]
    fn each_stream_ends_by_itself() {
        testing::for_each_behaviour(|behaviour| {
            for target_first in [false, true] {
                let (mut world, mut client, mut server) = tunnel(behaviour);
                let (first, second) =
                    if target_first { (&mut server, &mut client) } else { (&mut client, &mut server) };
                first.stay_open();
                second.stay_open();
                first.finish();
                world.settle();
                assert!(second.has_ended() && !first.has_ended());
                second.send([7; 100_000]);
                second.finish();
                world.settle();
                assert_eq!(first.received(), [7; 100_000]);
                assert!(first.has_ended());
                assert_eq!(world.stats().sessions, 0);
            }
        });
    }

    #[test]
    fn a_reset_of_one_end_resets_the_other() {
        testing::for_each_behaviour(|behaviour| {
            let (mut world, mut client, server) = tunnel(behaviour);
            client.reset();
            world.settle();
            assert!(server.was_reset());
            let (mut world, client, mut server) = tunnel(behaviour);
            server.reset();
            world.settle();
            assert!(client.was_reset());
            assert_eq!(world.stats().sessions, 0);
        });
    }

    #[test]
    fn a_target_that_does_not_read_stops_the_client() {
        testing::for_each_behaviour(|behaviour| {
            let (mut world, mut client, mut server) = tunnel(behaviour);
            server.stop_reading();
            client.send(vec![7; 1 << 20]);
            world.settle();
            assert!(client.unsent() > 512 << 10);
            server.resume_reading();
            world.settle();
            assert_eq!(server.received().len(), 1 << 20);
        });
    }

    #[test]
    fn what_cannot_be_done_has_its_reply() {
        let request = |rest: &[u8]| [GREETING, &[VERSION], rest].concat();
        let refused = |code| [ACCEPTED, &reply(code, UNSPECIFIED)].concat();
        for (sent, answer) in [
            (request(&[CONNECT, 0, IPV4, 10, 0, 0, 8, 0, 80]), refused(REFUSED)),
            (
                request(&[CONNECT, 0, IPV6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80]),
                refused(REFUSED),
            ),
            (request(&[CONNECT, 0, NAME, 4, b'n', b'o', b'n', b'e', 0, 80]), refused(HOST_UNREACHABLE)),
            (request(&[CONNECT, 0, NAME, 0, 0, 80]), refused(HOST_UNREACHABLE)),
            (request(&[CONNECT, 0, NAME, 1, 0, 0, 80]), refused(HOST_UNREACHABLE)),
            (request(&[CONNECT, 0, NAME, 1, 0xff, 0, 80]), refused(HOST_UNREACHABLE)),
            (request(&[2, 0, IPV4]), refused(COMMAND_NOT_SUPPORTED)),
            (request(&[CONNECT, 0, 2]), refused(ADDRESS_TYPE_NOT_SUPPORTED)),
            (vec![VERSION, 1, 2], vec![VERSION, 0xff]),
            (b"GET / HTTP/1.1\r\n".to_vec(), Vec::new()),
        ] {
            let (mut world, _listener) = world(testing::behaviours().next().unwrap());
            let mut client = world.connect();
            client.send(&sent);
            world.settle();
            world.advance(Duration::from_secs(11));
            assert_eq!(client.received(), answer, "{sent:?}");
            assert!(client.has_ended() && !client.was_reset());
            assert_eq!(world.stats().sessions, 0);
        }
    }

    #[test]
    fn a_client_that_leaves_takes_its_connect_with_it() {
        let (mut world, mut listener) = world(testing::behaviours().next().unwrap());
        world.silence(target());
        let mut client = world.connect();
        client.send(by_name());
        world.settle();
        client.reset();
        world.settle();
        world.restore_connects(target());
        world.advance(HANDSHAKE);
        assert!(listener.try_accept().is_none());
        assert_eq!(world.stats().sessions, 0);
    }
}
