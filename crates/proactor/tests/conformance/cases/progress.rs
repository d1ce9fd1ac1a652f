//! What is asked before a deadline ends a connection: was everything that arrived handed out, and does the peer take
//! what is sent?

use std::time::{Duration, Instant};

use overlapped_testing::{PATIENCE, assert_same, pattern};
use proactor::backend::Wait;
use proactor::{Delivery, PoolConfig};

use crate::endpoint::{Endpoint, Finished};
use crate::fixture::{Ends, Fixture};
use crate::kernel::Kernel;

/// Turns that one catching up takes at most, in any case here.
const MOST_TURNS: usize = 10_000;

/// Bytes that a receive in flight has taken without anybody having looked: on Windows it comes with a block, of this
/// size in these cases.
const IN_FLIGHT: usize = if cfg!(windows) { 64 } else { 0 };

/// Looks, without waiting, until everything is handed out. Returns the number of turns.
fn catch_up<K: Kernel>(endpoint: &mut Endpoint<K>) -> usize {
    for turn in 1..MOST_TURNS {
        endpoint.step(Wait::Poll);
        if endpoint.driver.caught_up() {
            return turn;
        }
    }
    panic!("not caught up after {MOST_TURNS} turns: {}", endpoint.report());
}

/// A poll that finds nothing counts; a wait that ends with nothing does not, whatever ended it.
pub fn caught_up_when_nothing_arrives<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    fixture.here.receive(ends.here);
    fixture.settle();
    for _ in 0..3 {
        catch_up(&mut fixture.here);
        let mut time = Duration::from_millis(2);
        loop {
            let soon = fixture.here.driver.now() + time;
            fixture.here.step(Wait::Until(soon));
            if !fixture.here.driver.caught_up() {
                break;
            }
            // On a busy machine the moment may pass before the wait begins: that is a look.
            time *= 2;
            assert!(time < Duration::from_secs(1), "its time ran out: something may have come since");
        }
    }
    catch_up(&mut fixture.here);
    fixture.finish()
}

/// A process that was stopped goes on with a wait that returns, and does not know yet what arrived meanwhile.
pub fn an_interrupted_wait_is_no_look<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::new(kernel);
    let all: Vec<Ends> = (0..4).map(|_| fixture.pair()).collect();
    for (round, ends) in all.iter().enumerate() {
        fixture.here.receive(ends.here);
        if round % 2 == 0 {
            // Else the wait submits something too, and a ring returns the number of that instead of the error.
            fixture.settle();
        }
        let patient = fixture.here.driver.now() + PATIENCE;
        let mut happened = false;
        if !kernel.interrupt(&mut || happened = fixture.here.step(Wait::Until(patient))) {
            break;
        }
        assert!(!happened && fixture.here.driver.now() < patient, "it was interrupted");
        fixture.there.post(ends.there, "abc");
        fixture.until_arrived(&[*ends], 3);
        assert!(!fixture.here.driver.caught_up());
        catch_up(&mut fixture.here);
        assert_eq!(fixture.here.seen(ends.here).bytes, b"abc");
    }
    fixture.finish()
}

/// Several connections have bytes, more than a kernel completes with one call: when it says so, all of them are there.
pub fn nothing_is_left_over_when_caught_up<K: Kernel>(kernel: &K) -> Finished {
    crowd(kernel, 100)
}

/// The same with more than a list of events or packets takes.
pub fn more_connections_than_one_call_takes<K: Kernel>(kernel: &K) -> Finished {
    // Both ends of each are descriptors of this process.
    let limit = proactor::os::raise_descriptor_limit();
    if limit.is_some_and(|limit| limit < 4000) {
        eprintln!("skipped: {limit:?} descriptors are not enough");
        return Fixture::new(kernel).finish();
    }
    // A port hands out 128 packets at a time, and each operation costs a mapping there, with guard pages.
    crowd(kernel, if cfg!(windows) { 200 } else { 1100 })
}

fn crowd<K: Kernel>(kernel: &K, connections: usize) -> Finished {
    let mut fixture = Fixture::with_pool(kernel, PoolConfig { blocks: 2048, block_len: 64 });
    let all: Vec<Ends> = (0..connections).map(|_| fixture.pair()).collect();
    for ends in &all {
        fixture.here.receive(ends.here);
    }
    fixture.settle();
    for round in 1..=3 {
        for ends in &all {
            fixture.there.post(ends.there, "abc");
        }
        fixture.until_arrived(&all, 3);
        catch_up(&mut fixture.here);
        let bytes = b"abc".repeat(round);
        for ends in &all {
            fixture.is_handed_out(*ends, &bytes, "what had arrived, though it says so");
        }
    }
    fixture.finish()
}

/// Nobody takes completions while they come: what found the queue full is not lost, and counted as left over.
pub fn more_completions_than_a_queue_takes<K: Kernel>(kernel: &K) -> Finished {
    const CONNECTIONS: usize = 100;
    // On Windows each block is an operation, and with guard pages each of those a mapping that stays.
    const EACH: usize = if cfg!(windows) { 1024 } else { 10 * 1024 };
    let mut fixture = Fixture::with_pool(kernel, PoolConfig { blocks: 16 * 1024, block_len: 64 });
    let all: Vec<Ends> = (0..CONNECTIONS).map(|_| fixture.pair()).collect();
    for ends in &all {
        fixture.here.receive(ends.here);
    }
    fixture.settle();
    let bytes = pattern(EACH, 6);
    for ends in &all {
        fixture.there.post(ends.there, bytes.clone());
    }
    fixture.until_arrived(&all, EACH);
    for _ in 0..1000 {
        fixture.here.driver.turn(Wait::Poll).unwrap();
    }
    assert!(!fixture.here.driver.caught_up());
    catch_up(&mut fixture.here);
    for ends in &all {
        fixture.is_handed_out(*ends, &bytes, "all that had arrived");
    }
    fixture.finish()
}

