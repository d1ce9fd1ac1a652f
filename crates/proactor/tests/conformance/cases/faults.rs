//! Submissions that fail at once: each becomes the right event, and its reference is given back (INV-2).

use std::io::ErrorKind;

use overlapped_testing::{assert_same, pattern};
use proactor::{Snapshot, Verb};

use crate::endpoint::Finished;
use crate::fixture::Fixture;
use crate::kernel::{ANY_PORT, Kernel};
use crate::watched::Call;

/// A shortage (INV-9): accepting pauses, reports it once, and continues when resumed.
pub fn a_failed_accept_pauses<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    fixture.there.backend().fail(Call::Accept, ErrorKind::OutOfMemory);
    let (listener, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    fixture.until("the failure", |fixture| !fixture.there.accept_failures.is_empty());
    let here = fixture.here.connect(address);
    fixture.settle();
    assert_eq!(fixture.there.accept_failures, [ErrorKind::OutOfMemory]);
    assert_eq!(fixture.there.driver.snapshot().in_flight, 0, "the other accepts were cancelled");
    // Other accepts may have lost the race; in any case the connection is not lost.
    fixture.there.driver.resume_accept(listener);
    fixture.until("the connection", |fixture| {
        fixture.here.seen(here).connected && fixture.there.accepted.len() == 1
    });
    fixture.finish()
}

/// One connection in the backlog was gone: that is not a failure of the listener.
pub fn an_accept_whose_peer_is_gone_is_repeated<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    fixture.there.backend().fail(Call::Accept, ErrorKind::ConnectionAborted);
    fixture.there.backend().fail(Call::Accept, ErrorKind::ConnectionReset);
    let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    let here = fixture.here.connect(address);
    fixture.until("the connection", |fixture| {
        fixture.here.seen(here).connected && fixture.there.accepted.len() == 1
    });
    assert_eq!(fixture.there.accept_failures, []);
    fixture.finish()
}

/// An error that no peer can cause and that every accept gets at once: it is reported, and no accept is submitted
/// until the engine resumes it. (When it was skipped, this was a loop without a wait: 11.7 million accepts per
/// second.)
pub fn a_listener_that_cannot_accept_pauses<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for _ in 0..3 {
        fixture.there.backend().fail(Call::Accept, ErrorKind::NetworkDown);
    }
    let (listener, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    let here = fixture.here.connect(address);
    for failures in 1..=3 {
        fixture.until("the failure", |fixture| fixture.there.accept_failures.len() >= failures);
        fixture.settle();
        assert_eq!(fixture.there.accept_failures, vec![ErrorKind::NetworkDown; failures], "told once");
        assert_eq!(fixture.there.backend().submitted(Call::Accept), failures, "and not tried again");
        fixture.there.driver.resume_accept(listener);
    }
    fixture.until("the connection", |fixture| {
        fixture.here.seen(here).connected && fixture.there.accepted.len() == 1
    });
    fixture.finish()
}

/// Errors that a peer can cause are skipped, but not without a limit, in case no peer causes them.
pub fn accepts_that_fail_without_an_end_pause<K: Kernel>(kernel: &K) -> Finished {
    const MOST: usize = 1000;
    let mut fixture = Fixture::new(kernel);
    for _ in 0..2 * MOST - 1 {
        fixture.there.backend().fail(Call::Accept, ErrorKind::ConnectionReset);
    }
    let (listener, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    let here = fixture.here.connect(address);
    fixture.until("the failure", |fixture| !fixture.there.accept_failures.is_empty());
    fixture.settle();
    assert_eq!(fixture.there.accept_failures, [ErrorKind::ConnectionReset]);
    assert_eq!(fixture.there.backend().submitted(Call::Accept), MOST, "no more than that in a row");
    fixture.there.driver.resume_accept(listener);
    fixture.until("the connection", |fixture| {
        fixture.here.seen(here).connected && fixture.there.accepted.len() == 1
    });
    assert_eq!(fixture.there.accept_failures.len(), 1, "the count begins anew");
    fixture.finish()
}

pub fn a_failed_connect<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    fixture.here.backend().fail(Call::Connect, ErrorKind::AddrNotAvailable);
    let here = fixture.here.connect(address);
    fixture.until("the failure", |fixture| fixture.here.seen(here).over());
    assert_eq!(fixture.here.seen(here).failures, [(Verb::Connect, ErrorKind::AddrNotAvailable)]);
    assert_eq!(fixture.here.driver.snapshot(), Snapshot { connections: 1, ..Snapshot::default() });
    fixture.here.close(here);
    fixture.until("the release", |fixture| fixture.here.seen(here).released);

    // Closed before its failure was handed out: then only the release is.
    fixture.here.backend().fail(Call::Connect, ErrorKind::AddrNotAvailable);
    let here = fixture.here.connect(address);
    fixture.here.abort(here);
    fixture.until("the release", |fixture| fixture.here.seen(here).released);
    fixture.finish()
}

