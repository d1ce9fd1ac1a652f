//! Whether each worker makes progress: what a worker publishes once per turn, and what the monitor concludes from it.
//!
//! A worker is *blocked* if it has been outside its kernel wait, in the same turn, for [`TICKS`] ticks of the monitor:
//! a callback blocks it. The monitor ticks only while some worker is outside its wait. When all of them wait
//! it marks each one's word and sleeps; the first that leaves its wait finds the mark and wakes it. The
//! monitor of an idle server sleeps.

use std::sync::Arc;
use std::time::Duration;

use proactor::Waker;

use super::WorkerShared;
use crate::sync::OnceLock;
use crate::sync::atomic::{AtomicU64, Ordering};

/// How often the monitor looks while some worker is outside its wait.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// Ticks without progress after which a worker counts as blocked: 100 ms. Ticks and not a clock, so that no worker counts
/// as blocked because the whole process was stopped.
const TICKS: u32 = 2;
/// Ticks without a turn of any worker after which the monitor sleeps. A server with little to do does not wake it each
/// time.
const QUIET_TICKS: u32 = 4;

/// In the kernel wait. Without it: in a turn.
const WAITING: u64 = 1;
/// In the kernel wait: the monitor sleeps, and has to be woken. In a turn: the worker is blocked.
const MARK: u64 = 2;
/// One turn.
const TURN: u64 = 4;
/// The worker takes nothing any more.
const ENDED: u64 = u64::MAX;

/// One worker's turns, counted in one word, together with where in a turn it is. Because the mark stands in the same
/// word, and every write of it is a swap, the word's own order is all that is needed: no fence. On a cache line of its
/// own, which the worker writes twice per turn.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Heartbeat {
    word: AtomicU64,
    monitor: OnceLock<Waker>,
}

impl Heartbeat {
    /// The monitor is woken when this worker leaves its wait while the monitor sleeps.
    pub(crate) fn set_monitor(&self, monitor: Waker) {
        assert!(self.monitor.set(monitor).is_ok(), "a server has one monitor");
    }

    /// The worker is about to wait in the kernel. Only its own thread calls this.
    pub(crate) fn begin_wait(&self) {
        // In a turn only "blocked" can be marked, and that is over.
        let word = self.word.load(Ordering::Relaxed);
        self.word.swap(word & !MARK | WAITING, Ordering::Relaxed);
    }

    /// The wait is over: a turn begins. Only its own thread calls this.
    pub(crate) fn end_wait(&self) {
        let turn = (self.word.load(Ordering::Relaxed) & !(WAITING | MARK)) + TURN;
        // Either the monitor's mark comes first and is found here, or the monitor fails to mark it and does not sleep.
        if self.word.swap(turn, Ordering::Relaxed) & MARK != 0 {
            self.wake_monitor();
        }
    }

    /// Makes the monitor look now.
    pub(crate) fn wake_monitor(&self) {
        if let Some(monitor) = self.monitor.get() {
            monitor.wake();
        }
    }

    /// The worker takes nothing any more.
    pub(crate) fn end(&self) {
        self.word.swap(ENDED, Ordering::Relaxed);
    }

