//! For a watchdog: whether workers make progress.

use std::sync::Arc;

use crate::shared::WorkerShared;

/// Looks at a server's workers from time to time. From [`ServerHandle::watch_workers`](crate::ServerHandle::watch_workers).
///
/// A worker that waits for its system makes progress, and so does one that has ended. One that is in the same turn of its
/// loop at two looks does not: a callback, or the observer, blocks it.
pub struct WorkerWatch {
    workers: Arc<[Arc<WorkerShared>]>,
    /// Of each worker: the turn it was in at the last look. `None` if it was in none.
    turns: Vec<Option<u64>>,
}

impl WorkerWatch {
    pub(super) fn new(workers: Arc<[Arc<WorkerShared>]>) -> WorkerWatch {
        let turns = vec![None; workers.len()];
        WorkerWatch { workers, turns }
    }

    /// The indices of the workers that have been in one turn since the last call of this method. Costs a load for each
    /// worker.
    pub fn stuck(&mut self) -> Vec<usize> {
        let mut stuck = Vec::new();
        for (index, (shared, last)) in self.workers.iter().zip(&mut self.turns).enumerate() {
            let turn = shared.heartbeat.turn();
            if turn.is_some() && turn == *last {
                stuck.push(index);
            }
            *last = turn;
        }
        stuck
    }
}

impl std::fmt::Debug for WorkerWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkerWatch({} workers)", self.workers.len())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_worker_in_one_turn_at_two_looks_is_stuck() {
        let workers: Arc<[Arc<WorkerShared>]> = (0..3).map(|_| Arc::default()).collect();
        let mut watch = WorkerWatch::new(Arc::clone(&workers));
        let heartbeat = |index: usize| &workers[index].heartbeat;
        heartbeat(0).begin_wait();
        heartbeat(1).end();
        heartbeat(2).begin_wait();
        heartbeat(2).end_wait();
        assert!(watch.stuck().is_empty(), "there was no look before");
        assert_eq!(watch.stuck(), [2]);
        heartbeat(2).begin_wait();
        assert!(watch.stuck().is_empty());
        heartbeat(2).end_wait();
        assert!(watch.stuck().is_empty(), "it was not in a turn then");
        heartbeat(2).begin_wait();
        heartbeat(2).end_wait();
        assert!(watch.stuck().is_empty(), "it is in another one");
        assert_eq!(watch.stuck(), [2]);
        heartbeat(2).end();
        assert!(watch.stuck().is_empty());
    }
}
