//! Three kernels that complete operations, as a program without any safety net sees them: addresses go in, and some
//! time later something is read or written there.
//!
//! This is not how `proactor` does it. There, the in-flight table owns what a kernel may touch; here nobody does, and
//! that is the subject. The memory behind every address is an [`Arena`](crate::arena::Arena), which is never freed, so
//! a late write always lands in memory of ours.

mod absent;
#[cfg(unix)]
mod own;
#[cfg(windows)]
mod port;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod ring;

use std::fmt;
use std::io;
use std::time::Duration;

#[cfg(unix)]
pub(crate) type RawSocket = std::os::fd::RawFd;
#[cfg(windows)]
pub(crate) type RawSocket = std::os::windows::io::RawSocket;

/// Which kernel an exhibit runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelName {
    /// A ring of this Linux.
    IoUring,
    /// A completion port of this Windows.
    Iocp,
    /// A thread of this crate that keeps raw addresses and uses them late, as a real kernel does.
    Own,
}

impl KernelName {
    /// As the command line and the JSON spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            KernelName::IoUring => "io_uring",
            KernelName::Iocp => "iocp",
            KernelName::Own => "own",
        }
    }
}

impl fmt::Display for KernelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an operation is for: the `is_recv` of the lesson's extended `OVERLAPPED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Purpose {
    Receive = 1,
    Send = 2,
}

/// For a send to a peer that has gone: it is an error, not a signal. macOS has no such flag; Rust's programs ignore the
/// signal by themselves.
#[cfg(all(unix, not(target_vendor = "apple")))]
pub(crate) const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(crate) const NO_SIGNAL: i32 = 0;

/// The extended `OVERLAPPED`: the system's header first, so that the address which a completion brings is the address
/// of the whole. A ring has no header; the address travels as `user_data`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Block {
    #[cfg(windows)]
    pub(super) header: windows_sys::Win32::System::IO::OVERLAPPED,
    pub(crate) purpose: Purpose,
}

impl Block {
    pub(crate) fn new(purpose: Purpose) -> Block {
        Block {
            #[cfg(windows)]
            header: windows_sys::Win32::System::IO::OVERLAPPED::default(),
            purpose,
        }
    }
}

/// What a call that starts an operation answers.
#[derive(Debug)]
pub(crate) enum Started {
    /// A completion will come.
    Pending,
    /// Over, with this number of bytes. No completion will come.
    Done(usize),
    /// Over, with this number of bytes, and a completion will come as well: what Windows does unless it was asked to
    /// skip it.
    DoneAndPosted(usize),
    /// Not started. No completion will come.
    Failed(io::Error),
}

impl Started {
    /// For an exhibit that counts on the operation: whether it has started.
    pub(crate) fn checked(self) -> io::Result<Started> {
        match self {
            Started::Failed(error) => Err(error),
            started => Ok(started),
        }
    }
}

/// A completion: the address that went in, and the result.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) block: *mut Block,
    pub(crate) result: io::Result<usize>,
    /// Another completion of the same operation follows (`IORING_CQE_F_MORE`).
    pub(crate) more: bool,
    /// It only says that the memory of a send without copying is free again (`IORING_CQE_F_NOTIF`).
    pub(crate) notification: bool,
}

impl Completion {
    /// The only one of its operation.
    pub(crate) fn new(block: *mut Block, result: io::Result<usize>) -> Completion {
        Completion { block, result, more: false, notification: false }
    }
}

/// How a send is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendMode {
    /// All bytes, however long it takes.
    Whole,
    /// What the socket takes now.
    Some,
    /// On a ring, without copying (`SEND_ZC`): two completions, the second when the memory is free again. Elsewhere
    /// [`SendMode::Whole`].
    ZeroCopy,
}

/// A kernel that completes operations. It keeps addresses, and nothing alive.
pub(crate) trait Kernel {
    fn name(&self) -> KernelName;

    /// Ties a socket to the kernel, before its first operation.
    fn adopt(&mut self, socket: RawSocket) -> io::Result<()>;

    /// Starts receiving up to `len` bytes.
    ///
    /// # Safety
    /// `buffer` and `block` are memory of an arena: the kernel writes to both at any time until the completion.
    unsafe fn receive(
        &mut self,
        socket: RawSocket,
        buffer: *mut u8,
        len: usize,
        block: *mut Block,
    ) -> Started;

    /// Starts sending `len` bytes.
    ///
    /// # Safety
    /// As for [`receive`](Kernel::receive); `buffer` is read.
    unsafe fn send(
        &mut self,
        socket: RawSocket,
        buffer: *const u8,
        len: usize,
        block: *mut Block,
        mode: SendMode,
    ) -> Started;

    /// Asks for an operation to end early. Its completion still comes.
    fn cancel(&mut self, socket: RawSocket, block: *mut Block);

    /// The next completion, or `None` after `patience`.
    fn next(&mut self, patience: Duration) -> io::Result<Option<Completion>>;

    /// From now on, a send of `socket` that succeeds at once posts no completion: on Windows
    /// `FILE_SKIP_COMPLETION_PORT_ON_SUCCESS`, on a ring `IOSQE_CQE_SKIP_SUCCESS`.
    fn skip_on_success(&mut self, socket: RawSocket) -> io::Result<()>;

    /// From now on, operations are prepared and not submitted. Only a ring has that; elsewhere it does nothing.
    fn hold_submissions(&mut self) {}

    /// Submits what was prepared, and from now on each operation at once.
    fn submit_held(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many operations a ring of these exhibits has room for between two submissions.
pub(crate) const SUBMISSIONS: u32 = 8;

/// Makes a kernel.
///
/// # Errors
/// What the system answered; `Unsupported` for a kernel that this system does not have.
pub(crate) fn make(name: KernelName) -> io::Result<Box<dyn Kernel>> {
    match name {
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        KernelName::IoUring => Ok(Box::new(ring::Ring::new(SUBMISSIONS)?)),
        #[cfg(windows)]
        KernelName::Iocp => Ok(Box::new(port::Port::new()?)),
        #[cfg(unix)]
        KernelName::Own => Ok(Box::new(own::Own::new()?)),
        #[allow(unreachable_patterns, reason = "each system has two of the three")]
        other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("this system has no {other}"))),
    }
}

/// In place of a kernel, where none takes part: it refuses every operation.
pub(crate) fn absent() -> Box<dyn Kernel> {
    Box::new(absent::Absent)
}

/// Whether exhibits can run on a kernel here.
///
/// # Errors
/// What the system answered; `Unsupported` for a kernel that this system does not have.
pub fn available(name: KernelName) -> io::Result<()> {
    // Making one is not enough: what submits and waits may be forbidden on its own.
    make(name)?.next(Duration::ZERO).map(|_| ())
}

/// The kernel that this system offers, and, if it is the stand-in, why.
#[must_use]
pub fn choose() -> (KernelName, Option<String>) {
    #[cfg(windows)]
    return (KernelName::Iocp, None);
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    match available(KernelName::IoUring) {
        Ok(()) => (KernelName::IoUring, None),
        Err(error) => (KernelName::Own, Some(format!("no ring can be made here: {error}"))),
    }
    #[cfg(not(any(windows, all(target_os = "linux", target_pointer_width = "64"))))]
    (KernelName::Own, Some("this system has no completion kernel that is supported".into()))
}
