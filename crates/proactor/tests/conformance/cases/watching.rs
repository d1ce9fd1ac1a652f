//! Hearing of the end while nothing is received: at once, once, and without touching what waits to be received.

use std::io::ErrorKind;

use proactor::Verb;
use proactor::backend::Wait;

use crate::bench::{Bench, Ends, assert_same, pattern};
use crate::side::Finished;
use crate::watched::Call;
use crate::wine::Limit;
use crate::world::World;

const RESET: (Verb, ErrorKind) = (Verb::Receive, ErrorKind::ConnectionReset);

/// On Windows nothing is heard behind what waits to be received: see `Driver::watch`.
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
fn watched<W: World>(bench: &mut Bench<'_, W>, before: Before) -> Ends {
    let ends = bench.pair();
    if !matches!(before, Before::Nothing) {
        bench.here.receive(ends.here);
        bench.there.post(ends.there, "abc");
        bench.until("bytes", |bench| bench.here.seen(ends.here).bytes == b"abc");
        bench.here.driver.pause_receive(ends.here);
    }
    if matches!(before, Before::Paused) {
        bench.until("the pause", |bench| bench.here.seen(ends.here).paused == 1);
    }
    bench.here.watch(ends.here);
    if matches!(before, Before::Again) {
        bench.settle();
        bench.here.receive(ends.here);
        bench.here.driver.pause_receive(ends.here);
        bench.here.watch(ends.here);
    }
    ends
}

/// Without a receive, with and without bytes before it, whatever came before.
pub fn a_reset_is_heard_at_once<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for before in ALL {
        for unread in ["", "xyz"] {
            let ends = watched(&mut bench, before);
            bench.until("the pause", |bench| !bench.here.driver.is_receiving(ends.here));
            if !unread.is_empty() {
                bench.there.post(ends.there, unread);
                bench.until("bytes", |bench| bench.here.driver.unread(ends.here) == unread.len());
                bench.settle();
            }
            bench.there.abort(ends.there);
            if unread.is_empty() || HEARS_BEHIND_BYTES {
                bench.until("the reset", |bench| bench.here.seen(ends.here).over());
            } else {
                bench.settle();
                bench.here.receive(ends.here);
                bench.until("the reset", |bench| bench.here.seen(ends.here).over());
                if bench.here.seen(ends.here).ended && Limit::UnwatchedResetIsAnEnd.holds() {
                    continue;
                }
            }
            assert!(bench.here.driver.receive_ended(ends.here));
            bench.settle();
            assert_eq!(bench.here.driver.snapshot().in_flight, 0, "the watch is over with what it is for");
            // What is asked of it now changes nothing.
            bench.here.receive(ends.here);
            bench.here.driver.pause_receive(ends.here);
            bench.here.watch(ends.here);
            bench.settle();
            let seen = bench.here.seen(ends.here);
            assert_eq!(seen.failures, [RESET], "{before:?}, {unread:?}: heard once, as what it is");
            assert!(!seen.ended);
            assert_eq!(bench.here.driver.snapshot().in_flight, 0, "nothing is left in flight");
            bench.here.close(ends.here);
        }
    }
    bench.finish()
}

/// It comes first, unnoticed: no event will announce it again.
pub fn a_reset_before_the_watch_is_heard<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for unread in ["", "xyz"] {
        let ends = bench.pair();
        bench.there.post(ends.there, unread);
        bench.settle();
        bench.there.abort(ends.there);
        bench.settle();
        assert!(!bench.here.seen(ends.here).over(), "nobody listens");
        bench.here.watch(ends.here);
        bench.settle();
        let heard = bench.here.seen(ends.here).failures == [RESET];
        let excused = cfg!(windows) && (!unread.is_empty() || Limit::UnwatchedResetIsAnEnd.holds());
        assert!(heard || excused, "{unread:?}: {:?}", bench.here.seen(ends.here).failures);
    }
    bench.finish()
}

