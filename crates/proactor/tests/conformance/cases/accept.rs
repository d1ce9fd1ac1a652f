//! Listeners: connections come in, accepting pauses, ports are given back.

use std::io::ErrorKind;
use std::net::SocketAddr;

use proactor::backend::Wait;
use proactor::{Sending, Verb};

use crate::endpoint::Finished;
use crate::fixture::Fixture;
use crate::kernel::{ANY_PORT, Kernel};

pub fn one_connection<K: Kernel>(kernel: &K) -> Finished {
    let (fixture, ends) = Fixture::connected(kernel);
    let (here, there) = (&fixture.here.driver, &fixture.there.driver);
    assert_eq!(here.peer_addr(ends.here).unwrap(), there.local_addr(ends.there).unwrap());
    assert_eq!(here.local_addr(ends.here).unwrap(), there.peer_addr(ends.there).unwrap());
    assert_ne!(here.local_addr(ends.here).unwrap().port(), 0);
    fixture.finish()
}

pub fn several_connections<K: Kernel>(kernel: &K) -> Finished {
    const CONNECTIONS: usize = 20;
    let mut fixture = Fixture::new(kernel);
    let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    let here: Vec<_> = (0..CONNECTIONS).map(|_| fixture.here.connect(address)).collect();
    fixture.until("all to be accepted", |fixture| {
        fixture.there.accepted.len() == CONNECTIONS
            && here.iter().all(|key| fixture.here.seen(*key).connected)
    });
    // Each is another connection: a number sent on one arrives on its other end only.
    while let Some(socket) = fixture.there.accepted.pop_front() {
        let there = fixture.there.adopt(socket);
        fixture.there.receive(there);
    }
    for (number, key) in here.iter().enumerate() {
        fixture.here.post(*key, vec![number as u8]);
    }
    fixture.until("all to be heard", |fixture| fixture.there.seen.values().all(|seen| seen.bytes.len() == 1));
    let mut heard: Vec<u8> = fixture.there.seen.values().map(|seen| seen.bytes[0]).collect();
    heard.sort_unstable();
    assert_eq!(heard, (0..CONNECTIONS as u8).collect::<Vec<_>>());
    fixture.finish()
}

pub fn connect_refused<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let address = released_address(&mut fixture);
    let here = fixture.here.connect(address);
    fixture.until("a refusal", |fixture| fixture.here.seen(here).over());
    assert_eq!(fixture.here.seen(here).failures, [(Verb::Connect, ErrorKind::ConnectionRefused)]);
    assert!(!fixture.here.seen(here).connected);
    fixture.here.close(here);
    fixture.until("the release", |fixture| fixture.here.seen(here).released);
    fixture.finish()
}

/// `0.0.0.0` is this machine, on every system.
pub fn connecting_to_any_is_connecting_to_loopback<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    let here = fixture.here.connect(([0, 0, 0, 0], address.port()).into());
    fixture.until("a connection", |fixture| {
        fixture.here.seen(here).connected && fixture.there.accepted.len() == 1
    });
    assert_eq!(fixture.here.driver.peer_addr(here).unwrap(), address);
    fixture.finish()
}

/// The address of a listener that was closed.
fn released_address<K: Kernel>(fixture: &mut Fixture<'_, K>) -> SocketAddr {
    let (listener, address) = fixture.there.listen(fixture.kernel.listen_on(ANY_PORT).unwrap());
    fixture.round();
    fixture.there.driver.close_listener(listener);
    fixture.until("the listener's release", |fixture| fixture.there.released_listeners.contains(&listener));
    assert!(fixture.there.driver.listener_addr(listener).is_err(), "INV-3: its key names nothing");
    address
}

/// The event means that the port is free, at once: an armed accept must not keep it.
pub fn a_closed_listener_gives_its_port_back<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let address = released_address(&mut fixture);
    for _ in 0..5 {
        let (listener, again) = fixture.there.listen(kernel.listen_on(address).expect("the port is free"));
        assert_eq!(address, again);
        fixture.round();
        fixture.there.driver.close_listener(listener);
        fixture.until("the release", |fixture| fixture.there.released_listeners.contains(&listener));
    }
    fixture.there.listen(kernel.listen_on(address).expect("the port is free"));
    let here = fixture.here.connect(address);
    fixture.until("a connection", |fixture| {
        fixture.here.seen(here).connected && !fixture.there.accepted.is_empty()
    });
    fixture.finish()
}

pub fn a_closed_listener_keeps_what_it_accepted<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (listener, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    let here = fixture.here.connect(address);
    fixture.until("a connection", |fixture| !fixture.there.accepted.is_empty());
    fixture.there.driver.close_listener(listener);
    fixture.there.driver.close_listener(listener);
    fixture.until("the listener's release", |fixture| fixture.there.released_listeners.contains(&listener));
    let socket = fixture.there.accepted.pop_front().unwrap();
    let there = fixture.there.adopt(socket);
    fixture.there.post(there, "still here");
    fixture.until("the connection", |fixture| fixture.here.seen(here).connected);
    fixture.here.receive(here);
    fixture.until("bytes", |fixture| fixture.here.seen(here).bytes == b"still here");
    assert_eq!(fixture.there.released_listeners.len(), 1, "closed twice, released once");
    fixture.finish()
}

pub fn a_paused_listener_accepts_nothing_and_loses_nothing<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (listener, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    fixture.round();
    fixture.there.driver.pause_accept(listener);
    fixture.there.driver.pause_accept(listener);
    fixture.settle();
    assert_eq!(fixture.there.driver.snapshot().in_flight, 0, "no accept is left in flight");
    let waiting: Vec<_> = (0..3).map(|_| fixture.here.connect(address)).collect();
    fixture.settle();
    assert!(fixture.there.accepted.is_empty(), "a paused listener accepts nothing");
    fixture.there.driver.resume_accept(listener);
    fixture.there.driver.resume_accept(listener);
    fixture.until("those that waited", |fixture| {
        fixture.there.accepted.len() == 3 && waiting.iter().all(|key| fixture.here.seen(*key).connected)
    });
    fixture.finish()
}

