//! Doing without a block (INV-9): who finds none waits, in line, and goes on when one comes back.

use overlapped_testing::{assert_same, pattern};
use proactor::backend::Wait;
use proactor::{ConnectionKey, PoolConfig};

use crate::endpoint::Finished;
use crate::fixture::{Ends, Fixture};
use crate::kernel::Kernel;
use crate::wine::Limit;

/// A fixture on whose near endpoint every block is taken: all are in `here.kept`.
fn exhausted<K: Kernel>(kernel: &K) -> Fixture<'_, K> {
    let mut fixture = Fixture::with_pool(kernel, PoolConfig { blocks: 4, block_len: 64 });
    let ends = fixture.pair();
    fixture.here.keeping = true;
    fixture.here.receive(ends.here);
    for taken in 1..=4 {
        fixture.there.post(ends.there, vec![taken as u8]);
        fixture.until("a block to be taken", |fixture| fixture.here.kept.len() == taken);
    }
    fixture.here.driver.pause_receive(ends.here);
    fixture.until("the pause", |fixture| !fixture.here.driver.is_receiving(ends.here));
    assert_eq!(fixture.here.pool.available(), 0);
    fixture
}

/// A connection with a byte waiting and no block for it.
fn starve<K: Kernel>(fixture: &mut Fixture<'_, K>, byte: u8) -> Ends {
    let ends = fixture.pair();
    let starved = fixture.here.driver.snapshot().starved;
    fixture.here.receive(ends.here);
    fixture.there.post(ends.there, vec![byte]);
    fixture.until("a starved connection", |fixture| fixture.here.driver.snapshot().starved == starved + 1);
    ends
}

fn got<K: Kernel>(fixture: &Fixture<'_, K>, here: ConnectionKey) -> usize {
    fixture.here.seen(here).bytes.len()
}

pub fn blocks_are_handed_on_in_line<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = exhausted(kernel);
    let waiting: Vec<Ends> = (0..4).map(|byte| starve(&mut fixture, byte)).collect();
    fixture.settle();
    assert!(waiting.iter().all(|ends| got(&fixture, ends.here) == 0), "there is no block to receive into");
    for (turn, ends) in waiting.iter().enumerate() {
        fixture.here.kept.pop_front();
        fixture.until("the first in line", |fixture| got(fixture, ends.here) == 1);
        assert_eq!(fixture.here.seen(ends.here).bytes, [turn as u8]);
        let behind = &waiting[turn + 1..];
        fixture.settle();
        assert!(behind.iter().all(|ends| got(&fixture, ends.here) == 0), "one block is for one connection");
        assert_eq!(fixture.here.driver.snapshot().starved, behind.len());
    }
    fixture.finish()
}

/// Who leaves the line does not hold up those behind.
pub fn leaving_the_line<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = exhausted(kernel);
    let waiting: Vec<Ends> = (0..4).map(|byte| starve(&mut fixture, byte)).collect();
    fixture.here.close(waiting[0].here);
    fixture.here.abort(waiting[1].here);
    fixture.here.driver.pause_receive(waiting[2].here);
    assert_eq!(fixture.here.driver.snapshot().starved, 1, "one is left in line");
    fixture.until("what was asked for", |fixture| {
        fixture.here.seen(waiting[0].here).released
            && fixture.here.seen(waiting[1].here).released
            && fixture.here.seen(waiting[2].here).paused == 1
    });
    fixture.here.kept.pop_front();
    fixture.until("the last", |fixture| got(fixture, waiting[3].here) == 1);
    assert_eq!(got(&fixture, waiting[2].here), 0, "it is paused");
    fixture.here.kept.clear();
    fixture.here.receive(waiting[2].here);
    fixture.until("the one that paused", |fixture| got(fixture, waiting[2].here) == 1);
    fixture.finish()
}