/// The peer ended its stream, then resets the connection; neither the end nor the bytes before it were received.
pub fn a_reset_after_the_end_is_heard<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for before in [Before::Nothing, Before::Paused] {
        let ends = watched(&mut bench, before);
        bench.there.post(ends.there, "bye");
        bench.until("the send", |bench| bench.there.is_flushed(ends.there));
        bench.there.driver.finish(ends.there).unwrap();
        bench.settle();
        assert!(!bench.here.seen(ends.here).over(), "the end is not told before it is received");
        bench.there.abort(ends.there);
        if HEARS_BEHIND_BYTES {
            bench.until("the reset", |bench| bench.here.seen(ends.here).over());
            assert_eq!(bench.here.seen(ends.here).failures, [RESET]);
        }
        bench.settle();
        assert!(!bench.here.seen(ends.here).ended);
    }
    bench.finish()
}

/// With nothing before it, an end of stream is told at once, also one that came before the watch.
pub fn an_end_with_nothing_before_it_is_heard<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for before in ALL {
        for early in [false, true] {
            let ends = if early {
                let ends = bench.pair();
                bench.there.driver.finish(ends.there).unwrap();
                bench.settle();
                assert!(!bench.here.seen(ends.here).over(), "nobody listens");
                bench.here.watch(ends.here);
                ends
            } else {
                let ends = watched(&mut bench, before);
                bench.until("the pause", |bench| !bench.here.driver.is_receiving(ends.here));
                bench.there.driver.finish(ends.there).unwrap();
                ends
            };
            bench.until("the end", |bench| bench.here.seen(ends.here).over());
            // What is asked of it now changes nothing, and the other direction goes on.
            bench.here.receive(ends.here);
            bench.here.watch(ends.here);
            bench.there.receive(ends.there);
            bench.here.post(ends.here, "still here");
            bench.until("bytes", |bench| bench.there.seen(ends.there).bytes == b"still here");
            bench.settle();
            let seen = bench.here.seen(ends.here);
            assert!(seen.ended && seen.failures.is_empty(), "{before:?}: an end is an end, told once");
            assert!(bench.here.driver.receive_ended(ends.here));
            assert_eq!(bench.here.driver.snapshot().in_flight, 0, "nothing is left in flight");
            bench.here.close(ends.here);
        }
    }
    bench.finish()
}

/// Bytes are not told, do not end the watch, and are there afterwards, the end of the stream behind them.
pub fn an_end_waits_behind_its_bytes<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for before in ALL {
        for len in [1, world.large() / 40] {
            let ends = watched(&mut bench, before);
            bench.until("the pause", |bench| !bench.here.driver.is_receiving(ends.here));
            let had = bench.here.seen(ends.here).bytes.len();
            let bytes = pattern(len.min(16 * 1024), 3);
            bench.there.post(ends.there, bytes.clone());
            bench.until("the send", |bench| bench.there.is_flushed(ends.there));
            bench.there.driver.finish(ends.there).unwrap();
            bench.settle();
            let seen = bench.here.seen(ends.here);
            assert!(!seen.over() && seen.bytes.len() == had, "the end comes behind its bytes");
            bench.here.receive(ends.here);
            bench.until("the end", |bench| bench.here.seen(ends.here).over());
            assert_same(&bench.here.seen(ends.here).bytes[had..], &bytes, "what waited");
            assert!(bench.here.seen(ends.here).ended, "an end is an end");
            bench.settle();
            assert_eq!(bench.here.seen(ends.here).failures, []);
            // The stream is over: there is nothing to watch.
            bench.here.watch(ends.here);
            assert_eq!(bench.here.driver.snapshot().in_flight, 0);
            bench.here.close(ends.here);
        }
    }
    bench.finish()
}

