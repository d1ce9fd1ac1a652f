//! Finds receives that the kernel leaves waiting in front of urgent data.
//!
//! A read that has nothing to read before the urgent mark, while a signal is pending, is refused with `EAGAIN`
//! (`tcp_recvmsg_locked` in `net/ipv4/tcp.c`: "Are we at urgent data?"), so that the handler of `SIGURG` could run. A
//! multishot receive takes that for an empty socket and waits for the next arrival (`io_poll_check_events` in
//! `io_uring/poll.c`). The signals that matter cannot be blocked: `SIGSTOP`, a debugger, the freezer that pauses a
//! container.
//!
//! No completion reports this. Signs of it are:
//!
//! * a completion left bytes behind although its block had room, and no other followed;
//! * a wait was interrupted, if nothing completed in it;
//! * else, time that passed before a completion was handed on: whatever stopped the thread, did so for a while.
//!
//! Then one call checks all sockets for an unread urgent byte, and the receives of those that have one are cancelled:
//! the driver submits them again, and a submitted receive looks at the socket afresh. A busy worker never checks. A
//! worker with pauses between messages does, at most ten times a second, and less often with many sessions; it does
//! not wake up for it if nothing has completed since.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::time::Duration;

use super::IoUring;
use crate::backend::{Backend, InFlight, Wait};
use crate::operation::{OpKey, Operation};
use crate::time::Time;

/// How long all sockets are left alone after they were asked: a profiler's signals come a thousand times a second, and a
/// gap is nearly always a wait for messages.
const PAUSE: Duration = Duration::from_millis(100);
/// And longer by this for each of them: asking one takes less than a hundredth of it.
const PAUSE_EACH: Duration = Duration::from_micros(50);
/// Nanoseconds between two looks at the clock that make a gap: what stops a thread and lets it go on again takes longer.
const GAP_NS: u64 = 100_000;

/// Which sockets are to be checked, and when.
#[derive(Default)]
pub(super) struct Urgent {
    /// The receive whose last completion left bytes behind; its next one is due in the same harvest.
    short: Option<OpKey>,
    /// Other such receives.
    suspects: Vec<OpKey>,
    /// When all are to be checked; `None` while there is no reason to.
    all_at: Option<Time>,
    /// When they may be checked again.
    not_before: Time,
    /// Whether the last wait brought completions.
    brought: bool,
    /// The last reading of the clock.
    clock: Cell<Time>,
    /// Whether it was late.
    gap: Cell<bool>,
}

impl Urgent {
    /// Whether there is nothing to check.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        self.short.is_none() && self.all_at.is_none() && self.suspects.is_empty() && !self.gap.get()
    }

    /// Whether all are to be checked.
    #[cfg(test)]
    pub(super) fn is_owed(&self) -> bool {
        self.all_at.is_some()
    }

    /// Whether a completion has to be [noted](Self::note).
    #[inline]
    pub(super) fn concerns(&self, left_bytes_behind: bool) -> bool {
        left_bytes_behind || self.short.is_some()
    }

    /// Notes a completion of `key`, which left bytes behind or did not.
    #[cold]
    pub(super) fn note(&mut self, key: OpKey, left_bytes_behind: bool) {
        if left_bytes_behind {
            self.suspects.extend(self.short.replace(key).filter(|before| *before != key));
        } else {
            self.short.take_if(|short| *short == key);
        }
    }

    /// Notes that a wait was interrupted.
    #[cold]
    pub(super) fn interrupted(&mut self, now: Time) {
        self.all_at.get_or_insert(now.max(self.not_before));
    }

    /// Notes whether a wait brought completions.
    #[inline]
    pub(super) fn waited(&mut self, brought: bool) {
        self.brought = brought;
    }

    /// Notes a reading of the clock.
    #[inline]
    pub(super) fn clocked(&self, now: Time) {
        let before = self.clock.replace(now);
        if now.as_nanos() - before.as_nanos() >= GAP_NS {
            self.gap.set(true);
        }
    }
}

impl IoUring {
    /// Checks what is due, and has stuck receives submitted again. Returns how long the wait may be until the next
    /// check.
    #[cold]
    pub(super) fn rouse_receives(&mut self, wait: Wait, ops: &mut InFlight<IoUring>) -> Wait {
        let mut suspects = std::mem::take(&mut self.urgent.suspects);
        suspects.extend(self.urgent.short.take());
        // A receive that waits there was hit by a signal; others may have been.
        let signal = self.rouse(suspects, ops);
        let now = self.now();
        if signal | (self.urgent.gap.take() && self.urgent.brought) {
            self.urgent.interrupted(now);
        }
        let Some(at) = self.urgent.all_at else { return wait };
        if now < at {
            return match wait {
                Wait::Poll => Wait::Poll,
                Wait::Until(moment) => Wait::Until(moment.min(at)),
                Wait::Forever => Wait::Until(at),
            };
        }
        let all: Vec<OpKey> = ops.keys().collect();
        self.urgent.all_at = None;
        self.urgent.not_before = now + PAUSE + PAUSE_EACH * all.len() as u32;
        self.rouse(all, ops);
        wait
    }

    /// Cancels those of the operations that are receives with an urgent byte unread. Returns whether there were any.
    fn rouse(&mut self, keys: Vec<OpKey>, ops: &mut InFlight<IoUring>) -> bool {
        let (mut receives, mut sockets) = (Vec::new(), Vec::new());
        for key in keys {
            if let Some(Operation::Receive { socket, .. }) = ops.get(key).map(|entry| entry.operation) {
                receives.push(key);
                sockets.push(*socket);
            }
        }
        let urgent = urgent_unread(&sockets);
        for at in &urgent {
            self.cancel_operation(receives[*at]);
        }
        !urgent.is_empty()
    }
}

/// Which of the sockets have an unread urgent byte: `POLLPRI` of `poll(2)`.
fn urgent_unread(sockets: &[RawFd]) -> Vec<usize> {
    if sockets.is_empty() {
        return Vec::new();
    }
    let asked = |fd: &RawFd| libc::pollfd { fd: *fd, events: libc::POLLPRI, revents: 0 };
    let mut asked: Vec<libc::pollfd> = sockets.iter().map(asked).collect();
    // SAFETY: as many entries as stated, which the call reads and writes. It does not wait.
    let found = unsafe { libc::poll(asked.as_mut_ptr(), asked.len() as libc::nfds_t, 0) };
    if found <= 0 {
        return Vec::new();
    }
    let urgent = |entry: &libc::pollfd| entry.revents & libc::POLLPRI != 0;
    asked.iter().enumerate().filter(|(_, entry)| urgent(entry)).map(|(at, _)| at).collect()
}
