//! What is asked before a deadline is judged: was everything that arrived handed out, and does the peer take what is sent?

use std::time::{Duration, Instant};

use proactor::backend::Wait;
use proactor::{Delivery, PoolConfig};

use crate::bench::{Bench, Ends, assert_same, pattern};
use crate::side::{Finished, Side};
use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(20);
/// Turns that one catching up takes at most, in any case here.
const MOST_TURNS: usize = 10_000;

/// Bytes that a receive in flight has taken without anybody having looked: on Windows it comes with a block, of this size
/// in these cases.
const IN_FLIGHT: usize = if cfg!(windows) { 64 } else { 0 };

/// Looks, without waiting, until everything is handed out. Returns the number of turns.
fn catch_up<W: World>(side: &mut Side<W>) -> usize {
    for turn in 1..MOST_TURNS {
        side.step(Wait::Poll);
        if side.driver.caught_up() {
            return turn;
        }
    }
    panic!("not caught up after {MOST_TURNS} turns: {}", side.report());
}

/// A look that finds nothing is one; a wait that ends with nothing is none, whatever ended it.
pub fn caught_up_when_nothing_arrives<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    bench.here.receive(ends.here);
    bench.settle();
    for _ in 0..3 {
        catch_up(&mut bench.here);
        let mut time = Duration::from_millis(2);
        loop {
            let soon = bench.here.driver.now() + time;
            bench.here.step(Wait::Until(soon));
            if !bench.here.driver.caught_up() {
                break;
            }
            // On a busy machine the moment may pass before the wait begins: that is a look.
            time *= 2;
            assert!(time < Duration::from_secs(1), "its time ran out: something may have come since");
        }
    }
    catch_up(&mut bench.here);
    bench.finish()
}

/// A process that was stopped goes on with a wait that returns, and does not know yet what arrived meanwhile.
pub fn an_interrupted_wait_is_no_look<W: World>(world: &W) -> Finished {
    let mut bench = Bench::new(world);
    let all: Vec<Ends> = (0..4).map(|_| bench.pair()).collect();
    for (round, ends) in all.iter().enumerate() {
        bench.here.receive(ends.here);
        if round % 2 == 0 {
            // Else the wait submits something too, and a ring returns the number of that instead of the error.
            bench.settle();
        }
        let patient = bench.here.driver.now() + PATIENCE;
        let mut happened = false;
        if !world.interrupt(&mut || happened = bench.here.step(Wait::Until(patient))) {
            break;
        }
        assert!(!happened && bench.here.driver.now() < patient, "it was interrupted");
        bench.there.post(ends.there, "abc");
        bench.until_arrived(&[*ends], 3);
        assert!(!bench.here.driver.caught_up());
        catch_up(&mut bench.here);
        assert_eq!(bench.here.seen(ends.here).bytes, b"abc");
    }
    bench.finish()
}

/// Several connections have bytes, more than a kernel completes with one call: when it says so, all of them are there.
pub fn nothing_is_left_over_when_caught_up<W: World>(world: &W) -> Finished {
    crowd(world, 100)
}

/// The same with more than a list of events or packets takes.
pub fn more_connections_than_one_call_takes<W: World>(world: &W) -> Finished {
    // Both ends of each are descriptors of this process.
    let limit = proactor::system::raise_descriptor_limit();
    if limit.is_some_and(|limit| limit < 4000) {
        eprintln!("skipped: {limit:?} descriptors are not enough");
        return Bench::new(world).finish();
    }
    // A port hands out 128 packets at a time, and each operation costs a mapping there, with guard pages.
    crowd(world, if cfg!(windows) { 200 } else { 1100 })
}

fn crowd<W: World>(world: &W, connections: usize) -> Finished {
    let mut bench = Bench::with_pool(world, PoolConfig { blocks: 2048, block_len: 64 });
    let all: Vec<Ends> = (0..connections).map(|_| bench.pair()).collect();
    for ends in &all {
        bench.here.receive(ends.here);
    }
    bench.settle();
    for round in 1..=3 {
        for ends in &all {
            bench.there.post(ends.there, "abc");
        }
        bench.until_arrived(&all, 3);
        catch_up(&mut bench.here);
        let bytes = b"abc".repeat(round);
        for ends in &all {
            bench.is_handed_out(*ends, &bytes, "what had arrived, though it says so");
        }
    }
    bench.finish()
}

/// Nobody takes completions while they come: what found the queue full is not lost, and counted as left over.
pub fn more_completions_than_a_queue_takes<W: World>(world: &W) -> Finished {
    const CONNECTIONS: usize = 100;
    // On Windows each block is an operation, and with guard pages each of those a mapping that stays.
    const EACH: usize = if cfg!(windows) { 1024 } else { 10 * 1024 };
    let mut bench = Bench::with_pool(world, PoolConfig { blocks: 16 * 1024, block_len: 64 });
    let all: Vec<Ends> = (0..CONNECTIONS).map(|_| bench.pair()).collect();
    for ends in &all {
        bench.here.receive(ends.here);
    }
    bench.settle();
    let bytes = pattern(EACH, 6);
    for ends in &all {
        bench.there.post(ends.there, bytes.clone());
    }
    bench.until_arrived(&all, EACH);
    for _ in 0..1000 {
        bench.here.driver.turn(Wait::Poll).unwrap();
    }
    assert!(!bench.here.driver.caught_up());
    catch_up(&mut bench.here);
    for ends in &all {
        bench.is_handed_out(*ends, &bytes, "all that had arrived");
    }
    bench.finish()
}

