//! A system without memory for an operation (INV-9): the operation is delayed, and no connection is affected
//! otherwise.

use std::io::ErrorKind::OutOfMemory;

use overlapped_testing::{assert_same, pattern};
use proactor::{Sending, Snapshot, Verb};

use crate::endpoint::Finished;
use crate::fixture::{Ends, Fixture};
use crate::kernel::Kernel;
use crate::watched::Call;

/// How often in a row it fails: the pause doubles, and the last try succeeds.
const TIMES: usize = 3;

fn shortage<K: Kernel>(fixture: &mut Fixture<'_, K>, call: Call) {
    for _ in 0..TIMES {
        fixture.here.backend().fail(call, OutOfMemory);
    }
}

pub fn a_receive_waits_and_loses_nothing<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    let other = fixture.pair();
    fixture.there.post(ends.there, "for the one that waits");
    fixture.there.post(other.there, "for another");
    shortage(&mut fixture, Call::Receive);
    fixture.here.receive(ends.here);
    fixture.until("the shortage", |fixture| {
        fixture.here.seen(ends.here).delayed == [(Verb::Receive, OutOfMemory)]
    });
    assert_eq!(fixture.here.driver.snapshot().delayed, 1);
    assert!(fixture.here.driver.is_receiving(ends.here));
    fixture.until("the bytes", |fixture| fixture.here.seen(ends.here).bytes == b"for the one that waits");
    assert_eq!(fixture.here.seen(ends.here).delayed.len(), TIMES);
    fixture.here.receive(other.here);
    fixture.until("the bytes", |fixture| fixture.here.seen(other.here).bytes == b"for another");
    assert_eq!(fixture.here.driver.snapshot().delayed, 0);
    assert!(!fixture.here.seen(ends.here).over() && !fixture.here.seen(other.here).over());
    fixture.finish()
}

pub fn a_send_waits_and_keeps_its_place<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.there.receive(ends.there);
    shortage(&mut fixture, Call::Send);
    fixture.here.post(ends.here, "first, ");
    fixture.here.post(ends.here, "second");
    assert_eq!(fixture.here.driver.sends_in_flight(), 1);
    fixture.until("the bytes", |fixture| fixture.there.seen(ends.there).bytes == b"first, second");
    let seen = fixture.here.seen(ends.here);
    assert_eq!(seen.delayed, [(Verb::Send, OutOfMemory); TIMES]);
    assert!(!seen.over());
    fixture.until("its report", |fixture| fixture.here.is_flushed(ends.here));
    assert_eq!(fixture.here.driver.sends_in_flight(), 0);
    fixture.finish()
}

/// In the middle of a payload: bytes that were sent are not sent again.
pub fn the_rest_of_a_send_waits<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    let bytes = pattern(kernel.large(), 3);
    fixture.here.post(ends.here, bytes.clone());
    fixture.settle();
    shortage(&mut fixture, Call::Send);
    fixture.there.receive(ends.there);
    fixture.until("all of it", |fixture| {
        fixture.here.is_flushed(ends.here) && fixture.there.seen(ends.there).bytes.len() >= bytes.len()
    });
    assert_same(&fixture.there.seen(ends.there).bytes, &bytes, "a payload that waited");
    assert!(!fixture.here.seen(ends.here).over());
    // A kernel that continues a send by itself is not asked so often.
    fixture.here.backend().forget_faults();
    fixture.finish()
}

/// Closed gracefully, what waits still goes out; aborted, it is dropped.
pub fn closing_while_something_waits<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.there.receive(ends.there);
    shortage(&mut fixture, Call::Send);
    fixture.here.post(ends.here, "the last word");
    fixture.here.close(ends.here);
    fixture.until("the release", |fixture| fixture.here.seen(ends.here).released);
    fixture.until("the end", |fixture| fixture.there.seen(ends.there).ended);
    assert_eq!(fixture.there.seen(ends.there).bytes, b"the last word");

    for abort_at_once in [true, false] {
        let ends = waiting_both_ways(&mut fixture);
        if !abort_at_once {
            fixture.here.close(ends.here);
        }
        fixture.here.abort(ends.here);
        assert!(fixture.here.driver.snapshot().delayed == 0, "it waits for nothing any more");
        fixture.until("the release", |fixture| fixture.here.seen(ends.here).released);
        fixture.here.backend().forget_faults();
    }
    fixture.finish()
}

/// A receive and a send wait, and would go on to.
fn waiting_both_ways<K: Kernel>(fixture: &mut Fixture<'_, K>) -> Ends {
    let ends = fixture.pair();
    for call in [Call::Receive, Call::Send] {
        for _ in 0..100 {
            fixture.here.backend().fail(call, OutOfMemory);
        }
    }
    fixture.here.receive(ends.here);
    assert_ne!(fixture.here.driver.send(ends.here, "never sent"), Sending::Closed);
    fixture.until("both to wait", |fixture| fixture.here.driver.snapshot().delayed == 2);
    ends
}

pub fn pausing_while_a_receive_waits<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.there.post(ends.there, "kept");
    shortage(&mut fixture, Call::Receive);
    fixture.here.receive(ends.here);
    fixture.until("it to wait", |fixture| fixture.here.driver.snapshot().delayed == 1);
    fixture.here.driver.pause_receive(ends.here);
    assert_eq!(fixture.here.driver.snapshot().delayed, 0);
    fixture.until("the pause", |fixture| fixture.here.seen(ends.here).paused == 1);
    fixture.here.backend().forget_faults();
    fixture.settle();
    assert_eq!(fixture.here.seen(ends.here).bytes, b"");
    fixture.here.receive(ends.here);
    fixture.until("the bytes", |fixture| fixture.here.seen(ends.here).bytes == b"kept");
    fixture.finish()
}

/// The kernel does not have what waits: a driver that is dropped frees it at once (INV-10).
pub fn dropped_while_something_waits<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    waiting_both_ways(&mut fixture);
    assert_ne!(fixture.here.driver.snapshot(), Snapshot::default());
    let before = std::time::Instant::now();
    let finished = fixture.finish_by_dropping();
    assert!(before.elapsed() < std::time::Duration::from_secs(2), "nothing was waited for in vain");
    finished
}
