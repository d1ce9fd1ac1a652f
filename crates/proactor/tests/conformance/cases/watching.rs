//! Watching for the end while nothing is received: reported at once, once, and without touching the bytes that wait.

use std::io::ErrorKind;

use overlapped_testing::{assert_same, pattern};
use proactor::Verb;
use proactor::backend::Wait;

use crate::endpoint::Finished;
use crate::fixture::{Ends, Fixture};
use crate::kernel::Kernel;
use crate::watched::Call;
use crate::wine::Limit;

const RESET: (Verb, ErrorKind) = (Verb::Receive, ErrorKind::ConnectionReset);

/// On Windows nothing is reported behind unread bytes: see `Driver::watch`.
const HEARS_BEHIND_BYTES: bool = !cfg!(windows);

/// How far a connection is when it is watched.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// Nothing was ever received.
    Nothing,
    /// It was received on, and paused; the pause has taken effect.
    Paused,
    /// It was received on, and is being paused.
    Pausing,
    /// It was watched, received on and paused in a row: that watch is about to end.
    Again,
}

const ALL: [Before; 4] = [Before::Nothing, Before::Paused, Before::Pausing, Before::Again];

/// A connection that is watched at `here`.
fn watched<K: Kernel>(fixture: &mut Fixture<'_, K>, before: Before) -> Ends {
    let ends = fixture.pair();
    if !matches!(before, Before::Nothing) {
        fixture.here.receive(ends.here);
        fixture.there.post(ends.there, "abc");
        fixture.until("bytes", |fixture| fixture.here.seen(ends.here).bytes == b"abc");
        fixture.here.driver.pause_receive(ends.here);
    }
    if matches!(before, Before::Paused) {
        fixture.until("the pause", |fixture| fixture.here.seen(ends.here).paused == 1);
    }
    fixture.here.watch(ends.here);
    if matches!(before, Before::Again) {
        fixture.settle();
        fixture.here.receive(ends.here);
        fixture.here.driver.pause_receive(ends.here);
        fixture.here.watch(ends.here);
    }
    ends
}

/// Without a receive, with and without bytes before it, whatever came before.
pub fn a_reset_is_heard_at_once<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for before in ALL {
        for unread in ["", "xyz"] {
            let ends = watched(&mut fixture, before);
            fixture.until("the pause", |fixture| !fixture.here.driver.is_receiving(ends.here));
            if !unread.is_empty() {
                fixture.there.post(ends.there, unread);
                fixture.until("bytes", |fixture| fixture.here.driver.unread(ends.here) == unread.len());
                fixture.settle();
            }
            fixture.there.abort(ends.there);
            if unread.is_empty() || HEARS_BEHIND_BYTES {
                fixture.until("the reset", |fixture| fixture.here.seen(ends.here).over());
            } else {
                fixture.settle();
                fixture.here.receive(ends.here);
                fixture.until("the reset", |fixture| fixture.here.seen(ends.here).over());
                if fixture.here.seen(ends.here).ended && Limit::UnwatchedResetIsAnEnd.holds() {
                    continue;
                }
            }
            assert!(fixture.here.driver.receive_ended(ends.here));
            fixture.settle();
            assert_eq!(fixture.here.driver.snapshot().in_flight, 0, "the watch is over with what it is for");
            // What is asked of it now changes nothing.
            fixture.here.receive(ends.here);
            fixture.here.driver.pause_receive(ends.here);
            fixture.here.watch(ends.here);
            fixture.settle();
            let seen = fixture.here.seen(ends.here);
            assert_eq!(seen.failures, [RESET], "{before:?}, {unread:?}: heard once, as what it is");
            assert!(!seen.ended);
            assert_eq!(fixture.here.driver.snapshot().in_flight, 0, "nothing is left in flight");
            fixture.here.close(ends.here);
        }
    }
    fixture.finish()
}

