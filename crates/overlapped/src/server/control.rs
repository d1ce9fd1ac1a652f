//! What handles of a server ask of all its workers.

use std::sync::Arc;
use std::time::Duration;

use crate::mailbox::{Mail, Mailbox};

/// Posting to all workers without knowing their handler.
pub(super) trait Control: Send + Sync {
    fn drain(&self, limit: Duration);
    fn stop(&self);
}

impl<M: Send> Control for Arc<[Arc<Mailbox<M>>]> {
    fn drain(&self, limit: Duration) {
        for mailbox in self.iter() {
            let _ = mailbox.post(Mail::Drain(limit), false);
        }
    }

    fn stop(&self) {
        for mailbox in self.iter() {
            let _ = mailbox.post(Mail::Stop, false);
        }
    }
}
