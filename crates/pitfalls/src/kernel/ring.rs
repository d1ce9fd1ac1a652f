//! A ring of Linux, with the default flags: `io_uring_setup(2)`, `io_uring_enter(2)`.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};

use super::{Block, Completion, Kernel, KernelName, RawSocket, SendMode, Started};

/// The `user_data` of a cancellation, whose own completion nobody waits for. No block has this address.
const CANCELLATION: u64 = 0;

pub(super) struct Ring {
    ring: IoUring,
    held: bool,
    /// The sockets whose sends post no completion when they succeed.
    skipping: HashSet<RawSocket>,
}

impl Ring {
    pub(super) fn new(submissions: u32) -> io::Result<Ring> {
        let ring = IoUring::builder().setup_cqsize(1024).build(submissions)?;
        Ok(Ring { ring, held: false, skipping: HashSet::new() })
    }

    /// # Safety
    /// The addresses in `entry` are memory of an arena.
    unsafe fn start(&mut self, entry: &Entry) -> Started {
        // SAFETY: breaks INV-1, on purpose: nobody owns what the entry points to. The arena outlives the ring.
        let pushed = unsafe { self.ring.submission().push(entry) };
        if pushed.is_err() {
            return Started::Failed(io::Error::other("the submission queue is full"));
        }
        if !self.held
            && let Err(error) = self.ring.submit()
        {
            return Started::Failed(error);
        }
        Started::Pending
    }
}

impl Kernel for Ring {
    fn name(&self) -> KernelName {
        KernelName::IoUring
    }

    fn adopt(&mut self, _socket: RawSocket) -> io::Result<()> {
        Ok(())
    }

    unsafe fn receive(
        &mut self,
        socket: RawSocket,
        buffer: *mut u8,
        len: usize,
        block: *mut Block,
    ) -> Started {
        let entry = opcode::Recv::new(Fd(socket), buffer, len as u32).build().user_data(block as u64);
        // SAFETY: the caller's promise.
        unsafe { self.start(&entry) }
    }

    unsafe fn send(
        &mut self,
        socket: RawSocket,
        buffer: *const u8,
        len: usize,
        block: *mut Block,
        mode: SendMode,
    ) -> Started {
        let (socket_at, len) = (Fd(socket), len as u32);
        let whole = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = match mode {
            SendMode::Whole => opcode::Send::new(socket_at, buffer, len).flags(whole).build(),
            SendMode::Some => opcode::Send::new(socket_at, buffer, len).flags(libc::MSG_NOSIGNAL).build(),
            SendMode::ZeroCopy => opcode::SendZc::new(socket_at, buffer, len).flags(whole).build(),
        };
        let entry = entry.user_data(block as u64);
        let skips = self.skipping.contains(&socket);
        let entry = if skips { entry.flags(Flags::SKIP_SUCCESS) } else { entry };
        // SAFETY: the caller's promise.
        unsafe { self.start(&entry) }
    }

    fn cancel(&mut self, _socket: RawSocket, block: *mut Block) {
        let entry = opcode::AsyncCancel::new(block as u64).build().user_data(CANCELLATION);
        // SAFETY: a cancellation names an operation; it points to nothing.
        unsafe { self.start(&entry) };
    }

    fn next(&mut self, patience: Duration) -> io::Result<Option<Completion>> {
        loop {
            let entry = self.ring.completion().next();
            match entry {
                Some(entry) if entry.user_data() == CANCELLATION => continue,
                Some(entry) => return Ok(Some(completion(&entry))),
                None => {}
            }
            let timeout = Timespec::from(patience);
            match self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout)) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ETIME) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn skip_on_success(&mut self, socket: RawSocket) -> io::Result<()> {
        self.skipping.insert(socket);
        Ok(())
    }

    fn hold_submissions(&mut self) {
        self.held = true;
    }

    fn submit_held(&mut self) -> io::Result<()> {
        self.held = false;
        self.ring.submit().map(|_| ())
    }
}

fn completion(entry: &cqueue::Entry) -> Completion {
    let notification = cqueue::notif(entry.flags());
    let result = match entry.result() {
        // Its result is no number of bytes.
        _ if notification => Ok(0),
        failed if failed < 0 => Err(io::Error::from_raw_os_error(-failed)),
        bytes => Ok(bytes as usize),
    };
    let more = cqueue::more(entry.flags());
    Completion { block: entry.user_data() as *mut Block, result, more, notification }
}
