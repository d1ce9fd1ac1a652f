//! Drivers that are dropped: nothing is left open, blocks come back, and what the kernel keeps is leaked, never
//! freed (INV-10).

use proactor::backend::Wait;
use proactor::{ConnectionKey, Lease, Payload, PoolConfig, Sending};

use crate::bench::{Bench, Ends, assert_same, pattern};
use crate::side::{Finished, Side};
use crate::wine::Limit;
use crate::world::{ANY_PORT, World};

const POOL: PoolConfig = PoolConfig { blocks: 16, block_len: 4096 };

/// An accept, a receive, a send and a connect are in flight: just submitted, or in the kernel for a while.
pub fn dropped_with_everything_in_flight<W: World>(world: &W) -> Finished {
    for turns in 0..3 {
        let (mut bench, ends) = Bench::connected(world);
        let (_, listening) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
        let (_, elsewhere) = bench.here.listen(world.listen_on(ANY_PORT).unwrap());
        bench.here.receive(ends.here);
        bench.here.driver.pause_receive(ends.here);
        bench.there.receive(ends.there);
        for _ in 0..4 {
            bench.there.post(ends.there, pattern(world.large() / 4, 2));
        }
        for _ in 0..turns {
            bench.settle();
        }
        bench.there.connect(elsewhere);
        assert!(bench.there.driver.snapshot().in_flight >= 4 || cfg!(windows));
        replace_there(&mut bench);
        // Its port is free and its peers know.
        bench.there.listen(world.listen_on(listening).expect("the port is free"));
        expect_reset(&mut bench, ends.here);
        let _: Finished = bench.finish();
    }
    Bench::new(world).finish()
}

/// Drops the driver there and checks what it leaves.
fn replace_there<W: World>(bench: &mut Bench<'_, W>) {
    let old = std::mem::replace(&mut bench.there, Side::new(bench.world, POOL));
    let (pool, open) = (old.pool.clone(), old.open.clone());
    drop(old);
    assert_eq!(pool.in_use(), 0, "every block is back");
    assert_eq!(open.get(), 0, "every socket was closed, once");
}

fn expect_reset<W: World>(bench: &mut Bench<'_, W>, here: ConnectionKey) {
    bench.until("the pause", |bench| !bench.here.driver.is_receiving(here) || bench.here.seen(here).over());
    bench.here.receive(here);
    bench.until("the end of it", |bench| bench.here.seen(here).over());
    let ended = bench.here.seen(here).ended;
    assert!(!ended || Limit::UnwatchedResetIsAnEnd.holds(), "a driver that is dropped aborts");
}

/// Completions are there, and nobody takes them any more: bytes, and a connection that was accepted.
pub fn dropped_with_completions_not_taken<W: World>(world: &W) -> Finished {
    for taken in 0..3 {
        let (mut bench, ends) = Bench::connected(world);
        let (_, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
        bench.there.receive(ends.there);
        bench.there.step(Wait::Poll);
        bench.here.post(ends.here, pattern(10, 0));
        let other = bench.here.connect(address);
        bench.here.receive(ends.here);
        for _ in 0..20 {
            bench.here.step(Wait::Poll);
        }
        bench.there.driver.turn(Wait::Poll).unwrap();
        for _ in 0..taken {
            if let Some(event) = bench.there.driver.next_event() {
                bench.there.note(event);
            }
        }
        while let Some(socket) = bench.there.accepted.pop_front() {
            bench.there.driver.refuse(socket);
        }
        replace_there(&mut bench);
        bench.until("the end of it", |bench| bench.here.seen(ends.here).over());
        bench.until("the other connection", |bench| {
            bench.here.seen(other).connected || bench.here.seen(other).over()
        });
        if bench.here.seen(other).connected {
            bench.here.receive(other);
            bench.until("the other's end", |bench| bench.here.seen(other).over());
        }
        let _: Finished = bench.finish();
    }
    Bench::new(world).finish()
}

/// The kernel answers nothing any more, not even to a cancel: the driver gives up after its limit, and what is
/// in flight stays where it is for ever.
pub fn what_cannot_be_reaped_is_leaked<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    let lease = lease_of(&mut bench, ends, b"sent");
    bench.there.backend().fall_silent();
    assert_eq!(bench.there.driver.send(ends.there, Payload::from(lease)), Sending::InFlight);
    let in_flight = bench.there.driver.snapshot().in_flight;
    assert!(in_flight >= 2, "a receive and a send");
    let old = std::mem::replace(&mut bench.there, Side::new(world, POOL));
    let pool = old.pool.clone();
    drop(old);
    assert!(pool.in_use() >= 1, "a block that the kernel may still read is not free");
    bench.here.receive(ends.here);
    bench.until("the end of it", |bench| bench.here.seen(ends.here).over());
    bench.finish()
}

/// Received bytes outlive the driver, its pool and their connection.
pub fn leases_outlive_their_driver<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    let mut lease = lease_of(&mut bench, ends, b"1234");
    let old = std::mem::replace(&mut bench.there, Side::new(world, POOL));
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
    bench.finish()
}

/// A lease, in one piece, of bytes that were sent to `there`. Its receive stays armed.
fn lease_of<W: World>(bench: &mut Bench<'_, W>, ends: Ends, bytes: &'static [u8]) -> Lease {
    // A simulated kernel may cut even four bytes: then it is tried again.
    for _ in 0..100 {
        bench.there.keeping = true;
        bench.there.receive(ends.there);
        bench.here.post(ends.here, bytes.to_vec());
        let wanted = bench.there.seen(ends.there).bytes.len() + bytes.len();
        bench.until("bytes", |bench| bench.there.seen(ends.there).bytes.len() == wanted);
        bench.there.keeping = false;
        let (_, lease) = bench.there.kept.pop_front().expect("bytes arrived");
        bench.there.kept.clear();
        if lease.len() == bytes.len() {
            assert_eq!(*lease, *bytes);
            return lease;
        }
    }
    panic!("a hundred messages, and each was cut");
}

/// An idle driver is dropped right after it was made, and right after a turn.
pub fn dropped_with_nothing_in_flight<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    bench.here.step(Wait::Poll);
    bench.finish_by_dropping()
}
