//! What is left to do for a session, as a set: most sessions have nothing, and one comparison shows that.

/// Work that waits for a flush, or for a queue to become low.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending(u8);

impl Pending {
    /// Its session is in the worker's list of sessions to flush.
    pub(crate) const FLUSH: Pending = Pending(1);
    /// The next flush arms or pauses its receive.
    pub(crate) const RECEIVE: Pending = Pending(1 << 1);
    /// `on_writable` is called when its queue is low.
    pub(crate) const WRITABLE: Pending = Pending(1 << 2);
    /// Its source is held because too much is unsent here, and is released when its queue is low.
    pub(crate) const SOURCE: Pending = Pending(1 << 3);
    /// Its next send in flight sets a timer for the write deadline.
    pub(crate) const WRITE_TIMER: Pending = Pending(1 << 4);
    /// Sends look closer: it is not [`Open`](super::Phase::Open), or has limits of its own. Never removed.
    pub(crate) const GUARDED: Pending = Pending(1 << 5);
    /// Threads wait for room, or calls of `on_sent` are to come: see [`Asked`](super::Asked).
    pub(crate) const ASKED: Pending = Pending(1 << 6);
    /// What a flush has to look at when it has sent what it could.
    pub(crate) const AFTER_SENDING: Pending =
        Pending(Self::FLUSH.0 | Self::RECEIVE.0 | Self::WRITABLE.0 | Self::SOURCE.0 | Self::ASKED.0);
    /// What a queue that is low makes due.
    pub(crate) const LOW: Pending = Pending(Self::WRITABLE.0 | Self::SOURCE.0);

    /// Whether any of `work` is left to do.
    #[inline(always)]
    pub(crate) fn has(self, work: Pending) -> bool {
        self.0 & work.0 != 0
    }

    /// Adds `work`. Returns whether it is new.
    #[inline(always)]
    pub(crate) fn add(&mut self, work: Pending) -> bool {
        let new = !self.has(work);
        self.0 |= work.0;
        new
    }

    /// Removes `work`. Returns whether it was there.
    #[inline(always)]
    pub(crate) fn remove(&mut self, work: Pending) -> bool {
        let there = self.has(work);
        self.0 &= !work.0;
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_work_is_one_member_of_the_set() {
        let all = [
            Pending::FLUSH,
            Pending::RECEIVE,
            Pending::WRITABLE,
            Pending::SOURCE,
            Pending::WRITE_TIMER,
            Pending::GUARDED,
            Pending::ASKED,
        ];
        for work in all {
            let mut pending = Pending::default();
            assert!(pending.add(work) && !pending.add(work));
            assert!(all.iter().all(|other| pending.has(*other) == (*other == work)));
            assert!(pending.remove(work) && !pending.remove(work));
            assert_eq!(pending, Pending::default());
        }
    }
}
