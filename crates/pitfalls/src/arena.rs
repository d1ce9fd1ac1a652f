//! Memory for sessions that outlives all I/O.
//!
//! A real program frees a session, and the next one gets the same address. Here "freed" means: the place goes back on a
//! list, and the next session gets it. The memory itself is never given back, so whatever a kernel writes late lands in
//! a place of this arena, where it can be seen.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::sync::{Mutex, PoisonError};

use crate::kernel::{Block, Purpose};

/// Bytes of a session's buffer.
pub(crate) const BUFFER: usize = 64;

/// A session as in the lesson: the blocks for its operations, and its bytes.
#[repr(C)]
pub(crate) struct Session {
    receive: Block,
    send: Block,
    buffer: [u8; BUFFER],
}

/// Places for sessions. What is given back first is handed out last, as allocators do.
pub(crate) struct Arena {
    first: *mut Session,
    count: usize,
    free: Vec<Place>,
}

/// A place in an arena: an address that stays readable and writable until the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place(*mut Session);

impl Arena {
    /// Room for `count` sessions.
    pub(crate) fn new(count: usize) -> Arena {
        let layout = Layout::array::<Session>(count).expect("a few sessions");
        // SAFETY: a layout that is not empty. The memory is never freed, on purpose: a kernel may still write to it.
        let first = unsafe { alloc_zeroed(layout) }.cast::<Session>();
        if first.is_null() {
            handle_alloc_error(layout);
        }
        keep(first);
        // SAFETY: all of them lie in the array.
        let free = (0..count).rev().map(|at| Place(unsafe { first.add(at) })).collect();
        Arena { first, count, free }
    }

    /// `new Session`: the place that was given back last, with blocks that are ready and an empty buffer.
    pub(crate) fn take(&mut self) -> Place {
        let place = self.free.pop().expect("exhibits need few sessions");
        // SAFETY: a place of the arena. If a kernel still writes here, that is the mistake that is shown.
        unsafe {
            let session = Session {
                receive: Block::new(Purpose::Receive),
                send: Block::new(Purpose::Send),
                buffer: [0; BUFFER],
            };
            ptr::write_volatile(place.0, session);
        }
        place
    }

    /// `delete session`.
    pub(crate) fn give_back(&mut self, place: Place) {
        assert!(
            !self.free.contains(&place),
            "a double release would be another mistake than the one that is shown"
        );
        self.free.push(place);
    }

    /// How many sessions there are.
    pub(crate) fn in_use(&self) -> usize {
        self.count - self.free.len()
    }

    /// A place's number, for people.
    pub(crate) fn number(&self, place: Place) -> usize {
        // SAFETY: both lie in the same array.
        unsafe { place.0.offset_from(self.first) as usize }
    }

    /// Whose block this is.
    pub(crate) fn owner(&self, block: *mut Block) -> Option<Place> {
        let owns = |place: &Place| place.receive() == block || place.send() == block;
        // SAFETY: all of them lie in the array.
        (0..self.count).map(|at| Place(unsafe { self.first.add(at) })).find(owns)
    }
}

impl Place {
    /// The address of the block for receives.
    pub(crate) fn receive(self) -> *mut Block {
        // SAFETY: the address of a field of a place.
        unsafe { &raw mut (*self.0).receive }
    }

    /// The address of the block for sends.
    pub(crate) fn send(self) -> *mut Block {
        // SAFETY: the address of a field of a place.
        unsafe { &raw mut (*self.0).send }
    }

    /// The address of the buffer.
    pub(crate) fn buffer(self) -> *mut u8 {
        // SAFETY: the address of a field of a place.
        unsafe { (&raw mut (*self.0).buffer).cast() }
    }

    /// What is in the buffer now.
    pub(crate) fn bytes(self) -> [u8; BUFFER] {
        // SAFETY: a place of an arena, which is never freed. Volatile: a kernel may have written here.
        unsafe { ptr::read_volatile(self.buffer().cast()) }
    }

    /// What is in the buffer now, up to the first zero.
    pub(crate) fn text(self) -> String {
        let bytes = self.bytes();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(BUFFER);
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    /// Puts a text into the buffer, and zeros behind it.
    pub(crate) fn write(self, text: &str) {
        let mut bytes = [0; BUFFER];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        // SAFETY: a place of an arena, which is never freed. Volatile: a kernel may read it.
        unsafe { ptr::write_volatile(self.buffer().cast(), bytes) };
    }
}

/// The addresses of what is never freed. A leak checker finds it still in use, and reports other things alone.
static KEPT: Mutex<Vec<AtomicPtr<u8>>> = Mutex::new(Vec::new());

/// Never frees this, whoever forgets its address.
pub(crate) fn keep<T>(address: *mut T) {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(AtomicPtr::new(address.cast()));
}

/// What a block says it is for.
pub(crate) fn purpose(block: *mut Block) -> Purpose {
    // SAFETY: a block of an arena. Volatile: it may have been written through another address.
    unsafe { ptr::read_volatile(&raw const (*block).purpose) }
}

/// Makes a block ready for an operation.
pub(crate) fn prepare(block: *mut Block, purpose: Purpose) {
    // SAFETY: a block of an arena. If a kernel still has it, that is the mistake that is shown.
    unsafe { ptr::write_volatile(block, Block::new(purpose)) };
}
