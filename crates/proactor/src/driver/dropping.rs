//! The end of a driver: cancel, reap, then free; what cannot be reaped is leaked (INV-10).

use std::time::Duration;

use crate::backend::{Backend, Wait};
use crate::inflight::Table;
use crate::operation::{Close, Completion, Harvested, Outcome};

use super::{Driver, Ready};

/// How long a driver that is dropped waits for what it cancelled (INV-10).
const REAP_LIMIT: Duration = Duration::from_secs(2);

impl<B: Backend> Drop for Driver<B> {
    /// Cancels everything and takes the completions before any memory is freed (INV-10). What the kernel does not
    /// give back in time is leaked: it may still use that memory.
    fn drop(&mut self) {
        drop(self.starved.take_all());
        self.reserve_for_starved();
        self.rearm = None;
        self.ready.extend(self.next_turn.drain(..).map(Ready::Completion));
        for op in self.retries.take_sends() {
            drop(self.ops.remove(op));
        }
        for key in self.ops.keys().collect::<Vec<_>>() {
            self.backend.cancel(key, &mut self.ops);
        }
        let deadline = self.backend.now() + REAP_LIMIT;
        while !self.ops.is_empty() && self.backend.now() < deadline {
            let wait = if self.ready.is_empty() { Wait::Until(deadline) } else { Wait::Poll };
            if self.backend.harvest(wait, &mut self.ops).is_err() {
                break;
            }
            while let Some(harvested) = self.backend.next(&mut self.ops) {
                if let Harvested::Completed(completion) = harvested {
                    self.reap(completion);
                }
            }
            while let Some(ready) = self.ready.pop_front() {
                if let Ready::Completion(completion) = ready {
                    self.reap(completion);
                }
            }
        }
        if !self.ops.is_empty() {
            std::mem::forget(std::mem::replace(&mut self.ops, Table::new()));
            std::mem::forget(self.backend.pool().clone());
        }
        self.close_turned_away();
        for key in self.connections.keys() {
            if let Some(connection) = self.connections.remove(key) {
                let how = Close::Reset;
                self.backend.close(connection.socket, Some(connection.handle), how);
            }
        }
        for key in self.listeners.keys() {
            if let Some(listener) = self.listeners.remove(key) {
                let how = Close::Listener;
                self.backend.close(listener.socket, Some(listener.handle), how);
            }
        }
    }
}

impl<B: Backend> Driver<B> {
    fn reap(&mut self, completion: Completion<B::Socket>) {
        let op = completion.key;
        if let Outcome::Accepted(socket, _) = completion.outcome {
            self.backend.close(socket, None, Close::Reset);
        }
        if !completion.more && self.ops.get(op).is_some() {
            drop(self.ops.remove(op));
        }
    }
}