/// It comes first, unnoticed: no event will announce it again.
pub fn a_reset_before_the_watch_is_heard<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for unread in ["", "xyz"] {
        let ends = fixture.pair();
        fixture.there.post(ends.there, unread);
        fixture.settle();
        fixture.there.abort(ends.there);
        fixture.settle();
        assert!(!fixture.here.seen(ends.here).over(), "nobody listens");
        fixture.here.watch(ends.here);
        fixture.settle();
        let heard = fixture.here.seen(ends.here).failures == [RESET];
        let excused = cfg!(windows) && (!unread.is_empty() || Limit::UnwatchedResetIsAnEnd.holds());
        assert!(heard || excused, "{unread:?}: {:?}", fixture.here.seen(ends.here).failures);
    }
    fixture.finish()
}

/// The peer ended its stream, then resets the connection; neither the end nor the bytes before it were received.
pub fn a_reset_after_the_end_is_heard<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for before in [Before::Nothing, Before::Paused] {
        let ends = watched(&mut fixture, before);
        fixture.there.post(ends.there, "bye");
        fixture.until("the send", |fixture| fixture.there.is_flushed(ends.there));
        fixture.there.driver.finish(ends.there).unwrap();
        fixture.settle();
        assert!(!fixture.here.seen(ends.here).over(), "the end is not told before it is received");
        fixture.there.abort(ends.there);
        if HEARS_BEHIND_BYTES {
            fixture.until("the reset", |fixture| fixture.here.seen(ends.here).over());
            assert_eq!(fixture.here.seen(ends.here).failures, [RESET]);
        }
        fixture.settle();
        assert!(!fixture.here.seen(ends.here).ended);
    }
    fixture.finish()
}

/// With nothing before it, an end of stream is told at once, also one that came before the watch.
pub fn an_end_with_nothing_before_it_is_heard<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for before in ALL {
        for early in [false, true] {
            let ends = if early {
                let ends = fixture.pair();
                fixture.there.driver.finish(ends.there).unwrap();
                fixture.settle();
                assert!(!fixture.here.seen(ends.here).over(), "nobody listens");
                fixture.here.watch(ends.here);
                ends
            } else {
                let ends = watched(&mut fixture, before);
                fixture.until("the pause", |fixture| !fixture.here.driver.is_receiving(ends.here));
                fixture.there.driver.finish(ends.there).unwrap();
                ends
            };
            fixture.until("the end", |fixture| fixture.here.seen(ends.here).over());
            // What is asked of it now changes nothing, and the other direction goes on.
            fixture.here.receive(ends.here);
            fixture.here.watch(ends.here);
            fixture.there.receive(ends.there);
            fixture.here.post(ends.here, "still here");
            fixture.until("bytes", |fixture| fixture.there.seen(ends.there).bytes == b"still here");
            fixture.settle();
            let seen = fixture.here.seen(ends.here);
            assert!(seen.ended && seen.failures.is_empty(), "{before:?}: an end is an end, told once");
            assert!(fixture.here.driver.receive_ended(ends.here));
            assert_eq!(fixture.here.driver.snapshot().in_flight, 0, "nothing is left in flight");
            fixture.here.close(ends.here);
        }
    }
    fixture.finish()
}

/// Bytes are not told, do not end the watch, and are there afterwards, the end of the stream behind them.
pub fn an_end_waits_behind_its_bytes<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for before in ALL {
        for len in [1, kernel.large() / 40] {
            let ends = watched(&mut fixture, before);
            fixture.until("the pause", |fixture| !fixture.here.driver.is_receiving(ends.here));
            let had = fixture.here.seen(ends.here).bytes.len();
            let bytes = pattern(len.min(16 * 1024), 3);
            fixture.there.post(ends.there, bytes.clone());
            fixture.until("the send", |fixture| fixture.there.is_flushed(ends.there));
            fixture.there.driver.finish(ends.there).unwrap();
            fixture.settle();
            let seen = fixture.here.seen(ends.here);
            assert!(!seen.over() && seen.bytes.len() == had, "the end comes behind its bytes");
            fixture.here.receive(ends.here);
            fixture.until("the end", |fixture| fixture.here.seen(ends.here).over());
            assert_same(&fixture.here.seen(ends.here).bytes[had..], &bytes, "what waited");
            assert!(fixture.here.seen(ends.here).ended, "an end is an end");
            fixture.settle();
            assert_eq!(fixture.here.seen(ends.here).failures, []);
            // The stream is over: there is nothing to watch.
            fixture.here.watch(ends.here);
            assert_eq!(fixture.here.driver.snapshot().in_flight, 0);
            fixture.here.close(ends.here);
        }
    }
    fixture.finish()
}

