//! The receiving half: armed, paused, resumed. Nothing arrives while paused, nothing is lost by it.

use proactor::Event;
use proactor::backend::Wait;

use crate::bench::{Bench, assert_same, pattern};
use crate::side::Finished;
use crate::wine::Limit;
use crate::world::World;

/// Nothing is received that was not asked for.
pub fn nothing_before_it_is_asked_for<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.there.post(ends.there, "abc");
    bench.here.driver.pause_receive(ends.here);
    bench.settle();
    assert!(!bench.here.driver.is_receiving(ends.here));
    assert_eq!(bench.here.seen(ends.here).bytes, b"");
    assert_eq!(bench.here.seen(ends.here).paused, 0, "nothing was armed, so nothing was paused");
    assert_eq!(bench.here.driver.unread(ends.here), 3);
    bench.here.receive(ends.here);
    bench.here.receive(ends.here);
    bench.until("bytes", |bench| bench.here.seen(ends.here).bytes == b"abc");
    assert_eq!(bench.here.driver.unread(ends.here), 0);
    assert_eq!(bench.here.driver.snapshot().in_flight, 1, "asked twice, armed once");
    bench.finish()
}

/// What arrives during a pause is delivered after it, though its edge came and went.
pub fn a_pause_holds_back_and_loses_nothing<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    let mut wanted = Vec::new();
    for round in 0..4_usize {
        bench.here.receive(ends.here);
        bench.there.post(ends.there, "before ");
        wanted.extend_from_slice(b"before ");
        bench.until("bytes", |bench| bench.here.seen(ends.here).bytes.len() == wanted.len());
        for _ in 0..=round {
            bench.here.driver.pause_receive(ends.here);
        }
        if round % 2 == 1 {
            // The last word counts.
            bench.here.receive(ends.here);
            bench.here.driver.pause_receive(ends.here);
        }
        bench.until("the pause", |bench| bench.here.seen(ends.here).paused == round + 1);
        assert!(!bench.here.driver.is_receiving(ends.here));
        assert_eq!(bench.here.driver.snapshot().in_flight, 0, "no receive is left in flight");
        bench.there.post(ends.there, "during ");
        bench.settle();
        assert_eq!(bench.here.seen(ends.here).bytes.len(), wanted.len(), "a pause holds back");
        assert_eq!(bench.here.seen(ends.here).paused, round + 1, "pausing is idempotent");
        wanted.extend_from_slice(b"during ");
        bench.here.receive(ends.here);
        bench.until("what came meanwhile", |bench| bench.here.seen(ends.here).bytes.len() == wanted.len());
    }
    assert_same(&bench.here.seen(ends.here).bytes, &wanted, "the stream");
    bench.finish()
}

/// The peer's end, in either form, comes during a pause: it is told after it.
pub fn an_end_during_a_pause_is_not_lost<W: World>(world: &W) -> Finished {
    for reset in [false, true] {
        let (mut bench, ends) = Bench::connected(world);
        bench.here.receive(ends.here);
        bench.round();
        bench.here.driver.pause_receive(ends.here);
        bench.until("the pause", |bench| bench.here.seen(ends.here).paused == 1);
        if reset {
            bench.there.abort(ends.there);
        } else {
            bench.there.driver.finish(ends.there).unwrap();
        }
        bench.settle();
        assert!(!bench.here.seen(ends.here).over(), "a pause holds back the end too");
        bench.here.receive(ends.here);
        bench.until("the end", |bench| bench.here.seen(ends.here).over());
        let told = bench.here.seen(ends.here).ended != reset;
        assert!(told || reset && Limit::UnwatchedResetIsAnEnd.holds(), "an end is an end, a reset is none");
        let _: Finished = bench.finish();
    }
    Bench::new(world).finish()
}

/// Pausing and resuming in all orders, without a turn in between, while bytes flow.
pub fn pausing_and_resuming_in_a_row<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.here.receive(ends.here);
    let bytes = pattern(world.large() / 8, 5);
    bench.there.post(ends.there, bytes.clone());
    for round in 0..60_usize {
        if round % 3 == 0 {
            bench.round();
        }
        // The bits of the number say what is asked for; the last is always to receive.
        for bit in 0..6 {
            if round >> bit & 1 == 1 {
                bench.here.driver.pause_receive(ends.here);
            } else {
                bench.here.receive(ends.here);
            }
        }
        bench.here.receive(ends.here);
    }
    bench.until("all bytes", |bench| bench.here.seen(ends.here).bytes.len() == bytes.len());
    assert_same(&bench.here.seen(ends.here).bytes, &bytes, "the stream");
    assert!(bench.here.driver.is_receiving(ends.here));
    bench.finish()
}

