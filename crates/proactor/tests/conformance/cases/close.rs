//! How connections end: end of stream, reset, abort and local close are four different things (INV-7).

use std::io::ErrorKind;
use std::time::Duration;

use proactor::backend::Wait;
use proactor::{ConnectionKey, Sending, Verb};

use crate::bench::{Bench, assert_same, pattern};
use crate::side::Finished;
use crate::wine::Limit;
use crate::world::{ANY_PORT, World};

/// FIN one way; the other way still carries everything, and then its own FIN (INV-8).
pub fn half_close_both_ways<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.here.receive(ends.here);
    bench.there.receive(ends.there);
    bench.here.post(ends.here, "last words");
    bench.until("the send", |bench| bench.here.is_flushed(ends.here));
    bench.here.driver.finish(ends.here).unwrap();
    bench.until("the first end", |bench| bench.there.seen(ends.there).ended);
    assert_eq!(bench.there.seen(ends.there).bytes, b"last words");
    assert!(!bench.here.seen(ends.here).ended, "one half is closed, not both");

    let tail = pattern(world.large() / 4, 9);
    bench.there.post(ends.there, tail.clone());
    bench.until("the tail to be sent", |bench| bench.there.is_flushed(ends.there));
    bench.there.driver.finish(ends.there).unwrap();
    bench.until("the second end", |bench| bench.here.seen(ends.here).ended);
    assert_same(&bench.here.seen(ends.here).bytes, &tail, "the tail");

    bench.here.close(ends.here);
    bench.there.close(ends.there);
    bench.until("both releases", |bench| {
        bench.here.seen(ends.here).released && bench.there.seen(ends.there).released
    });
    assert!(
        bench.here.seen(ends.here).failures.is_empty() && bench.there.seen(ends.there).failures.is_empty()
    );
    bench.finish()
}

/// The peer ends its stream while a send to it waits: that is no end of the send, and all of it arrives.
pub fn an_end_while_a_send_waits<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.there.receive(ends.there);
    let bytes = pattern(world.large(), 3);
    // Small ones: then the one that waits is one of which nothing is out yet.
    bytes.chunks(4096).for_each(|chunk| bench.there.post(ends.there, chunk.to_vec()));
    bench.settle();
    assert!(bench.there.driver.is_sending(ends.there), "nobody reads, so the send waits");
    bench.here.driver.finish(ends.here).unwrap();
    bench.until("the end", |bench| bench.there.seen(ends.there).ended);
    bench.settle();
    assert_eq!(bench.there.seen(ends.there).failures, [], "the other half is as good as before");
    assert!(bench.there.driver.is_sending(ends.there), "it waits on");
    bench.here.receive(ends.here);
    bench.until("all bytes", |bench| bench.here.seen(ends.here).bytes.len() >= bytes.len());
    assert_same(&bench.here.seen(ends.here).bytes, &bytes, "the transfer");
    bench.until("the send to be over", |bench| bench.there.is_flushed(ends.there));
    bench.there.driver.finish(ends.there).unwrap();
    bench.until("the other end", |bench| bench.here.seen(ends.here).ended);
    bench.finish()
}

/// End of stream: an end, no failure.
pub fn an_end_is_not_a_failure<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.here.receive(ends.here);
    bench.there.close(ends.there);
    bench.until("the end", |bench| bench.here.seen(ends.here).over());
    assert!(bench.here.seen(ends.here).ended);
    bench.until("the release", |bench| bench.there.seen(ends.there).released);
    bench.settle();
    assert_eq!(bench.here.seen(ends.here).failures, [], "an end is an end");
    bench.finish()
}

/// Reset: a failure that says so, no end.
pub fn a_reset_is_not_an_end<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.here.receive(ends.here);
    bench.there.abort(ends.there);
    bench.until("the reset", |bench| bench.here.seen(ends.here).over());
    bench.settle();
    assert_eq!(bench.here.seen(ends.here).failures, [(Verb::Receive, ErrorKind::ConnectionReset)]);
    assert!(!bench.here.seen(ends.here).ended);
    assert!(bench.here.driver.receive_ended(ends.here));
    // What is asked of a broken connection does no harm, and it stays until it is closed.
    bench.here.receive(ends.here);
    bench.here.driver.pause_receive(ends.here);
    bench.settle();
    assert_eq!(bench.here.driver.snapshot().connections, 1);
    bench.finish()
}

