//! Each connection has a buffer: receive, send, receive. Two entries per message, and two completions, or one if the
//! send is linked to the next receive and posts a completion only when it fails.

use std::io;
use std::ptr;

use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fixed;

use crate::Echo;
use crate::ring::{Operation, Ring, send};

/// When the next receive is submitted.
#[derive(Clone, Copy)]
pub(crate) enum Next {
    AfterSend,
    /// Together with the send.
    Linked,
}

/// Starts on a page: kernels copy faster to and from whole cache lines.
#[repr(align(4096))]
struct Buffer {
    _bytes: [u8; peer::READ_BUFFER],
}

pub(crate) struct Owned {
    next: Next,
    /// By slot.
    connections: Vec<Connection>,
}

#[derive(Clone, Copy)]
struct Connection {
    /// Allocated when the slot is used for the first time, and kept for its later connections.
    buffer: *mut u8,
    /// What is left to send.
    from: u32,
    to: u32,
}

impl Owned {
    pub(crate) fn new(next: Next) -> Owned {
        Owned { next, connections: Vec::new() }
    }

    fn receive_entry(&self, slot: u32) -> Entry {
        let length = u32::try_from(peer::READ_BUFFER).expect("a constant");
        opcode::Recv::new(Fixed(slot), self.connections[slot as usize].buffer, length).build()
    }

    fn receive(&self, ring: &mut Ring, slot: u32) -> io::Result<()> {
        // SAFETY: the buffer is never freed, and nothing else of the connection is in flight.
        unsafe { ring.push(Operation::Receive, slot, self.receive_entry(slot)) }
    }

    /// Sends what is left.
    fn send(&self, ring: &mut Ring, slot: u32) -> io::Result<()> {
        let Connection { buffer, from, to } = self.connections[slot as usize];
        let entry = send(slot, buffer.wrapping_add(from as usize), to - from);
        match self.next {
            // SAFETY: as above.
            Next::AfterSend => unsafe { ring.push(Operation::Send, slot, entry) },
            Next::Linked => {
                let entry = entry.flags(Flags::IO_LINK | Flags::SKIP_SUCCESS);
                let entry = entry.user_data(Operation::Send.tag(slot));
                let receive = self.receive_entry(slot).user_data(Operation::Receive.tag(slot));
                // SAFETY: the buffer is never freed; the receive starts when the send is over.
                unsafe { ring.push_all(&[entry, receive]) }
            }
        }
    }
}

impl Echo for Owned {
    fn on_accept(&mut self, ring: &mut Ring, slot: u32) -> io::Result<()> {
        let index = slot as usize;
        if index >= self.connections.len() {
            let unused = Connection { buffer: ptr::null_mut(), from: 0, to: 0 };
            self.connections.resize(index + 1, unused);
        }
        let connection = &mut self.connections[index];
        if connection.buffer.is_null() {
            // Not initialised, so that only pages in use are resident.
            connection.buffer = Box::into_raw(Box::<Buffer>::new_uninit()).cast();
        }
        self.receive(ring, slot)
    }

    fn on_receive(&mut self, ring: &mut Ring, slot: u32, result: i32, _flags: u32) -> io::Result<()> {
        match u32::try_from(result) {
            Ok(length @ 1..) => {
                let connection = &mut self.connections[slot as usize];
                (connection.from, connection.to) = (0, length);
                self.send(ring, slot)
            }
            // The send that it was linked to has failed, and its completion says what follows.
            Err(_) if result == -libc::ECANCELED => Ok(()),
            _ => ring.close(slot),
        }
    }

    fn on_send(&mut self, ring: &mut Ring, slot: u32, result: i32) -> io::Result<()> {
        let Ok(length @ 1..) = u32::try_from(result) else {
            // Nothing else is in flight: a linked receive is cancelled with its send.
            return ring.close(slot);
        };
        let connection = &mut self.connections[slot as usize];
        connection.from += length;
        match self.next {
            _ if connection.from < connection.to => self.send(ring, slot),
            Next::AfterSend => self.receive(ring, slot),
            Next::Linked => Ok(()), // the receive is in flight
        }
    }

    fn after_batch(&mut self, _ring: &mut Ring) -> io::Result<()> {
        Ok(())
    }
}
