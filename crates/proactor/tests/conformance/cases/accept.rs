//! Listeners: connections come in, accepting pauses, ports are given back.

use std::io::ErrorKind;
use std::net::SocketAddr;

use proactor::backend::Wait;
use proactor::{Sending, Verb};

use crate::bench::Bench;
use crate::side::Finished;
use crate::world::{ANY_PORT, World};

pub fn one_connection<W: World>(world: &W) -> Finished {
    let (bench, ends) = Bench::connected(world);
    let (here, there) = (&bench.here.driver, &bench.there.driver);
    assert_eq!(here.peer_addr(ends.here).unwrap(), there.local_addr(ends.there).unwrap());
    assert_eq!(here.local_addr(ends.here).unwrap(), there.peer_addr(ends.there).unwrap());
    assert_ne!(here.local_addr(ends.here).unwrap().port(), 0);
    bench.finish()
}

pub fn several_connections<W: World>(world: &W) -> Finished {
    const CONNECTIONS: usize = 20;
    let mut bench = Bench::new(world);
    let (_, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    let here: Vec<_> = (0..CONNECTIONS).map(|_| bench.here.connect(address)).collect();
    bench.until("all to be accepted", |bench| {
        bench.there.accepted.len() == CONNECTIONS && here.iter().all(|key| bench.here.seen(*key).connected)
    });
    // Each is another connection: whoever says its number is heard by one alone.
    while let Some(socket) = bench.there.accepted.pop_front() {
        let there = bench.there.adopt(socket);
        bench.there.receive(there);
    }
    for (number, key) in here.iter().enumerate() {
        bench.here.post(*key, vec![number as u8]);
    }
    bench.until("all to be heard", |bench| bench.there.seen.values().all(|seen| seen.bytes.len() == 1));
    let mut heard: Vec<u8> = bench.there.seen.values().map(|seen| seen.bytes[0]).collect();
    heard.sort_unstable();
    assert_eq!(heard, (0..CONNECTIONS as u8).collect::<Vec<_>>());
    bench.finish()
}

pub fn connect_refused<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let address = released_address(&mut bench);
    let here = bench.here.connect(address);
    bench.until("a refusal", |bench| bench.here.seen(here).over());
    assert_eq!(bench.here.seen(here).failures, [(Verb::Connect, ErrorKind::ConnectionRefused)]);
    assert!(!bench.here.seen(here).connected);
    bench.here.close(here);
    bench.until("the release", |bench| bench.here.seen(here).released);
    bench.finish()
}

/// `0.0.0.0` is this machine, on every system.
pub fn connecting_to_any_is_connecting_to_loopback<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (_, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    let here = bench.here.connect(([0, 0, 0, 0], address.port()).into());
    bench.until("a connection", |bench| bench.here.seen(here).connected && bench.there.accepted.len() == 1);
    assert_eq!(bench.here.driver.peer_addr(here).unwrap(), address);
    bench.finish()
}

/// The address of a listener that was and is not.
fn released_address<W: World>(bench: &mut Bench<'_, W>) -> SocketAddr {
    let (listener, address) = bench.there.listen(bench.world.listen_on(ANY_PORT).unwrap());
    bench.round();
    bench.there.driver.close_listener(listener);
    bench.until("the listener's release", |bench| bench.there.released_listeners.contains(&listener));
    assert!(bench.there.driver.listener_addr(listener).is_err(), "INV-3: its key names nothing");
    address
}

/// The event says that the port is free, so it has to be, at once: an armed accept must not keep it.
pub fn a_closed_listener_gives_its_port_back<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let address = released_address(&mut bench);
    for _ in 0..5 {
        let (listener, again) = bench.there.listen(world.listen_on(address).expect("the port is free"));
        assert_eq!(address, again);
        bench.round();
        bench.there.driver.close_listener(listener);
        bench.until("the release", |bench| bench.there.released_listeners.contains(&listener));
    }
    bench.there.listen(world.listen_on(address).expect("the port is free"));
    let here = bench.here.connect(address);
    bench.until("a connection", |bench| bench.here.seen(here).connected && !bench.there.accepted.is_empty());
    bench.finish()
}

pub fn a_closed_listener_keeps_what_it_accepted<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (listener, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    let here = bench.here.connect(address);
    bench.until("a connection", |bench| !bench.there.accepted.is_empty());
    bench.there.driver.close_listener(listener);
    bench.there.driver.close_listener(listener);
    bench.until("the listener's release", |bench| bench.there.released_listeners.contains(&listener));
    let socket = bench.there.accepted.pop_front().unwrap();
    let there = bench.there.adopt(socket);
    bench.there.post(there, "still here");
    bench.until("the connection", |bench| bench.here.seen(here).connected);
    bench.here.receive(here);
    bench.until("bytes", |bench| bench.here.seen(here).bytes == b"still here");
    assert_eq!(bench.there.released_listeners.len(), 1, "closed twice, released once");
    bench.finish()
}