/// However many are armed and silent, they do not take the last block from one that has something to say.
pub fn idle_connections_cost_no_blocks<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::with_pool(kernel, PoolConfig { blocks: 4, block_len: 64 });
    let idle: Vec<Ends> = (0..9).map(|_| fixture.pair()).collect();
    for ends in &idle {
        fixture.here.receive(ends.here);
    }
    fixture.settle();
    assert!(fixture.here.pool.available() >= 2, "half of the blocks at least are free");
    assert_eq!(fixture.here.driver.snapshot().starved, 0);
    for ends in idle.iter().rev() {
        fixture.there.post(ends.there, "here I am");
        fixture.until("its bytes", |fixture| got(fixture, ends.here) == 9);
    }
    fixture.finish()
}

/// The end of a stream is not lost for want of a block.
pub fn an_end_without_a_block<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = exhausted(kernel);
    let ended = starve(&mut fixture, 7);
    fixture.there.close(ended.there);
    fixture.settle();
    fixture.here.kept.clear();
    fixture.until("the end", |fixture| fixture.here.seen(ended.here).over());
    assert!(fixture.here.seen(ended.here).ended);
    assert_eq!(fixture.here.seen(ended.here).bytes, [7]);
    fixture.finish()
}

/// A connection without anything to receive needs no block: it stands in no line, and is not counted as starved.
pub fn silence_is_not_starvation<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = exhausted(kernel);
    let silent: Vec<Ends> = (0..3).map(|_| fixture.pair()).collect();
    for ends in &silent {
        fixture.here.receive(ends.here);
    }
    fixture.settle();
    assert_eq!(fixture.here.driver.snapshot().starved, 0, "nothing has arrived");
    // One that speaks is the first in line, although the others asked before it.
    fixture.there.post(silent[2].there, "x");
    fixture.until("a starved connection", |fixture| fixture.here.driver.snapshot().starved == 1);
    fixture.here.kept.pop_front();
    fixture.until("its byte", |fixture| got(fixture, silent[2].here) == 1);
    fixture.settle();
    assert_eq!(fixture.here.driver.snapshot().starved, 0, "it has nothing more to receive");
    for (turn, ends) in silent.iter().enumerate() {
        fixture.there.post(ends.there, "y");
        fixture.until("a starved connection", |fixture| fixture.here.driver.snapshot().starved == 1);
        fixture.here.kept.pop_front();
        let wanted = 1 + usize::from(turn == 2);
        fixture.until("the next byte", |fixture| got(fixture, ends.here) == wanted);
    }
    fixture.finish()
}

/// Neither is one that took the last block, however well its bytes filled it.
pub fn the_last_block_starves_nobody<K: Kernel>(kernel: &K) -> Finished {
    for len in [1, 63, 64] {
        let mut fixture = Fixture::with_pool(kernel, PoolConfig { blocks: 4, block_len: 64 });
        let ends = fixture.pair();
        fixture.here.keeping = true;
        fixture.here.receive(ends.here);
        while fixture.here.pool.available() > 0 {
            fixture.there.post(ends.there, pattern(len, 1));
            fixture.settle();
        }
        let wait = usize::from(fixture.here.driver.unread(ends.here) > 0);
        assert_eq!(fixture.here.driver.snapshot().starved, wait, "after messages of {len} bytes");
        let _: Finished = fixture.finish();
    }
    Fixture::new(kernel).finish()
}

/// What ends a connection that is silent while there is no block.
pub fn silent_without_a_block<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = exhausted(kernel);
    let silent: Vec<Ends> = (0..6).map(|_| fixture.pair()).collect();
    for ends in &silent {
        fixture.here.receive(ends.here);
    }
    fixture.settle();
    fixture.here.close(silent[0].here);
    fixture.here.abort(silent[1].here);
    fixture.here.driver.pause_receive(silent[2].here);
    fixture.until("what was asked for", |fixture| {
        fixture.here.seen(silent[0].here).released
            && fixture.here.seen(silent[1].here).released
            && fixture.here.seen(silent[2].here).paused == 1
    });
    fixture.there.close(silent[3].there);
    fixture.there.abort(silent[4].there);
    fixture.settle();
    fixture.there.post(silent[5].there, "still here");
    fixture.settle();
    fixture.here.keeping = false;
    fixture.here.kept.clear();
    fixture.until("what the peers did", |fixture| {
        fixture.here.seen(silent[3].here).over()
            && fixture.here.seen(silent[4].here).over()
            && got(fixture, silent[5].here) == b"still here".len()
    });
    assert!(fixture.here.seen(silent[3].here).ended);
    let ended = fixture.here.seen(silent[4].here).ended;
    assert!(!ended || Limit::UnwatchedResetIsAnEnd.holds(), "a reset is no end");
    fixture.here.receive(silent[2].here);
    fixture.there.post(silent[2].there, "and this one");
    fixture.until("the one that paused", |fixture| got(fixture, silent[2].here) == b"and this one".len());
    fixture.finish()
}

