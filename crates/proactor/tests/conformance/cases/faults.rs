//! Submissions that fail at once: each becomes the right event, and its reference is given back (INV-2).

use std::io::ErrorKind;

use proactor::{Snapshot, Verb};

use crate::bench::{Bench, assert_same, pattern};
use crate::side::Finished;
use crate::watched::Call;
use crate::world::{ANY_PORT, World};

/// Out of something (INV-9): accepting pauses, says so once, and goes on when it is told to.
pub fn a_failed_accept_pauses<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    bench.there.backend().fail(Call::Accept, ErrorKind::OutOfMemory);
    let (listener, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    bench.until("the failure", |bench| !bench.there.accept_failures.is_empty());
    let here = bench.here.connect(address);
    bench.settle();
    assert_eq!(bench.there.accept_failures, [ErrorKind::OutOfMemory]);
    assert_eq!(bench.there.driver.snapshot().in_flight, 0, "the other accepts were cancelled");
    // Those may have lost the race; what is certain is that the connection is not lost.
    bench.there.driver.resume_accept(listener);
    bench.until("the connection", |bench| bench.here.seen(here).connected && bench.there.accepted.len() == 1);
    bench.finish()
}

/// One connection in the backlog was gone: that is no failure of the listener.
pub fn an_accept_whose_peer_is_gone_is_repeated<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    bench.there.backend().fail(Call::Accept, ErrorKind::ConnectionAborted);
    bench.there.backend().fail(Call::Accept, ErrorKind::ConnectionReset);
    let (_, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    let here = bench.here.connect(address);
    bench.until("the connection", |bench| bench.here.seen(here).connected && bench.there.accepted.len() == 1);
    assert_eq!(bench.there.accept_failures, []);
    bench.finish()
}

/// What no peer can cause, and every accept meets at once: it is told, and nothing is submitted again until the engine
/// says so. (As a success of nothing it was a loop without a wait: 11.7 million accepts a second.)
pub fn a_listener_that_cannot_accept_pauses<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for _ in 0..3 {
        bench.there.backend().fail(Call::Accept, ErrorKind::NetworkDown);
    }
    let (listener, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    let here = bench.here.connect(address);
    for failures in 1..=3 {
        bench.until("the failure", |bench| bench.there.accept_failures.len() >= failures);
        bench.settle();
        assert_eq!(bench.there.accept_failures, vec![ErrorKind::NetworkDown; failures], "told once");
        assert_eq!(bench.there.backend().submitted(Call::Accept), failures, "and not tried again");
        bench.there.driver.resume_accept(listener);
    }
    bench.until("the connection", |bench| bench.here.seen(here).connected && bench.there.accepted.len() == 1);
    bench.finish()
}

/// What a peer can cause is skipped, however often; but not without an end, in case it is no peer after all.
pub fn accepts_that_fail_without_an_end_pause<W: World>(world: &W) -> Finished {
    const MOST: usize = 1000;
    let mut bench = Bench::new(world);
    for _ in 0..2 * MOST - 1 {
        bench.there.backend().fail(Call::Accept, ErrorKind::ConnectionReset);
    }
    let (listener, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    let here = bench.here.connect(address);
    bench.until("the failure", |bench| !bench.there.accept_failures.is_empty());
    bench.settle();
    assert_eq!(bench.there.accept_failures, [ErrorKind::ConnectionReset]);
    assert_eq!(bench.there.backend().submitted(Call::Accept), MOST, "no more than that in a row");
    bench.there.driver.resume_accept(listener);
    bench.until("the connection", |bench| bench.here.seen(here).connected && bench.there.accepted.len() == 1);
    assert_eq!(bench.there.accept_failures.len(), 1, "the count begins anew");
    bench.finish()
}

pub fn a_failed_connect<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (_, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    bench.here.backend().fail(Call::Connect, ErrorKind::AddrNotAvailable);
    let here = bench.here.connect(address);
    bench.until("the failure", |bench| bench.here.seen(here).over());
    assert_eq!(bench.here.seen(here).failures, [(Verb::Connect, ErrorKind::AddrNotAvailable)]);
    assert_eq!(bench.here.driver.snapshot(), Snapshot { connections: 1, ..Snapshot::default() });
    bench.here.close(here);
    bench.until("the release", |bench| bench.here.seen(here).released);

    // Closed before its failure was handed out: then only the release is.
    bench.here.backend().fail(Call::Connect, ErrorKind::AddrNotAvailable);
    let here = bench.here.connect(address);
    bench.here.abort(here);
    bench.until("the release", |bench| bench.here.seen(here).released);
    bench.finish()
}

pub fn a_failed_receive<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.here.backend().fail(Call::Receive, ErrorKind::HostUnreachable);
    bench.here.receive(ends.here);
    bench.until("the failure", |bench| bench.here.seen(ends.here).over());
    bench.here.receive(ends.here);
    bench.settle();
    assert_eq!(bench.here.seen(ends.here).failures, [(Verb::Receive, ErrorKind::HostUnreachable)]);
    assert!(bench.here.driver.receive_ended(ends.here) && !bench.here.seen(ends.here).ended);
    assert_eq!(bench.here.driver.snapshot(), Snapshot { connections: 1, ..Snapshot::default() });

    // Paused and closed before the failure was handed out.
    let ends = bench.pair();
    bench.here.backend().fail(Call::Receive, ErrorKind::HostUnreachable);
    bench.here.receive(ends.here);
    bench.here.driver.pause_receive(ends.here);
    bench.here.close(ends.here);
    bench.until("the release", |bench| bench.here.seen(ends.here).released);
    bench.finish()
}