pub fn a_paused_listener_accepts_nothing_and_loses_nothing<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (listener, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    bench.round();
    bench.there.driver.pause_accept(listener);
    bench.there.driver.pause_accept(listener);
    bench.settle();
    assert_eq!(bench.there.driver.snapshot().in_flight, 0, "no accept is left in flight");
    let waiting: Vec<_> = (0..3).map(|_| bench.here.connect(address)).collect();
    bench.settle();
    assert!(bench.there.accepted.is_empty(), "a paused listener accepts nothing");
    bench.there.driver.resume_accept(listener);
    bench.there.driver.resume_accept(listener);
    bench.until("those that waited", |bench| {
        bench.there.accepted.len() == 3 && waiting.iter().all(|key| bench.here.seen(*key).connected)
    });
    bench.finish()
}

/// Pausing is asynchronous: resuming before it took effect must leave exactly the right accepts armed.
pub fn pausing_and_resuming_accepts_in_a_row<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (listener, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    for burst in 0..6 {
        for _ in 0..burst {
            bench.there.driver.pause_accept(listener);
            bench.there.driver.resume_accept(listener);
        }
        let here = bench.here.connect(address);
        bench.until("a connection", |bench| {
            bench.there.accepted.len() == burst + 1 && bench.here.seen(here).connected
        });
    }
    bench.settle();
    let abilities = bench.there.driver.abilities();
    let wanted = if abilities.multishot_accept { 1 } else { usize::from(abilities.accepts) };
    assert_eq!(bench.there.driver.snapshot().in_flight, wanted, "as many accepts are armed as at first");
    bench.finish()
}

/// A connection that arrives while its listener is being closed is accepted or broken; it is never forgotten.
pub fn closing_a_listener_races_with_a_connection<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for round in 0..8 {
        let (listener, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
        if round % 2 == 0 {
            bench.there.step(Wait::Poll);
        }
        let here = bench.here.connect(address);
        if round % 4 < 2 {
            bench.here.step(Wait::Poll);
        }
        bench.there.driver.close_listener(listener);
        bench.until("an end of the race", |bench| {
            let seen = bench.here.seen(here);
            bench.there.released_listeners.contains(&listener) && (seen.connected || seen.over())
        });
        if bench.here.seen(here).connected {
            bench.here.receive(here);
            bench.until("the connection to be accepted or broken", |bench| {
                !bench.there.accepted.is_empty() || bench.here.seen(here).over()
            });
        }
        if let Some(socket) = bench.there.accepted.pop_front() {
            bench.there.driver.refuse(socket);
        }
    }
    bench.finish()
}

/// Connecting is cancelled: before it was submitted, or as it succeeds.
pub fn cancelling_a_connect<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (_, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    for round in 0..8 {
        let here = bench.here.connect(address);
        assert_eq!(bench.here.driver.send(here, "too early"), Sending::Closed);
        if round % 2 == 0 {
            bench.there.step(Wait::Poll);
        }
        if round % 4 < 2 {
            bench.here.close(here);
        } else {
            bench.here.abort(here);
        }
        bench.until("the release", |bench| bench.here.seen(here).released);
        assert!(!bench.here.seen(here).connected);
    }
    bench.finish()
}

/// Nobody listens on a port of this machine, and the system gives it to the socket that connects there: the two ends of
/// that connection are one. It has failed, and its port is free when it is gone.
pub fn a_connect_that_meets_itself<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let Some(address) = world.meet_itself(&mut bench.here) else {
        eprintln!("left out: no socket can be given its port here");
        return bench.finish();
    };
    let here = bench.here.connect(address);
    bench.until("its failure", |bench| bench.here.seen(here).connected || bench.here.seen(here).over());
    assert_eq!(bench.here.seen(here).failures, [(Verb::Connect, ErrorKind::ConnectionRefused)]);
    assert!(!bench.here.seen(here).connected);
    let (local, peer) =
        (bench.here.driver.local_addr(here).unwrap(), bench.here.driver.peer_addr(here).unwrap());
    assert_eq!((local, peer), (address, address), "that is what happened");
    bench.here.abort(here);
    bench.until("the release", |bench| bench.here.seen(here).released);
    bench.settle();
    let (_, bound) = bench.there.listen(world.listen_on(address).expect("its port is free again"));
    assert_eq!(bound, address);
    bench.finish()
}
