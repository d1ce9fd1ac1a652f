//! The submission side of the ring, and what a completion says about its operation.

use std::io;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fixed;
use io_uring::{SubmissionQueue, Submitter, opcode};

/// Connections at once.
pub(crate) const SLOTS: u32 = 16_384;

/// The kernel itself continues a short send, and a connection that is gone is an error instead of a signal.
const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// The upper half of the user data; the lower half is the slot.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Accept,
    Receive,
    Send,
    /// Closes and cancellations: nothing follows from their completion.
    Quiet,
}

impl Operation {
    pub(crate) fn tag(self, slot: u32) -> u64 {
        let number: u64 = match self {
            Operation::Accept => 0,
            Operation::Receive => 1,
            Operation::Send => 2,
            Operation::Quiet => 3,
        };
        number << 32 | u64::from(slot)
    }

    pub(crate) fn of(tag: u64) -> (Operation, u32) {
        let operation = match tag >> 32 {
            0 => Operation::Accept,
            1 => Operation::Receive,
            2 => Operation::Send,
            _ => Operation::Quiet,
        };
        (operation, (tag & u64::from(u32::MAX)) as u32)
    }
}

pub(crate) struct Ring<'ring> {
    pub(crate) submitter: Submitter<'ring>,
    pub(crate) submissions: SubmissionQueue<'ring>,
}

impl Ring<'_> {
    /// Submits all entries and waits for `completions`.
    pub(crate) fn enter(&mut self, completions: usize) -> io::Result<()> {
        self.submissions.sync(); // shows the kernel the new entries
        if let Err(error) = self.submitter.submit_and_wait(completions) {
            // Interrupted, or short of memory or of room for completions: the caller takes completions and comes back.
            if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) {
                return Err(error);
            }
        }
        self.submissions.sync(); // learns which it took
        Ok(())
    }

    /// Queues an operation.
    ///
    /// # Safety
    ///
    /// The memory that the entry refers to stays valid, and nothing else uses it, until the completion.
    pub(crate) unsafe fn push(&mut self, operation: Operation, slot: u32, entry: Entry) -> io::Result<()> {
        let entry = [entry.user_data(operation.tag(slot))];
        // SAFETY: the caller promises it.
        unsafe { self.push_all(&entry) }
    }

    /// Queues entries that are linked: never in two submissions, which would end the link.
    ///
    /// # Safety
    ///
    /// As [`Ring::push`], for each entry.
    pub(crate) unsafe fn push_all(&mut self, entries: &[Entry]) -> io::Result<()> {
        // SAFETY: the caller promises it.
        while unsafe { self.submissions.push_multiple(entries) }.is_err() {
            self.enter(0)?;
        }
        Ok(())
    }

    /// Closes a connection of which nothing is in flight.
    pub(crate) fn close(&mut self, slot: u32) -> io::Result<()> {
        let close = opcode::Close::new(Fixed(slot)).build().flags(Flags::SKIP_SUCCESS);
        // SAFETY: it refers to no memory.
        unsafe { self.push(Operation::Quiet, slot, close) }
    }

    /// Cancels the receive of a connection, whose completion still follows.
    pub(crate) fn cancel_receive(&mut self, slot: u32) -> io::Result<()> {
        let cancel = opcode::AsyncCancel::new(Operation::Receive.tag(slot)).build();
        // SAFETY: it refers to no memory.
        unsafe { self.push(Operation::Quiet, slot, cancel.flags(Flags::SKIP_SUCCESS)) }
    }
}

/// The entry of a send of `length` bytes.
pub(crate) fn send(slot: u32, bytes: *const u8, length: u32) -> Entry {
    opcode::Send::new(Fixed(slot), bytes, length).flags(SEND_FLAGS).build()
}