/// Neither a pause nor a close is lost when bytes arrive at the same time for a connection without a block.
pub fn pausing_as_bytes_arrive_without_a_block<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = exhausted(kernel);
    for round in 0..40 {
        let ends = fixture.pair();
        fixture.here.receive(ends.here);
        fixture.settle();
        fixture.there.post(ends.there, "x");
        if round % 4 < 2 {
            fixture.there.step(Wait::Poll);
        }
        if round % 8 < 4 {
            fixture.here.step(Wait::Poll);
        }
        if round % 2 == 0 {
            fixture.here.driver.pause_receive(ends.here);
            fixture.until("the pause", |fixture| fixture.here.seen(ends.here).paused == 1);
        }
        fixture.here.close(ends.here);
        fixture.until("the release", |fixture| fixture.here.seen(ends.here).released);
        fixture.there.close(ends.there);
    }
    assert_eq!(fixture.here.driver.snapshot().starved, 0);
    fixture.finish()
}

/// How a newcomer and a block that comes back meet.
#[derive(Clone, Copy, Debug)]
enum Meeting {
    /// The block is there before anybody looks for the newcomer's byte.
    BlockFirst,
    /// The newcomer's byte was noticed before the block comes back.
    ByteFirst,
    /// The block comes back while an event is handled, before those of the newcomer.
    WithinTheTurn,
}

/// Whoever waits is not passed by others that had nothing to receive until a block came back, whichever comes first:
/// each block is for the first in line, as long as newcomers keep coming.
pub fn newcomers_do_not_pass_the_line<K: Kernel>(kernel: &K) -> Finished {
    const WAITING: usize = 6;
    for meeting in [Meeting::BlockFirst, Meeting::ByteFirst, Meeting::WithinTheTurn] {
        let mut fixture = exhausted(kernel);
        let newcomers: Vec<Ends> = (0..WAITING).map(|_| fixture.pair()).collect();
        newcomers.iter().for_each(|ends| fixture.here.receive(ends.here));
        fixture.settle();
        let line: Vec<Ends> = (0..WAITING as u8).map(|byte| starve(&mut fixture, byte)).collect();
        for (turn, newcomer) in newcomers.iter().enumerate() {
            fixture.there.post(newcomer.there, "n");
            while !fixture.there.is_flushed(newcomer.there) {
                fixture.there.step(Wait::Poll);
            }
            give_back(&mut fixture, meeting);
            fixture.settle();
            let served = line.iter().map(|ends| got(&fixture, ends.here)).collect::<Vec<_>>();
            let wanted = (0..WAITING).map(|place| usize::from(place <= turn)).collect::<Vec<_>>();
            assert_eq!(served, wanted, "{meeting:?}: each block is for the first in line");
        }
        // The newcomers are a line of their own by now.
        for turn in 1..=WAITING {
            give_back(&mut fixture, meeting);
            fixture.settle();
            assert_eq!(
                newcomers.iter().filter(|ends| got(&fixture, ends.here) > 0).count(),
                turn,
                "{meeting:?}"
            );
        }
        let _: Finished = fixture.finish();
    }
    Fixture::new(kernel).finish()
}

