//! The share of a turn that one connection takes: a payload of any size does not delay the others.

use overlapped_testing::{assert_same, pattern};
use proactor::{Gather, Payload};

use crate::endpoint::{Finished, Post};
use crate::fixture::{Ends, Fixture};
use crate::kernel::Kernel;

/// The most bytes per call.
const AT_ONCE: usize = 256 * 1024;

pub fn a_large_payload_takes_a_part_of_each_turn<K: Kernel>(kernel: &K) -> Finished {
    let bytes = pattern(kernel.large(), 5);
    takes_a_part_of_each_turn(kernel, bytes.clone().into(), &bytes)
}

pub fn a_large_gathered_send_takes_a_part_of_each_turn<K: Kernel>(kernel: &K) -> Finished {
    let bytes = pattern(kernel.large(), 6);
    let parts = bytes.chunks(bytes.len().div_ceil(Gather::MOST)).map(|part| Payload::Owned(part.to_vec()));
    takes_a_part_of_each_turn(kernel, Post::gathered(parts.collect()), &bytes)
}

fn takes_a_part_of_each_turn<K: Kernel>(kernel: &K, payload: Post, bytes: &[u8]) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    let neighbour = fixture.pair();
    fixture.there.receive(ends.there);
    fixture.here.receive(neighbour.here);
    fixture.here.post(ends.here, payload);
    let mut before = fixture.here.driver.send_progress(ends.here);
    assert!(before <= 2 * AT_ONCE, "{before} bytes went with the call that sends");
    fixture.there.post(neighbour.there, "a neighbour's message");
    // `until` itself turns both endpoints, twice where nothing happened.
    fixture.until("the payload to be out", |fixture| {
        if !fixture.here.driver.is_sending(ends.here) {
            return true;
        }
        let now = fixture.here.driver.send_progress(ends.here);
        assert!(now - before <= 2 * AT_ONCE, "{} bytes went in two turns", now - before);
        before = now;
        let heard = !fixture.here.seen(neighbour.here).bytes.is_empty();
        assert!(heard || now < (bytes.len() / 2).max(2 * AT_ONCE), "the neighbour had no turn");
        false
    });
    fixture.until("all of it", |fixture| fixture.there.seen(ends.there).bytes.len() >= bytes.len());
    assert_same(&fixture.there.seen(ends.there).bytes, bytes, "the payload");
    fixture.finish()
}

/// Between two parts of a payload nothing of it is with the kernel.
fn between_two_parts<K: Kernel>(kernel: &K) -> (Fixture<'_, K>, Ends) {
    let (mut fixture, ends) = Fixture::connected(kernel);
    // The connecting endpoint has the system's own buffers, which take several parts at once.
    fixture.here.post(ends.here, pattern(kernel.large(), 7));
    assert!(fixture.here.driver.is_sending(ends.here), "it is more than they take");
    (fixture, ends)
}

pub fn aborted_between_two_parts<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = between_two_parts(kernel);
    fixture.here.abort(ends.here);
    fixture.until("the release", |fixture| fixture.here.seen(ends.here).released);
    fixture.finish()
}

pub fn closed_between_two_parts<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = between_two_parts(kernel);
    fixture.there.receive(ends.there);
    fixture.here.close(ends.here);
    fixture.until("the end", |fixture| fixture.there.seen(ends.there).ended);
    assert_same(
        &fixture.there.seen(ends.there).bytes,
        &pattern(kernel.large(), 7),
        "all that was handed over",
    );
    fixture.finish()
}

pub fn dropped_between_two_parts<K: Kernel>(kernel: &K) -> Finished {
    let (fixture, _) = between_two_parts(kernel);
    fixture.finish_by_dropping()
}