/// Both directions end in order while one side watches: it hears of an end.
pub fn an_end_of_both_directions_is_no_reset<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for here_first in [true, false] {
        let before = bench.here.backend().submitted(Call::Watch);
        let ends = watched(&mut bench, Before::Paused);
        bench.there.receive(ends.there);
        if here_first {
            bench.here.driver.finish(ends.here).unwrap();
            bench.until("the other end", |bench| bench.there.seen(ends.there).ended);
        }
        bench.there.close(ends.there);
        bench.until("the release", |bench| bench.there.seen(ends.there).released);
        bench.settle();
        if !here_first {
            bench.here.driver.finish(ends.here).unwrap();
        }
        bench.settle();
        assert!(bench.here.backend().submitted(Call::Watch) <= 2 + before, "it is not armed again and again");
        bench.until("the end", |bench| bench.here.seen(ends.here).over());
        bench.settle();
        let seen = bench.here.seen(ends.here);
        assert!(seen.ended && seen.failures.is_empty(), "{:?}", seen.failures);
    }
    bench.finish()
}

/// The reset meets a receive that was just asked for and the watch that it ends. Whoever has the error: the bytes come
/// first, then one failure.
pub fn a_reset_that_meets_the_receive_too<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for round in 0..32 {
        let ends = watched(&mut bench, Before::Paused);
        bench.settle();
        let mut wanted = b"abc".to_vec();
        if round & 1 == 1 {
            bench.there.post(ends.there, "xyz");
            bench.until("bytes", |bench| bench.here.driver.unread(ends.here) == 3);
            wanted.extend_from_slice(b"xyz");
        }
        let early = round & 2 == 2;
        if early {
            bench.here.receive(ends.here);
        }
        if round & 4 == 4 {
            // The receive and the cancel are under way when the reset comes.
            bench.here.driver.turn(Wait::Poll).unwrap();
        }
        bench.there.abort(ends.there);
        bench.there.step(Wait::Poll);
        if round & 16 == 16 {
            // The watch has met the reset; nobody was told yet when the receive is asked for.
            bench.here.driver.turn(Wait::Poll).unwrap();
        }
        if !early && round & 8 == 8 {
            // Taken back and asked for again, without a look in between.
            bench.here.receive(ends.here);
            bench.here.driver.pause_receive(ends.here);
            bench.here.watch(ends.here);
        }
        bench.here.receive(ends.here);
        bench.until("an end", |bench| bench.here.seen(ends.here).over());
        bench.settle();
        let seen = bench.here.seen(ends.here);
        let excused = seen.ended && Limit::UnwatchedResetIsAnEnd.holds();
        assert!(excused || seen.failures == [RESET], "round {round}: {:?}, {:?}", seen.ended, seen.failures);
        assert!(cfg!(windows) || seen.bytes == wanted, "round {round}: what arrived before it is received");
    }
    bench.finish()
}

/// A send waits, and meets the reset too: each verb fails once at most, and the reset is told as one.
pub fn a_reset_with_a_send_in_flight<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for round in 0..8 {
        let ends = bench.pair();
        if round % 2 == 0 {
            bench.there.watch(ends.there);
        }
        for _ in 0..4 {
            bench.there.post(ends.there, pattern(world.large() / 4, 1));
        }
        bench.settle();
        assert!(!bench.there.is_flushed(ends.there));
        bench.there.watch(ends.there);
        assert_eq!(bench.there.driver.snapshot().in_flight, 2, "the send and the watch");
        bench.here.abort(ends.here);
        bench.until("both failures", |bench| bench.there.seen(ends.there).failures.contains(&RESET));
        bench.settle();
        let seen = bench.there.seen(ends.there);
        assert!(!seen.ended);
        assert_eq!(seen.failures.iter().filter(|(verb, _)| *verb == Verb::Receive).count(), 1);
        bench.there.abort(ends.there);
        bench.until("the release", |bench| bench.there.seen(ends.there).released);
    }
    bench.finish()
}