/// Both directions end in order while one endpoint watches: it hears of an end.
pub fn an_end_of_both_directions_is_no_reset<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for here_first in [true, false] {
        let before = fixture.here.backend().submitted(Call::Watch);
        let ends = watched(&mut fixture, Before::Paused);
        fixture.there.receive(ends.there);
        if here_first {
            fixture.here.driver.finish(ends.here).unwrap();
            fixture.until("the other end", |fixture| fixture.there.seen(ends.there).ended);
        }
        fixture.there.close(ends.there);
        fixture.until("the release", |fixture| fixture.there.seen(ends.there).released);
        fixture.settle();
        if !here_first {
            fixture.here.driver.finish(ends.here).unwrap();
        }
        fixture.settle();
        assert!(
            fixture.here.backend().submitted(Call::Watch) <= 2 + before,
            "it is not armed again and again"
        );
        fixture.until("the end", |fixture| fixture.here.seen(ends.here).over());
        fixture.settle();
        let seen = fixture.here.seen(ends.here);
        assert!(seen.ended && seen.failures.is_empty(), "{:?}", seen.failures);
    }
    fixture.finish()
}

/// The reset meets a receive that was just asked for and the watch that it ends. Whoever has the error: the bytes come
/// first, then one failure.
pub fn a_reset_that_meets_the_receive_too<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for round in 0..32 {
        let ends = watched(&mut fixture, Before::Paused);
        fixture.settle();
        let mut wanted = b"abc".to_vec();
        if round & 1 == 1 {
            fixture.there.post(ends.there, "xyz");
            fixture.until("bytes", |fixture| fixture.here.driver.unread(ends.here) == 3);
            wanted.extend_from_slice(b"xyz");
        }
        let early = round & 2 == 2;
        if early {
            fixture.here.receive(ends.here);
        }
        if round & 4 == 4 {
            // The receive and the cancel are under way when the reset comes.
            fixture.here.driver.turn(Wait::Poll).unwrap();
        }
        fixture.there.abort(ends.there);
        fixture.there.step(Wait::Poll);
        if round & 16 == 16 {
            // The watch has met the reset; nobody was told yet when the receive is asked for.
            fixture.here.driver.turn(Wait::Poll).unwrap();
        }
        if !early && round & 8 == 8 {
            // Taken back and asked for again, without a look in between.
            fixture.here.receive(ends.here);
            fixture.here.driver.pause_receive(ends.here);
            fixture.here.watch(ends.here);
        }
        fixture.here.receive(ends.here);
        fixture.until("an end", |fixture| fixture.here.seen(ends.here).over());
        fixture.settle();
        let seen = fixture.here.seen(ends.here);
        let excused = seen.ended && Limit::UnwatchedResetIsAnEnd.holds();
        assert!(excused || seen.failures == [RESET], "round {round}: {:?}, {:?}", seen.ended, seen.failures);
        assert!(cfg!(windows) || seen.bytes == wanted, "round {round}: what arrived before it is received");
    }
    fixture.finish()
}

/// A send waits, and meets the reset too: each verb fails once at most, and the reset is told as one.
pub fn a_reset_with_a_send_in_flight<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for round in 0..8 {
        let ends = fixture.pair();
        if round % 2 == 0 {
            fixture.there.watch(ends.there);
        }
        for _ in 0..4 {
            fixture.there.post(ends.there, pattern(kernel.large() / 4, 1));
        }
        fixture.settle();
        assert!(!fixture.there.is_flushed(ends.there));
        fixture.there.watch(ends.there);
        assert_eq!(fixture.there.driver.snapshot().in_flight, 2, "the send and the watch");
        fixture.here.abort(ends.here);
        fixture.until("both failures", |fixture| fixture.there.seen(ends.there).failures.contains(&RESET));
        fixture.settle();
        let seen = fixture.there.seen(ends.there);
        assert!(!seen.ended);
        assert_eq!(seen.failures.iter().filter(|(verb, _)| *verb == Verb::Receive).count(), 1);
        fixture.there.abort(ends.there);
        fixture.until("the release", |fixture| fixture.there.seen(ends.there).released);
    }
    fixture.finish()
}

