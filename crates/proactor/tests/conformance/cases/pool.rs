//! Doing without a block (INV-9): who finds none waits, in line, and goes on when one comes back.

use proactor::backend::Wait;
use proactor::{ConnectionKey, PoolConfig};

use crate::bench::{Bench, Ends, assert_same, pattern};
use crate::side::Finished;
use crate::wine::Limit;
use crate::world::World;

/// A bench on whose near side every block is taken: all are in `here.kept`.
fn exhausted<W: World>(world: &W) -> Bench<'_, W> {
    let mut bench = Bench::with_pool(world, PoolConfig { blocks: 4, block_len: 64 });
    let ends = bench.pair();
    bench.here.keeping = true;
    bench.here.receive(ends.here);
    for taken in 1..=4 {
        bench.there.post(ends.there, vec![taken as u8]);
        bench.until("a block to be taken", |bench| bench.here.kept.len() == taken);
    }
    bench.here.driver.pause_receive(ends.here);
    bench.until("the pause", |bench| !bench.here.driver.is_receiving(ends.here));
    assert_eq!(bench.here.pool.available(), 0);
    bench
}

/// A connection with a byte waiting and no block for it.
fn starve<W: World>(bench: &mut Bench<'_, W>, byte: u8) -> Ends {
    let ends = bench.pair();
    let starved = bench.here.driver.snapshot().starved;
    bench.here.receive(ends.here);
    bench.there.post(ends.there, vec![byte]);
    bench.until("a starved connection", |bench| bench.here.driver.snapshot().starved == starved + 1);
    ends
}

fn got<W: World>(bench: &Bench<'_, W>, here: ConnectionKey) -> usize {
    bench.here.seen(here).bytes.len()
}

pub fn blocks_are_handed_on_in_line<W: World>(world: &W) -> Finished {
    let mut bench = exhausted(world);
    let waiting: Vec<Ends> = (0..4).map(|byte| starve(&mut bench, byte)).collect();
    bench.settle();
    assert!(waiting.iter().all(|ends| got(&bench, ends.here) == 0), "there is no block to receive into");
    for (turn, ends) in waiting.iter().enumerate() {
        bench.here.kept.pop_front();
        bench.until("the first in line", |bench| got(bench, ends.here) == 1);
        assert_eq!(bench.here.seen(ends.here).bytes, [turn as u8]);
        let behind = &waiting[turn + 1..];
        bench.settle();
        assert!(behind.iter().all(|ends| got(&bench, ends.here) == 0), "one block is for one connection");
        assert_eq!(bench.here.driver.snapshot().starved, behind.len());
    }
    bench.finish()
}

/// Who leaves the line does not hold up those behind.
pub fn leaving_the_line<W: World>(world: &W) -> Finished {
    let mut bench = exhausted(world);
    let waiting: Vec<Ends> = (0..4).map(|byte| starve(&mut bench, byte)).collect();
    bench.here.close(waiting[0].here);
    bench.here.abort(waiting[1].here);
    bench.here.driver.pause_receive(waiting[2].here);
    assert_eq!(bench.here.driver.snapshot().starved, 1, "one is left in line");
    bench.until("what was asked for", |bench| {
        bench.here.seen(waiting[0].here).released
            && bench.here.seen(waiting[1].here).released
            && bench.here.seen(waiting[2].here).paused == 1
    });
    bench.here.kept.pop_front();
    bench.until("the last", |bench| got(bench, waiting[3].here) == 1);
    assert_eq!(got(&bench, waiting[2].here), 0, "it is paused");
    bench.here.kept.clear();
    bench.here.receive(waiting[2].here);
    bench.until("the one that paused", |bench| got(bench, waiting[2].here) == 1);
    bench.finish()
}

/// However many are armed and silent, they do not take the last block from one that has something to say.
pub fn idle_connections_cost_no_blocks<W: World>(world: &W) -> Finished {
    let mut bench = Bench::with_pool(world, PoolConfig { blocks: 4, block_len: 64 });
    let idle: Vec<Ends> = (0..9).map(|_| bench.pair()).collect();
    for ends in &idle {
        bench.here.receive(ends.here);
    }
    bench.settle();
    assert!(bench.here.pool.available() >= 2, "half of the blocks at least are free");
    assert_eq!(bench.here.driver.snapshot().starved, 0);
    for ends in idle.iter().rev() {
        bench.there.post(ends.there, "here I am");
        bench.until("its bytes", |bench| got(bench, ends.here) == 9);
    }
    bench.finish()
}

/// The end of a stream is not lost for want of a block.
pub fn an_end_without_a_block<W: World>(world: &W) -> Finished {
    let mut bench = exhausted(world);
    let ended = starve(&mut bench, 7);
    bench.there.close(ended.there);
    bench.settle();
    bench.here.kept.clear();
    bench.until("the end", |bench| bench.here.seen(ended.here).over());
    assert!(bench.here.seen(ended.here).ended);
    assert_eq!(bench.here.seen(ended.here).bytes, [7]);
    bench.finish()
}

