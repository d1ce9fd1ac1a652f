//! Dropped drivers: nothing is left open, blocks come back, and what the kernel keeps is leaked, not freed (INV-10).

use overlapped_testing::{assert_same, pattern};
use proactor::backend::Wait;
use proactor::{ConnectionKey, Lease, Payload, PoolConfig, Sending};

use crate::endpoint::{Endpoint, Finished};
use crate::fixture::{Ends, Fixture};
use crate::kernel::{ANY_PORT, Kernel};
use crate::wine::Limit;

const POOL: PoolConfig = PoolConfig { blocks: 16, block_len: 4096 };

/// An accept, a receive, a send and a connect are in flight: just submitted, or in the kernel for a while.
pub fn dropped_with_everything_in_flight<K: Kernel>(kernel: &K) -> Finished {
    for turns in 0..3 {
        let (mut fixture, ends) = Fixture::connected(kernel);
        let (_, listening) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
        let (_, elsewhere) = fixture.here.listen(kernel.listen_on(ANY_PORT).unwrap());
        fixture.here.receive(ends.here);
        fixture.here.driver.pause_receive(ends.here);
        fixture.there.receive(ends.there);
        for _ in 0..4 {
            fixture.there.post(ends.there, pattern(kernel.large() / 4, 2));
        }
        for _ in 0..turns {
            fixture.settle();
        }
        fixture.there.connect(elsewhere);
        assert!(fixture.there.driver.snapshot().in_flight >= 4 || cfg!(windows));
        replace_there(&mut fixture);
        // Its port is free and its peers know.
        fixture.there.listen(kernel.listen_on(listening).expect("the port is free"));
        expect_reset(&mut fixture, ends.here);
        let _: Finished = fixture.finish();
    }
    Fixture::new(kernel).finish()
}

/// Drops the driver at `there` and checks what it leaves.
fn replace_there<K: Kernel>(fixture: &mut Fixture<'_, K>) {
    let old = std::mem::replace(&mut fixture.there, Endpoint::new(fixture.kernel, POOL));
    let (pool, open) = (old.pool.clone(), old.open.clone());
    drop(old);
    assert_eq!(pool.in_use(), 0, "every block is back");
    assert_eq!(open.get(), 0, "every socket was closed, once");
}

fn expect_reset<K: Kernel>(fixture: &mut Fixture<'_, K>, here: ConnectionKey) {
    fixture.until("the pause", |fixture| {
        !fixture.here.driver.is_receiving(here) || fixture.here.seen(here).over()
    });
    fixture.here.receive(here);
    fixture.until("the end of it", |fixture| fixture.here.seen(here).over());
    let ended = fixture.here.seen(here).ended;
    assert!(!ended || Limit::UnwatchedResetIsAnEnd.holds(), "a driver that is dropped aborts");
}

/// Completions that are not taken any more: bytes, and an accepted connection.
pub fn dropped_with_completions_not_taken<K: Kernel>(kernel: &K) -> Finished {
    for taken in 0..3 {
        let (mut fixture, ends) = Fixture::connected(kernel);
        let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
        fixture.there.receive(ends.there);
        fixture.there.step(Wait::Poll);
        fixture.here.post(ends.here, pattern(10, 0));
        let other = fixture.here.connect(address);
        fixture.here.receive(ends.here);
        for _ in 0..20 {
            fixture.here.step(Wait::Poll);
        }
        fixture.there.driver.turn(Wait::Poll).unwrap();
        for _ in 0..taken {
            if let Some(event) = fixture.there.driver.next_event() {
                fixture.there.note(event);
            }
        }
        while let Some(socket) = fixture.there.accepted.pop_front() {
            fixture.there.driver.refuse(socket);
        }
        replace_there(&mut fixture);
        fixture.until("the end of it", |fixture| fixture.here.seen(ends.here).over());
        fixture.until("the other connection", |fixture| {
            fixture.here.seen(other).connected || fixture.here.seen(other).over()
        });
        if fixture.here.seen(other).connected {
            fixture.here.receive(other);
            fixture.until("the other's end", |fixture| fixture.here.seen(other).over());
        }
        let _: Finished = fixture.finish();
    }
    Fixture::new(kernel).finish()
}

/// The kernel does not answer any more, not even to a cancel: the driver gives up after its limit, and what is in
/// flight is leaked.
pub fn what_cannot_be_reaped_is_leaked<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    let lease = lease_of(&mut fixture, ends, b"sent");
    fixture.there.backend().fall_silent();
    assert_eq!(fixture.there.driver.send(ends.there, Payload::from(lease)), Sending::InFlight);
    let in_flight = fixture.there.driver.snapshot().in_flight;
    assert!(in_flight >= 2, "a receive and a send");
    let old = std::mem::replace(&mut fixture.there, Endpoint::new(kernel, POOL));
    let pool = old.pool.clone();
    drop(old);
    assert!(pool.in_use() >= 1, "a block that the kernel may still read is not free");
    fixture.here.receive(ends.here);
    fixture.until("the end of it", |fixture| fixture.here.seen(ends.here).over());
    fixture.finish()
}

/// Received bytes outlive the driver, its pool and their connection.
pub fn leases_outlive_their_driver<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    let mut lease = lease_of(&mut fixture, ends, b"1234");
    let old = std::mem::replace(&mut fixture.there, Endpoint::new(kernel, POOL));
    let pool = old.pool.clone();
    drop(old);
    assert_eq!(pool.in_use(), 1);
    let tail = lease.split_off(3);
    let copy = lease.clone();
    drop(lease);
    assert_eq!((&*copy, &*tail), (&b"123"[..], &b"4"[..]));
    drop(copy);
    assert_eq!(pool.in_use(), 1, "one lease is left");
    let bytes = tail.to_bytes();
    drop(tail);
    assert_eq!(pool.in_use(), 0);
    drop(pool);
    assert_same(&bytes, b"4", "a copy");
    fixture.finish()
}

/// A lease, in one piece, of bytes that were sent to `there`. Its receive stays armed.
fn lease_of<K: Kernel>(fixture: &mut Fixture<'_, K>, ends: Ends, bytes: &'static [u8]) -> Lease {
    // A simulated kernel may cut even four bytes: then it is tried again.
    for _ in 0..100 {
        fixture.there.keeping = true;
        fixture.there.receive(ends.there);
        fixture.here.post(ends.here, bytes.to_vec());
        let wanted = fixture.there.seen(ends.there).bytes.len() + bytes.len();
        fixture.until("bytes", |fixture| fixture.there.seen(ends.there).bytes.len() == wanted);
        fixture.there.keeping = false;
        let (_, lease) = fixture.there.kept.pop_front().expect("bytes arrived");
        fixture.there.kept.clear();
        if lease.len() == bytes.len() {
            assert_eq!(*lease, *bytes);
            return lease;
        }
    }
    panic!("a hundred messages, and each was cut");
}

/// An idle driver is dropped right after it was made, and right after a turn.
pub fn dropped_with_nothing_in_flight<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    fixture.here.step(Wait::Poll);
    fixture.finish_by_dropping()
}
