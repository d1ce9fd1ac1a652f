//! What lies beside every operation: the `OVERLAPPED`, and behind it what a packet must lead back to.

use std::cell::UnsafeCell;

use windows_sys::Win32::System::IO::OVERLAPPED;

use crate::driver::OpKey;
use crate::socket::Socket;

/// The extended `OVERLAPPED`. It comes first in the entry of the in-flight table, so the address that a packet
/// brings is the address of this.
#[repr(C)]
#[derive(Default)]
pub struct Header {
    /// The kernel's from submit to completion; read here only when its packet was taken.
    overlapped: UnsafeCell<OVERLAPPED>,
    /// Where `WSARecv` may put its flags. Here and not on the stack, because some systems write them only when
    /// the operation completes.
    flags: UnsafeCell<u32>,
    key: u64,
    /// True exactly when this operation was asked to end early: only then does "aborted" mean "cancelled".
    pub(super) asked_to_end: bool,
    /// The socket that an accept fills. Its owner from submit to completion is this header (INV-1).
    pub(super) accepted: Option<Socket>,
}

impl Header {
    /// Makes it ready for a new operation, or for the second half of one.
    pub(super) fn prepare(&mut self, key: OpKey) {
        *self.overlapped.get_mut() = OVERLAPPED::default();
        *self.flags.get_mut() = 0;
        self.key = key.to_u64();
    }

    /// What the kernel is given. The pointer reaches the whole header.
    pub(super) fn overlapped(&mut self) -> *mut OVERLAPPED {
        std::ptr::from_mut(self).cast()
    }

    pub(super) fn flags(&mut self) -> *mut u32 {
        self.flags.get()
    }

    /// Which operation a packet is about.
    ///
    /// # Safety
    /// `overlapped` came with a packet whose operation was submitted with a `Header`, and nobody has a unique
    /// reference to that header.
    pub(super) unsafe fn key_of(overlapped: *const OVERLAPPED) -> OpKey {
        // SAFETY: the `OVERLAPPED` is the first field of a header (`repr(C)`), and the table keeps the entry of
        // an operation where it is until its last completion was taken (INV-1); this packet is that completion.
        let key = OpKey::from_u64(unsafe { (*overlapped.cast::<Header>()).key });
        key.expect("a header has its key from the submission on")
    }

    /// Bytes moved, if the operation succeeded. To be called when its packet was taken.
    pub(super) fn moved(&mut self) -> Option<usize> {
        let OVERLAPPED { Internal: status, InternalHigh: bytes, .. } = *self.overlapped.get_mut();
        // An NTSTATUS: failures are negative.
        (status as i32 >= 0).then_some(bytes)
    }
}