/// A connection without anything to receive needs no block: it stands in no line, and is not counted as starved.
pub fn silence_is_not_starvation<W: World>(world: &W) -> Finished {
    let mut bench = exhausted(world);
    let silent: Vec<Ends> = (0..3).map(|_| bench.pair()).collect();
    for ends in &silent {
        bench.here.receive(ends.here);
    }
    bench.settle();
    assert_eq!(bench.here.driver.snapshot().starved, 0, "nothing has arrived");
    // One that speaks is the first in line, although the others asked before it.
    bench.there.post(silent[2].there, "x");
    bench.until("a starved connection", |bench| bench.here.driver.snapshot().starved == 1);
    bench.here.kept.pop_front();
    bench.until("its byte", |bench| got(bench, silent[2].here) == 1);
    bench.settle();
    assert_eq!(bench.here.driver.snapshot().starved, 0, "it has nothing more to receive");
    for (turn, ends) in silent.iter().enumerate() {
        bench.there.post(ends.there, "y");
        bench.until("a starved connection", |bench| bench.here.driver.snapshot().starved == 1);
        bench.here.kept.pop_front();
        let wanted = 1 + usize::from(turn == 2);
        bench.until("the next byte", |bench| got(bench, ends.here) == wanted);
    }
    bench.finish()
}

/// Neither is one that took the last block, however well its bytes filled it.
pub fn the_last_block_starves_nobody<W: World>(world: &W) -> Finished {
    for len in [1, 63, 64] {
        let mut bench = Bench::with_pool(world, PoolConfig { blocks: 4, block_len: 64 });
        let ends = bench.pair();
        bench.here.keeping = true;
        bench.here.receive(ends.here);
        while bench.here.pool.available() > 0 {
            bench.there.post(ends.there, pattern(len, 1));
            bench.settle();
        }
        let wait = usize::from(bench.here.driver.unread(ends.here) > 0);
        assert_eq!(bench.here.driver.snapshot().starved, wait, "after messages of {len} bytes");
        let _: Finished = bench.finish();
    }
    Bench::new(world).finish()
}

/// What ends a connection that is silent while there is no block.
pub fn silent_without_a_block<W: World>(world: &W) -> Finished {
    let mut bench = exhausted(world);
    let silent: Vec<Ends> = (0..6).map(|_| bench.pair()).collect();
    for ends in &silent {
        bench.here.receive(ends.here);
    }
    bench.settle();
    bench.here.close(silent[0].here);
    bench.here.abort(silent[1].here);
    bench.here.driver.pause_receive(silent[2].here);
    bench.until("what was asked for", |bench| {
        bench.here.seen(silent[0].here).released
            && bench.here.seen(silent[1].here).released
            && bench.here.seen(silent[2].here).paused == 1
    });
    bench.there.close(silent[3].there);
    bench.there.abort(silent[4].there);
    bench.settle();
    bench.there.post(silent[5].there, "still here");
    bench.settle();
    bench.here.keeping = false;
    bench.here.kept.clear();
    bench.until("what the peers did", |bench| {
        bench.here.seen(silent[3].here).over()
            && bench.here.seen(silent[4].here).over()
            && got(bench, silent[5].here) == b"still here".len()
    });
    assert!(bench.here.seen(silent[3].here).ended);
    let ended = bench.here.seen(silent[4].here).ended;
    assert!(!ended || Limit::UnwatchedResetIsAnEnd.holds(), "a reset is no end");
    bench.here.receive(silent[2].here);
    bench.there.post(silent[2].there, "and this one");
    bench.until("the one that paused", |bench| got(bench, silent[2].here) == b"and this one".len());
    bench.finish()
}

