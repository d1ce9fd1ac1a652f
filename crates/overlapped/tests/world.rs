//! The test kit with what concerns accepting and room: the same as over sockets.

use std::net::SocketAddr;
use std::time::Duration;

use overlapped::testing::{Peer, World, for_each_behaviour, server};
use overlapped::{
    Admission, CloseReason, Closed, Error, Handler, Incoming, Lease, Origin, Sent, Session, WorkerContext,
};

const CLIENTS: u64 = 7;
const ADMIN: u64 = 8;

/// Takes two clients and any number of administrators, and says when its greeting is out.
#[derive(Default)]
struct Door {
    asked: Vec<(u64, Option<SocketAddr>)>,
    sent: Vec<u64>,
    closed: Vec<Closed>,
}

impl Handler for Door {
    type State = ();
    type Message = ();

    fn on_accept(&mut self, _: &mut WorkerContext<'_, Self::State>, incoming: &Incoming<'_>) -> Admission {
        self.asked.push((incoming.listener(), incoming.peer_addr()));
        match incoming.listener() {
            CLIENTS if incoming.sessions() >= 2 => Admission::refuse("full\n"),
            _ => Admission::Admit,
        }
    }

    fn on_open(&mut self, session: &mut Session<'_, Self::State>) {
        assert_eq!(session.send("hello\n"), Sent::Ok);
        assert!(session.notify_when_sent(5));
    }

    fn on_sent(&mut self, _: &mut Session<'_, Self::State>, _state: &mut (), token: u64) {
        self.sent.push(token);
    }

    /// A callback that waits would wait for ever.
    fn on_data(&mut self, session: &mut Session<'_, Self::State>, _state: &mut (), _data: Lease) {
        let waited = session.handle().wait_writable(Duration::MAX);
        assert!(matches!(waited, Err(Error::WaitInCallback)), "{waited:?}");
        session.close_with(3);
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_, Self::State>, closed: Closed, _: ()) {
        self.closed.push(closed);
    }
}

#[test]
fn a_world_asks_about_connections_and_knows_its_listeners() {
    for_each_behaviour(|behaviour| {
        let server = server().listener_token(CLIENTS).also_bind("127.0.0.1:0").unwrap().listener_token(ADMIN);
        let admin = server.local_addrs()[1];
        let mut world = World::start_on(behaviour, server, |_| Door::default());
        let mut clients = [world.connect(), world.connect(), world.connect()];
        let mut late = world.connect_to(admin);
        let texts = clients.each_mut().map(Peer::received);
        assert_eq!(texts.map(|text| text == "hello\n"), [true, true, false], "{behaviour:?}");
        assert!(!clients[2].is_open() && !clients[2].was_reset());
        assert_eq!(late.received(), "hello\n");
        late.send("x");
        late.finish();
        world.settle();
        let Door { asked, sent, closed } = world.handler(0);
        assert_eq!(asked.iter().map(|(listener, _)| *listener).collect::<Vec<_>>(), [7, 7, 7, 8]);
        assert!(asked.iter().all(|(_, peer)| peer.is_some()));
        assert_eq!(sent, &[5; 3]);
        let [closed] = closed[..] else { panic!("{closed:?}") };
        assert_eq!(
            (closed.reason, closed.origin),
            (CloseReason::ClosedWith(3), Origin::Accepted { listener: ADMIN })
        );
        assert_eq!((closed.peer, closed.received, closed.sent), (asked[3].1, 1, 6));
        assert_eq!(world.stats().sessions_rejected, 1);
    });
}

/// Outside callbacks, the test's own thread may ask.
#[test]
fn a_test_may_look_at_the_room_of_a_session() {
    let mut world = World::start(server(), |_| Door::default());
    let client = world.connect();
    let id = world.session(&client).expect("it is open");
    let handle = world.handle().session(id);
    assert!(handle.is_writable());
    assert_eq!(handle.wait_writable(Duration::ZERO).unwrap(), Sent::Ok);
}