/// Counted like any other, never twice, and there only if it was asked for.
pub fn a_watch_is_one_operation<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    let in_flight = |bench: &Bench<'_, W>| bench.here.driver.snapshot().in_flight;
    bench.here.watch(ends.here);
    bench.here.watch(ends.here);
    assert_eq!(in_flight(&bench), 1, "asked twice, armed once");
    bench.settle();
    assert_eq!(in_flight(&bench), 1, "and it stays");
    bench.here.receive(ends.here);
    bench.settle();
    assert_eq!(in_flight(&bench), 1, "a receive alone");
    // Asked for while bytes are received, it waits for the pause.
    bench.here.watch(ends.here);
    bench.settle();
    assert_eq!(in_flight(&bench), 1);
    assert!(bench.here.driver.is_receiving(ends.here));
    bench.here.driver.pause_receive(ends.here);
    bench.until("the pause", |bench| bench.here.seen(ends.here).paused == 1);
    bench.settle();
    assert_eq!(in_flight(&bench), 1, "a watch alone");
    assert!(!bench.here.driver.is_receiving(ends.here));
    // The next pause is one without.
    bench.here.receive(ends.here);
    bench.settle();
    bench.here.driver.pause_receive(ends.here);
    bench.until("the pause", |bench| bench.here.seen(ends.here).paused == 2);
    bench.settle();
    assert_eq!(in_flight(&bench), 0, "nobody asked for a watch since");
    bench.there.abort(ends.there);
    bench.settle();
    assert!(!bench.here.seen(ends.here).over());
    bench.finish()
}

/// In all orders, with and without turns in between, while bytes flow.
pub fn pausing_watching_and_receiving_in_a_row<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.here.receive(ends.here);
    let bytes = pattern(world.large() / 8, 5);
    bench.there.post(ends.there, bytes.clone());
    for round in 0..243_usize {
        let mut digits = round;
        for place in 0..5 {
            match digits % 3 {
                0 => bench.here.driver.pause_receive(ends.here),
                1 => bench.here.watch(ends.here),
                _ => bench.here.receive(ends.here),
            }
            digits /= 3;
            match (round + place) % 7 {
                0 => drop(bench.round()),
                3 => bench.here.driver.turn(Wait::Poll).unwrap(),
                _ => {}
            }
        }
        assert!(bench.here.driver.snapshot().in_flight <= 2, "a receive and a watch");
    }
    bench.here.receive(ends.here);
    bench.until("all bytes", |bench| bench.here.seen(ends.here).bytes.len() == bytes.len());
    assert_same(&bench.here.seen(ends.here).bytes, &bytes, "the stream");
    bench.settle();
    assert!(!bench.here.seen(ends.here).over());
    assert_eq!(bench.here.driver.snapshot().in_flight, 1, "the receive");
    bench.finish()
}

/// Armed, about to be armed, about to end: closed and aborted in each state, nothing is left, and whoever has the slot
/// next is watched as the first was.
pub fn closing_with_a_watch_in_flight<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for round in 0..32 {
        let ends = watched(&mut bench, ALL[round % 4]);
        if round % 3 == 0 {
            bench.round();
        }
        match round / 4 % 4 {
            0 => {}
            1 => bench.here.receive(ends.here),
            2 => {
                bench.here.receive(ends.here);
                bench.here.driver.pause_receive(ends.here);
                bench.here.watch(ends.here);
            }
            _ => {
                bench.there.abort(ends.there);
                bench.there.step(Wait::Poll);
            }
        }
        // It may have heard of the reset by now, or not.
        if round % 8 < 4 {
            bench.here.close(ends.here);
        } else {
            bench.here.abort(ends.here);
        }
        bench.here.driver.watch(ends.here);
        bench.until("the release", |bench| bench.here.seen(ends.here).released);
        assert_eq!(bench.here.driver.snapshot().in_flight, 0);

        let next = bench.pair();
        assert_eq!(next.here.index(), ends.here.index(), "the slot is used again");
        bench.here.watch(next.here);
        bench.here.driver.watch(ends.here);
        bench.settle();
        assert!(!bench.here.seen(next.here).over(), "INV-3: nothing of the one before");
        bench.there.abort(next.there);
        bench.until("the reset", |bench| bench.here.seen(next.here).over());
        assert_eq!(bench.here.seen(next.here).failures, [RESET]);
        bench.here.close(next.here);
        bench.until("the release", |bench| bench.here.seen(next.here).released);
    }
    bench.finish()
}

