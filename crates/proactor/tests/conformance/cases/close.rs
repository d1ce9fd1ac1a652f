//! How connections end: end of stream, reset, abort and local close are four different things (INV-7).

use crate::bench::{Bench, assert_same, pattern};
use crate::side::Finished;
use crate::world::World;

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
