//! All connections receive into shared blocks, and send them as they are. One send of a connection is in flight; the
//! other blocks that it has received wait in a queue.
//!
//! Nothing limits how many blocks a client that does not read may hold: this is a bound, not a server.

use std::io;

use io_uring::types::Fixed;
use io_uring::{cqueue, opcode};

use crate::Echo;
use crate::blocks::{BLOCKS, Blocks, GROUP};
use crate::ring::{Operation, Ring, send};

pub(crate) struct Shared {
    blocks: Blocks,
    /// By block, for those that connections hold.
    held: Box<[Held; BLOCKS as usize]>,
    /// By slot.
    connections: Vec<Connection>,
    /// Slots whose receive found no block and is not in flight.
    starved: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct Held {
    length: u32,
    /// The block behind it in the connection's queue; of the last one, it means nothing.
    next: u16,
}

#[derive(Clone, Copy, Default)]
struct Connection {
    /// The first and the last block that it holds. The first is in flight.
    queue: Option<(u16, u16)>,
    /// Bytes of the first block that have gone.
    sent: u32,
    /// True exactly when no receive is in flight and none follows.
    receive_over: bool,
    /// True exactly when a send has failed: what still arrives is dropped.
    dead: bool,
}

impl Shared {
    pub(crate) fn new(blocks: Blocks) -> Shared {
        let held = Box::new([Held::default(); BLOCKS as usize]);
        Shared { blocks, held, connections: Vec::new(), starved: Vec::new() }
    }

    fn receive(ring: &mut Ring, slot: u32) -> io::Result<()> {
        let receive = opcode::RecvMulti::new(Fixed(slot), GROUP).build();
        // SAFETY: it takes its memory from the buffer ring, which lives as long as the process.
        unsafe { ring.push(Operation::Receive, slot, receive) }
    }

    /// Puts a received block at the end of the connection's queue, and sends it if it is the first.
    fn enqueue(&mut self, ring: &mut Ring, slot: u32, block: u16, length: u32) -> io::Result<()> {
        self.held[usize::from(block)].length = length;
        let connection = &mut self.connections[slot as usize];
        let Some((first, last)) = connection.queue else {
            connection.queue = Some((block, block));
            return self.send_first(ring, slot);
        };
        connection.queue = Some((first, block));
        self.held[usize::from(last)].next = block;
        Ok(())
    }

    /// Gives the first block of the queue back; whether there was one.
    fn dequeue(&mut self, slot: u32) -> bool {
        let connection = &mut self.connections[slot as usize];
        let Some((first, last)) = connection.queue else { return false };
        connection.queue = (first != last).then(|| (self.held[usize::from(first)].next, last));
        connection.sent = 0;
        self.blocks.give_back(first);
        true
    }

    /// Sends what is left of the first block. A connection without one is closed if it gets none any more.
    fn send_first(&mut self, ring: &mut Ring, slot: u32) -> io::Result<()> {
        let Connection { queue, sent, receive_over, .. } = self.connections[slot as usize];
        match queue {
            Some((first, _)) => {
                let left = self.held[usize::from(first)].length - sent;
                let entry = send(slot, self.blocks.bytes(first).wrapping_add(sent as usize), left);
                // SAFETY: the block lives as long as the process, and goes back to the ring after the completion.
                unsafe { ring.push(Operation::Send, slot, entry) }
            }
            None if receive_over => ring.close(slot),
            None => Ok(()),
        }
    }

    /// No receive is in flight and none follows. What has arrived is sent before the connection is closed.
    fn end_receive(&mut self, ring: &mut Ring, slot: u32) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        connection.receive_over = true;
        if connection.queue.is_none() { ring.close(slot) } else { Ok(()) }
    }
}

impl Echo for Shared {
    fn on_accept(&mut self, ring: &mut Ring, slot: u32) -> io::Result<()> {
        let index = slot as usize;
        if index >= self.connections.len() {
            self.connections.resize(index + 1, Connection::default());
        }
        self.connections[index] = Connection::default();
        Shared::receive(ring, slot)
    }

    fn on_receive(&mut self, ring: &mut Ring, slot: u32, result: i32, flags: u32) -> io::Result<()> {
        let dead = self.connections[slot as usize].dead;
        // None unless the completion says that it has a block.
        if let Some(block) = cqueue::buffer_select(flags) {
            self.blocks.take();
            match u32::try_from(result) {
                Ok(length @ 1..) if !dead => self.enqueue(ring, slot, block, length)?,
                _ => self.blocks.give_back(block),
            }
        }
        if cqueue::more(flags) {
            return Ok(());
        }
        match result {
            1.. if !dead => Shared::receive(ring, slot), // the kernel ended the multishot receive, not the client
            _ if result == -libc::ENOBUFS => {
                self.starved.push(slot);
                Ok(())
            }
            _ => self.end_receive(ring, slot),
        }
    }

    fn on_send(&mut self, ring: &mut Ring, slot: u32, result: i32) -> io::Result<()> {
        let Ok(length @ 1..) = u32::try_from(result) else {
            while self.dequeue(slot) {}
            let connection = &mut self.connections[slot as usize];
            connection.dead = true;
            // The last completion of the receive closes the connection.
            return if connection.receive_over { ring.close(slot) } else { ring.cancel_receive(slot) };
        };
        let connection = &mut self.connections[slot as usize];
        connection.sent += length;
        let sent = connection.sent;
        if connection.queue.is_some_and(|(first, _)| sent == self.held[usize::from(first)].length) {
            self.dequeue(slot);
        }
        self.send_first(ring, slot)
    }

    /// Blocks that came back become visible to the kernel. If there are any, connections that had found none receive
    /// again, in the order in which they ran out.
    fn after_batch(&mut self, ring: &mut Ring) -> io::Result<()> {
        if !self.blocks.publish() {
            return Ok(());
        }
        for index in 0..self.starved.len() {
            let slot = self.starved[index];
            if self.connections[slot as usize].dead {
                self.end_receive(ring, slot)?;
            } else {
                Shared::receive(ring, slot)?;
            }
        }
        self.starved.clear();
        Ok(())
    }
}