/// In every state, some of them reset and not heard of yet (INV-10).
pub fn dropped_with_watches_in_flight<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for round in 0..12 {
        let ends = watched(&mut bench, ALL[round % 4]);
        if round % 3 == 0 {
            bench.round();
        }
        if round % 5 == 1 {
            bench.here.receive(ends.here);
        }
        if round % 6 == 0 {
            bench.there.abort(ends.there);
            bench.there.step(Wait::Poll);
        }
    }
    bench.finish_by_dropping()
}

/// At once, for another reason than a reset: told as that reason.
pub fn a_watch_that_fails<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    for before in [Before::Nothing, Before::Paused] {
        bench.here.backend().fail(Call::Watch, ErrorKind::TimedOut);
        let ends = watched(&mut bench, before);
        bench.until("the failure", |bench| bench.here.seen(ends.here).over());
        bench.settle();
        assert_eq!(bench.here.seen(ends.here).failures, [(Verb::Receive, ErrorKind::TimedOut)]);
        assert!(bench.here.driver.receive_ended(ends.here));
    }
    // Closed before it was handed out.
    bench.here.backend().fail(Call::Watch, ErrorKind::TimedOut);
    let ends = watched(&mut bench, Before::Nothing);
    bench.here.close(ends.here);
    bench.until("the release", |bench| bench.here.seen(ends.here).released);
    // Received before it was handed out: the receive finds nothing wrong.
    bench.here.backend().fail(Call::Watch, ErrorKind::TimedOut);
    let ends = watched(&mut bench, Before::Nothing);
    bench.here.receive(ends.here);
    bench.there.post(ends.there, "fine");
    bench.until("bytes", |bench| bench.here.seen(ends.here).bytes == b"fine");
    assert!(!bench.here.seen(ends.here).over());
    bench.finish()
}

/// The system has no memory for it (INV-9): it is tried again, unless it is not wanted any more.
pub fn a_watch_waits_for_memory<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let delayed = |bench: &Bench<'_, W>| bench.here.driver.snapshot().delayed;
    let short_of_memory = |bench: &mut Bench<'_, W>, times| {
        for _ in 0..times {
            bench.here.backend().fail(Call::Watch, ErrorKind::OutOfMemory);
        }
    };
    short_of_memory(&mut bench, 2);
    let ends = watched(&mut bench, Before::Paused);
    bench.until("it to wait", |bench| delayed(bench) == 1);
    bench.until("it to be armed", |bench| bench.here.backend().faults_left() == 0 && delayed(bench) == 0);
    assert_eq!(bench.here.driver.snapshot().in_flight, 1);
    bench.there.abort(ends.there);
    bench.until("the reset", |bench| bench.here.seen(ends.here).over());
    assert_eq!(bench.here.seen(ends.here).failures, [RESET]);
    assert_eq!(
        bench.here.seen(ends.here).delayed,
        [(Verb::Receive, ErrorKind::OutOfMemory); 2],
        "it is told"
    );

    for close in [false, true] {
        short_of_memory(&mut bench, 100);
        let ends = watched(&mut bench, Before::Nothing);
        bench.until("it to wait", |bench| delayed(bench) == 1);
        if close {
            bench.here.close(ends.here);
        } else {
            bench.here.receive(ends.here);
        }
        assert_eq!(delayed(&bench), 0, "it waits for nothing any more");
        bench.here.backend().forget_faults();
        bench.settle();
        assert!(!bench.here.seen(ends.here).over());
    }
    bench.finish()
}