/// The block that was kept longest comes back.
fn give_back<K: Kernel>(fixture: &mut Fixture<'_, K>, meeting: Meeting) {
    match meeting {
        Meeting::BlockFirst => {}
        Meeting::ByteFirst => drop(fixture.here.step(Wait::Poll)),
        Meeting::WithinTheTurn => {
            fixture.here.driver.waker().wake();
            fixture.here.driver.turn(Wait::Poll).expect("a turn");
            let mut kept = fixture.here.kept.pop_front();
            while let Some(event) = fixture.here.driver.next_event() {
                kept = None;
                fixture.here.note(event);
            }
            return drop(kept);
        }
    }
    fixture.here.kept.pop_front();
}

/// Those that always have more to receive take turns: none is served twice while another waits.
pub fn streams_without_end_take_turns<K: Kernel>(kernel: &K) -> Finished {
    const STREAMS: usize = 6;
    const ROUNDS: usize = 8;
    const BLOCKS: usize = 4;
    let mut fixture = exhausted(kernel);
    let streams: Vec<Ends> = (0..STREAMS).map(|_| fixture.pair()).collect();
    for (salt, ends) in streams.iter().enumerate() {
        fixture.here.receive(ends.here);
        fixture.there.post(ends.there, pattern(64 * 2 * ROUNDS, salt as u8));
    }
    fixture.until("all to wait", |fixture| fixture.here.driver.snapshot().starved == STREAMS);
    let mut served = [0; STREAMS];
    for given in 1..=STREAMS * ROUNDS {
        fixture.here.kept.pop_front();
        fixture.until("the next arrival", |fixture| fixture.here.kept.len() == BLOCKS);
        let (by, _) = fixture.here.kept.back().expect("just counted");
        let at = streams.iter().position(|ends| ends.here == *by).expect("one of them");
        served[at] += 1;
        fixture.settle();
        let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
        assert!(most - least <= 1, "{served:?} after {given} blocks");
    }
    fixture.finish()
}

/// A connection that is first in line and leaves it, in whichever way, leaves its block to the next.
pub fn who_leaves_with_a_block_passes_it_on<K: Kernel>(kernel: &K) -> Finished {
    for way in 0..4 {
        let mut fixture = exhausted(kernel);
        let first = starve(&mut fixture, 1);
        let second = starve(&mut fixture, 2);
        fixture.here.kept.pop_front();
        // Its receive goes out with the block, and is asked to end before anybody looks what it brought.
        fixture.here.driver.turn(Wait::Poll).expect("a turn");
        match way {
            0 => fixture.here.close(first.here),
            1 => fixture.here.abort(first.here),
            2 => fixture.here.driver.pause_receive(first.here),
            _ => return fixture.finish_by_dropping(),
        }
        fixture.settle();
        if !fixture.here.kept.iter().any(|(by, _)| *by == second.here) {
            // It was paused too late.
            assert_eq!((way, got(&fixture, first.here)), (2, 1));
            fixture.here.kept.pop_front();
        }
        fixture.until("the second", |fixture| got(fixture, second.here) == 1);
        let _: Finished = fixture.finish();
    }
    unreachable!("the last way returns")
}

/// Six streams through two blocks, which come back only when both are taken.
pub fn a_tiny_pool_serves_many<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::with_pool(kernel, PoolConfig { blocks: 2, block_len: 256 });
    let ends: Vec<Ends> = (0..6).map(|_| fixture.pair()).collect();
    fixture.here.keeping = true;
    let len = (kernel.large() / 20).min(8 * 1024);
    for (salt, ends) in ends.iter().enumerate() {
        fixture.here.receive(ends.here);
        fixture.there.post(ends.there, pattern(len, salt as u8));
    }
    let mut idle = 0;
    fixture.until("all streams", |fixture| {
        // Kept until none is left, or until nobody wants another.
        idle = if fixture.round() { 0 } else { idle + 1 };
        if fixture.here.kept.len() == 2 || idle > 3 {
            fixture.here.kept.clear();
        }
        ends.iter().all(|ends| got(fixture, ends.here) == len)
    });
    for (salt, ends) in ends.iter().enumerate() {
        assert_same(&fixture.here.seen(ends.here).bytes, &pattern(len, salt as u8), "a stream");
    }
    fixture.finish()
}
