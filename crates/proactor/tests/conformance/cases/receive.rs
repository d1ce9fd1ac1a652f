//! The receiving half: armed, paused, resumed. Nothing arrives during a pause, and nothing is lost.

use overlapped_testing::{assert_same, pattern};
use proactor::Event;
use proactor::backend::Wait;

use crate::endpoint::Finished;
use crate::fixture::Fixture;
use crate::kernel::Kernel;
use crate::wine::Limit;

/// Nothing is received before it was requested.
pub fn nothing_before_it_is_asked_for<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.there.post(ends.there, "abc");
    fixture.here.driver.pause_receive(ends.here);
    fixture.settle();
    assert!(!fixture.here.driver.is_receiving(ends.here));
    assert_eq!(fixture.here.seen(ends.here).bytes, b"");
    assert_eq!(fixture.here.seen(ends.here).paused, 0, "nothing was armed, so nothing was paused");
    assert_eq!(fixture.here.driver.unread(ends.here), 3);
    fixture.here.receive(ends.here);
    fixture.here.receive(ends.here);
    fixture.until("bytes", |fixture| fixture.here.seen(ends.here).bytes == b"abc");
    assert_eq!(fixture.here.driver.unread(ends.here), 0);
    assert_eq!(fixture.here.driver.snapshot().in_flight, 1, "asked twice, armed once");
    fixture.finish()
}

/// What arrives during a pause is delivered after it, though its edge came and went.
pub fn a_pause_holds_back_and_loses_nothing<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    let mut wanted = Vec::new();
    for round in 0..4_usize {
        fixture.here.receive(ends.here);
        fixture.there.post(ends.there, "before ");
        wanted.extend_from_slice(b"before ");
        fixture.until("bytes", |fixture| fixture.here.seen(ends.here).bytes.len() == wanted.len());
        for _ in 0..=round {
            fixture.here.driver.pause_receive(ends.here);
        }
        if round % 2 == 1 {
            // The last call counts.
            fixture.here.receive(ends.here);
            fixture.here.driver.pause_receive(ends.here);
        }
        fixture.until("the pause", |fixture| fixture.here.seen(ends.here).paused == round + 1);
        assert!(!fixture.here.driver.is_receiving(ends.here));
        assert_eq!(fixture.here.driver.snapshot().in_flight, 0, "no receive is left in flight");
        fixture.there.post(ends.there, "during ");
        fixture.settle();
        assert_eq!(fixture.here.seen(ends.here).bytes.len(), wanted.len(), "a pause holds back");
        assert_eq!(fixture.here.seen(ends.here).paused, round + 1, "pausing is idempotent");
        wanted.extend_from_slice(b"during ");
        fixture.here.receive(ends.here);
        fixture
            .until("what came meanwhile", |fixture| fixture.here.seen(ends.here).bytes.len() == wanted.len());
    }
    assert_same(&fixture.here.seen(ends.here).bytes, &wanted, "the stream");
    fixture.finish()
}

/// The peer's end, in either form, comes during a pause: it is told after it.
pub fn an_end_during_a_pause_is_not_lost<K: Kernel>(kernel: &K) -> Finished {
    for reset in [false, true] {
        let (mut fixture, ends) = Fixture::connected(kernel);
        fixture.here.receive(ends.here);
        fixture.round();
        fixture.here.driver.pause_receive(ends.here);
        fixture.until("the pause", |fixture| fixture.here.seen(ends.here).paused == 1);
        if reset {
            fixture.there.abort(ends.there);
        } else {
            fixture.there.driver.finish(ends.there).unwrap();
        }
        fixture.settle();
        assert!(!fixture.here.seen(ends.here).over(), "a pause holds back the end too");
        fixture.here.receive(ends.here);
        fixture.until("the end", |fixture| fixture.here.seen(ends.here).over());
        let told = fixture.here.seen(ends.here).ended != reset;
        assert!(told || reset && Limit::UnwatchedResetIsAnEnd.holds(), "an end is an end, a reset is none");
        let _: Finished = fixture.finish();
    }
    Fixture::new(kernel).finish()
}