pub fn a_failed_send<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.there.receive(ends.there);
    bench.here.backend().fail(Call::Send, ErrorKind::HostUnreachable);
    bench.here.post(ends.here, "lost");
    assert_eq!(bench.here.driver.sends_in_flight(), 1, "it fails by an event, not inside the call");
    bench.until("the failure", |bench| bench.here.seen(ends.here).over());
    assert_eq!(bench.here.seen(ends.here).failures, [(Verb::Send, ErrorKind::HostUnreachable)]);
    assert_eq!(bench.here.driver.sends_in_flight(), 0);
    // The peer ends its stream in order: that is still an end.
    bench.here.receive(ends.here);
    bench.there.driver.finish(ends.there).unwrap();
    bench.until("the end", |bench| bench.here.seen(ends.here).ended);
    assert_eq!(bench.there.seen(ends.there).bytes, b"");

    for graceful in [true, false] {
        let ends = bench.pair();
        bench.here.backend().fail(Call::Send, ErrorKind::HostUnreachable);
        bench.here.post(ends.here, "lost");
        if graceful {
            bench.here.close(ends.here);
        } else {
            bench.here.abort(ends.here);
        }
        bench.until("the release", |bench| bench.here.seen(ends.here).released);
    }
    bench.finish()
}

/// A send was cut short and its rest fails: what is out is out, the payload is over.
pub fn a_continuation_that_fails<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    let bytes = pattern(world.large(), 8);
    bench.there.post(ends.there, bytes.clone());
    bench.settle();
    bench.there.backend().fail(Call::Send, ErrorKind::HostUnreachable);
    bench.here.receive(ends.here);
    bench.until("an end of it", |bench| {
        bench.there.seen(ends.there).over() || bench.there.is_flushed(ends.there)
    });
    if bench.there.seen(ends.there).over() {
        assert_eq!(bench.there.seen(ends.there).failures, [(Verb::Send, ErrorKind::HostUnreachable)]);
        bench.settle();
        let got = &bench.here.seen(ends.here).bytes;
        assert!(!got.is_empty() && got.len() < bytes.len());
        assert_same(got, &bytes[..got.len()], "what was out");
    } else {
        // This kernel continued it by itself: nothing was submitted again.
        bench.there.backend().forget_faults();
    }
    assert_eq!(bench.there.driver.sends_in_flight(), 0);
    bench.finish()
}

/// A socket that cannot be registered is closed; nothing of it is left, and nothing is reported.
pub fn a_failed_adoption<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let (_, address) = bench.there.listen(world.listen_on(ANY_PORT).unwrap());
    let here = bench.here.connect(address);
    bench.until("a connection", |bench| bench.here.seen(here).connected && !bench.there.accepted.is_empty());
    bench.there.backend().fail(Call::Adopt, ErrorKind::OutOfMemory);
    let socket = bench.there.accepted.pop_front().unwrap();
    assert_eq!(bench.there.driver.adopt(socket).unwrap_err().kind(), ErrorKind::OutOfMemory);
    bench.here.receive(here);
    bench.until("the peer to know", |bench| bench.here.seen(here).over());
    assert!(bench.here.seen(here).ended);

    let before = bench.here.driver.snapshot();
    for call in [Call::Open, Call::Adopt] {
        bench.here.backend().fail(call, ErrorKind::OutOfMemory);
        assert_eq!(bench.here.driver.connect(address).unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert_eq!(bench.here.driver.snapshot(), before);
    }

    bench.here.backend().fail(Call::Adopt, ErrorKind::OutOfMemory);
    let socket = world.listen_on(ANY_PORT).unwrap();
    bench.here.open.set(bench.here.open.get() + 1);
    assert_eq!(bench.here.driver.listen(socket).unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert_eq!(bench.here.driver.snapshot(), before);
    bench.finish()
}
