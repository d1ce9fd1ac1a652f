//! How connections end: end of stream, reset, abort and local close are four different outcomes (INV-7).

use std::io::ErrorKind;
use std::time::Duration;

use overlapped_testing::{assert_same, pattern};
use proactor::backend::Wait;
use proactor::{ConnectionKey, Sending, Verb};

use crate::endpoint::Finished;
use crate::fixture::Fixture;
use crate::kernel::{ANY_PORT, Kernel};
use crate::wine::Limit;

/// FIN in one direction; the other direction still carries everything, and then its own FIN (INV-8).
pub fn half_close_both_ways<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    fixture.there.receive(ends.there);
    fixture.here.post(ends.here, "last words");
    fixture.until("the send", |fixture| fixture.here.is_flushed(ends.here));
    fixture.here.driver.finish(ends.here).unwrap();
    fixture.until("the first end", |fixture| fixture.there.seen(ends.there).ended);
    assert_eq!(fixture.there.seen(ends.there).bytes, b"last words");
    assert!(!fixture.here.seen(ends.here).ended, "one half is closed, not both");

    let tail = pattern(kernel.large() / 4, 9);
    fixture.there.post(ends.there, tail.clone());
    fixture.until("the tail to be sent", |fixture| fixture.there.is_flushed(ends.there));
    fixture.there.driver.finish(ends.there).unwrap();
    fixture.until("the second end", |fixture| fixture.here.seen(ends.here).ended);
    assert_same(&fixture.here.seen(ends.here).bytes, &tail, "the tail");

    fixture.here.close(ends.here);
    fixture.there.close(ends.there);
    fixture.until("both releases", |fixture| {
        fixture.here.seen(ends.here).released && fixture.there.seen(ends.there).released
    });
    assert!(
        fixture.here.seen(ends.here).failures.is_empty()
            && fixture.there.seen(ends.there).failures.is_empty()
    );
    fixture.finish()
}

/// The peer ends its stream while a send to it waits: the send continues, and all of it arrives.
pub fn an_end_while_a_send_waits<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.there.receive(ends.there);
    let bytes = pattern(kernel.large(), 3);
    // Small payloads: then nothing of the waiting one was sent yet.
    bytes.chunks(4096).for_each(|chunk| fixture.there.post(ends.there, chunk.to_vec()));
    fixture.settle();
    assert!(fixture.there.driver.is_sending(ends.there), "nobody reads, so the send waits");
    fixture.here.driver.finish(ends.here).unwrap();
    fixture.until("the end", |fixture| fixture.there.seen(ends.there).ended);
    fixture.settle();
    assert_eq!(fixture.there.seen(ends.there).failures, [], "the other half is as good as before");
    assert!(fixture.there.driver.is_sending(ends.there), "it waits on");
    fixture.here.receive(ends.here);
    fixture.until("all bytes", |fixture| fixture.here.seen(ends.here).bytes.len() >= bytes.len());
    assert_same(&fixture.here.seen(ends.here).bytes, &bytes, "the transfer");
    fixture.until("the send to be over", |fixture| fixture.there.is_flushed(ends.there));
    fixture.there.driver.finish(ends.there).unwrap();
    fixture.until("the other end", |fixture| fixture.here.seen(ends.here).ended);
    fixture.finish()
}

/// End of stream: an end, not a failure.
pub fn an_end_is_not_a_failure<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    fixture.there.close(ends.there);
    fixture.until("the end", |fixture| fixture.here.seen(ends.here).over());
    assert!(fixture.here.seen(ends.here).ended);
    fixture.until("the release", |fixture| fixture.there.seen(ends.there).released);
    fixture.settle();
    assert_eq!(fixture.here.seen(ends.here).failures, [], "an end is an end");
    fixture.finish()
}

/// Reset: a failure of that kind, not an end.
pub fn a_reset_is_not_an_end<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    fixture.there.abort(ends.there);
    fixture.until("the reset", |fixture| fixture.here.seen(ends.here).over());
    fixture.settle();
    assert_eq!(fixture.here.seen(ends.here).failures, [(Verb::Receive, ErrorKind::ConnectionReset)]);
    assert!(!fixture.here.seen(ends.here).ended);
    assert!(fixture.here.driver.receive_ended(ends.here));
    // Calls on a broken connection are harmless, and it stays until it is closed.
    fixture.here.receive(ends.here);
    fixture.here.driver.pause_receive(ends.here);
    fixture.settle();
    assert_eq!(fixture.here.driver.snapshot().connections, 1);
    fixture.finish()
}