/// A send is waiting when the reset comes. Whichever half of the socket meets the error first: it is a failure.
pub fn a_reset_with_a_send_in_flight_is_not_an_end<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for _ in 0..8 {
        let ends = bench.pair();
        bench.there.receive(ends.there);
        for _ in 0..4 {
            bench.there.post(ends.there, pattern(world.large() / 4, 1));
        }
        bench.settle();
        assert!(!bench.there.is_flushed(ends.there));
        bench.here.abort(ends.here);
        bench.until("a failure", |bench| bench.there.seen(ends.there).over());
        bench.settle();
        let seen = bench.there.seen(ends.there);
        assert!(!seen.ended, "INV-7: {:?} and then an end", seen.failures);
        assert!(
            seen.failures.iter().any(|(_, kind)| *kind == ErrorKind::ConnectionReset),
            "{:?}",
            seen.failures
        );
        bench.there.abort(ends.there);
    }
    bench.finish()
}

/// Local close and abort: no event but the release (asserted by `Side`), once, however often it is asked for.
pub fn a_local_close_is_only_a_release<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for round in 0..8 {
        let ends = bench.pair();
        bench.here.receive(ends.here);
        bench.there.receive(ends.there);
        if round % 2 == 0 {
            bench.round();
        }
        if round % 4 < 2 {
            bench.here.abort(ends.here);
            bench.here.close(ends.here);
        } else {
            bench.here.close(ends.here);
            bench.here.close(ends.here);
        }
        assert_eq!(bench.here.driver.send(ends.here, "too late"), Sending::Closed);
        bench.here.driver.receive(ends.here);
        bench.until("the release", |bench| bench.here.seen(ends.here).released);
        bench.until("the peer's end", |bench| bench.there.seen(ends.there).over());
        let reset = round % 4 < 2;
        assert_eq!(bench.there.seen(ends.there).ended, !reset, "a graceful close never softens an abort");
        bench.there.close(ends.there);
    }
    bench.finish()
}

/// With the release, not in a later turn, the socket is closed: the peer hears of it from a driver that never turns again.
pub fn a_released_connection_is_closed<W: World>(world: &W) -> Finished {
    for aborted in [false, true] {
        for receiving in [false, true] {
            let (mut bench, ends) = Bench::connected(world);
            bench.there.receive(ends.there);
            if receiving {
                bench.here.receive(ends.here);
                bench.settle();
            }
            if aborted {
                bench.here.abort(ends.here);
            } else {
                bench.here.close(ends.here);
            }
            while !bench.here.seen(ends.here).released {
                bench.here.step(Wait::Poll);
            }
            assert_eq!(bench.here.open.get(), 0);
            there_alone(&mut bench, "the end", |bench| bench.there.seen(ends.there).over());
            assert_eq!(bench.there.seen(ends.there).ended, !aborted, "{:?}", bench.there.seen(ends.there));
            let _: Finished = bench.finish();
        }
    }
    Bench::new(world).finish()
}

/// The same for one that is refused: no turn is needed.
pub fn a_refused_connection_is_closed<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (_, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    let here = bench.here.connect(address);
    bench.until("a connection", |bench| bench.here.seen(here).connected && !bench.there.accepted.is_empty());
    bench.here.receive(here);
    let socket = bench.there.accepted.pop_front().unwrap();
    bench.there.driver.refuse(socket);
    std::mem::swap(&mut bench.here, &mut bench.there);
    there_alone(&mut bench, "the end", |bench| bench.there.seen(here).over());
    assert!(bench.there.seen(here).ended);
    bench.finish()
}

/// Turns one side until `done`: the other one does nothing more.
fn there_alone<W: World>(bench: &mut Bench<'_, W>, what: &str, done: impl Fn(&Bench<'_, W>) -> bool) {
    const ROUNDS: usize = 2_000;
    for _ in 0..ROUNDS {
        if done(bench) {
            return;
        }
        let moment = bench.there.driver.now() + Duration::from_millis(5);
        bench.there.step(Wait::Until(moment));
    }
    panic!("waited for {what} in vain: {}", bench.there.report());
}

/// A graceful close waits for the send in flight; the peer gets all of it, and then the end (INV-8).
pub fn closing_with_a_send_in_flight_sends_all_of_it<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.there.receive(ends.there);
    let bytes = pattern(world.large() / 2, 4);
    bench.there.post(ends.there, bytes.clone());
    bench.there.post(ends.there, bytes.clone());
    bench.settle();
    assert!(!bench.there.is_flushed(ends.there));
    let handed = bench.there.seen(ends.there).handed;
    bench.there.close(ends.there);
    bench.settle();
    bench.here.receive(ends.here);
    bench.until("the end", |bench| bench.here.seen(ends.here).over());
    assert!(bench.here.seen(ends.here).ended, "a graceful close is no reset");
    let wanted = [bytes.as_slice(), bytes.as_slice()].concat();
    assert_same(&bench.here.seen(ends.here).bytes, &wanted[..handed], "what was handed over");
    bench.until("the release", |bench| bench.there.seen(ends.there).released);
    bench.finish()
}