/// Counted like any other, never twice, and there only if it was asked for.
pub fn a_watch_is_one_operation<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    let in_flight = |fixture: &Fixture<'_, K>| fixture.here.driver.snapshot().in_flight;
    fixture.here.watch(ends.here);
    fixture.here.watch(ends.here);
    assert_eq!(in_flight(&fixture), 1, "asked twice, armed once");
    fixture.settle();
    assert_eq!(in_flight(&fixture), 1, "and it stays");
    fixture.here.receive(ends.here);
    fixture.settle();
    assert_eq!(in_flight(&fixture), 1, "a receive alone");
    // Asked for while bytes are received, it waits for the pause.
    fixture.here.watch(ends.here);
    fixture.settle();
    assert_eq!(in_flight(&fixture), 1);
    assert!(fixture.here.driver.is_receiving(ends.here));
    fixture.here.driver.pause_receive(ends.here);
    fixture.until("the pause", |fixture| fixture.here.seen(ends.here).paused == 1);
    fixture.settle();
    assert_eq!(in_flight(&fixture), 1, "a watch alone");
    assert!(!fixture.here.driver.is_receiving(ends.here));
    // The next pause is one without.
    fixture.here.receive(ends.here);
    fixture.settle();
    fixture.here.driver.pause_receive(ends.here);
    fixture.until("the pause", |fixture| fixture.here.seen(ends.here).paused == 2);
    fixture.settle();
    assert_eq!(in_flight(&fixture), 0, "nobody asked for a watch since");
    fixture.there.abort(ends.there);
    fixture.settle();
    assert!(!fixture.here.seen(ends.here).over());
    fixture.finish()
}

/// In all orders, with and without turns in between, while bytes flow.
pub fn pausing_watching_and_receiving_in_a_row<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    let bytes = pattern(kernel.large() / 8, 5);
    fixture.there.post(ends.there, bytes.clone());
    for round in 0..243_usize {
        let mut digits = round;
        for place in 0..5 {
            match digits % 3 {
                0 => fixture.here.driver.pause_receive(ends.here),
                1 => fixture.here.watch(ends.here),
                _ => fixture.here.receive(ends.here),
            }
            digits /= 3;
            match (round + place) % 7 {
                0 => drop(fixture.round()),
                3 => fixture.here.driver.turn(Wait::Poll).unwrap(),
                _ => {}
            }
        }
        assert!(fixture.here.driver.snapshot().in_flight <= 2, "a receive and a watch");
    }
    fixture.here.receive(ends.here);
    fixture.until("all bytes", |fixture| fixture.here.seen(ends.here).bytes.len() == bytes.len());
    assert_same(&fixture.here.seen(ends.here).bytes, &bytes, "the stream");
    fixture.settle();
    assert!(!fixture.here.seen(ends.here).over());
    assert_eq!(fixture.here.driver.snapshot().in_flight, 1, "the receive");
    fixture.finish()
}

/// Armed, about to be armed, about to end: closed and aborted in each state, nothing is left, and whoever has the slot
/// next is watched as the first was.
pub fn closing_with_a_watch_in_flight<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for round in 0..32 {
        let ends = watched(&mut fixture, ALL[round % 4]);
        if round % 3 == 0 {
            fixture.round();
        }
        match round / 4 % 4 {
            0 => {}
            1 => fixture.here.receive(ends.here),
            2 => {
                fixture.here.receive(ends.here);
                fixture.here.driver.pause_receive(ends.here);
                fixture.here.watch(ends.here);
            }
            _ => {
                fixture.there.abort(ends.there);
                fixture.there.step(Wait::Poll);
            }
        }
        // It may have heard of the reset by now, or not.
        if round % 8 < 4 {
            fixture.here.close(ends.here);
        } else {
            fixture.here.abort(ends.here);
        }
        fixture.here.driver.watch(ends.here);
        fixture.until("the release", |fixture| fixture.here.seen(ends.here).released);
        assert_eq!(fixture.here.driver.snapshot().in_flight, 0);

        let next = fixture.pair();
        assert_eq!(next.here.index(), ends.here.index(), "the slot is used again");
        fixture.here.watch(next.here);
        fixture.here.driver.watch(ends.here);
        fixture.settle();
        assert!(!fixture.here.seen(next.here).over(), "INV-3: nothing of the one before");
        fixture.there.abort(next.there);
        fixture.until("the reset", |fixture| fixture.here.seen(next.here).over());
        assert_eq!(fixture.here.seen(next.here).failures, [RESET]);
        fixture.here.close(next.here);
        fixture.until("the release", |fixture| fixture.here.seen(next.here).released);
    }
    fixture.finish()
}

