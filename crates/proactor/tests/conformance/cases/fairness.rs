//! What one connection takes of a turn: a payload of any size leaves the others their turn.

use proactor::{Gather, Payload};

use crate::bench::{Bench, Ends, assert_same, pattern};
use crate::side::{Finished, Post};
use crate::world::World;

/// What a kernel is handed with one call, at most.
const AT_ONCE: usize = 256 * 1024;

pub fn a_large_payload_takes_a_part_of_each_turn<W: World>(world: &W) -> Finished {
    let bytes = pattern(world.large(), 5);
    takes_a_part_of_each_turn(world, bytes.clone().into(), &bytes)
}

pub fn a_large_gathered_send_takes_a_part_of_each_turn<W: World>(world: &W) -> Finished {
    let bytes = pattern(world.large(), 6);
    let parts = bytes.chunks(bytes.len().div_ceil(Gather::MOST)).map(|part| Payload::Owned(part.to_vec()));
    takes_a_part_of_each_turn(world, Post::gathered(parts.collect()), &bytes)
}

fn takes_a_part_of_each_turn<W: World>(world: &W, payload: Post, bytes: &[u8]) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    let neighbour = bench.pair();
    bench.there.receive(ends.there);
    bench.here.receive(neighbour.here);
    bench.here.post(ends.here, payload);
    let mut before = bench.here.driver.send_progress(ends.here);
    assert!(before <= 2 * AT_ONCE, "{before} bytes went with the call that sends");
    bench.there.post(neighbour.there, "a neighbour's message");
    // `until` itself turns both sides, twice where nothing happened.
    bench.until("the payload to be out", |bench| {
        if !bench.here.driver.is_sending(ends.here) {
            return true;
        }
        let now = bench.here.driver.send_progress(ends.here);
        assert!(now - before <= 2 * AT_ONCE, "{} bytes went in two turns", now - before);
        before = now;
        let heard = !bench.here.seen(neighbour.here).bytes.is_empty();
        assert!(heard || now < (bytes.len() / 2).max(2 * AT_ONCE), "the neighbour had no turn");
        false
    });
    bench.until("all of it", |bench| bench.there.seen(ends.there).bytes.len() >= bytes.len());
    assert_same(&bench.there.seen(ends.there).bytes, bytes, "the payload");
    bench.finish()
}

/// Between two parts of a payload nothing of it is with the kernel.
fn between_two_parts<W: World>(world: &W) -> (Bench<'_, W>, Ends) {
    let (mut bench, ends) = Bench::connected(world);
    // The connecting side has the system's own buffers, which take several parts at once.
    bench.here.post(ends.here, pattern(world.large(), 7));
    assert!(bench.here.driver.is_sending(ends.here), "it is more than they take");
    (bench, ends)
}

pub fn aborted_between_two_parts<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = between_two_parts(world);
    bench.here.abort(ends.here);
    bench.until("the release", |bench| bench.here.seen(ends.here).released);
    bench.finish()
}

pub fn closed_between_two_parts<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = between_two_parts(world);
    bench.there.receive(ends.there);
    bench.here.close(ends.here);
    bench.until("the end", |bench| bench.there.seen(ends.there).ended);
    assert_same(&bench.there.seen(ends.there).bytes, &pattern(world.large(), 7), "all that was handed over");
    bench.finish()
}

pub fn dropped_between_two_parts<W: World>(world: &W) -> Finished {
    let (bench, _) = between_two_parts(world);
    bench.finish_by_dropping()
}
