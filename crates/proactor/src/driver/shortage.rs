//! Resource shortages are retried with back-off; no connection is closed for one (INV-9). All operations that wait are
//! retried together, after a pause that doubles while the shortage lasts.

use std::time::Duration;

use crate::backend::{Backend, Wait};
use crate::operation::OpKey;
use crate::time::Time;

use super::Driver;
use super::connection::{Receive, Watch};
use super::keys::Key;
use super::queue::SlotQueue;

/// The first pause. Long enough for other operations to complete and give memory back.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Operations that wait to be retried.
pub(super) struct Retries {
    /// Connections whose receive is [`Receive::Delayed`].
    receives: SlotQueue<Key>,
    /// Sends, which stay in the table; the kernel does not have them.
    sends: SlotQueue<OpKey>,
    /// Connections whose watch is [`Watch::Delayed`].
    watches: SlotQueue<Key>,
    /// When they are retried; meaningful while there are some.
    due: Time,
    pause: Duration,
}

impl Retries {
    pub(super) const fn new() -> Retries {
        Retries {
            receives: SlotQueue::new(),
            sends: SlotQueue::new(),
            watches: SlotQueue::new(),
            due: Time::ZERO,
            pause: PAUSE,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.receives.is_empty() && self.sends.is_empty() && self.watches.is_empty()
    }

    /// When they are retried, if there are any.
    pub(super) fn due(&self) -> Option<Time> {
        (!self.is_empty()).then_some(self.due)
    }

    pub(super) fn len(&self) -> usize {
        self.receives.len() + self.sends.len() + self.watches.len()
    }

    /// See [`SlotQueue`].
    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.receives.steps + self.sends.steps + self.watches.steps
    }

    pub(super) fn forget_receive(&mut self, key: Key) {
        self.receives.remove(key);
    }

    pub(super) fn forget_watch(&mut self, key: Key) {
        self.watches.remove(key);
    }

    /// Removes a send that waits here. True if it did: the kernel does not have it.
    pub(super) fn take_send(&mut self, op: OpKey) -> bool {
        self.sends.remove(op)
    }

    /// Removes every send.
    pub(super) fn take_sends(&mut self) -> Vec<OpKey> {
        self.sends.take_all()
    }
}

impl<B: Backend> Driver<B> {
    pub(super) fn delay_receive(&mut self, key: Key) {
        self.connection(key).receive = Receive::Delayed;
        self.put_off();
        self.retries.receives.push_back(key);
    }

    pub(super) fn delay_watch(&mut self, key: Key) {
        self.connection(key).watch = Watch::Delayed;
        self.put_off();
        self.retries.watches.push_back(key);
    }

    /// A send stays in the table, counted like any other (INV-2), and is submitted again later.
    pub(super) fn delay_send(&mut self, op: OpKey) {
        self.put_off();
        self.retries.sends.push_back(op);
    }

    /// The first operation to wait sets the time for all. A shortage long after the last one begins with a short
    /// pause.
    fn put_off(&mut self) {
        if self.retries.is_empty() {
            let now = self.backend.now();
            if now > self.retries.due + self.retries.pause * 2 {
                self.retries.pause = PAUSE;
            }
            self.retries.due = now + self.retries.pause;
        }
    }

    /// Retries what is due, and shortens the wait so that it ends in time for the rest.
    #[cold]
    pub(super) fn retry_delayed(&mut self, wait: Wait) -> Wait {
        if self.backend.now() >= self.retries.due {
            self.retries.pause = (self.retries.pause * 2).min(LONGEST_PAUSE);
            for key in self.retries.receives.take_all() {
                self.connection(key).receive = Receive::Wanted;
                self.arm_receive(key);
            }
            for op in self.retries.take_sends() {
                self.restart(op);
            }
            for key in self.retries.watches.take_all() {
                self.connection(key).watch = Watch::Wanted;
                self.arm_watch(key);
            }
        }
        if self.retries.is_empty() { wait } else { wait.at_latest(self.retries.due) }
    }
}
