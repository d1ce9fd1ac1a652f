//! Connects that end without a session by our own doing: cancelled, or refused by a drain.

use super::{ConnectRequest, Core, End, PendingConnect};

impl Core {
    /// Has the next flush answer the connects that `which` chooses with a failure. Returns how many these are.
    pub(crate) fn end_connects(&mut self, end: End, which: impl Fn(&PendingConnect) -> bool) -> usize {
        let mut chosen = 0;
        for (id, pending) in &mut self.pending_connects.all {
            if !pending.ending && which(pending) {
                pending.ending = true;
                self.connects.push_back(ConnectRequest::End(*id, end));
                chosen += 1;
            }
        }
        chosen
    }

    /// Cancels the connects with a token. Returns how many these are.
    pub(super) fn cancel_connects(&mut self, token: u64) -> usize {
        let mut cancelled = self.end_connects(End::Cancelled, |pending| pending.token == token);
        for request in &mut self.connects {
            if let ConnectRequest::Begin(asked) = request
                && asked.token == token
                && asked.refusals == 0
                && !asked.cancelled
            {
                asked.cancelled = true;
                cancelled += 1;
            }
        }
        cancelled
    }
}
