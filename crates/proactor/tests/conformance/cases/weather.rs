//! A system without memory for an operation (INV-9): it is put off, and nothing else happens to anybody.

use std::io::ErrorKind::OutOfMemory;

use proactor::{Sending, Snapshot, Verb};

use crate::bench::{Bench, Ends, assert_same, pattern};
use crate::side::Finished;
use crate::watched::Call;
use crate::world::World;

/// How often in a row it is short: the pause doubles, and the last try goes through.
const TIMES: usize = 3;

fn shortage<W: World>(bench: &mut Bench<'_, W>, call: Call) {
    for _ in 0..TIMES {
        bench.here.backend().fail(call, OutOfMemory);
    }
}

pub fn a_receive_waits_and_loses_nothing<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    let other = bench.pair();
    bench.there.post(ends.there, "for the one that waits");
    bench.there.post(other.there, "for another");
    shortage(&mut bench, Call::Receive);
    bench.here.receive(ends.here);
    bench.until("the shortage", |bench| bench.here.seen(ends.here).delayed == [(Verb::Receive, OutOfMemory)]);
    assert_eq!(bench.here.driver.snapshot().delayed, 1);
    assert!(bench.here.driver.is_receiving(ends.here));
    bench.until("the bytes", |bench| bench.here.seen(ends.here).bytes == b"for the one that waits");
    assert_eq!(bench.here.seen(ends.here).delayed.len(), TIMES);
    bench.here.receive(other.here);
    bench.until("the bytes", |bench| bench.here.seen(other.here).bytes == b"for another");
    assert_eq!(bench.here.driver.snapshot().delayed, 0);
    assert!(!bench.here.seen(ends.here).over() && !bench.here.seen(other.here).over());
    bench.finish()
}

pub fn a_send_waits_and_keeps_its_place<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.there.receive(ends.there);
    shortage(&mut bench, Call::Send);
    bench.here.post(ends.here, "first, ");
    bench.here.post(ends.here, "second");
    assert_eq!(bench.here.driver.sends_in_flight(), 1);
    bench.until("the bytes", |bench| bench.there.seen(ends.there).bytes == b"first, second");
    let seen = bench.here.seen(ends.here);
    assert_eq!(seen.delayed, [(Verb::Send, OutOfMemory); TIMES]);
    assert!(!seen.over());
    bench.until("its report", |bench| bench.here.is_flushed(ends.here));
    assert_eq!(bench.here.driver.sends_in_flight(), 0);
    bench.finish()
}

/// In the middle of a payload: what is out is not sent again.
pub fn the_rest_of_a_send_waits<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    let bytes = pattern(world.large(), 3);
    bench.here.post(ends.here, bytes.clone());
    bench.settle();
    shortage(&mut bench, Call::Send);
    bench.there.receive(ends.there);
    bench.until("all of it", |bench| {
        bench.here.is_flushed(ends.here) && bench.there.seen(ends.there).bytes.len() >= bytes.len()
    });
    assert_same(&bench.there.seen(ends.there).bytes, &bytes, "a payload that waited");
    assert!(!bench.here.seen(ends.here).over());
    // A kernel that continues a send by itself is not asked so often.
    bench.here.backend().forget_faults();
    bench.finish()
}

/// Closed gracefully, what waits still goes out; aborted, it is dropped.
pub fn closing_while_something_waits<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.there.receive(ends.there);
    shortage(&mut bench, Call::Send);
    bench.here.post(ends.here, "the last word");
    bench.here.close(ends.here);
    bench.until("the release", |bench| bench.here.seen(ends.here).released);
    bench.until("the end", |bench| bench.there.seen(ends.there).ended);
    assert_eq!(bench.there.seen(ends.there).bytes, b"the last word");

    for abort_at_once in [true, false] {
        let ends = waiting_both_ways(&mut bench);
        if !abort_at_once {
            bench.here.close(ends.here);
        }
        bench.here.abort(ends.here);
        assert!(bench.here.driver.snapshot().delayed == 0, "it waits for nothing any more");
        bench.until("the release", |bench| bench.here.seen(ends.here).released);
        bench.here.backend().forget_faults();
    }
    bench.finish()
}

/// A receive and a send wait, and would go on to.
fn waiting_both_ways<W: World>(bench: &mut Bench<'_, W>) -> Ends {
    let ends = bench.pair();
    for call in [Call::Receive, Call::Send] {
        for _ in 0..100 {
            bench.here.backend().fail(call, OutOfMemory);
        }
    }
    bench.here.receive(ends.here);
    assert_ne!(bench.here.driver.send(ends.here, "never sent"), Sending::Closed);
    bench.until("both to wait", |bench| bench.here.driver.snapshot().delayed == 2);
    ends
}

pub fn pausing_while_a_receive_waits<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.there.post(ends.there, "kept");
    shortage(&mut bench, Call::Receive);
    bench.here.receive(ends.here);
    bench.until("it to wait", |bench| bench.here.driver.snapshot().delayed == 1);
    bench.here.driver.pause_receive(ends.here);
    assert_eq!(bench.here.driver.snapshot().delayed, 0);
    bench.until("the pause", |bench| bench.here.seen(ends.here).paused == 1);
    bench.here.backend().forget_faults();
    bench.settle();
    assert_eq!(bench.here.seen(ends.here).bytes, b"");
    bench.here.receive(ends.here);
    bench.until("the bytes", |bench| bench.here.seen(ends.here).bytes == b"kept");
    bench.finish()
}

/// What waits is in nobody's hands: a driver that is dropped frees it at once (INV-10).
pub fn dropped_while_something_waits<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    waiting_both_ways(&mut bench);
    assert_ne!(bench.here.driver.snapshot(), Snapshot::default());
    let before = std::time::Instant::now();
    let finished = bench.finish_by_dropping();
    assert!(before.elapsed() < std::time::Duration::from_secs(2), "nothing was waited for in vain");
    finished
}
