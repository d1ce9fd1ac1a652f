//! The header of every operation: the `OVERLAPPED`, and behind it what a packet must lead back to.

use std::cell::{Cell, UnsafeCell};

use windows_sys::Win32::Networking::WinSock::{SOCKADDR_IN6, SOCKET};
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::table::raw;
use crate::buffer::{Block, BlockId, Pool};
use crate::operation::OpKey;
use crate::socket::Socket;

/// The size of one of the two addresses that `AcceptEx` writes: the longest address, and 16 bytes more.
pub(super) const ADDRESS: u32 = size_of::<SOCKADDR_IN6>() as u32 + 16;
/// The bytes that `AcceptEx` writes: the local address and the peer's.
pub(super) const ADDRESSES: usize = 2 * ADDRESS as usize;
/// The extended `OVERLAPPED`. It comes first in the entry of the in-flight table, so the address that a packet
/// brings is the address of this.
///
/// Everything in it is a cell: from submit to completion the kernel writes the first two fields, so there must be no
/// `&mut` to it.
#[repr(C)]
#[derive(Default)]
pub struct Header {
    /// Written by the kernel from submit to completion; read here only after the packet was taken.
    overlapped: UnsafeCell<OVERLAPPED>,
    /// Where `WSARecv` may put its flags. Here and not on the stack, because some systems write them only when
    /// the operation completes.
    flags: UnsafeCell<u32>,
    /// The block that a receive fills, by its number: a header fills one cache line.
    block: Cell<Option<BlockId>>,
    key: Cell<u64>,
    /// True exactly from a call that answered "pending" until its packet is taken.
    pending: Cell<bool>,
    /// True exactly when this operation was cancelled: only then does "aborted" mean "cancelled".
    pub(super) asked_to_end: Cell<bool>,
    /// What an accept fills. This header owns it from submit to completion (INV-1).
    accepting: Cell<Option<Box<Accepting>>>,
}

/// What an accept fills: a socket, and the two addresses of its connection.
pub(super) struct Accepting {
    pub(super) socket: Socket,
    pub(super) addresses: [u8; ADDRESSES],
}

impl Header {
    /// Prepares it for a new operation, or for the next call of one.
    pub(super) fn prepare(&self, key: OpKey) {
        assert!(!self.pending.get(), "INV-1: the kernel has this header");
        // SAFETY: nothing is pending, so the kernel does not have it, and no reference into it is kept.
        unsafe {
            *self.overlapped.get() = OVERLAPPED::default();
            *self.flags.get() = 0;
        }
        self.key.set(key.to_u64());
    }

    /// The pointer for the kernel. It is valid for the whole header.
    pub(super) fn overlapped(&self) -> *mut OVERLAPPED {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// Keeps the socket that an accept is to fill, with room for its addresses. Returns both for the kernel.
    pub(super) fn keep_accept(&self, socket: Socket) -> (SOCKET, *mut u8) {
        let into = raw(&socket);
        self.accepting.set(Some(Box::new(Accepting { socket, addresses: [0; ADDRESSES] })));
        // SAFETY: this thread alone uses the cell, and no reference into it outlives this line. The box is not moved
        // before the accept is over, so the address stays valid for as long as the kernel has it (INV-1).
        let accepting = unsafe { (*self.accepting.as_ptr()).as_mut() }.expect("set above");
        (into, accepting.addresses.as_mut_ptr())
    }

    /// Takes out what an accept has filled, or has failed to fill. `None` for any other operation.
    pub(super) fn take_accept(&self) -> Option<Box<Accepting>> {
        assert!(!self.pending.get(), "INV-1: the kernel has this header");
        self.accepting.take()
    }

    /// Gives the kernel a block for a receive.
    pub(super) fn keep_block(&self, block: Block) {
        let before = self.block.replace(Some(block.into_kernel()));
        assert!(before.is_none(), "INV-1: a receive has one block");
    }

    /// The block that a receive fills, if it has one.
    pub(super) fn block(&self) -> Option<BlockId> {
        self.block.get()
    }

    /// Takes the block back from the kernel.
    pub(super) fn take_block(&self, pool: &Pool) -> Option<Block> {
        assert!(!self.pending.get(), "INV-1: the kernel has this header");
        self.block.take().map(|id| pool.taken_back(id))
    }

    pub(super) fn flags(&self) -> *mut u32 {
        self.flags.get()
    }

    /// The call returned "pending": a packet will come. Only this thread takes packets (INV-5).
    pub(super) fn begin(&self) {
        self.pending.set(true);
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.get()
    }

    /// The operation of a packet. It is not pending any more.
    ///
    /// A packet has an address but no generation. It belongs to this operation, because the kernel posts one packet
    /// per pending operation, and an entry is not reused before its packet was taken (INV-3).
    ///
    /// # Safety
    /// `overlapped` came with a packet whose operation was submitted with a `Header`, in a table that is still there.
    ///
    /// # Panics
    /// If no operation is pending at that address: the packet is one too many.
    pub(super) unsafe fn taken(overlapped: *const OVERLAPPED) -> OpKey {
        // SAFETY: the `OVERLAPPED` is the first field of a header (`repr(C)`), the table keeps entries where they
        // are, and there is no unique reference to one whose packet was not taken (INV-1).
        let header = unsafe { &*overlapped.cast::<Header>() };
        assert!(header.pending.replace(false), "INV-3: a packet for an operation that is not pending");
        OpKey::from_u64(header.key.get()).expect("a header has its key from the submission on")
    }

    /// The number of bytes, if the operation succeeded. Call it after the packet was taken.
    pub(super) fn moved(&self) -> Option<usize> {
        assert!(!self.pending.get(), "INV-1: the kernel has this header");
        // SAFETY: it is not pending, so the kernel does not write it.
        let OVERLAPPED { Internal: status, InternalHigh: bytes, .. } = unsafe { *self.overlapped.get() };
        // An NTSTATUS: failures are negative.
        (status as i32 >= 0).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> OpKey {
        OpKey::from_u64(1 << 32 | 1).expect("it is not 0")
    }

    fn take(header: &Header) -> OpKey {
        // SAFETY: the address of a header, which is borrowed.
        unsafe { Header::taken(header.overlapped()) }
    }

    #[test]
    fn a_header_fills_one_cache_line() {
        assert!(size_of::<Header>() <= 64);
    }

    #[test]
    fn a_packet_leads_to_its_operation() {
        let header = Header::default();
        header.prepare(key());
        header.begin();
        assert!(header.is_pending());
        assert_eq!(take(&header), key());
        assert!(!header.is_pending());
        assert_eq!(header.moved(), Some(0));
    }

    #[test]
    #[should_panic(expected = "INV-3")]
    fn one_packet_too_many_is_found() {
        let header = Header::default();
        header.prepare(key());
        header.begin();
        assert_eq!(take(&header), key());
        take(&header);
    }

    #[test]
    #[should_panic(expected = "INV-3")]
    fn a_packet_for_what_was_over_at_once_is_found() {
        let header = Header::default();
        header.prepare(key());
        take(&header);
    }

    #[test]
    #[should_panic(expected = "INV-1")]
    fn a_header_in_flight_is_not_used_again() {
        let header = Header::default();
        header.prepare(key());
        header.begin();
        header.prepare(key());
    }
}