/// An abort waits for nobody: not for a peer that does not read.
pub fn aborting_with_a_send_in_flight<W: World>(world: &W) -> Finished {
    for graceful_first in [false, true] {
        let (mut bench, ends) = Bench::connected(world);
        bench.there.receive(ends.there);
        let bytes = pattern(world.large() / 2, 4);
        bench.there.post(ends.there, bytes.clone());
        bench.there.post(ends.there, bytes.clone());
        bench.settle();
        assert!(!bench.there.is_flushed(ends.there));
        if graceful_first {
            bench.there.close(ends.there);
            bench.settle();
            let waits = bench.there.driver.sends_in_flight() > 0;
            assert!(waits || cfg!(windows), "a graceful close waits for the peer to read");
        }
        bench.there.abort(ends.there);
        bench.until("the release", |bench| bench.there.seen(ends.there).released);
        bench.here.receive(ends.here);
        bench.until("the reset", |bench| bench.here.seen(ends.here).over());
        let seen = bench.here.seen(ends.here);
        assert!(!seen.ended || Limit::UnwatchedResetIsAnEnd.holds(), "an abort is no end");
        let wanted = [bytes.as_slice(), bytes.as_slice()].concat();
        assert_same(&seen.bytes, &wanted[..seen.bytes.len()], "what came before the reset");
        let _: Finished = bench.finish();
    }
    Bench::new(world).finish()
}

/// Aborted before the kernel has even seen the send, or just as it sees it: such a cancel must not be lost.
pub fn aborting_a_send_just_submitted<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for round in 0..12 {
        let ends = bench.pair();
        bench.there.receive(ends.there);
        bench.there.post(ends.there, pattern(world.large() / 2, 4));
        bench.there.post(ends.there, pattern(world.large() / 2, 4));
        if round % 3 == 0 {
            bench.there.driver.turn(Wait::Poll).unwrap();
        }
        bench.there.abort(ends.there);
        bench.until("the release", |bench| bench.there.seen(ends.there).released);
    }
    bench.finish()
}

/// Bytes for a connection that is gone never reach the one that took its place (INV-3).
pub fn a_reused_slot_hears_no_strangers_bytes<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let mut old = bench.pair();
    let mut reused = 0;
    for round in 0..30_u8 {
        bench.here.receive(old.here);
        bench.here.step(Wait::Poll);
        // The stranger's bytes are on their way when its connection is closed.
        bench.there.post(old.there, vec![0xEE; 64]);
        bench.there.step(Wait::Poll);
        if round % 2 == 0 {
            bench.here.abort(old.here);
        } else {
            bench.here.close(old.here);
        }
        bench.until("the release", |bench| bench.here.seen(old.here).released);
        let new = bench.pair();
        reused += usize::from(new.here.index() == old.here.index());
        assert_ne!(new.here, old.here);
        no_one_answers(&mut bench, old.here);
        bench.there.abort(old.there);
        bench.here.receive(new.here);
        let bytes = pattern(40, round);
        bench.there.post(new.there, bytes.clone());
        bench.until("its own bytes", |bench| bench.here.seen(new.here).bytes.len() >= bytes.len());
        assert_eq!(bench.here.seen(new.here).bytes, bytes);
        old = new;
    }
    assert!(reused > 20, "slots are used again, or this case shows nothing");
    bench.finish()
}

/// Every verb with a key that names nothing does nothing.
fn no_one_answers<W: World>(bench: &mut Bench<'_, W>, gone: ConnectionKey) {
    let driver = &mut bench.here.driver;
    let before = driver.snapshot();
    assert_eq!(driver.send(gone, "for nobody"), Sending::Closed);
    driver.receive(gone);
    driver.pause_receive(gone);
    driver.close(gone);
    driver.abort(gone);
    assert!(driver.finish(gone).is_err());
    assert!(driver.peer_addr(gone).is_err() && driver.local_addr(gone).is_err());
    assert_eq!(driver.unread(gone), 0);
    assert!(!driver.is_receiving(gone) && !driver.is_sending(gone) && driver.receive_ended(gone));
    assert_eq!(driver.snapshot(), before);
}

/// Sending into a connection that the peer reset fails, and says how.
pub fn sending_to_a_peer_that_is_gone_fails<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.there.abort(ends.there);
    bench.until("the release", |bench| bench.there.seen(ends.there).released);
    bench.settle();
    bench.until("a failure", |bench| {
        let over = bench.here.seen(ends.here).over();
        if !over && bench.here.is_flushed(ends.here) {
            bench.here.post(ends.here, "anybody?");
        }
        over
    });
    let (verb, kind) = bench.here.seen(ends.here).failures[0];
    assert_eq!(verb, Verb::Send);
    let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::ConnectionAborted];
    assert!(gone.contains(&kind), "{kind:?}");
    assert_eq!(bench.here.driver.sends_in_flight(), 0);
    bench.finish()
}