    /// Whether the worker has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.word.load(Ordering::Relaxed) == ENDED
    }

    /// Whether a callback blocks the worker, as of the monitor's last tick.
    pub(crate) fn is_blocked(&self) -> bool {
        self.word.load(Ordering::Relaxed) & (WAITING | MARK) == MARK
    }

    /// Whether the worker soon takes what is delivered to it.
    pub(crate) fn is_turning(&self) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        word & (WAITING | MARK) != MARK && word != ENDED
    }

    /// Identifies the turn that the worker is in. `None` while it waits, and when it has ended.
    pub(crate) fn turn(&self) -> Option<u64> {
        let word = self.word.load(Ordering::Relaxed);
        (word & WAITING == 0 && word != ENDED).then_some(word & !MARK)
    }

    /// Sets the mark, unless the word has changed since `word` was read.
    fn mark(&self, word: u64) -> bool {
        self.word.compare_exchange(word, word | MARK, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// What the monitor does until its next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Looks again after [`TICK`].
    Tick,
    /// Sleeps until a worker wakes it.
    Sleep,
    /// Every worker has ended.
    End,
}

/// What the monitor has seen of the workers.
pub(crate) struct Pulses {
    all_shared: Vec<Arc<WorkerShared>>,
    seen: Vec<Seen>,
    /// Ticks without a turn of any worker.
    quiet: u32,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    /// As it was at the last tick, without a mark.
    word: u64,
    /// Ticks for which the worker has been in that turn.
    ticks: u32,
}

impl Pulses {
    pub(crate) fn new(all_shared: &[Arc<WorkerShared>]) -> Pulses {
        // No worker's word ever has this value.
        let seen = vec![Seen { word: MARK, ticks: 0 }; all_shared.len()];
        Pulses { all_shared: all_shared.to_vec(), seen, quiet: 0 }
    }

    /// Looks at every worker, [`TICK`] after the last look, and marks those that are blocked.
    pub(crate) fn tick(&mut self) -> Rest {
        let (mut turned, mut waiting, mut ended) = (false, true, true);
        for (shared, seen) in self.all_shared.iter().zip(&mut self.seen) {
            let word = shared.heartbeat.word.load(Ordering::Relaxed);
            if word == ENDED {
                continue;
            }
            ended = false;
            let word = word & !MARK;
            if word != seen.word {
                turned = true;
                *seen = Seen { word, ticks: 0 };
            } else if word & WAITING == 0 && seen.ticks < TICKS {
                seen.ticks += 1;
                if seen.ticks == TICKS {
                    shared.heartbeat.mark(word);
                }
            }
            waiting &= word & WAITING != 0;
        }
        self.quiet = if turned { 0 } else { self.quiet + 1 };
        if ended {
            Rest::End
        } else if waiting && self.quiet >= QUIET_TICKS && self.mark_all() {
            Rest::Sleep
        } else {
            Rest::Tick
        }
    }

    /// Makes every worker wake the monitor when it leaves its wait. False if one has left it already.
    fn mark_all(&self) -> bool {
        self.all_shared.iter().all(|shared| {
            let word = shared.heartbeat.word.load(Ordering::Relaxed);
            word == ENDED || word & WAITING != 0 && (word & MARK != 0 || shared.heartbeat.mark(word))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(count: usize) -> (Vec<Arc<WorkerShared>>, Pulses) {
        let all_shared: Vec<Arc<WorkerShared>> = (0..count).map(|_| Arc::default()).collect();
        let pulses = Pulses::new(&all_shared);
        (all_shared, pulses)
    }

    fn turn(shared: &WorkerShared) {
        shared.heartbeat.begin_wait();
        shared.heartbeat.end_wait();
    }

    #[test]
    fn a_worker_that_stands_still_in_a_turn_is_blocked_until_it_turns() {
        let (all_shared, mut pulses) = workers(2);
        for _ in 0..5 {
            all_shared.iter().for_each(|shared| turn(shared));
            pulses.tick();
        }
        assert!(all_shared.iter().all(|shared| shared.heartbeat.is_turning()));
        for _ in 0..TICKS {
            assert!(all_shared[0].heartbeat.is_turning());
            turn(&all_shared[1]);
            assert_eq!(pulses.tick(), Rest::Tick);
        }
        assert!(all_shared[0].heartbeat.is_blocked() && !all_shared[0].heartbeat.is_turning());
        assert!(all_shared[1].heartbeat.is_turning());
        all_shared[0].heartbeat.begin_wait();
        assert!(
            all_shared[0].heartbeat.is_turning() && !all_shared[0].heartbeat.is_blocked(),
            "at once, without a tick"
        );
    }

    #[test]
    fn a_worker_that_waits_is_never_blocked_and_the_monitor_sleeps() {
        let (all_shared, mut pulses) = workers(2);
        all_shared.iter().for_each(|shared| turn(shared));
        all_shared.iter().for_each(|shared| shared.heartbeat.begin_wait());
        let rests: Vec<Rest> = (0..=QUIET_TICKS).map(|_| pulses.tick()).collect();
        assert_eq!(rests.last(), Some(&Rest::Sleep));
        assert!(rests[..rests.len() - 1].iter().all(|rest| *rest == Rest::Tick));
        assert!(all_shared.iter().all(|shared| shared.heartbeat.is_turning()));
    }

    #[test]
    fn the_monitor_does_not_sleep_beside_a_worker_in_a_turn() {
        let (all_shared, mut pulses) = workers(2);
        all_shared.iter().for_each(|shared| turn(shared));
        all_shared[0].heartbeat.begin_wait();
        for _ in 0..50 {
            assert_eq!(pulses.tick(), Rest::Tick);
        }
        assert!(all_shared[1].heartbeat.is_blocked());
    }

    #[test]
    fn it_ends_with_the_last_worker() {
        let (all_shared, mut pulses) = workers(2);
        all_shared[0].heartbeat.end();
        assert_eq!(pulses.tick(), Rest::Tick);
        assert!(all_shared[0].heartbeat.has_ended() && !all_shared[0].heartbeat.is_turning());
        assert!(!all_shared[0].heartbeat.is_blocked());
        all_shared[1].heartbeat.end();
        assert_eq!(pulses.tick(), Rest::End);
    }
}