/// A send is waiting when the reset comes. Whichever half gets the error first: it is a failure.
pub fn a_reset_with_a_send_in_flight_is_not_an_end<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for _ in 0..8 {
        let ends = fixture.pair();
        fixture.there.receive(ends.there);
        for _ in 0..4 {
            fixture.there.post(ends.there, pattern(kernel.large() / 4, 1));
        }
        fixture.settle();
        assert!(!fixture.there.is_flushed(ends.there));
        fixture.here.abort(ends.here);
        fixture.until("a failure", |fixture| fixture.there.seen(ends.there).over());
        fixture.settle();
        let seen = fixture.there.seen(ends.there);
        assert!(!seen.ended, "INV-7: {:?} and then an end", seen.failures);
        assert!(
            seen.failures.iter().any(|(_, kind)| *kind == ErrorKind::ConnectionReset),
            "{:?}",
            seen.failures
        );
        fixture.there.abort(ends.there);
    }
    fixture.finish()
}

/// Local close and abort: no event but the release (asserted by `Endpoint`), once, however often it is called.
pub fn a_local_close_is_only_a_release<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for round in 0..8 {
        let ends = fixture.pair();
        fixture.here.receive(ends.here);
        fixture.there.receive(ends.there);
        if round % 2 == 0 {
            fixture.round();
        }
        if round % 4 < 2 {
            fixture.here.abort(ends.here);
            fixture.here.close(ends.here);
        } else {
            fixture.here.close(ends.here);
            fixture.here.close(ends.here);
        }
        assert_eq!(fixture.here.driver.send(ends.here, "too late"), Sending::Closed);
        fixture.here.driver.receive(ends.here);
        fixture.until("the release", |fixture| fixture.here.seen(ends.here).released);
        fixture.until("the peer's end", |fixture| fixture.there.seen(ends.there).over());
        let reset = round % 4 < 2;
        assert_eq!(fixture.there.seen(ends.there).ended, !reset, "a graceful close never softens an abort");
        fixture.there.close(ends.there);
    }
    fixture.finish()
}

/// The socket is closed with the release, not in a later turn: the peer sees the end even if the driver never turns
/// again.
pub fn a_released_connection_is_closed<K: Kernel>(kernel: &K) -> Finished {
    for aborted in [false, true] {
        for receiving in [false, true] {
            let (mut fixture, ends) = Fixture::connected(kernel);
            fixture.there.receive(ends.there);
            if receiving {
                fixture.here.receive(ends.here);
                fixture.settle();
            }
            if aborted {
                fixture.here.abort(ends.here);
            } else {
                fixture.here.close(ends.here);
            }
            while !fixture.here.seen(ends.here).released {
                fixture.here.step(Wait::Poll);
            }
            assert_eq!(fixture.here.open.get(), 0);
            there_alone(&mut fixture, "the end", |fixture| fixture.there.seen(ends.there).over());
            assert_eq!(
                fixture.there.seen(ends.there).ended,
                !aborted,
                "{:?}",
                fixture.there.seen(ends.there)
            );
            let _: Finished = fixture.finish();
        }
    }
    Fixture::new(kernel).finish()
}

/// The same for a refused socket: no turn is needed.
pub fn a_refused_connection_is_closed<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    let here = fixture.here.connect(address);
    fixture.until("a connection", |fixture| {
        fixture.here.seen(here).connected && !fixture.there.accepted.is_empty()
    });
    fixture.here.receive(here);
    let socket = fixture.there.accepted.pop_front().unwrap();
    fixture.there.driver.refuse(socket);
    std::mem::swap(&mut fixture.here, &mut fixture.there);
    there_alone(&mut fixture, "the end", |fixture| fixture.there.seen(here).over());
    assert!(fixture.there.seen(here).ended);
    fixture.finish()
}

/// Turns one endpoint until `done`: the other one is not turned any more.
fn there_alone<K: Kernel>(fixture: &mut Fixture<'_, K>, what: &str, done: impl Fn(&Fixture<'_, K>) -> bool) {
    const ROUNDS: usize = 2_000;
    for _ in 0..ROUNDS {
        if done(fixture) {
            return;
        }
        let moment = fixture.there.driver.now() + Duration::from_millis(5);
        fixture.there.step(Wait::Until(moment));
    }
    panic!("waited for {what} in vain: {}", fixture.there.report());
}

/// A graceful close waits for the send in flight; the peer gets all of it, and then the end (INV-8).
pub fn closing_with_a_send_in_flight_sends_all_of_it<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.there.receive(ends.there);
    let bytes = pattern(kernel.large() / 2, 4);
    fixture.there.post(ends.there, bytes.clone());
    fixture.there.post(ends.there, bytes.clone());
    fixture.settle();
    assert!(!fixture.there.is_flushed(ends.there));
    let handed = fixture.there.seen(ends.there).handed;
    fixture.there.close(ends.there);
    fixture.settle();
    fixture.here.receive(ends.here);
    fixture.until("the end", |fixture| fixture.here.seen(ends.here).over());
    assert!(fixture.here.seen(ends.here).ended, "a graceful close is no reset");
    let wanted = [bytes.as_slice(), bytes.as_slice()].concat();
    assert_same(&fixture.here.seen(ends.here).bytes, &wanted[..handed], "what was handed over");
    fixture.until("the release", |fixture| fixture.there.seen(ends.there).released);
    fixture.finish()
}