impl<W: World> Bench<'_, W> {
    /// What had arrived was handed out, because the driver said so. On Windows nothing tells from outside when something
    /// has arrived for a receive in flight, and Wine ends one a moment later although the bytes are there: it is waited
    /// for.
    fn is_handed_out(&mut self, ends: Ends, bytes: &[u8], what: &str) {
        if cfg!(windows) {
            self.until(what, |bench| bench.here.seen(ends.here).bytes.len() >= bytes.len());
        }
        assert_same(&self.here.seen(ends.here).bytes, bytes, what);
    }

    /// Turns one side alone until all it sent lies with the other, which does not look.
    fn until_arrived(&mut self, all: &[Ends], len: usize) {
        let start = Instant::now();
        let arrived = |bench: &Self, ends: &Ends| {
            bench.there.is_flushed(ends.there) && bench.here.driver.unread(ends.here) + IN_FLIGHT >= len
        };
        while !all.iter().all(|ends| arrived(self, ends)) {
            assert!(start.elapsed() < PATIENCE, "they do not arrive: {}", self.there.report());
            self.there.step(Wait::Poll);
        }
    }
}

/// One peer has sent more than a turn hands out.
pub fn a_stream_longer_than_a_turn<W: World>(world: &W) -> Finished {
    let mut bench = Bench::with_pool(world, PoolConfig { blocks: 16, block_len: 64 });
    let ends = bench.pair();
    bench.here.receive(ends.here);
    bench.settle();
    let bytes = pattern((world.large() / 40).min(16 * 1024), 9);
    bench.there.post(ends.there, bytes.clone());
    bench.until_arrived(&[ends], bytes.len());
    // The pool is small: a receive that found it empty is armed again as soon as there are blocks.
    catch_up(&mut bench.here);
    bench.is_handed_out(ends, &bytes, "what had arrived");
    bench.finish()
}

/// While the pool is empty nothing can be done about them, and the answer does not wait for them; afterwards it does.
pub fn receives_that_wait_for_blocks<W: World>(world: &W) -> Finished {
    let mut bench = Bench::with_pool(world, PoolConfig { blocks: 1, block_len: 64 });
    let all = [bench.pair(), bench.pair(), bench.pair()];
    bench.here.keeping = true;
    for ends in &all {
        bench.here.receive(ends.here);
    }
    bench.settle();
    for ends in &all {
        bench.there.post(ends.there, "a");
    }
    bench.until("an empty pool", |bench| bench.here.driver.snapshot().starved == 2);
    bench.settle();
    catch_up(&mut bench.here);
    let waiting = all.iter().filter(|ends| bench.here.driver.unread(ends.here) > 0).count();
    assert_eq!(waiting, 2, "what waits is found by asking");
    bench.here.keeping = false;
    bench.here.kept.clear();
    assert!(!bench.here.driver.caught_up(), "now there is a block");
    catch_up(&mut bench.here);
    for ends in &all {
        bench.is_handed_out(*ends, b"a", "what waited for a block");
    }
    bench.finish()
}

/// A peer that does not read, then reads, then has read everything.
pub fn what_the_peer_takes<W: World>(world: &W) -> Finished {
    let (mut bench, ends) = Bench::connected(world);
    let delivery = |bench: &Bench<'_, W>| {
        let now = bench.there.driver.delivery(ends.there);
        now.map(|now| Delivery { last: now.last.map(|_| Duration::ZERO), ..now })
    };
    let Some(fresh) = delivery(&bench) else {
        assert_ne!(std::env::consts::OS, "linux", "this system tells");
        return bench.finish();
    };
    assert_eq!(fresh.unacknowledged, 0);
    assert!(fresh.last.is_some() || cfg!(windows), "the system tells of the last acknowledgement");
    let bytes = pattern(world.large() / 3, 3);
    bench.there.post(ends.there, bytes.clone());
    // Its system takes some, and at last no more.
    let mut stuck = fresh;
    bench.until("nothing to move", |bench| {
        bench.settle();
        let before = std::mem::replace(&mut stuck, delivery(bench).expect("it told before"));
        before == stuck && !bench.there.is_flushed(ends.there)
    });
    assert!(stuck.unacknowledged > 0 || cfg!(windows), "what is not taken is held: {stuck:?}");
    // Nobody reads. What is left of the peer's window may still go out with a probe, whenever that is due (RFC 9293,
    // section 3.8.6.1).
    bench.settle();
    stuck = delivery(&bench).expect("it told before");
    assert!(!bench.there.is_flushed(ends.there), "more than that is not taken: {stuck:?}");

    bench.here.receive(ends.here);
    bench.until("some to move", |bench| {
        delivery(bench).is_some_and(|now| now.acknowledged > stuck.acknowledged)
    });
    bench.until("all of it", |bench| bench.here.seen(ends.here).bytes.len() == bytes.len());
    bench.until("the last acknowledgement", |bench| {
        delivery(bench).is_some_and(|now| now.unacknowledged == 0)
    });
    let grown = delivery(&bench).expect("it told before").acknowledged - fresh.acknowledged;
    assert!(cfg!(windows) || grown == bytes.len() as u64, "{grown} of {} bytes", bytes.len());

    bench.there.close(ends.there);
    bench.until("the release", |bench| bench.there.seen(ends.there).released);
    assert_eq!(delivery(&bench), None);
    bench.finish()
}