impl<K: Kernel> Fixture<'_, K> {
    /// What had arrived was handed out, because the driver said so. On Windows nothing tells from outside when something
    /// has arrived for a receive in flight, and Wine ends one a moment later although the bytes are there: it is waited
    /// for.
    fn is_handed_out(&mut self, ends: Ends, bytes: &[u8], what: &str) {
        if cfg!(windows) {
            self.until(what, |fixture| fixture.here.seen(ends.here).bytes.len() >= bytes.len());
        }
        assert_same(&self.here.seen(ends.here).bytes, bytes, what);
    }

    /// Turns one endpoint alone until all it sent lies with the other, which does not look.
    fn until_arrived(&mut self, all: &[Ends], len: usize) {
        let start = Instant::now();
        let arrived = |fixture: &Self, ends: &Ends| {
            fixture.there.is_flushed(ends.there) && fixture.here.driver.unread(ends.here) + IN_FLIGHT >= len
        };
        while !all.iter().all(|ends| arrived(self, ends)) {
            assert!(start.elapsed() < PATIENCE, "they do not arrive: {}", self.there.report());
            self.there.step(Wait::Poll);
        }
    }
}

/// One peer has sent more than a turn hands out.
pub fn a_stream_longer_than_a_turn<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::with_pool(kernel, PoolConfig { blocks: 16, block_len: 64 });
    let ends = fixture.pair();
    fixture.here.receive(ends.here);
    fixture.settle();
    let bytes = pattern((kernel.large() / 40).min(16 * 1024), 9);
    fixture.there.post(ends.there, bytes.clone());
    fixture.until_arrived(&[ends], bytes.len());
    // The pool is small: a receive that found it empty is armed again as soon as there are blocks.
    catch_up(&mut fixture.here);
    fixture.is_handed_out(ends, &bytes, "what had arrived");
    fixture.finish()
}

/// While the pool is empty nothing can be done about them, and the answer does not wait for them; afterwards it does.
pub fn receives_that_wait_for_blocks<K: Kernel>(kernel: &K) -> Finished {
    let mut fixture = Fixture::with_pool(kernel, PoolConfig { blocks: 1, block_len: 64 });
    let all = [fixture.pair(), fixture.pair(), fixture.pair()];
    fixture.here.keeping = true;
    for ends in &all {
        fixture.here.receive(ends.here);
    }
    fixture.settle();
    for ends in &all {
        fixture.there.post(ends.there, "a");
    }
    fixture.until("an empty pool", |fixture| fixture.here.driver.snapshot().starved == 2);
    fixture.settle();
    catch_up(&mut fixture.here);
    let waiting = all.iter().filter(|ends| fixture.here.driver.unread(ends.here) > 0).count();
    assert_eq!(waiting, 2, "what waits is found by asking");
    fixture.here.keeping = false;
    fixture.here.kept.clear();
    assert!(!fixture.here.driver.caught_up(), "now there is a block");
    catch_up(&mut fixture.here);
    for ends in &all {
        fixture.is_handed_out(*ends, b"a", "what waited for a block");
    }
    fixture.finish()
}

/// A peer that does not read, then reads, then has read everything.
pub fn what_the_peer_takes<K: Kernel>(kernel: &K) -> Finished {
    let (mut fixture, ends) = Fixture::connected(kernel);
    let delivery = |fixture: &Fixture<'_, K>| {
        let now = fixture.there.driver.delivery(ends.there);
        now.map(|now| Delivery { last: now.last.map(|_| Duration::ZERO), ..now })
    };
    let Some(fresh) = delivery(&fixture) else {
        assert_ne!(std::env::consts::OS, "linux", "this system tells");
        return fixture.finish();
    };
    assert_eq!(fresh.unacknowledged, 0);
    assert!(fresh.last.is_some() || cfg!(windows), "the system tells of the last acknowledgement");
    let bytes = pattern(kernel.large() / 3, 3);
    fixture.there.post(ends.there, bytes.clone());
    // Its system takes some, and at last no more.
    let mut stuck = fresh;
    fixture.until("nothing to move", |fixture| {
        fixture.settle();
        let before = std::mem::replace(&mut stuck, delivery(fixture).expect("it told before"));
        before == stuck && !fixture.there.is_flushed(ends.there)
    });
    assert!(stuck.unacknowledged > 0 || cfg!(windows), "what is not taken is held: {stuck:?}");
    // Nobody reads. What is left of the peer's window may still go out with a probe, whenever that is due (RFC 9293,
    // section 3.8.6.1).
    fixture.settle();
    stuck = delivery(&fixture).expect("it told before");
    assert!(!fixture.there.is_flushed(ends.there), "more than that is not taken: {stuck:?}");

    fixture.here.receive(ends.here);
    fixture.until("some to move", |fixture| {
        delivery(fixture).is_some_and(|now| now.acknowledged > stuck.acknowledged)
    });
    fixture.until("all of it", |fixture| fixture.here.seen(ends.here).bytes.len() == bytes.len());
    fixture.until("the last acknowledgement", |fixture| {
        delivery(fixture).is_some_and(|now| now.unacknowledged == 0)
    });
    let grown = delivery(&fixture).expect("it told before").acknowledged - fresh.acknowledged;
    assert!(cfg!(windows) || grown == bytes.len() as u64, "{grown} of {} bytes", bytes.len());

    fixture.there.close(ends.there);
    fixture.until("the release", |fixture| fixture.there.seen(ends.there).released);
    assert_eq!(delivery(&fixture), None);
    fixture.finish()
}
