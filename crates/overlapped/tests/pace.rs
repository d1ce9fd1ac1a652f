//! How long an item may take to arrive: over the simulated kernel, under a virtual clock.

use std::time::Duration;

use overlapped::testing::{self, Peer, World, for_each_behaviour};
use overlapped::{CloseReason, Closed, Framed, Handler, Lease, LengthPrefixed, Session, WorkerContext};

const SECOND: Duration = Duration::from_secs(1);

/// Echoes frames that arrive within 2 s, with one more second for each 100 bytes.
#[derive(Default)]
struct Echo(Vec<CloseReason>);

impl Handler for Echo {
    type State = Framed<LengthPrefixed>;
    type Message = ();

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> Self::State {
        Framed::new(LengthPrefixed::of_width(2, 10_000)).timeout(2 * SECOND).least_rate(100)
    }

    fn on_data(&mut self, session: &mut Session<'_, Self::State>, frames: &mut Self::State, data: Lease) {
        frames.push(data);
        while let Some(frame) = frames.next(session) {
            let frame = frame.expect("it is short");
            if frame.as_slice() == b"pause" {
                session.pause();
                session.set_timer(10 * SECOND, 0);
            }
            session.send(frame);
        }
    }

    fn on_timer(&mut self, session: &mut Session<'_, Self::State>, _frames: &mut Self::State, _token: u64) {
        session.resume();
    }

    fn on_close(&mut self, _: &mut WorkerContext<'_, Self::State>, closed: Closed, _: Self::State) {
        self.0.push(closed.reason);
    }
}

fn on_every_kernel(check: impl Fn(&mut World<Echo>, &mut Peer)) {
    for_each_behaviour(|behaviour| {
        let mut world = World::start_on(behaviour, testing::server(), |_| Echo::default());
        let mut client = world.connect();
        check(&mut world, &mut client);
    });
}

fn reasons(world: &World<Echo>) -> &[CloseReason] {
    &world.handler(0).0
}

/// A byte now and then is not silence, and is too slow.
#[test]
fn a_frame_that_takes_too_long_ends_its_session() {
    on_every_kernel(|world, client| {
        client.send([0, 200]);
        for _ in 0..3 {
            world.advance(SECOND / 2);
            assert!(client.is_open());
            client.send("x");
        }
        world.advance(SECOND * 3 / 4);
        assert!(client.has_ended());
        assert_eq!(reasons(world), [CloseReason::ItemTimeout]);
        assert_eq!(world.stats().sessions_timed_out, 1);
    });
}

#[test]
fn a_large_frame_has_time_while_it_keeps_the_rate() {
    on_every_kernel(|world, client| {
        client.send(5_000_u16.to_be_bytes());
        for _ in 0..50 {
            world.advance(SECOND * 9 / 10);
            client.send([b'x'; 100]);
        }
        world.settle();
        assert_eq!(client.received().len(), 5_000);
        client.send([0, 9]);
        world.advance(4 * SECOND);
        assert_eq!(reasons(world), [CloseReason::ItemTimeout]);
    });
}

/// Each frame has its own time, and between two frames there is none.
#[test]
fn frames_in_time_are_not_limited_together() {
    on_every_kernel(|world, client| {
        for _ in 0..20 {
            client.send([0, 2, b'a']);
            world.advance(SECOND * 3 / 2);
            client.send([b'b', 0, 2, b'c']);
            world.advance(SECOND * 3 / 2);
            client.send("d");
            world.advance(60 * SECOND);
        }
        assert_eq!(client.received(), "abcd".repeat(20).as_str());
        assert!(reasons(world).is_empty());
    });
}

/// While its handler does not want to receive, the peer is not slow.
#[test]
fn the_time_of_a_pause_does_not_count() {
    on_every_kernel(|world, client| {
        client.send(b"\0\x05pause\0\x02a");
        world.advance(9 * SECOND);
        assert!(client.is_open());
        world.advance(2 * SECOND);
        assert!(client.is_open(), "its time began with the end of the pause");
        client.send("b");
        world.settle();
        assert_eq!(client.received(), "pauseab");
    });
}

/// A session whose own queue is full does not receive: its peer is not slow, though no callback has met the pause.
#[test]
fn the_time_of_a_full_queue_does_not_count() {
    on_every_kernel(|world, client| {
        client.stop_reading();
        client.send(b"\0\x02a");
        world.settle();
        let bytes = overlapped::Bytes::from(vec![b'x'; 200_000]);
        world.handle().broadcast(&bytes);
        world.settle();
        client.send("b");
        world.advance(10 * SECOND);
        assert!(client.is_open(), "it is kept from receiving");
        client.resume_reading();
        world.settle();
        assert!(client.received().ends_with(b"ab"));
    });
}

/// Paused from outside of `on_data`: half an item is timed again from the end of the pause.
#[test]
fn half_an_item_is_timed_after_a_pause_too() {
    on_every_kernel(|world, client| {
        client.send(b"\0\x02a");
        world.settle();
        let id = world.session(client).expect("it is open");
        world.call(0, |_, worker| worker.session(id).expect("it is open").0.pause());
        world.advance(10 * SECOND);
        assert!(client.is_open());
        world.call(0, |_, worker| worker.session(id).expect("it is open").0.resume());
        world.advance(SECOND);
        assert!(client.is_open());
        world.advance(2 * SECOND);
        assert_eq!(reasons(world), [CloseReason::ItemTimeout]);
    });
}