/// From within the handling of an event, a pause needs no cancelling on backends that complete once; resuming or
/// closing right behind it must not leave a report of that pause behind.
pub fn pausing_while_an_event_is_handled<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.here.receive(ends.here);
    let bytes = pattern(world.large() / 16, 6);
    bench.there.post(ends.there, bytes.clone());
    let mut number = 0;
    bench.until("all bytes", |bench| {
        let here = &mut bench.here;
        here.driver.turn(Wait::Poll).unwrap();
        while let Some(event) = here.driver.next_event() {
            let received = matches!(event, Event::Received { .. });
            here.note(event);
            if received {
                here.driver.pause_receive(ends.here);
                number += 1;
                if number % 3 != 0 {
                    here.receive(ends.here);
                }
            }
        }
        if !here.driver.is_receiving(ends.here) {
            here.receive(ends.here);
        }
        here.seen(ends.here).bytes.len() == bytes.len()
    });
    assert_same(&bench.here.seen(ends.here).bytes, &bytes, "the stream");

    // Once more, closed within the event: its last event follows and no other.
    bench.here.receive(ends.here);
    bench.there.post(ends.there, "more");
    bench.until("a closed connection", |bench| {
        let here = &mut bench.here;
        here.driver.turn(Wait::Poll).unwrap();
        while let Some(event) = here.driver.next_event() {
            let received = matches!(event, Event::Received { .. });
            here.note(event);
            if received {
                here.driver.pause_receive(ends.here);
                here.close(ends.here);
            }
        }
        here.seen(ends.here).released
    });
    bench.finish()
}

/// The bytes are in the kernel when the receive is cancelled: they come before the pause or after the resume.
pub fn a_cancel_that_loses_the_race<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.here.receive(ends.here);
    let mut wanted = 0;
    for round in 0..40_usize {
        bench.there.post(ends.there, pattern(3, round as u8));
        wanted += 3;
        bench.there.step(Wait::Poll);
        if round % 4 == 0 {
            bench.here.driver.turn(Wait::Poll).unwrap();
        }
        bench.here.driver.pause_receive(ends.here);
        let before = bench.here.seen(ends.here).paused;
        bench.until("the pause", |bench| bench.here.seen(ends.here).paused == before + 1);
        bench.here.receive(ends.here);
        if round % 2 == 0 {
            bench.until("bytes", |bench| bench.here.seen(ends.here).bytes.len() == wanted);
        }
    }
    bench.until("bytes", |bench| bench.here.seen(ends.here).bytes.len() == wanted);
    let all: Vec<u8> = (0..40).flat_map(|round| pattern(3, round)).collect();
    assert_same(&bench.here.seen(ends.here).bytes, &all, "the stream");
    bench.finish()
}

/// The same race with the end of the stream, which has no second edge.
pub fn a_cancel_that_meets_the_end<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for round in 0..8 {
        let ends = bench.pair();
        bench.here.receive(ends.here);
        bench.here.step(Wait::Poll);
        if round % 2 == 0 {
            bench.there.post(ends.there, "bye");
        }
        bench.until("the send", |bench| bench.there.is_flushed(ends.there));
        bench.there.driver.finish(ends.there).unwrap();
        if round % 4 < 2 {
            bench.here.driver.turn(Wait::Poll).unwrap();
        }
        bench.here.driver.pause_receive(ends.here);
        bench.until("the pause or the end", |bench| {
            let seen = bench.here.seen(ends.here);
            seen.paused == 1 || seen.ended
        });
        bench.here.receive(ends.here);
        bench.until("the end", |bench| bench.here.seen(ends.here).ended);
        assert!(bench.here.driver.receive_ended(ends.here));
        assert_eq!(bench.here.seen(ends.here).bytes.len(), if round % 2 == 0 { 3 } else { 0 });
    }
    bench.finish()
}