/// An abort does not wait, not even for a peer that does not read.
pub fn aborting_with_a_send_in_flight<K: Kernel>(kernel: &K) -> Finished {
    for graceful_first in [false, true] {
        let (mut fixture, ends) = Fixture::connected(kernel);
        fixture.there.receive(ends.there);
        let bytes = pattern(kernel.large() / 2, 4);
        fixture.there.post(ends.there, bytes.clone());
        fixture.there.post(ends.there, bytes.clone());
        fixture.settle();
        assert!(!fixture.there.is_flushed(ends.there));
        if graceful_first {
            fixture.there.close(ends.there);
            fixture.settle();
            let waits = fixture.there.driver.sends_in_flight() > 0;
            assert!(waits || cfg!(windows), "a graceful close waits for the peer to read");
        }
        fixture.there.abort(ends.there);
        fixture.until("the release", |fixture| fixture.there.seen(ends.there).released);
        fixture.here.receive(ends.here);
        fixture.until("the reset", |fixture| fixture.here.seen(ends.here).over());
        let seen = fixture.here.seen(ends.here);
        assert!(!seen.ended || Limit::UnwatchedResetIsAnEnd.holds(), "an abort is no end");
        let wanted = [bytes.as_slice(), bytes.as_slice()].concat();
        assert_same(&seen.bytes, &wanted[..seen.bytes.len()], "what came before the reset");
        let _: Finished = fixture.finish();
    }
    Fixture::new(kernel).finish()
}

/// Aborted before the kernel has seen the send, or just as it sees it: such a cancel must not be lost.
pub fn aborting_a_send_just_submitted<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for round in 0..12 {
        let ends = fixture.pair();
        fixture.there.receive(ends.there);
        fixture.there.post(ends.there, pattern(kernel.large() / 2, 4));
        fixture.there.post(ends.there, pattern(kernel.large() / 2, 4));
        if round % 3 == 0 {
            fixture.there.driver.turn(Wait::Poll).unwrap();
        }
        fixture.there.abort(ends.there);
        fixture.until("the release", |fixture| fixture.there.seen(ends.there).released);
    }
    fixture.finish()
}

/// Bytes for a closed connection never reach the next connection in its slot (INV-3).
pub fn a_reused_slot_gets_no_bytes_of_another_connection<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let mut old = fixture.pair();
    let mut reused = 0;
    for round in 0..30_u8 {
        fixture.here.receive(old.here);
        fixture.here.step(Wait::Poll);
        // The old connection's bytes are on their way when it is closed.
        fixture.there.post(old.there, vec![0xEE; 64]);
        fixture.there.step(Wait::Poll);
        if round % 2 == 0 {
            fixture.here.abort(old.here);
        } else {
            fixture.here.close(old.here);
        }
        fixture.until("the release", |fixture| fixture.here.seen(old.here).released);
        let new = fixture.pair();
        reused += usize::from(new.here.index() == old.here.index());
        assert_ne!(new.here, old.here);
        no_one_answers(&mut fixture, old.here);
        fixture.there.abort(old.there);
        fixture.here.receive(new.here);
        let bytes = pattern(40, round);
        fixture.there.post(new.there, bytes.clone());
        fixture.until("its own bytes", |fixture| fixture.here.seen(new.here).bytes.len() >= bytes.len());
        assert_eq!(fixture.here.seen(new.here).bytes, bytes);
        old = new;
    }
    assert!(reused > 20, "slots are used again, or this case shows nothing");
    fixture.finish()
}

/// Every call with a stale key is a no-op.
fn no_one_answers<K: Kernel>(fixture: &mut Fixture<'_, K>, gone: ConnectionKey) {
    let driver = &mut fixture.here.driver;
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

/// Sending into a connection that the peer reset fails with that error.
pub fn sending_to_a_peer_that_is_gone_fails<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.there.abort(ends.there);
    fixture.until("the release", |fixture| fixture.there.seen(ends.there).released);
    fixture.settle();
    fixture.until("a failure", |fixture| {
        let over = fixture.here.seen(ends.here).over();
        if !over && fixture.here.is_flushed(ends.here) {
            fixture.here.post(ends.here, "anybody?");
        }
        over
    });
    let (verb, kind) = fixture.here.seen(ends.here).failures[0];
    assert_eq!(verb, Verb::Send);
    let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::ConnectionAborted];
    assert!(gone.contains(&kind), "{kind:?}");
    assert_eq!(fixture.here.driver.sends_in_flight(), 0);
    fixture.finish()
}
