//! Opening connections: for the first time, a few at once, and again whenever one has ended.

use std::time::Duration;

use overlapped::{Connect, WorkerContext};

use super::FromWorker;
use super::slot::Phase;
use super::traffic::{Stage, Traffic};

/// Connects of one worker that are in flight at most, while the run begins: servers have a backlog of 128 and more.
const CONNECTS: usize = 100;
/// The longest pause before a connection is opened again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

impl Traffic {
    /// Opens the first connections; the others follow as these are answered.
    pub(super) fn connect_first(&mut self, worker: &mut WorkerContext<'_, u32>) {
        self.next_connect = self.slots.len().min(CONNECTS);
        for slot in 0..self.next_connect {
            self.connect(worker, slot);
        }
        if self.slots.is_empty() {
            self.say_ready();
        }
    }

    /// Opens a connection, after a pause if the last ones have failed.
    pub(super) fn connect(&mut self, worker: &mut WorkerContext<'_, u32>, slot: usize) {
        let plan = &self.settings.plan;
        let failures = self.slots[slot].failures;
        let pause = match failures {
            0 | 1 => Duration::ZERO,
            _ => (Duration::from_millis(5) * (1 << failures.min(9))).min(LONGEST_BACKOFF),
        };
        let deadline = plan.reply_timeout.max(Duration::from_secs(1));
        let (sources, state) = (&self.settings.sources, &self.slots[slot]);
        let number = u64::from(state.number);
        let mut addresses = plan.addresses.clone();
        if sources.spreads_targets {
            addresses.rotate_left(number as usize % plan.addresses.len());
        }
        let mut connect = Connect::to(addresses).deadline(deadline).after(pause);
        if let Some(source) = sources.of(number, state.lives) {
            connect = connect.local_addr(source);
        }
        self.slots[slot].phase = Phase::Connecting;
        self.slots[slot].connect_at = self.at(worker.now()) + pause.as_nanos() as u64;
        worker.connect(connect, slot as u64);
    }

    /// A first connect was answered: the next one may begin.
    pub(super) fn answered(&mut self, worker: &mut WorkerContext<'_, u32>) {
        if self.stage != Stage::Connecting || self.unanswered == 0 {
            return;
        }
        self.unanswered -= 1;
        if self.next_connect < self.slots.len() {
            self.next_connect += 1;
            self.connect(worker, self.next_connect - 1);
        }
        if self.unanswered == 0 {
            self.say_ready();
        }
    }

    fn say_ready(&mut self) {
        let open = self.slots.iter().filter(|slot| slot.phase == Phase::Open).count();
        let failures = self.recorder.counts.failures.clone();
        let _ = self.out.send(FromWorker::Ready { open: open as u64, failures });
    }
}