pub fn a_failed_receive<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.backend().fail(Call::Receive, ErrorKind::HostUnreachable);
    fixture.here.receive(ends.here);
    fixture.until("the failure", |fixture| fixture.here.seen(ends.here).over());
    fixture.here.receive(ends.here);
    fixture.settle();
    assert_eq!(fixture.here.seen(ends.here).failures, [(Verb::Receive, ErrorKind::HostUnreachable)]);
    assert!(fixture.here.driver.receive_ended(ends.here) && !fixture.here.seen(ends.here).ended);
    assert_eq!(fixture.here.driver.snapshot(), Snapshot { connections: 1, ..Snapshot::default() });

    // Paused and closed before the failure was handed out.
    let ends = fixture.pair();
    fixture.here.backend().fail(Call::Receive, ErrorKind::HostUnreachable);
    fixture.here.receive(ends.here);
    fixture.here.driver.pause_receive(ends.here);
    fixture.here.close(ends.here);
    fixture.until("the release", |fixture| fixture.here.seen(ends.here).released);
    fixture.finish()
}

pub fn a_failed_send<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.there.receive(ends.there);
    fixture.here.backend().fail(Call::Send, ErrorKind::HostUnreachable);
    fixture.here.post(ends.here, "lost");
    assert_eq!(fixture.here.driver.sends_in_flight(), 1, "it fails by an event, not inside the call");
    fixture.until("the failure", |fixture| fixture.here.seen(ends.here).over());
    assert_eq!(fixture.here.seen(ends.here).failures, [(Verb::Send, ErrorKind::HostUnreachable)]);
    assert_eq!(fixture.here.driver.sends_in_flight(), 0);
    // The peer ends its stream in order: that is still an end.
    fixture.here.receive(ends.here);
    fixture.there.driver.finish(ends.there).unwrap();
    fixture.until("the end", |fixture| fixture.here.seen(ends.here).ended);
    assert_eq!(fixture.there.seen(ends.there).bytes, b"");

    for graceful in [true, false] {
        let ends = fixture.pair();
        fixture.here.backend().fail(Call::Send, ErrorKind::HostUnreachable);
        fixture.here.post(ends.here, "lost");
        if graceful {
            fixture.here.close(ends.here);
        } else {
            fixture.here.abort(ends.here);
        }
        fixture.until("the release", |fixture| fixture.here.seen(ends.here).released);
    }
    fixture.finish()
}

/// A send was cut short and its rest fails: what is out is out, the payload is over.
pub fn a_continuation_that_fails<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    let bytes = pattern(kernel.large(), 8);
    fixture.there.post(ends.there, bytes.clone());
    fixture.settle();
    fixture.there.backend().fail(Call::Send, ErrorKind::HostUnreachable);
    fixture.here.receive(ends.here);
    fixture.until("an end of it", |fixture| {
        fixture.there.seen(ends.there).over() || fixture.there.is_flushed(ends.there)
    });
    if fixture.there.seen(ends.there).over() {
        assert_eq!(fixture.there.seen(ends.there).failures, [(Verb::Send, ErrorKind::HostUnreachable)]);
        fixture.settle();
        let got = &fixture.here.seen(ends.here).bytes;
        assert!(!got.is_empty() && got.len() < bytes.len());
        assert_same(got, &bytes[..got.len()], "what was out");
    } else {
        // This kernel continued it by itself: nothing was submitted again.
        fixture.there.backend().forget_faults();
    }
    assert_eq!(fixture.there.driver.sends_in_flight(), 0);
    fixture.finish()
}

/// A socket that cannot be registered is closed; nothing of it is left, and nothing is reported.
pub fn a_failed_adoption<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let (_, address) = fixture.there.listen(kernel.listen_on(ANY_PORT).unwrap());
    let here = fixture.here.connect(address);
    fixture.until("a connection", |fixture| {
        fixture.here.seen(here).connected && !fixture.there.accepted.is_empty()
    });
    fixture.there.backend().fail(Call::Adopt, ErrorKind::OutOfMemory);
    let socket = fixture.there.accepted.pop_front().unwrap();
    assert_eq!(fixture.there.driver.adopt(socket).unwrap_err().kind(), ErrorKind::OutOfMemory);
    fixture.here.receive(here);
    fixture.until("the peer to know", |fixture| fixture.here.seen(here).over());
    assert!(fixture.here.seen(here).ended);

    let before = fixture.here.driver.snapshot();
    for call in [Call::Open, Call::Adopt] {
        fixture.here.backend().fail(call, ErrorKind::OutOfMemory);
        assert_eq!(fixture.here.driver.connect(address).unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert_eq!(fixture.here.driver.snapshot(), before);
    }

    fixture.here.backend().fail(Call::Adopt, ErrorKind::OutOfMemory);
    let socket = kernel.listen_on(ANY_PORT).unwrap();
    fixture.here.open.set(fixture.here.open.get() + 1);
    assert_eq!(fixture.here.driver.listen(socket).unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert_eq!(fixture.here.driver.snapshot(), before);
    fixture.finish()
}