/// Pausing and resuming in all orders, without a turn in between, while bytes flow.
pub fn pausing_and_resuming_in_a_row<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    let bytes = pattern(kernel.large() / 8, 5);
    fixture.there.post(ends.there, bytes.clone());
    for round in 0..60_usize {
        if round % 3 == 0 {
            fixture.round();
        }
        // The bits of the number say what is asked for; the last is always to receive.
        for bit in 0..6 {
            if round >> bit & 1 == 1 {
                fixture.here.driver.pause_receive(ends.here);
            } else {
                fixture.here.receive(ends.here);
            }
        }
        fixture.here.receive(ends.here);
    }
    fixture.until("all bytes", |fixture| fixture.here.seen(ends.here).bytes.len() == bytes.len());
    assert_same(&fixture.here.seen(ends.here).bytes, &bytes, "the stream");
    assert!(fixture.here.driver.is_receiving(ends.here));
    fixture.finish()
}

/// From within the handling of an event, a pause needs no cancelling on backends that complete once; resuming or
/// closing right behind it must not leave a report of that pause behind.
pub fn pausing_while_an_event_is_handled<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    let bytes = pattern(kernel.large() / 16, 6);
    fixture.there.post(ends.there, bytes.clone());
    let mut number = 0;
    fixture.until("all bytes", |fixture| {
        let here = &mut fixture.here;
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
    assert_same(&fixture.here.seen(ends.here).bytes, &bytes, "the stream");

    // Once more, closed within the event: its last event follows and no other.
    fixture.here.receive(ends.here);
    fixture.there.post(ends.there, "more");
    fixture.until("a closed connection", |fixture| {
        let here = &mut fixture.here;
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
    fixture.finish()
}

/// The bytes are in the kernel when the receive is cancelled: they come before the pause or after the resume.
pub fn a_cancel_that_loses_the_race<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    let mut wanted = 0;
    for round in 0..40_usize {
        fixture.there.post(ends.there, pattern(3, round as u8));
        wanted += 3;
        fixture.there.step(Wait::Poll);
        if round % 4 == 0 {
            fixture.here.driver.turn(Wait::Poll).unwrap();
        }
        fixture.here.driver.pause_receive(ends.here);
        let before = fixture.here.seen(ends.here).paused;
        fixture.until("the pause", |fixture| fixture.here.seen(ends.here).paused == before + 1);
        fixture.here.receive(ends.here);
        if round % 2 == 0 {
            fixture.until("bytes", |fixture| fixture.here.seen(ends.here).bytes.len() == wanted);
        }
    }
    fixture.until("bytes", |fixture| fixture.here.seen(ends.here).bytes.len() == wanted);
    let all: Vec<u8> = (0..40).flat_map(|round| pattern(3, round)).collect();
    assert_same(&fixture.here.seen(ends.here).bytes, &all, "the stream");
    fixture.finish()
}

/// The same race with the end of the stream, which has no second edge.
pub fn a_cancel_that_meets_the_end<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for round in 0..8 {
        let ends = fixture.pair();
        fixture.here.receive(ends.here);
        fixture.here.step(Wait::Poll);
        if round % 2 == 0 {
            fixture.there.post(ends.there, "bye");
        }
        fixture.until("the send", |fixture| fixture.there.is_flushed(ends.there));
        fixture.there.driver.finish(ends.there).unwrap();
        if round % 4 < 2 {
            fixture.here.driver.turn(Wait::Poll).unwrap();
        }
        fixture.here.driver.pause_receive(ends.here);
        fixture.until("the pause or the end", |fixture| {
            let seen = fixture.here.seen(ends.here);
            seen.paused == 1 || seen.ended
        });
        fixture.here.receive(ends.here);
        fixture.until("the end", |fixture| fixture.here.seen(ends.here).ended);
        assert!(fixture.here.driver.receive_ended(ends.here));
        assert_eq!(fixture.here.seen(ends.here).bytes.len(), if round % 2 == 0 { 3 } else { 0 });
    }
    fixture.finish()
}