/// Pausing is asynchronous: resuming before it took effect must leave exactly the right accepts armed.
pub fn pausing_and_resuming_accepts_in_a_row<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (listener, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    for burst in 0..6 {
        for _ in 0..burst {
            fixture.there.driver.pause_accept(listener);
            fixture.there.driver.resume_accept(listener);
        }
        let here = fixture.here.connect(address);
        fixture.until("a connection", |fixture| {
            fixture.there.accepted.len() == burst + 1 && fixture.here.seen(here).connected
        });
    }
    fixture.settle();
    let abilities = fixture.there.driver.abilities();
    let wanted = if abilities.multishot_accept { 1 } else { usize::from(abilities.accepts) };
    assert_eq!(fixture.there.driver.snapshot().in_flight, wanted, "as many accepts are armed as at first");
    fixture.finish()
}

/// A connection that arrives while its listener is being closed is accepted or broken; it is never lost.
pub fn closing_a_listener_races_with_a_connection<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for round in 0..8 {
        let (listener, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
        if round % 2 == 0 {
            fixture.there.step(Wait::Poll);
        }
        let here = fixture.here.connect(address);
        if round % 4 < 2 {
            fixture.here.step(Wait::Poll);
        }
        fixture.there.driver.close_listener(listener);
        fixture.until("an end of the race", |fixture| {
            let seen = fixture.here.seen(here);
            fixture.there.released_listeners.contains(&listener) && (seen.connected || seen.over())
        });
        if fixture.here.seen(here).connected {
            fixture.here.receive(here);
            fixture.until("the connection to be accepted or broken", |fixture| {
                !fixture.there.accepted.is_empty() || fixture.here.seen(here).over()
            });
        }
        if let Some(socket) = fixture.there.accepted.pop_front() {
            fixture.there.driver.refuse(socket);
        }
    }
    fixture.finish()
}

/// Connecting is cancelled: before it was submitted, or as it succeeds.
pub fn cancelling_a_connect<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    for round in 0..8 {
        let here = fixture.here.connect(address);
        assert_eq!(fixture.here.driver.send(here, "too early"), Sending::Closed);
        if round % 2 == 0 {
            fixture.there.step(Wait::Poll);
        }
        if round % 4 < 2 {
            fixture.here.close(here);
        } else {
            fixture.here.abort(here);
        }
        fixture.until("the release", |fixture| fixture.here.seen(here).released);
        assert!(!fixture.here.seen(here).connected);
    }
    fixture.finish()
}

/// The peer sees the address that the connection was bound to; its port is the system's choice, or a certain one.
pub fn a_connect_from_a_local_address<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    // Other systems have to be given this address first.
    let ip = if cfg!(any(target_os = "linux", windows)) { [127, 0, 0, 2] } else { [127, 0, 0, 1] };
    let mut from = SocketAddr::from((ip, 0));
    for _ in 0..2 {
        let here = fixture.here.connect_from(from, address).expect("an address of this machine");
        fixture.until("a connection", |fixture| {
            fixture.here.seen(here).connected && !fixture.there.accepted.is_empty()
        });
        let local = fixture.here.driver.local_addr(here).unwrap();
        assert_eq!(local.ip(), from.ip());
        assert!(local.port() != 0 && (from.port() == 0 || from.port() == local.port()), "{local} for {from}");
        let socket = fixture.there.accepted.pop_front().expect("just seen");
        assert_eq!(fixture.there.driver.peer_of(&socket).unwrap(), local);
        let there = fixture.there.adopt(socket);
        // With a reset, so that the port is free at once.
        fixture.here.abort(here);
        fixture.there.abort(there);
        fixture.until("the release", |fixture| {
            fixture.here.seen(here).released && fixture.there.seen(there).released
        });
        from = local;
    }
    fixture.finish()
}

/// Such a connect fails at once, and leaves no socket open. Nothing is sent to 192.0.2.1 (RFC 5737), which no machine
/// has.
pub fn a_connect_from_an_address_that_is_not_here<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    let error = fixture.here.connect_from(([192, 0, 2, 1], 0).into(), address).expect_err("not ours");
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    assert_eq!(fixture.here.driver.snapshot().connections, 0);
    fixture.finish()
}

/// Nobody listens on a port of this machine, and the system gives it to the socket that connects there: the two ends
/// of that connection are one. The connect fails, and its port is free after the close.
pub fn a_connect_that_meets_itself<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let Some(address) = kernel.meet_itself(&mut fixture.here) else {
        eprintln!("left out: no socket can be given its port here");
        return fixture.finish();
    };
    let here = fixture.here.connect(address);
    fixture
        .until("its failure", |fixture| fixture.here.seen(here).connected || fixture.here.seen(here).over());
    assert_eq!(fixture.here.seen(here).failures, [(Verb::Connect, ErrorKind::ConnectionRefused)]);
    assert!(!fixture.here.seen(here).connected);
    let (local, peer) =
        (fixture.here.driver.local_addr(here).unwrap(), fixture.here.driver.peer_addr(here).unwrap());
    assert_eq!((local, peer), (address, address), "that is what happened");
    fixture.here.abort(here);
    fixture.until("the release", |fixture| fixture.here.seen(here).released);
    fixture.settle();
    let (_, bound) = fixture.there.listen(kernel.listen_on(address).expect("its port is free again"));
    assert_eq!(bound, address);
    fixture.finish()
}