/// Neither a pause nor a close is lost when bytes arrive at the same time for a connection without a block.
pub fn pausing_as_bytes_arrive_without_a_block<W: World>(world: &W) -> Finished {
    let mut bench = exhausted(world);
    for round in 0..40 {
        let ends = bench.pair();
        bench.here.receive(ends.here);
        bench.settle();
        bench.there.post(ends.there, "x");
        if round % 4 < 2 {
            bench.there.step(Wait::Poll);
        }
        if round % 8 < 4 {
            bench.here.step(Wait::Poll);
        }
        if round % 2 == 0 {
            bench.here.driver.pause_receive(ends.here);
            bench.until("the pause", |bench| bench.here.seen(ends.here).paused == 1);
        }
        bench.here.close(ends.here);
        bench.until("the release", |bench| bench.here.seen(ends.here).released);
        bench.there.close(ends.there);
    }
    assert_eq!(bench.here.driver.snapshot().starved, 0);
    bench.finish()
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
pub fn newcomers_do_not_pass_the_line<W: World>(world: &W) -> Finished {
    const WAITING: usize = 6;
    for meeting in [Meeting::BlockFirst, Meeting::ByteFirst, Meeting::WithinTheTurn] {
        let mut bench = exhausted(world);
        let newcomers: Vec<Ends> = (0..WAITING).map(|_| bench.pair()).collect();
        newcomers.iter().for_each(|ends| bench.here.receive(ends.here));
        bench.settle();
        let line: Vec<Ends> = (0..WAITING as u8).map(|byte| starve(&mut bench, byte)).collect();
        for (turn, newcomer) in newcomers.iter().enumerate() {
            bench.there.post(newcomer.there, "n");
            while !bench.there.is_flushed(newcomer.there) {
                bench.there.step(Wait::Poll);
            }
            give_back(&mut bench, meeting);
            bench.settle();
            let served = line.iter().map(|ends| got(&bench, ends.here)).collect::<Vec<_>>();
            let wanted = (0..WAITING).map(|place| usize::from(place <= turn)).collect::<Vec<_>>();
            assert_eq!(served, wanted, "{meeting:?}: each block is for the first in line");
        }
        // The newcomers are a line of their own by now.
        for turn in 1..=WAITING {
            give_back(&mut bench, meeting);
            bench.settle();
            assert_eq!(
                newcomers.iter().filter(|ends| got(&bench, ends.here) > 0).count(),
                turn,
                "{meeting:?}"
            );
        }
        let _: Finished = bench.finish();
    }
    Bench::new(world).finish()
}

/// The block that was kept longest comes back.
fn give_back<W: World>(bench: &mut Bench<'_, W>, meeting: Meeting) {
    match meeting {
        Meeting::BlockFirst => {}
        Meeting::ByteFirst => drop(bench.here.step(Wait::Poll)),
        Meeting::WithinTheTurn => {
            bench.here.driver.waker().wake();
            bench.here.driver.turn(Wait::Poll).expect("a turn");
            let mut kept = bench.here.kept.pop_front();
            while let Some(event) = bench.here.driver.next_event() {
                kept = None;
                bench.here.note(event);
            }
            return drop(kept);
        }
    }
    bench.here.kept.pop_front();
}

/// Those that always have more to receive take turns: none is served twice while another waits.
pub fn streams_without_end_take_turns<W: World>(world: &W) -> Finished {
    const STREAMS: usize = 6;
    const ROUNDS: usize = 8;
    const BLOCKS: usize = 4;
    let mut bench = exhausted(world);
    let streams: Vec<Ends> = (0..STREAMS).map(|_| bench.pair()).collect();
    for (salt, ends) in streams.iter().enumerate() {
        bench.here.receive(ends.here);
        bench.there.post(ends.there, pattern(64 * 2 * ROUNDS, salt as u8));
    }
    bench.until("all to wait", |bench| bench.here.driver.snapshot().starved == STREAMS);
    let mut served = [0; STREAMS];
    for given in 1..=STREAMS * ROUNDS {
        bench.here.kept.pop_front();
        bench.until("the next arrival", |bench| bench.here.kept.len() == BLOCKS);
        let (by, _) = bench.here.kept.back().expect("just counted");
        let at = streams.iter().position(|ends| ends.here == *by).expect("one of them");
        served[at] += 1;
        bench.settle();
        let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
        assert!(most - least <= 1, "{served:?} after {given} blocks");
    }
    bench.finish()
}

/// A connection that is first in line and leaves it, in whichever way, leaves its block to the next.
pub fn who_leaves_with_a_block_passes_it_on<W: World>(world: &W) -> Finished {
    for way in 0..4 {
        let mut bench = exhausted(world);
        let first = starve(&mut bench, 1);
        let second = starve(&mut bench, 2);
        bench.here.kept.pop_front();
        // Its receive goes out with the block, and is asked to end before anybody looks what it brought.
        bench.here.driver.turn(Wait::Poll).expect("a turn");
        match way {
            0 => bench.here.close(first.here),
            1 => bench.here.abort(first.here),
            2 => bench.here.driver.pause_receive(first.here),
            _ => return bench.finish_by_dropping(),
        }
        bench.settle();
        if !bench.here.kept.iter().any(|(by, _)| *by == second.here) {
            // It was paused too late.
            assert_eq!((way, got(&bench, first.here)), (2, 1));
            bench.here.kept.pop_front();
        }
        bench.until("the second", |bench| got(bench, second.here) == 1);
        let _: Finished = bench.finish();
    }
    unreachable!("the last way returns")
}

/// Six streams through two blocks, which come back only when both are taken.
pub fn a_tiny_pool_serves_many<W: World>(world: &W) -> Finished {
    let mut bench = Bench::with_pool(world, PoolConfig { blocks: 2, block_len: 256 });
    let ends: Vec<Ends> = (0..6).map(|_| bench.pair()).collect();
    bench.here.keeping = true;
    let len = (world.large() / 20).min(8 * 1024);
    for (salt, ends) in ends.iter().enumerate() {
        bench.here.receive(ends.here);
        bench.there.post(ends.there, pattern(len, salt as u8));
    }
    let mut idle = 0;
    bench.until("all streams", |bench| {
        // Kept until none is left, or until nobody wants another.
        idle = if bench.round() { 0 } else { idle + 1 };
        if bench.here.kept.len() == 2 || idle > 3 {
            bench.here.kept.clear();
        }
        ends.iter().all(|ends| got(bench, ends.here) == len)
    });
    for (salt, ends) in ends.iter().enumerate() {
        assert_same(&bench.here.seen(ends.here).bytes, &pattern(len, salt as u8), "a stream");
    }
    bench.finish()
}