/// In every state, some of them reset and not heard of yet (INV-10).
pub fn dropped_with_watches_in_flight<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for round in 0..12 {
        let ends = watched(&mut fixture, ALL[round % 4]);
        if round % 3 == 0 {
            fixture.round();
        }
        if round % 5 == 1 {
            fixture.here.receive(ends.here);
        }
        if round % 6 == 0 {
            fixture.there.abort(ends.there);
            fixture.there.step(Wait::Poll);
        }
    }
    fixture.finish_by_dropping()
}

/// At once, for another reason than a reset: told as that reason.
pub fn a_watch_that_fails<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    for before in [Before::Nothing, Before::Paused] {
        fixture.here.backend().fail(Call::Watch, ErrorKind::TimedOut);
        let ends = watched(&mut fixture, before);
        fixture.until("the failure", |fixture| fixture.here.seen(ends.here).over());
        fixture.settle();
        assert_eq!(fixture.here.seen(ends.here).failures, [(Verb::Receive, ErrorKind::TimedOut)]);
        assert!(fixture.here.driver.receive_ended(ends.here));
    }
    // Closed before it was handed out.
    fixture.here.backend().fail(Call::Watch, ErrorKind::TimedOut);
    let ends = watched(&mut fixture, Before::Nothing);
    fixture.here.close(ends.here);
    fixture.until("the release", |fixture| fixture.here.seen(ends.here).released);
    // Received before it was handed out: the receive finds nothing wrong.
    fixture.here.backend().fail(Call::Watch, ErrorKind::TimedOut);
    let ends = watched(&mut fixture, Before::Nothing);
    fixture.here.receive(ends.here);
    fixture.there.post(ends.there, "fine");
    fixture.until("bytes", |fixture| fixture.here.seen(ends.here).bytes == b"fine");
    assert!(!fixture.here.seen(ends.here).over());
    fixture.finish()
}

/// The system has no memory for it (INV-9): it is tried again, unless it is not wanted any more.
pub fn a_watch_waits_for_memory<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let delayed = |fixture: &Fixture<'_, K>| fixture.here.driver.snapshot().delayed;
    let short_of_memory = |fixture: &mut Fixture<'_, K>, times| {
        (0..times).for_each(|_| fixture.here.backend().fail(Call::Watch, ErrorKind::OutOfMemory));
    };
    short_of_memory(&mut fixture, 2);
    let ends = watched(&mut fixture, Before::Paused);
    fixture.until("it to wait", |fixture| delayed(fixture) == 1);
    fixture.until("it to be armed", |fixture| {
        fixture.here.backend().faults_left() == 0 && delayed(fixture) == 0
    });
    assert_eq!(fixture.here.driver.snapshot().in_flight, 1);
    fixture.there.abort(ends.there);
    fixture.until("the reset", |fixture| fixture.here.seen(ends.here).over());
    let seen = fixture.here.seen(ends.here);
    assert_eq!(seen.failures, [RESET]);
    assert_eq!(seen.delayed, [(Verb::Receive, ErrorKind::OutOfMemory); 2], "it is reported");

    for close in [false, true] {
        short_of_memory(&mut fixture, 100);
        let ends = watched(&mut fixture, Before::Nothing);
        fixture.until("it to wait", |fixture| delayed(fixture) == 1);
        if close {
            fixture.here.close(ends.here);
        } else {
            fixture.here.receive(ends.here);
        }
        assert_eq!(delayed(&fixture), 0, "it waits for nothing any more");
        fixture.here.backend().forget_faults();
        fixture.settle();
        assert!(!fixture.here.seen(ends.here).over());
    }
    fixture.finish()
}
